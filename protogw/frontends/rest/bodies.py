"""Request bodies → payloads: JSON, protobuf and raw bytes, whole and as streams of messages."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from protogw.aside import decompressed
from protogw.call import MESSAGES_A_TURN, Encoding, Payload
from protogw.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from protogw.frontends.rest.bindings import Binding, Body
from protogw.wire import ndjson
from protogw.wire.content import Decoder, decoder, media_type
from protogw.wire.http_body import http_body
from protogw.wire.json_stream import JsonReader
from protogw.wire.protowire import delimited

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

PIECE = 64 << 10
"""How much of a compressed stream is decoded at once."""


class Content(Enum):
    """What a Content-Type says of a body's form."""

    JSON = "json"
    NDJSON = "ndjson"
    PROTO = "protobuf"
    OTHER = "other"


@functools.lru_cache(maxsize=256)
def content_of(content_type: bytes) -> Content:
    """The form of a body; one without a Content-Type is taken as JSON. Raises UnsupportedMedia for a charset."""
    if not content_type:
        return Content.JSON
    name, charset = media_type(content_type)
    if name in ndjson.MEDIA_TYPES:
        found = Content.NDJSON
    elif name == b"application/json" or (name.startswith(b"application/") and name.endswith(b"+json")):
        found = Content.JSON
    elif name in (b"application/x-protobuf", b"application/protobuf"):
        return Content.PROTO
    else:
        return Content.OTHER
    if charset not in (b"", b"utf-8", b"utf8", b"us-ascii"):
        raise UnsupportedMedia(f"content-type: JSON in {charset.decode('latin-1')} is not offered, only UTF-8")
    return found


def unsupported(content_type: bytes, *offered: str) -> UnsupportedMedia:
    shown = content_type[:100].decode("latin-1")
    return UnsupportedMedia(f"content-type: {shown} is not offered here, only {' and '.join(offered)}")


async def whole(exchange: Exchange, data: bytes | None, content_encoding: bytes, limit: int) -> bytes:
    """The whole body, decoded; `data` is it if it was all buffered.

    Raises BodyTooLarge over `limit` bytes before or after decoding.
    """
    if data is None:
        data = await exchange.whole(limit)
    elif len(data) > limit:
        raise BodyTooLarge(f"the body is over {limit} bytes")
    return await decompressed(data, content_encoding, limit) if content_encoding else data


async def refuse(exchange: Exchange, data: bytes | None) -> None:
    """Raises InvalidRequest if there is a body at all; `data` is what is buffered of it."""
    if data is None:
        data = await exchange.read()
    if data:
        raise InvalidRequest("body: this method takes none here; give its fields in the path and the query")


def payload(binding: Binding, data: bytes, content_type: bytes, bound: bytes, derive_mask: bool = False) -> Payload:
    """One message from one body. `bound` are the fields that path and query give: they come last, so they win."""
    codec = binding.input.codec
    if binding.http_body:
        return Payload(_in_body_field(binding, http_body(content_type, data)) + bound, Encoding.PROTO, codec)
    content = content_of(content_type)
    if content is Content.JSON:
        if binding.body is Body.FIELD:
            return Payload(_field_from_json(binding, data, derive_mask) + bound, Encoding.PROTO, codec)
        if bound:
            return Payload((codec.from_json(data) if data else b"") + bound, Encoding.PROTO, codec)
        return Payload(data, Encoding.JSON, codec) if data else Payload(b"", Encoding.PROTO, codec)
    if not data:
        return Payload(bound, Encoding.PROTO, codec)
    if content is Content.PROTO and binding.takes_protobuf:
        return Payload(_in_body_field(binding, data) + bound, Encoding.PROTO, codec)
    offered = ["application/json", "application/protobuf"] if binding.takes_protobuf else ["application/json"]
    raise unsupported(content_type, *offered)


def _in_body_field(binding: Binding, message: bytes) -> bytes:
    return delimited(binding.body_field.number, message) if binding.body_field is not None else message


def _field_from_json(binding: Binding, data: bytes, derive_mask: bool) -> bytes:
    field = binding.body_field
    assert field is not None
    if not data:
        return b""
    message = binding.input.codec.field_from_json(field.name, data)
    if derive_mask and binding.mask_field is not None:
        paths = binding.schema.types[field.type_name].codec.present_paths(data)
        mask = b"".join(delimited(1, path.encode()) for path in paths)
        message += delimited(binding.mask_field.number, mask)
    return message


class _Reader(Protocol):
    def feed(self, data: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class RequestStream:
    """The messages of a request body, read as they are asked for: reading is what lets the client send more."""

    def __init__(self, exchange: Exchange, reader: _Reader, coding: Decoder | None, make: Callable[[bytes], Payload]):
        self._exchange = exchange
        self._reader = reader
        self._coding = coding
        self._make = make
        self._ready: deque[bytes] = deque()
        self._ended = False
        self._turn = MESSAGES_A_TURN
        self.waiting = False

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> Payload:
        ready = self._ready
        self._turn -= 1
        if not self._turn:
            self._turn = MESSAGES_A_TURN
            await asyncio.sleep(0)
        while not ready:
            if self._coding is not None and self._coding.pending:
                ready.extend(self._reader.feed(self._coding.decode(b"", PIECE)))
                await asyncio.sleep(0)
                continue
            if self._ended:
                raise StopAsyncIteration
            self.waiting = True
            data = await self._exchange.read()
            self.waiting = False
            if data:
                if self._coding is not None:
                    data = self._coding.decode(data, PIECE)
                ready.extend(self._reader.feed(data))
            else:
                self._ended = True
                if self._coding is not None:
                    self._coding.end()
                ready.extend(self._reader.end())
        return self._make(ready.popleft())


class OneMessage:
    """A stream of the one message that path and query make."""

    def __init__(self, payload: Payload) -> None:
        self._payload: Payload | None = payload

    def __aiter__(self) -> OneMessage:
        return self

    async def __anext__(self) -> Payload:
        payload, self._payload = self._payload, None
        if payload is None:
            raise StopAsyncIteration
        return payload


class _Pieces:
    """A raw body, whose pieces are its messages as they come."""

    def feed(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def end(self) -> list[bytes]:
        return []


def stream(exchange: Exchange, binding: Binding, content_encoding: bytes, bound: bytes, limit: int) -> RequestStream:
    """The messages of a body: an array or a sequence of JSON values, lines, or raw pieces for google.api.HttpBody.

    Every message carries the fields that path and query give; `limit` bounds one message.
    """
    content_type = exchange.head.content_type
    coding = decoder(content_encoding) if content_encoding else None
    if binding.http_body:
        return RequestStream(exchange, _Pieces(), coding, _HttpBodies(binding, content_type, bound))
    content = content_of(content_type)
    if content not in (Content.JSON, Content.NDJSON):
        raise unsupported(content_type, "application/json", "application/x-ndjson")
    reader = JsonReader(limit) if content is Content.JSON else ndjson.NdjsonReader(limit)
    return RequestStream(exchange, reader, coding, lambda data: payload(binding, data, b"", bound))


class _HttpBodies:
    """Raw pieces → google.api.HttpBody messages, the first of which names the content type."""

    def __init__(self, binding: Binding, content_type: bytes, bound: bytes) -> None:
        self._binding = binding
        self._content_type = content_type
        self._bound = bound

    def __call__(self, data: bytes) -> Payload:
        message = http_body(self._content_type, data)
        self._content_type = b""
        binding = self._binding
        return Payload(_in_body_field(binding, message) + self._bound, Encoding.PROTO, binding.input.codec)
