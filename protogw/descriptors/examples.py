"""Example messages as JSON, made from their types alone: the same type always has the same example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protogw.descriptors.json_schema import ANY, JsonSchemas
from protogw.descriptors.model import Field, Kind, Schema, Type
from protogw.descriptors.notes import NONE
from protogw.descriptors.rule_facets import NONE as NO_FACETS
from protogw.descriptors.schema_examples import NOTHING, SchemaExamples

_DEPTH = 5
_VALUES = 60
"""Values in one example: beyond that it explains nothing."""

_WELL_KNOWN: Mapping[str, Any] = {
    "google.protobuf.Timestamp": "2026-01-31T12:00:00Z",
    "google.protobuf.Duration": "1.5s",
    "google.protobuf.FieldMask": "name",
    "google.protobuf.Struct": {"key": "value"},
    "google.protobuf.Value": "value",
    "google.protobuf.ListValue": ["value"],
    "google.protobuf.Empty": {},
    "google.protobuf.DoubleValue": 1.5,
    "google.protobuf.FloatValue": 1.5,
    "google.protobuf.Int64Value": "1",
    "google.protobuf.UInt64Value": "1",
    "google.protobuf.Int32Value": 1,
    "google.protobuf.UInt32Value": 1,
    "google.protobuf.BoolValue": True,
    "google.protobuf.StringValue": "text",
    "google.protobuf.BytesValue": "aGVsbG8=",
}
_FORMATS = {"uuid": "123e4567-e89b-42d3-a456-426614174000", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
_KEYS = {Kind.STRING: "key", Kind.BOOL: "true"}


class Examples:
    """Writes examples of one schema's types."""

    def __init__(self, schemas: JsonSchemas, schema: Schema) -> None:
        self._schemas = schemas
        self._enums = schema.enums
        self._types = schema.types
        self._foreign = SchemaExamples(self._resolve)
        self._left = 0

    def _resolve(self, name: str) -> Mapping[str, Any] | None:
        """What a reference of a foreign schema leads to."""
        enum = self._enums.get(name)
        if enum is not None:
            return {"enum": list(enum.written.values() or enum.values)}
        found = self._types.get(name)
        return found.json_schema if found is not None else None

    def message(self, found: Type, *, request: bool, bound: frozenset[str] = frozenset()) -> Any:
        """An example of a message, without the top-level fields of `bound`; NOTHING where none is sure to fit."""
        self._left = _VALUES
        return self._message(found, request, frozenset((found.name,)), bound)

    def field(self, owner: Type, field: Field, *, request: bool) -> Any:
        """An example of one field's value."""
        self._left = _VALUES
        if owner.json_schema is not None:
            return self._foreign.of(self._schemas.field(owner, field, request=request), request=request)
        return self._field(owner, field, request, frozenset((owner.name,)))

    def _message(self, found: Type, request: bool, above: frozenset[str], bound: frozenset[str] = frozenset()) -> Any:
        if found.name == ANY:
            return {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}
        if found.name in _WELL_KNOWN:
            return _WELL_KNOWN[found.name]
        if found.json_schema is not None:
            return self._foreign.of(found.json_schema, request=request)
        made: dict[str, Any] = {}
        given: set[str] = set()
        unwanted = "OUTPUT_ONLY" if request else "INPUT_ONLY"
        for field in found.fields.values():
            demanded = self._schemas.demanded(found, field)
            notes = self._schemas.notes.fields.get(f"{found.name}.{field.name}", NONE)
            if field.name in bound or field.oneof in given:
                continue
            if (unwanted in notes.behaviors or field.deprecated) and not demanded:
                continue
            value = self._field(found, field, request, above)
            if value is NOTHING:
                if demanded or self._always(field, request):
                    return NOTHING
                continue
            made[self._schemas.name(field)] = value
            if field.oneof:
                given.add(field.oneof)
        return made

    def _always(self, field: Field, request: bool) -> bool:
        return self._schemas.options.emit_defaults and not request and not field.has_presence

    def _field(self, owner: Type, field: Field, request: bool, above: frozenset[str]) -> Any:
        notes = self._schemas.notes.fields.get(f"{owner.name}.{field.name}", NONE)
        if notes.format and not (field.repeated or field.map_key):
            return _FORMATS[notes.format]
        if notes.facets is not NO_FACETS and field.kind not in (Kind.MESSAGE, Kind.GROUP, Kind.ENUM):
            return self._foreign.of(self._schemas.field(owner, field, request=request), request=request)
        value = self._value(field, request, above, owner.types)
        if field.map_key is not None:
            return {} if value is NOTHING else {_KEYS.get(field.map_key, "1"): value}
        if field.repeated:
            return [] if value is NOTHING else [value]
        return value

    def _value(self, field: Field, request: bool, above: frozenset[str], types: Mapping[str, Type]) -> Any:
        self._left -= 1
        if self._left < 0:
            return NOTHING
        kind = field.kind
        if kind is Kind.MESSAGE or kind is Kind.GROUP:
            found = types.get(field.type_name)
            if found is None or found.name in above or len(above) > _DEPTH:
                return NOTHING
            return self._message(found, request, above | {found.name})
        if kind is Kind.ENUM:
            return self._enum(field)
        if kind is Kind.STRING:
            return field.name.replace("_", " ")
        if kind is Kind.BYTES:
            return "aGVsbG8="
        if kind is Kind.BOOL:
            return True
        if kind is Kind.DOUBLE or kind is Kind.FLOAT:
            return 1.5
        return "1" if kind.value.endswith("64") else 1

    def _enum(self, field: Field) -> Any:
        if field.type_name == "google.protobuf.NullValue":
            return None
        enum = self._enums[field.type_name]
        if enum.written:
            return next(iter(enum.written.values()))
        values = enum.values
        name, number = next(((name, number) for name, number in values.items() if number), next(iter(values.items())))
        return name if self._schemas.options.enums == "name" else number
