"""W3C Trace Context: which trace a call belongs to, read from its metadata and written for those behind. Pure.

https://www.w3.org/TR/trace-context/ ; B3 can be read too, in one field or in several
(https://github.com/openzipkin/b3-propagation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from protogw.wire.http import Header

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
B3: Final = b"b3"
B3_FIELDS: Final = (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags", b"x-b3-parentspanid")
CONTEXT: Final = frozenset((TRACEPARENT, TRACESTATE, B3, *B3_FIELDS))
"""All fields that say who called."""

_LENGTH: Final = 55
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_USUAL = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""The usual form, for who needs none of the parts by itself."""
_B3 = re.compile(rb"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d]))?(?:-[0-9a-f]{16})?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16

# Seeded by the system; not the module's own generator, whose seed a library may have fixed. Ids are no secrets.
_bits = Random().getrandbits


class Parent(NamedTuple):
    """Who called, as they say it: ids in hexadecimal, and whether they record their part."""

    trace_id: int
    span_id: int
    sampled: bool


def of_traceparent(value: bytes) -> Parent | None:
    """What a `traceparent` says; None when it says nothing valid."""
    found = _parts(value)
    return None if found is None else Parent(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & 1))


def trace_of(value: bytes) -> str:
    """The trace that a `traceparent` names, in hexadecimal; "" when it says nothing valid."""
    if _USUAL.fullmatch(value) is not None:
        return value[3:35].decode("ascii")
    found = _parts(value)
    return "" if found is None else found[1].decode("ascii")


def _parts(value: bytes) -> tuple[bytes, ...] | None:
    """Version, trace, span, flags and the rest of a valid `traceparent`."""
    found = _PARENT.fullmatch(value)
    if found is None:
        return None
    parts = found.groups()
    version, trace, span, _, rest = parts
    if version == b"ff" or (version == b"00" and rest) or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return parts


def of_b3(value: bytes) -> Parent | None:
    """What a single `b3` header says; None when it names no trace."""
    found = _B3.fullmatch(value)
    if found is None:
        return None
    trace, span, sampled = found.groups()
    if int(trace, 16) == 0 or span == _NO_SPAN:
        return None
    return Parent(int(trace, 16), int(span, 16), sampled in (b"1", b"d"))


def parent(pairs: Iterable[Header], *, b3: bool = False) -> Parent | None:
    """Who called, by the first field that says so; a valid `traceparent` goes before `b3`, that before B3's others."""
    other: Parent | None = None
    parts: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name == TRACEPARENT:
            found = of_traceparent(value)
            if found is not None:
                return found
        elif b3 and name == B3 and other is None:
            other = of_b3(value)
        elif b3 and name in B3_FIELDS:
            parts.setdefault(name, value)
    return _of_parts(parts) if other is None and parts else other


def _of_parts(parts: Mapping[bytes, bytes]) -> Parent | None:
    """What the fields of B3 say that are one value each: the same in other words."""
    trace, span, sampled, flags, _ = (parts.get(name, b"") for name in B3_FIELDS)
    recorded = b"d" if flags == b"1" else {b"true": b"1", b"false": b"0"}.get(sampled, sampled)
    return of_b3(b"-".join((trace, span, recorded)) if recorded else trace + b"-" + span)


def unsampled(value: bytes) -> bool:
    """Whether a `traceparent` of the usual form says that its trace is not recorded; told without reading the ids."""
    return len(value) == _LENGTH and value[54] in b"02468ace" and value[52] == 0x2D


def traceparent(trace_id: int, span_id: int, *, sampled: bool = True) -> bytes:
    """The field's value."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, sampled)


def new_trace_id() -> int:
    return _bits(128) or 1


def new_span_id() -> int:
    return _bits(64) or 1
