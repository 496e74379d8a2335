"""Least request by the power of two choices: of two endpoints drawn at random, the one with fewer calls in flight.

The load of an endpoint is its calls in flight divided by its weight (Mitzenmacher, "The Power of Two Choices in
Randomized Load Balancing", 2001).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from protogw.balancers.base import C
from protogw.balancers.two_choices import TwoChoices


class LeastRequest:
    """Of two endpoints drawn at random, the less loaded one."""

    kind: ClassVar[str] = "least_request"

    def __init__(self, source: random.Random | None = None) -> None:
        self._two = TwoChoices(source or random.Random())

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        if len(ready) == 1:
            return ready[0]
        one, other = self._two.draw(ready)
        return one if (one.active + 1) * other.weight <= (other.active + 1) * one.weight else other
