"""Calls as gRPC over HTTP/2: all four shapes, protobuf only. Payloads that are protobuf already pass untouched.

Sources: grpc/doc PROTOCOL-HTTP2.md, statuscodes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, ClassVar

from protogw.call import (
    GZIP_REPLY,
    GZIP_REQUEST,
    MESSAGES_A_TURN,
    NO_METADATA,
    Call,
    Encoding,
    GzipPayload,
    Metadata,
    Payload,
    PayloadStream,
    Reply,
)
from protogw.errors import OK, BadUpstream, Code, DeadlineExceeded, GatewayError
from protogw.wire.envelope import COMPRESSED, PREFIX, EnvelopeReader, envelope, only_message
from protogw.wire.forwarded import forwarded
from protogw.wire.grpc import encode_timeout
from protogw.wire.hpack import encode
from protogw_translators.grpc_reply import ReplyHead, only_reply, refuses_gzip, reply_head, reply_message
from protogw_translators.request_pump import RequestPump

if TYPE_CHECKING:
    from protogw.descriptors.model import Codec, Method
    from protogw.translator import HttpConnection, HttpStream
    from protogw.wire.http import Header, Peer

_TIMEOUTS_KEPT = 1024
_ORIGINS_KEPT = 1024

_GZIP_ENCODING = encode([(b"grpc-encoding", b"gzip")])
_GZIP_ACCEPTED = encode([(b"grpc-accept-encoding", b"identity,gzip")])

_NAME_BYTES = b"0123456789abcdefghijklmnopqrstuvwxyz_-.\n"
"""What names are made of, and what joins them here."""


class _Plan:
    """What every call of one method shares: the constant part of its head."""

    __slots__ = ("method", "prefix")

    def __init__(self, method: Method, prefix: bytes) -> None:
        self.method = method
        self.prefix = prefix


def _carried(metadata: Metadata) -> tuple[Header, ...]:
    """The fields that gRPC can carry: names of 0-9 a-z _ - . and, in -bin ones, base64 (a service ends the whole call
    for anything else). Raises InvalidRequest for a -bin value that is none."""
    pairs = metadata.pairs
    names = b"\n".join([name for name, _ in pairs])
    if names.translate(None, _NAME_BYTES):
        pairs = tuple([pair for pair in pairs if not pair[0].translate(None, _NAME_BYTES)])
    if b"-bin" in names:
        for name, value in pairs:
            if name.endswith(b"-bin"):
                Metadata(((name, value),)).binary(name)
    return pairs


def _framed(payload: Payload, gzip: bool) -> bytes:
    """A request message in its envelope; gzipped if it came so and may travel on so."""
    if gzip and isinstance(payload, GzipPayload) and payload.encoding is Encoding.PROTO:
        return envelope(payload.gzipped, COMPRESSED)
    return envelope(payload.proto())


class ToGrpc:
    """The translator to gRPC services behind one authority."""

    kind: ClassVar[str] = "grpc"
    default_schema: ClassVar[str] = "reflection"
    transport: ClassVar[str] = "http/2"

    def __init__(
        self, authority: str, *, message_limit: int = 64 << 20, user_agent: str = "protogw", scheme: str = "http"
    ) -> None:
        self._authority = authority.encode()
        self._scheme = scheme.encode()
        self._limit = message_limit
        self._user_agent = encode([(b"user-agent", user_agent.encode())])
        self._plans: dict[bytes, _Plan] = {}
        self._timeouts: dict[int, bytes] = {}
        self._origins: dict[tuple[str, bool, tuple[Header, ...], bytes], bytes] = {}
        self._gzip = GZIP_REQUEST | GZIP_REPLY
        """What the service may be sent of Call.gzip: one that once refused a gzipped message gets none again."""

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        method = call.method
        assert method is not None
        if method.client_streaming or method.server_streaming:
            return await self._stream(call, method, connection)
        payload = call.payload
        assert payload is not None
        gzip = call.gzip & self._gzip
        if gzip & GZIP_REQUEST:
            frame = _framed(payload, True)
        else:
            frame = envelope(payload.data if payload.encoding is Encoding.PROTO else payload.proto())
        stream = connection.open(self._head(call, method, gzip), frame)
        try:
            answer = await stream.whole(self._limit + PREFIX)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        memo = answer.head.memo
        head = memo if memo.__class__ is ReplyHead else reply_head(answer.head)
        assert isinstance(head, ReplyHead)
        reply = self._whole_reply(method, head, answer.body, answer.trailers, gzip)
        if reply.payload is None and reply.status is OK:
            reply.payload = await only_reply(head, answer.body, self._limit, method.output.codec, reply.gzip)
        if gzip & GZIP_REQUEST and refuses_gzip(head, reply.status):
            # Refused unread. From now on this service is sent plain messages, this one first.
            self._gzip = GZIP_REPLY
            return await self.send(call, connection)
        return reply

    def _whole_reply(
        self, method: Method, head: ReplyHead, body: bytes, trailers: tuple[Header, ...], gzip: int
    ) -> Reply:
        """The reply of a call that has one message in it; without its payload yet where that takes more to read."""
        end = head.end if trailers is head.trailers else head.end_of(trailers, not body)
        status = end.status
        if status is not OK and status.code is not Code.OK:
            # Trailers-Only has no initial metadata: its head holds the trailers.
            return Reply(head.metadata if trailers else NO_METADATA, status=status, trailers=end.trailers)
        if head.fault is not None:
            head.check()
        data = only_message(body)
        if data is not None:
            payload = Payload(data, Encoding.PROTO, method.output.codec)
            return Reply(head.metadata, payload=payload, status=OK, trailers=end.trailers)
        passes = gzip & GZIP_REPLY != 0 and head.coding == b"gzip"
        return Reply(head.metadata, status=OK, trailers=end.trailers, gzip=passes)

    # --- heads --------------------------------------------------------------------------------------------------------

    def _head(self, call: Call, method: Method, gzip: int) -> bytes:
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            plan = self._plan(method)
        # Kept with the metadata, and so no longer than it is: what no call shares is gone with its call.
        made = call.metadata.made
        if made is None or made[0] is not self or made[1] != gzip:
            made = call.metadata.made = (self, gzip, self._fields(call.metadata, gzip))
        peer = call.peer
        asked = call.head
        key = (peer.host, peer.tls, peer.forwarded, asked.authority if asked is not None else b"")
        origin = self._origins.get(key)
        head = plan.prefix + made[2] + (self._origin(peer, key) if origin is None else origin)
        deadline = call.deadline
        if deadline is None:
            return head
        left = int((deadline - asyncio.get_running_loop().time()) * 1000.0)
        timeout = self._timeouts.get(left)
        return head + (self._timeout(left, deadline) if timeout is None else timeout)

    def _plan(self, method: Method) -> _Plan:
        # Keyed by path and not by method: a schema that is read again replaces what it had, and leaves nothing behind.
        prefix = encode(
            [
                (b":method", b"POST"),
                (b":scheme", self._scheme),
                (b":path", method.path),
                (b":authority", self._authority),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc+proto"),
            ]
        )
        plan = self._plans[method.path] = _Plan(method, prefix)
        return plan

    def _fields(self, metadata: Metadata, gzip: int) -> bytes:
        """What the metadata adds to the head."""
        block = encode(_carried(metadata))
        if metadata.get(b"user-agent") is None:
            block += self._user_agent
        if gzip & GZIP_REQUEST:
            block += _GZIP_ENCODING
        if gzip & GZIP_REPLY:
            block += _GZIP_ACCEPTED
        return block

    def _origin(self, peer: Peer, key: tuple[str, bool, tuple[Header, ...], bytes]) -> bytes:
        """Who asked, encoded. Apart from the rest of the head, which clients with equal fields share."""
        if len(self._origins) >= _ORIGINS_KEPT:
            self._origins.clear()
        block = self._origins[key] = encode(forwarded(peer, key[3]))
        return block

    def _timeout(self, milliseconds: int, deadline: float) -> bytes:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeadlineExceeded()
        if milliseconds < 1:
            return encode([(b"grpc-timeout", encode_timeout(left))])
        if len(self._timeouts) >= _TIMEOUTS_KEPT:
            self._timeouts.clear()
        block = self._timeouts[milliseconds] = encode([(b"grpc-timeout", encode_timeout(milliseconds / 1e3))])
        return block

    # --- streams ------------------------------------------------------------------------------------------------------

    async def _stream(self, call: Call, method: Method, connection: HttpConnection) -> Reply:
        """Any shape but unary. The reply to a client stream is one message, and so is read whole."""
        gzip = call.gzip & self._gzip
        block = self._head(call, method, gzip)
        pump: RequestPump | None = None
        if method.client_streaming:
            assert call.payloads is not None
            stream = connection.open(block, None)
            pump = RequestPump(stream, _Frames(call.payloads, gzip & GZIP_REQUEST != 0))
        else:
            assert call.payload is not None
            stream = connection.open(block, _framed(call.payload, gzip & GZIP_REQUEST != 0))
        try:
            if method.server_streaming:
                return await self._open_reply(method, stream, pump, gzip)
            answer = await stream.whole(self._limit + PREFIX)
            head = reply_head(answer.head)
            reply = self._whole_reply(method, head, answer.body, answer.trailers, gzip)
            if reply.payload is None and reply.status is OK:
                reply.payload = await only_reply(head, answer.body, self._limit, method.output.codec, reply.gzip)
            if gzip & GZIP_REQUEST and refuses_gzip(head, reply.status):
                self._gzip = GZIP_REPLY
            if pump is not None:
                await pump.stop()
            return reply
        except (GatewayError, asyncio.CancelledError) as error:
            stream.cancel()
            if pump is not None:
                await pump.stop()
                if isinstance(error, GatewayError) and (cause := pump.blame(error)) is not error:
                    raise cause from error
            raise

    async def _open_reply(self, method: Method, stream: HttpStream, pump: RequestPump | None, gzip: int) -> Reply:
        """The reply as soon as its head is there; with its status already when it is Trailers-Only."""
        head = reply_head(await stream.head())
        first: bytes | None = None
        if head.has_status:
            # Trailers-Only if nothing follows; a grpc-status before a body means nothing.
            first = await stream.read()
            if not first and not stream.trailers:
                end = head.end_of((), True)
                if gzip & GZIP_REQUEST and refuses_gzip(head, end.status):
                    self._gzip = GZIP_REPLY
                if pump is not None:
                    await pump.stop()
                return Reply(status=end.status, trailers=end.trailers)
        head.check()
        passes = gzip & GZIP_REPLY != 0 and head.coding == b"gzip"
        reply = Reply(head.metadata, gzip=passes)
        reply.payloads = _ReplyMessages(stream, head, reply, method.output.codec, self._limit, pump, first)
        return reply


class _ReplyMessages(PayloadStream):
    """The messages of a streamed reply, each read when it is asked for; at their end status and trailers are set."""

    __slots__ = (
        "_bare",
        "_codec",
        "_ended",
        "_first",
        "_head",
        "_limit",
        "_pump",
        "_reader",
        "_reply",
        "_stream",
        "_turn",
    )

    def __init__(
        self,
        stream: HttpStream,
        head: ReplyHead,
        reply: Reply,
        codec: Codec,
        limit: int,
        pump: RequestPump | None,
        first: bytes | None,
    ) -> None:
        self._stream = stream
        self._head = head
        self._reply = reply
        self._codec = codec
        self._limit = limit
        self._pump = pump
        self._first = first
        self._reader = EnvelopeReader(limit, BadUpstream)
        self._bare = True
        self._ended = False
        self._turn = MESSAGES_A_TURN

    async def __anext__(self) -> Payload:
        reader = self._reader
        try:
            self._turn -= 1
            if not self._turn:
                self._turn = MESSAGES_A_TURN
                await asyncio.sleep(0)
            while (found := reader.next()) is None:
                if self._ended:
                    raise StopAsyncIteration
                data = self._first
                if data is None:
                    data = await self._stream.read()
                self._first = None
                if not data:
                    await self._end()
                    raise StopAsyncIteration
                self._bare = False
                reader.push(data)
            flags, data = found
            if not flags:
                return Payload(data, Encoding.PROTO, self._codec)
            return await reply_message(self._head, flags, data, self._limit, self._codec, self._reply.gzip)
        except GatewayError as error:
            await self.aclose()
            if self._pump is not None and (cause := self._pump.blame(error)) is not error:
                raise cause from error
            raise

    async def _end(self) -> None:
        end = self._head.end_of(self._stream.trailers, self._bare)
        if end.status.code is Code.OK:
            self._reader.end()
        self._reply.status, self._reply.trailers = end
        self._ended = True
        if self._pump is not None:
            await self._pump.stop()

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._reader = EnvelopeReader(self._limit, BadUpstream)
            self._stream.cancel()
            if self._pump is not None:
                await self._pump.stop()


class _Frames(AsyncIterator[bytes]):
    """A request's messages as they go upstream."""

    __slots__ = ("_gzip", "_payloads")

    def __init__(self, payloads: AsyncIterator[Payload], gzip: bool) -> None:
        self._payloads = payloads
        self._gzip = gzip

    async def __anext__(self) -> bytes:
        return _framed(await self._payloads.__anext__(), self._gzip)
