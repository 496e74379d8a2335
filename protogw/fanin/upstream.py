"""The requests of all clients on their way to the one upstream stream, which may have to be opened more than once."""

from __future__ import annotations

import asyncio
from collections import deque

from protogw.call import Encoding, Payload
from protogw.descriptors.model import Codec


class Pending:
    """Holds so many requests while the stream takes none, and keeps the last ones for the case that it breaks."""

    def __init__(self, codec: Codec, most: int, replay: int) -> None:
        self._codec = codec
        self._most = most
        self._waiting: deque[bytes] = deque()
        self._sent: deque[bytes] = deque(maxlen=replay)
        """Those sent last on the present stream, oldest first."""
        self._room: set[asyncio.Future[None]] = set()
        self._stream: Stream | None = None

    async def put(self, message: bytes) -> None:
        """Take a request once there is room for it."""
        while len(self._waiting) >= self._most:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.add(waiter)
            try:
                await waiter
            finally:
                self._room.discard(waiter)
        self.add(message)

    def add(self, message: bytes) -> None:
        """Take a request that must not wait: what the gateway itself has to say."""
        self._waiting.append(message)
        self.wake()

    def stream(self, first: list[bytes]) -> Stream:
        """The requests of a new stream: `first`, then those that the last one may have lost, then what waits."""
        again = [*first, *self._sent]
        self._sent.clear()
        self._waiting.extendleft(reversed(again))
        self._stream = Stream(self)
        return self._stream

    def take(self) -> Payload | None:
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        if self._sent.maxlen:
            self._sent.append(message)
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)
                break
        return Payload(message, Encoding.PROTO, self._codec)

    def wake(self) -> None:
        if self._stream is not None:
            self._stream.wake()

    def clear(self) -> None:
        """Nobody is there any more, or nobody listens: what was said is of no use."""
        self._sent.clear()
        self._waiting.clear()
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)

    def __len__(self) -> int:
        return len(self._waiting)


class Stream:
    """The request iterator of one upstream call."""

    __slots__ = ("_closed", "_pending", "_waiter", "ended")

    def __init__(self, pending: Pending) -> None:
        self.ended = False
        """Once what waits is sent, there is no more: half-close."""
        self._pending = pending
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def end(self) -> None:
        """Half-close after what waits."""
        self.ended = True
        self.wake()

    def close(self) -> None:
        """The call is over: what waits is the next stream's."""
        self._closed = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Payload:
        while True:
            payload = self._pending.take() if not self._closed else None
            if payload is not None:
                return payload
            if self._closed or self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
