"""How many calls may be sent a second time: a share of those that come, so that a service which fails all is not given
twice the work. Pure; time comes from the caller.
"""

from __future__ import annotations

FLOOR_S = 10
"""In so many seconds `floor` retries come by themselves."""
SAVED_S = 0.5
"""What so many seconds' calls add is saved at the most: a good time is no reason to double the work of a bad one."""


class Budget:
    """Retries beside calls: every call adds `share` of one, and `floor` in ten seconds come without any.

    What is not used is saved, but never more than the share of half a second's calls, or `floor`.
    """

    __slots__ = ("_floor", "_last", "_second", "_share", "_this", "saved")

    def __init__(self, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._second = 0
        self._this = self._last = 0
        self.saved = float(floor)
        """Retries that may be made now, but for what is over the most."""

    def called(self, now: float) -> None:
        """A call has come; `now` is a monotonic time in seconds, about that of the calls before it."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        self._this += 1
        self.saved += self._share

    def take(self, now: float) -> bool:
        """Whether one more may be sent again; counts it."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        saved = min(self.saved, self._most())
        if saved < 1:
            self.saved = saved
            return False
        self.saved = saved - 1
        return True

    def _most(self) -> float:
        return max(self._floor, self._share * SAVED_S * max(self._this, self._last))

    def _turn(self, second: int) -> None:
        passed = second - self._second
        self.saved = min(self.saved + passed * self._floor / FLOOR_S, self._most())
        self._last = self._this if passed == 1 else 0
        self._this = 0
        self._second = second
