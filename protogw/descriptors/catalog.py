"""Everything that a gateway offers at one moment, as one value that is swapped whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protogw.descriptors.model import Method, Schema, Service, Type


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """The offered services; `schemas` maps a service's name to the schema that describes it.

    `withheld` are the fields that some callers get replies without, each as `package.Type/field`. `methods` is keyed by
    the gRPC path (b"/package.Service/Method").
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    methods: Mapping[bytes, Method] = field(init=False)

    def __post_init__(self) -> None:
        methods = {method.path: method for service in self.services.values() for method in service.methods.values()}
        object.__setattr__(self, "methods", methods)

    def type_of(self, method: Method, name: str) -> Type | None:
        """A message type by full name, as the schema of this method's service knows it."""
        schema = self.schemas.get(method.service)
        return schema.types.get(name) if schema is not None else None

    @staticmethod
    def merge(schemas: Iterable[Schema]) -> Catalog:
        """One catalog of several schemas; the first to name a service wins."""
        services: dict[str, Service] = {}
        owners: dict[str, Schema] = {}
        for schema in schemas:
            for name, service in schema.services.items():
                if name not in services:
                    services[name] = service
                    owners[name] = schema
        return Catalog(services=services, schemas=owners)


EMPTY = Catalog()
