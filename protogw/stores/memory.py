"""Counters in this process's memory, as many as there is room for: those that say least go first."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from protogw.stores.base import Algorithm, Taken, Window
from protogw.stores.windows import State, bucket, expires, judge, slack

MOST_KEYS = 100_000
"""Each is some 300 bytes. A key that is forgotten starts anew, so a flood of keys frees others of their limits at the
worst; those that have used most of theirs are the last to go."""

_SWEPT, _PASSED = 16, 2
"""How many of the oldest are looked at with each new key; and while there is room, how many that still count."""


class MemoryCounters:
    """A CounterStore of this process."""

    def __init__(self, most: int = MOST_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._states: OrderedDict[str, tuple[float, tuple[State, ...]]] = OrderedDict()
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()
        """The theoretical arrival times of those that are one token bucket, as nearly all limits are; each in a list,
        so that writing it is no business of the order's."""

    def __len__(self) -> int:
        return len(self._states) + len(self._buckets)

    def apart(self) -> MemoryCounters:
        """Empty counters like these, as many: for one who need not share keys."""
        return MemoryCounters(self._most, self._clock)

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        return self.take_now(key, cost, windows)

    def take_now(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        """The same without waiting, which nothing here does."""
        if len(windows) == 1 and windows[0].algorithm is Algorithm.TOKEN_BUCKET:
            return (self.take_bucket(key, cost, windows[0]),)
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

    def take_bucket(self, key: str, cost: int, window: Window) -> Taken:
        """The same of a key whose only window is this token bucket."""
        now = self._clock()
        known = self._buckets.get(key)
        taken, after = bucket(window, 0.0 if known is None else known[0], cost, now)
        if taken.allowed:
            if known is None:
                self._buckets[key] = [after]
                self._make_room(now)
            else:
                known[0] = after
        return taken

    def taker(self, cost: int, window: Window) -> Callable[[str], float]:
        """What takes `cost` from this token bucket of a key, over and over, and returns for how long the rest of it
        lasts, in seconds: its tolerance at the most. Negative where nothing was taken, as `take_bucket` then tells.

        The arithmetic of `windows.bucket`, for limits that every call passes.
        """
        clock, known = self._clock, self._buckets.get
        spent, tolerance = window.emission_s * cost, window.tolerance_s

        def take(key: str) -> float:
            bucket = known(key)
            now = clock()
            if bucket is None:
                if tolerance < spent:
                    return -1.0
                self._buckets[key] = [now + spent]
                self._make_room(now)
                return tolerance - spent
            arrival = bucket[0]
            if arrival < now:
                arrival = now
            arrival += spent
            room = now + tolerance - arrival
            if room < 0.0:
                if room < -slack(now):
                    return room
                room = 0.0
            bucket[0] = arrival
            return room

        return take

    def _make_room(self, now: float) -> None:
        """Let go of what says nothing any more, a few with each new key, and of what says least where there are too
        many. Buckets are in the order in which they were made or last looked at here."""
        states, buckets = self._states, self._buckets
        passed = 0
        least: str | None = None
        soonest = math.inf
        for _ in range(_SWEPT):
            over = len(states) + len(buckets) > self._most
            oldest = next(iter(states), None)
            if oldest is not None and (over or states[oldest][0] <= now):
                del states[oldest]
                continue
            oldest = next(iter(buckets), None)
            if oldest is None or (passed >= _PASSED and not over):
                break
            arrival = buckets[oldest][0]
            if arrival <= now:
                del buckets[oldest]
                continue
            passed += 1
            buckets.move_to_end(oldest)
            if arrival < soonest:
                least, soonest = oldest, arrival
        if least is not None and len(states) + len(buckets) > self._most:
            del buckets[least]

    async def close(self) -> None:
        self._states.clear()
        self._buckets.clear()
