"""What waits for one client: so many messages and no more, and what becomes of the next one. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protogw.call import Payload


class Slow(Enum):
    """What a client that reads too slowly gets."""

    BLOCK = "block"
    """Nobody gets anything before it has room: for clients that must have everything."""
    DROP_OLDEST = "drop_oldest"
    """It misses what it has not read for the longest."""
    CLOSE = "close"
    """It is told RESOURCE_EXHAUSTED and is out."""


class Offered(Enum):
    """What became of a message."""

    KEPT = "kept"
    MUST_WAIT = "must wait"
    """There is no room: offer it again when there is."""
    TOO_SLOW = "too slow"
    """There is no room, and the client is to be put out."""


class Outbox:
    """`dropped` counts what a client has missed."""

    __slots__ = ("_most", "_slow", "_waiting", "dropped")

    def __init__(self, most: int, slow: Slow) -> None:
        self._most = most
        self._slow = slow
        self._waiting: deque[Payload] = deque()
        self.dropped = 0

    def offer(self, payload: Payload) -> Offered:
        """Take a message if the rule lets it in."""
        if self.full:
            if self._slow is Slow.BLOCK:
                return Offered.MUST_WAIT
            if self._slow is Slow.CLOSE:
                return Offered.TOO_SLOW
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(payload)
        return Offered.KEPT

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._most

    def take(self) -> Payload | None:
        """The next message, None while there is none."""
        return self._waiting.popleft() if self._waiting else None
