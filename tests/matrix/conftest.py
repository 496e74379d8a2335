"""One gateway for each kind of service behind it, shared by the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.descriptors.model import Schema
from tests.support import kit
from tests.support.backend import backend
from tests.support.drivers import Driver
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_backend import graphql_backend, schema
from tests.support.rest_backend import rest_backend
from tests.support.websocket_backend import websocket_backend

BODY_LIMIT = 8 << 20


class Behind:
    """A kind of service, what it counts, and the gateway in front of it."""

    def __init__(self, kind: str, service: Any, running: Running) -> None:
        self.kind = kind
        self.counts = service.counts
        self.running = running


def _behind(kind: str, service: Any, folder: Path, *, path: str = "", schema: Schema | None = None) -> Iterator[Behind]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream: dict[str, Any] = {kind: [f"http://127.0.0.1:{service.port}{path}"], "schema": "kit.pb"}
    if options := getattr(service, "options", None):
        upstream[f"{kind}_options"] = options
    limits = {"limits": {"body": BODY_LIMIT}}
    with gateway(
        config_of({"kit": upstream}, listener=limits), folder, {"kit": schema} if schema is not None else None
    ) as running:
        yield Behind(kind, service, running)


@pytest.fixture(scope="session")
def grpc_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with backend() as service:
        yield from _behind("grpc", service, tmp_path_factory.mktemp("grpc"))


@pytest.fixture(scope="session")
def rest_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with rest_backend() as service:
        yield from _behind("rest", service, tmp_path_factory.mktemp("rest"))


@pytest.fixture(scope="session")
def graphql_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with graphql_backend() as service:
        yield from _behind("graphql", service, tmp_path_factory.mktemp("graphql"), path="/graphql", schema=schema())


@pytest.fixture(scope="session")
def websocket_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with websocket_backend() as service:
        yield from _behind("websocket", service, tmp_path_factory.mktemp("websocket"))


@pytest.fixture
def behind(request: pytest.FixtureRequest, translator: str) -> Behind:
    """The service that the translator speaks to; its counts are zero and nothing is open."""
    found: Behind = request.getfixturevalue(f"{translator}_behind")
    found.counts.wait(lambda counts: counts.open == 0)
    found.counts.__init__()
    return found


@pytest.fixture
def driver(behind: Behind, kind: type[Driver]) -> Iterator[Driver]:
    made = kind(behind.running.port)
    yield made
    made.close()


def sum_open(behind: Behind) -> int:
    """Calls in flight on the pool's connections."""
    pool = behind.running.gateway.pools["kit"]
    return int(repr(pool).rpartition(", ")[2].split()[0])
