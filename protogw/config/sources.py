"""Where an upstream's schema comes from: asked from the service itself, or read from files."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from protogw.descriptors.read import DOCUMENT_SUFFIXES
from protogw.paths import parse_path
from protogw.values import refuse
from protogw.words import nearest

DESCRIPTOR_SUFFIXES = (".pb", ".binpb", ".protoset", ".desc", ".fds")


class SourceKind(enum.Enum):
    REFLECTION = "reflection"
    INTROSPECTION = "introspection"
    PROTO = "proto"
    FOLDER = "folder"
    DESCRIPTOR_SET = "descriptor set"
    DOCUMENT = "document"
    """OpenAPI, AsyncAPI, GraphQL: what it is, it says itself."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place of a schema; `path` is None where the service describes itself."""

    kind: SourceKind
    path: Path | None = None

    def __str__(self) -> str:
        return self.kind.value if self.path is None else str(self.path)


REFLECTION = Source(SourceKind.REFLECTION)
INTROSPECTION = Source(SourceKind.INTROSPECTION)
LIVE = {source.kind.value: source for source in (REFLECTION, INTROSPECTION)}
"""The ways in which a service describes itself, by name."""


def parse_source(value: object) -> Source:
    """`reflection` or `introspection`, a `.proto` file, a folder of them, a descriptor set, or a schema document."""
    if isinstance(value, Source):
        return value
    if not isinstance(value, str) or not value:
        refuse("is not a schema: write reflection, a .proto file, a folder of them, a descriptor set, or a document")
    if value in LIVE:
        return LIVE[value]
    path = parse_path(value)
    if path.is_dir():
        if next(path.rglob("*.proto"), None) is None:
            refuse("is a folder without a .proto file")
        return Source(SourceKind.FOLDER, path)
    if not path.exists():
        if guess := nearest(value, list(LIVE)):
            refuse(f'cannot be read: no such file or directory; did you mean "{guess}"?')
        refuse("cannot be read: no such file or directory")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        refuse(f"cannot be read: {(error.strerror or 'error').lower()}")
    if path.suffix == ".proto":
        return Source(SourceKind.PROTO, path)
    if path.suffix in DESCRIPTOR_SUFFIXES:
        return Source(SourceKind.DESCRIPTOR_SET, path)
    if path.suffix.lower() in DOCUMENT_SUFFIXES:
        return Source(SourceKind.DOCUMENT, path)
    refuse(
        f"is not a schema file: its name ends in .proto, in {', '.join(DESCRIPTOR_SUFFIXES)} for a descriptor set, "
        f"or in {', '.join(DOCUMENT_SUFFIXES)} for a document"
    )


SchemaSource = Annotated[
    Source,
    PlainValidator(parse_source),
    WithJsonSchema({"type": "string", "examples": ["reflection", "protos/library.proto", "users.openapi.yaml"]}),
]
