"""Two ends of a stream of bytes in memory (wire/http.py ByteStream), each with bounded room."""

from __future__ import annotations

import asyncio

from protogw.errors import UpstreamReset


class End:
    """One end; `room` is how many bytes the other end holds unread before writers here wait."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.unread = bytearray()
        self.other: End
        self.ended = False
        self.aborted = False
        self.reads = 0
        self._changed = asyncio.Event()

    def _tell(self) -> None:
        self._changed.set()
        self.other._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _check(self) -> None:
        if self.aborted or self.other.aborted:
            raise UpstreamReset("the stream was reset")

    async def read(self) -> bytes:
        self.reads += 1
        while not self.unread:
            self._check()
            if self.other.ended:
                return b""
            await self._change()
        data = bytes(self.unread)
        self.unread.clear()
        self._tell()
        return data

    async def write(self, data: bytes) -> None:
        self._check()
        assert not self.ended, "a write after the end"
        self.other.unread += data
        self._tell()
        while len(self.other.unread) > self.room:
            await self._change()
            self._check()

    def end(self) -> None:
        self.ended = True
        self._tell()

    def abort(self) -> None:
        if not (self.ended and self.other.ended):
            self.aborted = True
        self._tell()


def pipe(room: int = 1 << 16) -> tuple[End, End]:
    one, other = End(room), End(room)
    one.other, other.other = other, one
    return one, other
