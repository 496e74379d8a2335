"""Requests as JSON objects, one in a line.

What a line says of the request, its route and its outcome is mostly what other lines of the same batch say, so it is
written once for all of them; times and sizes are each request's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from protogw.observe.access_log import CODES, MAX_AGENT, MAX_ERROR, MAX_ID, Entry, Facts, facts_of, timestamp
from protogw.observe.printable import words

if TYPE_CHECKING:
    from protogw.observe.access_log import More


def json_lines(entries: Iterable[Entry]) -> bytes:
    """Each request as one JSON object."""
    facts: dict[int, Facts] = {}
    known: dict[tuple[object, ...], tuple[str, str, str, str]] = {}
    outcomes: dict[tuple[object, ...], _Outcome] = {}
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
            said = known[key] = _shared(entry, facts_of(head, facts), outcomes)
        who, before, after, rest = said
        if more is not None:
            rest = _rest(facts_of(head, facts), more)
        if not since <= at < until:
            time, since, until = timestamp(at), at, (int(at * 1000.0) + 1) / 1000.0
        lines.append(
            f'{{"time":"{time}",{who}:{port}",{before},"duration_ms":{elapsed_s * 1e3:.3f},'
            f'"bytes_in":{received},"bytes_out":{sent},{after}{rest}}}\n'
        )
    return "".join(lines).encode()


class _Outcome(NamedTuple):
    """What lines of one caller, method and outcome have in common, whatever their heads say."""

    who: str
    method: str
    status: str
    upstream: str
    consumer: str


def _outcome(entry: Entry) -> _Outcome:
    _, _, client, _, front_end, method, upstream, status, code, _, _, _, identity, _ = entry
    who = _name(client)[:-1] if client else '"'
    caller = (identity.consumer or identity.subject) if identity is not None else ""
    return _Outcome(
        f'"client":{who}',
        f'"protocol":{_name(front_end)},"method":{_name(method)},"request":',
        f',"status":{status or "null"},"code":{_name(CODES.get(code, ""))}',
        f'"upstream":{_name(upstream)},"user_agent":',
        f',"consumer":{_caller(caller)}' if caller else "",
    )


def _shared(entry: Entry, facts: Facts, outcomes: dict[tuple[object, ...], _Outcome]) -> tuple[str, str, str, str]:
    """What a line says beside times and sizes: up to the client's port, up to the duration, after the sizes, and the
    rest of one of which there is no more to say."""
    _, _, client, _, front_end, method, upstream, status, code, _, _, _, identity, _ = entry
    # Where no two heads are alike, the rest mostly is.
    key = (client, front_end, method, upstream, status, code, id(identity))
    outcome = outcomes.get(key)
    if outcome is None:
        outcome = outcomes[key] = _outcome(entry)
    who, method, status_code, via, consumer = outcome
    before = f'{method}{_printable(facts.request)},"host":{_shown(facts.host)}{status_code}'
    after = f'{via}{_shown(facts.user_agent)},"request_id":{_printable(facts.request_id)}{consumer}'
    return who, before, after, f',"trace_id":"{facts.trace_id}"' if facts.trace_id else ""


def _rest(facts: Facts, more: More) -> str:
    trace_id = more.trace_id or facts.trace_id
    said = f',"trace_id":"{trace_id}"' if trace_id else ""
    fields = _fields(more)
    return f"{said},{orjson.dumps(fields)[1:-1].decode()}" if fields else said


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


def _fields(more: More) -> dict[str, Any]:
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
