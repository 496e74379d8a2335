"""Request and reply messages in envelopes, as the gRPC, gRPC-Web and Connect front ends have them in common.

Knows the framing and the compression of single messages; nothing of heads, statuses or trailers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Protocol

from protogw.aside import compressed, opened
from protogw.call import MESSAGES_A_TURN, Encoding, GzipPayload, Payload
from protogw.errors import BadUpstream, Code, InvalidRequest, Malformed, NotOffered
from protogw.wire.envelope import COMPRESSED, EnvelopeReader, envelope
from protogw.wire.message_encoding import WORTHWHILE

if TYPE_CHECKING:
    from protogw.descriptors.model import Codec, Method
    from protogw.frontends.base import Exchange


class BodyDecoder(Protocol):
    """Undoes what lies around a whole body (gRPC-Web's base64)."""

    def feed(self, text: bytes) -> bytes: ...

    def end(self) -> None: ...


class RequestMessages:
    """The messages of a request, each read from the client when it is asked for.

    An iterator of its own and not a generator: it may be left at any point and has nothing to close.
    """

    __slots__ = ("_codec", "_coding", "_decoder", "_encoding", "_exchange", "_limit", "_reader", "_turn", "waiting")

    def __init__(
        self,
        exchange: Exchange,
        limit: int,
        coding: bytes,
        encoding: Encoding,
        codec: Codec,
        decoder: BodyDecoder | None = None,
    ) -> None:
        self._exchange = exchange
        self._limit = limit
        self._coding = coding
        self._encoding = encoding
        self._codec = codec
        self._decoder = decoder
        self._reader = EnvelopeReader(limit, Malformed)
        self._turn = MESSAGES_A_TURN
        self.waiting = False

    def push(self, data: bytes) -> None:
        """Take a piece of the body that was read already."""
        self._reader.push(data if self._decoder is None else self._decoder.feed(data))

    def __aiter__(self) -> RequestMessages:
        return self

    async def __anext__(self) -> Payload:
        reader = self._reader
        self._turn -= 1
        if not self._turn:
            self._turn = MESSAGES_A_TURN
            await asyncio.sleep(0)
        while (found := reader.next()) is None:
            self.waiting = True
            data = await self._exchange.read()
            self.waiting = False
            if not data:
                reader.end()
                if self._decoder is not None:
                    self._decoder.end()
                raise StopAsyncIteration
            self.push(data)
        flags, data = found
        if not flags:
            return Payload(data, self._encoding, self._codec)
        message = await opened(flags, data, self._coding, self._limit, Malformed)
        if data and self._coding == b"gzip":
            return GzipPayload(message, self._encoding, self._codec, data)
        return Payload(message, self._encoding, self._codec)

    async def only(self) -> Payload:
        """The one message of a call that has exactly one (statuscodes.md: any other number is UNIMPLEMENTED)."""
        first: Payload | None = None
        async for payload in self:
            if first is not None:
                raise NotOffered("the method takes one request message, and more were sent")
            first = payload
        if first is None:
            raise NotOffered("the method takes one request message, and none was sent")
        return first


def codec_of(method: Method, encoding: Encoding) -> Codec:
    """The codec of a request's messages: these protocols' JSON is ProtoJSON, whatever the service's own is."""
    codec = method.input.codec
    return codec if encoding is Encoding.PROTO else codec.canonical


def written(payload: Payload, encoding: Encoding) -> bytes:
    """A reply's message in the client's encoding, which in JSON is ProtoJSON; raises BadUpstream when the upstream's
    bytes are no such message."""
    codec = payload.codec
    if payload.encoding is encoding and (encoding is Encoding.PROTO or codec is None or codec.canonical is codec):
        return payload.data
    try:
        if encoding is Encoding.PROTO:
            return payload.proto()
        return payload.json() if codec is None else codec.canonical.to_json(payload.proto())
    except InvalidRequest as error:
        raise BadUpstream(f"the reply does not convert: {error.message}", code=Code.INTERNAL) from error


async def sealed(payload: Payload, encoding: Encoding, coding: bytes, passes: bool) -> bytes:
    """A reply's message in its envelope: gzipped as it came where that `passes`, else compressed in `coding` if any."""
    if passes and isinstance(payload, GzipPayload) and payload.encoding is encoding:
        return envelope(payload.gzipped, COMPRESSED)
    data = written(payload, encoding)
    if coding and len(data) >= WORTHWHILE:
        return envelope(await compressed(data, coding), COMPRESSED)
    return envelope(data)


async def close(payloads: AsyncIterator[Payload]) -> None:
    """Let go of a reply's stream at once, whatever is left of it."""
    if isinstance(payloads, AsyncGenerator):
        await payloads.aclose()
