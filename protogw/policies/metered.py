"""A tunnel each of whose pieces is paid for before it goes on to the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from protogw.policies.tunnels import PassingTunnel

if TYPE_CHECKING:
    from protogw.wire.http import ByteStream


class MeteredTunnel(PassingTunnel):
    """`spend` is asked for each piece that the client sends; the error that it raises breaks both directions off."""

    __slots__ = ("_spend",)

    def __init__(self, inner: ByteStream, spend: Callable[[bytes], Awaitable[None]]) -> None:
        super().__init__(inner)
        self._spend = spend

    async def write(self, data: bytes) -> None:
        await self._spend(data)
        await super().write(data)
