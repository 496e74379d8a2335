"""Rights on single fields in a running gateway: GraphQL has the rest of the data and errors, others what they had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import DRIVERS, Driver
from tests.support.gateway import Running, config_of, gateway
from tests.support.raw import Http1

KEY = "a-key-of-some-length"
PLAN = {"field": "kit.v1.Message/plan", "scopes": "plans", "otherwise": "refuse"}
SEEN = {"field": "seen", "scopes": "plans", "otherwise": "refuse"}
TEXT = {"field": "text", "scopes": "texts"}


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def running(service: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("withheld")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    keys = [{"consumer": "shop", "key": KEY}, {"consumer": "all", "key": KEY * 2, "scopes": ["plans", "texts"]}]
    policies = {
        "keys": {"api_key": {"keys": keys}},
        "kept": {"cache": {"ttl": "1m", "calls": {"kit.v1.Echo/*": "1m"}}},
        "may": {"authorize": {"rules": [{"fields": [PLAN, SEEN]}]}},
        "too": {"authorize": {"rules": [{"fields": [TEXT]}]}},
    }
    upstream = {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}}
    # The cache stands where it would give a caller's answer to another kind of client of the same caller's.
    with gateway(config_of(upstream, policies=policies, use=["keys", "kept", "may", "too"]), folder) as made:
        yield made


def ask(running: Running, query: str, key: str = KEY, **fields: str) -> bytes:
    with closing(Http1(running.port)) as client:
        body = json.dumps({"query": query}).encode()
        head = [("content-type", "application/json"), ("x-api-key", key), *fields.items()]
        client.request("POST", "/graphql", [*head, ("connection", "close")], body)
        assert client.head() == 200
        return client.body()


QUERY = '{ a: look(text: "x", number: "7", index: 3) { number text plan { count } } b: look(text: "x") { index } }'


def test_a_query_has_its_data_and_an_error_for_each_field_that_is_withheld(running: Running) -> None:
    for _ in range(2):
        found = json.loads(ask(running, QUERY.replace("text plan", "plan")))
        assert found["data"] == {"a": {"number": "7", "plan": None}, "b": {"index": 0}}
        (error,) = found["errors"]
        assert error["path"] == ["a", "plan"]
        assert error["extensions"]["code"] == "PERMISSION_DENIED"
        assert error["message"] == "kit.v1.Echo/Look: the caller may not see kit.v1.Message/plan"


def test_a_field_that_not_everybody_may_see_may_be_null_in_the_schema(running: Running) -> None:
    """A text of proto3 is never null otherwise, and would take its parent along."""
    found = json.loads(ask(running, QUERY))
    assert found["data"] == {"a": {"number": "7", "text": None, "plan": None}, "b": {"index": 0}}
    assert sorted(error["path"] for error in found["errors"]) == [["a", "plan"], ["a", "text"]]
    fields = json.loads(ask(running, '{ __type(name: "Message") { fields { name type { kind } } } }'))["data"]["__type"]
    never_null = {one["name"] for one in fields["fields"] if one["type"]["kind"] == "NON_NULL"}
    assert never_null == {"number", "data", "tags", "index"}


def test_who_may_see_it_all_is_told_of_no_error(running: Running) -> None:
    found = json.loads(ask(running, QUERY, KEY * 2))
    assert found == {"data": {"a": {"number": "7", "text": "x", "plan": None}, "b": {"index": 0}}}


SUBSCRIPTION = 'subscription { down(text: "x", plan: { count: 2 }) { index plan { count } } }'
EVENT = ({"index": 0, "plan": None}, [["down", "plan"]]), ({"index": 1, "plan": None}, [["down", "plan"]])


def shown(responses: list[dict[str, Any]]) -> Any:
    return tuple((one["data"]["down"], [error["path"] for error in one["errors"]]) for one in responses)


def test_every_event_of_a_subscription_has_its_errors(running: Running) -> None:
    body = ask(running, SUBSCRIPTION, accept="text/event-stream").decode()
    said = [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: {")]
    assert shown(said) == EVENT


def test_a_subscription_over_a_socket_goes_on(running: Running) -> None:
    fields = {"x-api-key": KEY}
    protocol = [Subprotocol("graphql-transport-ws")]
    url = f"ws://127.0.0.1:{running.port}/graphql"
    with connect(url, additional_headers=fields, subprotocols=protocol, proxy=None, legacy=True) as socket:
        socket.send('{"type":"connection_init"}')
        assert json.loads(socket.recv(timeout=10))["type"] == "connection_ack"
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": SUBSCRIPTION}}))
        said = [json.loads(socket.recv(timeout=10)) for _ in range(3)]
    assert [one["type"] for one in said] == ["next", "next", "complete"]
    assert shown([one["payload"] for one in said[:2]]) == EVENT


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: str(kind.name))
def test_every_other_client_is_refused_as_before(kind: type[Driver], running: Running) -> None:
    """Though GraphQL's reply to the same caller could have been kept."""
    found = json.loads(ask(running, '{ unary(text: "x", number: "7") { number } }'))
    assert found == {"data": {"unary": {"number": "7"}}}
    client = kind(running.port)
    client.extra = {"x-api-key": KEY}
    result = client.call("Unary", kit.message("x", number=7))
    assert (result.code, result.messages) == (7, [])
    client.close()
