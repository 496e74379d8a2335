"""One client of a fan-in, at work: what waits for it, and how its call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection

from protogw.call import NO_METADATA, Encoding, Metadata, Payload, Reply
from protogw.errors import OK, Code, GatewayError, Overloaded, Status
from protogw.fanin.hub import Member
from protogw.fanin.outbox import Offered, Outbox, Slow


class TooSlow(Overloaded):
    """A client does not read what it is sent."""

    code = Code.RESOURCE_EXHAUSTED


class Shared(Payload):
    """A message that many clients get: it is written in the other encoding once, and not for each of them."""

    __slots__ = ("_other",)

    def __init__(self, payload: Payload) -> None:
        super().__init__(payload.data, payload.encoding, payload.codec)
        self._other: bytes | None = None

    def proto(self) -> bytes:
        return self.data if self.encoding is Encoding.PROTO else self._converted()

    def json(self) -> bytes:
        return self.data if self.encoding is Encoding.JSON else self._converted()

    def _converted(self) -> bytes:
        if self._other is None:
            self._other = super().json() if self.encoding is Encoding.PROTO else super().proto()
        return self._other


async def give(seats: Collection[Seat], payload: Payload) -> None:
    """Give each of these clients a message."""
    shared = Shared(payload)
    if any(seat.full for seat in seats):
        # A burst fills the outbox of one who reads quickly too: it gets its turn before it counts as slow.
        await asyncio.sleep(0)
    for seat in seats:
        await seat.put(shared)


async def let_go(payloads: AsyncIterator[Payload]) -> None:
    """End a reply's stream at once, whatever is left of it."""
    if isinstance(payloads, AsyncGenerator):
        await payloads.aclose()


class Seat(Member):
    """A member with an outbox, whose reader waits for what is put there or for the end."""

    __slots__ = ("_ended", "_error", "_outbox", "_reader", "_room", "reply")

    def __init__(self, key: str, buffer: int, slow: Slow, bound: bytes = b"") -> None:
        super().__init__(key, bound)
        self.reply = Reply()
        """What its client is answered with; status and trailers are set at the end."""
        self._outbox = Outbox(buffer, slow)
        self._ended = False
        self._error: GatewayError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        return self._outbox.full

    @property
    def ended(self) -> bool:
        return self._ended

    async def put(self, payload: Payload) -> None:
        """Give the client a message, by the rule for slow readers; waits only where the rule is to wait."""
        while not self._ended:
            offered = self._outbox.offer(payload)
            if offered is Offered.KEPT:
                self._wake()
                return
            if offered is Offered.TOO_SLOW:
                self.fail(TooSlow("the client reads too slowly"))
                return
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def end(self, status: Status = OK, trailers: Metadata = NO_METADATA) -> None:
        """Its call ends so, once it has read what waits. Harmless when repeated."""
        if not self._ended:
            self.reply.status = status
            self.reply.trailers = trailers
            self._over()

    def fail(self, error: GatewayError) -> None:
        """Its call ends with this error. Harmless once it has ended."""
        if not self._ended:
            self._error = error
            self._over()

    def _over(self) -> None:
        self._ended = True
        self._wake()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def check(self) -> None:
        """Raises what its call failed with, if it did."""
        if self._error is not None:
            raise self._error

    async def messages(self) -> AsyncIterator[Payload]:
        """What the client gets, to the end; raises what its call failed with."""
        outbox = self._outbox
        while True:
            payload = outbox.take()
            if payload is not None:
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                yield payload
            elif self._ended:
                break
            else:
                self._reader = asyncio.get_running_loop().create_future()
                try:
                    await self._reader
                finally:
                    self._reader = None
        self.check()
