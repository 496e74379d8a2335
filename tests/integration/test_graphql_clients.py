"""GraphQL clients of others: the graphql-http audit, graphql-ws, graphql-sse, Apollo Client, graphql-js."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protogw.descriptors.to_graphql import sdl, to_graphql
from protogw.descriptors.to_graphql_model import GraphqlOptions
from tests.support import hello
from tests.support.gateway import Running, config_of, gateway
from tests.support.hello import HelloService, hello_service
from tests.support.processes import NODE, require_node

CHECKS = {"audit": 61, "ws": 20, "sse": 6, "apollo": 7, "schema": 1}


@pytest.fixture(scope="module")
def behind() -> Iterator[HelloService]:
    with hello_service() as made:
        yield made


@pytest.fixture(scope="module")
def hello_gateway(behind: HelloService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    upstream = {"grpc": [f"127.0.0.1:{behind.port}"], "schema": str(hello.PROTO)}
    listener = {"graphql": {"init_timeout": "500ms"}}
    with gateway(config_of({"hello": upstream}, listener=listener), tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.mark.parametrize("suite", CHECKS)
def test_every_check_passes(suite: str, hello_gateway: Running, behind: HelloService, tmp_path: Path) -> None:
    schema = tmp_path / "schema.graphql"
    schema.write_text(sdl(to_graphql(hello.CATALOG, GraphqlOptions())))
    argv = [require_node(), "graphql_clients.mjs", suite, f"http://127.0.0.1:{hello_gateway.port}", str(schema)]
    done = subprocess.run(argv, cwd=NODE, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [f"{check['name']}: {check.get('error')}" for check in checks if not check["ok"]]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(checks) == CHECKS[suite]
    # Whoever left a subscription, or a socket, has ended the calls behind it.
    behind.wait_closed()
