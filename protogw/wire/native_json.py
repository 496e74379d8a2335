"""Protobuf ⇄ the JSON that a service without a proto itself writes (descriptors/shapes.py).

Stands on the ProtoJSON codec: a parsed value is turned from one form into the other, and protobuf-py does the rest.
What to turn is found out once for each type, each way; where there is nothing, the ProtoJSON codec is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import orjson
from protobuf import DescEnum, DescMessage, Message

from protogw.descriptors.shapes import MessageShape, Scalar, Shapes
from protogw.errors import InvalidRequest
from protogw.wire.native_unions import NO_BRANCH, branch_of
from protogw.wire.protojson import Codecs, JsonOptions, MessageCodec
from protogw.wire.protojson_check import Conflict, tree_of
from protogw.wire.protojson_explain import FAILURES, syntax_fault
from protogw.wire.protojson_types import LIST, SINGLE, WELL_KNOWN, Slot, reaches

Json: TypeAlias = Any
Turn: TypeAlias = Callable[[Json, int], Json]
"""One form of a value → the other; the number is how deep it stands. Raises Conflict."""

MAX_DEPTH = 100
"""Messages within messages, as protobuf's own parsers have it."""

_PLAIN = MessageShape()


class Natives:
    """The native codecs of one schema's types. `codecs` are the ProtoJSON ones, with the upstream's options."""

    def __init__(self, codecs: Codecs, shapes: Shapes) -> None:
        self.codecs = codecs
        self.exact = codecs.having(JsonOptions(unknown_fields=codecs.options.unknown_fields))
        """Writes what the turns expect, whatever the upstream's options are."""
        self.shapes = shapes
        self.readers = {lenient: _Reading(self, lenient) for lenient in (False, True)}
        self.writer = _Writing(self)

    def codec(self, name: str) -> MessageCodec | NativeCodec:
        """The codec of the message type of this full name: the ProtoJSON one where the service writes the same.

        KeyError when there is no such type.
        """
        canonical = self.codecs.codec(name)
        desc = self.codecs.registry.message(name)
        assert desc is not None
        if self.writer.needs(desc) or self.readers[True].needs(desc):
            return NativeCodec(desc, self, canonical)
        return canonical

    def shape(self, desc: DescMessage) -> MessageShape:
        return self.shapes.messages.get(desc.type_name, _PLAIN)

    def slots(self, desc: DescMessage) -> dict[str, Slot]:
        """The type's fields by JSON name."""
        found = self.codecs.shapes.slots(desc)
        return {field.json_name: found[field.json_name] for field in desc.fields}


class NativeCodec:
    """The Codec of one message type that its service writes otherwise than ProtoJSON."""

    __slots__ = ("_canonical", "_desc", "_exact", "_lenient", "_natives", "_read", "_reading", "_write", "_writing")

    def __init__(
        self, desc: DescMessage, natives: Natives, canonical: MessageCodec, *, lenient: bool | None = None
    ) -> None:
        self._desc = desc
        self._natives = natives
        self._canonical = canonical
        ignores = natives.codecs.options.unknown_fields == "ignore" if lenient is None else lenient
        self._exact = natives.exact.codec(desc.type_name)
        if ignores:
            self._exact = self._exact.lenient
        self._reading = natives.readers[ignores]
        self._writing = natives.writer
        self._read: Turn | None = None
        self._write: Turn | None = None
        self._lenient: NativeCodec | None = self if ignores else None

    @property
    def canonical(self) -> MessageCodec:
        """The ProtoJSON codec."""
        return self._canonical

    @property
    def lenient(self) -> NativeCodec:
        """The same, but reading drops unknown JSON fields."""
        if self._lenient is None:
            self._lenient = NativeCodec(self._desc, self._natives, self._canonical, lenient=True)
        return self._lenient

    def to_json(self, data: bytes) -> bytes:
        printed = self._exact.to_json(data)
        write = self._write
        if write is None:
            if not self._writing.needs(self._desc):
                return printed
            write = self._write = self._writing.message(self._desc)
        return _written(write, printed)

    def from_json(self, data: bytes) -> bytes:
        if not self._reading.needs(self._desc):
            return self._exact.from_json(data)
        return self._exact.from_json(self._turned(data))

    def _turned(self, data: bytes) -> bytes:
        """The ProtoJSON of native JSON."""
        if self._read is None:
            self._read = self._reading.message(self._desc)
        tree = _read(data, self._read)
        return b"{}" if tree is None else orjson.dumps(tree)

    def field_from_json(self, name: str, data: bytes) -> bytes:
        slot = self._slot(name)
        turn = self._reading.field(self._desc, slot)
        if turn is None:
            return self._exact.field_from_json(name, data)
        try:
            return self._exact.field_from_json(name, orjson.dumps(_read(data, turn)))
        except InvalidRequest as error:
            if syntax_fault(data) or error.message.startswith(slot.field.json_name):
                raise
            place = error.message if error.message.startswith("[") else f".{error.message}"
            raise InvalidRequest(f"{slot.field.json_name}{place}") from error

    def field_to_json(self, name: str, data: bytes) -> bytes:
        slot = self._slot(name)
        printed = self._exact.field_to_json(name, data)
        turn = self._writing.field(self._desc, slot)
        return printed if turn is None else _written(turn, printed)

    def parsed(self, data: bytes) -> Message:
        return self._canonical.parsed(data)

    def ruled(self) -> MessageCodec:
        return self._canonical.ruled()

    def present_paths(self, data: bytes) -> list[str]:
        if not self._reading.needs(self._desc):
            return self._canonical.present_paths(data)
        return self._canonical.present_paths(self._turned(data))

    def _slot(self, name: str) -> Slot:
        return self._natives.codecs.shapes.slots(self._desc)[name]

    def __repr__(self) -> str:
        return f"<NativeCodec {self._desc.type_name}>"


def _read(data: bytes, turn: Turn) -> Json:
    """The parsed and turned JSON; raises InvalidRequest naming the place."""
    try:
        return turn(tree_of(data), 0)
    except Conflict as error:
        raise InvalidRequest(str(error)) from error
    except FAILURES as error:
        raise InvalidRequest(syntax_fault(data) or "invalid JSON: nested too deeply") from error


def _written(turn: Turn, printed: bytes) -> bytes:
    """ProtoJSON, turned; raises InvalidRequest for what is nested too deeply."""
    try:
        return orjson.dumps(turn(orjson.loads(printed), 0))
    except Conflict as error:
        raise InvalidRequest(str(error)) from error


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Conflict([], "nested too deeply")
    return depth + 1


class _Direction:
    """The turns of every type, one way: which types need one, and what it is. A turn is made when it is first used."""

    def __init__(self, natives: Natives) -> None:
        self._natives = natives
        self._known: dict[str, bool] = {}
        self._turns: dict[str, Turn] = {}

    def needs(self, desc: DescMessage) -> bool:
        """Whether the type, or one that it holds, is not the same in both forms."""
        if desc.type_name in WELL_KNOWN:
            return False
        return reaches(desc, self._natives.codecs.shapes.children, self._wanted, self._known)

    def message(self, desc: DescMessage) -> Turn:
        """The turn of a message of this type, which needs one."""
        found = self._turns.get(desc.type_name)
        if found is None:
            # What it holds may hold it again: the turns of its fields are made when the first message comes.
            found = self._turns[desc.type_name] = self._made(desc)
        return found

    def field(self, desc: DescMessage, slot: Slot) -> Turn | None:
        """The turn of a field's whole value, None when it is the same in both forms."""
        shape = self._natives.shape(desc)
        one = self._one(slot, shape)
        sparse = slot.field.json_name in shape.sparse
        if slot.many == SINGLE:
            return one
        if slot.many == LIST:
            return None if one is None and not sparse else _list_turn(one, self._natives_default(slot))
        return None if one is None and not sparse else _map_turn(one)

    def _natives_default(self, slot: Slot) -> Json:
        """What a null in a list stands for, in the form that is made."""
        return None

    def _wanted(self, desc: DescMessage) -> bool:
        raise NotImplementedError

    def _made(self, desc: DescMessage) -> Turn:
        raise NotImplementedError

    def _one(self, slot: Slot, shape: MessageShape) -> Turn | None:
        """The turn of one value of the field."""
        raise NotImplementedError

    def _fields(self, desc: DescMessage, names: Iterable[str]) -> dict[str, Turn]:
        slots = self._natives.slots(desc)
        turns = ((name, self.field(desc, slots[name])) for name in names)
        return {name: turn for name, turn in turns if turn is not None}


def _list_turn(one: Turn | None, default: Json) -> Turn:
    """The turn of a list; what is, or turns to, null in it becomes the default."""

    def turn(value: Json, depth: int) -> Json:
        if value.__class__ is not list:
            return value
        n = 0
        out: list[Json] = []
        try:
            for item in value:
                if item is not None and one is not None:
                    item = one(item, depth)
                out.append(default if item is None else item)
                n += 1
        except Conflict as conflict:
            conflict.path.insert(0, f"[{n}]")
            raise
        return out

    return turn


def _map_turn(one: Turn | None) -> Turn:
    """The turn of a map; an entry that is, or turns to, null is left out."""

    def turn(value: Json, depth: int) -> Json:
        if value.__class__ is not dict:
            return value
        key = ""
        out: dict[str, Json] = {}
        try:
            for key, item in value.items():
                if item is not None and one is not None:
                    item = one(item, depth)
                if item is not None:
                    out[key] = item
        except Conflict as conflict:
            conflict.path.insert(0, f"[{orjson.dumps(key).decode()}]")
            raise
        return out

    return turn


def _names(values: Mapping[str, Scalar]) -> dict[tuple[type, Scalar], str]:
    """The enum's value names by what is written; 1, 1.0 and true are not the same there."""
    found: dict[tuple[type, Scalar], str] = {}
    for name, written in values.items():
        found.setdefault((written.__class__, written), name)
    return found


# ---- native → ProtoJSON


class _Reading(_Direction):
    def __init__(self, natives: Natives, lenient: bool) -> None:
        super().__init__(natives)
        self._lenient = lenient

    def _wanted(self, desc: DescMessage) -> bool:
        shape = self._natives.shape(desc)
        if shape.wraps or shape.union or shape.rest or shape.sparse:
            return True
        return any(
            isinstance(slot.target, DescEnum) and self._natives.shapes.enums.get(slot.target.type_name)
            for slot in self._natives.slots(desc).values()
        )

    def _natives_default(self, slot: Slot) -> Json:
        if isinstance(slot.target, DescMessage):
            return {}
        if isinstance(slot.target, DescEnum):
            return slot.target.values[0].name
        return {"STRING": "", "BYTES": "", "BOOL": False}.get(slot.target.name, 0)

    def _one(self, slot: Slot, shape: MessageShape) -> Turn | None:
        target = slot.target
        if isinstance(target, DescMessage):
            return (lambda value, depth: self.message(target)(value, depth)) if self.needs(target) else None
        if isinstance(target, DescEnum):
            written = self._natives.shapes.enums.get(target.type_name)
            return self._enum(target, written) if written else None
        return None

    def _enum(self, desc: DescEnum, written: Mapping[str, Scalar]) -> Turn:
        names = _names(written)
        zero = desc.values[0].name
        lenient = self._lenient

        def turn(value: Json, depth: int) -> Json:
            if value.__class__ is dict or value.__class__ is list:
                raise Conflict([], f"expected a value of {desc.type_name}")
            found = names.get((value.__class__, value))
            if found is not None or value is None:
                return found
            if lenient:
                return zero
            raise Conflict([], f"expected a value of {desc.type_name}")

        return turn

    def _made(self, desc: DescMessage) -> Turn:
        shape = self._natives.shape(desc)
        if shape.wraps:
            return self._wrapping(desc, shape.wraps)
        if shape.union is not None:
            return self._choosing(desc, shape)
        return self._object(desc, shape)

    def _wrapping(self, desc: DescMessage, name: str) -> Turn:
        slot = self._natives.slots(desc)[name]
        made: list[Turn | None] = []
        free = isinstance(slot.target, DescMessage) and slot.target.type_name in _FREE

        def turn(value: Json, depth: int) -> Json:
            depth = _deeper(depth)
            if not made:
                made.append(self.field(desc, slot))
            inner = made[0]
            if value is None and not free:
                return None
            return {name: value if inner is None else inner(value, depth)}

        return turn

    def _choosing(self, desc: DescMessage, shape: MessageShape) -> Turn:
        union = shape.union
        assert union is not None
        slots = self._natives.slots(desc)
        turns: dict[str, Turn] = {}
        lenient = self._lenient

        def turn(value: Json, depth: int) -> Json:
            depth = _deeper(depth)
            if not turns:
                turns.update(self._fields(desc, slots))
            if value is None:
                return None
            branch = branch_of(union, value)
            if branch is None:
                if lenient:
                    return None
                raise Conflict([union.tag] if union.tag and value.__class__ is dict else [], NO_BRANCH)
            key = branch.key
            inner = turns.get(key)
            if (
                union.tag
                and not lenient
                and value.__class__ is dict
                and union.tag in value
                and union.tag not in branch.known
            ):
                value = {name: item for name, item in value.items() if name != union.tag}
            return {key: value if inner is None else inner(value, depth)}

        return turn

    def _object(self, desc: DescMessage, shape: MessageShape) -> Turn:
        slots = self._natives.slots(desc)
        own = {name: slot for name, slot in slots.items() if name != shape.rest}
        turns: dict[str, Turn] = {}
        made: list[Turn | None] = []
        rest = shape.rest

        def turn(value: Json, depth: int) -> Json:
            if value.__class__ is not dict:
                return value
            depth = _deeper(depth)
            if not made:
                turns.update(self._fields(desc, own))
                made.append(self.field(desc, slots[rest]) if rest else None)
            at = ""
            try:
                if rest:
                    others = {name: item for name, item in value.items() if name not in own}
                    value = {name: item for name, item in value.items() if name in own}
                else:
                    others = {}
                    value = dict(value)
                for at, inner in turns.items():
                    if at in value:
                        value[at] = inner(value[at], depth)
                if others:
                    of_rest = made[0]
                    at = ""
                    value[rest] = others if of_rest is None else of_rest(others, depth)
            except Conflict as conflict:
                if at:
                    conflict.path.insert(0, at)
                raise
            return value

        return turn


# ---- ProtoJSON → native


class _Writing(_Direction):
    def _wanted(self, desc: DescMessage) -> bool:
        if desc.type_name in _FREE:
            return True
        shape = self._natives.shape(desc)
        if shape != _PLAIN:
            return True
        return any(
            isinstance(slot.target, DescEnum) and self._natives.shapes.enums.get(slot.target.type_name)
            for slot in self._natives.slots(desc).values()
        )

    def field(self, desc: DescMessage, slot: Slot) -> Turn | None:
        shape = self._natives.shape(desc)
        one = self._one(slot, shape)
        if one is None or slot.many == SINGLE:
            return one
        return _list_turn(one, None) if slot.many == LIST else _map_turn(one)

    def _one(self, slot: Slot, shape: MessageShape) -> Turn | None:
        target = slot.target
        if isinstance(target, DescMessage):
            if target.type_name in _FREE:
                return _whole
            return (lambda value, depth: self.message(target)(value, depth)) if self.needs(target) else None
        if isinstance(target, DescEnum):
            written = self._natives.shapes.enums.get(target.type_name)
            return (lambda value, depth: written.get(value)) if written else None
        return (lambda value, depth: int(value)) if slot.field.json_name in shape.numbers else None

    def _made(self, desc: DescMessage) -> Turn:
        shape = self._natives.shape(desc)
        if shape.wraps:
            return self._unwrapping(desc, shape.wraps)
        if shape.union is not None:
            return self._chosen(desc, shape)
        return self._object(desc, shape)

    def _unwrapping(self, desc: DescMessage, name: str) -> Turn:
        slot = self._natives.slots(desc)[name]
        made: list[Turn | None] = []
        default = self._default(slot)

        def turn(value: Json, depth: int) -> Json:
            depth = _deeper(depth)
            if not made:
                made.append(self.field(desc, slot))
            inner = made[0]
            held = value.get(name, default)
            return held if inner is None or held is None else inner(held, depth)

        return turn

    def _default(self, slot: Slot) -> Json:
        """ProtoJSON of what the field is when it is absent; None where the field says so itself by being absent."""
        if slot.many != SINGLE:
            return [] if slot.many == LIST else {}
        if isinstance(slot.target, DescMessage) or slot.oneof or slot.field.proto.proto3_optional:
            return None
        return self._zero(slot)

    @staticmethod
    def _zero(slot: Slot) -> Json:
        if isinstance(slot.target, DescEnum):
            return slot.target.values[0].name
        return {"STRING": "", "BYTES": "", "BOOL": False}.get(slot.target.name, 0)

    def _chosen(self, desc: DescMessage, shape: MessageShape) -> Turn:
        union = shape.union
        assert union is not None
        slots = self._natives.slots(desc)
        turns: dict[str, Turn] = {}
        tags = {branch.key: branch.tags[0] for branch in union.branches if branch.tags}
        tag = union.tag

        def turn(value: Json, depth: int) -> Json:
            depth = _deeper(depth)
            if not turns:
                turns.update(self._fields(desc, slots))
            for key, held in value.items():
                inner = turns.get(key)
                if inner is not None:
                    held = inner(held, depth)
                if tag and key in tags and held.__class__ is dict and not held.get(tag):
                    held = {tag: tags[key], **{name: item for name, item in held.items() if name != tag}}
                return held
            return None

        return turn

    def _object(self, desc: DescMessage, shape: MessageShape) -> Turn:
        slots = self._natives.slots(desc)
        turns: dict[str, Turn] = {}
        ready: list[bool] = []
        rest = shape.rest
        defaults = {
            name: self._zero(slot) if slot.many == SINGLE else self._default(slot)
            for name, slot in slots.items()
            if name in shape.always and (slot.many != SINGLE or not isinstance(slot.target, DescMessage))
        }
        nulls = [name for name in slots if name in shape.nulls]

        def turn(value: Json, depth: int) -> Json:
            if value.__class__ is not dict:
                return value
            depth = _deeper(depth)
            if not ready:
                turns.update(self._fields(desc, slots))
                ready.append(True)
            for name, default in defaults.items():
                if name not in value:
                    value[name] = default
            others = value.pop(rest, None) if rest else None
            for name, inner in turns.items():
                if name in value:
                    held = inner(value[name], depth)
                    if held is None:
                        del value[name]
                    else:
                        value[name] = held
            for name in nulls:
                value.setdefault(name, None)
            if others:
                inner_rest = turns.get(rest)
                return {**(others if inner_rest is None else inner_rest(others, depth)), **value}
            return value

        return turn


_FREE = frozenset(f"google.protobuf.{name}" for name in ("Value", "Struct", "ListValue"))
_EXACT = float(1 << 53)


def _whole(value: Json, depth: int) -> Json:
    """A free-form value: what is whole is written as services write it, 1 and not 1.0, where a double is exact."""
    if value.__class__ is float:
        return int(value) if value.is_integer() and -_EXACT <= value <= _EXACT else value
    if value.__class__ is dict:
        depth = _deeper(depth)
        return {name: _whole(item, depth) for name, item in value.items()}
    if value.__class__ is list:
        depth = _deeper(depth)
        return [_whole(item, depth) for item in value]
    return value
