"""Turns Protocol Buffers file descriptors into the neutral model. Pure: reads nothing, compiles nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from protogw.descriptors.model import (
    Enum,
    Field,
    HttpRule,
    Idempotency,
    Kind,
    Method,
    Schema,
    SchemaError,
    Service,
    Type,
)
from protogw.descriptors.shapes import Shapes
from protogw.wire.messages import Messages
from protogw.wire.native_json import NativeCodec, Natives
from protogw.wire.protojson import Codecs, JsonOptions, MessageCodec
from protogw.wire.protojson_types import json_name
from protogw.wire.protowire import fields

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_File = descriptor_pb2.FileDescriptorProto
_KINDS: dict[int, Kind] = {
    int(number): Kind(name.removeprefix("TYPE_").lower())
    for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
}
RULES_PROTO = "buf/validate/validate.proto"
"""Protovalidate's annotations, which its package brings as a descriptor."""
RULES = 1159
"""The field number of protovalidate's extensions of message, field and oneof options."""
_REQUIRED = 25
"""That of `required` in its FieldRules."""
_TOLD = ("buf.validate.Violations", "buf.validate.Violation", "buf.validate.FieldPath", "buf.validate.FieldPathElement")
"""The messages among the annotations: what a violation is told with."""
_Path: TypeAlias = tuple[int, ...]
_CodecOf: TypeAlias = "Callable[[str], MessageCodec | NativeCodec]"


MAX_TYPES = 50_000
"""Message types of one schema: at a quarter of a millisecond each, what a service may cost that describes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What a schema that is no proto says beside the descriptors that were made of it; types and methods by full
    name."""

    shapes: Shapes = field(default_factory=Shapes)
    json_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unsaid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    http: Mapping[str, tuple[HttpRule, ...]] = field(default_factory=dict)
    """In place of the annotations, which cannot say what status success has."""
    bindings: Mapping[str, object] = field(default_factory=dict)


def serialized(files: Sequence[_File]) -> bytes:
    """The descriptor set of files in dependency order, with the JSON names that their source left to be derived."""
    for file in files:
        _name_fields(file)
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString(deterministic=True)


def build(
    files: Sequence[_File], options: JsonOptions, hide: Collection[str], foreign: Foreign | None = None
) -> Schema:
    """The schema of files in dependency order; services named in `hide` are left out.

    Raises SchemaError when the files contradict each other or themselves.
    """
    descriptor_set = serialized(files)
    if sum(1 for file in files for _ in _messages(file)) > MAX_TYPES:
        raise SchemaError(f"more than {MAX_TYPES} message types")
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as error:
            raise SchemaError(f"{file.name}: {_reason(error)}") from error
    try:
        # Who has no proto has the rules for the options alone, not for messages to be made of them.
        skipped = () if foreign is None else (RULES_PROTO,)
        codecs = Codecs(descriptor_set, options, skipped)
    except ValueError as error:
        raise SchemaError(str(error)) from error
    if skipped and any(file.name in skipped for file in files):
        _know_violations(codecs)
    known = foreign or Foreign()
    classes = Messages(descriptor_set)
    codec_of: _CodecOf = codecs.codec if foreign is None else Natives(codecs, foreign.shapes).codec
    types: dict[str, Type] = {}
    enums: dict[str, Enum] = {}
    services: dict[str, Service] = {}
    for file in files:
        docs = _docs(file)
        for path, name, message in _messages(file):
            if file.name in skipped and name not in _TOLD:
                continue
            if not message.options.map_entry:
                found = pool.FindMessageTypeByName(name)
                types[name] = _type(found, message, path, docs, codec_of, types, known, classes)
            for index, enum in enumerate(message.enum_type):
                one = _enum(pool, f"{name}.{enum.name}", enum, docs.get((*path, 4, index), ""), known)
                enums[one.name] = one
        for index, enum in enumerate(file.enum_type if file.name not in skipped else ()):
            one = _enum(pool, _qualified(file, enum.name), enum, docs.get((5, index), ""), known)
            enums[one.name] = one
    for file in files:
        docs = _docs(file)
        for index, service in enumerate(file.service):
            name = _qualified(file, service.name)
            if name not in hide:
                services[name] = _service(name, service, index, docs, types, known)
    return Schema(services=services, types=types, enums=enums, descriptor_set=descriptor_set)


def _know_violations(codecs: Codecs) -> None:
    """Errors hold violations of rules, which are shown as JSON wherever their type is known."""
    from protovalidate._gen.buf.validate import validate_pb  # is there already: the rules were made with it

    for message in validate_pb.desc().messages:
        if message.type_name in _TOLD:
            codecs.registry.add(message)


def _reason(error: Exception) -> str:
    return str(error).removeprefix("Couldn't build proto file into descriptor pool: ").strip()


def _qualified(file: _File, name: str) -> str:
    return f"{file.package}.{name}" if file.package else name


def _messages(file: _File) -> Iterator[tuple[_Path, str, descriptor_pb2.DescriptorProto]]:
    """Every message of the file with its source-info path and full name, outer before inner."""
    stack: list[tuple[_Path, str, descriptor_pb2.DescriptorProto]] = [
        ((4, index), _qualified(file, one.name), one) for index, one in enumerate(file.message_type)
    ]
    stack.reverse()
    while stack:
        path, name, message = stack.pop()
        yield path, name, message
        for index in range(len(message.nested_type) - 1, -1, -1):
            one = message.nested_type[index]
            stack.append(((*path, 3, index), f"{name}.{one.name}", one))


def _docs(file: _File) -> dict[_Path, str]:
    """Leading (else trailing) comments by source-info path, without the margin."""
    docs: dict[_Path, str] = {}
    for location in file.source_code_info.location:
        text = location.leading_comments or location.trailing_comments
        if text:
            docs[tuple(location.path)] = "\n".join(line.strip() for line in text.strip().split("\n"))
    return docs


def _type(
    found: Descriptor,
    proto: descriptor_pb2.DescriptorProto,
    path: _Path,
    docs: dict[_Path, str],
    codec_of: _CodecOf,
    types: dict[str, Type],
    foreign: Foreign,
    classes: Messages,
) -> Type:
    own = {
        field.name: _field(found.fields_by_name[field.name], field, docs.get((*path, 2, index), ""))
        for index, field in enumerate(proto.field)
    }
    return Type(
        name=found.full_name,
        fields=own,
        codec=codec_of(found.full_name),
        doc=docs.get(path, ""),
        json_schema=foreign.json_schemas.get(found.full_name),
        shape=foreign.shapes.messages.get(found.full_name),
        unsaid=foreign.unsaid.get(found.full_name, ()),
        types=types,
        classes=classes,
    )


def _field(found: FieldDescriptor, proto: descriptor_pb2.FieldDescriptorProto, doc: str) -> Field:
    value = found
    map_key: Kind | None = None
    message = found.message_type
    if message is not None and message.GetOptions().map_entry and found.is_repeated:
        map_key = _KINDS[message.fields_by_number[1].type]
        value = message.fields_by_number[2]
    holds = value.message_type or value.enum_type
    oneof = found.containing_oneof
    return Field(
        name=found.name,
        json_name=found.json_name,
        number=found.number,
        kind=_KINDS[value.type],
        type_name=holds.full_name if holds is not None else "",
        repeated=found.is_repeated and map_key is None,
        map_key=map_key,
        oneof=oneof.name if oneof is not None and not proto.proto3_optional else "",
        has_presence=found.has_presence,
        packed=found.is_packed,
        required=found.is_required or (proto.HasField("options") and _must_be_set(proto.options.SerializeToString())),
        deprecated=proto.options.deprecated,
        doc=doc,
    )


@lru_cache(maxsize=4096)
def _must_be_set(options: bytes) -> bool:
    """Whether protovalidate's rules require the field; what is none of them requires nothing. Most fields of a schema
    share a few options."""
    try:
        return any(
            number == RULES and isinstance(rules, bytes) and (_REQUIRED, 1) in fields(rules)
            for number, rules in fields(options)
        )
    except ValueError:
        return False


def _enum(
    pool: descriptor_pool.DescriptorPool,
    name: str,
    proto: descriptor_pb2.EnumDescriptorProto,
    doc: str,
    foreign: Foreign,
) -> Enum:
    return Enum(
        name=name,
        values={value.name: value.number for value in proto.value},
        closed=pool.FindEnumTypeByName(name).is_closed,
        doc=doc,
        written=foreign.shapes.enums.get(name, {}),
    )


def _service(
    name: str,
    proto: descriptor_pb2.ServiceDescriptorProto,
    index: int,
    docs: dict[_Path, str],
    types: dict[str, Type],
    foreign: Foreign,
) -> Service:
    methods = {
        method.name: Method(
            service=name,
            name=method.name,
            input=types[method.input_type.removeprefix(".")],
            output=types[method.output_type.removeprefix(".")],
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
            idempotency=Idempotency(method.options.idempotency_level),
            http=foreign.http.get(f"{name}/{method.name}")
            or tuple(http_rules(method.options.Extensions[annotations_pb2.http])),
            binding=foreign.bindings.get(f"{name}/{method.name}"),
            deprecated=method.options.deprecated or proto.options.deprecated,
            doc=docs.get((6, index, 2, position), ""),
        )
        for position, method in enumerate(proto.method)
    }
    return Service(name=name, methods=methods, doc=docs.get((6, index), ""))


def http_rules(rule: http_pb2.HttpRule) -> Iterator[HttpRule]:
    """The rule and its additional bindings (which cannot have their own: google/api/http.proto)."""
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind is None:
            continue
        verb, template = (one.custom.kind, one.custom.path) if kind == "custom" else (kind, getattr(one, kind))
        yield HttpRule(verb=verb.upper(), template=template, body=one.body, response_body=one.response_body)


def _name_fields(file: _File) -> None:
    """Write the JSON names that the descriptor's source left to be derived (descriptor.proto, json_name)."""
    for _, _, message in _messages(file):
        for one in message.field:
            if not one.json_name:
                one.json_name = json_name(one.name)
