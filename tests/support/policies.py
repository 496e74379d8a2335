"""What policies are called with in unit tests: a call, and a service behind that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support import rpc


def call(
    method: Method | None = rpc.LOOK,
    *,
    verb: bytes = b"",
    fields: tuple[Header, ...] = (),
    host: str = "192.0.2.1",
    started: float | None = None,
    **rest: Any,
) -> Call:
    """A call of the method, or with a verb a request of plain HTTP."""
    head = RequestHead(verb, b"/x", b"", b"h", fields, HTTP_1_1) if verb else None
    payload = rest.pop("payload", Payload(b"", Encoding.RAW) if "payloads" not in rest else None)
    return Call(
        None if verb else method,
        Metadata(fields),
        front_end="test",
        peer=Peer(host, 1),
        started=asyncio.get_running_loop().time() if started is None else started,
        head=head,
        payload=payload,
        **rest,
    )


async def forward(call: Call) -> Reply:
    return Reply()


class Gated:
    """A service each of whose calls waits until it is let go."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Reply]] = []
        self.seen: list[Call] = []
        self.cancelled = 0

    async def __call__(self, call: Call) -> Reply:
        self.seen.append(call)
        call.upstream = f"127.0.0.1:{len(self.seen)}"
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Stream:
    """A reply's messages, that come when they are given; says when it was let go of."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[Payload | BaseException | None] = asyncio.Queue()
        self.closed = False

    def give(self, data: bytes) -> None:
        self.given.put_nowait(Payload(data, Encoding.RAW))

    def end(self, error: BaseException | None = None) -> None:
        self.given.put_nowait(error)

    async def messages(self) -> AsyncIterator[Payload]:
        try:
            while True:
                found = await self.given.get()
                if found is None:
                    return
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            self.closed = True


async def turns(count: int = 10) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
