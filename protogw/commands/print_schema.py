"""`protogw print-schema`: the schemas that the gateway serves, and the config's own."""

from __future__ import annotations

import sys
from pathlib import Path

from protogw.assembly import KINDS
from protogw.commands.terminal import CommandFailed
from protogw.config.schema import json_schema_text


def print_schema(what: str, path: Path | None, *, connect: bool) -> None:
    if what == "config":
        sys.stdout.write(json_schema_text(KINDS))
        return
    raise CommandFailed(f"print-schema {what} is not supported by this version", code=2)
