"""Any schema, any result: what graphql-core answers to our documents survives the way through protobuf, and what is no
answer never passes for one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import graphql
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from protogw_translators.to_graphql_document import document
from protogw_translators.to_graphql_result import outcome

from protogw.descriptors.graphql_binding import GraphqlBinding
from protogw.descriptors.graphql_introspection import read_introspection
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import Method, Schema, SchemaError
from protogw.errors import BadUpstream, Code
from tests.support.catalog import schema_of

WORDS = ("type", "Query", "{", "}", "(", ")", ":", "[", "]", "!", "a", "Int", "@", "=", "|", "&", '"', "extend")
LEAVES = ("Int", "String", "Boolean", "Float", "ID", "E", "Any")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def schemas(draw: st.DrawFn) -> str:
    """The SDL of a schema with objects, a union, an interface, inputs and enums that refer to each other at will."""
    count = draw(st.integers(1, 4))
    objects = [f"T{n}" for n in range(count)]

    def wrapped(name: str) -> str:
        for _ in range(draw(st.integers(0, 2))):
            name = f"[{name}{draw(st.sampled_from(('', '!')))}]"
        return name + draw(st.sampled_from(("", "!")))

    def output() -> str:
        return wrapped(draw(st.sampled_from((*LEAVES, *objects, "U", "N"))))

    def given() -> str:
        return wrapped(draw(st.sampled_from((*LEAVES, "I", "O"))))

    lines = ["scalar Any", "enum E { A B_b c }", f"union U = {' | '.join(objects)}", "interface N { id: ID! }"]
    for name in objects:
        fields = " ".join(f"f{n}{draw(st.sampled_from(('', '(x: Int)')))}: {output()}" for n in range(3))
        lines.append(f"type {name} implements N {{ id: ID! {fields} }}")
    # An input that needs itself can never be written.
    lines.append(f"input I {{ a: {draw(st.sampled_from(LEAVES))} i: [I!] o: O many: {given().rstrip('!')} }}")
    lines.append("input O @oneOf { int: Int list: [String!] lists: [[Float]] i: I }")
    queries = " ".join(f"q{n}(a: {given()}, bC: Int = 5): {output()}" for n in range(2))
    lines.append(f"type Query {{ {queries} }}")
    return "\n".join(lines)


class Values:
    """Values of any type, by chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._budget = 60

    def output(self, kind: Any) -> Any:
        if isinstance(kind, graphql.GraphQLNonNull):
            return self._some(kind.of_type)
        return None if self._random.random() < 0.2 else self._some(kind)

    def _some(self, kind: Any) -> Any:
        self._budget -= 1
        if isinstance(kind, graphql.GraphQLList):
            # What is null in a list reads as a default, which unit tests see.
            inner = kind.of_type
            item = inner.of_type if isinstance(inner, graphql.GraphQLNonNull) else inner
            return [self._some(item) for _ in range(self._random.randrange(3) if self._budget > 0 else 0)]
        if isinstance(kind, graphql.GraphQLUnionType):
            return {"__typename": self._random.choice(kind.types).name}
        if isinstance(kind, graphql.GraphQLInterfaceType):
            return {"__typename": "T0"}
        if isinstance(kind, graphql.GraphQLObjectType):
            return {"__typename": kind.name}
        return self.leaf(kind)

    def leaf(self, kind: Any) -> Any:
        chance = self._random
        if isinstance(kind, graphql.GraphQLEnumType):
            return chance.choice(list(kind.values))
        return {
            "Int": lambda: chance.choice((0, 1, -1, 2**31 - 1, -(2**31))),
            "Float": lambda: chance.choice((0.0, 0.1, -1e300, 5.0)),
            "Boolean": lambda: chance.random() < 0.5,
            "Any": lambda: chance.choice((0.5, "x", True, {"a": [1.0, None]}, [[]])),
        }.get(kind.name, lambda: chance.choice(("", "é☃", 'a"\\')))()

    def given(self, kind: Any) -> Any:
        """A value of an input type."""
        self._budget -= 1
        if isinstance(kind, graphql.GraphQLNonNull):
            return self.given(kind.of_type)
        if isinstance(kind, graphql.GraphQLList):
            return [self.given(kind.of_type) for _ in range(self._random.randrange(3) if self._budget > 0 else 0)]
        if isinstance(kind, graphql.GraphQLInputObjectType):
            names = list(kind.fields)
            chosen = [self._random.choice(names[:3])] if kind.is_one_of else names
            if self._budget < 0 and not kind.is_one_of:
                chosen = []
            return {name: self.given(kind.fields[name].type) for name in chosen}
        return self.leaf(kind)


def plain(value: Any) -> Any:
    """Without what a proto3 message cannot tell from absent."""
    if isinstance(value, dict):
        kept = {name: plain(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, "", 0, False, [])}
    return [plain(item) for item in value] if isinstance(value, list) else value


def methods_of(schema: Schema) -> list[Method]:
    return list(schema.services["catalog.Catalog"].methods.values())


def answered(sdl: str, seed: int) -> list[tuple[Method, GraphqlBinding, Any, dict[str, Any]]]:
    """For each method what a service says, and the variables that it was asked with."""
    found = []
    own = graphql.build_schema(sdl)
    for method in methods_of(schema_of(sdl)):
        binding = method.binding
        assert isinstance(binding, GraphqlBinding)
        values = Values(seed)
        arguments = own.type_map["Query"].fields[binding.field].args  # type: ignore[attr-defined]
        variables = {name: values.given(argument.type) for name, argument in arguments.items()}
        made = document(binding, method.name, depth=3)
        result = graphql.execute_sync(
            own,
            graphql.parse(made.text),
            variable_values=variables,
            field_resolver=lambda _, info, values=values, **__: values.output(info.return_type),
        )
        assert not result.errors, (made.text, variables, result.errors)
        found.append((method, binding, result.formatted, variables))
    return found


@settings(max_examples=25, deadline=None)
@given(schemas(), st.integers(0, 1 << 30))
def test_what_a_service_says_survives_the_way_through_protobuf(sdl: str, seed: int) -> None:
    for method, binding, result, variables in answered(sdl, seed):
        made = document(binding, method.name, depth=3)
        found = outcome(orjson.dumps(result), made, method.output)
        value = result["data"][binding.field]
        if binding.bare and value is None:
            assert found.status.code is Code.NOT_FOUND
        else:
            assert found.payload is not None
            message = found.payload.proto()
            codec = method.output.codec
            assert codec.canonical.from_json(codec.canonical.to_json(message)) == message
            said = orjson.loads(found.payload.json())
            assert plain(orjson.loads(codec.to_json(message))) == plain(said)
            if not made.aliased:
                assert said == (value if binding.bare else result["data"])
        codec = method.input.codec
        sent = codec.to_json(codec.from_json(orjson.dumps(variables)))
        assert plain(orjson.loads(sent)) == plain(variables)


@settings(max_examples=40, deadline=None)
@given(schemas(), st.integers(0, 1 << 30), JSON, st.data())
def test_a_result_that_was_tampered_with_is_refused_or_still_fits(
    sdl: str, seed: int, junk: Any, data: st.DataObject
) -> None:
    method, binding, result, _ = answered(sdl, seed)[0]
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(item, (dict, list)):
                collect(item)

    collect(result)
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = junk
    made = document(binding, method.name, depth=3)
    try:
        found = outcome(orjson.dumps(result), made, method.output)
    except BadUpstream:
        return
    if found.payload is not None:
        found.payload.proto()


def refused(read: Callable[[], object]) -> str:
    """What a reader says against its input, if anything."""
    try:
        read()
    except SchemaError as error:
        return str(error)
    return ""


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_a_schema_or_refused_with_a_place(text: str) -> None:
    for line in refused(lambda: read_sdl([("a", text)])).splitlines():
        assert line.startswith("a:")


@settings(max_examples=100, deadline=None)
@given(JSON | st.fixed_dictionaries({"__schema": JSON}) | JSON.map(lambda junk: {"__schema": {"types": [junk]}}))
def test_any_json_is_an_introspection_result_or_refused(tree: Any) -> None:
    for line in refused(lambda: read_introspection(tree, "x")).splitlines():
        assert line.startswith("x: ")
