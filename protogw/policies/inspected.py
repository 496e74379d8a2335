"""Streams whose messages are looked at, or changed, one by one as they pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from protogw.call import PassingPayloads, Payload


class Inspected(PassingPayloads):
    """The same stream, each message as `inspect` returns it; what that raises ends the stream."""

    __slots__ = ("_inspect",)

    def __init__(self, payloads: AsyncIterator[Payload], inspect: Callable[[Payload], Payload]) -> None:
        super().__init__(payloads)
        self._inspect = inspect

    async def __anext__(self) -> Payload:
        return self._inspect(await self._payloads.__anext__())
