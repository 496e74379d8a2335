"""Consistent hashing on a ring: equal keys go to the same endpoint, and when one goes only its own keys move.

Karger et al., "Consistent Hashing and Random Trees", 1997. Each endpoint has 160 points for each unit of weight (fewer
when that would be more than 200,000 in all), placed by its address, so that every gateway draws the same ring.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from math import gcd
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from protogw.balancers.base import C

POINTS = 160
MOST_POINTS = 200_000


class RingHash:
    """By the affinity key: equal keys to the same endpoint, with the fewest moves when endpoints come and go."""

    kind: ClassVar[str] = "ring_hash"
    keyed: ClassVar[bool] = True

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.Random()
        self._ready: Sequence[object] = ()
        self._points: list[int] = []
        self._owners: list[int] = []

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """A call without a key goes anywhere."""
        if len(ready) == 1:
            return ready[0]
        if ready is not self._ready:
            self._draw(ready)
        hashed = xxh3_64_intdigest(key) if key else self._random.getrandbits(64)
        at = bisect_left(self._points, hashed)
        return ready[self._owners[at if at < len(self._owners) else 0]]

    def _draw(self, ready: Sequence[C]) -> None:
        shares = shares_of([endpoint.weight for endpoint in ready])
        each = max(1, min(POINTS, MOST_POINTS // sum(shares)))
        ring = sorted(
            (xxh3_64_intdigest(f"{endpoint.label}_{point}".encode()), index)
            for index, (endpoint, share) in enumerate(zip(ready, shares, strict=True))
            for point in range(each * share)
        )
        self._points = [point for point, _ in ring]
        self._owners = [owner for _, owner in ring]
        self._ready = ready


def shares_of(weights: Sequence[int]) -> list[int]:
    """The weights in lowest terms, and none over 1,000."""
    common = gcd(*weights)
    largest = max(weights) // common
    if largest <= 1000:
        return [weight // common for weight in weights]
    return [max(1, round(weight * 1000 / max(weights))) for weight in weights]
