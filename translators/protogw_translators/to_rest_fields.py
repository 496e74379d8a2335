"""Protobuf wire bytes → the texts that paths and queries are made of, without a message object.

The rules are those of google/api/http.proto read backwards: nested fields are dotted, repeated ones are repeated, enums
go by name, bytes as base64url, well-known types as their JSON text, maps as `m[key]=value`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson

from protogw.descriptors.model import Field, Kind, Type
from protogw.errors import InvalidRequest
from protogw.wire.protowire import BYTES, END_GROUP, FIXED32, FIXED64, START_GROUP, VARINT, delimited, tag, varint

DEPTH = 64
"""Messages within messages; a deeper request is refused (protobuf's own parsers stop at 100)."""

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
            key, at = _varint(data, start)
        wire_type = key & 7
        if not 0 < key >> 3 < 1 << 29:
            raise ValueError("field number out of range")
        if wire_type == BYTES:
            length, at = _varint(data, at)
            end = at + length
            value = data[at:end]
            at = end
        elif wire_type == VARINT:
            value, at = _varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            end = at + (8 if wire_type == FIXED64 else 4)
            value = data[at:end]
            at = end
        elif wire_type == START_GROUP:
            inside = _group_end(data, at)
            value = data[at:inside]
            _, at = _varint(data, inside)
        else:
            raise ValueError("unknown wire type")
        if at > size:
            raise ValueError("truncated")
        found.append((key >> 3, value, start, at))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
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


def _group_end(data: bytes, at: int) -> int:
    """Where the END_GROUP tag of the group whose content begins at `at` starts."""
    depth = 1
    while True:
        start = at
        key, at = _varint(data, at)
        wire_type = key & 7
        if wire_type == START_GROUP:
            depth += 1
        elif wire_type == END_GROUP:
            depth -= 1
            if not depth:
                return start
        elif wire_type == VARINT:
            _, at = _varint(data, at)
        elif wire_type == BYTES:
            length, at = _varint(data, at)
            at += length
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError("unknown wire type")


# ---- one value → text


def text_of(field: Field, owner: Type) -> Text | None:
    """What prints one value of a field; None for a message that no single text stands for."""
    return _text(field.kind, field, owner)


def _text(kind: Kind, field: Field, owner: Type) -> Text | None:
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain
    if kind is Kind.ENUM:
        return _EnumText(field, owner)
    if field.type_name in TEXTUAL and (found := owner.types.get(field.type_name)) is not None:
        return _JsonText(found)
    return None


TEXTUAL = frozenset(
    "google.protobuf." + name
    for name in (
        "Timestamp",
        "Duration",
        "FieldMask",
        "DoubleValue",
        "FloatValue",
        "Int64Value",
        "UInt64Value",
        "Int32Value",
        "UInt32Value",
        "BoolValue",
        "StringValue",
        "BytesValue",
    )
)
"""The message types whose JSON is a single text or number."""

SHAPELESS = frozenset("google.protobuf." + name for name in ("Struct", "Value", "ListValue", "Any"))
"""The message types whose JSON is anything: no query stands for them."""


def _number(value: Value) -> int:
    if value.__class__ is not int:
        raise ValueError("not a number")
    return value


def _data(value: Value) -> bytes:
    if value.__class__ is int:
        raise ValueError("not text")
    return value  # type: ignore[return-value]


def _string(value: Value) -> str:
    try:
        return _data(value).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _bytes(value: Value) -> str:
    return base64.urlsafe_b64encode(_data(value)).decode()


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
            return str(unpack(_data(value))[0])
        except struct.error as error:
            raise ValueError("not a number") from error

    return text


def _floating(packing: str) -> Text:
    packer = struct.Struct(packing)

    def text(value: Value) -> str:
        try:
            number: float = packer.unpack(_data(value))[0]
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


_PLAIN: Mapping[Kind, Text] = {
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
        printed = self._codec.to_json(_data(value))
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
_LENGTH_DELIMITED = frozenset((Kind.STRING, Kind.BYTES, Kind.MESSAGE, Kind.GROUP))


def elements(kind: Kind, value: Value) -> list[Value]:
    """The elements in one occurrence of a repeated field: one, or those that are packed into it."""
    if kind in _LENGTH_DELIMITED or value.__class__ is int:
        return [value]
    data = _data(value)
    size = _PACKED_FIXED.get(kind)
    if size is not None:
        if len(data) % size:
            raise ValueError("truncated")
        return [data[at : at + size] for at in range(0, len(data), size)]
    numbers: list[Value] = []
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        numbers.append(number)
    return numbers


# ---- messages → query parameters

Parameters: TypeAlias = dict[str, list[str]]


class _Slot:
    """One field of a message, ready to be put into a query."""

    __slots__ = ("default", "field", "json_name", "key_text", "message", "text")

    def __init__(self, field: Field, owner: Type, proto_names: bool) -> None:
        self.field = field
        self.json_name = field.name if proto_names else field.json_name
        self.default = _empty(field.kind)
        self.text = text_of(field, owner)
        self.key_text = _PLAIN[field.map_key] if field.map_key is not None else None
        nested = field.kind in (Kind.MESSAGE, Kind.GROUP) and self.text is None
        nests = nested and not field.repeated and field.map_key is None and field.type_name not in SHAPELESS
        self.message = owner.types.get(field.type_name) if nests else None


class Queries:
    """Puts messages of one schema into queries; what it needs to know of each type is found out once."""

    def __init__(self, *, proto_names: bool = False) -> None:
        self._proto_names = proto_names
        self._slots: dict[Type, dict[int, _Slot]] = {}

    def slots(self, message: Type) -> dict[int, _Slot]:
        found = self._slots.get(message)
        if found is None:
            found = self._slots[message] = {
                field.number: _Slot(field, message, self._proto_names) for field in message.fields.values()
            }
        return found

    def collect(
        self, message: Type, data: bytes, excluded: Excluded, into: Parameters, prefix: str = "", depth: int = 0
    ) -> None:
        """Add what is set in the message, but for what is excluded. Raises InvalidRequest naming the field."""
        if depth > DEPTH:
            raise InvalidRequest(f"{prefix.removesuffix('.')[:100]}: nested too deeply for a query")
        slots = self.slots(message)
        oneofs: dict[str, str] = {}
        merged: dict[int, bytes] = {}
        for number, value, _, _ in _fields_of(message, data):
            slot = slots.get(number)
            if slot is None:
                continue
            inner = excluded.get(number)
            if inner is not None and not inner:
                continue
            field = slot.field
            name = prefix + slot.json_name
            if field.oneof:
                other = oneofs.get(field.oneof)
                if other is not None and other != name:
                    # The last of a oneof's members is the one that is set.
                    for key in [key for key in into if key == other or key.startswith(other + ".")]:
                        del into[key]
                    merged = {one: kept for one, kept in merged.items() if slots[one].field.oneof != field.oneof}
                oneofs[field.oneof] = name
            try:
                if field.map_key is not None:
                    self._entry(slot, name, value, into)
                elif slot.message is not None:
                    # Occurrences of a message field merge, which is what joining their bytes does.
                    merged[number] = merged.get(number, b"") + _data(value)
                elif slot.text is None:
                    raise InvalidRequest(f"{name}: a {_shape(field)} cannot be given in the upstream's query")
                elif field.repeated:
                    texts = [slot.text(one) for one in elements(field.kind, value)]
                    into.setdefault(name, []).extend(texts)
                elif field.has_presence or value != slot.default:
                    into[name] = [slot.text(value)]
                else:
                    into.pop(name, None)
            except ValueError as error:
                raise InvalidRequest(f"{name}: {error}") from error
        for number, inside in merged.items():
            slot = slots[number]
            assert slot.message is not None
            self.collect(slot.message, inside, excluded.get(number, {}), into, f"{prefix}{slot.json_name}.", depth + 1)

    @staticmethod
    def _entry(slot: _Slot, name: str, entry: Value, into: Parameters) -> None:
        """`m[key]=value`; a later entry of the same key replaces the earlier."""
        if slot.text is None:
            raise InvalidRequest(f"{name}: a map of messages cannot be given in the upstream's query")
        assert slot.key_text is not None
        key: Value | None = None
        value: Value | None = None
        for number, one, _, _ in scan(_data(entry)):
            if number == 1:
                key = one
            elif number == 2:
                value = one
        field = slot.field
        assert field.map_key is not None
        key_text = slot.key_text(_empty(field.map_key) if key is None else key)
        into[f"{name}[{key_text}]"] = [slot.text(_empty(field.kind) if value is None else value)]


def _empty(kind: Kind) -> Value:
    size = _PACKED_FIXED.get(kind)
    if size is not None:
        return bytes(size)
    return b"" if kind in _LENGTH_DELIMITED else 0


def _shape(field: Field) -> str:
    return f"{'repeated ' if field.repeated else ''}{field.type_name or field.kind.value}"


def _fields_of(message: Type, data: bytes) -> list[tuple[int, Value, int, int]]:
    try:
        return scan(data)
    except ValueError as error:
        raise InvalidRequest(f"{message.name}: {error}") from error


# ---- fields by path

Excluded: TypeAlias = "Mapping[int, Excluded]"
"""Fields by number that are left out: a field with nothing below it is left out whole."""


def cut(data: bytes, excluded: Excluded) -> bytes:
    """The message without the excluded fields. Raises ValueError."""
    kept: list[bytes] = []
    last = 0
    for number, value, start, end in scan(data):
        inner = excluded.get(number)
        if inner is None or (inner and data[start] & 7 == START_GROUP):
            continue
        kept.append(data[last:start])
        last = end
        if inner:
            kept.append(delimited(number, cut(_data(value), inner)))
    kept.append(data[last:])
    return b"".join(kept)


class FieldPath:
    """A singular field of a message, maybe within messages of it: what a path variable names."""

    __slots__ = ("_default", "_text", "excluded", "fields", "name")

    def __init__(self, message: Type, names: tuple[str, ...]) -> None:
        """Raises ValueError when the message has no such field, or no single text stands for it."""
        self.name = ".".join(names)
        found: list[Field] = []
        owner: Type | None = message
        for name in names:
            field = owner.field(name) if owner is not None else None
            if field is None:
                raise ValueError(f"{self.name} is not a field of {message.name}")
            if field.repeated or field.map_key is not None:
                raise ValueError(f"{self.name}: a path variable cannot be repeated")
            found.append(field)
            holder, owner = owner, owner.types.get(field.type_name) if owner is not None else None
        leaf = found[-1]
        assert holder is not None
        text = text_of(leaf, holder)
        if text is None:
            raise ValueError(f"{self.name}: a {leaf.type_name} cannot be given in a path")
        self._text = text
        self.fields = tuple(found)
        excluded: Excluded = {}
        for field in reversed(found):
            excluded = {field.number: excluded}
        self.excluded = excluded
        # A number that is not set is zero; an unset string would be an empty segment.
        bare = leaf.has_presence or leaf.kind in _LENGTH_DELIMITED
        self._default = None if bare else _empty(leaf.kind)

    def read(self, data: bytes) -> str:
        """The field's text, "" when it is not set. Raises ValueError."""
        *outer, leaf = self.fields
        for field in outer:
            data = b"".join([_data(value) for number, value, _, _ in scan(data) if number == field.number])
        value = self._default
        for number, one, _, _ in scan(data):
            if number == leaf.number:
                value = one
        return "" if value is None else self._text(value)


def merge(*trees: Excluded) -> Excluded:
    """All that any of them leaves out."""
    merged: dict[int, Excluded] = {}
    for tree in trees:
        for number, inner in tree.items():
            known = merged.get(number)
            merged[number] = inner if known is None else merge(known, inner) if known and inner else {}
    return merged
