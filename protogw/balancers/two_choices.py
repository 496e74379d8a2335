"""Two endpoints drawn at random, of which a balancer takes the better one.

Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from protogw.balancers.base import C


def two_of(ready: Sequence[C], source: random.Random) -> tuple[C, C]:
    """Two different ones of `ready`, which has at least two, each pair as likely as any."""
    count = len(ready)
    first = int(source.random() * count)
    second = int(source.random() * (count - 1))
    if second >= first:
        second += 1
    return ready[first], ready[second]
