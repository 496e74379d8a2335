"""How many calls may be sent a second time: a share of those that came of late, so that a service which fails all is
not given twice the work. Pure; time comes from the caller.
"""

from __future__ import annotations

SPAN = 10
"""Seconds that are looked back on."""


class Budget:
    """Retries of the last ten seconds beside that time's calls: at most `share` of them, but `floor` always."""

    __slots__ = ("_again", "_calls", "_floor", "_second", "_share", "again", "calls")

    def __init__(self, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._second = 0
        self._calls = [0] * SPAN
        self._again = [0] * SPAN
        self.calls = 0
        """Calls within the span."""
        self.again = 0
        """Retries within the span."""

    def called(self, now: float) -> None:
        """A call has come; `now` is a monotonic time in seconds, about that of the calls before it."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        self._calls[self._second % SPAN] += 1
        self.calls += 1

    def take(self, now: float) -> bool:
        """Whether one more may be sent again; counts it."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        if self.again >= max(self._floor, int(self.calls * self._share)):
            return False
        self._again[self._second % SPAN] += 1
        self.again += 1
        return True

    def _turn(self, second: int) -> None:
        for passed in range(max(self._second + 1, second - SPAN + 1), second + 1):
            at = passed % SPAN
            self.calls -= self._calls[at]
            self.again -= self._again[at]
            self._calls[at] = self._again[at] = 0
        self._second = second
