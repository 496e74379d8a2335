"""What commands print: results on stdout, everything else on stderr; colour on a terminal alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import orjson


class CommandFailed(Exception):
    """What was asked for did not work. The message is all that the user sees; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def colours(stream: IO[str]) -> bool:
    """Whether the stream takes colours: a terminal, unless NO_COLOR (no-color.org) is set or TERM is dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str = "") -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """Something beside the result, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str).decode())
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table: drawn to fit a terminal, and elsewhere in plain columns that no width cuts."""
    lines = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, lines, title)
        return
    if title:
        say(title)
    cells = [[column.upper() for column in columns], *([cell.replace("\n", ", ") for cell in row] for row in lines)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(columns: Sequence[str], lines: Sequence[Sequence[str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for row in lines:
        table.add_row(*(Text(cell) for cell in row))
    Console(no_color=not colours(sys.stdout)).print(table)


def style(text: str, code: str, stream: IO[str] | None = None) -> str:
    """The text in an SGR style where the stream takes it."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours(stream or sys.stdout) else text
