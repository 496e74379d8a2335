"""A tunnel as policies that watch over one pass it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protogw.wire.http import ByteStream


class PassingTunnel:
    """Another tunnel as it is. Subclasses say what is different of theirs."""

    __slots__ = ("_inner",)

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner

    async def read(self) -> bytes:
        return await self._inner.read()

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)

    def end(self) -> None:
        self._inner.end()

    def abort(self) -> None:
        self._inner.abort()
