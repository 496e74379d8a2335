"""Calls that share a socket: what has come for each and was not taken yet, within bounds, and who is known by what."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque

from protogw.errors import Code, GatewayError, Overloaded, UpstreamReset
from protogw_translators.to_websocket_messages import Found, Replies


class Inbox:
    """What has come for one call on a shared socket, for it alone to take."""

    __slots__ = ("_bytes", "_fault", "_found", "_reader", "_room", "_size", "_slots", "key", "replies")

    def __init__(self, replies: Replies, *, messages: int, size: int) -> None:
        self.replies = replies
        self.key = ""
        """What the call is known by on its socket."""
        self._slots = messages
        self._bytes = size
        self._found: deque[tuple[Found, int]] = deque()
        self._size = 0
        self._fault: GatewayError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        return len(self._found) >= self._slots or self._size >= self._bytes

    def put(self, found: Found, size: int) -> None:
        """Add what has come; whether it is full already is for the caller to know."""
        if self._fault is None:
            self._found.append((found, size))
            self._size += size
            self._wake()

    def drop_oldest(self) -> None:
        """Make room by losing the message that has waited longest; what ends the call is never lost."""
        for place, (found, size) in enumerate(self._found):
            if found.final is None:
                del self._found[place]
                self._size -= size
                return

    def fail(self, fault: GatewayError, *, at_once: bool = False) -> None:
        """Nothing more comes; what is here is still given out, unless `at_once`."""
        if self._fault is None:
            self._fault = fault
            if at_once:
                self._found.clear()
            self._wake()
            self._make_room()

    def leave(self) -> None:
        """Nobody takes from it any more, and whoever waited for room need not."""
        self._fault = _LEFT
        if self._found:
            self._found.clear()
            self._size = 0
        if self._room is not None:
            self._make_room()

    async def get(self) -> Found:
        """What has come next; raises GatewayError."""
        while not self._found:
            if self._fault is not None:
                raise self._fault
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        found, size = self._found.popleft()
        self._size -= size
        if self._room is not None:
            self._make_room()
        return found

    async def room(self) -> None:
        """Until it is not full, or nobody takes from it any more."""
        while self.full and self._fault is None:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _wake(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    def _make_room(self) -> None:
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)


_LEFT = UpstreamReset("the call has ended")
"""Never raised: who has left asks for nothing."""


class Calls:
    """The calls in flight on one socket, by what they are known by. A topic may have several."""

    __slots__ = ("_by_key", "_count", "_next", "_prefix")

    def __init__(self) -> None:
        self._by_key: dict[str, tuple[Inbox, ...]] = {}
        self._count = 0
        self._next = 0
        # Ids of one socket are not another's: a service that keeps them must not take two calls for one.
        self._prefix = secrets.token_hex(4)

    def __len__(self) -> int:
        return self._count

    def new_key(self, *, number: bool) -> str:
        """An id that this socket has never seen."""
        self._next += 1
        if number:
            if self._next >= 1 << 31:
                raise Overloaded("the socket has no more ids to give", code=Code.UNAVAILABLE)
            return str(self._next)
        return f"{self._prefix}-{self._next:x}"

    def add(self, inbox: Inbox, key: str) -> None:
        inbox.key = key
        there = self._by_key.get(key)
        self._by_key[key] = (inbox,) if there is None else (*there, inbox)
        self._count += 1

    def remove(self, inbox: Inbox) -> bool:
        """Forget a call. Returns whether it was here and no other is known by the same."""
        key = inbox.key
        there = self._by_key.get(key, ())
        if len(there) == 1 and there[0] is inbox:
            self._count -= 1
            del self._by_key[key]
            return True
        if inbox not in there:
            return False
        self._count -= 1
        self._by_key[key] = tuple(one for one in there if one is not inbox)
        return False

    def of(self, key: str) -> tuple[Inbox, ...]:
        return self._by_key.get(key, ())

    def everyone(self) -> tuple[Inbox, ...]:
        return tuple(inbox for inboxes in self._by_key.values() for inbox in inboxes)
