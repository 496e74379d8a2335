"""Requests as lines for the eye, on a terminal in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogw.errors import Code
from protogw.observe.access_log import CODES, MAX_AGENT, MAX_ERROR, timestamp
from protogw.observe.printable import words

if TYPE_CHECKING:
    from protogw.observe.access_log import Entry, Facts


def console_line(entry: Entry, facts: Facts) -> bytes:
    """The request as one line for the eye."""
    return _console(entry, facts, "", "").encode()


def coloured_line(entry: Entry, facts: Facts) -> bytes:
    """The same with the outcome in colour, for a terminal."""
    status, code = entry[7], entry[8]
    bad = status >= 500 or code in _OURS
    worse = status >= 400 or code > 0 or not status
    return _console(entry, facts, "\x1b[31m" if bad else "\x1b[33m" if worse else "\x1b[32m", "\x1b[0m").encode()


_OURS = frozenset((Code.UNKNOWN, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS, Code.DEADLINE_EXCEEDED))


def _console(entry: Entry, facts: Facts, colour: str, plain: str) -> str:
    at, _, client, port, front_end, method, upstream, status, code, received, sent, elapsed_s, _, more = entry
    outcome = " ".join(part for part in (str(status) if status else "---", CODES.get(code, "")) if part)
    what = facts.request
    if method and not what.endswith(method):
        what = f"{what} → {method}"
    through = f" via {upstream}" if upstream else ""
    if more is not None:
        if more.calls:
            what = f"{what} → {words(more.operation, MAX_AGENT)}, {more.calls} call{'s' if more.calls > 1 else ''}"
        if more.tries > 1:
            through += f" in {more.tries} tries"
        if more.error:
            through += f": {words(more.error, MAX_ERROR)}"
    return (
        f"{timestamp(at)[11:23]} {colour}{outcome}{plain} {front_end or '-'} {what} {elapsed_s * 1e3:.1f}ms "
        f"{received}B in {sent}B out {client}:{port}{through}\n"
    )
