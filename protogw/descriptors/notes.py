"""What a descriptor set says of fields and enum values that the model does not keep, because only documents want it."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from google.api import field_behavior_pb2, field_info_pb2
from google.protobuf import descriptor_pb2, text_encoding
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

from protogw.descriptors.rule_facets import NONE as NO_FACETS
from protogw.descriptors.rule_facets import RuleFacets, facets_of

_NUMBERS = frozenset(
    FieldDescriptorProto.Type.Value(f"TYPE_{name}") for name in ("INT32", "UINT32", "SINT32", "FIXED32", "SFIXED32")
)
_FLOATS = frozenset((FieldDescriptorProto.TYPE_DOUBLE, FieldDescriptorProto.TYPE_FLOAT))
_FORMATS = {"UUID4": "uuid", "IPV4": "ipv4", "IPV6": "ipv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldNotes:
    """`behaviors` are names of google.api.FieldBehavior; `default` is the declared default as JSON, None for none;
    `format` is a JSON Schema format by google.api.field_info; `facets` are what protovalidate's rules ask of values."""

    behaviors: frozenset[str] = frozenset()
    default: Any = None
    format: str = ""
    facets: RuleFacets = NO_FACETS


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumNotes:
    """The comments and the deprecation of an enum's values, by name."""

    docs: Mapping[str, str] = field(default_factory=dict)
    deprecated: frozenset[str] = frozenset()


NONE = FieldNotes()
NO_VALUES = EnumNotes()


class Notes:
    """`fields` by `package.Message.field`, `enums` by full name, `deprecated` are the full names of types."""

    def __init__(self, descriptor_set: bytes) -> None:
        self.fields: dict[str, FieldNotes] = {}
        self.enums: dict[str, EnumNotes] = {}
        deprecated: set[str] = set()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
            comments = {
                tuple(one.path): one.leading_comments or one.trailing_comments
                for one in file.source_code_info.location
                if one.leading_comments or one.trailing_comments
            }
            scope = f"{file.package}." if file.package else ""
            for index, enum in enumerate(file.enum_type):
                self._enum(scope + enum.name, enum, (5, index), comments)
            for name, path, message in _messages(file, scope):
                if message.options.deprecated:
                    deprecated.add(name)
                for one in message.field:
                    notes = _field(one)
                    if notes is not NONE:
                        self.fields[f"{name}.{one.name}"] = notes
                for index, enum in enumerate(message.enum_type):
                    self._enum(f"{name}.{enum.name}", enum, (*path, 4, index), comments)
        self.deprecated = frozenset(deprecated)

    def _enum(
        self, name: str, enum: EnumDescriptorProto, path: tuple[int, ...], comments: Mapping[tuple[int, ...], str]
    ) -> None:
        docs = {
            value.name: " ".join(text.split())
            for index, value in enumerate(enum.value)
            if (text := comments.get((*path, 2, index)))
        }
        deprecated = frozenset(value.name for value in enum.value if value.options.deprecated)
        if docs or deprecated:
            self.enums[name] = EnumNotes(docs=docs, deprecated=deprecated)


@lru_cache(maxsize=16)
def notes_of(descriptor_set: bytes) -> Notes:
    """The notes of a descriptor set; several documents want those of the same one."""
    return Notes(descriptor_set)


def _messages(
    file: descriptor_pb2.FileDescriptorProto, scope: str
) -> Iterator[tuple[str, tuple[int, ...], DescriptorProto]]:
    waiting = [(scope + one.name, (4, index), one) for index, one in enumerate(file.message_type)]
    while waiting:
        name, path, message = waiting.pop()
        yield name, path, message
        waiting.extend(
            (f"{name}.{one.name}", (*path, 3, index), one)  # type: ignore[misc]
            for index, one in enumerate(message.nested_type)
        )


def _field(proto: FieldDescriptorProto) -> FieldNotes:
    options = proto.options
    behaviors = frozenset(
        field_behavior_pb2.FieldBehavior.Name(one)
        for one in options.Extensions[field_behavior_pb2.field_behavior]
        if one in field_behavior_pb2.FieldBehavior.values()
    )
    info = options.Extensions[field_info_pb2.field_info]
    written = field_info_pb2.FieldInfo.Format.Name(info.format) if info.format in _known_formats() else ""
    default = _default(proto) if proto.HasField("default_value") else None
    found = _FORMATS.get(written, "")
    facets = facets_of(options) if proto.HasField("options") else NO_FACETS
    if not (behaviors or found) and default is None and facets is NO_FACETS:
        return NONE
    return FieldNotes(behaviors=behaviors, default=default, format=found, facets=facets)


def _known_formats() -> list[int]:
    return list(field_info_pb2.FieldInfo.Format.values())


def _default(proto: FieldDescriptorProto) -> Any:
    """The declared default (descriptor.proto, default_value) as ProtoJSON writes it."""
    text = proto.default_value
    if proto.type == FieldDescriptorProto.TYPE_BOOL:
        return text == "true"
    if proto.type in _NUMBERS:
        return int(text)
    if proto.type in _FLOATS:
        value = float(text)
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if proto.type == FieldDescriptorProto.TYPE_BYTES:
        return b64encode(text_encoding.CUnescape(text)).decode()
    return text
