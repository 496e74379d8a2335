"""The feed service's schema, its messages, and calls of its methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Method, Schema
from protogw.wire.http import Peer

PROTO = Path(__file__).with_name("feed.proto")
SERVICE = "feed.v1.Feed"


@cache
def schema() -> Schema:
    return load([PROTO])


def method(name: str) -> Method:
    return schema().services[SERVICE].methods[name]


def payload(name: str, **fields: Any) -> Payload:
    """A request's message, in JSON as a client would send it."""
    return Payload(orjson.dumps(fields), Encoding.JSON, method(name).input.codec)


def tree(made: Payload | None) -> Any:
    """What a message says, as JSON."""
    assert made is not None
    return orjson.loads(made.json())


async def stream(payloads: Iterable[Payload]) -> AsyncIterator[Payload]:
    for one in payloads:
        yield one


def call(name: str, *messages: dict[str, Any], metadata: Metadata = NO_METADATA, proto: bool = False) -> Call:
    """A call of a method with these messages."""
    called = method(name)
    payloads = [payload(name, **fields) for fields in messages]
    if proto:
        payloads = [Payload(one.proto(), Encoding.PROTO, one.codec) for one in payloads]
    made = Call(called, metadata, front_end="test", peer=Peer("192.0.2.1", 5), started=0.0)
    if called.client_streaming:
        made.payloads = stream(payloads)
    else:
        (made.payload,) = payloads
    return made
