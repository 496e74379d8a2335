"""Faults in a config: where each one is, what is wrong, and the nearest word that would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of the document to a value."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_SHOWN, _STEPS = 60, 16

HIDDEN = "***"
"""What stands for a secret."""
USER_INFO = re.compile(r"://[^/@\s]*@")
"""The part of an address that says who logs in, and with what password."""


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


def quoted(text: str) -> str:
    """The text between quotes on one line, cut when long; control characters are escaped, so a terminal is safe;
    who logs in at an address is not told."""
    text = USER_INFO.sub(f"://{HIDDEN}@", text)
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    body = "".join(
        "\\" + char if char in '"\\' else char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in cut
    )
    return f'"{body}"'


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


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant, or None when none is near."""
    candidates = sorted(set(words))
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    wanted = word.lower().replace("-", "_")
    if wanted in folded:
        return folded[wanted]
    found = difflib.get_close_matches(wanted, list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def hint(word: str, words: Iterable[str]) -> str:
    """`; did you mean "balance"?`, or the words there are when none is near and they are few, or nothing."""
    candidates = sorted(set(words))
    found = nearest(word, candidates)
    if found is not None:
        return f"; did you mean {quoted(found)}?"
    if candidates and len(candidates) <= 8:
        return f"; there {'is' if len(candidates) == 1 else 'are'} {', '.join(candidates)}"
    return ""
