"""Text of a path variable or query parameter → the protobuf wire bytes of one field, without a message object.

An Encoder takes the percent-decoded text and returns the field with its tag, ready to be appended to a message. It
raises ValueError saying what was expected; the caller names the field.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson

from protogw.descriptors.model import Codec, Enum, Field, Kind, Schema, Type
from protogw.descriptors.well_known import FIELD_MASK, WRAPPERS
from protogw.errors import InvalidRequest
from protogw.wire.protowire import BYTES, FIXED32, FIXED64, VARINT, delimited, tag, varint

Encoder: TypeAlias = Callable[[bytes], bytes]

_RANGES: Mapping[Kind, tuple[int, int]] = {
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.SINT32: (-(1 << 31), (1 << 31) - 1),
    Kind.SFIXED32: (-(1 << 31), (1 << 31) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
    Kind.SINT64: (-(1 << 63), (1 << 63) - 1),
    Kind.SFIXED64: (-(1 << 63), (1 << 63) - 1),
    Kind.UINT32: (0, (1 << 32) - 1),
    Kind.FIXED32: (0, (1 << 32) - 1),
    Kind.UINT64: (0, (1 << 64) - 1),
    Kind.FIXED64: (0, (1 << 64) - 1),
}
_FIXED: Mapping[Kind, tuple[int, struct.Struct]] = {
    Kind.FIXED32: (FIXED32, struct.Struct("<I")),
    Kind.SFIXED32: (FIXED32, struct.Struct("<i")),
    Kind.FIXED64: (FIXED64, struct.Struct("<Q")),
    Kind.SFIXED64: (FIXED64, struct.Struct("<q")),
}
_BOOLS: Mapping[bytes, bytes] = {
    **dict.fromkeys((b"true", b"True", b"TRUE", b"t", b"T", b"1"), b"\1"),
    **dict.fromkeys((b"false", b"False", b"FALSE", b"f", b"F", b"0"), b"\0"),
}
_NUMBER = re.compile(rb"-?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,10})?")
_SPECIAL: Mapping[bytes, float] = {
    b"NaN": float("nan"),
    b"Infinity": float("inf"),
    b"-Infinity": float("-inf"),
}
_FLOAT_MAX = 3.4028235677973366e38
"""Half way to the first number that no longer rounds to a finite float."""

_BY_CODEC = frozenset(("google.protobuf.Timestamp", "google.protobuf.Duration"))
_MASK_PATH = re.compile(rb"\*|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*(?:\.\*)?")
_UPPER = re.compile(rb"[A-Z]")

"""The message types that a single text stands for."""


def encoder(field: Field, schema: Schema) -> Encoder:
    """The encoder of one value of a scalar, enum or textual message field (of one element when it is repeated).

    Raises ValueError when no text stands for the field's type.
    """
    return _of_kind(field.kind, field.number, field.type_name, schema)


def map_encoders(field: Field, schema: Schema) -> tuple[Encoder, Encoder]:
    """The encoders of a map entry's key and value; raises ValueError when no text stands for the value's type."""
    assert field.map_key is not None
    return _of_kind(field.map_key, 1, "", schema), _of_kind(field.kind, 2, field.type_name, schema)


def nested(number: int, inner: Encoder, *, group: bool = False) -> Encoder:
    """The encoder of a field inside the message field `number`."""
    if group:
        opening, closing = tag(number, 3), tag(number, 4)
        return lambda text: opening + inner(text) + closing
    opening = tag(number, BYTES)

    def encode(text: bytes) -> bytes:
        data = inner(text)
        return opening + varint(len(data)) + data

    return encode


def _of_kind(kind: Kind, number: int, type_name: str, schema: Schema) -> Encoder:
    if kind is Kind.STRING:
        return _string(number)
    if kind is Kind.BYTES:
        return _bytes(number)
    if kind is Kind.BOOL:
        return _bool(number)
    if kind is Kind.ENUM:
        return _enum(number, schema.enums[type_name])
    if kind is Kind.DOUBLE or kind is Kind.FLOAT:
        return _floating(number, kind)
    if kind in _RANGES:
        return _integer(number, kind)
    if type_name in WRAPPERS:
        return nested(number, _of_kind(WRAPPERS[type_name], 1, "", schema))
    if type_name == FIELD_MASK:
        return nested(number, field_mask)
    if type_name in _BY_CODEC:
        return _by_codec(number, type_name, schema.types[type_name].codec)
    found = schema.types.get(type_name)
    if found is not None and found.codec.canonical is not found.codec:
        return _by_own_json(number, found)
    raise ValueError(f"a {type_name} cannot be given as text")


def _string(number: int) -> Encoder:
    opening = tag(number, BYTES)

    def encode(text: bytes) -> bytes:
        if not text.isascii():
            try:
                text.decode("utf-8")
            except UnicodeDecodeError:
                raise ValueError("expected UTF-8 text") from None
        return opening + varint(len(text)) + text

    return encode


def _bytes(number: int) -> Encoder:
    opening = tag(number, BYTES)

    def encode(text: bytes) -> bytes:
        # A "+" that was not escaped in a query comes as a space.
        text = text.translate(_TO_STANDARD).rstrip(b"=")
        try:
            data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            raise ValueError("expected base64") from None
        return opening + varint(len(data)) + data

    return encode


_TO_STANDARD = bytes.maketrans(b"-_ ", b"+/+")


def _bool(number: int) -> Encoder:
    opening = tag(number, VARINT)

    def encode(text: bytes) -> bytes:
        value = _BOOLS.get(text)
        if value is None:
            raise ValueError("expected bool")
        return opening + value

    return encode


def _integer(number: int, kind: Kind) -> Encoder:
    low, high = _RANGES[kind]
    expected = f"expected {kind.value}"

    def parse(text: bytes) -> int:
        # bytes.isdigit knows ASCII only; int() alone would take "1_000", " 1" and "+1".
        if len(text) > 20 or not (text.isdigit() or (text[:1] == b"-" and text[1:].isdigit())):
            raise ValueError(expected)
        value = int(text)
        if not low <= value <= high:
            raise ValueError(expected)
        return value

    if kind in _FIXED:
        wire_type, packer = _FIXED[kind]
        opening, pack = tag(number, wire_type), packer.pack
        return lambda text: opening + pack(parse(text))
    opening = tag(number, VARINT)
    if kind is Kind.SINT32 or kind is Kind.SINT64:
        return lambda text: opening + varint(_zigzag(parse(text)))

    def encode(text: bytes) -> bytes:
        # Nearly all numbers are positive and far from any limit.
        if text.isdigit() and len(text) < 10:
            return opening + varint(int(text))
        return opening + varint(parse(text) & 0xFFFFFFFFFFFFFFFF)

    return encode


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _floating(number: int, kind: Kind) -> Encoder:
    double = kind is Kind.DOUBLE
    opening = tag(number, FIXED64 if double else FIXED32)
    pack = struct.Struct("<d" if double else "<f").pack
    limit = float("inf") if double else _FLOAT_MAX
    expected = f"expected {kind.value}"

    def encode(text: bytes) -> bytes:
        value = _SPECIAL.get(text)
        if value is None:
            if _NUMBER.fullmatch(text) is None:
                raise ValueError(expected)
            value = float(text)
            if not -limit < value < limit:
                raise ValueError(expected)
        return opening + pack(value)

    return encode


def _enum(number: int, enum: Enum) -> Encoder:
    opening = tag(number, VARINT)
    numbers = {name.encode(): opening + varint(value & 0xFFFFFFFFFFFFFFFF) for name, value in enum.values.items()}
    # The service's own words come before the names that were made of them.
    for name, written in enum.written.items():
        numbers[written.encode() if isinstance(written, str) else orjson.dumps(written)] = numbers[name.encode()]
    known = frozenset(enum.values.values())
    parse = _integer(number, Kind.INT32)
    closed = enum.closed
    expected = f"expected a value of {enum.name}"

    def encode(text: bytes) -> bytes:
        found = numbers.get(text)
        if found is not None:
            return found
        try:
            data = parse(text)
        except ValueError:
            raise ValueError(expected) from None
        if closed and int(text) not in known:
            raise ValueError(expected)
        return data

    return encode


def _by_codec(number: int, type_name: str, codec: Codec) -> Encoder:
    """Timestamp and Duration, whose text in JSON is the text here."""
    expected = f"expected a {type_name}"

    def encode(text: bytes) -> bytes:
        try:
            data = codec.from_json(orjson.dumps(text.decode("utf-8")))
        except (InvalidRequest, UnicodeDecodeError):
            raise ValueError(expected) from None
        return delimited(number, data)

    return encode


def _by_own_json(number: int, message: Type) -> Encoder:
    """A message that its service may write as one text or number, or as JSON."""
    codec = message.codec
    expected = f"expected a {message.name}"

    def encode(text: bytes) -> bytes:
        try:
            try:
                data = codec.from_json(orjson.dumps(text.decode("utf-8")))
            except InvalidRequest:
                data = codec.from_json(text)
        except (InvalidRequest, UnicodeDecodeError):
            raise ValueError(expected) from None
        return delimited(number, data)

    return encode


def field_mask(text: bytes) -> bytes:
    """A google.protobuf.FieldMask of comma-separated paths, in lowerCamelCase or as in the proto."""
    out: list[bytes] = []
    for path in text.split(b",") if text else ():
        if _MASK_PATH.fullmatch(path) is None:
            raise ValueError("expected a google.protobuf.FieldMask")
        out.append(delimited(1, _UPPER.sub(lambda found: b"_" + found.group().lower(), path)))
    return b"".join(out)
