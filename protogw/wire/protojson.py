"""Protobuf ⇄ JSON, bytes to bytes, exact to the ProtoJSON mapping (protobuf.dev/programming-guides/json).

The only module that knows protobuf-py. Messages are built at run time from a descriptor set in a registry of their
own, so two versions of one schema live side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protobuf import DescMessage, Registry
from protobuf.wkt import FileDescriptorSet

from protogw.errors import InvalidRequest


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
    """The codecs of every message type of one descriptor set, which must be well-formed and in dependency order."""

    def __init__(self, descriptor_set: bytes, options: JsonOptions = DEFAULT) -> None:
        self.options = options
        files = FileDescriptorSet.from_binary(descriptor_set)
        for file in files.file:
            # The registry would walk every path through the import graph, of which there may be 2^n; it resolves
            # names across all of its files anyway.
            file.dependency.clear()
        self.registry: Registry = files.to_registry()

    def codec(self, name: str) -> MessageCodec:
        """The codec of the message type of this full name; KeyError when there is none."""
        desc = self.registry.message(name)
        if desc is None:
            raise KeyError(name)
        return MessageCodec(desc, self)


class MessageCodec:
    """The Codec of one message type. The message class is made on first use."""

    __slots__ = ("_desc", "_options", "_registry", "_type")

    def __init__(self, desc: DescMessage, codecs: Codecs) -> None:
        self._desc = desc
        self._registry = codecs.registry
        self._options = codecs.options
        self._type = desc.type

    def to_json(self, data: bytes) -> bytes:
        options = self._options
        try:
            return (
                self._type.from_binary(data)
                .to_json(
                    registry=self._registry,
                    always_emit_implicit=options.emit_defaults,
                    print_enums_as_ints=options.enums == "number",
                    use_proto_field_name=options.names == "proto",
                )
                .encode()
            )
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidRequest(f"{self._desc.type_name}: {error}") from error

    def from_json(self, data: bytes) -> bytes:
        try:
            return self._type.from_json(
                data,
                ignore_unknown_fields=self._options.unknown_fields == "ignore",
                registry=self._registry,
            ).to_binary()
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidRequest(f"{self._desc.type_name}: {error}") from error

    def field_from_json(self, name: str, data: bytes) -> bytes:
        field = self._desc._fields_by_name[name]
        return self.from_json(b'{"%s":%s}' % (field.json_name.encode(), data))

    def field_to_json(self, name: str, data: bytes) -> bytes:
        raise InvalidRequest(f"{self._desc.type_name}.{name}: not printable")

    def present_paths(self, data: bytes) -> list[str]:
        raise InvalidRequest(f"{self._desc.type_name}: no paths")
