"""`protogw print-schema`: the schemas of what the gateway offers, and the config's own."""

from __future__ import annotations

import sys
from pathlib import Path

from protogw.assembly import KINDS
from protogw.commands.configured import assembled, loaded, run
from protogw.commands.terminal import CommandFailed, note
from protogw.config import Config
from protogw.config.schema import json_schema_text
from protogw.descriptors.from_proto import bundled
from protogw.descriptors.to_proto import proto_files


def print_schema(what: str, path: Path | None, *, output: Path | None, connect: bool) -> None:
    unknown: dict[str, str] = {}
    if what == "config":
        files = {"config.schema.json": json_schema_text(KINDS)}
    elif path is None:
        raise CommandFailed(f"print-schema {what} needs a configuration file", code=2)
    else:
        config, _ = loaded(path)
        files, unknown = run(lambda: _protos(config, connect=connect))
    for name, reason in unknown.items():
        note(f"upstreams.{name}: its schema is not known: {reason}")
    if output is not None:
        _write(files, output)
    elif len(files) == 1:
        sys.stdout.write(next(iter(files.values())))
    else:
        sys.stdout.write("\n".join(f"// --- {name} ---\n\n{text}" for name, text in files.items()))
    if unknown and not files:
        raise CommandFailed("there is nothing to print")


async def _protos(config: Config, *, connect: bool) -> tuple[dict[str, str], dict[str, str]]:
    """The proto files of every upstream's schema, without those that come with protoc and googleapis."""
    async with assembled(config, connect=connect) as (gateway, unknown):
        offering = gateway.offering
        assert offering is not None
        files: dict[str, str] = {}
        for schema in offering.schemas.values():
            for name, text in proto_files(schema.descriptor_set).items():
                if bundled(name) is None:
                    files.setdefault(name, text)
        return files, unknown


def _write(files: dict[str, str], folder: Path) -> None:
    top = folder.resolve()
    for name, text in files.items():
        path = (top / name).resolve()
        if not path.is_relative_to(top):  # a service names its files, and may name them as it likes
            raise CommandFailed(f"{name}: is outside of {folder}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise CommandFailed(f"{path}: cannot be written: {error.strerror}") from error
        note(f"wrote {path}")
