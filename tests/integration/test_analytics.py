"""Analytics of a running gateway: by consumer, by method and by GraphQL field, over HTTP and by the command."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.gateway import config_of, serving
from tests.support.graphql_driver import operation
from tests.support.processes import free_port, run, until
from tests.support.raw import Http1

KEY = "a-canary-of-some-length"


@pytest.fixture(scope="module")
def served(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, Path]]:
    folder = tmp_path_factory.mktemp("analytics")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    admin = free_port()
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}},
        policies={"keys": {"api_key": {"keys": [{"consumer": "shop", "key": KEY}]}}},
        use=["keys"],
        analytics={"path": "analytics.db", "every": "50ms"},
    )
    config["admin"] = f"127.0.0.1:{admin}"
    with serving(config, folder) as running:
        for _ in range(3):
            assert ask(running.port, "/v1/echo", b'{"text":"x"}', KEY) == 200
        assert ask(running.port, "/v1/echo", b'{"text":"x"}', "not-the-key-at-all") == 401
        query = json.dumps(operation("Unary", kit.message("x"))).encode()
        assert ask(running.port, "/graphql", query, KEY) == 200
        yield running.port, admin, folder


def ask(port: int, path: str, body: bytes, key: str) -> int:
    http = Http1(port)
    try:
        return http.request("POST", path, [("content-type", "application/json"), ("x-api-key", key)], body).head()
    finally:
        http.close()


def shown(admin: int, query: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/analytics?{query}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["rows"]
        return found


def test_consumers_and_methods_are_told_over_http(served: tuple[int, int, Path]) -> None:
    _, admin, _ = served
    until(lambda: sum(row["calls"] for row in shown(admin, "by=consumer&since=1h")) >= 5, what="all calls")
    consumers = {row["name"]: row for row in shown(admin, "by=consumer&since=1h")}
    assert (consumers["shop"]["calls"], consumers["shop"]["errors"]) == (4, 0)
    assert (consumers[""]["calls"], consumers[""]["errors"]) == (1, 1)
    (unary,) = shown(admin, "by=method&since=1h")
    assert unary["name"] == "kit.v1.Echo/Unary"
    assert 0 < unary["p50_ms"] <= unary["p99_ms"]


def test_the_fields_that_graphql_asked_for_are_told(served: tuple[int, int, Path]) -> None:
    _, admin, _ = served
    until(lambda: shown(admin, "by=field&since=1h"), what="fields")
    fields = {row["name"]: row["calls"] for row in shown(admin, "by=field&since=1h")}
    assert {name.partition(".")[2]: many for name, many in fields.items()}["unary"] == 1


@pytest.mark.parametrize("query", ["by=secret", "since=ever", "limit=0", "limit=x"])
def test_a_question_that_means_nothing_is_refused(served: tuple[int, int, Path], query: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        shown(served[1], query)
    assert refused.value.code == 400
    refused.value.close()


def test_the_command_reads_the_file_of_a_gateway_that_runs(served: tuple[int, int, Path]) -> None:
    _, admin, folder = served
    until(lambda: sum(row["calls"] for row in shown(admin, "by=consumer&since=1h")) >= 5, what="all calls")
    argv = [sys.executable, "-m", "protogw", "analytics", "gateway.yaml", "--since", "1h"]
    table = run([*argv, "--by", "consumer"], cwd=folder).decode()
    assert table.splitlines()[0].split() == [
        "CONSUMER",
        "CALLS",
        "ERRORS",
        "SHARE",
        "P50",
        "P95",
        "P99",
        "RECEIVED",
        "SENT",
    ]
    assert table.splitlines()[1].startswith("shop")
    found = json.loads(run([*argv, "--format", "json"], cwd=folder))
    assert [row["name"] for row in found] == ["kit.v1.Echo/Unary"]


def test_no_key_is_in_the_file(served: tuple[int, int, Path]) -> None:
    _, admin, folder = served
    until(lambda: shown(admin, "by=consumer"), what="rows")
    assert not any(KEY.encode() in path.read_bytes() for path in folder.glob("analytics.db*"))
