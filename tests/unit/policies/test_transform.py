"""Transformation: metadata, paths and queries, and the fields of messages; what settings may name, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest
from protogw.identity import Identity
from protogw.policies.transform import Transform, TransformSettings
from protogw.wire.http import ResponseHead
from tests.support import kit, rpc
from tests.support.caching import call as a_call
from tests.support.caching import get

Message = rpc.UNARY.input.message


def transform(**settings: Any) -> Transform:
    return Transform(TransformSettings.model_validate(settings))


def message(payload: Payload | None) -> Any:
    assert payload is not None
    return Message.FromString(payload.proto())


class Seen:
    """The service: keeps what it gets, and answers with this."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.call: Call
        self.messages: list[Any] = []
        self._reply = reply

    async def __call__(self, call: Call) -> Reply:
        self.call = call
        if call.payloads is not None:
            self.messages = [message(payload) async for payload in call.payloads]
        elif call.payload is not None and call.payload.codec is not None:
            self.messages = [message(call.payload)]
        return self._reply or Reply(payload=Payload(b"", Encoding.PROTO, rpc.UNARY.output.codec))


def call(
    said: Any = None, *fields: tuple[str, str], method: Method = rpc.UNARY, encoding: Encoding = Encoding.PROTO
) -> Call:
    made = a_call("{}", *fields, method=method)
    data = (said if said is not None else kit.message("x")).SerializeToString()
    codec = method.input.codec
    made.payload = Payload(data if encoding is Encoding.PROTO else codec.to_json(data), encoding, codec)
    return made


async def asked(made: Call, **request: Any) -> Seen:
    seen = Seen()
    await transform(request=request)(made, seen)
    return seen


# ---- metadata


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"set": {"x-a": "1"}}, [("x-a", "0"), ("x-b", "2"), ("x-a", "3")], [("x-b", "2"), ("x-a", "1")]),
        ({"set": {"x-a": "1"}}, [("x_a", "0")], [("x-a", "1")]),
        ({"set": {"x-a": 5}}, [], [("x-a", "5")]),
        ({"add": {"x-a": "1"}}, [("x-a", "0")], [("x-a", "0"), ("x-a", "1")]),
        ({"default": {"x-a": "1", "x-b": "2"}}, [("x-a", "0")], [("x-a", "0"), ("x-b", "2")]),
        ({"remove": ["X-A"]}, [("x-a", "0"), ("x_a", "0"), ("x-b", "2")], [("x-b", "2")]),
        ({"remove": ["X-HTTP-Method-Override"]}, [("x-http-method-override", "DELETE"), ("x-b", "2")], [("x-b", "2")]),
        ({"rename": {"x-a": "x-b"}}, [("x-a", "0"), ("x-b", "2"), ("x-a", "1")], [("x-b", "0"), ("x-b", "1")]),
        ({"rename": {"x-a": "x-b"}}, [("x-b", "2")], [("x-b", "2")]),
        ({"rename": {"x-a": "x-b", "x-b": "x-a"}}, [("x-a", "1"), ("x-b", "2")], [("x-b", "1"), ("x-a", "2")]),
    ],
)
async def test_metadata_are_changed(changes: Any, before: list[tuple[str, str]], after: list[tuple[str, str]]) -> None:
    seen = await asked(call(None, *before), metadata=changes)
    assert seen.call.metadata.pairs == rpc.headers(after)


async def test_values_may_be_expressions_and_none_takes_the_clients_own_away() -> None:
    changes = {"set": {"x-user": {"from": "identity.claims.email"}, "x-text": {"from": "message.text"}}}
    made = call(None, ("x-user", "root"))
    made.identity = Identity(subject="a", scheme="test", claims={"email": "a@b.test"})
    assert (await asked(made, metadata=changes)).call.metadata.pairs == ((b"x-user", b"a@b.test"), (b"x-text", b"x"))
    made = call(None, ("x-user", "root"))
    assert (await asked(made, metadata=changes)).call.metadata.pairs == ((b"x-text", b"x"),)


async def test_half_a_character_is_no_part_of_what_goes_on() -> None:
    made = call(None)
    made.identity = Identity(subject="\ud800", scheme="test", groups=frozenset("\ud800"))
    one, list_of_one = {"from": "identity.subject"}, {"from": "identity.groups"}
    seen = await asked(made, metadata={"set": {"x-user": one}})
    assert seen.call.metadata.pairs == ((b"x-user", b"?"),)
    opaque = get()
    opaque.identity = made.identity
    await asked(opaque, query={"set": {"user": one}})
    assert (opaque.attributes or {})["query"] == b"user=%3F"
    for changes in ({"metadata": {"set": {"x-u": list_of_one}}}, {"message": {"set": {"text": list_of_one}}}):
        with pytest.raises(InvalidRequest, match="text"):
            await asked(made, **changes)
    with pytest.raises(InvalidRequest, match="tags"):
        await asked(made, message={"set": {"tags": list_of_one}})


async def test_an_expression_that_comes_to_nothing_writes_no_empty_field() -> None:
    nobody, absent = {"from": "identity.subject"}, {"from": 'header["x-empty"]'}
    made = call(None, ("x-user", "root"), ("x-empty", ""))
    seen = await asked(made, metadata={"set": {"x-user": nobody, "x-const": ""}, "add": {"x-more": absent}})
    assert seen.call.metadata.pairs == ((b"x-empty", b""), (b"x-const", b""))


@pytest.mark.parametrize("text", ["a\r\nx-admin: 1", "a\nb", "a\x00b", "\x7f", "é", "x" * 9000])
async def test_a_value_that_would_split_a_head_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="x-text: its value"):
        await asked(call(kit.message(text)), metadata={"set": {"x-text": {"from": "message.text"}}})


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "content-length",
        "Transfer_Encoding",
        "connection",
        ":path",
        "grpc-status",
        "te",
        "x-forwarded-for",
        "a b",
    ],
)
@pytest.mark.parametrize("how", ["set", "add", "default", "remove", "rename"])
def test_names_of_protocols_are_not_to_be_changed(name: str, how: str) -> None:
    changes: Any = [name] if how == "remove" else {name: "x-a"}
    with pytest.raises(ValidationError):
        TransformSettings.model_validate({"request": {"metadata": {how: changes}}})


async def test_equal_fields_are_changed_once() -> None:
    policy, seen = transform(request={"metadata": {"set": {"x-a": "1"}}}), Seen()
    shared = Metadata(rpc.headers([("x-b", "2")]))
    found = []
    for _ in range(2):
        made = call()
        made.metadata = shared
        await policy(made, seen)
        found.append(seen.call.metadata)
    assert found[0] is found[1]


async def test_reply_metadata_are_changed() -> None:
    policy = transform(reply={"metadata": {"set": {"x-a": {"from": "message.text"}}, "remove": "server-timing"}})
    payload = Payload(kit.message("said").SerializeToString(), Encoding.PROTO, rpc.UNARY.output.codec)
    reply = await policy(call(), Seen(Reply(Metadata(rpc.headers([("server-timing", "1")])), payload=payload)))
    assert reply.metadata.pairs == ((b"x-a", b"said"),)


async def test_replies_of_plain_http_are_changed() -> None:
    policy = transform(reply={"metadata": {"set": {"cache-control": "no-store"}, "remove": ["x-powered-by"]}})
    head = ResponseHead(203, rpc.headers([("x-powered-by", "a"), ("cache-control", "public")]))
    reply = await policy(get(), Seen(Reply(head=head, payload=Payload(b"", Encoding.RAW))))
    assert reply.head is not None
    assert (reply.head.status, reply.head.headers) == (203, ((b"cache-control", b"no-store"),))
    assert head.headers[0] == (b"x-powered-by", b"a")


# ---- path and query


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"strip": "/api"}, "/api/a/b", "/a/b"),
        ({"strip": "/api/"}, "/api", "/"),
        ({"strip": "/api"}, "/apis/a", "/apis/a"),
        ({"strip": "/api"}, "/a/api", "/a/api"),
        ({"prefix": "/v2"}, "/a", "/v2/a"),
        ({"prefix": "/v2/"}, "/", "/v2"),
        ({"strip": "/api", "prefix": "/v2"}, "/api/a%20b", "/v2/a%20b"),
    ],
)
async def test_a_path_is_moved_by_whole_segments(changes: Any, before: str, after: str) -> None:
    seen = await asked(get(before), path=changes)
    assert seen.call.attributes == {"path": after.encode()}


@pytest.mark.parametrize("path", ["/api/../admin", "/api//x", "/api/..;/x", "/api/%2e%2e/x"])
async def test_a_path_that_reads_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        await asked(get(path), path={"strip": "/api"})


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"set": {"a": "1 2&3"}}, "b=x%20y;z&a=0&%61=9&c", b"b=x%20y;z&c&a=1%202%263"),
        ({"remove": ["a+b"]}, "a%2Bb=1&a+b=2&a", b"a+b=2&a"),
        ({"rename": {"q": "query"}}, "q=a%2f&query=old&q", b"query=a%2f&query"),
        ({"default": {"page": 1}}, "page=", b"page="),
        ({"default": {"page": 1}}, "", b"page=1"),
        ({"add": {"t": {"from": "path"}}}, "t=1", b"t=1&t=%2Fpage"),
    ],
)
async def test_a_query_is_changed(changes: Any, before: str, after: bytes) -> None:
    seen = await asked(get(f"/page?{before}"), query=changes)
    assert seen.call.attributes == {"query": after}


# ---- messages


def full() -> Any:
    made = kit.message("x", number=5, tags=["a", "b"], index=3, count=2)
    made.seen["env"] = "test"
    made.seen["zone"] = "1"
    return made


@pytest.mark.parametrize(
    ("changes", "expect"),
    [
        ({"set": {"text": "y"}}, {"text": "y"}),
        ({"set": {"number": "9007199254740993"}}, {"number": 9007199254740993}),
        ({"set": {"number": 7}}, {"number": 7}),
        ({"set": {"data": "AAE="}}, {"data": b"\x00\x01"}),
        ({"set": {"tags": ["c"]}}, {"tags": ["c"]}),
        ({"set": {"seen.env": "prod"}}, {"seen": {"env": "prod", "zone": "1"}}),
        ({"set": {"seen": {"a": "b"}}}, {"seen": {"a": "b"}}),
        ({"set": {"plan.delay_ms": 4}}, {"plan": {"count": 2, "delay_ms": 4}}),
        ({"set": {"plan.delayMs": 4}}, {"plan": {"count": 2, "delay_ms": 4}}),
        ({"set": {"plan": {"size": 1}}}, {"plan": {"size": 1}}),
        ({"set": {"at": "1970-01-01T00:00:01Z"}}, {"at": {"seconds": 1}}),
        ({"set": {"text": {"from": "identity.subject"}}}, {"text": "me"}),
        ({"set": {"number": {"from": "message.index + 1"}}}, {"number": 4}),
        ({"set": {"tags": {"from": "identity.groups"}}}, {"tags": ["g"]}),
        ({"set": {"text": {"from": "message.number"}}}, {"text": "5"}),
        ({"set": {"text": {"from": "header.x-absent"}}}, {"text": ""}),
        ({"set": {"text": {"from": "identity.claims.nothing"}}}, {"text": ""}),
        ({"remove": ["tags", "plan.count"]}, {"tags": [], "plan": {}}),
        ({"remove": ["seen.env", "at"]}, {"seen": {"zone": "1"}}),
        ({"default": {"text": "y", "data": "AA=="}}, {"data": b"\x00"}),
        ({"default": {"seen.env": "y", "seen.more": "z"}}, {"seen": {"env": "test", "zone": "1", "more": "z"}}),
        ({"default": {"plan.size": 9, "tags": ["z"]}}, {"plan": {"count": 2, "size": 9}}),
        ({"rename": {"plan.count": "plan.size"}}, {"plan": {"size": 2}}),
        ({"rename": {"index": "plan"}}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("encoding", [Encoding.PROTO, Encoding.JSON], ids=["proto", "json"])
async def test_fields_are_changed(changes: Any, expect: Any, encoding: Encoding) -> None:
    made = call(full(), encoding=encoding)
    made.identity = Identity(subject="me", scheme="test", groups=frozenset(("g",)))
    policy, seen = transform(request={"message": changes}), Seen()
    if expect is None:
        assert policy.fit([rpc.UNARY], True)
        return
    assert policy.fit([rpc.UNARY], True) == []
    await policy(made, seen)
    wanted = full()
    for name, value in expect.items():
        wanted.ClearField(name)
        field = getattr(wanted, name)
        if isinstance(value, dict) and name != "seen":
            field.SetInParent()
            for key, one in value.items():
                setattr(field, key, one)
        elif isinstance(value, dict):
            field.update(value)
        elif isinstance(value, list):
            field.extend(value)
        else:
            setattr(wanted, name, value)
    assert seen.messages[0].SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)


async def test_unknown_fields_stay() -> None:
    made = call()
    assert made.payload is not None
    made.payload = Payload(b"\xf8\x3f\x01", Encoding.PROTO, made.payload.codec)
    seen = await asked(made, message={"set": {"index": 1}})
    assert seen.call.payload is not None
    assert b"\xf8\x3f\x01" in seen.call.payload.data


async def test_every_message_of_a_stream_is_changed() -> None:
    async def many() -> AsyncIterator[Payload]:
        for index in range(3):
            yield Payload(kit.message("x", index=index).SerializeToString(), Encoding.PROTO, rpc.UP.input.codec)

    made = call(method=rpc.UP)
    made.payload, made.payloads = None, many()
    request = {"message": {"set": {"text": {"from": "string(message.index)"}}}, "when": "message.index > 0"}
    seen = await asked(made, **request)
    assert [one.text for one in seen.messages] == ["x", "1.0", "2.0"] or [one.text for one in seen.messages] == [
        "x",
        "1",
        "2",
    ]
    reply = Reply(payloads=many())
    policy = transform(reply={"message": {"remove": ["text"]}})
    found = await policy(call(method=rpc.DOWN), Seen(reply))
    assert found.payloads is not None
    assert [message(payload).text async for payload in found.payloads] == [""] * 3


async def test_a_condition_says_for_which_calls() -> None:
    request = {"when": 'header["x-beta"] == "1"', "metadata": {"set": {"x-a": "1"}}, "message": {"set": {"text": "y"}}}
    beta = await asked(call(None, ("x-beta", "1")), **request)
    plain = await asked(call(), **request)
    assert (beta.messages[0].text, plain.messages[0].text) == ("y", "x")
    assert plain.call.metadata.pairs == ()
    by_message = await asked(call(kit.message("x", index=1)), when="message.index == 1", message={"set": {"text": "y"}})
    assert by_message.messages[0].text == "y"


async def test_a_reply_that_is_no_message_is_the_services_fault() -> None:
    policy = transform(reply={"message": {"remove": ["text"]}})
    with pytest.raises(BadUpstream):
        await policy(call(), Seen(Reply(payload=Payload(b"\xff", Encoding.PROTO, rpc.UNARY.output.codec))))
    bad = call()
    bad.payload = Payload(b"\xff", Encoding.PROTO, rpc.UNARY.input.codec)
    with pytest.raises(InvalidRequest):
        await asked(bad, message={"remove": ["text"]})


async def test_a_value_that_does_not_fit_is_told_by_its_field() -> None:
    with pytest.raises(InvalidRequest, match="number"):
        await asked(call(), message={"set": {"number": {"from": "message.text"}}})


# ---- what does not fit


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"set": {"txt": "y"}}, 'request.message.set.txt: kit.v1.Message has no field "txt"; did you mean "text"?'),
        ({"remove": ["plan.cont"]}, 'remove.plan.cont: kit.v1.Plan has no field "cont"; did you mean "count"?'),
        ({"remove": ["text.x"]}, "remove.text.x: kit.v1.Message.text is no message, and has nothing in it"),
        ({"remove": ["seen.a.b"]}, "kit.v1.Message.seen is no message"),
        ({"remove": ["tags.0"]}, "kit.v1.Message.tags is no message"),
        ({"set": {"number": "many"}}, "request.message.set.number:"),
        ({"set": {"plan": {"nothing": 1}}}, "request.message.set.plan:"),
        ({"default": {"at": "soon"}}, "request.message.default.at:"),
        ({"rename": {"text": "number"}}, "rename.text: number is not of the same type"),
        ({"rename": {"plan.count": "index"}}, "is not a field of the same message"),
        ({"rename": {"text": "nothing"}}, 'has no field "nothing"'),
        ({"remove": [".".join(["plan"] * 40)]}, "is deeper than 32 fields"),
        ({"remove": [""]}, 'has no field ""'),
    ],
)
async def test_what_does_not_fit_the_type_is_a_fault_and_closes_the_method(changes: Any, fault: str) -> None:
    policy = transform(request={"message": changes})
    (found,) = policy.fit([rpc.UNARY, rpc.LOOK], True)
    assert fault in found
    with pytest.raises(GatewayError) as caught:
        await policy(call(), Seen())
    assert caught.value.status.code is Code.FAILED_PRECONDITION


async def test_only_the_methods_that_are_named_are_changed() -> None:
    settings = {"calls": "kit.v1.Echo/Look", "request": {"message": {"set": {"text": "y"}}}}
    policy, seen = transform(**settings), Seen()
    assert policy.fit([rpc.UNARY, rpc.LOOK], True) == []
    assert policy.fit([rpc.UNARY], True) == [
        "calls.kit.v1.Echo/Look: there is no such method where this policy is used; there is Unary"
    ]
    await policy(call(), seen)
    assert seen.messages[0].text == "x"
    await policy(call(method=rpc.LOOK), seen)
    assert seen.messages[0].text == "y"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"request": {"metadata": {}}},
        {"request": {"path": {}}},
        {"reply": {"message": {}}},
        {"request": {"path": {"strip": "api"}}},
    ],
    ids=str,
)
def test_settings_that_change_nothing_are_refused(settings: Any) -> None:
    with pytest.raises(ValidationError):
        TransformSettings.model_validate(settings)


@given(st.text(max_size=60))
def test_any_path_is_a_field_or_a_fault(path: str) -> None:
    policy = transform(request={"message": {"remove": [path]}})
    faults = policy.fit([rpc.UNARY], True)
    assert not faults or faults[0].startswith("request.message.remove.")


@given(st.binary(max_size=200))
async def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    made = call()
    made.payload = Payload(data, Encoding.PROTO, rpc.UNARY.input.codec)
    try:
        seen = await asked(made, message={"set": {"plan.size": 1}, "remove": ["seen.a", "tags"]})
    except InvalidRequest:
        return
    assert seen.messages[0].plan.size == 1
