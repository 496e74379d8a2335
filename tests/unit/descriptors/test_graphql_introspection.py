"""Reading the answer to an introspection query."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import graphql
import pytest

from protogw.descriptors.graphql_introspection import QUESTIONS, read_introspection
from protogw.descriptors.graphql_model import Document
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import SchemaError
from tests.support.catalog import SDL

ANSWER = graphql.graphql_sync(graphql.build_schema(SDL), QUESTIONS[0]).formatted["data"]


def summary(document: Document) -> dict[str, Any]:
    """What both readers must agree on; introspection says nothing of places."""
    return {
        name: (
            named.sort,
            named.doc,
            sorted(named.possible),
            named.one_of,
            [(f.name, str(f.type), f.doc, f.deprecated, [(a.name, str(a.type), a.default) for a in f.arguments])
             for f in named.fields],
            [(one.name, str(one.type), one.default) for one in named.inputs],
            [(value.name, value.doc, value.deprecated) for value in named.values],
        )
        for name, named in document.types.items()
    }  # fmt: skip


def test_a_service_says_the_same_as_its_sdl() -> None:
    found = read_introspection(ANSWER, "x")
    written = read_sdl([("catalog.graphql", SDL)])
    assert summary(found) == summary(written)
    assert (found.query, found.mutation, found.subscription) == ("Query", "Mutation", "Subscription")


def test_the_result_may_stand_in_its_envelope() -> None:
    assert summary(read_introspection({"data": ANSWER}, "x")) == summary(read_introspection(ANSWER, "x"))


def test_the_second_question_asks_for_nothing_new() -> None:
    assert "isOneOf" in QUESTIONS[0]
    assert "isOneOf" not in QUESTIONS[1]
    answer = graphql.graphql_sync(graphql.build_schema(SDL), QUESTIONS[1]).formatted["data"]
    assert not read_introspection(answer, "x").types["By"].one_of


def _type(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in tree["__schema"]["types"] if one["name"] == name)
    return found


def _deep(tree: dict[str, Any]) -> None:
    here: dict[str, Any] = {"kind": "SCALAR", "name": "Int"}
    for _ in range(100_000):
        here = {"kind": "LIST", "ofType": here}
    _type(tree, "Book")["fields"][0]["type"] = here


HOSTILE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda t: t.update(__schema=None), "__schema is no object"),
    (lambda t: t["__schema"].update(types={}), "__schema.types is no list"),
    (lambda t: t["__schema"].update(queryType="Query"), "__schema.queryType is no object"),
    (lambda t: t["__schema"]["types"].append(None), "is no object"),
    (lambda t: t["__schema"]["types"].append(_type(t, "Book")), "Book is there twice"),
    (lambda t: _type(t, "Book").update(name="a b"), "name is no name"),
    (lambda t: _type(t, "Book").update(name=""), "name is no name"),
    (lambda t: _type(t, "Book").update(name="é"), "name is no name"),
    (lambda t: _type(t, "Book").update(kind="THING"), "Book.kind is none of"),
    (lambda t: _type(t, "Book").update(fields=None), "the members of Book is no list"),
    (lambda t: _type(t, "Book")["fields"].append(_type(t, "Book")["fields"][0]), "Book.id is there twice"),
    (lambda t: _type(t, "Book")["fields"][0].update(type=None), "Book.id's type is no object"),
    (lambda t: _type(t, "Book")["fields"][0].update(type={"kind": "LIST", "ofType": None}), "deeper than was asked"),
    (lambda t: _type(t, "Book")["fields"][0].update(type={"kind": "SCALAR", "name": 5}), "Book.id's type is no name"),
    (
        lambda t: _type(t, "Book")["fields"][0].update(type={"kind": "NON_NULL", "ofType": {"kind": "NON_NULL"}}),
        "NON_NULL in NON_NULL",
    ),
    (_deep, "a list in more than 8 lists"),
    (lambda t: _type(t, "Node").update(possibleTypes=["Book"]), r"Node.possibleTypes\[0\] is no object"),
    (lambda t: _type(t, "Genre").update(enumValues="x"), "the members of Genre is no list"),
]


@pytest.mark.parametrize(("spoil", "says"), HOSTILE, ids=[says for _, says in HOSTILE])
def test_what_is_wrong_is_named(spoil: Callable[[dict[str, Any]], object], says: str) -> None:
    tree = copy.deepcopy(ANSWER)
    spoil(tree)
    with pytest.raises(SchemaError, match=says) as caught:
        read_introspection(tree, "catalog.json")
    assert str(caught.value).startswith("catalog.json: ")


@pytest.mark.parametrize("tree", [None, [], "x", 5, {}, {"data": None}, {"data": {"__schema": []}}])
def test_what_is_no_answer_is_refused(tree: object) -> None:
    with pytest.raises(SchemaError):
        read_introspection(tree, "x")
