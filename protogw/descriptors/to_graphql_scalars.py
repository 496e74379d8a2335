"""The GraphQL scalars that stand for protobuf's: what is read as one, and how it is written. Values are JSON's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLError,
    GraphQLFloat,
    GraphQLInt,
    GraphQLScalarType,
    GraphQLString,
    IntValueNode,
    StringValueNode,
    ValueNode,
    print_ast,
    value_from_ast_untyped,
)

from protogw.descriptors.model import Kind
from protogw.descriptors.well_known import WRAPPERS

_WHOLE = re.compile(r"-?[0-9]{1,20}\Z")


def _integer(name: str, low: int, high: int, *, text: bool, doc: str) -> GraphQLScalarType:
    """A whole number of a range; written as text where JSON numbers would lose digits."""

    def parse(value: Any) -> Any:
        if isinstance(value, str) and text and _WHOLE.match(value):
            number = int(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            number = int(value)
        else:
            raise GraphQLError(f"{name} cannot represent value: {_shown(value)}")
        if not low <= number <= high:
            raise GraphQLError(f"{name} cannot represent value: {_shown(value)}: out of range")
        return number

    def parse_literal(node: ValueNode, _variables: Any = None) -> Any:
        if isinstance(node, IntValueNode):
            # Python turns down very long numbers, so what cannot be in range is not even tried.
            return parse(int(node.value) if len(node.value) <= 21 else math.inf)
        if isinstance(node, StringValueNode):
            return parse(node.value)
        raise GraphQLError(f"{name} cannot represent value: {print_ast(node)}", node)

    def serialize(value: Any) -> Any:
        number = parse(value)
        return str(number) if text else number

    return GraphQLScalarType(name, serialize=serialize, parse_value=parse, parse_literal=parse_literal, description=doc)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _text(name: str, doc: str, url: str | None = None) -> GraphQLScalarType:
    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise GraphQLError(f"{name} cannot represent value: {_shown(value)}")
        return value

    def parse_literal(node: ValueNode, _variables: Any = None) -> str:
        if not isinstance(node, StringValueNode):
            raise GraphQLError(f"{name} cannot represent value: {print_ast(node)}", node)
        return node.value

    return GraphQLScalarType(
        name, serialize=parse, parse_value=parse, parse_literal=parse_literal, description=doc, specified_by_url=url
    )


def _as_it_is(value: Any) -> Any:
    return value


def _json_literal(node: ValueNode, variables: Any = None) -> Any:
    return value_from_ast_untyped(node, variables)


INT64 = _integer(
    "Int64", -(1 << 63), (1 << 63) - 1, text=True, doc="A signed 64-bit number, written as text; numbers are read too."
)
UINT64 = _integer(
    "UInt64", 0, (1 << 64) - 1, text=True, doc="An unsigned 64-bit number, written as text; numbers are read too."
)
UINT32 = _integer("UInt32", 0, (1 << 32) - 1, text=False, doc="An unsigned 32-bit number.")
TIMESTAMP = _text(
    "Timestamp", 'An RFC 3339 time such as "2026-01-31T12:00:00Z".', "https://www.rfc-editor.org/rfc/rfc3339"
)
DURATION = _text("Duration", 'A duration in seconds such as "1.5s".')
FIELD_MASK = _text("FieldMask", 'Field paths such as "name,shelf.theme".')
JSON = GraphQLScalarType(
    "JSON",
    serialize=_as_it_is,
    parse_value=_as_it_is,
    parse_literal=_json_literal,
    description="Any JSON value.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
)

_LONG: Mapping[Kind, GraphQLScalarType] = {
    Kind.INT64: INT64,
    Kind.SINT64: INT64,
    Kind.SFIXED64: INT64,
    Kind.UINT64: UINT64,
    Kind.FIXED64: UINT64,
}
_SHORT: Mapping[Kind, GraphQLScalarType] = {
    Kind.DOUBLE: GraphQLFloat,
    Kind.FLOAT: GraphQLFloat,
    Kind.INT32: GraphQLInt,
    Kind.SINT32: GraphQLInt,
    Kind.SFIXED32: GraphQLInt,
    Kind.UINT32: UINT32,
    Kind.FIXED32: UINT32,
    Kind.BOOL: GraphQLBoolean,
    Kind.STRING: GraphQLString,
    Kind.BYTES: GraphQLString,
}

LONG = frozenset(_LONG)
"""The kinds whose values are written as text."""

EMPTY = "google.protobuf.Empty"
"""Has no fields and never will: true when it is there."""

TEXTS: Mapping[str, GraphQLScalarType] = {
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    "google.protobuf.FieldMask": FIELD_MASK,
}
"""The messages that JSON writes as text."""

ANYTHING = frozenset(
    (
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "google.protobuf.ListValue",
        "google.protobuf.Any",
    )
)
"""The messages that hold JSON of any form."""

RESERVED = frozenset(
    (
        "Query",
        "Mutation",
        "Subscription",
        "ID",
        "String",
        "Boolean",
        "Int",
        "Float",
        *(scalar.name for scalar in (INT64, UINT64, UINT32, TIMESTAMP, DURATION, FIELD_MASK, JSON)),
    )
)
"""Names of types that no message or enum may have."""


def scalar_of(kind: Kind, *, long_as_text: bool) -> GraphQLScalarType:
    """The GraphQL type of a scalar kind; 64-bit numbers as String or as a scalar of their own."""
    found = _LONG.get(kind)
    if found is None:
        return _SHORT[kind]
    return GraphQLString if long_as_text else found


def well_known(type_name: str, *, long_as_text: bool) -> GraphQLScalarType | None:
    """The scalar that a well-known message is written as, or None for any other message."""
    if (kind := WRAPPERS.get(type_name)) is not None:
        return scalar_of(kind, long_as_text=long_as_text)
    if (text := TEXTS.get(type_name)) is not None:
        return text
    if type_name in ANYTHING:
        return JSON
    return GraphQLBoolean if type_name == EMPTY else None


def may_fail(kind: Kind, type_name: str) -> bool:
    """Whether a value may be one that GraphQL cannot say: an unknown enum value, a time out of range, no number."""
    if kind in (Kind.MESSAGE, Kind.GROUP):
        return type_name in TEXTS or type_name in ANYTHING or WRAPPERS.get(type_name) in (Kind.DOUBLE, Kind.FLOAT)
    return kind in (Kind.ENUM, Kind.DOUBLE, Kind.FLOAT)
