"""Descriptor sets → protobuf-py registries, arranged so that the library does what the JSON mapping says."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from typing import cast

from google.protobuf import any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from protobuf import DescField, DescFile, DescMessage, Registry, ScalarType
from protobuf.wkt import FileDescriptorSet
from protobuf.wkt.google.protobuf.descriptor_pb import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from protogw.wire.protojson_types import json_name, slot_of

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


_OWN = "google/protobuf/"


def registry_of(descriptor_set: bytes, without: Collection[str] = ()) -> Registry:
    """The registry of a descriptor set in dependency order, and of the well-known types and google.rpc's error details
    (which an Any may hold whether or not the set has them). The files of the names `without` are left out."""
    files = FileDescriptorSet.from_binary(descriptor_set)
    if without:
        files.file = [file for file in files.file if file.name not in without]
    registry = _registry(files)
    for desc in known():
        if isinstance(desc, DescMessage) and registry.message(desc.type_name) is None:
            registry.add(desc)
    return registry


def link(registry: Registry) -> None:
    """Let each file find those whose types it holds, which whoever evaluates rules asks for. Once is enough.

    Each gets the one before it that others need, publicly: all are found, and along one path only. Protobuf's own files
    are known to the evaluator as they are: they get what they hold, and the others get each of them.
    """
    files = [one for one in registry if isinstance(one, DescFile)]
    if any(file.dependencies for file in files):
        return
    held = {file.name: {other.name: other for other in _held(file) if other is not file} for file in files}
    needed = {name: other for others in held.values() for name, other in others.items()}
    common = [file for file in files if file.name in needed and file.name.startswith(_OWN)]
    last: DescFile | None = None
    for file in files:
        if file.name.startswith(_OWN):
            _import(file, held[file.name].values())
            continue
        _import(file, common)
        if last is not None:
            _import(file, [last])
            file.proto.public_dependency.append(len(file.dependencies) - 1)
        if file.name in needed:
            last = file


def _import(file: DescFile, others: Iterable[DescFile]) -> None:
    for other in others:
        file.proto.dependency.append(other.name)
        cast("list[DescFile]", file.dependencies).append(other)


def _held(file: DescFile) -> Iterator[DescFile]:
    """The files of the types that the file speaks of."""
    for service in file.services:
        for method in service.methods:
            yield method.input.file
            yield method.output.file
    stack = list(file.messages)
    extensions = list(file.extensions)
    fields: list[DescField] = []
    while stack:
        message = stack.pop()
        stack.extend(message.nested_messages)
        extensions.extend(message.nested_extensions)
        fields.extend(message.fields)
    for extension in extensions:
        yield extension.extendee.file
        fields.append(cast("DescField", extension))
    for field in fields:
        target = slot_of(field).target
        if not isinstance(target, ScalarType):
            yield target.file


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
