"""What requests' heads say, read once for those that come again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from protogw.wire.http import Header, RequestHead, field_bytes
from protogw.wire.recurring import Recurring

F = TypeVar("F")

_ENTRIES, _ENTRY_BYTES = 256, 4_096


class FactsCache(Generic[F]):
    """Facts by header fields. Clients repeat their fields from request to request; those who do not cost a miss."""

    def __init__(self, read: Callable[[RequestHead], F]) -> None:
        """`read` says what a head's fields say, by them alone."""
        self._read = read
        self._known: Recurring[tuple[Header, ...], F] = Recurring(_ENTRIES)

    def of(self, head: RequestHead) -> F:
        key = head.headers
        facts = self._known.get(key)
        if facts is None:
            facts = self._read(head)
            known = self._known
            if known.again(key) and field_bytes(key) <= _ENTRY_BYTES:
                known.take(key, facts)
        return facts
