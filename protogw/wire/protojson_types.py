"""What the JSON mapping needs to know of a message type: its fields under every name that JSON may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueEnum,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescMessage,
    Registry,
    ScalarType,
)

ANY = "google.protobuf.Any"
FLOAT_VALUE = "google.protobuf.FloatValue"

WELL_KNOWN = {
    ANY: 'an object with "@type"',
    "google.protobuf.Timestamp": 'an RFC 3339 time such as "2026-01-31T12:00:00Z"',
    "google.protobuf.Duration": 'a duration such as "1.5s"',
    "google.protobuf.FieldMask": 'field paths such as "name,shelf.theme"',
    "google.protobuf.Struct": "an object",
    "google.protobuf.Value": "any JSON value that a double can hold",
    "google.protobuf.ListValue": "a list",
    "google.protobuf.DoubleValue": "double",
    FLOAT_VALUE: "float",
    "google.protobuf.Int64Value": "int64",
    "google.protobuf.UInt64Value": "uint64",
    "google.protobuf.Int32Value": "int32",
    "google.protobuf.UInt32Value": "uint32",
    "google.protobuf.BoolValue": "true or false",
    "google.protobuf.StringValue": "string",
    "google.protobuf.BytesValue": "base64 text",
}
"""The types with a JSON form of their own, and what that form is called in an error."""

Target: TypeAlias = ScalarType | DescEnum | DescMessage

SINGLE, LIST, MAP = range(3)


class Slot(NamedTuple):
    """A field as JSON sees it: how many values it has and what each is; `oneof` is the real oneof it belongs to."""

    field: DescField
    many: int
    target: Target
    oneof: str
    key: ScalarType | None


def slot_of(field: DescField) -> Slot:
    value = field.value
    if isinstance(value, DescFieldValueList):
        return Slot(field, LIST, value.element, "", None)
    if isinstance(value, DescFieldValueMap):
        return Slot(field, MAP, value.value, "", value.key)
    oneof = value.oneof.name if value.oneof is not None else ""
    if isinstance(value, DescFieldValueMessage):
        return Slot(field, SINGLE, value.message, oneof, None)
    if isinstance(value, DescFieldValueEnum):
        return Slot(field, SINGLE, value.enum, oneof, None)
    return Slot(field, SINGLE, value.scalar, oneof, None)


class Shapes:
    """The slots of message types by JSON and proto name, made once per type."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._slots: dict[str, dict[str, Slot]] = {}

    def slots(self, desc: DescMessage) -> dict[str, Slot]:
        found = self._slots.get(desc.type_name)
        if found is None:
            by_field = [slot_of(field) for field in desc.fields]
            found = {slot.field.name: slot for slot in by_field}
            found.update((slot.field.json_name, slot) for slot in by_field)
            self._slots[desc.type_name] = found
        return found

    def any_content(self, url: object) -> DescMessage | None:
        """The type that an Any's "@type" names, or None."""
        return self.registry.message(url.rpartition("/")[2]) if isinstance(url, str) else None

    def extension_target(self, desc: DescMessage, key: str) -> Target | None:
        """What the extension that the JSON key "[name]" stands for holds, or None when there is none."""
        found = self.registry.extension(key[1:-1]) if key.startswith("[") else None
        if found is None or found.extendee.type_name != desc.type_name:
            return None
        value = found.value
        if isinstance(value, DescFieldValueList):
            return value.element
        if isinstance(value, DescFieldValueMessage):
            return value.message
        return value.enum if isinstance(value, DescFieldValueEnum) else value.scalar

    def children(self, desc: DescMessage) -> Iterable[DescMessage]:
        """The message types of its fields."""
        return {
            slot.target.type_name: slot.target
            for slot in self.slots(desc).values()
            if isinstance(slot.target, DescMessage)
        }.values()


def reaches(
    root: DescMessage,
    children: Callable[[DescMessage], Iterable[DescMessage]],
    wanted: Callable[[DescMessage], bool],
    known: dict[str, bool],
) -> bool:
    """Whether `root` is, or holds at any depth, a wanted type. `known` keeps what was found of each type.

    Iterative, since types may nest deeper than Python recurses, and may hold themselves.
    """
    if root.type_name in known:
        return known[root.type_name]
    parents: dict[str, list[str]] = {root.type_name: []}
    found: list[str] = []
    stack = [root]
    while stack:
        desc = stack.pop()
        if wanted(desc):
            found.append(desc.type_name)
        for child in children(desc):
            name = child.type_name
            if name in known:
                if known[name]:
                    found.append(desc.type_name)
                continue
            if name not in parents:
                parents[name] = []
                stack.append(child)
            parents[name].append(desc.type_name)
    reached: set[str] = set()
    while found:
        name = found.pop()
        if name not in reached:
            reached.add(name)
            found.extend(parents[name])
    known.update((name, name in reached) for name in parents)
    return known[root.type_name]


def json_name(name: str) -> str:
    """The lowerCamelCase name that protoc derives: an underscore is dropped and raises the next letter."""
    out: list[str] = []
    up = False
    for character in name:
        if character == "_":
            up = True
        else:
            out.append(character.upper() if up and character.isascii() else character)
            up = False
    return "".join(out)
