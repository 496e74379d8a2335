"""One protected method, asked for in every protocol: the same decision everywhere, and never a call behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import DRIVERS, Driver
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_driver import Graphql
from tests.support.raw import Fields, Http1

EVERY = (*DRIVERS, Graphql)


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


def config(service: Backend, folder: Path, rules: list[Any], *, keyed: bool = False) -> dict[str, Any]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    keys = {"keys": [{"consumer": "shop", "key": "a-key-of-some-length", "scopes": ["look"]}]}
    policies = {"who": {"api_key": keys}, "may": {"authorize": {"rules": rules}}}
    return config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        policies=policies if keyed else {"may": policies["may"]},
        use=["who", "may"] if keyed else ["may"],
    )


@pytest.fixture(scope="module")
def guarded(service: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guarded")
    rules = [
        {"match": "kit.v1.Echo/Unary", "anonymous": True, "when": 'message.text == "open"'},
        {"match": "kit.v1.Echo/Down", "deny": True},
        {"match": "kit.v1.Echo/Look", "scopes": "look"},
        {"match": "*", "anonymous": True},
    ]
    with gateway(config(service, folder, rules), folder) as running:
        yield running


@pytest.fixture(params=EVERY, ids=lambda kind: kind.name)
def client(request: pytest.FixtureRequest, guarded: Running) -> Iterator[Driver]:
    made = request.param(guarded.port)
    yield made
    made.close()


def test_a_condition_on_the_message_holds_in_every_protocol(client: Driver, service: Backend) -> None:
    assert client.call("Unary", kit.message("open")).code == 0
    before = service.counts.started
    assert client.call("Unary", kit.message("shut")).code == 7
    assert service.counts.started == before


def test_a_denied_stream_is_denied_in_every_protocol(client: Driver, service: Backend) -> None:
    before = service.counts.started
    result = client.call("Down", kit.message("x", count=2))
    assert (result.code, result.messages) == (7, [])
    assert service.counts.started == before


def ask(port: int, verb: str, target: str, fields: Fields = (), body: bytes = b"") -> tuple[int, bytes]:
    """The status and body of one request on a connection of its own."""
    with closing(Http1(port)) as client:
        client.request(verb, target, [*fields, ("connection", "close")], body)
        return client.head(), client.body()


@pytest.mark.parametrize(
    "target",
    [
        "/v1/look/x",
        "/v1/look/x?text=y",
        "/v1/look/%78",
        "/kit.v1.Echo/Look?encoding=json&message=%7B%22text%22%3A%22x%22%7D&connect=v1",
        "/graphql?query=%7Ba%3Aecho%7Blook(text%3A%22x%22)%7Btext%7D%7D%7D",
        "/kit.v1.Echo%2FLook?encoding=json&message=%7B%7D&connect=v1",
        "//kit.v1.Echo/Look?encoding=json&message=%7B%7D&connect=v1",
        "/KIT.V1.echo/look?encoding=json&message=%7B%7D&connect=v1",
    ],
)
def test_no_way_of_writing_a_method_passes_its_rule(guarded: Running, service: Backend, target: str) -> None:
    before = service.counts.started
    status, answer = ask(guarded.port, "GET", target)
    assert service.counts.started == before
    assert status >= 400 or b"errors" in answer


def test_every_alias_of_a_query_is_decided_on(guarded: Running, service: Backend) -> None:
    before = service.counts.started
    names = json.loads(
        _post(guarded.port, "{ __schema { queryType { fields { name } } mutationType { fields { name } } } }")
    )["data"]["__schema"]["queryType"]["fields"]
    look = next(one["name"] for one in names if "look" in one["name"].lower())
    query = '{ a: LOOK(text: "x") { text } b: LOOK(text: "y") { text } }'.replace("LOOK", look)
    answer = json.loads(_post(guarded.port, query))
    assert {tuple(one["path"]) for one in answer["errors"]} == {("a",), ("b",)}
    assert {one["extensions"]["code"] for one in answer["errors"]} == {"UNAUTHENTICATED"}
    assert service.counts.started == before


def _post(port: int, query: str) -> bytes:
    body = json.dumps({"query": query}).encode()
    status, answer = ask(port, "POST", "/graphql", [("content-type", "application/json")], body)
    assert status == 200
    return answer


def test_missing_scopes_are_told_as_oauth_says(service: Backend, tmp_path: Path) -> None:
    rules = [{"match": "kit.v1.Echo/Look", "scopes": ["look", "see"]}, {}]
    with (
        gateway(config(service, tmp_path, rules, keyed=True), tmp_path) as running,
        closing(Http1(running.port)) as asked,
    ):
        asked.request("GET", "/v1/look/x", [("x-api-key", "a-key-of-some-length"), ("connection", "close")], b"")
        assert asked.head() == 403
        assert asked.get("www-authenticate") == 'Bearer error="insufficient_scope", scope="look see"'
        assert b"needs scope look see" in asked.body()


def test_clients_get_replies_without_the_fields_that_are_not_theirs(service: Backend, tmp_path: Path) -> None:
    rules = [{"anonymous": True, "fields": [{"field": "kit.v1.Message/seen", "scopes": "see"}]}]
    with gateway(config(service, tmp_path, rules), tmp_path) as running:
        for kind in DRIVERS:  # of GraphQL: test_withheld_fields.py
            client = kind(running.port)
            (got,) = client.call("Unary", kit.message("x")).messages
            assert (got.text, dict(got.seen)) == ("x", {})
            client.close()
