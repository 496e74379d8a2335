"""Mirroring: calls go to a second target too; what that answers is nobody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from protogw.call import Call, Payload, Reply
from protogw.delivery.copies import MOST_READ, Copies, ignored
from protogw.delivery.teed import Following, Room, followed
from protogw.policies.base import Target

MOST_READ_OF_STREAMS = 64 << 20
"""Bytes of an answer after which a copy is let go whose request may still stream: to end it sooner would end that."""


class Mirror:
    """A Target whose calls go to a second one too."""

    def __init__(self, target: Target, copies: Copies, room: Room) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._copies = copies
        self._room = room

    async def send(self, call: Call) -> Reply:
        copies = self._copies
        if not copies.taken(call):
            return await self._target.send(call)
        if call.payloads is not None:
            return await self._stream(call, call.payloads)
        copies.start(partial(self._tell, copies.copy(call)))
        return await self._target.send(call)

    async def _stream(self, call: Call, payloads: AsyncIterator[Payload]) -> Reply:
        """A call whose request streams: the copy is told each message, and how far the call itself came."""
        following = Following(self._copies, self._room, streams=True)
        copy = self._copies.copy(call, following.requests)
        following.begin(partial(self._tell, copy, MOST_READ_OF_STREAMS))
        return await followed(self._target, call, payloads, following)

    async def _tell(self, copy: Call, most: int = MOST_READ) -> None:
        await ignored(await self._copies.to.send(copy), most)
