"""Peak EWMA: the endpoint that is likely to answer soonest, as its latest latencies and its calls in flight say.

An endpoint's latency rises at once with a slow answer and decays slowly (as in Finagle's peak EWMA): it is
`latency × (calls in flight + 1) / weight` that is compared, of two endpoints drawn at random.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import ClassVar
from weakref import WeakKeyDictionary

from protogw.balancers.base import C, Candidate
from protogw.balancers.two_choices import TwoChoices

DECAY_S = 10.0
"""After so long, a latency counts for 1/e of what it did."""


class _Latency:
    """One endpoint's latency: the moving average and when it was last moved."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float, at: float) -> None:
        self.seconds = seconds
        self.at = at


class Ewma:
    """Of two endpoints drawn at random, the one whose latency and calls in flight promise the sooner answer."""

    kind: ClassVar[str] = "ewma"

    def __init__(self, source: random.Random | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._two = TwoChoices(source or random.Random())
        self._clock = clock
        self._latencies: WeakKeyDictionary[Candidate, _Latency] = WeakKeyDictionary()

    def observe(self, endpoint: Candidate, seconds: float, now: float) -> None:
        known = self._latencies.get(endpoint)
        if known is None:
            self._latencies[endpoint] = _Latency(seconds, now)
            return
        past = math.exp(-max(0.0, now - known.at) / DECAY_S)
        # A peak is believed at once: waiting for the average to follow would send it more calls meanwhile.
        known.seconds = max(seconds, known.seconds * past + seconds * (1.0 - past))
        known.at = now

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        if len(ready) == 1:
            return ready[0]
        one, other = self._two.draw(ready)
        now = self._clock()
        return one if self._cost(one, now) <= self._cost(other, now) else other

    def _cost(self, endpoint: Candidate, now: float) -> float:
        known = self._latencies.get(endpoint)
        # One that was never asked is worth a try; only its calls in flight count.
        latency = known.seconds * math.exp(-max(0.0, now - known.at) / DECAY_S) if known is not None else 0.0
        return (latency + 1e-6) * (endpoint.active + 1) / endpoint.weight
