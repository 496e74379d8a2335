"""Calls carried as calls of another schema's method: clients of a REST service reach the gRPC service after it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Payload, Reply
from protogw.delivery.bridge import Bridge, Conversion, alike, counterpart, one_call
from protogw.delivery.compare import Rules, differences
from protogw.errors import BadUpstream, Code, Status
from tests.support.openapi import body
from tests.support.versions import GET, NAMES, NEW, NEW_GET, PROTO, Pool, answering, call, compiled, told

OTHER = """syntax = "proto3"; package shop.v2;
message GetItemRequest { string id = 1; %s } message Item { string id = 4; %s }
service Shop { rpc GetItem(GetItemRequest) returns (%sItem); }"""


def bridge(pool: Pool) -> Bridge:
    return Bridge(pool, GET, NEW_GET)


async def test_the_other_service_is_asked_in_its_own_words_and_its_answer_told_in_the_first_ones() -> None:
    pool = Pool("v2", answering(id="7", price="12", tags=["a"], weight=0.5), "grpc")
    asked = call(id="7")
    reply = await bridge(pool).send(asked)
    assert pool.calls[0].method is NEW_GET
    assert told(pool.calls[0].payload) == {"id": "7"}
    assert reply.payload is not None
    assert reply.payload.codec is GET.output.codec
    assert told(reply.payload) == {"id": "7", "price": "12", "tags": ["a"], "weight": 0.5}
    assert asked.upstream == "v2"
    assert asked.method is GET


async def test_a_refusal_of_the_other_service_is_one() -> None:
    reply = await bridge(Pool("v2", answering(Status(Code.NOT_FOUND, "no item")))).send(call(id="7"))
    assert reply.status.code is Code.NOT_FOUND


async def test_an_answer_that_is_none_speaks_against_the_service() -> None:
    async def broken(_: Call) -> Reply:
        return Reply(payload=Payload(b"\xff", Encoding.PROTO, NEW_GET.output.codec))

    with pytest.raises(BadUpstream):
        await bridge(Pool("v2", broken)).send(call(id="7"))


async def test_the_deadline_and_the_caller_stay() -> None:
    pool = Pool("v2", answering(id="7"))
    asked = call(GET, (b"x-user", b"ann"), id="7")
    asked.deadline = 17.0
    await bridge(pool).send(asked)
    assert pool.calls[0].deadline == 17.0
    assert pool.calls[0].metadata.get(b"x-user") == b"ann"


async def test_streams_are_carried_message_by_message() -> None:
    closed: list[bool] = []

    async def messages() -> AsyncIterator[Payload]:
        try:
            for name in ("1", "2"):
                codec = NEW_GET.output.codec
                yield Payload(codec.from_json(b'{"id":"%s"}' % name.encode()), Encoding.PROTO, codec)
        finally:
            closed.append(True)

    async def answer(_: Call) -> Reply:
        return Reply(payloads=messages())

    reply = await bridge(Pool("v2", answer)).send(call(id="7"))
    assert reply.payloads is not None
    assert [told(payload) async for payload in reply.payloads] == [{"id": "1"}, {"id": "2"}]
    assert closed == [True]


def test_the_counterpart_is_the_method_of_that_name_or_the_one_that_is_named() -> None:
    assert counterpart(GET, NEW, NAMES) is NEW_GET
    assert counterpart(GET, NEW, {}) is None
    assert counterpart(GET, NEW, {"shop.Shop/GetItem": "shop.v2.Shop/Added", **NAMES}) is not NEW_GET
    assert counterpart(NEW_GET, NEW, {}) is NEW_GET


def test_a_method_of_another_shape_is_no_counterpart() -> None:
    assert counterpart(NEW_GET, compiled(OTHER % ("", "", "stream ")), {}) is None


@pytest.mark.parametrize(
    ("asks", "answers", "same"),
    [
        ("", "", True),
        ("bool brief = 2;", "string name = 20;", True),
        ("", "int64 price = 7; repeated string tags = 2;", True),
        ("", "int64 price = 8;", False),
        ("", "string price = 7;", False),
        ("", "string tags = 2;", False),
        ("", "string label = 7;", False),
    ],
)
def test_types_are_alike_when_every_field_of_one_name_is_the_same_on_the_wire(
    asks: str, answers: str, same: bool
) -> None:
    other = compiled(OTHER % (asks, answers, "")).services["shop.v2.Shop"].methods["GetItem"]
    assert one_call(NEW_GET, other) is same


def test_types_with_json_of_their_own_are_never_alike() -> None:
    assert not alike(GET.output, NEW_GET.output)
    assert alike(NEW_GET.output, compiled(PROTO).types["shop.v2.Item"])


async def test_what_is_alike_passes_untouched() -> None:
    other = compiled(PROTO).services["shop.v2.Shop"].methods["GetItem"]
    pool = Pool("v2", answering(id="7"))
    asked = call(NEW_GET, id="7")
    reply = await Bridge(pool, NEW_GET, other).send(asked)
    assert pool.calls[0].payload is asked.payload
    assert reply.payload is not None
    assert reply.payload.codec is other.output.codec


CAMEL = """syntax = "proto3"; package shop.v3; import "google/protobuf/struct.proto";
message Made { string made_at = 1; Made inner_one = 2; map<string, Made> by_name = 3; repeated Made all_of = 4;
google.protobuf.Struct any_thing = 5; map<string, string> tag_of = 6; }"""


def test_names_that_differ_in_their_humps_are_one_at_any_depth() -> None:
    made = compiled(CAMEL).types["shop.v3.Made"]
    snake = made.codec.from_json(
        b'{"madeAt": "a", "innerOne": {"madeAt": "b"}, "byName": {"x_y": {"madeAt": "c"}},'
        b'"allOf": [{"madeAt": "d"}], "anyThing": {"made_at": 1}, "tagOf": {"made_at": "e"}}'
    )
    properties = {
        "made_at": {"type": "string"},
        "inner_one": {"$ref": "#/components/schemas/Made"},
        "by_name": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Made"}},
        "all_of": {"type": "array", "items": {"$ref": "#/components/schemas/Made"}},
        "any_thing": {"type": "object"},
        "tag_of": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    other = body({"$ref": "#/components/schemas/Made"}, {"Made": {"type": "object", "properties": properties}}).output
    there = Conversion(made, other)(Payload(snake, Encoding.PROTO, made.codec))
    assert told(there) == {
        "made_at": "a",
        "inner_one": {"made_at": "b"},
        "by_name": {"x_y": {"made_at": "c"}},
        "all_of": [{"made_at": "d"}],
        "any_thing": {"made_at": 1},
        "tag_of": {"made_at": "e"},
    }
    back = Conversion(other, made)(there)
    assert told(back) == told(Payload(snake, Encoding.PROTO, made.codec))


ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=8),
        "price": st.integers(-(2**63), 2**63 - 1).map(str),
        "tags": st.lists(st.text(max_size=4), max_size=4),
        "weight": st.floats(allow_nan=False, allow_infinity=False),
        "madeAt": st.text(max_size=8),
    },
)


@given(ITEMS)
def test_any_message_says_the_same_in_the_other_schema_and_back(item: dict[str, Any]) -> None:
    new, old = NEW_GET.output, GET.output
    first = Payload(new.codec.from_json(json.dumps(item).encode()), Encoding.PROTO, new.codec)
    there = Conversion(new, old)(first)
    assert differences(told(first), told(there), Rules()) == []
    assert differences(told(first), told(Conversion(old, new)(there)), Rules()) == []
