"""Values on protobuf's wire → the texts that stand for them in paths and queries, without a message object."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson

from protogw.descriptors.model import Field, Kind, Type
from protogw.descriptors.well_known import TEXTUAL
from protogw.wire.protowire import (
    BYTES,
    FIXED32,
    FIXED64,
    START_GROUP,
    VARINT,
    delimited,
    group_end,
    read_varint,
    tag,
    varint,
)

Value: TypeAlias = int | bytes
"""A number as written, or the bytes of anything else (of a group: what is in it)."""

Text: TypeAlias = Callable[[Value], str]
"""Text of one value; raises ValueError when the bytes are no such value."""


def scan(data: bytes) -> list[tuple[int, Value, int, int]]:
    """The top-level fields of a message in their order: number, value, start and end. Raises ValueError."""
    found: list[tuple[int, Value, int, int]] = []
    at, size = 0, len(data)
    value: Value
    while at < size:
        start = at
        key = data[at]
        at += 1
        if key > 127:
            key, at = read_varint(data, start)
        wire_type = key & 7
        if not 0 < key >> 3 < 1 << 29:
            raise ValueError("field number out of range")
        if wire_type == BYTES:
            length, at = read_varint(data, at)
            end = at + length
            value = data[at:end]
            at = end
        elif wire_type == VARINT:
            value, at = read_varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            end = at + (8 if wire_type == FIXED64 else 4)
            value = data[at:end]
            at = end
        elif wire_type == START_GROUP:
            begin = at
            end, at = group_end(data, at, key >> 3)
            value = data[begin:end]
        else:
            raise ValueError("unknown wire type")
        if at > size:
            raise ValueError("truncated")
        found.append((key >> 3, value, start, at))
    return found


# ---- one value → text


def text_of(field: Field, owner: Type) -> Text | None:
    """What prints one value of a field; None for a message that no single text stands for."""
    return _text(field.kind, field, owner)


def _text(kind: Kind, field: Field, owner: Type) -> Text | None:
    plain = PLAIN.get(kind)
    if plain is not None:
        return plain
    if kind is Kind.ENUM:
        return _EnumText(field, owner)
    if field.type_name in TEXTUAL and (found := owner.types.get(field.type_name)) is not None:
        return _JsonText(found)
    return None


SHAPELESS = frozenset("google.protobuf." + name for name in ("Struct", "Value", "ListValue", "Any"))
"""The message types whose JSON is anything: no query stands for them."""


def _number(value: Value) -> int:
    if value.__class__ is not int:
        raise ValueError("not a number")
    return value


def data_of(value: Value) -> bytes:
    if value.__class__ is int:
        raise ValueError("not text")
    return value  # type: ignore[return-value]


def _string(value: Value) -> str:
    try:
        return data_of(value).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _bytes(value: Value) -> str:
    return base64.urlsafe_b64encode(data_of(value)).decode()


def _int64(value: Value) -> str:
    number = _number(value)
    return str(number - (1 << 64) if number >> 63 else number)


def _int32(value: Value) -> str:
    number = _number(value) & 0xFFFFFFFF
    return str(number - (1 << 32) if number >> 31 else number)


def _zigzag(value: Value) -> str:
    number = _number(value)
    return str((number >> 1) ^ -(number & 1))


def _fixed(packing: str) -> Text:
    unpack = struct.Struct(packing).unpack

    def text(value: Value) -> str:
        try:
            return str(unpack(data_of(value))[0])
        except struct.error as error:
            raise ValueError("not a number") from error

    return text


def _floating(packing: str) -> Text:
    packer = struct.Struct(packing)

    def text(value: Value) -> str:
        try:
            number: float = packer.unpack(data_of(value))[0]
        except struct.error as error:
            raise ValueError("not a number") from error
        if number != number:
            return "NaN"
        if number in (float("inf"), float("-inf")):
            return "Infinity" if number > 0 else "-Infinity"
        if packer.size == 4:
            for digits in (6, 7, 8, 9):
                shown = f"{number:.{digits}g}"
                if packer.pack(float(shown)) == value:
                    number = float(shown)
                    break
        return repr(number).removesuffix(".0")

    return text


PLAIN: Mapping[Kind, Text] = {
    Kind.STRING: _string,
    Kind.BYTES: _bytes,
    Kind.BOOL: lambda value: "true" if _number(value) else "false",
    Kind.INT64: _int64,
    Kind.INT32: _int32,
    Kind.UINT64: lambda value: str(_number(value)),
    Kind.UINT32: lambda value: str(_number(value) & 0xFFFFFFFF),
    Kind.SINT64: _zigzag,
    Kind.SINT32: lambda value: _zigzag(_number(value) & 0xFFFFFFFF),
    Kind.FIXED64: _fixed("<Q"),
    Kind.SFIXED64: _fixed("<q"),
    Kind.FIXED32: _fixed("<I"),
    Kind.SFIXED32: _fixed("<i"),
    Kind.DOUBLE: _floating("<d"),
    Kind.FLOAT: _floating("<f"),
}

_ENUMS_KEPT = 256


class _EnumText:
    """An enum value as its JSON has it: its name, or its number where it has none."""

    def __init__(self, field: Field, owner: Type) -> None:
        self._field = field
        self._owner = owner
        self._known: dict[int, str] = {}

    def __call__(self, value: Value) -> str:
        number = _number(value)
        found = self._known.get(number)
        if found is None:
            field = self._field
            one = varint(number)
            if field.map_key is not None:
                # As the value of an entry without a key.
                one = delimited(field.number, tag(2, VARINT) + one)
                tree = orjson.loads(self._owner.codec.field_to_json(field.name, one))
                found = str(next(iter(tree.values()), number))
            else:
                printed = orjson.loads(self._owner.codec.field_to_json(field.name, tag(field.number, VARINT) + one))
                found = str(printed[0] if field.repeated and printed else printed)
            if len(self._known) < _ENUMS_KEPT:
                self._known[number] = found
        return found


class _JsonText:
    """A message whose JSON is a string or a number."""

    def __init__(self, message: Type) -> None:
        self._codec = message.codec
        self._base64 = message.name == "google.protobuf.BytesValue"

    def __call__(self, value: Value) -> str:
        printed = self._codec.to_json(data_of(value))
        if not printed.startswith(b'"'):
            return printed.decode()
        text: str = orjson.loads(printed)
        return text.translate(_URL_SAFE) if self._base64 else text


_URL_SAFE = str.maketrans("+/", "-_")

_PACKED_FIXED: Mapping[Kind, int] = {
    Kind.DOUBLE: 8,
    Kind.FIXED64: 8,
    Kind.SFIXED64: 8,
    Kind.FLOAT: 4,
    Kind.FIXED32: 4,
    Kind.SFIXED32: 4,
}
LENGTH_DELIMITED = frozenset((Kind.STRING, Kind.BYTES, Kind.MESSAGE, Kind.GROUP))


def elements(kind: Kind, value: Value) -> list[Value]:
    """The elements in one occurrence of a repeated field: one, or those that are packed into it."""
    if kind in LENGTH_DELIMITED or value.__class__ is int:
        return [value]
    data = data_of(value)
    size = _PACKED_FIXED.get(kind)
    if size is not None:
        if len(data) % size:
            raise ValueError("truncated")
        return [data[at : at + size] for at in range(0, len(data), size)]
    numbers: list[Value] = []
    at = 0
    while at < len(data):
        number, at = read_varint(data, at)
        numbers.append(number)
    return numbers


def empty(kind: Kind) -> Value:
    """What a field of this kind holds when it is not set."""
    size = _PACKED_FIXED.get(kind)
    if size is not None:
        return bytes(size)
    return b"" if kind in LENGTH_DELIMITED else 0
