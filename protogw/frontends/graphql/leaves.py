"""How the values of proto fields are written in a GraphQL response."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from protogw.descriptors.model import Field, Kind, Schema, Type
from protogw.descriptors.to_graphql_model import EnumNames
from protogw.descriptors.to_graphql_scalars import ANYTHING, EMPTY, LONG, TEXTS
from protogw.descriptors.well_known import WRAPPERS
from protogw.errors import InvalidRequest
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.projection import Read, Unsayable, same
from protogw.wire.protojson_floats import shortest


def scalar(kind: Kind) -> Read:
    """How a value of a scalar kind is written."""
    return _SCALARS.get(kind, str if kind in LONG else same)


def enum(names: EnumNames) -> Read:
    """How an enum's number is written."""
    known = names.names

    def show(number: int) -> str:
        name = known.get(number)
        if name is None:
            raise Unsayable(f"the service's answer holds {number}, which is no value of {names.enum.name}")
        return name

    return show


def well_known(name: str, schema: Schema, bound: Bound) -> Read | None:
    """How a message with a form of its own is written; None for any other."""
    if (kind := WRAPPERS.get(name)) is not None:
        inner = scalar(kind)
        return lambda message: inner(message.value)
    if name in TEXTS:
        return _text
    if name == EMPTY:
        return _true
    return _anything(bound.type_of(schema, name)) if name in ANYTHING else None


def map_as_json(field: Field, message: Type, schema: Schema, bound: Bound) -> Callable[[Any], Any]:
    """Reads a map of a message whole, as JSON."""
    made, codec = bound.messages(schema).of(message.name), message.codec.canonical

    def read(value: Any) -> Any:
        alone = made()
        getattr(alone, field.name).MergeFrom(getattr(value, field.name))
        return orjson.Fragment(codec.field_to_json(field.name, alone.SerializeToString()))

    return read


def _anything(type_: Type) -> Read:
    codec = type_.codec.canonical

    def show(message: Any) -> Any:
        try:
            printed = codec.to_json(message.SerializeToString())
        except InvalidRequest as error:
            raise Unsayable(f"the service's answer has no form in JSON: {error.message}") from error
        return None if printed == b"null" else orjson.Fragment(printed)

    return show


def _text(message: Any) -> Any:
    try:
        return message.ToJsonString()
    except ValueError as error:
        raise Unsayable(f"the service's answer holds what cannot be written: {error}") from error


def _true(_message: Any) -> bool:
    return True


def _double(value: float) -> float:
    if not math.isfinite(value):
        raise Unsayable(f"the service's answer holds {value}, which GraphQL's Float does not have")
    return value


def _float(value: float) -> float:
    short: float = shortest(_double(value))
    return short


def _bytes(value: bytes) -> str:
    return b64encode(value).decode()


_SCALARS: Mapping[Kind, Read] = {Kind.DOUBLE: _double, Kind.FLOAT: _float, Kind.BYTES: _bytes}
