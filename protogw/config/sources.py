"""Where an upstream's schema comes from: asked from the service itself, or read from files."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from protogw.config.faults import nearest
from protogw.config.units import parse_path
from protogw.values import refuse

DESCRIPTOR_SUFFIXES = (".pb", ".binpb", ".protoset", ".desc", ".fds")


class SourceKind(enum.Enum):
    REFLECTION = "reflection"
    PROTO = "proto"
    FOLDER = "folder"
    DESCRIPTOR_SET = "descriptor set"


@dataclass(frozen=True, slots=True)
class Source:
    """One place of a schema; `path` is None for reflection."""

    kind: SourceKind
    path: Path | None = None

    def __str__(self) -> str:
        return self.kind.value if self.path is None else str(self.path)


REFLECTION = Source(SourceKind.REFLECTION)


def parse_source(value: object) -> Source:
    """`reflection`, a `.proto` file, a folder of them, or a descriptor set."""
    if isinstance(value, Source):
        return value
    if not isinstance(value, str) or not value:
        refuse("is not a schema: write reflection, a .proto file, a folder of them, or a descriptor set")
    if value == "reflection":
        return REFLECTION
    if value == "introspection" or value.endswith((".graphql", ".graphqls", ".yaml", ".yml", ".json")):
        refuse(
            "is a kind of schema that this version does not read: write reflection, .proto files or a descriptor set"
        )
    path = parse_path(value)
    if path.is_dir():
        if next(path.rglob("*.proto"), None) is None:
            refuse("is a folder without a .proto file")
        return Source(SourceKind.FOLDER, path)
    if not path.exists():
        if nearest(value, ["reflection"]):
            refuse('cannot be read: no such file or directory; did you mean "reflection"?')
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
    refuse(
        f"is not a schema file: its name ends in .proto, or in {', '.join(DESCRIPTOR_SUFFIXES)} for a descriptor set"
    )


SchemaSource = Annotated[
    Source,
    PlainValidator(parse_source),
    WithJsonSchema({"type": "string", "examples": ["reflection", "protos/library.proto"]}),
]
