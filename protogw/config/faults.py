"""Faults in a config: where each one is, and what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from protogw.words import quoted

Place: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of the document to a value."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong. `line` and `column` count from 1 and are 0 when the fault has no place in the file."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"

    def as_dict(self) -> dict[str, str | int]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
        }


class ConfigError(Exception):
    """A config that cannot be used, with every fault found in it, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def dotted(place: Place) -> str:
    """A place as a user reads it: `routes[2].match.headers["x-beta"]`."""
    text = ""
    for step in place[:_STEPS]:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.match(step):
            text += f".{step}" if text else step
        else:
            text += f"[{quoted(step)}]"
    return text if len(place) <= _STEPS else text + "…"


def shown(value: object) -> str:
    """A written value, as a message names it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "nothing" if value is None else repr(value)
