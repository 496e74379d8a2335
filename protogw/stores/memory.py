"""Counters in this process's memory, as many as there is room for: the least recently used go first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from protogw.stores.base import Taken, Window
from protogw.stores.windows import State, expires, judge

MOST_KEYS = 100_000
"""Each is some 300 bytes. A key that is forgotten starts anew, so a flood of keys frees others of their limits at the
worst; those in use are the last to go."""

_SWEPT = 16


class MemoryCounters:
    """A CounterStore of this process."""

    def __init__(self, most: int = MOST_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._states: OrderedDict[str, tuple[float, tuple[State, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        return self.take_now(key, cost, windows)

    def take_now(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        """The same without waiting, which nothing here does."""
        now = self._clock()
        known = self._states.get(key)
        states: Sequence[State | None] = known[1] if known is not None else (None,) * len(windows)
        judged = [judge(window, state, cost, now) for window, state in zip(windows, states, strict=True)]
        if all(taken.allowed for taken, _ in judged):
            after = tuple(state for _, state in judged)
            until = max(expires(window, state, now) for window, state in zip(windows, after, strict=True))
            self._states[key] = (until, after)
            self._states.move_to_end(key)
            if known is None:
                self._make_room(now)
        return [taken for taken, _ in judged]

    def _make_room(self, now: float) -> None:
        """Let go of what says nothing any more, a few with each new key, and of the oldest where there are too many."""
        states = self._states
        for _ in range(_SWEPT):
            oldest = next(iter(states))
            if states[oldest][0] > now and len(states) <= self._most:
                break
            del states[oldest]

    async def close(self) -> None:
        self._states.clear()
