"""Reading GraphQL's schema language."""

from __future__ import annotations

import pytest

from protogw.descriptors.graphql_binding import Ref
from protogw.descriptors.graphql_model import Document, Sort
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import SchemaError
from tests.support.catalog import SDL


def read(*texts: str) -> Document:
    return read_sdl([(f"{name}.graphql", text) for name, text in zip("abc", texts, strict=False)])


def faults(*texts: str) -> tuple[str, ...]:
    with pytest.raises(SchemaError) as caught:
        read(*texts)
    return caught.value.faults


def test_types_are_read_with_everything_that_callers_need() -> None:
    found = read(SDL)
    assert (found.query, found.mutation, found.subscription) == ("Query", "Mutation", "Subscription")
    query = found.types["Query"]
    book, books = query.fields[0], query.fields[1]
    assert (str(book.type), book.doc, [str(one.type) for one in book.arguments]) == (
        "Book",
        "One book, or null.",
        ["ID!"],
    )
    assert (str(books.type), books.arguments[0].default) == ("[Book!]!", "10")
    assert next(field for field in query.fields if field.name == "old").deprecated
    assert found.types["Node"].possible == ("Book", "Author")
    assert found.types["Hit"].possible == ("Book", "Author")
    assert found.types["Unused"].possible == ()
    genre = found.types["Genre"]
    assert [(value.name, value.doc, value.deprecated) for value in genre.values] == [
        ("FICTION", "", False),
        ("FACT", "True", True),
    ]
    assert found.types["By"].one_of
    assert found.types["Filter"].inputs[3].type == Ref(item=Ref(item=Ref("Float")))


def test_roots_have_their_usual_names_without_a_schema_definition() -> None:
    found = read("type Query { a: Int } type Mutation { a: Int }")
    assert (found.query, found.mutation, found.subscription) == ("Query", "Mutation", "")
    found = read("schema { query: Q } type Q { a: Int } type Mutation { a: Int }")
    assert (found.query, found.mutation) == ("Q", "")
    assert read("type Q { a: Int } extend schema { query: Q }").query == "Q"


def test_several_files_are_one_schema_and_extensions_join_what_they_extend() -> None:
    found = read(
        "extend type Query { b: B } extend enum E { Y } extend union U = C",
        "type Query { a: Int } enum E { X } type B { x: Int } type C { y: Int } union U = B",
        "extend type D @key(fields: 1) { z: Int } extend type B implements I { more: E } interface I { x: Int }",
    )
    assert [field.name for field in found.types["Query"].fields] == ["a", "b"]
    assert [field.name for field in found.types["B"].fields] == ["x", "more"]
    assert [value.name for value in found.types["E"].values] == ["X", "Y"]
    assert found.types["U"].possible == ("B", "C")
    assert found.types["I"].possible == ("B",)
    assert [field.name for field in found.types["D"].fields] == ["z"]


def test_an_interface_can_be_the_objects_that_implement_it_by_way_of_others() -> None:
    found = read("interface A { x: Int } interface B implements A { x: Int } type C implements B & A { x: Int }")
    assert found.types["A"].possible == ("C",)
    assert found.types["B"].possible == ("C",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type Query {", "a.graphql:1:13: Syntax Error: Expected Name, found <EOF>."),
        ("type Query { a: Int }\n  type Query { b: Int }", "a.graphql:2:3: Query is defined in a.graphql:1:1 too"),
        ("type A { a: Int, a: Int }", "a.graphql:1:18: A.a is defined twice"),
        ("type A { a(x: Int, x: Int): Int }", "a.graphql:1:20: a.x is defined twice"),
        ("type A { a: Int } extend type A { a: Int }", "a.graphql:1:19: A.a is defined twice"),
        ("type A { a: Int } extend input A { b: Int }", "a.graphql:1:19: A is no input, but a type"),
        ("type A implements B { a: Int }", "a.graphql:1:1: A implements B, which is no interface"),
        ("type String { a: Int }", "a.graphql:1:1: String is GraphQL's own scalar"),
        ("{ a }", "a.graphql:1:1: an operation in a schema: it holds definitions of types only"),
        ("schema { query: A } schema { query: A }", "a.graphql:1:21: the schema is defined in a.graphql:1:1 too"),
        ("type A { a: [[[[[[[[[Int]]]]]]]]] }", "a.graphql:1:13: a list in more than 8 lists"),
        (
            "type A { a: " + "[" * 50_000,
            "a.graphql:1:214: Syntax Error: Document is nested too deeply. Parsing aborted.",
        ),
        ("\x00", "a.graphql:1:1: Syntax Error: Unexpected character: U+0000."),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, says: str) -> None:
    assert faults(text) == (says,)


def test_all_faults_are_told_together() -> None:
    assert len(faults("type A { a: Int } type A { a: Int } type B implements C { a: Int, a: Int }")) == 3


def test_introspections_own_types_are_left_out() -> None:
    assert read("type __Type { a: Int } type Query { a: Int } scalar Int directive @x on FIELD").types.keys() == {
        "Query"
    }
    assert read("scalar A").types["A"].sort is Sort.SCALAR
