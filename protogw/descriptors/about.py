"""A document about the offered services: what it says beside them, and what comes out.

Pure data, between those who know the configuration and those who write a document (OpenAPI, AsyncAPI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from protogw.wire.protojson import DEFAULT, JsonOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """`servers` are base URLs; `json` maps a service's name to how its messages are written where that is not the
    default; only the services of `services` are described."""

    title: str
    version: str
    servers: tuple[str, ...] = ()
    json: Mapping[str, JsonOptions] = field(default_factory=dict)
    services: frozenset[str]

    def options(self, service: str) -> JsonOptions:
        """How the messages of this service are written as JSON."""
        return self.json.get(service, DEFAULT)


@dataclass(frozen=True, slots=True)
class Document:
    """Its content, as JSON values or as text, and what of the offered it does not say, a line each."""

    content: Mapping[str, Any] | str
    omitted: tuple[str, ...] = ()


@runtime_checkable
class Documented(Protocol):
    """A front end that can describe all that it offers in a document of its own kind."""

    documents: ClassVar[str]
    """The document's name, as `print-schema` and the admin address have it."""

    def document(self, about: About) -> Document:
        """Describe what is offered now."""
        ...
