"""Maglev hashing: equal keys go to the same endpoint, by one look-up in a table of 65,537 places.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4. The shares are
more even than a ring's, and about twice as many keys move when an endpoint goes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from protogw.balancers.base import C

PLACES = 65_537
"""A prime, so that every endpoint's walk visits every place."""


class Maglev:
    """By the affinity key, through a table: equal keys to the same endpoint, in nearly equal shares."""

    kind: ClassVar[str] = "maglev"
    keyed: ClassVar[bool] = True

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.Random()
        self._ready: Sequence[object] = ()
        self._table: list[int] = []

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """A call without a key goes anywhere."""
        if len(ready) == 1:
            return ready[0]
        if ready is not self._ready:
            self._table = table(ready)
            self._ready = ready
        hashed = xxh3_64_intdigest(key) if key else self._random.getrandbits(64)
        return ready[self._table[hashed % PLACES]]


def table(ready: Sequence[C]) -> list[int]:
    """For each place the index of the endpoint that has it; each in turn takes its next free place, heavy ones more
    often."""
    # Walked in the order of the addresses, so that gateways that list them otherwise make the same table.
    order = sorted(range(len(ready)), key=lambda index: ready[index].label)
    walks = [
        (
            xxh3_64_intdigest(ready[index].label.encode(), seed=1) % PLACES,
            xxh3_64_intdigest(ready[index].label.encode(), seed=2) % (PLACES - 1) + 1,
        )
        for index in order
    ]
    heaviest = max(endpoint.weight for endpoint in ready)
    places = [-1] * PLACES
    at = [start for start, _ in walks]
    owed = [0.0] * len(order)
    left = PLACES
    while True:
        for turn, index in enumerate(order):
            owed[turn] += ready[index].weight / heaviest
            if owed[turn] < 1.0:
                continue
            owed[turn] -= 1.0
            place, step = at[turn], walks[turn][1]
            while places[place] >= 0:
                place = (place + step) % PLACES
            places[place] = index
            at[turn] = (place + step) % PLACES
            left -= 1
            if not left:
                return places
