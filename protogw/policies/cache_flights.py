"""Of those who ask for the same at once, one asks for all. Knows neither calls nor answers' contents."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from protogw.errors import GatewayError
from protogw.stores.entries import Entry

ALONE_S = 5.0
"""How long it is remembered that an answer could not be kept, so that those who ask for it need not wait in line."""
_MOST_ALONE = 10_000


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of asking: an entry, an error that is everybody's, or neither, when each must ask alone."""

    entry: Entry | None
    error: GatewayError | None


class Flights:
    """Who is asking for what. A waiter waits no longer than `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._open: dict[bytes, asyncio.Future[Landed | None]] = {}
        self._alone: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    async def join(self, key: bytes) -> Landed | None:
        """What the one who asks was answered. None for who is to ask: they must call `land` whatever happens, and are
        the first to come, or the first in line when the one before went away."""
        loop = asyncio.get_running_loop()
        until = 0.0
        while (flight := self._open.get(key)) is not None:
            until = until or loop.time() + self._wait_s
            # Not the flight itself, which a waiter's own cancellation would end for all.
            await asyncio.wait((flight,), timeout=until - loop.time())
            if not flight.done():
                return NOTHING
            if (landed := flight.result()) is not None:
                return landed
        self._open[key] = loop.create_future()
        return None

    def land(self, key: bytes, landed: Landed | None) -> None:
        """Tell those who wait; None when nothing came of it and the next is to ask."""
        flight = self._open.pop(key)
        if not flight.done():
            flight.set_result(landed)

    def alone(self, key: bytes) -> bool:
        """Whether the answer could not be kept a moment ago, so that waiting for it is no use."""
        if not self._alone:
            return False
        until = self._alone.get(key)
        if until is None:
            return False
        if until > asyncio.get_running_loop().time():
            return True
        del self._alone[key]
        return False

    def fly_alone(self, key: bytes) -> None:
        """The answer cannot be kept."""
        self._alone[key] = asyncio.get_running_loop().time() + ALONE_S
        if len(self._alone) > _MOST_ALONE:
            self._alone.popitem(last=False)


NOTHING = Landed(None, None)
