"""Members of messages that the gateway itself reads and writes: ids, topics, and the marks that messages are known by.

A member is found in a parsed JSON message by its names, and in protobuf by its field numbers. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from protogw.descriptors.model import Field, Kind, Type
from protogw.errors import InvalidRequest
from protogw.wire.protowire import VARINT, delimited, fields, tag, varint
from protogw_translators.to_websocket_settings import Scalar

Json: TypeAlias = Any

_SIGNED = frozenset((Kind.INT32, Kind.INT64))
_UNSIGNED = frozenset((Kind.UINT32, Kind.UINT64))
_ZIGZAG = frozenset((Kind.SINT32, Kind.SINT64))
_NUMBERS = _SIGNED | _UNSIGNED | _ZIGZAG
_FLOATS = frozenset((Kind.DOUBLE, Kind.FLOAT))
"""What JSON Schema calls a number; only in JSON can it be told that one is whole."""


class Member:
    """One member of a message type, maybe nested, that holds a text or a whole number."""

    __slots__ = ("_kind", "_names", "_numbers", "name", "number")

    def __init__(self, owner: Type, name: str, *, needed: bool = False) -> None:
        """`name` is dotted JSON names. Raises ValueError for a member that cannot hold an id, and with `needed` for one
        that the type does not have: a union's member is its alternatives', which only JSON can be asked for."""
        self.name = name
        self._names = tuple(name.split("."))
        found = _resolved(owner, self._names)
        self._numbers = tuple(field.number for field in found)
        self._kind = found[-1].kind if found else _kind_within(owner, self._names)
        if needed and not found:
            raise ValueError(f"{name} is not a member of {owner.name}")
        self.number = self._kind in _NUMBERS or (self._kind in _FLOATS and not needed)
        if self._kind is not Kind.STRING and not self.number:
            raise ValueError(f"{name}: neither a text nor a whole number, but {self._kind.value}")
        """It holds a whole number."""

    def identity(self, *, binary: bool) -> tuple[str, tuple[int, ...], Kind | None]:
        """Equal for members of different types that are found alike."""
        return (self.name, self._numbers, self._kind) if binary else (self.name, (), None)

    @property
    def top(self) -> bytes:
        """Its name as JSON if it is not nested, else nothing."""
        return orjson.dumps(self.name) if len(self._names) == 1 else b""

    def of(self, tree: Json) -> str:
        """The member's value in parsed JSON, "" when there is none."""
        for name in self._names:
            if tree.__class__ is not dict:
                return ""
            tree = tree.get(name)
        if tree.__class__ is str:
            return tree
        if tree.__class__ is float and tree.is_integer():
            tree = int(tree)
        return str(tree) if tree.__class__ is int else ""

    def put(self, tree: Json, value: str) -> None:
        """Set it in parsed JSON; raises InvalidRequest where an outer member is no object."""
        for name in self._names[:-1]:
            if tree.__class__ is dict and tree.get(name) is None:
                tree[name] = {}
            tree = tree.get(name) if tree.__class__ is dict else None
        if tree.__class__ is not dict:
            raise InvalidRequest(f"{self.name}: its message is no JSON object")
        tree[self._names[-1]] = self.json(value)

    def json(self, value: str) -> str | int:
        return int(value) if self.number and value.removeprefix("-").isdecimal() else value

    def of_proto(self, data: bytes) -> str:
        """The member's value in protobuf, "" when there is none; raises ValueError where the bytes are no message."""
        *outer, leaf = self._numbers
        for number in outer:
            # Occurrences of a message field merge, which is what joining their bytes does.
            data = b"".join([value for one, value in fields(data) if one == number and value.__class__ is bytes])
        found: int | bytes | None = None
        for one, value in fields(data):
            if one == leaf:
                found = value
        if found is None:
            return ""
        if found.__class__ is bytes:
            return found.decode("utf-8", "replace")
        return str(_signed(self._kind, found)) if self.number else ""  # type: ignore[arg-type]

    def proto(self, value: str) -> bytes:
        """A message in which only this member is set: behind another message, it takes the place of what is there."""
        *outer, leaf = self._numbers
        if self.number:
            number = int(value)
            if self._kind in _ZIGZAG:
                number = number << 1 ^ number >> 63
            written = tag(leaf, VARINT) + varint(number & 0xFFFFFFFFFFFFFFFF)
        else:
            written = delimited(leaf, value.encode())
        for one in reversed(outer):
            written = delimited(one, written)
        return written


def _signed(kind: Kind, value: int) -> int:
    if kind in _ZIGZAG:
        return (value >> 1) ^ -(value & 1)
    return value - (1 << 64) if kind in _SIGNED and value >> 63 else value


def _resolved(owner: Type, names: tuple[str, ...]) -> list[Field]:
    """The fields on the way to the member; none when the type does not say."""
    found: list[Field] = []
    inside: Type | None = owner
    for name in names:
        field = inside.field(name) if inside is not None else None
        if field is None or inside is None:
            return []
        if field.repeated or field.map_key is not None:
            raise ValueError(f"{'.'.join(names)}: {name} is repeated")
        found.append(field)
        inside = inside.types.get(field.type_name)
    return found


def _kind_within(owner: Type, names: tuple[str, ...]) -> Kind:
    """The kind of a union's member: as the first of its alternatives that has it says."""
    for field in owner.fields.values():
        inside = owner.types.get(field.type_name) if field.oneof else None
        found = _resolved(inside, names) if inside is not None else []
        if found:
            return found[-1].kind
    return Kind.STRING


class Mark:
    """What a message is known by: members, and the values that they may have ("*" for any but null)."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, tuple[Scalar, ...]]) -> None:
        self._members = [(tuple(name.split(".")), values) for name, values in members.items()]

    def on(self, tree: Json) -> bool:
        """Whether a parsed message has it."""
        for names, values in self._members:
            value = tree
            for name in names:
                if value.__class__ is not dict:
                    return False
                value = value.get(name)
            if not any(
                value is not None if one == "*" else one.__class__ is value.__class__ and one == value for one in values
            ):
                return False
        return True
