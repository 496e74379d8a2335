"""The access log of a running gateway: what lines say of every protocol, and that no secret is in any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import Grpc
from tests.support.gateway import config_of, serving
from tests.support.processes import until
from tests.support.raw import Http1

CANARY = "canary-of-a-secret"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(
    params=["json", '{time} "{request}" {status} {code} {header.authorization} {header.cookie} {header.x-pass} {error}']
)
def logged(request: pytest.FixtureRequest, shared_backend: Backend, tmp_path: Path) -> Iterator[tuple[int, Path, bool]]:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    config = config_of({"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}})
    config["access_log"] = {"format": request.param, "path": "access.log"}
    config["policies"] = {"keys": {"api_key": {"keys": [{"consumer": "shop", "key": CANARY}], "in": "header.x-pass"}}}
    config["use"] = ["keys"]
    with serving(config, tmp_path) as running:
        yield running.port, tmp_path / "access.log", request.param == "json"


def ask(port: int, path: str, body: bytes, *fields: tuple[str, str]) -> int:
    http = Http1(port)
    sent = [("content-type", "application/json"), ("authorization", f"Bearer {CANARY}"), ("cookie", f"s={CANARY}")]
    try:
        return http.request("POST", path, [*sent, *fields], body).head()
    finally:
        http.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_lines_say_who_and_how_it_ended_and_no_secret(logged: tuple[int, Path, bool]) -> None:
    port, path, as_json = logged
    trace = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00")
    key = ("x-pass", CANARY)
    assert ask(port, "/v1/echo", b'{"text":"x"}', key, trace) == 200
    assert ask(port, f"/v1/echo?access_token={CANARY}", b'{"text":"x"}') in (400, 401)
    query = 'query Both { a: unary(text: "x") { text } b: unary(text: "y") { text } }'
    assert ask(port, "/graphql", json.dumps({"query": query}).encode(), key) == 200
    assert ask(port, "/graphql", b'{"query":"{ nope }"}', key) == 200
    client = Grpc(port)
    assert client.call("Unary", kit.message("x")).code == 16
    client.close()
    until(lambda: len(lines(path)) == 5, what="five lines")
    assert CANARY not in path.read_text()
    if not as_json:
        assert all(" *** " in line for line in lines(path)[:4])
        return
    told: list[dict[str, Any]] = [json.loads(line) for line in lines(path)]
    rest, refused, graphql, no_field, grpc = told
    assert (rest["consumer"], rest["trace_id"], rest["code"]) == ("shop", TRACE, "OK")
    assert refused["error"]
    assert (graphql["operation"], graphql["calls"], graphql["consumer"]) == ("query Both", 2, "shop")
    assert (no_field["status"], no_field["code"]) == (200, "INVALID_ARGUMENT")
    assert no_field["error"].startswith("GRAPHQL_VALIDATION_FAILED: Cannot query field 'nope'")
    assert (grpc["status"], grpc["code"], grpc["error"]) == (200, "UNAUTHENTICATED", "an API key is needed")
