"""Requests as JSON objects, one in a line.

What a line says of the request, its route and its outcome is mostly what other lines of the same batch say, so it is
written once for all of them; times and sizes are each request's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from protogw.observe.access_log import CODES, MAX_AGENT, MAX_ERROR, MAX_ID, Entry, Facts, facts_of, timestamp, words

if TYPE_CHECKING:
    from protogw.identity import Identity
    from protogw.observe.access_log import More


def json_lines(entries: Iterable[Entry]) -> bytes:
    """Each request as one JSON object."""
    facts: dict[int, Facts] = {}
    known: dict[tuple[object, ...], tuple[str, str, str]] = {}
    lines: list[str] = []
    # The time as it is written until it is later than this.
    time, since, until = "", 0.0, 0.0
    for entry in entries:
        at, head, client, port, front_end, method, upstream, status, code, received, sent, elapsed_s, identity, more = (
            entry
        )
        # The batch holds every identity, so an id is its own.
        key = (head, client, front_end, method, upstream, status, code, id(identity))
        said = known.get(key)
        if said is None:
            said = known[key] = _shared(entry, facts_of(head, facts))
        who, before, after = said
        if more is not None:
            after = _after(upstream, facts_of(head, facts), identity, more)
        if not since <= at < until:
            time, since, until = timestamp(at), at, (int(at * 1000.0) + 1) / 1000.0
        lines.append(
            f'{{"time":"{time}",{who}:{port}",{before},"duration_ms":{elapsed_s * 1e3:.3f},'
            f'"bytes_in":{received},"bytes_out":{sent},{after}}}\n'
        )
    return "".join(lines).encode()


def _shared(entry: Entry, facts: Facts) -> tuple[str, str, str]:
    """What a line says beside times and sizes: up to the client's port, up to the duration, and the rest."""
    _, _, client, _, front_end, method, upstream, status, code, _, _, _, identity, _ = entry
    before = (
        f'"protocol":{_name(front_end)},"method":{_name(method)},"request":{_printable(facts.request)},'
        f'"host":{_shown(facts.host)},"status":{status or "null"},"code":{_name(CODES.get(code, ""))}'
    )
    who = _name(client)[:-1] if client else '"'
    return f'"client":{who}', before, _after(upstream, facts, identity, None)


def _after(upstream: str, facts: Facts, identity: Identity | None, more: More | None) -> str:
    said = (
        f'"upstream":{_name(upstream)},"user_agent":{_shown(facts.user_agent)},'
        f'"request_id":{_printable(facts.request_id)}'
    )
    if identity is not None and (who := identity.consumer or identity.subject):
        said += f',"consumer":{_caller(who)}'
    trace_id = (more.trace_id if more is not None else "") or facts.trace_id
    if trace_id:
        said += f',"trace_id":"{trace_id}"'
    if more is not None and (rest := _rest(more)):
        said += f",{orjson.dumps(rest)[1:-1].decode()}"
    return said


@lru_cache(maxsize=1024)
def _name(value: str) -> str:
    """What recurs as JSON: an address, or a name of the config's or of a schema's; null for an empty one."""
    return orjson.dumps(value or None).decode()


@lru_cache(maxsize=1024)
def _caller(who: str) -> str:
    return _printable(words(who, MAX_ID))


def _printable(value: str | None) -> str:
    """What `text` has made of something as JSON."""
    if value is None:
        return "null"
    return f'"{value}"' if '"' not in value and "\\" not in value else orjson.dumps(value).decode()


_shown = lru_cache(maxsize=1024)(_printable)
"""The same of what many requests have in common."""


def _rest(more: More) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if more.error:
        fields["error"] = words(more.error, MAX_ERROR)
    if more.left_ms is not None:
        fields["deadline_left_ms"] = more.left_ms
    if more.tries > 1:
        fields["tries"] = more.tries
    if more.calls:
        fields["operation"] = words(more.operation, MAX_AGENT)
        fields["calls"] = more.calls
    return fields
