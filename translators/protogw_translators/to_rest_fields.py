"""Messages on protobuf's wire → query parameters and path variables, without a message object.

The rules are those of google/api/http.proto read backwards: nested fields are dotted, repeated ones are repeated, enums
go by name, bytes as base64url, well-known types as their JSON text, maps as `m[key]=value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from protogw.descriptors.model import Field, Kind, Type
from protogw.errors import InvalidRequest
from protogw.wire.protowire import START_GROUP, delimited
from protogw_translators.to_rest_text import (
    LENGTH_DELIMITED,
    PLAIN,
    SHAPELESS,
    Value,
    data_of,
    elements,
    empty,
    scan,
    text_of,
)

DEPTH = 64
"""Messages within messages; a deeper request is refused (protobuf's own parsers stop at 100)."""

Parameters: TypeAlias = dict[str, list[str]]


class _Slot:
    """One field of a message, ready to be put into a query."""

    __slots__ = ("default", "field", "json_name", "key_text", "message", "text")

    def __init__(self, field: Field, owner: Type, proto_names: bool) -> None:
        self.field = field
        self.json_name = field.name if proto_names else field.json_name
        self.default = empty(field.kind)
        self.text = text_of(field, owner)
        self.key_text = PLAIN[field.map_key] if field.map_key is not None else None
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
                    merged[number] = merged.get(number, b"") + data_of(value)
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
        for number, one, _, _ in scan(data_of(entry)):
            if number == 1:
                key = one
            elif number == 2:
                value = one
        field = slot.field
        assert field.map_key is not None
        key_text = slot.key_text(empty(field.map_key) if key is None else key)
        into[f"{name}[{key_text}]"] = [slot.text(empty(field.kind) if value is None else value)]


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
            kept.append(delimited(number, cut(data_of(value), inner)))
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
        bare = leaf.has_presence or leaf.kind in LENGTH_DELIMITED
        self._default = None if bare else empty(leaf.kind)

    def read(self, data: bytes) -> str:
        """The field's text, "" when it is not set. Raises ValueError."""
        *outer, leaf = self.fields
        for field in outer:
            data = b"".join([data_of(value) for number, value, _, _ in scan(data) if number == field.number])
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
