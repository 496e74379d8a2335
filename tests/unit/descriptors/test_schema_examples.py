"""Examples of foreign schemas fit them, whatever they say, or there are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from protogw.descriptors.json_schema import REFERENCE
from protogw.descriptors.schema_examples import NOTHING, SchemaExamples

NAMED: dict[str, Any] = {
    "Kind": {"enum": ["a", "b"]},
    "Text": {"type": "string", "minLength": 2},
    "Loop": {"type": "object", "properties": {"loop": {"$ref": REFERENCE + "Loop"}, "text": {"type": "string"}}},
    "Endless": {"type": "object", "properties": {"loop": {"$ref": REFERENCE + "Endless"}}, "required": ["loop"]},
}


def example(schema: object, *, request: bool = False) -> Any:
    return SchemaExamples(NAMED.get).of(schema, request=request)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "uuid"}, "123e4567-e89b-42d3-a456-426614174000"),
        ({"type": "string", "maxLength": 3}, NOTHING),
        ({"type": "string", "pattern": "^x"}, NOTHING),
        ({"type": "string", "pattern": "^x", "examples": ["xy"]}, "xy"),
        ({"type": ["null", "integer"], "minimum": 5}, 5),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "string"}}, ["text"]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, NOTHING),
        ({"type": "array", "items": {"not": {}}}, []),
        ({"$ref": REFERENCE + "Kind"}, "a"),
        ({"$ref": REFERENCE + "Nosuch"}, NOTHING),
        ({"$ref": REFERENCE + "Loop"}, {"text": "text"}),
        ({"$ref": REFERENCE + "Endless"}, NOTHING),
        ({"anyOf": [{"type": "null"}, {"$ref": REFERENCE + "Text"}]}, "text"),
        ({"oneOf": [{"type": "object"}, {"type": "object"}]}, NOTHING),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, "text"),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"not": {}}}}, {"a": "text"}),
        ({"type": "object", "properties": {"b": {"not": {}}}, "required": ["b"]}, NOTHING),
        ({"type": "object", "properties": {"a": {}, "b": {"default": 3}}, "maxProperties": 1}, {"b": 3}),
        (True, NOTHING),
        ({}, NOTHING),
    ],
)
def test_an_example_is_what_the_schema_says(schema: object, expected: Any) -> None:
    assert example(schema) == expected if expected is not NOTHING else example(schema) is NOTHING


def test_what_is_only_read_or_only_written_is_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"type": "string", "readOnly": True}, "key": {"type": "string", "writeOnly": True}},
    }
    assert example(schema, request=True) == {"key": "text"}
    assert example(schema, request=False) == {"id": "text"}


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"]),
            "enum": st.lists(st.sampled_from(["a", 1, None]), min_size=1, unique=True),
            "minimum": st.integers(-3, 3),
            "maximum": st.integers(3, 9),
            "minLength": st.integers(0, 6),
            "multipleOf": st.just(7),
            "minItems": st.integers(0, 2),
            "$ref": st.sampled_from([REFERENCE + name for name in NAMED]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["array", "object"]),
            "items": inner,
            "properties": st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
            "required": st.just(["x"]),
            "additionalProperties": st.just(False),
            "oneOf": st.lists(inner, min_size=1, max_size=3),
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "maxProperties": st.integers(0, 2),
        },
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(SCHEMAS, st.booleans())
def test_every_example_fits(schema: dict[str, Any], request: bool) -> None:
    found = example(schema, request=request)
    if found is not NOTHING:
        Draft202012Validator({"components": {"schemas": NAMED}, **schema}).validate(found)
