"""Places that calls hold while they run, where several processes share a limit of them. Knows no call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable


class Places(Protocol):
    """Where a process asks for places that others may hold as well."""

    async def enter(self, key: str, limit: int, pending: int, wait_s: float) -> bool:
        """Take one of `limit` places of a key: at once, or within `wait_s` if no more than `pending` wait already.

        Says whether there was one. Raises StoreError when that cannot be told.
        """
        ...

    def leave(self, key: str) -> None:
        """Give one back that was taken."""
        ...


@runtime_checkable
class SharesPlaces(Protocol):
    """A CounterStore that has places, too."""

    @property
    def places(self) -> Places | None: ...


Told = Callable[[bool], None]
"""Learns whether there was a place."""


class Rooms:
    """Who has a place and who waits for one: what all processes ask. A process that ends gives all of its own back."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def enter(self, who: Hashable, number: int, key: str, limit: int, pending: int, told: Told) -> None:
        """`told` is called at once, or once a place is free; `number` is the wish's own, of those of `who`."""
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = _Room()
        room.limit = limit
        if room.running < limit and not room.waiting:
            room.take(who)
            told(True)
        elif len(room.waiting) < pending:
            room.waiting.append((who, number, told))
        else:
            told(False)
        self._forget(key, room)

    def leave(self, who: Hashable, key: str) -> None:
        """A place is free: it is that of the one that waits longest."""
        room = self._rooms.get(key)
        if room is not None and room.held.get(who):
            room.give(who, 1)
            self._forget(key, room)

    def forgo(self, who: Hashable, number: int, key: str) -> None:
        """Somebody waits no more."""
        room = self._rooms.get(key)
        if room is not None:
            room.waiting = deque(one for one in room.waiting if one[:2] != (who, number))
            self._forget(key, room)

    def gone(self, who: Hashable) -> None:
        """A process has ended."""
        for key, room in tuple(self._rooms.items()):
            room.waiting = deque(one for one in room.waiting if one[0] != who)
            room.give(who, room.held.get(who, 0))
            self._forget(key, room)

    def _forget(self, key: str, room: _Room) -> None:
        if not room.running and not room.waiting:
            self._rooms.pop(key, None)


class _Room:
    """The places of one key."""

    __slots__ = ("held", "limit", "running", "waiting")

    def __init__(self) -> None:
        self.limit = 0
        self.running = 0
        self.held: dict[Hashable, int] = {}
        self.waiting: deque[tuple[Hashable, int, Told]] = deque()

    def take(self, who: Hashable) -> None:
        self.running += 1
        self.held[who] = self.held.get(who, 0) + 1

    def give(self, who: Hashable, places: int) -> None:
        self.running -= places
        left = self.held.pop(who, 0) - places
        if left > 0:
            self.held[who] = left
        while self.waiting and self.running < self.limit:
            next_one, _, told = self.waiting.popleft()
            self.take(next_one)
            told(True)
