"""Header fields as they are given on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from protogw.commands.terminal import CommandFailed
from protogw.wire.http import Header

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def parse_headers(written: Iterable[str]) -> tuple[Header, ...]:
    """The fields of `name: value` texts; ends the command at one that is none."""
    fields: list[Header] = []
    for text in written:
        name, colon, value = text.partition(":")
        if not colon or not _NAME.match(name) or any(char in value for char in "\r\n\0"):
            raise CommandFailed(f'-H "{text}": write name: value', code=2)
        fields.append((name.lower().encode(), value.strip().encode()))
    return tuple(fields)
