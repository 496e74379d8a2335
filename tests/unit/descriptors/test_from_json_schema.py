"""JSON Schemas become messages, and their JSON stays what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from protogw.descriptors import from_json_schema, from_proto
from protogw.descriptors.model import Field, Kind, SchemaError, Type
from protogw.descriptors.to_proto import proto_files
from protogw.errors import InvalidRequest
from tests.support.openapi import body, document, schema_of


def output(schema: Any, schemas: dict[str, Any] | None = None, **more: Any) -> Type:
    return body(schema, schemas, **more).output


def field(schema: Any, schemas: dict[str, Any] | None = None) -> Field:
    """What a member of this schema is."""
    holder = output({"type": "object", "properties": {"it": schema}}, schemas)
    return holder.fields["it"]


def same(schema: Any, *values: Any, schemas: dict[str, Any] | None = None) -> Type:
    """Each value comes back out of protobuf as it went in."""
    found = output(schema, schemas)
    for value in values:
        data = found.codec.from_json(orjson.dumps(value))
        assert orjson.loads(found.codec.to_json(data)) == value
    return found


def canonical(found: Type, value: Any) -> Any:
    return orjson.loads(found.codec.canonical.to_json(found.codec.from_json(orjson.dumps(value))))


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, Kind.STRING),
        ({"type": "string", "format": "date-time"}, Kind.STRING),
        ({"type": "string", "format": "byte"}, Kind.BYTES),
        ({"type": "string", "format": "binary"}, Kind.BYTES),
        ({"type": "string", "contentEncoding": "base64"}, Kind.BYTES),
        ({"type": "integer"}, Kind.INT64),
        ({"type": "integer", "format": "int32"}, Kind.INT32),
        ({"type": "integer", "format": "uint32"}, Kind.UINT32),
        ({"type": "integer", "format": "uint64"}, Kind.UINT64),
        ({"type": "number"}, Kind.DOUBLE),
        ({"type": "number", "format": "float"}, Kind.FLOAT),
        ({"type": ["integer", "number"]}, Kind.DOUBLE),
        ({"type": "boolean"}, Kind.BOOL),
        ({"enum": [True, False]}, Kind.BOOL),
        ({"const": "x"}, Kind.STRING),
        ({"const": 5}, Kind.INT64),
        ({"enum": ["a", "b"]}, Kind.ENUM),
        ({"type": "string", "anyOf": [{"format": "date"}, {"pattern": "x"}]}, Kind.STRING),
        ({"anyOf": [{"type": "string"}, {"type": "string", "format": "uuid"}]}, Kind.STRING),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "string"}]}, Kind.STRING),
        ({"anyOf": [{"enum": ["a", "b"]}, {"enum": ["c", "d"]}]}, Kind.STRING),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, Kind.DOUBLE),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, Kind.INT64),
    ],
)
def test_a_scalar_is_a_scalar(schema: Any, kind: Kind) -> None:
    found = field(schema)
    assert (found.kind, found.has_presence) == (kind, True)


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({}, "google.protobuf.Value"),
        (True, "google.protobuf.Value"),
        ({"type": "object"}, "google.protobuf.Struct"),
        ({"type": "object", "additionalProperties": True}, "google.protobuf.Struct"),
        ({"type": "object", "additionalProperties": {}}, "google.protobuf.Struct"),
        ({"enum": [{}, []]}, "google.protobuf.Value"),
        (
            {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "object"}}]},
            "google.protobuf.Value",
        ),
        ({"anyOf": [{}, {"type": "string"}]}, "google.protobuf.Value"),
        ({"type": "nosuch"}, "google.protobuf.Value"),
    ],
)
def test_what_has_no_form_is_free(schema: Any, name: str) -> None:
    assert field(schema).type_name == name


def test_members_that_are_required_are_always_there_and_others_may_not_be() -> None:
    found = same(
        {
            "type": "object",
            "required": ["id", "name", "tags", "owner", "made"],
            "properties": {
                "id": {"type": "integer"},
                "name": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "owner": {"type": ["string", "null"]},
                "made": {"type": "string", "readOnly": True},
                "size": {"type": "integer"},
            },
        },
        {"id": 2**60, "name": "", "tags": [], "owner": None},
        {"id": 0, "name": "x", "tags": ["a"], "owner": "me", "size": 0, "made": "now"},
    )
    assert orjson.loads(found.codec.to_json(b"")) == {"id": 0, "name": "", "tags": [], "owner": None}
    assert all(found.fields[name].has_presence for name in ("id", "name", "owner", "size", "made"))
    assert [name for name, field in found.fields.items() if field.required] == ["id", "name"]


@pytest.mark.parametrize(
    "nullable",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Name"}]},
        {"allOf": [{"$ref": "#/components/schemas/Name"}], "nullable": True},
    ],
)
def test_null_is_absent_in_every_dialect(nullable: Any) -> None:
    found = output({"type": "object", "properties": {"it": nullable}}, {"Name": {"type": "string"}})
    assert found.fields["it"].kind is Kind.STRING
    assert found.codec.from_json(b'{"it":null}') == b""


def test_maps_and_lists_of_all_kinds() -> None:
    schema = {
        "type": "object",
        "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
            "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "cube": {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": {}}}},
            "byName": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "deep": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": {"type": "boolean"}},
            },
            "holes": {"type": "array", "items": {"type": ["integer", "null"]}},
            "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            "plain": {"type": "array"},
            "enums": {"type": "array", "items": {"enum": ["a", "b", 3]}},
        },
    }
    found = same(
        schema,
        {},
        {
            "labels": {"a": 2**60},
            "grid": [[1], [], [2, 3]],
            "byName": {"x": ["y"], "z": []},
            "deep": {"a": {"b": True}},
        },
        {"cube": [[[1, "a", None], []]], "tuple": ["a", 1], "plain": [1, {"a": []}], "enums": ["a", 3]},
    )
    assert canonical(found, {"holes": [1, None]}) == {"holes": ["1", "0"]}
    assert canonical(found, {"grid": [[1]]}) == {"grid": [{"items": ["1"]}]}


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"type": "array", "items": {"type": "integer"}}, ([], [1, 2**60])),
        ({"type": "string"}, ("", "x")),
        ({"type": "integer"}, (0, 7)),
        ({"type": ["integer", "null"]}, (None, 0, 7)),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ({}, {"a": 1})),
        ({"type": "object"}, ({}, {"a": [1, {"b": None}]})),
        ({}, (None, 1, "x", [], {"a": 1})),
        ({"enum": ["a", "b"]}, ("a",)),
        ({"anyOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "null"}]}, ({"id": 0}, {"id": 1})),
        ({"type": ["string", "integer", "boolean"]}, ("x", 5, True, False, "")),
    ],
)
def test_a_body_that_is_no_object_is_itself(schema: Any, values: tuple[Any, ...]) -> None:
    pet = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    same(schema, *values, schemas={"Pet": pet})


def test_members_beside_those_that_are_known_are_kept() -> None:
    found = same(
        {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        {"id": 1, "x": "y", "additionalProperties": "z"},
    )
    assert canonical(found, {"x": "y"}) == {"additionalProperties": {"x": "y"}}
    same(
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "additionalProperties": {"type": "string"}},
            "additionalProperties": True,
        },
        {"id": 1, "x": {"y": [1]}, "additionalProperties": "z"},
    )
    closed = output({"type": "object", "properties": {"a": {"type": "string"}}})
    with pytest.raises(InvalidRequest, match="nosuch: no such field"):
        closed.codec.from_json(b'{"nosuch":1}')
    assert closed.codec.lenient.from_json(b'{"nosuch":1}') == b""


PETS: dict[str, Any] = {
    "Cat": {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"type": "string"}, "lives": {"type": "integer"}},
    },
    "Dog": {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"type": "string"}, "bark": {"type": "string"}},
    },
}
CAT, DOG = {"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}


def test_a_discriminator_tells_alternatives_apart_by_name_or_mapping() -> None:
    plain = {"oneOf": [CAT, DOG], "discriminator": {"propertyName": "kind"}}
    found = same(plain, {"kind": "Cat", "lives": 9}, {"kind": "Dog"}, schemas=PETS)
    assert canonical(found, {"kind": "Dog"}) == {"dog": {"kind": "Dog"}}
    mapped = {
        "oneOf": [CAT, DOG],
        "discriminator": {"propertyName": "kind", "mapping": {"c": CAT["$ref"], "kitten": CAT["$ref"], "d": "Dog"}},
    }
    found = same(mapped, {"kind": "kitten", "lives": 9}, {"kind": "c"}, {"kind": "d", "bark": "x"}, schemas=PETS)
    assert canonical(found, {"kind": "kitten"}) == {"cat": {"kind": "kitten"}}
    data = found.codec.canonical.from_json(b'{"cat":{"lives":"3"}}')
    assert orjson.loads(found.codec.to_json(data)) == {"kind": "c", "lives": 3}


def test_fixed_values_tell_alternatives_apart_where_the_schema_names_no_member() -> None:
    one = {"type": "object", "properties": {"t": {"const": "one"}, "v": {"type": "integer"}}}
    two = {"type": "object", "properties": {"t": {"enum": ["two", "zwei"]}, "v": {"type": "string"}}}
    found = same({"anyOf": [one, two]}, {"t": "one", "v": 1}, {"t": "zwei", "v": "x"})
    assert list(canonical(found, {"t": "two"})) == ["option2"]


def test_alternatives_of_all_kinds() -> None:
    schema = {
        "oneOf": [
            CAT,
            {"type": "string"},
            {"type": "integer"},
            {"type": "boolean"},
            {"type": "array", "items": DOG},
            {"type": "null"},
        ]
    }
    holder = {"type": "object", "properties": {"it": schema, "all": {"type": "array", "items": schema}}}
    found = same(
        holder,
        {"it": {"kind": "x", "lives": 1}, "all": ["a", 1, True, [{"kind": "y"}], []]},
        {"it": []},
        {},
        schemas=PETS,
    )
    assert canonical(found, {"it": [{"kind": "y"}]}) == {"it": {"list": {"items": [{"kind": "y"}]}}}


def test_allof_is_all_of_them_and_parts_that_may_be() -> None:
    schemas = {
        "Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}},
        "Named": {
            "allOf": [
                {"$ref": "#/components/schemas/Base"},
                {"properties": {"name": {"type": "string"}}, "required": ["name"]},
            ]
        },
        "Either": {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "string"}}}],
        },
    }
    same({"$ref": "#/components/schemas/Named"}, {"id": 1, "name": "x"}, schemas=schemas)
    same({"$ref": "#/components/schemas/Either"}, {"a": "x", "b": "y"}, schemas=schemas)


def test_types_may_hold_themselves() -> None:
    schemas = {
        "Tree": {
            "type": "object",
            "properties": {
                "left": {"$ref": "#/components/schemas/Tree"},
                "all": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            },
        },
        "Nest": {"type": "array", "items": {"$ref": "#/components/schemas/Nest"}},
        "Json": {
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"$ref": "#/components/schemas/Json"}},
                {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Json"}},
            ]
        },
    }
    same({"$ref": "#/components/schemas/Tree"}, {"left": {"left": {}}, "all": [{"all": [{}]}]}, schemas=schemas)
    same({"$ref": "#/components/schemas/Nest"}, [], [[], [[]]], schemas=schemas)
    same({"$ref": "#/components/schemas/Json"}, "x", ["x", ["y", {"a": ["z"]}]], {"a": {"b": "c"}}, schemas=schemas)


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": {"$ref": "#/components/schemas/A"}},
        {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}},
        {"A": {"allOf": [{"$ref": "#/components/schemas/A"}]}},
        {"A": {"oneOf": [{"$ref": "#/components/schemas/A"}]}},
        {"A": "text"},
        {"A": {"properties": {"x": 5}}},
        {"A": {"$ref": "#/nosuch"}},
    ],
)
def test_what_is_no_schema_is_a_fault_with_its_place(schemas: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as raised:
        output({"$ref": "#/components/schemas/A"}, schemas)
    assert "openapi.json:" in raised.value.faults[0]


def test_words_travel_along() -> None:
    schema = {
        "description": "A pet.\r\n\x07Really.",
        "deprecated": True,
        "type": "object",
        "properties": {"id": {"type": "integer", "description": "Its */ number.", "deprecated": True}},
    }
    method = body({"$ref": "#/components/schemas/Pet"}, {"Pet": schema})
    assert method.output.doc == "A pet.\nReally."
    assert method.output.fields["id"].doc == "Its */ number."
    assert method.output.fields["id"].deprecated
    json_schema = method.output.json_schema
    assert json_schema is not None
    assert json_schema["properties"]["id"]["type"] == "integer"


def test_the_json_schema_of_a_type_stands_alone_in_2020_12() -> None:
    schemas = {
        "Pet": {"type": "object", "properties": {
            "mother": {"$ref": "#/components/schemas/Pet"},
            "age": {"type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True, "example": 3},
            "status": {"$ref": "#/components/schemas/Status"},
            "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Status"}}}},
        "Status": {"type": "string", "enum": ["a", "b"]},
    }  # fmt: skip
    found = output({"$ref": "#/components/schemas/Pet"}, schemas).json_schema
    assert found == {
        "type": "object",
        "properties": {
            "mother": {"$ref": "#/components/schemas/shop.Pet"},
            "age": {"type": ["integer", "null"], "exclusiveMinimum": 0, "examples": [3]},
            "status": {"type": "string", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        },
    }


# ---- hostile schemas: refused or escaped, in bounded time


def test_allof_that_doubles_at_every_step_is_walked_once() -> None:
    schemas: dict[str, Any] = {
        f"A{n}": {"allOf": [{"$ref": f"#/components/schemas/A{n + 1}"}] * 2 + [{"properties": {f"p{n}": {}}}]}
        for n in range(30)
    }
    schemas["A30"] = {"properties": {"last": {"type": "string"}}, "oneOf": [{"properties": {"x": {}}}] * 20}
    found = output({"$ref": "#/components/schemas/A0"}, schemas)
    assert {"p0", "p29", "last", "x"} <= {one.json_name for one in found.fields.values()}


def test_allof_that_is_nested_too_deeply_is_a_fault() -> None:
    schemas: dict[str, Any] = {
        f"A{n}": {"allOf": [{"$ref": f"#/components/schemas/A{n + 1}"}, {"properties": {}}]} for n in range(100)
    }
    schemas["A100"] = {}
    with pytest.raises(SchemaError, match="nested too deeply"):
        output({"$ref": "#/components/schemas/A0"}, schemas)


def test_lists_that_are_nested_too_deeply_are_a_fault() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaError, match="nested too deeply"):
        output(schema)


def test_references_that_fan_out_do_not_make_the_described_schema_large() -> None:
    schemas: dict[str, Any] = {
        f"L{n}": {"type": "array", "items": {"anyOf": [{"$ref": f"#/components/schemas/L{n + 1}"}] * 1},
                  "prefixItems": [{"$ref": f"#/components/schemas/L{n + 1}"}] * 2}
        for n in range(40)
    }  # fmt: skip
    schemas["L40"] = {"type": "string"}
    found = output({"type": "object", "properties": {"it": {"$ref": "#/components/schemas/L0"}}}, schemas)
    assert len(orjson.dumps(found.json_schema)) < 1 << 20


def test_more_types_than_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_json_schema, "MAX_TYPES", 1_000)
    schemas = {
        f"T{n}": {"type": "object", "properties": {"n": {"$ref": f"#/components/schemas/T{n + 1}"}}}
        for n in range(2_000)
    }
    schemas["T2000"] = {"type": "object"}
    with pytest.raises(SchemaError, match="is one type more than 1000"):
        output({"$ref": "#/components/schemas/T0"}, schemas)


def test_names_inject_nothing(tmp_path: Path) -> None:
    evil = 'x"; option java_package = "evil'
    names = [evil, "a\nb", "*/ message M {", "`rm -rf`", "<script>", "𝓊", "Shop", "google", "string", "__proto__"]
    schemas = {
        name: {
            "type": "object",
            "description": f"*/ {name}",
            "properties": {one: {"enum": [one, name]} for one in names},
        }
        for name in names
    }
    members = {name: {"$ref": "#/components/schemas/" + name.replace("~", "~0").replace("/", "~1")} for name in names}
    content = {"content": {"application/json": {"schema": {"type": "object", "properties": members}}}}
    schema = schema_of(document({"/do": {"get": {"operationId": evil, "responses": {"200": content}}}}, schemas))
    (tmp_path / "shop.proto").write_text(proto_files(schema.descriptor_set)["shop.proto"])
    again = from_proto.compile_protos([tmp_path / "shop.proto"], []).file[-1]
    assert not again.options.ByteSize()
    assert [one.name for one in again.message_type] == [
        name.removeprefix("shop.") for name in schema.types if name.startswith("shop.") and "Entry" not in name
    ]
    found = next(iter(schema.services["shop.Shop"].methods.values())).output
    value = {name: dict.fromkeys(names, name) for name in names}
    assert orjson.loads(found.codec.to_json(found.codec.from_json(orjson.dumps(value)))) == value
