"""Protobuf ⇄ JSON, bytes to bytes, exact to the ProtoJSON mapping (protobuf.dev/programming-guides/json).

This module, its `protojson_*` siblings and native_json are the only ones that know protobuf-py. Messages are built at
run time from a descriptor set in a registry of their own, so two versions of one schema live side by side.
docs/protojson.md lists where the library differs from the mapping and what is corrected here.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson
from protobuf import (
    DescEnum,
    DescField,
    DescMessage,
    Message,
    ScalarType,
    message_from_json_value,
    message_to_json_value,
)

from protogw.errors import InvalidRequest
from protogw.wire.protojson_check import Checks, Conflict, Plan, tree_of
from protogw.wire.protojson_explain import (
    FAILURES,
    explain_bytes,
    explain_json,
    explain_print,
    parsed,
    syntax_fault,
)
from protogw.wire.protojson_floats import Floats, may_be_long, rounded, shortest
from protogw.wire.protojson_registry import link, registry_of
from protogw.wire.protojson_types import LIST, SINGLE, WELL_KNOWN, Shapes, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOptions:
    """How one upstream's messages are read from and printed as JSON.

    `unknown_fields` of the JSON are refused or dropped; `emit_defaults` prints fields without presence that hold
    their default; `enums` are printed by name or number; field `names` are printed in lowerCamelCase or as in the
    proto. Both spellings are always read.
    """

    unknown_fields: Literal["error", "ignore"] = "error"
    emit_defaults: bool = False
    enums: Literal["name", "number"] = "name"
    names: Literal["json", "proto"] = "json"


DEFAULT = JsonOptions()


class Codecs:
    """The codecs of every message type of one descriptor set, which must be well-formed and in dependency order.

    Files of the names `without` are there for options alone: their types have no codecs.
    """

    def __init__(self, descriptor_set: bytes, options: JsonOptions = DEFAULT, without: Collection[str] = ()) -> None:
        self.options = options
        self.registry = registry_of(descriptor_set, without)
        self.shapes = Shapes(self.registry)
        self.checks = Checks(self.shapes)
        self.floats = Floats(self.shapes)

    def having(self, options: JsonOptions) -> Codecs:
        """The same types with other options; what is known of them is shared."""
        other = copy(self)
        other.options = options
        return other

    def codec(self, name: str) -> MessageCodec:
        """The codec of the message type of this full name; KeyError when there is none."""
        desc = self.registry.message(name)
        if desc is None:
            raise KeyError(name)
        return MessageCodec(desc, self)


class MessageCodec:
    """The Codec of one message type; the message class and what is checked are made on first use."""

    __slots__ = (
        "_codecs",
        "_desc",
        "_emit",
        "_floats",
        "_ignore_unknown",
        "_lenient",
        "_plan",
        "_print_as",
        "_registry",
        "_type",
    )

    def __init__(self, desc: DescMessage, codecs: Codecs) -> None:
        options = codecs.options
        self._desc = desc
        self._codecs = codecs
        self._registry = codecs.registry
        self._ignore_unknown = options.unknown_fields == "ignore"
        self._print_as: dict[str, Any] = {
            "registry": codecs.registry,
            "always_emit_implicit": options.emit_defaults,
            "print_enums_as_ints": options.enums == "number",
            "use_proto_field_name": options.names == "proto",
        }
        self._type: type[Message] | None = None
        self._emit: Callable[[Message], str]
        self._plan: Plan | None = None
        self._floats = False
        self._lenient: MessageCodec | None = self if self._ignore_unknown else None

    @property
    def canonical(self) -> MessageCodec:
        """This one itself: it writes ProtoJSON."""
        return self

    @property
    def lenient(self) -> MessageCodec:
        """The same, but reading drops unknown JSON fields."""
        if self._lenient is None:
            other = MessageCodec(self._desc, self._codecs)
            other._ignore_unknown = True
            other._lenient = other
            self._lenient = other
        return self._lenient

    def _ready(self) -> type[Message]:
        self._plan = self._codecs.checks.plan(self._desc)
        self._floats = self._codecs.floats.holds(self._desc)
        self._type = self._desc.type
        self._emit = partial(self._type.to_json, **self._print_as)
        return self._type

    def to_json(self, data: bytes) -> bytes:
        try:
            message = (self._type or self._ready()).from_binary(data)
        except FAILURES as error:
            raise InvalidRequest(explain_bytes(self._desc, error)) from error
        try:
            printed = self._emit(message).encode()
        except FAILURES as error:
            raise InvalidRequest(explain_print(self._codecs.shapes, message, error)) from error
        if self._floats and may_be_long(printed):
            return self._print_short(message)
        return printed

    def _print_short(self, message: Message) -> bytes:
        """Printed with every float in its shortest form."""
        tree = message_to_json_value(message, **self._print_as)
        return orjson.dumps(self._codecs.floats.each(self._desc, tree, shortest))

    def parsed(self, data: bytes) -> Message:
        try:
            return (self._type or self._ready()).from_binary(data)
        except FAILURES as error:
            raise InvalidRequest(explain_bytes(self._desc, error)) from error

    def ruled(self) -> MessageCodec:
        link(self._codecs.registry)
        return self

    def from_json(self, data: bytes) -> bytes:
        return self._read(data, False)

    def _read(self, data: bytes, alone: bool) -> bytes:
        """The message; with `alone`, the JSON must have exactly one member."""
        try:
            # First, since it bounds the depth: protobuf-py overflows the stack on a deep value of the wrong type.
            tree = tree_of(data)
            try:
                message = (self._type or self._ready()).from_json(
                    data, ignore_unknown_fields=self._ignore_unknown, registry=self._registry
                )
            except OverflowError:
                if not self._floats:
                    raise
                message = self._read_rounded(data)
            if alone and len(tree) != 1:
                raise Conflict([], "expected one JSON value")
            plan = self._plan
            if plan is not None and tree.__class__ is dict and self._codecs.checks.check(plan, tree, data):
                self._codecs.checks.keep_urls(plan, message, tree)
            return message.to_binary()
        except Conflict as error:
            raise InvalidRequest(str(error)) from error
        except FAILURES as error:
            fault = explain_json(self._codecs.shapes, self._desc, data, self._ignore_unknown, error)
            raise InvalidRequest(fault) from error

    def _read_rounded(self, data: bytes) -> Message:
        """The message, when a number was out of range: the largest float's short form is a little above it."""
        tree = self._codecs.floats.each(self._desc, parsed(data), rounded)
        return message_from_json_value(
            self._desc.type, tree, ignore_unknown_fields=self._ignore_unknown, registry=self._registry
        )

    def field_from_json(self, name: str, data: bytes) -> bytes:
        field = self._slot(name).field
        try:
            return self._read(b"{%s:%s}" % (orjson.dumps(field.json_name), data), True)
        except InvalidRequest:
            # A syntax error's place counts from the start of what the client sent.
            if fault := syntax_fault(data):
                raise InvalidRequest(fault) from None
            raise

    def field_to_json(self, name: str, data: bytes) -> bytes:
        slot = self._slot(name)
        field = slot.field
        message_type = self._type or self._ready()
        try:
            message = message_type.from_binary(data)
        except FAILURES as error:
            raise InvalidRequest(explain_bytes(self._desc, error)) from error
        if field not in message:
            return self._default(slot)
        alone = message_type()
        alone[field] = message[field]
        printed = self.to_json(alone.to_binary())
        key = field.name if self._print_as["use_proto_field_name"] else field.json_name
        if self._print_as["always_emit_implicit"]:
            return orjson.dumps(orjson.loads(printed)[key])  # the other fields are printed beside it
        return printed[len(orjson.dumps(key)) + 2 : -1]

    def _slot(self, name: str) -> Slot:
        return self._codecs.shapes.slots(self._desc)[name]

    def _default(self, slot: Slot) -> bytes:
        """JSON of what the field is when it is absent; null for the well-known types that have no empty value."""
        if slot.many != SINGLE:
            return b"[]" if slot.many == LIST else b"{}"
        target = slot.target
        if isinstance(target, DescMessage):
            if target.type_name in WELL_KNOWN:
                return _EMPTY.get(target.type_name, b"null")
            return self._print_empty(target)
        return _default_scalar(slot.field, target, self._print_as["print_enums_as_ints"])

    def _print_empty(self, desc: DescMessage) -> bytes:
        return desc.type().to_json(**self._print_as).encode()

    def present_paths(self, data: bytes) -> list[str]:
        try:
            tree = tree_of(data)
        except Conflict as error:
            raise InvalidRequest(str(error)) from error
        except FAILURES as error:
            raise InvalidRequest(syntax_fault(data) or "invalid JSON: nested too deeply") from error
        paths: list[str] = []
        if isinstance(tree, dict):
            self._present(self._desc, tree, "", paths)
        return paths

    def _present(self, desc: DescMessage, tree: dict[str, Any], prefix: str, into: list[str]) -> None:
        slots = self._codecs.shapes.slots(desc)
        for name, value in tree.items():
            slot = slots.get(name)
            if slot is None:
                continue
            path = prefix + slot.field.name
            target = slot.target
            if (
                isinstance(value, dict)
                and value
                and slot.many == SINGLE
                and isinstance(target, DescMessage)
                and target.type_name not in WELL_KNOWN
            ):
                self._present(target, value, path + ".", into)
            else:
                into.append(path)

    def __repr__(self) -> str:
        return f"<MessageCodec {self._desc.type_name}>"


_EMPTY = {
    "google.protobuf.Struct": b"{}",
    "google.protobuf.ListValue": b"[]",
    "google.protobuf.Any": b"{}",
    "google.protobuf.FieldMask": b'""',
}

_AS_TEXT = frozenset((ScalarType.INT64, ScalarType.UINT64, ScalarType.SINT64, ScalarType.FIXED64, ScalarType.SFIXED64))


def _default_scalar(field: DescField, target: ScalarType | DescEnum, enum_numbers: bool) -> bytes:
    """JSON of a scalar or enum field's default, which proto2 and editions may set."""
    value: Any = getattr(field.value, "default_value", None)
    if isinstance(target, DescEnum):
        number = int(target.values[0].number if value is None else value)
        if enum_numbers:
            return b"%d" % number
        names = {one.number: one.name for one in target.values}
        return orjson.dumps(names.get(number, number))
    if value is None:
        value = {ScalarType.STRING: "", ScalarType.BYTES: b"", ScalarType.BOOL: False}.get(target, 0)
    if target in _AS_TEXT:
        value = str(value)
    elif isinstance(value, bytes):
        value = b64encode(value).decode()
    elif isinstance(value, float):
        if not math.isfinite(value):
            value = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        elif target is ScalarType.FLOAT:
            value = shortest(value)
    return orjson.dumps(value)
