"""The documents that methods are asked with: all valid, whatever the schema, and bounded."""

from __future__ import annotations

import graphql
import pytest
from protogw_translators.to_graphql_document import document

from protogw.descriptors.graphql_binding import GraphqlBinding
from protogw.descriptors.model import Method
from protogw.errors import NotOffered
from tests.support.catalog import METHODS, SDL, schema_of


def text(method: Method, **bounds: int) -> str:
    assert isinstance(method.binding, GraphqlBinding)
    return document(method.binding, method.name, **{"depth": 4, **bounds}).text


def one(sdl: str, name: str = "A", **bounds: int) -> str:
    """The document of one method, which the schema's own validation accepts."""
    made = text(schema_of(sdl).services["catalog.Catalog"].methods[name], **bounds)
    assert graphql.validate(graphql.build_schema(sdl), graphql.parse(made)) == []
    return made


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("depth", [1, 2, 4, 9])
def test_the_service_accepts_the_document(name: str, depth: int) -> None:
    made = text(METHODS[name], depth=depth)
    assert graphql.validate(graphql.build_schema(SDL), graphql.parse(made)) == []


def test_leaves_and_objects_are_selected_as_deep_as_is_said() -> None:
    sdl = "type Query { a: B } type B { x: Int c: C } type C { y: Int d: D } type D { z: Int }"
    assert one(sdl, depth=1) == "query A { a { x } }"
    assert one(sdl, depth=2) == "query A { a { x c { y } } }"
    assert one(sdl, depth=9) == "query A { a { x c { y d { z } } } }"


def test_a_type_right_inside_itself_is_selected_with_its_leaves_and_further_down_not_at_all() -> None:
    sdl = "type Query { a: E } type E { x: Int boss: E team: T } type T { y: Int members: [E!] }"
    assert one(sdl, depth=9) == "query A { a { x boss { x } team { y } } }"


def test_an_object_without_leaves_is_selected_by_what_is_in_it_or_not_at_all() -> None:
    sdl = "type Query { a: B } type B { x: Int c: C } type C { d: D } type D { z: Int }"
    assert one(sdl, depth=2) == "query A { a { x } }"
    assert one(sdl, depth=3) == "query A { a { x c { d { z } } } }"
    assert one("type Query { a: B } type B { c: C } type C { x: Int }", depth=1) == "query A { a { c { x } } }"


def test_fields_that_need_arguments_are_left_out() -> None:
    sdl = "type Query { a: B } type B { x(n: Int!): Int y(n: Int! = 1, m: Int): Int }"
    assert one(sdl) == "query A { a { y } }"


def test_what_differs_in_type_under_one_name_gets_an_alias() -> None:
    sdl = """
    type Query { a: [U!]! }
    union U = B | C | D
    type B { x: Int y: [Int] z: E }
    type C { x: String y: [Int!] z: F x__C: Int }
    type D { x: Int y: [Int] z: E }
    type E { v: Int }
    type F { v: String }
    """
    assert one(sdl) == (
        "query A { a { __typename ... on B { x y z { v } } "
        "... on C { x__C: x y__C: y z__C: z { v } x__C__C: x__C } ... on D { x y z { v } } } }"
    )


def test_a_document_that_would_be_too_large_is_less_deep() -> None:
    fields = " ".join(f"f{n}: B" for n in range(20))
    sdl = f"type Query {{ a: R }} type R {{ x: Int c: C }} type C {{ {fields} y: Int }} type B {{ v: Int w: Int }}"
    assert one(sdl, most=100).count("v") == 20
    assert one(sdl, most=50) == "query A { a { x c { y } } }"


def test_an_interface_with_very_many_kinds_is_asked_for_what_they_share() -> None:
    kinds = " ".join(
        f"type T{n} implements N {{ id: ID! {' '.join(f'x{m}: Int' for m in range(20))} }}" for n in range(100)
    )
    sdl = f"type Query {{ a: N }} interface N {{ id: ID! }} {kinds}"
    assert one(sdl) == "query A { a { __typename id } }"


def test_what_is_nothing_but_leaves_is_asked_for_whole() -> None:
    sdl = f"type Query {{ a: B }} type B {{ {' '.join(f'x{n}: Int' for n in range(50))} }}"
    assert one(sdl, most=10).count("x") == 50


def test_a_schema_that_branches_at_every_level_is_bounded() -> None:
    kinds = " ".join(f"type T{n} {{ v: Int {' '.join(f't{m}: T{m}' for m in range(30))} }}" for n in range(30))
    assert one(f"type Query {{ a: T0 }} {kinds}", depth=20).count(" v ") <= 1000


def test_a_schema_that_branches_without_leaves_costs_no_more() -> None:
    kinds = " ".join(f"type T{n} {{ {' '.join(f't{m}: T{m}' for m in range(1, 15))} }}" for n in range(1, 15))
    assert one(f"type Query {{ a: T0 }} type T0 {{ v: Int t: T1 }} {kinds}", depth=20) == "query A { a { v } }"


def test_a_result_of_which_nothing_can_be_selected_is_refused_by_name() -> None:
    with pytest.raises(NotOffered, match="a: nothing of B can be asked for"):
        one("type Query { a: B } type B { b: B2 } type B2 { x(n: Int!): Int }")
