"""Fields that a caller may not see, in GraphQL: null with an error at their path, and everything else there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protogw.call import PARTIAL, Call, Encoding, Payload, Reply
from protogw.descriptors.about import About
from protogw.errors import Code, Status
from protogw.frontends.graphql.projection import MOST_TOLD
from protogw.wire.sieve import Cut, Sieve, sieve_of
from tests.support import hello
from tests.support.graphql import Service, ask, codes, events, front, post, run

THING = hello.SCHEMA.types["hello.v1.Thing"]


def sieve(*hidden: str, code: Code = Code.PERMISSION_DENIED) -> Sieve:
    return sieve_of(THING, [Cut(path=one, why=Status(code, f"may not see {one}")) for one in hidden])


def replying(message: Any, *sieves: Sieve) -> Service:
    """A service behind a policy that withholds."""

    def answer(call: Call) -> Reply:
        assert call.method is not None
        data = message.SerializeToString()
        for one in sieves:
            data = one.sift(data)
        reply = Reply(payload=Payload(data, Encoding.PROTO, call.method.output.codec))
        reply.withheld = sieves
        return reply

    return Service(GetThing=answer, MakeThing=answer)


def paths(response: dict[str, Any]) -> list[list[Any]]:
    return [error["path"] for error in response.get("errors", ())]


WHOLE = hello.Thing(
    id="x",
    maybe="m",
    text="t",
    words=["a", "b"],
    inner=hello.Thing(id="y", maybe="n"),
    things=[hello.Thing(id="1", maybe="o"), hello.Thing(id="2", inner=hello.Thing(id="3", maybe="p"))],
    counts={"k": 1},
    thing_of={"b": hello.Thing(id="4", maybe="q"), "a": hello.Thing(id="5")},
)


async def test_a_field_that_may_be_null_is_null_with_an_error_and_the_rest_is_there() -> None:
    response = await run('{ getThing(id: "a") {\n  id maybe } }', replying(WHOLE, sieve("maybe")))
    assert response == {
        "data": {"getThing": {"id": "x", "maybe": None}},
        "errors": [
            {
                "message": "may not see maybe",
                "path": ["getThing", "maybe"],
                "locations": [{"line": 2, "column": 6}],
                "extensions": {"code": "PERMISSION_DENIED", "status": {"code": 7}},
            }
        ],
    }


@pytest.mark.parametrize(
    ("hidden", "query", "data", "where"),
    [
        ("id", "{ maybe id }", None, [["t", "id"]]),
        ("inner.id", "{ id inner { maybe id } }", {"id": "x", "inner": None}, [["t", "inner", "id"]]),
        (
            "inner.maybe",
            "{ maybe inner { maybe } }",
            {"maybe": "m", "inner": {"maybe": None}},
            [["t", "inner", "maybe"]],
        ),
        ("inner", "{ id inner { maybe } }", {"id": "x", "inner": None}, [["t", "inner"]]),
        ("inner", "{ id in: inner { maybe } }", {"id": "x", "in": None}, [["t", "in"]]),
        (
            "things.maybe",
            "{ things { maybe id } }",
            {"things": [{"maybe": None, "id": "1"}, {"maybe": None, "id": "2"}]},
            [["t", "things", 0, "maybe"], ["t", "things", 1, "maybe"]],
        ),
        ("things.id", "{ maybe things { id } }", None, [["t", "things", 0, "id"]]),
        (
            "things.inner.maybe",
            "{ things { inner { maybe } } }",
            {"things": [{"inner": None}, {"inner": {"maybe": None}}]},
            [["t", "things", 1, "inner", "maybe"]],
        ),
        ("words", "{ words id }", None, [["t", "words"]]),
        ("counts", "{ id counts { key } }", None, [["t", "counts"]]),
        (
            "thing_of.maybe",
            "{ thingOf { key value { maybe } } }",
            {"thingOf": [{"key": "a", "value": {"maybe": None}}, {"key": "b", "value": {"maybe": None}}]},
            [["t", "thingOf", 0, "value", "maybe"], ["t", "thingOf", 1, "value", "maybe"]],
        ),
        (
            "hello.v1.Thing/maybe",
            "{ maybe inner { m: maybe } }",
            {"maybe": None, "inner": {"m": None}},
            [["t", "maybe"], ["t", "inner", "m"]],
        ),
        ("text", "{ id choice { ... on ThingChoiceText { text } } }", {"id": "x", "choice": None}, [["t", "choice"]]),
        ("long", "{ choice { ... on ThingChoiceText { text } } }", {"choice": {"text": "t"}}, []),
        (
            "maybe",
            "{ ...F ... on Thing { id } } fragment F on Thing { a: maybe }",
            {"a": None, "id": "x"},
            [["t", "a"]],
        ),
        ("maybe", "{ maybe @skip(if: true) id }", {"id": "x"}, []),
        ("maybe", "{ a: maybe b: maybe }", {"a": None, "b": None}, [["t", "a"], ["t", "b"]]),
        ("at", "{ at __typename }", {"at": None, "__typename": "Thing"}, [["t", "at"]]),
    ],
)
async def test_null_goes_up_to_what_may_be_null(hidden: str, query: str, data: Any, where: list[list[Any]]) -> None:
    selection, _, fragment = query.partition(" fragment ")
    document = f'{{ t: getThing(id: "a") {selection} }} {"fragment " if fragment else ""}{fragment}'
    response = await run(document, replying(WHOLE, sieve(hidden)))
    assert response["data"] == {"t": data}
    assert paths(response) == where
    assert codes(response) == ["PERMISSION_DENIED"] * len(where)


async def test_what_may_be_withheld_may_be_null_in_the_schema_for_everybody() -> None:
    hidden = frozenset(("hello.v1.Thing/id", "hello.v1.Thing/things", "hello.v1.Thing/counts"))
    graphql = front(catalog=replace(hello.CATALOG, withheld=hidden))
    query = '{ t: getThing(id: "a") { id maybe things { id } counts { key } } }'
    response = await run(query, replying(WHOLE, sieve("id", "things.id", "counts")), graphql=graphql)
    assert response["data"] == {"t": {"id": None, "maybe": "m", "things": [{"id": None}] * 2, "counts": None}}
    assert paths(response) == [["t", "id"], ["t", "things", 0, "id"], ["t", "things", 1, "id"], ["t", "counts"]]
    assert "errors" not in await run(query, replying(WHOLE), graphql=graphql)
    text = graphql.document(About(title="t", version="1", services=frozenset((hello.SERVICE,)))).content
    for line in ("  id: String\n", "  things: [Thing!]\n", "  words: [String!]!\n", "  int32Value: Int!\n"):
        assert line in text


async def test_a_value_that_was_never_there_is_withheld_all_the_same() -> None:
    """Else an error would tell that there is one."""
    service = replying(hello.Thing(), sieve("maybe", "inner"))
    response = await run('{ getThing(id: "a") { maybe inner { id } } }', service)
    assert response["data"] == {"getThing": {"maybe": None, "inner": None}}
    assert paths(response) == [["getThing", "maybe"], ["getThing", "inner"]]


async def test_callers_whom_nobody_vouches_for_are_told_so() -> None:
    response = await run('{ getThing(id: "a") { maybe } }', replying(WHOLE, sieve("maybe", code=Code.UNAUTHENTICATED)))
    assert codes(response) == ["UNAUTHENTICATED"]


async def test_what_two_policies_withhold_is_withheld() -> None:
    service = replying(WHOLE, sieve("maybe"), sieve("inner.maybe", code=Code.UNAUTHENTICATED))
    response = await run('{ getThing(id: "a") { maybe inner { maybe } } }', service)
    assert response["data"] == {"getThing": {"maybe": None, "inner": {"maybe": None}}}
    assert codes(response) == ["PERMISSION_DENIED", "UNAUTHENTICATED"]


async def test_one_field_of_several_fails_alone_in_queries_and_mutations() -> None:
    service = replying(WHOLE, sieve("id"))
    for root, field in (("query", 'getThing(id: "a")'), ("mutation", "makeThing")):
        response = await run(f"{root} {{ a: {field} {{ id }} b: {field} {{ maybe }} }}", service)
        assert response["data"] == {"a": None, "b": {"maybe": "m"}}
        assert paths(response) == [["a", "id"]]


async def test_a_map_that_is_json_is_there_as_a_whole_or_not_at_all() -> None:
    graphql = front(maps="json")
    query = '{ getThing(id: "a") { id counts } }'
    response = await run(query, replying(WHOLE, sieve("thing_of.maybe")), graphql=graphql)
    assert response == {"data": {"getThing": {"id": "x", "counts": {"k": 1}}}}
    response = await run(query.replace("counts", "thingOf"), replying(WHOLE, sieve("thing_of.maybe")), graphql=graphql)
    assert response["data"] == {"getThing": {"id": "x", "thingOf": None}}
    assert paths(response) == [["getThing", "thingOf"]]


async def test_a_batch_and_an_event_stream_tell_it_too() -> None:
    service = replying(WHOLE, sieve("maybe"))
    graphql = front(limits={"batch": 2})
    query = {"query": '{ getThing(id: "a") { maybe } }'}
    exchange = await ask(graphql, post([query, query]), service)
    assert exchange.body.count(b'"PERMISSION_DENIED"') == 2
    exchange = await ask(graphql, post(query, ("accept", "text/event-stream")), service)
    (_, said), _ = events(exchange.body)
    assert (said["data"], codes(said)) == ({"getThing": {"maybe": None}}, ["PERMISSION_DENIED"])


async def test_a_deferred_fragment_tells_its_own() -> None:
    service = replying(WHOLE, sieve("maybe"))
    query = '{ getThing(id: "a") { id } ... @defer { later: getThing(id: "b") { maybe } } }'
    exchange = await ask(front(), post({"query": query}, ("accept", "multipart/mixed")), service)
    first, later = exchange.body.split(b"hasNext", 1)
    assert b"errors" not in first
    assert b'"path":["later","maybe"]' in later


async def test_values_that_cannot_be_said_are_told_beside_those_that_are_withheld() -> None:
    service = replying(hello.Thing(colour=7, maybe="m"), sieve("maybe"))
    response = await run('{ getThing(id: "a") { colour maybe } }', service)
    assert codes(response) == ["INTERNAL_SERVER_ERROR", "PERMISSION_DENIED"]


async def test_calls_say_that_the_client_can_be_told_of_single_fields() -> None:
    service = replying(WHOLE)
    await run('{ getThing(id: "a") { id } }', service)
    (call,) = service.calls
    assert call.attributes is not None
    assert call.attributes[PARTIAL]


async def test_more_than_a_thousand_fields_are_not_told_one_by_one() -> None:
    many = hello.Thing(things=[hello.Thing()] * (MOST_TOLD + 500))
    response = await run('{ getThing(id: "a") { things { maybe } } }', replying(many, sieve("things.maybe")))
    assert len(response["data"]["getThing"]["things"]) == MOST_TOLD + 500
    assert len(response["errors"]) == MOST_TOLD + 1
    assert "path" not in response["errors"][-1]


async def test_a_plan_is_shown_to_many_callers_each_in_their_way() -> None:
    graphql = front()
    query = '{ getThing(id: "a") { id maybe } }'
    for _ in range(2):
        assert "errors" not in await run(query, replying(WHOLE), graphql=graphql)
        assert paths(await run(query, replying(WHOLE, sieve("maybe")), graphql=graphql)) == [["getThing", "maybe"]]
        assert paths(await run(query, replying(WHOLE, sieve("id")), graphql=graphql)) == [["getThing", "id"]]
    for _ in range(200):
        assert paths(await run(query, replying(WHOLE, sieve("maybe")), graphql=graphql)) == [["getThing", "maybe"]]
