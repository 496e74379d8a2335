"""Files of entries beside the config (keys, consumers), in YAML: read whole and bounded, with faults in one line that
hold nothing of what stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class FileFault(ValueError):
    """Why a file's entries cannot be had. `line` counts from 1, and is 0 where the fault has none."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line

    def within(self, path: Path) -> str:
        """The same with the file's name before it."""
        return f"{path}:{self.line}: {self.reason}" if self.line else f"{path}: {self.reason}"


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """All of a file; raises FileFault."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise FileFault(f"cannot be read: {(error.strerror or 'error').lower()}") from error
    if len(data) > most_bytes:
        raise FileFault(f"larger than {most_bytes} bytes")
    return data


def read_entries(path: Path, entries: TypeAdapter[T], most_bytes: int, empty: Any) -> T:
    """The file's entries, or `empty` when nothing stands in it; raises FileFault."""
    data = read_bytes(path, most_bytes)
    try:
        found: Any = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise FileFault("not YAML", mark.line + 1 if mark is not None else 0) from None
    try:
        return entries.validate_python(found if found is not None else empty)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise FileFault(f"{place}: {first['msg']}") from None
