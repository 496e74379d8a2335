"""Least connections: the endpoint with the fewest open for its weight, of all of them.

For connections that last: where each stays for hours, two endpoints drawn at random would take long to even out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from protogw.balancers.base import C


class LeastConnections:
    """The endpoint with the fewest connections or calls open; of equals, the next in turn."""

    kind: ClassVar[str] = "least_connections"

    def __init__(self) -> None:
        self._next = 0

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        count = len(ready)
        start = self._next % count
        self._next = start + 1
        best = ready[start]
        for step in range(1, count):
            other = ready[(start + step) % count]
            if (other.active + 1) * best.weight < (best.active + 1) * other.weight:
                best = other
        return best
