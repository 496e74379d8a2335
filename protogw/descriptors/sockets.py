"""Puts into a schema under which paths its methods are offered to sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protogw.descriptors.model import Schema, Service, SocketRule


def with_sockets(schema: Schema, rules: Mapping[str, Sequence[SocketRule]]) -> Schema:
    """The schema with these rules added to those that its methods have; `rules` is keyed by `package.Service/Method`.

    Names of other schemas' methods are passed over.
    """
    services = dict(schema.services)
    for full_name, more in rules.items():
        name, _, method = full_name.partition("/")
        service = services.get(name)
        if service is None or method not in service.methods:
            continue
        methods = dict(service.methods)
        methods[method] = replace(methods[method], sockets=(*methods[method].sockets, *more))
        services[name] = Service(name=name, methods=methods, doc=service.doc)
    return Schema(services=services, types=schema.types, enums=schema.enums, descriptor_set=schema.descriptor_set)
