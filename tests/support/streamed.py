"""Methods of every shape, and pools whose answers stream as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import OK, GatewayError, Status
from protogw.wire.http import Peer
from tests.support.versions import compiled, told

PROTO = """
syntax = "proto3";
package shop.v3;
message Item { string id = 1; int64 price = 2; repeated string tags = 3; }
service Shop {
  rpc Watch(Item) returns (stream Item);
  rpc Sum(stream Item) returns (Item);
  rpc Talk(stream Item) returns (stream Item);
}
"""
METHODS = compiled(PROTO).services["shop.v3.Shop"].methods
WATCH, SUM, TALK = (METHODS[name] for name in ("Watch", "Sum", "Talk"))
CODEC = WATCH.output.codec

Next = Payload | GatewayError | TimeoutError | asyncio.Event
"""A message, what breaks the stream off, as the end of its time does, or what is waited for."""


def item(**fields: Any) -> Payload:
    return Payload(CODEC.from_json(json.dumps(fields).encode()), Encoding.PROTO, CODEC)


def items(*prices: int) -> list[Payload]:
    return [item(price=price) for price in prices]


async def stream(*steps: Next) -> AsyncIterator[Payload]:
    for step in steps:
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, GatewayError | TimeoutError):
            raise step
        else:
            yield step


def call(method: Method, *steps: Next) -> Call:
    """A call whose request is these messages, or the one."""
    made = Call(method, Metadata(), front_end="grpc", peer=Peer("192.0.2.1", 1), started=0.0)
    if method.client_streaming:
        made.payloads = stream(*steps)
    else:
        made.payload = item(id="7")
    return made


class Side:
    """A pool that keeps what it is asked, and answers with a stream, or one message."""

    def __init__(self, name: str, *steps: Next, status: Status = OK, echo: bool = False, reads: bool = True) -> None:
        """With `echo` each message of the request is answered with itself; without `reads` none is read."""
        self.name = name
        self.kind = "grpc"
        self.reachable = True
        self.asked: list[Any] = []
        self.begun = asyncio.Event()
        self.closed = asyncio.Event()
        self.done = asyncio.Event()
        """The request has been read to its end."""
        self._steps = steps
        self._status = status
        self._echo = echo
        self._reads = reads

    async def send(self, call: Call) -> Reply:
        method = call.method
        assert method is not None
        reply = Reply()
        if method.server_streaming:
            reply.payloads = self._answers(call, reply)
            return reply
        try:
            await self._read(call)
            answers = [payload async for payload in stream(*self._steps)]
        finally:
            self.closed.set()
        reply.status = self._status
        reply.payload = answers[0] if self._status is OK else None
        return reply

    async def _read(self, call: Call) -> None:
        if self._reads and call.payloads is not None:
            async for payload in call.payloads:
                self.asked.append(told(payload))
            self.done.set()

    async def _answers(self, call: Call, reply: Reply) -> AsyncIterator[Payload]:
        self.begun.set()
        try:
            if self._echo and call.payloads is not None:
                async for payload in call.payloads:
                    self.asked.append(told(payload))
                    yield payload
            else:
                await self._read(call)
            async for payload in stream(*self._steps):
                yield payload
            reply.status = self._status
        finally:
            self.closed.set()


async def read(reply: Reply) -> list[Any]:
    """All that a reply says."""
    if reply.payloads is None:
        return [] if reply.payload is None else [told(reply.payload)]
    return [told(payload) async for payload in reply.payloads]


async def until(condition: Callable[[], bool], again: Callable[[], Awaitable[object]] | None = None) -> None:
    """Let others go on until this is so."""
    async with asyncio.timeout(10):
        while not condition():
            await (asyncio.sleep(0) if again is None else again())
