"""Changes of a message's fields, compiled against its type: set, remove, rename, give a default.

A path is dotted: `book.title`. Through a repeated field it means every element (`books.title`), through a map the value
of a key or, with `*`, every value (`labels.env`, `shelves.*.theme`). The messages are those of protobuf's C
implementation: changing one field with it takes a third of what it takes by way of JSON.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Self

import orjson
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, model_validator

from protogw.call import Call, Encoding, Payload
from protogw.descriptors.model import Field, Kind, Type
from protogw.errors import GatewayError, InvalidRequest
from protogw.policies.writing import AnyValue, Value, needs_some
from protogw.values import LISTED
from protogw.wire.protowire import delimited

Change = Callable[[Any, Call, "Payload | None"], None]
"""Changes a message in place."""

_ONE, _EACH, _KEY, _VALUES = range(4)
_DEEPEST: Final = 32


class MessageChanges(BaseModel):
    """What becomes of a message's fields, in this order: renamed, removed, set, given a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rename: Mapping[str, str] = {}
    """Fields whose value goes to another one of the same message and of the same type: `book.name: book.title`."""
    remove: Annotated[tuple[str, ...], LISTED] = ()
    """Fields that are cleared."""
    set: Mapping[str, AnyValue] = {}
    """Fields that get this value: `{ from: EXPRESSION }`, or the value as ProtoJSON writes it. Cleared where the
    expression has no value."""
    default: Mapping[str, AnyValue] = {}
    """Fields that get this value where they are not set."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        return needs_some(self)


class PathFault(Exception):
    """A path or value that does not fit the type; the message follows what was written."""


class _Step:
    """From a message to those below it."""

    __slots__ = ("key", "kind", "name")

    def __init__(self, kind: int, name: str, key: Any = None) -> None:
        self.kind = kind
        self.name = name
        self.key = key


class Path:
    """A path in a type: the steps to the messages that hold the field, and the field itself, or the key of a map."""

    def __init__(self, root: Type, text: str) -> None:
        """Raises PathFault."""
        self.text = text
        self.steps: list[_Step] = []
        self.key: Any = None
        parts = text.split(".")
        if len(parts) > _DEEPEST:
            raise PathFault(f"is deeper than {_DEEPEST} fields")
        at = root
        while True:
            name = parts.pop(0)
            field = at.field(name)
            if field is None:
                near = difflib.get_close_matches(name[:100], at.fields, 1)
                guess = f'; did you mean "{near[0]}"?' if near else ""
                raise PathFault(f'{at.name} has no field "{name[:100]}"{guess}')
            if not parts:
                break
            if field.map_key is not None:
                key = parts.pop(0)
                if not parts:
                    self.key = _map_key(at, field, key)
                    break
                self._into(at, field)
                self.steps.append(
                    _Step(_VALUES, field.name) if key == "*" else _Step(_KEY, field.name, _map_key(at, field, key))
                )
            else:
                self._into(at, field)
                self.steps.append(_Step(_EACH if field.repeated else _ONE, field.name))
            at = at.types[field.type_name]
        self.parent = at
        self.field = field

    @staticmethod
    def _into(at: Type, field: Field) -> None:
        if field.kind is not Kind.MESSAGE:
            raise PathFault(f"{at.name}.{field.name} is no message, and has nothing in it")

    def holders(self, message: Any, create: bool) -> Iterator[Any]:
        """The messages that hold the field; with `create`, those that are not there yet on the way to it are made."""
        return _below(message, self.steps, 0, create)


def _below(message: Any, steps: Sequence[_Step], place: int, create: bool) -> Iterator[Any]:
    if place == len(steps):
        yield message
        return
    step = steps[place]
    kind, name = step.kind, step.name
    if kind == _ONE:
        if create or message.HasField(name):
            child = getattr(message, name)
            if create:
                child.SetInParent()
            yield from _below(child, steps, place + 1, create)
    elif kind == _EACH:
        for child in getattr(message, name):
            yield from _below(child, steps, place + 1, create)
    elif kind == _KEY:
        if create or step.key in getattr(message, name):
            yield from _below(getattr(message, name)[step.key], steps, place + 1, create)
    else:
        for child in getattr(message, name).values():
            yield from _below(child, steps, place + 1, create)


def _map_key(at: Type, field: Field, text: str) -> Any:
    if field.map_key is Kind.STRING:
        return text
    if field.map_key is Kind.BOOL:
        if text in ("true", "false"):
            return text == "true"
    elif text.lstrip("-").isdigit() and len(text) <= 20:
        return int(text)
    raise PathFault(f"{at.name}.{field.name} has no key {text!r}: its keys are {_kind(field.map_key)}")


def _kind(kind: Kind | None) -> str:
    return kind.value if kind is not None else ""


class MessageRules:
    """The changes of one type's messages. `faults` are those of the settings that do not fit it."""

    def __init__(self, root: Type, changes: MessageChanges) -> None:
        self._type = root
        self.faults: list[str] = []
        self._changes: list[Change] = []
        for old, new in changes.rename.items():
            self._compile(f"rename.{old}", partial(_renaming, root, old, new))
        for path in changes.remove:
            self._compile(f"remove.{path}", partial(_removing, root, path))
        for path, value in changes.set.items():
            self._compile(f"set.{path}", partial(_setting, root, path, value))
        for path, value in changes.default.items():
            self._compile(f"default.{path}", partial(_defaulting, root, path, value))

    def _compile(self, where: str, make: Callable[[], Change]) -> None:
        try:
            self._changes.append(make())
        except PathFault as fault:
            self.faults.append(f"{where}: {fault}")

    def apply(self, payload: Payload, call: Call) -> Payload:
        """The message as it is then; raises InvalidRequest."""
        try:
            message = self._type.message.FromString(payload.proto())
        except DecodeError as error:
            raise InvalidRequest(f"the message is not a {self._type.name}") from error
        for change in self._changes:
            change(message, call, payload)
        return Payload(message.SerializePartialToString(), Encoding.PROTO, self._type.codec)


def _renaming(root: Type, old: str, new: str) -> Change:
    source, target = Path(root, old), Path(root, new)
    if old.rpartition(".")[0] != new.rpartition(".")[0] or source.key is not None or target.key is not None:
        raise PathFault(f"{new} is not a field of the same message: set it from the old one, and remove that")
    one, other = source.field, target.field
    same = ("kind", "type_name", "repeated", "map_key")
    if any(getattr(one, name) != getattr(other, name) for name in same):
        raise PathFault(f"{new} is not of the same type")
    plural = one.repeated or one.map_key is not None

    def change(message: Any, call: Call, payload: Payload | None) -> None:
        for holder in source.holders(message, False):
            if _is_set(holder, one):
                value = getattr(holder, one.name)
                if plural or one.kind is Kind.MESSAGE:
                    holder.ClearField(other.name)
                    kept = getattr(holder, other.name)
                    if one.map_key is not None and one.kind is Kind.MESSAGE:
                        for key in value:
                            kept[key].CopyFrom(value[key])
                    elif one.map_key is not None:
                        kept.update(dict(value))
                    elif one.repeated:
                        kept.extend(value)
                    else:
                        kept.CopyFrom(value)
                else:
                    setattr(holder, other.name, value)
                holder.ClearField(one.name)

    return change


def _removing(root: Type, text: str) -> Change:
    path = Path(root, text)
    field, key = path.field, path.key

    def change(message: Any, call: Call, payload: Payload | None) -> None:
        for holder in path.holders(message, False):
            _clear(holder, field, key)

    return change


def _setting(root: Type, text: str, value: Value) -> Change:
    path = Path(root, text)
    field, key = path.field, path.key
    written = _constant(path, value)

    def change(message: Any, call: Call, payload: Payload | None) -> None:
        data = written if written is not None else _asked(path, value, call, payload)
        for holder in path.holders(message, data is not None):
            _clear(holder, field, key)
            if data is not None:
                holder.MergeFromString(data)

    return change


def _defaulting(root: Type, text: str, value: Value) -> Change:
    path = Path(root, text)
    field, key = path.field, path.key
    written = _constant(path, value)

    def change(message: Any, call: Call, payload: Payload | None) -> None:
        data = written if written is not None else _asked(path, value, call, payload)
        if data is None:
            return
        for holder in path.holders(message, True):
            if key not in getattr(holder, field.name) if key is not None else not _is_set(holder, field):
                holder.MergeFromString(data)

    return change


def _is_set(holder: Any, field: Field) -> bool:
    if field.has_presence:
        return bool(holder.HasField(field.name))
    return bool(getattr(holder, field.name))


def _clear(holder: Any, field: Field, key: Any) -> None:
    if key is None:
        holder.ClearField(field.name)
    else:
        getattr(holder, field.name).pop(key, None)


def _constant(path: Path, value: Value) -> bytes | None:
    """The bytes that set the field to a constant; None for an expression. Raises PathFault."""
    if value.expression is not None:
        return None
    try:
        return _bytes(path, value.constant)
    except GatewayError as error:
        raise PathFault(error.message) from None
    except TypeError as error:
        raise PathFault(str(error)) from None


def _asked(path: Path, value: Value, call: Call, payload: Payload | None) -> bytes | None:
    found = value.of(call, payload)
    if found is None:
        return None
    field = path.field
    if field.kind is Kind.STRING and not field.repeated and path.key is None:
        try:
            written = found.encode() if isinstance(found, str) else orjson.dumps(found, default=str)
            return delimited(field.number, written)
        except (UnicodeEncodeError, orjson.JSONEncodeError) as error:
            raise InvalidRequest(f"{path.text}: not text") from error
    try:
        return _bytes(path, found)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path.text}: {error.message}") from error
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"{path.text}: no value of a field's") from error


def _bytes(path: Path, value: Any) -> bytes:
    """The bytes of a message in which only this field has this value, written as JSON."""
    if path.key is not None:
        value = {str(path.key).lower() if isinstance(path.key, bool) else str(path.key): value}
    return path.parent.codec.canonical.field_from_json(path.field.name, orjson.dumps(value))
