"""GraphQL schemas as services, methods and messages, from files and from running services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import graphql
import orjson
import pytest
from google.protobuf import json_format

from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.from_graphql import fetch, load, schema_of_document
from protogw.descriptors.graphql_binding import GraphqlBinding
from protogw.descriptors.graphql_introspection import QUESTIONS
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import Idempotency, Kind, Method, Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.errors import Code, InvalidRequest, Status, Unreachable
from tests.support import catalog
from tests.support.catalog import METHODS, SCHEMA, SDL, message, schema_of


def native(name: str, json: Any, way: str = "output") -> Any:
    """What a message says that was read from the service's own JSON."""
    found = getattr(METHODS[name], way)
    data = found.codec.lenient.from_json(orjson.dumps(json))
    return json_format.MessageToDict(message(found.name.removeprefix("catalog."), data))


# --- methods ----------------------------------------------------------------------------------------------------------


def test_root_fields_are_methods_of_one_service() -> None:
    assert list(SCHEMA.services) == ["catalog.Catalog"]
    assert [(name, method.shape) for name, method in METHODS.items()] == [
        *((name, "unary") for name in ("Book", "Books", "Search", "Node", "Matrix", "Now", "Count", "Ratio", "Huge")),
        ("Old", "unary"),
        ("AddBook", "unary"),
        ("BookMutation", "unary"),
        ("BookAdded", "server stream"),
        ("Ticks", "server stream"),
    ]
    assert METHODS["Book"].idempotency is Idempotency.NO_SIDE_EFFECTS
    assert METHODS["AddBook"].idempotency is Idempotency.UNKNOWN
    assert METHODS["Old"].deprecated
    assert METHODS["Book"].doc == "One book, or null."


def test_a_method_knows_its_root_field() -> None:
    binding = METHODS["BookMutation"].binding
    assert isinstance(binding, GraphqlBinding)
    assert (binding.operation, binding.field) == ("mutation", "book")
    assert [(one.name, str(one.type)) for one in binding.arguments] == [("id", "ID!"), ("title", "String")]


def test_an_object_is_the_reply_itself_and_anything_else_its_field() -> None:
    assert METHODS["Book"].output.name == METHODS["BookAdded"].output.name == "catalog.Book"
    assert {name: METHODS[name].output.name for name in ("Books", "Search", "Node", "Count")} == {
        "Books": "catalog.BooksResponse",
        "Search": "catalog.SearchResponse",
        "Node": "catalog.NodeResponse",
        "Count": "catalog.CountResponse",
    }
    assert list(METHODS["Books"].output.fields) == ["books"]


# --- messages ---------------------------------------------------------------------------------------------------------


def test_fields_have_the_kinds_that_their_types_ask_for() -> None:
    book = SCHEMA.types["catalog.Book"]
    assert {name: (field.kind, field.repeated, field.has_presence) for name, field in book.fields.items()} == {
        "id": (Kind.STRING, False, False),
        "title": (Kind.STRING, False, False),
        "genre": (Kind.ENUM, False, True),
        "author": (Kind.MESSAGE, False, True),
        "reviews": (Kind.MESSAGE, True, False),
        "value": (Kind.INT32, False, True),
    }


def test_what_cannot_be_asked_for_is_left_out() -> None:
    assert not {"page", "unused"} & SCHEMA.types["catalog.Book"].fields.keys()


def test_members_keep_their_names_in_json() -> None:
    assert SCHEMA.types["catalog.TicksRequest"].fields["up_to"].json_name == "upTo"


def test_every_argument_can_be_told_from_absent_and_tells_its_default() -> None:
    fields = SCHEMA.types["catalog.BooksRequest"].fields
    assert fields["first"].has_presence
    assert fields["first"].doc == "Default: 10"


def test_the_services_own_json_is_read_and_written() -> None:
    book = {"id": "1", "title": "t", "genre": "FACT", "author": {"id": "a", "name": "n"}, "reviews": [{"stars": 5}]}
    assert native("BookAdded", book) == {**book, "genre": "GENRE_FACT"}
    codec = METHODS["BookAdded"].output.codec
    assert orjson.loads(codec.to_json(codec.from_json(orjson.dumps(book)))) == book


def test_a_union_is_told_by_its_typename() -> None:
    hits = [{"__typename": "Author", "name": "n"}, {"__typename": "Book", "title": "t"}]
    assert native("Search", {"search": hits}) == {"search": [{"Author": {"name": "n"}}, {"Book": {"title": "t"}}]}
    assert native("Search", {"search": [{"__typename": "Planet"}]}) == {"search": [{}]}


def test_one_of_several_inputs_is_a_oneof() -> None:
    by = SCHEMA.types["catalog.By"]
    assert {field.oneof for field in by.fields.values()} == {"kind"}
    request = {"input": {"title": "t", "by": {"many": ["a"]}, "copies": 0, "genres": []}}
    assert native("AddBook", request, "input") == {
        "input": {"title": "t", "by": {"many": {"items": ["a"]}}, "copies": 0}
    }
    codec = METHODS["AddBook"].input.codec
    assert orjson.loads(codec.to_json(codec.from_json(orjson.dumps(request)))) == request
    with pytest.raises(InvalidRequest):
        codec.from_json(b'{"input":{"by":{"id":"1","name":"2"}}}')


def test_nested_lists_and_nulls_in_lists_are_read() -> None:
    assert native("Matrix", {"matrix": [[1], None, []]}) == {"matrix": [{"items": [1]}, {}, {}]}
    assert native("Books", {"filter": {"range": [[1.5, None]]}}, "input") == {
        "filter": {"range": [{"items": [1.5, 0.0]}]}
    }


def test_custom_scalars_are_any_json_unless_the_config_says_more() -> None:
    assert native("Now", {"now": {"a": [1, None]}}) == {"now": {"a": [1.0, None]}}
    assert native("Huge", {"huge": 2**53 + 1}) == {"huge": str(2**53 + 1)}
    codec = METHODS["Huge"].output.codec
    assert codec.to_json(codec.from_json(b'{"huge":9007199254740993}')) == b'{"huge":9007199254740993}'


@pytest.mark.parametrize(
    ("what", "kind", "json"),
    [
        ("string", Kind.STRING, b'"x"'),
        ("int32", Kind.INT32, b"5"),
        ("int64", Kind.INT64, b"9007199254740993"),
        ("int64_string", Kind.INT64, b'"9007199254740993"'),
        ("double", Kind.DOUBLE, b"1.5"),
        ("bool", Kind.BOOL, b"true"),
        ("json", Kind.MESSAGE, b'[1.0,"x",null]'),
    ],
)
def test_a_custom_scalar_is_written_as_it_came(what: str, kind: Kind, json: bytes) -> None:
    schema = schema_of("type Query { a: S b: [S] } scalar S", S=what)
    reply = schema.services["catalog.Catalog"].methods["A"].output
    assert reply.fields["a"].kind is kind
    data = b'{"a":%b}' % json
    assert orjson.loads(reply.codec.to_json(reply.codec.from_json(data))) == orjson.loads(data)


def test_json_schemas_say_what_the_service_writes() -> None:
    assert METHODS["AddBook"].input.json_schema == {
        "type": "object",
        "properties": {"input": {"$ref": "#/components/schemas/catalog.NewBook"}},
        "additionalProperties": False,
        "required": ["input"],
    }
    by = SCHEMA.types["catalog.By"].json_schema
    assert by is not None
    assert (by["minProperties"], by["maxProperties"]) == (1, 1)
    hit = SCHEMA.types["catalog.Hit"].json_schema
    assert hit is not None
    assert hit["oneOf"][0]["allOf"][1]["properties"] == {"__typename": {"const": "Book"}}
    book = SCHEMA.types["catalog.Book"].json_schema
    assert book is not None
    assert book["properties"]["genre"] == {"anyOf": [{"$ref": "#/components/schemas/catalog.Genre"}, {"type": "null"}]}


def test_names_that_clash_are_told_apart() -> None:
    schema = schema_of(
        "type Query { a_b: Catalog aB: ABRequest list(x: [[Int]]): [[Int]] } type Catalog { x: Int IntList: IntList }"
        " type ABRequest { fooBar: Int foo_bar: Int } type IntList { x: E } enum E { a A _a }"
    )
    assert len(schema.services["catalog.Catalog"].methods) == 3
    fields = schema.types["catalog.ABRequest"].fields
    assert {field.json_name for field in fields.values()} == {"fooBar", "foo_bar"}
    assert len(schema.enums["catalog.E"].values) == 4


def test_numbers_are_kept() -> None:
    numbers = Numbers()
    first = read(numbers, "type Query { a(x: Int, y: Int): Int }")
    again = read(numbers, "type Query { a(y: Int, z: Int, x: Int): Int }")
    before = first.types["catalog.ARequest"].fields
    after = again.types["catalog.ARequest"].fields
    assert [after[name].number for name in ("x", "y", "z")] == [before["x"].number, before["y"].number, 3]


def read(numbers: Numbers, sdl: str) -> Schema:
    return schema_of_document(read_sdl([("a", sdl)]), upstream="catalog", numbers=numbers)


@pytest.mark.parametrize(
    ("sdl", "says"),
    [
        ("type Query { a: Nope }", "a.graphql:1:1: Query.a is of the type Nope, which is not defined"),
        (
            "type Query { a(x: Q): Int } type Q { x: Int }",
            "a.graphql:1:1: Query.a(x) is of the type Q, which cannot be an argument",
        ),
        (
            "type Query { a: I } input I { x: Int }",
            "a.graphql:1:1: Query.a is of the input I, which cannot be returned",
        ),
        (
            "input I { x: Query } type Query { a: Int }",
            "a.graphql:1:1: I.x is of the type Query, which cannot be part of an input",
        ),
        ("schema { query: Nope }", "the query type Nope is not defined, or is no object type"),
        ("schema { query: E } enum E { A }", "the query type E is not defined, or is no object type"),
        ("type A { a: Int }", "the schema has neither queries, mutations nor subscriptions"),
        ("union U = A type Query { u: U }", "a.graphql:1:1: U can be A, which is no object type"),
        ("type Query { a: E } enum E", "a.graphql:1:21: E has no values"),
        (
            "type Query { a(i: I): Int } input I @oneOf { a: Int! }",
            "a.graphql:1:29: I takes one of its members: none may be required or have a default",
        ),
    ],
)
def test_what_does_not_hold_together_is_told(sdl: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text(sdl)
    with pytest.raises(SchemaError) as caught:
        load([tmp_path / "a.graphql"], upstream="catalog", numbers=Numbers())
    assert [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults] == [says]


# --- files ------------------------------------------------------------------------------------------------------------


def answer(question: str = QUESTIONS[0]) -> dict[str, Any]:
    return dict(graphql.graphql_sync(graphql.build_schema(SDL), question).formatted)


def test_files_are_read_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a.gql").write_text(SDL)
    (tmp_path / "b.json").write_bytes(orjson.dumps(answer()))
    settings = SimpleNamespace(scalars={"Long": "int64"})
    for name in ("a.gql", "b.json"):
        found = load([tmp_path / name], upstream="catalog", numbers=Numbers(), settings=settings)
        assert found.services["catalog.Catalog"].methods.keys() == METHODS.keys()
        assert found.types["catalog.HugeResponse"].fields["huge"].kind is Kind.INT64


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, data, says in (
        ("a.graphql", b"\xff", "is not UTF-8 text"),
        ("b.json", b"{\n\n]", ":3: is not JSON"),
        ("c.json", b"{}", "__schema is no object"),
        ("d.graphql", None, "cannot be read"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(SchemaError, match=f"{name}.*{says}"):
            load([tmp_path / name], upstream="catalog", numbers=Numbers())
    (tmp_path / "e.graphql").write_text(SDL)
    (tmp_path / "f.json").write_bytes(orjson.dumps(answer()))
    with pytest.raises(SchemaError, match="nothing can stand beside it"):
        load([tmp_path / "e.graphql", tmp_path / "f.json"], upstream="catalog", numbers=Numbers())


# --- running services -------------------------------------------------------------------------------------------------


class Service:
    """Answers one question after another; keeps what it was asked."""

    def __init__(self, *replies: Reply | Exception | dict[str, Any]) -> None:
        self._replies = list(replies)
        self.methods: list[Method] = []

    async def __call__(self, call: Call) -> Reply:
        assert call.method is not None
        self.methods.append(call.method)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Reply):
            return reply
        return Reply(payload=Payload(orjson.dumps(reply), Encoding.JSON))


def refused(code: Code = Code.INVALID_ARGUMENT) -> Reply:
    return Reply(status=Status(code, "Cannot query field isOneOf"))


async def fetched(service: Service, **more: Any) -> Schema:
    return await fetch(service, upstream="catalog", numbers=more.pop("numbers", Numbers()), **more)


async def test_a_service_describes_itself() -> None:
    service = Service(answer()["data"])
    found = await fetched(service, settings=SimpleNamespace(scalars={"Long": "int64"}))
    assert found.digest == catalog.SCHEMA.digest
    assert found.services["catalog.Catalog"].methods.keys() == METHODS.keys()


async def test_an_older_service_is_asked_for_less() -> None:
    service = Service(refused(), answer(QUESTIONS[1])["data"])
    assert "catalog.Catalog" in (await fetched(service)).services
    assert len({method.binding for method in service.methods}) == 2


async def test_what_has_not_changed_is_what_was_known() -> None:
    numbers = Numbers()
    known = await fetched(Service(answer()["data"]), numbers=numbers)
    assert await fetched(Service(answer()["data"]), numbers=numbers, known=known) is known


async def test_a_service_that_refuses_is_told() -> None:
    with pytest.raises(SchemaError, match="introspection: the service refuses: Cannot query"):
        await fetched(Service(refused(), refused()))
    with pytest.raises(SchemaError, match="the service refuses"):
        await fetched(Service(refused(Code.UNAUTHENTICATED)))
    with pytest.raises(Unreachable):
        await fetched(Service(Unreachable("no")))
    with pytest.raises(SchemaError, match="introspection: data is no object"):
        await fetched(Service({"data": 1}))


async def test_a_service_that_never_answers_is_given_up() -> None:
    async def hang(call: Call) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(SchemaError, match=r"introspection: no whole schema within 0\.05 s"):
        await fetch(hang, upstream="catalog", numbers=Numbers(), timeout_s=0.05)
