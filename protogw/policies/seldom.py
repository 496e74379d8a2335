"""What goes wrong with call after call is told in the program's log once in a while."""

from __future__ import annotations

import math
import time

EVERY_S = 10.0


class Seldom:
    """Says when it is time to tell of something again."""

    __slots__ = ("_told_s",)

    def __init__(self) -> None:
        self._told_s = -math.inf

    def due(self) -> bool:
        """Whether to tell of it now; not true again for the next 10 s."""
        now = time.monotonic()
        if now - self._told_s < EVERY_S:
            return False
        self._told_s = now
        return True
