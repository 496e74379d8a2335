"""Documents, plans and calls of the GraphQL front end."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, Detail, Status, Unreachable
from tests.support import hello
from tests.support.graphql import Service, ask, codes, front, post, run

THING = hello.Thing(id="x", int64_value=2**53 + 1, words=["a", "b"], counts={"b": 2, "a": 1})


async def test_a_reply_is_shown_as_it_was_asked_for() -> None:
    reply = hello.Thing(id="x", colour=1, inner=hello.Thing(id="y"), text="t", blobs=[b"\0\xff"], at={"seconds": 1})
    document = """{ getThing(id: "x") {
        name: id colour inner { id maybe } blobs at __typename
        choice { __typename ... on ThingChoiceText { text } ... on ThingChoiceLong { long } } } }"""
    assert await run(document, Service(GetThing=reply)) == {
        "data": {
            "getThing": {
                "name": "x",
                "colour": "RED",
                "inner": {"id": "y", "maybe": None},
                "blobs": ["AP8="],
                "at": "1970-01-01T00:00:01Z",
                "__typename": "Thing",
                "choice": {"__typename": "ThingChoiceText", "text": "t"},
            }
        }
    }


async def test_fields_come_in_the_order_of_the_document() -> None:
    service = Service(GetThing=THING, Hello=hello.StringValue(value="w"))
    response = await run('{ b: __typename getThing(id: "1") { words id counts { value key } } hello }', service)
    assert list(response["data"]) == ["b", "getThing", "hello"]
    assert list(response["data"]["getThing"]) == ["words", "id", "counts"]
    assert response["data"]["getThing"]["counts"] == [{"value": 1, "key": "a"}, {"value": 2, "key": "b"}]


async def test_arguments_and_variables_become_the_request() -> None:
    service = Service(MakeThing=THING)
    document = """mutation ($inner: ThingInput, $at: Timestamp = "2026-01-31T12:00:00Z", $none: String, $long: Int64) {
        makeThing(id: "x", inner: $inner, at: $at, text2: null) { id } }""".replace(", text2: null", "")
    inner = {
        "choice": {"thing": {"id": "deep"}},
        "counts": [{"key": "a", "value": 1}],
        "colourOf": [{"key": "-5", "value": "GREEN"}],
        "blobs": ["AP8", "-_8="],
        "anything": {"a": [1, None]},
        "value": None,
        "wrappedLong": "7",
        "wrappedBytes": "AA==",
        "empty": True,
        "within": "1.5s",
        "mask": "a,bC",
        "nothing": {},
    }
    assert "errors" not in await run(
        document.replace(", $none: String, $long: Int64", ""), service, variables={"inner": inner}
    )
    (sent,) = service.requests(hello.Thing)
    assert (sent.id, sent.at.seconds, sent.inner.thing.id) == ("x", 1769860800, "deep")
    assert (dict(sent.inner.counts), dict(sent.inner.colour_of)) == ({"a": 1}, {-5: 2})
    assert list(sent.inner.blobs) == [b"\0\xff", b"\xfb\xff"]
    assert sent.inner.value.WhichOneof("kind") == "null_value"
    assert (sent.inner.wrapped_long.value, sent.inner.HasField("empty"), sent.inner.HasField("nothing")) == (
        7,
        True,
        True,
    )
    assert (sent.inner.within.nanos, list(sent.inner.mask.paths)) == (500_000_000, ["a", "b_c"])


async def test_a_variable_inside_a_literal() -> None:
    service = Service(MakeThing=THING)
    document = """mutation ($id: String, $w: String!, $gone: String) {
        makeThing(inner: {id: $id, words: ["a", $w], maybe: $gone, anything: {k: $w}}) { id } }"""
    await run(document, service, variables={"id": "i", "w": "v"})
    (sent,) = service.requests(hello.Thing)
    assert (sent.inner.id, list(sent.inner.words), sent.inner.HasField("maybe")) == ("i", ["a", "v"], False)
    assert sent.inner.anything["k"] == "v"


async def test_maps_as_json_go_in_and_come_out_whole() -> None:
    graphql = front(maps="json", int64="string")
    service = Service(MakeThing=lambda call: _echo(call))
    document = """mutation ($of: JSON) { makeThing(counts: {a: 1}, thingOf: $of, int64Value: "5") {
        counts thingOf int64Value } }"""
    response = await run(document, service, graphql=graphql, variables={"of": {"k": {"id": "z"}}})
    assert response == {"data": {"makeThing": {"counts": {"a": 1}, "thingOf": {"k": {"id": "z"}}, "int64Value": "5"}}}


def _echo(call: Call) -> Any:
    assert call.payload is not None
    return hello.Thing.FromString(call.payload.proto())


async def test_conditions_are_decided_by_variables_on_one_document() -> None:
    graphql, service = front(), Service(GetThing=THING)
    document = """query ($yes: Boolean!) { getThing(id: "1") { id @include(if: $yes) ...F @skip(if: $yes) } }
        fragment F on Thing { words }"""
    first = await run(document, service, graphql=graphql, variables={"yes": True})
    second = await run(document, service, graphql=graphql, variables={"yes": False})
    assert (first["data"]["getThing"], second["data"]["getThing"]) == ({"id": "x"}, {"words": ["a", "b"]})


async def test_equal_calls_of_a_query_are_made_once_and_others_at_once() -> None:
    service = Service(GetThing=THING, Hello=hello.StringValue(value="w"))
    document = '{ a: getThing(id: "1") { id } b: getThing(id: "1") { words } c: getThing(id: "2") { id } hello }'
    response = await run(document, service)
    assert response["data"] == {"a": {"id": "x"}, "b": {"words": ["a", "b"]}, "c": {"id": "x"}, "hello": "w"}
    assert (len(service.calls), service.most_at_once) == (3, 3)


async def test_mutations_are_made_one_after_another_even_when_they_are_equal() -> None:
    service = Service(DropThing=hello.Empty())
    response = await run('mutation { a: dropThing(id: "1") b: dropThing(id: "1") }', service)
    assert response == {"data": {"a": True, "b": True}}
    assert (len(service.calls), service.most_at_once) == (2, 1)


async def test_one_field_that_fails_leaves_the_others() -> None:
    detail = Detail("type.googleapis.com/google.protobuf.Duration", b"\x08\x05")
    service = Service(
        GetThing=Status(Code.NOT_FOUND, "no thing", (detail,)),
        Hello=hello.StringValue(value="w"),
    )
    response = await run('{\n  hello\n  thing: getThing(id: "1") { id }\n}', service)
    assert response == {
        "errors": [
            {
                "message": "no thing",
                "locations": [{"line": 3, "column": 3}],
                "path": ["thing"],
                "extensions": {
                    "code": "NOT_FOUND",
                    "status": {
                        "code": 5,
                        "details": [{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "5s"}],
                    },
                },
            }
        ],
        "data": {"hello": "w", "thing": None},
    }


async def test_what_is_wrong_between_gateway_and_service_is_not_told() -> None:
    response = await run("{ hello }", Service(Hello=Unreachable("10.0.0.7:50051: connection refused")))
    (error,) = response["errors"]
    assert (error["message"], error["extensions"]["code"]) == ("the service could not be reached", "UNAVAILABLE")


async def test_only_the_code_is_told_where_the_settings_say_so() -> None:
    detail = Detail("type.googleapis.com/google.protobuf.Duration", b"\x08\x05")
    service = Service(Hello=Status(Code.INTERNAL, "table users: disk full", (detail,)))
    response = await run("{ hello }", service, graphql=front(errors="code"))
    assert response["errors"][0]["message"] == "INTERNAL"
    assert response["errors"][0]["extensions"] == {"code": "INTERNAL", "status": {"code": 13}}


async def test_a_value_that_graphql_cannot_say_is_null_with_an_error_at_its_path() -> None:
    reply = hello.Thing(
        things=[hello.Thing(), hello.Thing(colour=7, double_value=float("inf"), floats=[1.5, float("nan")])]
    )
    response = await run("{ getThing { things { colour doubleValue floats } } }", Service(GetThing=reply))
    assert response["data"]["getThing"]["things"] == [
        {"colour": "COLOUR_UNSPECIFIED", "doubleValue": 0.0, "floats": []},
        {"colour": None, "doubleValue": None, "floats": [1.5, None]},
    ]
    assert [error["path"] for error in response["errors"]] == [
        ["getThing", "things", 1, "colour"],
        ["getThing", "things", 1, "doubleValue"],
        ["getThing", "things", 1, "floats", 1],
    ]


async def test_a_reply_that_is_no_such_message_is_the_fields_error() -> None:
    def broken(call: Call) -> Reply:
        assert call.method is not None
        return Reply(payload=Payload(b"\xff\xff", Encoding.PROTO, call.method.output.codec))

    response = await run("{ getThing { id } }", Service(GetThing=broken))
    assert (response["data"], codes(response)) == ({"getThing": None}, ["INTERNAL"])


async def test_an_argument_that_the_message_cannot_hold_is_named() -> None:
    service = Service(MakeThing=THING)
    document = "mutation ($inner: ThingInput) { makeThing(inner: $inner) { id } }"
    for inner, said in (
        ({"blobs": ["!"]}, "inner: blobs: not base64"),
        ({"floatValue": 1e300}, "inner: floatValue: out of range for a float"),
        ({"counts": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}, "inner: counts: the key a is there twice"),
        ({"at": "yesterday"}, "inner: at: "),
        ({"any": {"@type": "nope"}}, "inner: any: "),
    ):
        response = await run(document, service, variables={"inner": inner})
        (error,) = response["errors"]
        assert error["message"].startswith(said), error
        assert (error["extensions"]["code"], error["path"]) == ("BAD_USER_INPUT", ["makeThing"])
    assert not service.calls


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, 'Variable "$id" of required type was not provided.'),
        ({"id": None}, 'Variable "$id" got an invalid value; Expected non-nullable type "String!" not to be None.'),
        ({"id": 5}, 'Variable "$id" got an invalid value; String cannot represent a non string value: 5'),
        (
            {"id": "a", "inner": {"int32Value": 1 << 31}},
            'Variable "$inner.int32Value" got an invalid value; Int cannot',
        ),
        (
            {"id": "a", "inner": {"things": [{"words": [[]]}]}},
            'Variable "$inner.things[0].words[0]" got an invalid value',
        ),
        ({"id": "a", "inner": {"__proto__": {}}}, 'Field "__proto__" is not defined by type "ThingInput".'),
        (
            {"id": "a", "inner": {"choice": {"text": "a", "long": 1}}},
            "Exactly one key must be specified for OneOf type",
        ),
        ({"id": "a", "inner": []}, 'Expected type "ThingInput" to be a mapping.'),
    ],
)
async def test_variables_that_are_not_of_their_type_are_refused_before_any_call(variables: Any, said: str) -> None:
    service = Service(MakeThing=THING)
    document = "mutation ($id: String!, $inner: ThingInput) { makeThing(id: $id, inner: $inner) { id } }"
    response = await run(document, service, variables=variables)
    (error,) = response["errors"]
    assert said in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in response
    assert not service.calls


async def test_variables_nested_without_end_are_refused() -> None:
    inner: dict[str, Any] = {}
    for _ in range(500):
        inner = {"inner": inner}
    document = "mutation ($inner: ThingInput) { makeThing(inner: $inner) { id } }"
    response = await run(document, Service(), variables={"inner": inner})
    assert codes(response) == ["BAD_USER_INPUT"]


async def test_several_operations_need_a_name() -> None:
    document, service = "query A { hello } query B { __typename }", Service(Hello=hello.StringValue(value="w"))
    assert codes(await run(document, service)) == ["OPERATION_RESOLUTION_FAILURE"]
    assert codes(await run(document, service, operationName="C")) == ["OPERATION_RESOLUTION_FAILURE"]
    assert await run(document, service, operationName="B") == {"data": {"__typename": "Query"}}


async def test_the_replies_metadata_becomes_fields_and_the_requests_metadata_goes_along() -> None:
    service = Service(Metadata(((b"x-lead", b"1"), (b"grpc-secret", b"2"))), Hello=hello.StringValue(value="w"))
    exchange = await ask(front(), post({"query": "{ hello }"}, ("authorization", "Bearer t")), service)
    assert (exchange.get("x-lead"), exchange.get("grpc-secret")) == ("1", None)
    assert service.calls[0].metadata.get(b"authorization") == b"Bearer t"
    assert service.calls[0].front_end == "graphql"


async def test_a_client_that_goes_away_cancels_every_call() -> None:
    reached = asyncio.Semaphore(0)

    async def forever(_call: Call) -> Any:
        reached.release()
        await asyncio.Event().wait()

    service = Service(GetThing=forever, Hello=forever)
    asked = asyncio.ensure_future(ask(front(), post({"query": '{ hello getThing(id: "1") { id } }'}), service))
    await reached.acquire()
    await reached.acquire()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (service.cancelled, service.running) == (2, 0)


async def test_each_call_has_the_deadline_of_the_request_and_a_late_one_is_its_fields_error() -> None:
    loop = asyncio.get_running_loop()

    async def forever(call: Call) -> Any:
        assert call.timeout is not None
        call.arm(loop, call.timeout)
        await asyncio.Event().wait()

    service = Service(GetThing=forever, Hello=hello.StringValue(value="w"))
    for document in ('{ hello getThing(id: "1") { id } }', '{ getThing(id: "1") { id } }'):
        exchange = await ask(front(), post({"query": document}, ("x-server-timeout", "0.05")), service)
        assert b'"code":"DEADLINE_EXCEEDED"' in exchange.body
        assert exchange.status == 200
    assert len({call.started for call in service.calls[:2]}) == 1


async def test_introspection_is_answered_and_can_be_turned_off_with_its_suggestions() -> None:
    service = Service()
    response = await run('{ __type(name: "Colour") { enumValues { name } } __typename }', service)
    assert [one["name"] for one in response["data"]["__type"]["enumValues"]] == ["COLOUR_UNSPECIFIED", "RED", "GREEN"]
    document = "query ($name: String!) { __type(name: $name) { name } }"
    assert (await run(document, service, variables={"name": "Thing"}))["data"] == {"__type": {"name": "Thing"}}
    closed = front(introspection=False)
    assert set(codes(await run("{ __schema { types { name } } }", service, graphql=closed))) == {
        "GRAPHQL_VALIDATION_FAILED"
    }
    assert (await run("{ __typename }", service, graphql=closed)) == {"data": {"__typename": "Query"}}
    told = (await run("{ helo }", service))["errors"][0]["message"]
    untold = (await run("{ helo }", service, graphql=closed))["errors"][0]["message"]
    assert ("Did you mean" in told, "Did you mean" in untold) == (True, False)


async def test_a_method_that_streams_its_request_is_refused_by_its_name() -> None:
    response = await run("mutation { collect { id } }", Service())
    (error,) = response["errors"]
    assert error["message"] == "hello.v1.Hello/Collect: GraphQL has no way to stream a request"
    assert error["extensions"] == {"code": "UNIMPLEMENTED", "status": {"code": 12}}


async def test_what_is_kept_of_documents_is_bounded() -> None:
    graphql, service = front(cache="1KiB"), Service(Hello=hello.StringValue(value="w"))
    for number in range(100):
        assert "data" in await run(f"{{ a{number}: hello }}", service, graphql=graphql)
    documents = graphql.served._documents
    assert sum(map(len, documents._known)) == documents._kept <= 1024
    assert "{ a99: hello }" in documents._known


async def test_a_new_catalog_is_served_at_once() -> None:
    graphql, service = front(), Service(Hello=hello.StringValue(value="w"))
    assert "data" in await run("{ hello }", service, graphql=graphql)
    graphql.offer(type(hello.CATALOG)())
    assert not graphql.accepts(post({}).head)
    graphql.offer(hello.CATALOG)
    assert "data" in await run("{ hello }", service, graphql=graphql)


async def test_bytes_come_out_as_they_went_in() -> None:
    data = bytes(range(256))
    service = Service(MakeThing=_echo)
    document = "mutation ($data: String) { makeThing(bytesValue: $data) { bytesValue } }"
    text = base64.b64encode(data).decode()
    assert (await run(document, service, variables={"data": text}))["data"] == {"makeThing": {"bytesValue": text}}
