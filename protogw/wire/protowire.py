"""The few pieces of protobuf's wire format that are written and read without a message object.

Encoded fields may be joined: parsing a concatenation merges (protobuf.dev/programming-guides/encoding#last-one-wins).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)

MOST_DEPTH: Final = 100
"""Messages within messages, as protobuf's own parsers bound them."""

_SMALL = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """A number from 0 to 2^64 - 1."""
    if number < 128:
        return _SMALL[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, data: bytes) -> bytes:
    """A string, bytes or message field."""
    return tag(number, BYTES) + varint(len(data)) + data


Value: TypeAlias = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in their order: numbers as written (fixed ones as bytes), delimited ones as bytes.

    Groups are skipped. Raises ValueError where the bytes are no message.
    """
    at, size = 0, len(data)
    while at < size:
        key, at = read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError("field number out of range")
        value: Value
        if wire_type == VARINT:
            value, at = read_varint(data, at)
        elif wire_type == BYTES:
            length, at = read_varint(data, at)
            value = data[at : at + length]
            at += length
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
            value = data[at : at + length]
            at += length
        elif wire_type == START_GROUP:
            _, at = group_end(data, at, number)
            continue
        else:
            raise ValueError("unknown wire type")
        if at > size:
            raise ValueError("truncated")
        yield number, value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next byte is; raises ValueError when it does not end."""
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("truncated or overlong number")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def group_end(data: bytes, at: int, number: int) -> tuple[int, int]:
    """Where the content of the group that begins here ends, and where what follows it begins; raises ValueError."""
    within = [number]
    size = len(data)
    while at < size:
        start = at
        key, at = read_varint(data, at)
        wire_type = key & 7
        if wire_type == VARINT:
            _, at = read_varint(data, at)
        elif wire_type == BYTES:
            length, at = read_varint(data, at)
            at += length
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
        elif wire_type == START_GROUP:
            within.append(key >> 3)
            if len(within) > MOST_DEPTH:
                raise ValueError("nested too deeply")
        elif wire_type == END_GROUP and within.pop() == key >> 3:
            if not within:
                return start, at
        else:
            raise ValueError("unknown wire type")
    raise ValueError("truncated")
