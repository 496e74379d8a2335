"""Decisions of an Open Policy Agent: the input, what counts as a decision, and that none lets nobody through.

The agent here is a stand-in that answers as its REST API is documented to (openpolicyagent.org/docs/latest/rest-api).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Forbidden, GatewayError, Overloaded, Unauthenticated
from protogw.identity import Identity
from protogw.policies.opa import Opa, OpaSettings
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support import rpc
from tests.support.asked import Server, asked_server

ANN = Identity(subject="ann", scheme="jwt", groups=frozenset({"staff"}), claims={"tenant": "acme"}, expires_at=9e9)


def call(*fields: Header, identity: Identity | None = ANN, text: str = "x", method: Any = rpc.UNARY) -> Call:
    head = RequestHead(b"POST", b"/v1/echo", b"token=secret", b"gw.test", fields, HTTP_1_1)
    payload = Payload(b'{"text":"%b"}' % text.encode(), Encoding.JSON if method else Encoding.RAW)
    if method is not None:
        payload.codec = rpc.UNARY.input.codec
    made = Call(
        method, Metadata(fields), front_end="rest", peer=Peer("192.0.2.1", 7), started=0.0, head=head, payload=payload
    )
    made.identity = identity
    return made


async def forward(call: Call) -> Reply:
    return Reply()


@pytest.fixture
async def agent() -> AsyncIterator[tuple[Server, Any]]:
    async with asked_server() as made:
        made[0].body = b'{"result":true}'
        yield made


def asking(agent: tuple[Server, Any], **settings: Any) -> Opa:
    server, tools = agent
    made = Opa(OpaSettings.model_validate({"url": f"{server.url}/v1/data/gateway/allow", **settings}))
    made.equip(tools)
    return made


async def test_the_input_is_the_call(agent: tuple[Server, Any]) -> None:
    fields = ((b"x-tenant", b"a"), (b"x-tenant", b"b"), (b"authorization", b"Bearer secret"))
    await asking(agent, send=["X-Tenant"], message=True, token="t0ken")(call(*fields), forward)
    (asked,) = agent[0].asked
    assert asked.line == "POST /v1/data/gateway/allow HTTP/1.1"
    assert asked.fields["authorization"] == "Bearer t0ken"
    assert orjson.loads(asked.body) == {
        "input": {
            "method": "kit.v1.Echo/Unary",
            "service": "kit.v1.Echo",
            "name": "Unary",
            "front_end": "rest",
            "identity": {
                "subject": "ann",
                "consumer": "",
                "issuer": "",
                "scheme": "jwt",
                "groups": ["staff"],
                "scopes": [],
                "claims": {"tenant": "acme"},
                "metadata": {},
            },
            "peer": {"address": "192.0.2.1", "identity": "", "tls": False},
            "headers": {"x-tenant": ["a", "b"]},
            "http": {"method": "POST", "path": "/v1/echo", "segments": ["v1", "echo"], "host": "gw.test"},
            "message": {"text": "x"},
        }
    }
    assert b"secret" not in asked.body


async def test_only_what_is_asked_for_is_told(agent: tuple[Server, Any]) -> None:
    await asking(agent)(call((b"x-tenant", b"a"), identity=None), forward)
    told = orjson.loads(agent[0].asked[0].body)["input"]
    assert (told["headers"], told["identity"], "message" in told) == ({}, None, False)


async def test_plain_http_is_told_by_its_path(agent: tuple[Server, Any]) -> None:
    await asking(agent, message=True)(call(method=None), forward)
    told = orjson.loads(agent[0].asked[0].body)["input"]
    assert (told["method"], told["http"]["path"], "message" in told) == ("", "/v1/echo", False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":true}',
        b'{"result":{"allow":true,"reason":"x"}}',
        b'{"decision_id":"1","metrics":{"timer_rego_query_eval_ns":1},"provenance":{"version":"1.22.3"},"result":true}\n',
    ],
)
async def test_what_is_allowed_goes_on(agent: tuple[Server, Any], body: bytes) -> None:
    agent[0].body = body
    await asking(agent)(call(), forward)


async def refused(policy: Opa, made: Call | None = None) -> GatewayError:
    async def never(call: Call) -> Reply:
        raise AssertionError("the call went on")

    with pytest.raises(GatewayError) as caught:
        await policy(made or call(), never)
    return caught.value


async def test_paths_and_hosts_are_told_as_routes_compare_them(agent: tuple[Server, Any]) -> None:
    made = call(method=None)
    made.head = RequestHead(b"GET", b"/%61dmin/a%20b", b"", b"GW.Test.:8080", (), HTTP_1_1)
    await asking(agent)(made, forward)
    http = orjson.loads(agent[0].asked[0].body)["input"]["http"]
    assert (http["path"], http["segments"], http["host"]) == ("/admin/a%20b", ["admin", "a b"], "gw.test")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"result":false}', "not allowed"),
        (b"{}", "nothing allows it"),
        (b'{"decision_id":"1"}', "nothing allows it"),
        (b'{"warning":{"code":"api_usage_warning","message":"no input"}}', "nothing allows it"),
        (b'{"result":{}}', "not allowed"),
        (b'{"result":{"allow":false,"reason":"after\\nhours"}}', "after hours"),
        (b'{"result":{"allow":false,"reason":"\\u001b[31m"}}', "not allowed"),
        (b'{"result":{"allow":false,"reason":7}}', "not allowed"),
    ],
)
async def test_what_is_not_allowed_is_refused(agent: tuple[Server, Any], body: bytes, said: str) -> None:
    agent[0].body = body
    error = await refused(asking(agent))
    assert isinstance(error, Forbidden)
    assert error.message == said
    assert isinstance(await refused(asking(agent), call(identity=None)), Unauthenticated)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"true"),
        (200, b"not json"),
        (200, b""),
        (200, b'{"result":"true"}'),
        (200, b'{"result":1}'),
        (200, b'{"result":null}'),
        (200, b'{"result":[true]}'),
        (200, b'{"result":{"allow":"yes"}}'),
        (200, b'{"result":{"allow":true,"headers":["a"]}}'),
        (200, b'{"result":{"allow":true,"headers":{"x-user":7}}}'),
        (200, b'{"result":{"allow":true,"headers":{"x-user":"a\\r\\nb: c"}}}'),
        (500, b'{"result":true}'),
        (500, b'{"code":"internal_error","message":"error(s) occurred while evaluating query","errors":[]}'),
        (401, b'{"code":"unauthorized","message":"request rejected by administrative policy"}'),
        (404, b'{"result":true}'),
        (302, b'{"result":true}'),
        (None, b""),
    ],
)
async def test_what_is_no_decision_lets_nobody_through(agent: tuple[Server, Any], status: Any, body: bytes) -> None:
    agent[0].status, agent[0].body = status, body
    policy = asking(agent, timeout="100ms", take="x-user")
    assert isinstance(await refused(policy), Overloaded)
    assert policy._unanswered.value == 1


async def test_calls_go_on_without_a_decision_only_where_that_is_written(
    agent: tuple[Server, Any], caplog: pytest.LogCaptureFixture
) -> None:
    agent[0].status = 500
    policy = asking(agent, on_error="open")
    with caplog.at_level(logging.WARNING, "protogw"):
        await policy(call(), forward)
        await policy(call(), forward)
    assert caplog.messages == ["policies.outside: there is no decision, calls are let through: answered HTTP 500"]


async def test_the_decision_may_write_fields_that_are_named(agent: tuple[Server, Any]) -> None:
    agent[0].body = b'{"result":{"allow":true,"headers":{"X-User":"ann","x-role":["a","b"],"x-other":"z"}}}'
    policy = asking(agent, take=["x-user", "x-role"])
    made = call((b"x-user", b"root"), (b"accept", b"*/*"))
    await policy(made, forward)
    assert made.metadata.pairs == ((b"accept", b"*/*"), (b"x-user", b"ann"), (b"x-role", b"a"), (b"x-role", b"b"))
    assert policy.written_headers == {b"x-user", b"x-role"}


async def test_equal_inputs_are_asked_for_once_where_decisions_are_kept(agent: tuple[Server, Any]) -> None:
    policy = asking(agent, cache="1h", message=True)
    for _ in range(3):
        await policy(call(), forward)
    assert len(agent[0].asked) == 1
    await policy(call(text="y"), forward)
    agent[0].body = b'{"result":false}'
    for _ in range(2):
        await refused(policy, call(identity=None))
    assert len(agent[0].asked) == 3


async def test_failures_are_not_kept_and_decisions_are_bounded(agent: tuple[Server, Any]) -> None:
    policy = asking(agent, cache="1h", cache_size=2, message=True)
    agent[0].status = 500
    await refused(policy)
    agent[0].status = 200
    await policy(call(), forward)
    for number in range(10):
        await policy(call(text=str(number)), forward)
    assert policy._cache is not None
    assert len(policy._cache) <= 2


async def test_a_message_goes_on_as_it_was_decided_on(agent: tuple[Server, Any]) -> None:
    made = call()
    await asking(agent, message=True)(made, forward)
    assert made.payload is not None
    assert made.payload.encoding is Encoding.PROTO


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"url": "opa:8181"}, "is not an address"),
        ({"url": "http://opa/", "ca": "/dev/null"}, "https"),
        ({"url": "http://opa/", "take": "host"}, "means something"),
        ({"url": "http://opa/", "send": "a b"}, "pattern"),
        ({}, "required"),
    ],
)
def test_settings_that_make_no_sense_are_told(written: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpaSettings.model_validate(written)


def test_the_token_is_in_no_repr() -> None:
    assert "t0ken" not in repr(OpaSettings.model_validate({"url": "http://opa/", "token": "t0ken"}))
