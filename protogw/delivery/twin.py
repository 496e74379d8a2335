"""A second call made of a first: the same caller, metadata and time, with a method and messages of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from protogw.call import Call, Payload
from protogw.descriptors.model import Method


def twin(
    call: Call,
    *,
    method: Method | None,
    payload: Payload | None,
    payloads: AsyncIterator[Payload] | None = None,
    gzip: int = 0,
) -> Call:
    """The other call; it draws on the same deadline, and has no timer of its own."""
    other = Call(
        method,
        call.metadata,
        front_end=call.front_end,
        peer=call.peer,
        started=call.started,
        head=call.head,
        payload=payload,
        payloads=payloads,
        timeout=call.timeout,
        gzip=gzip,
    )
    other.deadline = call.deadline
    other.identity = call.identity
    other.attributes = dict(call.attributes) if call.attributes is not None else None
    other.route = call.route
    return other
