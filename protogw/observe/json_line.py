"""Requests as JSON objects, one in a line.

What a line says of the request, its route and its outcome is mostly what other lines of the same batch say, so it is
written once for all of them; times and sizes are each request's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson

from protogw.observe.access_log import CODES, MAX_AGENT, MAX_ERROR, MAX_ID, Entry, Facts, facts_of, text, timestamp

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
            after = _members(_after(upstream, facts_of(head, facts), identity) | _rest(more))
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
    before = {
        "protocol": front_end or None,
        "method": method or None,
        "request": facts.request,
        "host": facts.host,
        "status": status or None,
        "code": CODES.get(code),
    }
    return _members({"client": client})[:-1], _members(before), _members(_after(upstream, facts, identity))


def _members(fields: dict[str, Any]) -> str:
    """The members of an object without its braces."""
    return orjson.dumps(fields)[1:-1].decode()


def _after(upstream: str, facts: Facts, identity: Identity | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "upstream": upstream or None,
        "user_agent": facts.user_agent,
        "request_id": facts.request_id,
    }
    if identity is not None and (who := identity.consumer or identity.subject):
        fields["consumer"] = text(who.encode(), MAX_ID)
    if facts.trace_id is not None:
        fields["trace_id"] = facts.trace_id
    return fields


def _rest(more: More) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if more.trace_id:
        fields["trace_id"] = more.trace_id
    if more.error:
        fields["error"] = text(more.error.encode(), MAX_ERROR)
    if more.left_ms is not None:
        fields["deadline_left_ms"] = more.left_ms
    if more.tries > 1:
        fields["tries"] = more.tries
    if more.calls:
        fields["operation"] = text(more.operation.encode(), MAX_AGENT)
        fields["calls"] = more.calls
    return fields
