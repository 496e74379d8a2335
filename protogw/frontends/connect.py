"""The Connect front end: unary calls as plain HTTP bodies, the other shapes as enveloped streams.

Source: connectrpc.com/docs/protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from protogw.aside import compressed, decompressed
from protogw.call import Call, GzipPayload, Payload, Reply, Unchanged
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.errors import OK, BodyTooLarge, Code, GatewayError, InvalidRequest
from protogw.frontends.base import Bounds, FrontEndSettings, late
from protogw.frontends.connect_head import STREAM, Compression, ConnectTarget, read_head
from protogw.frontends.enveloped import RequestMessages, close, codec_of, sealed, written
from protogw.frontends.target import Aim, Opened, Target, Targets
from protogw.wire.connect import END_OK, Describe, decode_timeout, end_stream, error_body, prefixed
from protogw.wire.envelope import envelope
from protogw.wire.http import Header, RequestHead
from protogw.wire.http_status import http_status
from protogw.wire.message_encoding import WORTHWHILE

if TYPE_CHECKING:
    from protogw.descriptors.model import Codec
    from protogw.frontends.base import Exchange, Handler

_JSON: tuple[Header, ...] = ((b"content-type", b"application/json"),)
_EXACT = frozenset((404, 405, 415, 505))
"""HTTP statuses of refusals that any HTTP client understands; other errors are answered with their code's."""


class ConnectSettings(FrontEndSettings):
    """`compression`: when replies are compressed, if the client accepts it: as its request was, always, or never.

    `plain_json`: also take a POST of application/json to a method's own path that does not say that it is Connect;
    without it such a request is REST's, which offers the same path.
    """

    compression: Compression = "mirror"
    plain_json: bool = False


class Connect:
    """Connect over any HTTP; bidirectional streams over HTTP/2 only."""

    kind: ClassVar[str] = "connect"
    gaps: ClassVar[Mapping[str, str]] = {"bidi": "the stream, for clients on HTTP/1.1: they get 505"}
    Settings: ClassVar[type[FrontEndSettings]] = ConnectSettings

    def __init__(self, settings: ConnectSettings, bounds: Bounds) -> None:
        self._compression: Compression = settings.compression
        self._plain_json = settings.plain_json
        self._plain: frozenset[bytes] = frozenset()
        """The paths at which plain JSON is Connect's."""
        self._limit = bounds.body
        self._catalog = EMPTY
        self._targets = Targets[ConnectTarget](b"connect-timeout-ms")

    def offer(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._targets.clear()
        if self._plain_json:
            self._plain = frozenset(method.path for method in catalog.methods.values())

    def accepts(self, head: RequestHead) -> bool:
        content_type = head.content_type
        if not content_type:
            # A GET is Connect's when it says so in its query, or in a field.
            if b"connect=v1" in head.query and head.method == b"GET":
                return b"connect=v1" in head.query.split(b"&")
            return head.get(b"connect-protocol-version") is not None
        memo = head.memo
        if memo is not None:
            return memo.__class__ is Aim
        content_type = content_type[:32].lower()
        if not content_type.startswith(b"application/"):
            return False
        if content_type.startswith((STREAM, b"application/proto")):
            return content_type.startswith(STREAM) or content_type.partition(b";")[0].strip() == b"application/proto"
        if content_type.startswith(b"application/grpc"):
            return False
        if head.path in self._plain and head.method == b"POST" and content_type.startswith(b"application/json"):
            return True
        return head.get(b"connect-protocol-version") is not None

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        started = asyncio.get_running_loop().time()
        head = exchange.head
        aim = head.memo
        if aim.__class__ is not Aim or aim.target.catalog is not self._catalog or aim.target.front is not self:
            aim = head.memo = self._aim(head)
        target: ConnectTarget = aim.target
        exchange.state = target
        method = target.method
        payload: Payload | None = None
        payloads: AsyncIterator[Payload] | None = None
        if target.streaming:
            codec = codec_of(method, target.encoding)
            messages = RequestMessages(exchange, self._limit, target.coding, target.encoding, codec)
            if method.client_streaming:
                payloads = messages
            elif exchange.held_back:
                handle = late(handle, messages.only)
            else:
                payload = await messages.only()
        else:
            payload = await self._message(exchange, target)
            if payload is None:
                handle = late(handle, partial(self._asked, exchange, target))
        call = exchange.call = Call(
            method,
            target.metadata,
            front_end=self.kind,
            peer=exchange.peer,
            started=started,
            head=head,
            payload=payload,
            payloads=payloads,
            timeout=aim.timeout,
            gzip=target.gzip,
        )
        reply = await handle(call)
        if not target.streaming:
            await self._answer(exchange, target, reply)
        elif reply.payloads is None:
            frame = b""
            if reply.payload is not None and reply.status.code is Code.OK:
                frame = await sealed(reply.payload, target.encoding, target.reply_coding, target.passes(reply))
            exchange.respond(200, self._stream_head(target, reply), frame + self._end(target, reply))
        else:
            await self._stream(exchange, target, reply, reply.payloads)

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        state = exchange.state
        status = error.status
        if isinstance(state, Opened):
            exchange.state = None
            exchange.finish(end_stream(status, (), self._describe(state.target)))
        elif exchange.started:
            return
        elif isinstance(state, ConnectTarget) and state.streaming:
            exchange.respond(200, state.fields + error.headers, end_stream(status, (), self._describe(state)))
        elif error.http_status is None and exchange.head.content_type.startswith(STREAM):
            head = ((b"content-type", exchange.head.content_type), *error.headers)
            exchange.respond(200, head, end_stream(status, ()))
        else:
            exact = error.http_status if error.http_status in _EXACT else http_status(status.code)
            describe = self._describe(state) if isinstance(state, ConnectTarget) else None
            exchange.respond(exact, _JSON + error.headers, error_body(status, describe))

    def _aim(self, head: RequestHead) -> Aim[ConnectTarget]:
        """What the head says; raises what the request is refused for."""
        key, timeout = self._targets.key(head)
        aim = self._targets.get(key) if head.method == b"POST" else None
        if aim is None:
            aim = Aim(read_head(head, self._catalog, self, self._limit, self._compression), None)
            # A GET has its message in its head: such targets are not worth keeping.
            if aim.target.message is None:
                self._targets.keep(key, head, aim)
        if timeout is None:
            return aim
        try:
            return Aim(aim.target, decode_timeout(timeout))
        except ValueError as error:
            raise InvalidRequest(str(error)) from error

    async def _message(self, exchange: Exchange, target: ConnectTarget) -> Payload | None:
        """The one message of a unary request; None while the client holds it back."""
        codec = codec_of(target.method, target.encoding)
        if target.message is not None:
            # A GET has no body; one that came all the same means nothing (RFC 9110 section 9.3.1).
            return Payload(target.message, target.encoding, codec)
        body = exchange.buffered()
        if body is None:
            if exchange.held_back:
                return None
            body = await exchange.whole(self._limit)
        elif len(body) > self._limit:
            raise BodyTooLarge(f"a message of {len(body)} bytes is over the limit of {self._limit}")
        if not target.coding or not body:
            return Payload(body, target.encoding, codec)
        return await self._decoded(target, codec, body)

    async def _asked(self, exchange: Exchange, target: ConnectTarget) -> Payload:
        """The message that the client held back, once it is wanted."""
        return await self._decoded(target, codec_of(target.method, target.encoding), await exchange.whole(self._limit))

    async def _decoded(self, target: ConnectTarget, codec: Codec, body: bytes) -> Payload:
        if not target.coding or not body:
            return Payload(body, target.encoding, codec)
        data = await decompressed(body, target.coding, self._limit)
        if target.coding == b"gzip":
            return GzipPayload(data, target.encoding, codec, body)
        return Payload(data, target.encoding, codec)

    async def _answer(self, exchange: Exchange, target: ConnectTarget, reply: Reply) -> None:
        """Send the whole reply to a unary call."""
        status = reply.status
        head: tuple[Header, ...]
        if status is not OK and status.code is not Code.OK:
            code = http_status(status.code)
            head = _JSON + reply.metadata.pairs
            body = error_body(status, self._describe(target))
        else:
            code = 200
            metadata = reply.metadata
            head = target.reply_head if metadata is target.reply_metadata else target.head_of(metadata)
            if reply.__class__ is Unchanged and target.message is not None:
                exchange.respond(304, head)
                return
            payload = reply.payload
            assert payload is not None
            body = written(payload, target.encoding)
            if reply.gzip and target.passes(reply) and isinstance(payload, GzipPayload):
                body = payload.gzipped
                head += ((b"content-encoding", b"gzip"),)
            elif target.reply_coding and len(body) >= WORTHWHILE:
                body = await compressed(body, target.reply_coding)
                head += ((b"content-encoding", target.reply_coding),)
        if reply.trailers.pairs:
            head += prefixed(reply.trailers.pairs)
        exchange.respond(code, head, body)

    async def _stream(
        self, exchange: Exchange, target: ConnectTarget, reply: Reply, payloads: AsyncIterator[Payload]
    ) -> None:
        encoding, coding = target.encoding, target.reply_coding
        passes = target.passes(reply)
        plain = not coding and not passes
        exchange.start(200, self._stream_head(target, reply))
        exchange.state = Opened(target)
        try:
            async for payload in payloads:
                if plain and payload.encoding is encoding:
                    frame = envelope(payload.data)
                else:
                    frame = await sealed(payload, encoding, coding, passes)
                await exchange.write(frame)
        finally:
            await close(payloads)
        exchange.state = None
        exchange.finish(self._end(target, reply))

    @staticmethod
    def _stream_head(target: ConnectTarget, reply: Reply) -> tuple[Header, ...]:
        head = target.head_of(reply.metadata)
        if target.passes(reply) and not target.reply_coding:
            return (*head, (b"connect-content-encoding", b"gzip"))
        return head

    def _end(self, target: Target, reply: Reply) -> bytes:
        if reply.status is OK and not reply.trailers.pairs:
            return END_OK
        return end_stream(reply.status, reply.trailers.pairs, self._describe(target))

    @staticmethod
    def _describe(target: Target) -> Describe:
        """How details are shown in JSON too, where the service's schema knows their type."""

        def describe(name: str, value: bytes) -> bytes | None:
            found = target.catalog.type_of(target.method, name)
            if found is None:
                return None
            try:
                return found.codec.to_json(value)
            except InvalidRequest:
                return None

        return describe
