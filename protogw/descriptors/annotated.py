"""A schema's descriptor set as it is offered: its methods are annotated with the HTTP bindings that they have now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from protogw.descriptors.build import http_rules
from protogw.descriptors.model import HttpRule, Schema, Service

_KEYED = {"GET": "get", "PUT": "put", "POST": "post", "DELETE": "delete", "PATCH": "patch"}
_OPTION = (descriptor_pb2.DESCRIPTOR, http_pb2.DESCRIPTOR, annotations_pb2.DESCRIPTOR)
"""The files that the annotation needs, in their order."""


def annotated(schema: Schema, services: Collection[str]) -> list[FileDescriptorProto]:
    """The files that define these services, and what they import, imports first.

    An HTTP status other than 200 is not among what google.api.http can say.
    """
    files = list(descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set).file)
    by_name = {file.name: file for file in files}
    wanted = [file.name for file in files if any(_full_name(file, one.name) in services for one in file.service)]
    kept: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in kept:
            continue
        kept.add(name)
        file = by_name[name]
        if _annotate(file, schema.services) and annotations_pb2.DESCRIPTOR.name not in file.dependency:
            file.dependency.append(annotations_pb2.DESCRIPTOR.name)
            for index, one in enumerate(_OPTION):
                if one.name not in by_name:
                    by_name[one.name] = FileDescriptorProto.FromString(one.serialized_pb)
                    files.insert(index, by_name[one.name])
        wanted.extend(file.dependency)
    return [file for file in files if file.name in kept]


def _full_name(file: FileDescriptorProto, name: str) -> str:
    return f"{file.package}.{name}" if file.package else name


def _annotate(file: FileDescriptorProto, services: Mapping[str, Service]) -> bool:
    """Write the bindings of the file's methods where they say something else; whether there was any such."""
    changed = False
    for service in file.service:
        offered = services.get(_full_name(file, service.name))
        for method in service.method:
            found = offered.methods.get(method.name) if offered is not None else None
            option = method.options.Extensions[annotations_pb2.http]
            if found is None or [_key(one) for one in http_rules(option)] == [_key(one) for one in found.http]:
                continue
            option.CopyFrom(_written(found.http))
            changed = True
    return changed


def _key(rule: HttpRule) -> tuple[str, str, str, str]:
    return rule.verb, rule.template, rule.body, rule.response_body


def _written(rules: Sequence[HttpRule]) -> http_pb2.HttpRule:
    first, *more = [_rule(one) for one in rules] or [http_pb2.HttpRule()]
    first.additional_bindings.extend(more)
    return first


def _rule(rule: HttpRule) -> http_pb2.HttpRule:
    made = http_pb2.HttpRule(body=rule.body, response_body=rule.response_body)
    key = _KEYED.get(rule.verb)
    if key is not None:
        setattr(made, key, rule.template)
    else:
        made.custom.kind, made.custom.path = rule.verb, rule.template
    return made
