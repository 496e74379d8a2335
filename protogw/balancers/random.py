"""Random choice by weight: no state to share, and no two gateways that march in step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

from protogw.balancers.base import C


class Random:
    """An endpoint at random, as likely as its weight says."""

    kind: ClassVar[str] = "random"

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.Random()
        self._ready: Sequence[object] = ()
        self._cumulative: list[int] = []

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        if ready is not self._ready:
            self._ready = ready
            self._cumulative = list(accumulate(endpoint.weight for endpoint in ready))
        return self._random.choices(ready, cum_weights=self._cumulative)[0]
