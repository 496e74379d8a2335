"""Protovalidate's rules in the documents, and JSON Schema's keywords there and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldOptions
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from protogw.descriptors.build import RULES
from protogw.descriptors.examples import Examples
from protogw.descriptors.from_proto import load
from protogw.descriptors.json_schema import JsonSchemas
from protogw.descriptors.model import Schema, Type
from protogw.descriptors.rule_facets import facets_of
from protogw.descriptors.to_proto import proto_files
from protogw.wire.protojson import JsonOptions
from protogw.wire.protowire import delimited
from tests.support.openapi import document, schema_of

HEAD = 'syntax = "proto3"; package r.v1; import "buf/validate/validate.proto";'


def described(schema: Schema, name: str) -> dict[str, Any]:
    """The JSON Schema of a type, by its fields."""
    schemas = JsonSchemas(schema, JsonOptions())
    schemas.message(schema.types[name])
    return schemas.finished()[0][name]


def member(folder: Path, field: str) -> tuple[dict[str, Any], bool]:
    """The schema of a field, without its type, and whether it is required."""
    (folder / "r.proto").write_text(f"{HEAD} message M {{ {field} }} enum E {{ NONE = 0; }}")
    made = described(load([folder / "r.proto"]), "r.v1.M")
    found = made["properties"]["it"]
    return {word: value for word, value in found.items() if word not in ("type", "format")}, "it" in made.get(
        "required", ()
    )


@pytest.mark.parametrize(
    ("field", "facets", "required"),
    [
        ("string it = 1 [(V).string = {min_len: 1, max_len: 9}];", {"minLength": 1, "maxLength": 9}, True),
        ("optional string it = 1 [(V).string.len = 3];", {"minLength": 3, "maxLength": 3}, False),
        ("optional string it = 1 [(V).required = true];", {}, True),
        (
            'string it = 1 [(V) = {string: {pattern: "^a+$"}, ignore: IGNORE_IF_ZERO_VALUE}];',
            {"pattern": "^a+$"},
            False,
        ),
        ('string it = 1 [(V).string.pattern = "(?i)a"];', {}, False),
        ('string it = 1 [(V).string = {in: ["a", "b"]}];', {"enum": ["a", "b"]}, True),
        ('string it = 1 [(V) = {string: {min_len: 1}, ignore: IGNORE_ALWAYS}];', {}, False),
        ("int32 it = 1 [(V).int32 = {gte: 0, lt: 9}];", {"minimum": 0, "exclusiveMaximum": 9}, False),
        ("int32 it = 1 [(V).int32.gt = 0];", {"exclusiveMinimum": 0}, True),
        ("int32 it = 1 [(V).int32 = {gt: 9, lt: 0}];", {}, False),
        ("int64 it = 1 [(V).int64.gte = 0];", {"pattern": "^-?[0-9]+$"}, False),
        ("bool it = 1 [(V).bool.const = true];", {"const": True}, True),
        (
            "repeated string it = 1 [(V).repeated = {min_items: 1, unique: true, items: {string: {max_len: 2}}}];",
            {"minItems": 1, "uniqueItems": True, "items": {"type": "string", "maxLength": 2}},
            True,
        ),
        (
            "map<string, int32> it = 1 [(V).map = {max_pairs: 2 keys: {string: {len: 1}} values: {int32: {lte: 5}}}];",
            {
                "maxProperties": 2,
                "propertyNames": {"minLength": 1, "maxLength": 1},
                "additionalProperties": {"type": "integer", "format": "int32", "maximum": 5},
            },
            False,
        ),
    ],
)  # fmt: skip
def test_rules_are_keywords_where_json_schema_has_them(
    tmp_path: Path, field: str, facets: dict[str, Any], required: bool
) -> None:
    assert member(tmp_path, field.replace("(V)", "(buf.validate.field)")) == (facets, required)


@pytest.mark.parametrize("name", ["email", "hostname", "ipv4", "ipv6", "uri", "uuid"])
def test_well_known_rules_are_formats(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.proto").write_text(
        f"{HEAD} message M {{ string it = 1 [(buf.validate.field).string.{name} = true]; }}"
    )
    assert described(load([tmp_path / "r.proto"]), "r.v1.M")["properties"]["it"]["format"] == name


def test_doubles_are_bounded_beside_what_is_no_number(tmp_path: Path) -> None:
    facets, _ = member(tmp_path, "double it = 1 [(buf.validate.field).double = {gte: 0.5, lte: 2}];")
    assert facets["oneOf"][0] == {"type": "number", "format": "double", "minimum": 0.5, "maximum": 2}
    assert facets["oneOf"][1]["enum"] == ["NaN", "Infinity", "-Infinity"]


def test_examples_are_as_the_rules_say_or_not_there(tmp_path: Path) -> None:
    rules = (
        "string.max_len = 2",
        "string = {min_len: 2, max_len: 9}",
        'string.pattern = "^x{9}$"',
        "string.uuid = true",
    )
    fields = "".join(
        f" string f{place} = {place + 1} [(buf.validate.field).{rule}];" for place, rule in enumerate(rules)
    )
    (tmp_path / "r.proto").write_text(f"{HEAD} message M {{{fields} }}".replace("uuid = true", "ipv4 = true"))
    schema = load([tmp_path / "r.proto"])
    found: Type = schema.types["r.v1.M"]
    example = Examples(JsonSchemas(schema, JsonOptions()), schema).message(found, request=True)
    assert example == {"f1": "text", "f3": "192.0.2.1"}
    assert Draft202012Validator(described(schema, "r.v1.M")).is_valid(example)


def test_what_a_document_asks_comes_back_out_of_the_proto_that_is_made_of_it(tmp_path: Path) -> None:
    members = {
        "name": {"type": "string", "minLength": 2, "maxLength": 9, "pattern": "^[a-z]+$"},
        "mail": {"type": "string", "format": "email"},
        "age": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 3, "uniqueItems": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}, "maxProperties": 2},
    }
    content = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
    pet = {"type": "object", "required": ["name", "age"], "properties": members}
    made = schema_of(document({"/pets": {"post": {"operationId": "add", "requestBody": content}}}, {"Pet": pet}))
    printed = proto_files(made.descriptor_set)["shop.proto"]
    (tmp_path / "shop.proto").write_text(printed)
    found = described(load([tmp_path / "shop.proto"]), "shop.Pet")
    assert found["properties"] == members
    assert found["required"] == ["name", "age"]


@pytest.mark.parametrize("rules", [b"\xff", b"\x72\x7f", b"\x72\x03\x0a\x01\xff", b"\x08\x01"])
def test_what_is_no_rule_says_nothing(rules: bytes) -> None:
    options = FieldOptions()
    options.MergeFromString(delimited(RULES, rules))
    assert facets_of(options).whole == {}


def test_rules_within_rules_without_end_say_nothing() -> None:
    rules = b""
    for _ in range(150):
        rules = delimited(18, delimited(4, rules))
    assert facets_of(FieldOptions.FromString(delimited(RULES, rules))).whole == {}


@given(st.binary(max_size=40))
def test_no_options_break_a_document(rules: bytes) -> None:
    options = FieldOptions()
    options.MergeFromString(delimited(RULES, rules))
    facets_of(options)
