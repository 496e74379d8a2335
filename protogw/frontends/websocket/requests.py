"""The messages of one call on their way from the socket to the service: a few may wait, then the client must."""

from __future__ import annotations

import asyncio
from collections import deque

from protogw.call import Payload


class Requests:
    """An iterator over what `put` takes. An iterator of its own and not a generator: it has nothing to close."""

    __slots__ = ("_ended", "_getter", "_putter", "_room", "_waiting")

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: deque[Payload] = deque()
        self._ended = False
        self._getter: asyncio.Future[None] | None = None
        self._putter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._room

    def add(self, payload: Payload) -> None:
        """Take a message; call it only while there is room and no end."""
        self._waiting.append(payload)
        _wake(self._getter)

    async def put(self, payload: Payload) -> None:
        """Take a message once there is room for it; one that comes after the end is dropped."""
        while len(self._waiting) >= self._room and not self._ended:
            self._putter = asyncio.get_running_loop().create_future()
            try:
                await self._putter
            finally:
                self._putter = None
        if not self._ended:
            self.add(payload)

    def end(self) -> None:
        """No more will come. Harmless when repeated."""
        self._ended = True
        _wake(self._getter)
        _wake(self._putter)

    @property
    def waiting(self) -> bool:
        """It is the client's turn."""
        return not self._waiting and not self._ended

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Payload:
        waiting = self._waiting
        while not waiting:
            if self._ended:
                raise StopAsyncIteration
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        payload = waiting.popleft()
        _wake(self._putter)
        return payload


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
