"""What goes wrong with call after call is told in the program's log once in a while."""

from __future__ import annotations

import logging
import math
import time

log = logging.getLogger("protogw")

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

    def unasked(self, policy: str, what: str, error: Exception, *, let_through: bool) -> None:
        """Tell, if it is time to, what becomes of calls while what decides on them cannot be asked."""
        if self.due():
            become = "let through" if let_through else "refused"
            log.warning("policies.%s: %s, calls are %s: %s", policy, what, become, error)
