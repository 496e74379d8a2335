"""For random JSON Schemas and values of theirs: native JSON → protobuf → native JSON is the identity.

Up to the losses that docs/openapi.md names: null is absent, and so is an empty list or map that is not required.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protogw.errors import InvalidRequest
from tests.support.openapi import body

NAMES = st.sampled_from(["id", "petId", "pet_id", "first name", "$ref", "kind", "value", "items", "X-y", "ü", "_a"])
WORDS = st.sampled_from(["red", "dark-red", "dark_red", "", "1", "Ü"])

SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "integer", "format": "int32"},
        {"type": "integer", "format": "uint64"},
        {"type": "number"},
        {"type": "boolean"},
        {"const": "x"},
    ]
)
ENUMS = st.lists(st.one_of(WORDS, st.integers(0, 3)), min_size=2, max_size=4, unique_by=repr).map(
    lambda values: {"enum": values}
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, min_size=1, max_size=4)},
        optional={"additionalProperties": inner, "required": st.lists(NAMES, max_size=2, unique=True)},
    )


def tagged(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A oneOf of objects that a fixed member tells apart."""

    def made(properties: list[dict[str, Any]]) -> dict[str, Any]:
        branches = [
            {"type": "object", "required": ["tag"], "properties": {"tag": {"const": f"t{n}"}, **one}}
            for n, one in enumerate(properties)
        ]
        return {"oneOf": branches}

    return st.lists(st.dictionaries(NAMES, inner, max_size=2), min_size=2, max_size=3).map(made)


SCHEMAS = st.recursive(
    st.one_of(SCALARS, ENUMS, st.just({"type": ["string", "integer", "boolean"]})),
    lambda inner: st.one_of(
        objects(inner),
        tagged(inner),
        inner.map(lambda one: {"type": "array", "items": one}),
        inner.map(lambda one: {"type": "object", "additionalProperties": one}),
    ),
    max_leaves=6,
)

RANGES = {"int32": (-(2**31), 2**31 - 1), "uint64": (0, 2**64 - 1)}


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit the schema and lose nothing."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema:
        return st.one_of([values(one) for one in schema["oneOf"]])
    kind = schema["type"]
    if isinstance(kind, list):
        return st.one_of([values({"type": one}) for one in kind])
    if kind == "integer":
        return st.integers(*RANGES.get(schema.get("format", ""), (-(2**63), 2**63 - 1)))
    if kind == "number":
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if kind == "object":
        return members(schema)
    return {"string": st.text(max_size=5), "boolean": st.booleans()}[kind]


def members(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = schema.get("properties", {})
    required = {name: values(properties[name]) for name in schema.get("required", ()) if name in properties}
    optional = {name: values(one) for name, one in properties.items() if name not in required}
    known = st.fixed_dictionaries(required, optional=optional)
    if "additionalProperties" not in schema:
        return known
    more = st.dictionaries(st.text(max_size=4), values(schema["additionalProperties"]), max_size=2)
    return st.tuples(more, known).map(
        lambda both: {**{name: one for name, one in both[0].items() if name not in properties}, **both[1]}
    )


def without_losses(value: Any) -> Any:
    """The value without members that are empty lists or maps, which are absent."""
    if isinstance(value, dict):
        kept = {name: without_losses(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one not in ([], {})}
    return [without_losses(one) for one in value] if isinstance(value, list) else value


@given(SCHEMAS, st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_native_json_is_the_same_after_protobuf(schema: dict[str, Any], data: st.DataObject) -> None:
    codec = body(schema).output.codec
    for _ in range(5):
        value = data.draw(values(schema))
        sent = codec.from_json(orjson.dumps(value))
        assert without_losses(orjson.loads(codec.to_json(sent))) == without_losses(value)
        again = codec.canonical.from_json(codec.canonical.to_json(sent))
        assert orjson.loads(codec.to_json(again)) == orjson.loads(codec.to_json(sent))
        assert codec.lenient.from_json(orjson.dumps(value)) == sent


@given(SCHEMAS, st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
                             lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
                             max_leaves=8))  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_or_refused_as_the_clients_fault(schema: dict[str, Any], value: Any) -> None:
    codec = body(schema).output.codec
    for one in (codec, codec.lenient):
        try:
            data = one.from_json(json.dumps(value).encode())
        except InvalidRequest:
            continue
        written = codec.to_json(data)
        assert orjson.loads(codec.to_json(codec.lenient.from_json(written))) == orjson.loads(written)
