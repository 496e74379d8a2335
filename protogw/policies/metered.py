"""A tunnel each of whose pieces is paid for before it goes on to the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protogw.wire.http import ByteStream


class MeteredTunnel:
    """`spend` is asked for each piece that the client sends; the error that it raises breaks both directions off."""

    __slots__ = ("_inner", "_spend")

    def __init__(self, inner: ByteStream, spend: Callable[[bytes], Awaitable[None]]) -> None:
        self._inner = inner
        self._spend = spend

    async def read(self) -> bytes:
        return await self._inner.read()

    async def write(self, data: bytes) -> None:
        await self._spend(data)
        await self._inner.write(data)

    def end(self) -> None:
        self._inner.end()

    def abort(self) -> None:
        self._inner.abort()
