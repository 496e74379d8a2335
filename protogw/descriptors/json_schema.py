"""Message types as JSON Schema (2020-12): what their JSON looks like under the options that it is written with.

A type that another schema language describes brings its own JSON Schema; every other is derived from its fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from protogw.descriptors.model import Enum, Field, Kind, Schema, Type
from protogw.descriptors.notes import NO_VALUES, NONE, notes_of
from protogw.wire.protojson import JsonOptions

Json: TypeAlias = dict[str, Any]

REFERENCE = "#/components/schemas/"
INPUT = "-Input"
"""Ends the name of a type's schema for requests where that for replies differs; no name of a proto has a "-"."""

_INT32: Json = {"type": "integer", "format": "int32"}
_UINT32: Json = {"type": "integer", "format": "uint32", "minimum": 0}
_INT64: Json = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64: Json = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_AS_NUMBERS = frozenset(("int64", "uint64"))
_NOT_FINITE: Json = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_SCALARS: Mapping[Kind, Json] = {
    Kind.DOUBLE: {"oneOf": [{"type": "number", "format": "double"}, _NOT_FINITE]},
    Kind.FLOAT: {"oneOf": [{"type": "number", "format": "float"}, _NOT_FINITE]},
    Kind.INT32: _INT32,
    Kind.SINT32: _INT32,
    Kind.SFIXED32: _INT32,
    Kind.UINT32: _UINT32,
    Kind.FIXED32: _UINT32,
    Kind.INT64: _INT64,
    Kind.SINT64: _INT64,
    Kind.SFIXED64: _INT64,
    Kind.UINT64: _UINT64,
    Kind.FIXED64: _UINT64,
    Kind.BOOL: {"type": "boolean"},
    Kind.STRING: {"type": "string"},
    Kind.BYTES: {"type": "string", "contentEncoding": "base64"},
}
_KEYS: Mapping[Kind, Json] = {
    Kind.BOOL: {"enum": ["true", "false"]},
    **{
        kind: {"pattern": "^-?[0-9]+$"}
        for kind in (Kind.INT32, Kind.SINT32, Kind.SFIXED32, Kind.INT64, Kind.SINT64, Kind.SFIXED64)
    },
    **{kind: {"pattern": "^[0-9]+$"} for kind in (Kind.UINT32, Kind.FIXED32, Kind.UINT64, Kind.FIXED64)},
}

ANY = "google.protobuf.Any"
WELL_KNOWN: Mapping[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Paths of fields, separated by commas."},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {"description": "Any JSON value."},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.DoubleValue": _SCALARS[Kind.DOUBLE],
    "google.protobuf.FloatValue": _SCALARS[Kind.FLOAT],
    "google.protobuf.Int64Value": _INT64,
    "google.protobuf.UInt64Value": _UINT64,
    "google.protobuf.Int32Value": _INT32,
    "google.protobuf.UInt32Value": _UINT32,
    "google.protobuf.BoolValue": _SCALARS[Kind.BOOL],
    "google.protobuf.StringValue": _SCALARS[Kind.STRING],
    "google.protobuf.BytesValue": _SCALARS[Kind.BYTES],
}
"""The types whose JSON is written in place, without a schema of their own to refer to."""

_ANY: Json = {
    "type": "object",
    "description": "A message of any type, beside the URL that names the type.",
    "properties": {"@type": {"type": "string", "examples": ["type.googleapis.com/google.rpc.ErrorInfo"]}},
}


class JsonSchemas:
    """The JSON Schemas of one schema's types under one set of options; `finished` are those that were referred to.

    Replies and requests differ only where defaults are written: then every field without presence is there.
    """

    def __init__(self, schema: Schema, options: JsonOptions) -> None:
        self._schema = schema
        self.options = options
        self.notes = notes_of(schema.descriptor_set)
        self._made: dict[str, Json] = {}
        self._wanted: list[str] = []

    def name(self, field: Field) -> str:
        """The field's name in JSON."""
        return field.name if self.options.names == "proto" else field.json_name

    def message(self, found: Type, *, request: bool = False) -> Json:
        """A message's schema: written in place where that is short, else a reference."""
        return self._of_type(found.name, request)

    def _of_type(self, name: str, request: bool) -> Json:
        known = WELL_KNOWN.get(name)
        if known is not None:
            return dict(known)
        return self._reference(name + INPUT if request and self.options.emit_defaults else name)

    def _reference(self, name: str) -> Json:
        if name not in self._made:
            self._made[name] = {}
            self._wanted.append(name)
        return {"$ref": REFERENCE + name}

    def value(self, field: Field, *, request: bool = False) -> Json:
        """One value of a field: an element of a repeated one, a map's value."""
        if field.kind is Kind.ENUM:
            if field.type_name == "google.protobuf.NullValue":
                return {"type": "null"}
            return self._reference(field.type_name)
        if field.kind is Kind.MESSAGE or field.kind is Kind.GROUP:
            return self._of_type(field.type_name, request)
        return dict(_SCALARS[field.kind])

    def field(self, owner: Type, field: Field, *, request: bool = False) -> Json:
        """A field's schema, with what is said of the field."""
        foreign = _member(owner.json_schema, field.json_name)
        if foreign is not None:
            self._follow(foreign)
            return foreign
        notes = self.notes.fields.get(f"{owner.name}.{field.name}", NONE)
        found = self.value(field, request=request)
        if found.get("format") in _AS_NUMBERS and owner.codec is not owner.codec.canonical:
            found = {"type": "integer", "format": found["format"]}  # a service without a proto writes no such text
        if notes.format:
            found["format"] = notes.format
        facets = notes.facets
        if field.map_key is not None:
            keys = {**_KEYS.get(field.map_key, {}), **(facets.keys if field.map_key is Kind.STRING else {})}
            values = _bounded(found, facets.inner)
            found = {"type": "object", **({"propertyNames": keys} if keys else {}), "additionalProperties": values}
        elif field.repeated:
            found = {"type": "array", "items": _bounded(found, facets.inner)}
        found = _bounded(found, facets.whole)
        if field.doc:
            found["description"] = field.doc
        if notes.default is not None:
            found["default"] = self._default(field, notes.default)
        if "OUTPUT_ONLY" in notes.behaviors:
            found["readOnly"] = True
        if "INPUT_ONLY" in notes.behaviors:
            found["writeOnly"] = True
        if field.deprecated:
            found["deprecated"] = True
        return found

    def _default(self, field: Field, default: Any) -> Any:
        if field.kind is Kind.ENUM and self.options.enums == "number":
            return self._schema.enums[field.type_name].values.get(default, 0)
        return default

    def without(self, found: Type, bound: frozenset[str]) -> Json:
        """A request message's schema without the top-level fields of these proto names, which are given elsewhere."""
        return self._object(found, request=True, bound=bound)

    def finished(self) -> tuple[dict[str, Json], dict[str, str]]:
        """Every schema that was referred to, by name, and those that they refer to in turn; and the names that have
        changed: references made until now have the old ones."""
        while self._wanted:
            name = self._wanted.pop()
            self._made[name] = self._make(name)
        names = _joined(self._made) if self.options.emit_defaults else {}
        return {names.get(name, name): renamed(schema, names) for name, schema in self._made.items()}, names

    def _make(self, name: str) -> Json:
        request = name.endswith(INPUT)
        name = name.removesuffix(INPUT)
        if name == ANY:
            return dict(_ANY)
        enum = self._schema.enums.get(name)
        if enum is not None:
            return self._enum(enum)
        found = self._schema.types.get(name)
        if found is None:  # a foreign schema may refer to what became no type of its own
            return {}
        if found.json_schema is not None:
            self._follow(found.json_schema)
            return dict(found.json_schema) if isinstance(found.json_schema, Mapping) else {}
        return self._object(found, request=request)

    def _object(self, found: Type, *, request: bool, bound: frozenset[str] = frozenset()) -> Json:
        made: Json = {"type": "object"}
        if found.doc:
            made["description"] = found.doc
        fields = [field for field in found.fields.values() if field.name not in bound]
        required = [self.name(field) for field in fields if self._required(found, field, request)]
        if fields:
            made["properties"] = {self.name(field): self.field(found, field, request=request) for field in fields}
        if required:
            made["required"] = required
        made.update(_one_of(self._oneofs(fields)))
        if found.name in self.notes.deprecated:
            made["deprecated"] = True
        return made

    def demanded(self, owner: Type, field: Field) -> bool:
        """Whether a request without the field is wrong: it is `required`, its field_behavior is REQUIRED, or its rules
        leave out what it is when it is not there."""
        notes = self.notes.fields.get(f"{owner.name}.{field.name}", NONE)
        return field.required or "REQUIRED" in notes.behaviors or (notes.facets.given and not field.has_presence)

    def only_for_replies(self, owner: Type, field: Field) -> bool:
        """Whether requests cannot set the field: its field_behavior is OUTPUT_ONLY."""
        return "OUTPUT_ONLY" in self.notes.fields.get(f"{owner.name}.{field.name}", NONE).behaviors

    def _required(self, owner: Type, field: Field, request: bool) -> bool:
        always = self.options.emit_defaults and not request and not field.has_presence
        return always or self.demanded(owner, field)

    def _oneofs(self, fields: Iterable[Field]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for field in fields:
            if field.oneof:
                found.setdefault(field.oneof, []).append(self.name(field))
        return found

    def _enum(self, enum: Enum) -> Json:
        notes = self.notes.enums.get(enum.name, NO_VALUES)
        numbered = not enum.written and self.options.enums == "number"
        shown: Mapping[str, Any] = enum.written or (enum.values if numbered else {name: name for name in enum.values})
        values = list(dict.fromkeys(shown.values()))
        made: Json = {"enum": values}
        if all(isinstance(value, str) for value in values):
            made = {"type": "string", **made}
        elif numbered:
            made = {"type": "integer", "format": "int32", **made}
        told = [
            f"- `{value}`{f' {name}' if numbered else ''}"
            f"{': ' + notes.docs[name] if name in notes.docs else ''}"
            f"{' (deprecated)' if name in notes.deprecated else ''}"
            for name, value in shown.items()
            if numbered or name in notes.docs or name in notes.deprecated
        ]
        lines = [text for text in (enum.doc, "\n".join(told)) if text]
        if lines:
            made["description"] = "\n\n".join(lines)
        return made

    def _follow(self, foreign: object) -> None:
        """See to it that what a foreign schema refers to is there as well."""
        for target in references(foreign):
            if target.startswith(REFERENCE):
                self._reference(target.removeprefix(REFERENCE))


def _member(schema: object, name: str) -> Json | None:
    """What a foreign schema says of an object's member, if it says it in so many words."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else None


def _bounded(schema: Json, facets: Mapping[str, Any]) -> Json:
    """The schema with more keywords, where they speak of the type that it has: 64-bit integers are text."""
    if not facets or "$ref" in schema:
        return schema
    if "oneOf" in schema and "type" not in schema:  # a number, or one that is none
        return {**schema, "oneOf": [{**schema["oneOf"][0], **facets}, *schema["oneOf"][1:]]}
    if schema.get("format") in _AS_NUMBERS and schema.get("type") == "string":
        return schema
    return {**schema, **facets}


def _one_of(oneofs: Mapping[str, list[str]]) -> Json:
    """The constraint that at most one member of each oneof is there."""
    found = []
    for name, members in oneofs.items():
        if len(members) > 1:
            given: list[Json] = [{"required": [member]} for member in members]
            found.append({"title": name, "oneOf": [*given, {"not": {"anyOf": given}}]})
    if len(found) == 1:
        return {"oneOf": found[0]["oneOf"]}
    return {"allOf": found} if found else {}


def references(value: object) -> Iterator[str]:
    """Every `$ref` in a schema."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            target = one.get("$ref")
            if isinstance(target, str):
                yield target
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The schema with its references to components of these names turned to others; shares nothing with `value`."""
    if isinstance(value, Mapping):
        made = {key: renamed(one, names) for key, one in value.items()}
        target = made.get("$ref")
        if isinstance(target, str) and target.startswith(REFERENCE):
            name = target.removeprefix(REFERENCE)
            made["$ref"] = REFERENCE + names.get(name, name)
        return made
    return [renamed(one, names) for one in value] if isinstance(value, (list, tuple)) else value


def _joined(made: Mapping[str, Json]) -> dict[str, str]:
    """The names of schemas for requests that turn out to be the same as those for replies, or the only ones."""
    pairs = {name for name in made if not name.endswith(INPUT) and name + INPUT in made}
    same = {name + INPUT: name for name in made}
    differ: set[str] = set()
    while True:
        # A pair differs when its own words do, or when it refers to one that does.
        names = {key: name for key, name in same.items() if name not in differ}
        more = {name for name in pairs - differ if renamed(made[name + INPUT], names) != made[name]}
        if not more:
            break
        differ |= more
    plain = {name: name.removesuffix(INPUT) for name in made if name.endswith(INPUT)}
    return {name: one for name, one in plain.items() if one not in differ}
