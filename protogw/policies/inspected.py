"""Streams whose messages are looked at, or changed, one by one as they pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from protogw.call import Encoding, PassingPayloads, Payload


def settled(payload: Payload) -> Payload:
    """The message as whoever reads its fields reads it, for everyone after: JSON has more than one reading (names that
    differ in case, members that no field has), and a service must not be given another than what was decided on.

    Raises InvalidRequest when it does not fit its type.
    """
    if payload.encoding is not Encoding.JSON or payload.codec is None:
        return payload
    return Payload(payload.proto(), Encoding.PROTO, payload.codec)


class Inspected(PassingPayloads):
    """The same stream, each message as `inspect` returns it; what that raises ends the stream."""

    __slots__ = ("_inspect",)

    def __init__(self, payloads: AsyncIterator[Payload], inspect: Callable[[Payload], Payload]) -> None:
        super().__init__(payloads)
        self._inspect = inspect

    async def __anext__(self) -> Payload:
        return self._inspect(await self._payloads.__anext__())
