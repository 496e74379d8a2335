"""Sizes: how large the messages of a route's calls may be, where that is less than the listener takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.errors import BodyTooLarge, GatewayError
from protogw.policies.base import Handler, PolicySettings
from protogw.policies.repeating import discard
from protogw.values import Bytes

Size = Annotated[Bytes, Field(ge=0, le=1 << 40)]


class SizeSettings(PolicySettings):
    """The largest request and reply. Bytes are counted as they travel inside the gateway: decompressed."""

    request: Size | None = None
    """One message of a request, and the whole body of plain HTTP."""
    reply: Size | None = None
    """One message of a reply, and the whole body of plain HTTP."""
    request_stream: Size | None = None
    """All messages of a request that streams, together."""
    reply_stream: Size | None = None
    """All messages of a reply that streams, together."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(bound is None for bound in (self.request, self.reply, self.request_stream, self.reply_stream)):
            raise PydanticCustomError("size", "{reason}", {"reason": "limits nothing: write request or reply"})
        return self


class SizeLimit:
    """Refuses requests and replies that are larger than they should be."""

    kind: ClassVar[str] = "size"
    Settings: ClassVar[type[PolicySettings]] = SizeSettings

    def __init__(self, settings: SizeSettings) -> None:
        self._request = settings.request
        self._reply = settings.reply
        self._request_stream = settings.request_stream
        self._reply_stream = settings.reply_stream

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        opaque = call.method is None
        most, total = self._request, self._request_stream
        if most is not None or total is not None:
            if call.payload is not None:
                if most is not None and len(call.payload.data) > most:
                    raise _large_request(most)
            elif call.payloads is not None:
                if opaque:
                    most, total = None, _least(most, total)
                    self._check_declared(call, total)
                call.payloads = _Measured(call.payloads, most, total, _large_request)
        reply = await forward(call)
        most, total = self._reply, self._reply_stream
        if most is None and total is None:
            return reply
        if reply.payload is not None:
            if most is not None and len(reply.payload.data) > most:
                raise _large_reply(most)
        elif reply.payloads is not None:
            if reply.head is not None:
                most, total = None, _least(most, total)
                declared = _number(reply.head.get(b"content-length"))
                if total is not None and declared > total:
                    await discard(reply)
                    raise _large_reply(total)
            reply.payloads = _Measured(reply.payloads, most, total, _large_reply)
        return reply

    @staticmethod
    def _check_declared(call: Call, total: int | None) -> None:
        """A body that says beforehand that it is too large is not begun."""
        declared = _number(call.head.get(b"content-length")) if call.head is not None else 0
        if total is not None and declared > total:
            raise _large_request(total)


def _least(one: int | None, other: int | None) -> int | None:
    return min((bound for bound in (one, other) if bound is not None), default=None)


def _number(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 20 else 0


def _large_request(limit: int) -> GatewayError:
    return BodyTooLarge(f"the request is over the limit of {limit} bytes")


def _large_reply(limit: int) -> GatewayError:
    return BodyTooLarge(f"the reply is over the limit of {limit} bytes", http_status=502)


class _Measured(PassingPayloads):
    """A stream's messages; the one that is too large, or too much, ends the call."""

    __slots__ = ("_left", "_most", "_refusal", "_total")

    def __init__(
        self,
        payloads: AsyncIterator[Payload],
        most: int | None,
        total: int | None,
        refusal: Callable[[int], GatewayError],
    ) -> None:
        super().__init__(payloads)
        self._most = most
        self._total = total
        self._left = total
        self._refusal = refusal

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        size = len(payload.data)
        if self._most is not None and size > self._most:
            await self.aclose()
            raise self._refusal(self._most)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                assert self._total is not None
                await self.aclose()
                raise self._refusal(self._total)
        return payload
