"""Descriptor sets → protobuf-py registries, arranged so that the library does what the JSON mapping says."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from google.protobuf import any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from protobuf import DescMessage, Registry
from protobuf.wkt import FileDescriptorSet
from protobuf.wkt.google.protobuf.descriptor_pb import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from protogw.wire.protojson_types import json_name

_KNOWN = (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
    code_pb2,
    error_details_pb2,
    status_pb2,
)


def registry_of(descriptor_set: bytes) -> Registry:
    """The registry of a descriptor set in dependency order, and of the well-known types and google.rpc's error details
    (which an Any may hold whether or not the set has them)."""
    registry = _registry(FileDescriptorSet.from_binary(descriptor_set))
    for desc in known():
        if isinstance(desc, DescMessage) and registry.message(desc.type_name) is None:
            registry.add(desc)
    return registry


@functools.cache
def known() -> Registry:
    """The well-known types and google.rpc's error details."""
    files = [FileDescriptorProto.from_binary(module.DESCRIPTOR.serialized_pb) for module in _KNOWN]
    return _registry(FileDescriptorSet(file=files))


def _registry(files: FileDescriptorSet) -> Registry:
    for file in files.file:
        # The registry would walk every path through the import graph, of which there may be 2^n; it resolves names
        # across all of its files anyway.
        file.dependency.clear()
        for enum in file.enum_type:
            _first_alias_last(enum)
        for message in _messages(file):
            for field in message.field:
                if not field.json_name:
                    field.json_name = json_name(field.name)
            for enum in message.enum_type:
                _first_alias_last(enum)
    return files.to_registry()


def _messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    stack = list(file.message_type)
    while stack:
        message = stack.pop()
        yield message
        stack.extend(message.nested_type)


def _first_alias_last(enum: EnumDescriptorProto) -> None:
    """Reverse the names of each number that has several: the library prints the last, the mapping says the first."""
    places: dict[int, list[int]] = {}
    for place, value in enumerate(enum.value):
        places.setdefault(value.number, []).append(place)
    for aliases in places.values():
        if len(aliases) > 1:
            turned = [enum.value[place] for place in reversed(aliases)]
            for place, value in zip(aliases, turned, strict=True):
                enum.value[place] = value
