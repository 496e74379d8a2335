"""Limits across workers, over their channels: the supervisor's side, which counts, and the workers', which ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from protogw.stores.base import Algorithm, StoreError, Taken, Window
from protogw.stores.memory import MemoryCounters
from protogw.stores.node import Gone, Grant, grant
from protogw.workers.channel import Channel

MOST_ASKED = 10_000
"""Questions of one worker on their way."""


class Asking:
    """A worker's side."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[Grant]] = {}
        self._last = 0
        self._gone = False

    async def __call__(self, key: str, cost: int, wanted: int, windows: Sequence[Window]) -> Grant:
        """Take for a key; raises Gone, or StoreError when too much is asked at once."""
        if self._gone:
            raise Gone
        if len(self._waiting) >= MOST_ASKED:
            raise StoreError(f"{MOST_ASKED} questions are on their way")
        self._last += 1
        number = self._last
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._channel.send({"take": [number, key, cost, wanted, [_written(window) for window in windows]]})
        try:
            found: Grant = await answer
            return found
        finally:
            self._waiting.pop(number, None)

    def answered(self, message: Mapping[str, Any]) -> None:
        """An answer has come; one that nobody waits for any more is nobody's."""
        number, granted, found = message["took"]
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(Grant(granted, [Taken(*one) for one in found]))

    def gone(self) -> None:
        """The supervisor is gone."""
        self._gone = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Gone())


class Counting:
    """The supervisor's side."""

    def __init__(self, counters: MemoryCounters | None = None) -> None:
        self.counters = counters or MemoryCounters()

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What a worker is told that has asked."""
        number, key, cost, wanted, windows = message["take"]
        made = grant(self.counters, key, cost, wanted, [_read(window) for window in windows])
        found = [[one.allowed, one.remaining, one.reset_s, one.retry_s] for one in made.found]
        return {"took": [number, made.granted, found]}


def _written(window: Window) -> list[Any]:
    return [window.amount, window.per_s, window.burst, window.algorithm.value]


def _read(window: Sequence[Any]) -> Window:
    amount, per_s, burst, algorithm = window
    return Window(amount=amount, per_s=per_s, burst=burst, algorithm=Algorithm(algorithm))
