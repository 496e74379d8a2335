"""The fields that an access log may be asked for, by name: for lines of chosen fields, and for lines of a template.

What a client sent is escaped wherever it comes from, and what is known to carry credentials is never told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from protogw.observe.access_log import (
    CODES,
    MAX_AGENT,
    MAX_ERROR,
    MAX_PATH,
    MAX_QUERY,
    Entry,
    Facts,
    timestamp,
)
from protogw.observe.printable import text, words
from protogw.observe.query_secrets import redacted

if TYPE_CHECKING:
    from protogw.wire.http import Header

Read = Callable[[Entry, Facts], Any]

MAX_FIELD: Final = 512
HIDDEN: Final = "***"
NOTHING: Final = "-"
SECRET_FIELDS: Final = re.compile(
    rb"authorization|cookie|token|secret|api-?key|password|credential|signature|assertion", re.IGNORECASE
)
"""Header fields whose names say so are written without their value."""

_hidden: Final[set[bytes]] = set()
_QUERIES = re.compile(rb"([?#])")

_HEADER = re.compile(r"(header|reply)\.([!#$%&'*+.^_`|~0-9a-z-]{1,100})")
_PART = re.compile(r"\{([^{}]*)\}")

_PLAIN: dict[str, Read] = {
    "time": lambda entry, _: timestamp(entry[0]),
    "client": lambda entry, _: f"{entry[2]}:{entry[3]}",
    "client_address": lambda entry, _: entry[2],
    "protocol": lambda entry, _: entry[4] or None,
    "method": lambda entry, _: entry[5] or None,
    "request": lambda _, facts: facts.request,
    "verb": lambda entry, _: text(entry[1].method, 32),
    "path": lambda entry, _: text(entry[1].path, MAX_PATH),
    "query": lambda entry, _: text(redacted(entry[1].query), MAX_QUERY) or None,
    "host": lambda _, facts: facts.host,
    "status": lambda entry, _: entry[7] or None,
    "code": lambda entry, _: CODES.get(entry[8]),
    "duration_ms": lambda entry, _: round(entry[11] * 1e3, 3),
    "bytes_in": lambda entry, _: entry[9],
    "bytes_out": lambda entry, _: entry[10],
    "upstream": lambda entry, _: entry[6] or None,
    "user_agent": lambda _, facts: facts.user_agent,
    "request_id": lambda _, facts: facts.request_id,
    "consumer": lambda entry, _: _who(entry, "consumer"),
    "subject": lambda entry, _: _who(entry, "subject"),
    "trace_id": lambda entry, facts: (entry[13].trace_id if entry[13] is not None else "") or facts.trace_id or None,
    "tries": lambda entry, _: entry[13].tries if entry[13] is not None else 1,
    "error": lambda entry, _: (words(entry[13].error, MAX_ERROR) or None) if entry[13] is not None else None,
    "operation": lambda entry, _: (words(entry[13].operation, MAX_AGENT) or None) if entry[13] is not None else None,
    "calls": lambda entry, _: (entry[13].calls or None) if entry[13] is not None else None,
    "deadline_left_ms": lambda entry, _: entry[13].left_ms if entry[13] is not None else None,
}

_DEAR = frozenset(("deadline_left_ms",))
"""What has to be noted for every request."""


def hide(names: Iterable[bytes]) -> None:
    """Write these header fields without their value too, in every log: policies find credentials there."""
    _hidden.update(name.lower() for name in names)


def known(name: str) -> bool:
    """Whether there is such a field."""
    return name in _PLAIN or _HEADER.fullmatch(name) is not None


def names() -> Iterable[str]:
    """All that have a name of their own; `header.NAME` and `reply.NAME` are beside them."""
    return _PLAIN


def dear(wanted: Iterable[str]) -> bool:
    """Whether one of these needs more to be noted than is anyway."""
    return any(name in _DEAR or name.startswith("reply.") for name in wanted)


def parts(template: str) -> list[str]:
    """The template as texts and, at odd places, names of fields; raises ValueError with a reason."""
    found = _PART.split(template)
    if any("{" in literal or "}" in literal for literal in found[::2]):
        raise ValueError("has a brace without its other: write {name}")
    unknown = [name for name in found[1::2] if not known(name)]
    if unknown:
        raise ValueError(f"has no field {{{unknown[0]}}}; there are {', '.join(_PLAIN)}, header.NAME and reply.NAME")
    if len(found) == 1:
        raise ValueError("names no field: write {name}")
    return found


def chosen_line(wanted: Sequence[str]) -> Callable[[Entry, Facts], bytes]:
    """What makes lines of these fields, as one JSON object each."""
    reads = tuple((name, _reader(name)) for name in wanted)

    def line(entry: Entry, facts: Facts) -> bytes:
        found = {name: read(entry, facts) for name, read in reads}
        return orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)

    return line


def template_line(template: str) -> Callable[[Entry, Facts], bytes]:
    """What makes lines by a template; raises ValueError as `parts` does."""
    found = parts(template)
    literals, reads = found[::2], [_reader(name) for name in found[1::2]]

    def line(entry: Entry, facts: Facts) -> bytes:
        said = literals[0]
        for read, literal in zip(reads, literals[1:], strict=True):
            value = read(entry, facts)
            # A quote would end the quotes that a template may put around a value.
            said += (NOTHING if value is None else str(value).replace('"', "\\x22")) + literal
        return said.encode() + b"\n"

    return line


def _reader(name: str) -> Read:
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain
    kind, _, field = name.partition(".")
    key = field.lower().encode()
    if SECRET_FIELDS.search(key):
        return _hidden_header(key) if kind == "header" else _hidden_reply(key)
    return _header(key) if kind == "header" else _reply(key)


def _header(key: bytes) -> Read:
    # Which fields policies look at is known later than the lines' form.
    return lambda entry, _: _text(entry[1].get(key)) if key not in _hidden else _hidden_header(key)(entry, _)


def _hidden_header(key: bytes) -> Read:
    return lambda entry, _: HIDDEN if entry[1].get(key) is not None else None


def _reply(key: bytes) -> Read:
    return lambda entry, _: _text(_first(entry, key))


def _hidden_reply(key: bytes) -> Read:
    return lambda entry, _: HIDDEN if _first(entry, key) is not None else None


def _first(entry: Entry, key: bytes) -> bytes | None:
    more = entry[13]
    pairs: Sequence[Header] = more.reply if more is not None else ()
    return next((value for name, value in pairs if name == key), None)


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    if b"=" in value and (b"?" in value or b"#" in value):
        # An address, as in Referer and Location: what is secret in a query is secret in that of another page too.
        pieces = _QUERIES.split(value)
        value = b"".join([pieces[0], *(redacted(piece) for piece in pieces[1:])])
    return text(value, MAX_FIELD)


def _who(entry: Entry, part: str) -> str | None:
    found: str = getattr(entry[12], part, "")
    return words(found, MAX_FIELD) if found else None
