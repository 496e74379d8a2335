"""Two endpoints drawn at random, of which a balancer takes the better one.

Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001. Endpoints of different weights are drawn by
their weights: drawn alike, one that is worth eight of ten would be in two pairs of three only.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from protogw.balancers.base import C

_TRIES = 8


class TwoChoices:
    """Draws from the ready endpoints of one pool."""

    __slots__ = ("_random", "_ready", "_sums")

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._ready: Sequence[object] = ()
        self._sums: list[int] = []
        """The weights added up, where they differ."""

    def draw(self, ready: Sequence[C]) -> tuple[C, C]:
        """Two different ones of `ready`, which has at least two."""
        if ready is not self._ready:
            # The sequence is replaced whenever an endpoint or a weight changes.
            self._ready = ready
            weights = [endpoint.weight for endpoint in ready]
            self._sums = list(accumulate(weights)) if len(set(weights)) > 1 else []
        if self._sums:
            return self._by_weight(ready)
        chance = self._random.random
        count = len(ready)
        first = int(chance() * count)
        second = int(chance() * (count - 1))
        if second >= first:
            second += 1
        return ready[first], ready[second]

    def _by_weight(self, ready: Sequence[C]) -> tuple[C, C]:
        chance, sums = self._random.random, self._sums
        total, last = sums[-1], len(ready) - 1
        first = min(last, bisect_right(sums, chance() * total))
        second = first
        for _ in range(_TRIES):
            second = min(last, bisect_right(sums, chance() * total))
            if second != first:
                break
        else:
            # One that outweighs all others by far is drawn again and again: any other will do beside it.
            second = int(chance() * last)
            if second >= first:
                second += 1
        return ready[first], ready[second]
