"""`protogw print-schema`: the schemas of what the gateway offers, and the config's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from google.protobuf import descriptor_pb2

from protogw.assembly import KINDS
from protogw.commands.configured import assembled, loaded, run
from protogw.commands.documents import describe, selected
from protogw.commands.terminal import CommandFailed, note
from protogw.commands.yaml_text import yaml_text
from protogw.config import Config
from protogw.config.schema import json_schema_text
from protogw.descriptors.annotated import annotated
from protogw.descriptors.from_proto import bundled
from protogw.descriptors.to_proto import proto_files
from protogw.gateway import Gateway

_FORMATS = {
    "asyncapi": ("yaml", "json"),
    "config": ("json", "yaml"),
    "graphql": ("graphql",),
    "openapi": ("yaml", "json"),
    "proto": ("proto", "descriptor-set"),
}
"""What each schema can be printed as, the usual form first."""
_SUFFIXES = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".graphql": "graphql",
    ".graphqls": "graphql",
    ".proto": "proto",
    ".pb": "descriptor-set",
    ".binpb": "descriptor-set",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be printed of what; see the command's help."""

    what: str
    format: str = ""
    services: tuple[str, ...] = ()
    listener: str | None = None
    servers: tuple[str, ...] = ()
    title: str | None = None
    version: str | None = None


Files = dict[str, str | bytes]


def print_schema(wanted: Wanted, path: Path | None, *, output: Path | None, connect: bool) -> None:
    form = _format(wanted, output)
    unknown: dict[str, str] = {}
    files: Files
    if wanted.what == "config":
        text = json_schema_text(KINDS)
        files = {f"config.schema.{form}": text if form == "json" else yaml_text(orjson.loads(text))}
    elif path is None:
        raise CommandFailed(f"print-schema {wanted.what} needs a configuration file", code=2)
    else:
        config, _ = loaded(path)
        files, unknown = run(lambda: _files(config, wanted, form, connect=connect))
    for name, reason in unknown.items():
        note(f"upstreams.{name}: its schema is not known: {reason}")
    if output is not None:
        _write(files, output)
    else:
        _show(files)
    if unknown and not files:
        raise CommandFailed("there is nothing to print")


def _format(wanted: Wanted, output: Path | None) -> str:
    """The form to print in: as asked for, by the file's suffix, or the usual one."""
    offered = _FORMATS[wanted.what]
    found = wanted.format or (_SUFFIXES.get(output.suffix, "") if output is not None else "") or offered[0]
    if found not in offered:
        raise CommandFailed(f"print-schema {wanted.what} prints {' or '.join(offered)}, not {found}", code=2)
    return found


async def _files(config: Config, wanted: Wanted, form: str, *, connect: bool) -> tuple[Files, dict[str, str]]:
    async with assembled(config, connect=connect) as (gateway, unknown):
        if unknown and not selected(gateway, wanted.services):
            return {}, unknown
        if wanted.what == "proto":
            return _protos(gateway, wanted, form), unknown
        document = describe(
            gateway,
            config,
            wanted.what,
            listener=wanted.listener,
            services=wanted.services,
            servers=wanted.servers,
            title=wanted.title,
            version=wanted.version,
        )
        for line in document.omitted:
            note(f"not in the document: {line}")
        return {f"{wanted.what}.{form}": written(document.content, form)}, unknown


def written(content: Any, form: str) -> str:
    """A document as text."""
    if isinstance(content, str):
        return content
    if form == "yaml":
        return yaml_text(content)
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _protos(gateway: Gateway, wanted: Wanted, form: str) -> Files:
    chosen = selected(gateway, wanted.services)
    if form == "descriptor-set":
        return {"schema.binpb": descriptor_set(gateway, chosen)}
    return {**protos(gateway, chosen)}


Tell = Callable[[str], object]
"""Takes what there is to say beside the result."""


def descriptor_set(gateway: Gateway, services: list[str], tell: Tell = note) -> bytes:
    """A google.protobuf.FileDescriptorSet of these services, as they are offered, with all that they import."""
    files = _described(gateway, services, tell)
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString(deterministic=True)


def protos(gateway: Gateway, services: list[str], tell: Tell = note) -> dict[str, str]:
    """The proto files of these services, as they are offered, without those that come with protoc and googleapis."""
    files = _described(gateway, services, tell)
    skip = [file.name for file in files if bundled(file.name) is not None]
    data = descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()
    return proto_files(data, skip=skip)


def _described(gateway: Gateway, services: list[str], tell: Tell) -> list[descriptor_pb2.FileDescriptorProto]:
    """The files that define these services; of two with one name, the first."""
    catalog = gateway.catalog
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for schema in {id(catalog.schemas[name]): catalog.schemas[name] for name in services}.values():
        for file in annotated(schema, services):
            known = files.setdefault(file.name, file)
            if known is not file and known != file and bundled(file.name) is None:
                tell(f"{file.name}: two services define it differently; the first one's is printed")
    return list(files.values())


def _show(files: Files) -> None:
    texts = {name: data for name, data in files.items() if isinstance(data, str)}
    sys.stdout.write(joined(texts))
    sys.stdout.flush()
    for data in files.values():
        if isinstance(data, bytes):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def joined(texts: Mapping[str, str]) -> str:
    """Several files as one text, each under its name; a single one as it is."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"// --- {name} ---\n\n{text}" for name, text in texts.items())


def _write(files: Files, output: Path) -> None:
    """Write to one file where the name has the suffix of one, else into a folder."""
    if output.suffix in _SUFFIXES and not output.is_dir():
        if len(files) != 1:
            raise CommandFailed(f"{output}: there are {len(files)} files to write: name a folder")
        _write_one(output, next(iter(files.values())))
        return
    top = output.resolve()
    for name, text in files.items():
        path = (top / name).resolve()
        if not path.is_relative_to(top):  # a service names its files, and may name them as it likes
            raise CommandFailed(f"{name}: is outside of {output}")
        _write_one(path, text)


def _write_one(path: Path, data: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    except OSError as error:
        raise CommandFailed(f"{path}: cannot be written: {error.strerror}") from error
    note(f"wrote {path}")
