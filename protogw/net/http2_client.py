"""The client's side of an HTTP/2 connection, as a pool keeps it (PooledConnection)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from protogw.errors import BadUpstream, GatewayError, Unprocessed, Unreachable, UpstreamReset
from protogw.net.http2_client_stream import ClientStream
from protogw.net.http2_connection import Http2Connection
from protogw.net.limits import Limits
from protogw.net.sockets import connect
from protogw.wire import http2
from protogw.wire.hpack import Decoder, FieldsTooLarge, MalformedFields
from protogw.wire.http import Header
from protogw.wire.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, ConnectionFault, ErrorCode, pack_head
from protogw.wire.http2_heads import Http2ResponseHead, response_head

if TYPE_CHECKING:
    from protogw.pools.base import PooledConnection

logger = logging.getLogger(__name__)

_HEAD_REQUEST = b"\x02\x04HEAD"  # how hpack.encode writes `:method: HEAD`, which opens a block
_INFORMED = 16  # 1xx heads that one reply may have
_LINGER_S = 1.0
_PING = b"protogw!"
_PING_TIMEOUT_S = 20.0
_PING_AGAIN_S = 305.0  # servers of the gRPC family allow a silent client one PING in five minutes


class Http2ClientConnection(Http2Connection[ClientStream]):
    """Carries requests to one endpoint. `endpoint` is its name in errors.

    `settled` is done when the peer's SETTINGS have come, which show that it speaks HTTP/2, and what room it has.
    `keepalive_s` is how long a peer with requests in flight may be silent before it is asked for a sign of life.
    """

    def __init__(self, limits: Limits, endpoint: str = "", *, keepalive_s: float = 30.0) -> None:
        super().__init__(limits)
        # Streams are different callers': one that reads slowly keeps its own window full, and must not keep the
        # connection's. So that has room for what every stream may hold, beside what is not yet credited.
        room = self.receive_window + limits.stream_window * limits.concurrent_streams
        self.receive_window = min(room, http2.LARGEST_WINDOW)
        self.endpoint = endpoint
        self.on_change: Callable[[PooledConnection], None] | None = None
        self.settled: asyncio.Future[None] | None = None
        self._decoder: Decoder[Http2ResponseHead | tuple[Header, ...]] = Decoder(
            response_head, header_bytes=limits.header_bytes, header_count=limits.header_count
        )
        self._blocks = self._decoder.blocks
        self._next = 1
        self._most_streams = limits.concurrent_streams
        self._was_full = False
        self._draining = False
        self._lost_reason = "the connection was lost"
        self._keepalive_s = keepalive_s
        self._heard = False
        self._asked = False
        self._pinged = 0.0
        self._opened_when_pinged = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> int:
        return len(self.streams)

    @property
    def room(self) -> int:
        if self.closed or self._draining:
            return 0
        return max(0, self._most_streams - len(self.streams))

    # --- the transport ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.settled = self.loop.create_future()
        # Without a table, a reply's block is the same bytes whenever its fields are, so that it is decoded once.
        settings = [
            (http2.HEADER_TABLE_SIZE, 0),
            (http2.ENABLE_PUSH, 0),
            (http2.MAX_HEADER_LIST_SIZE, self.limits.header_bytes),
        ]
        self.put(http2.PREFACE + self.open_windows(settings))
        self.flush()
        self._timer = self.loop.call_later(self._keepalive_s, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def on_settings_taken(self) -> None:
        self._decoder.confine(0)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if exc is not None and self._lost_reason == "the connection was lost":
            self._lost_reason = f"the connection was lost: {exc}"
        self._end_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_all(self) -> None:
        """The connection takes and brings nothing more."""
        self.closed = True
        for stream in list(self.streams.values()):
            self._fail(stream, UpstreamReset(self._lost_reason, where=self.endpoint))
        settled = self.settled
        if settled is not None and not settled.done():
            settled.set_exception(UpstreamReset(self._lost_reason, where=self.endpoint))
            settled.exception()  # nobody need be waiting for it
        if self.on_change is not None:
            self.on_change(self)
            self.on_change = None

    # --- requests -----------------------------------------------------------------------------------------------------

    def open(self, head: bytes, body: bytes | None) -> ClientStream:
        """Send a request; `head` is a block from hpack.encode, `:method` first. Raises Unprocessed without room."""
        streams = self.streams
        if self.closed or self._draining or len(streams) >= self._most_streams:
            raise Unprocessed("the connection takes no more requests", where=self.endpoint)
        id = self._next
        self._next = id + 2
        stream = streams[id] = ClientStream(self, id)
        self.opened += 1
        if head.startswith(_HEAD_REQUEST):
            stream.headless = True
        if id + 2 > http2.LARGEST_STREAM:
            self._draining = True
        headers = len(head)
        if body is None or self.table_update or headers > self.frame_limit:
            self.put(self.headers(id, 0 if body is None or body else END_STREAM, head))
            if body:
                stream.send(body, b"")
            elif body is not None:
                stream.local_closed = True
            return stream
        if not body:
            stream.local_closed = True
            self.put(pack_head(headers >> 8, headers & 0xFF, HEADERS, END_HEADERS | END_STREAM, id) + head)
            return stream
        start = pack_head(headers >> 8, headers & 0xFF, HEADERS, END_HEADERS, id)
        size = len(body)
        if size <= stream.send_window and size <= self.send_window and size <= self.frame_limit and not self.paused:
            stream.send_window -= size
            self.send_window -= size
            self.useful += 1
            stream.local_closed = True
            data = pack_head(size >> 8, size & 0xFF, DATA, END_STREAM, id)
            self.put_now((start, head, data, body), len(streams) == 1)
        else:
            self.put(start + head)
            stream.send(body, b"")
        return stream

    # --- replies ------------------------------------------------------------------------------------------------------

    def on_block(self, id: int, end: int, block: bytes) -> None:
        stream = self.streams.get(id)
        fields = self._blocks.get(block)
        if fields is None:
            try:
                fields = self._decoder.decode(block)
            except (MalformedFields, FieldsTooLarge) as error:
                if stream is not None:
                    self.refuse(stream, ErrorCode.PROTOCOL_ERROR, str(error))
                    return
                fields = ()
        if stream is None:
            if self.is_idle(id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is idle")
            if not self.was_reset(id):
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that is closed")
            self.nuisance(1)
            return
        if stream.remote_closed:
            self.refuse(stream, ErrorCode.STREAM_CLOSED, "HEADERS after the end")
        elif isinstance(fields, tuple):
            if stream.response is None or not end:
                self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "trailers that follow no head, or do not end the stream")
            elif 0 <= stream.declared != stream.bytes_in:
                self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "DATA does not match content-length")
            else:
                stream.trailers = fields
                stream.remote_closed = True
                stream.on_arrival()
        elif stream.response is not None:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "a second head")
        elif fields.status < 200:
            stream.informed += 1
            if end or fields.status == 101:
                self.refuse(stream, ErrorCode.PROTOCOL_ERROR, f"a head of status {fields.status} that cannot be")
            elif stream.informed > _INFORMED:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many informational heads")
        else:
            stream.response = fields
            if fields.length >= 0 and not stream.headless and fields.status != 304:
                if end and fields.length:
                    self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "no DATA for content-length")
                    return
                stream.declared = fields.length
                if stream.answer is not None and fields.length > stream.limit:
                    stream.on_too_large()
                    return
            if end:
                stream.remote_closed = True
                stream.on_arrival()
            elif stream.reader is not None:
                stream.on_arrival()

    def on_replied(self, stream: ClientStream) -> None:
        """The reply is whole."""
        if not stream.local_closed:
            # The server has answered without the rest of the request (RFC 9113 section 8.1).
            self.put(http2.rst_stream_frame(stream.id, ErrorCode.NO_ERROR))
            self.forget(stream.id)
        self.on_over(stream)

    def on_over(self, stream: ClientStream) -> None:
        """Both halves are closed. What was not read yet stays to be read, but the peer may send others as much."""
        stream.closed = True
        if stream.chunks and not stream.greedy:
            stream.greedy = True
            self.consumed(sum(map(len, stream.chunks)))
        if stream.queue is not None:
            stream.drop_queue()
        self._remove(stream)

    def _remove(self, stream: ClientStream) -> None:
        streams = self.streams
        del streams[stream.id]
        if self._draining:
            if not streams and not self.closed:
                self._finish()
        elif len(streams) + 1 >= self._most_streams and self.on_change is not None and self.room:
            self.on_change(self)

    def _fail(self, stream: ClientStream, error: GatewayError | None) -> None:
        stream.release()
        stream.fail(error)
        self._remove(stream)

    def give_up(self, stream: ClientStream, code: ErrorCode, error: GatewayError | None) -> None:
        """Reset a stream for a reason of ours."""
        if not self.closed:
            self.put(http2.rst_stream_frame(stream.id, code))
            self.forget(stream.id)
        self._fail(stream, error)

    def refuse(self, stream: ClientStream, code: ErrorCode, reason: str) -> None:
        self.give_up(stream, code, BadUpstream(reason, where=self.endpoint))
        self.cut_short()

    def on_reset(self, stream: ClientStream, code: int) -> None:
        name = http2.error_name(code)
        if stream.remote_closed:
            self.on_over(stream)  # the reply was whole before
        elif code == ErrorCode.REFUSED_STREAM:
            self._fail(stream, Unprocessed(f"the stream was reset: {name}", where=self.endpoint))
        else:
            reason = f"the stream was reset: {name}"
            self._fail(stream, UpstreamReset(reason, code=http2.reset_code(code), where=self.endpoint))

    # --- rules of the client's side -----------------------------------------------------------------------------------

    def is_idle(self, id: int) -> bool:
        return id >= self._next or not id & 1

    def on_setting(self, key: int, value: int) -> None:
        if key == http2.MAX_CONCURRENT_STREAMS:
            self._was_full = not self.room
            self._most_streams = min(value, self.limits.concurrent_streams)
        elif key == http2.ENABLE_PUSH and value:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a server that turns on push")

    def on_settings(self) -> None:
        settled = self.settled
        if settled is not None and not settled.done():
            settled.set_result(None)
        if self._was_full and self.room:
            self._was_full = False
            if self.on_change is not None:
                self.on_change(self)

    def on_goaway(self, last: int, code: int, reason: str) -> None:
        self._draining = True
        name = http2.error_name(code) + (f" ({reason})" if reason else "")
        if code:
            self._lost_reason = f"the connection was closed: {name}"
        for id, stream in list(self.streams.items()):
            if id > last:
                self._fail(stream, Unprocessed(f"the connection is closing: {name}", where=self.endpoint))
        if self.closed:
            return
        if not self.streams:
            self._finish()
        elif self.on_change is not None:
            self.on_change(self)

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        if not self._draining and not self.closed:
            self._draining = True
            if not self.streams:
                self._finish()

    def _finish(self) -> None:
        self._close(ErrorCode.NO_ERROR, "")

    def close(self) -> None:
        """Close now; requests in flight fail with UpstreamReset."""
        if self.closed:
            return
        self._lost_reason = "the connection was closed"
        self.put(http2.goaway_frame(0, ErrorCode.NO_ERROR))
        self.flush()
        # Without waiting for the peer: whoever closes wants to be gone, and has nothing more to say.
        self.transport.close()
        self._end_all()

    def fail(self, code: ErrorCode, reason: str) -> None:
        logger.warning("%s: connection closed, %s: %s", self.endpoint, code.name, reason)
        for stream in list(self.streams.values()):
            stream.error = BadUpstream(reason, where=self.endpoint)
        self._lost_reason = reason
        self._close(code, reason)

    def _close(self, code: ErrorCode, reason: str) -> None:
        if self.closed:
            return
        self.put(http2.goaway_frame(0, code, reason))
        self.end(_LINGER_S)
        self._end_all()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        """Once in `keepalive_s`: forgive, and ask a peer that is silent while requests are in flight for a PING."""
        self._timer = None
        if self.closed:
            return
        now = self.loop.time()
        self.sweep(now)
        wait = self._keepalive_s
        if self._heard:
            self._heard = self._asked = False
        elif self._asked:
            self._lost_reason = "the endpoint does not answer"
            self._end_all()
            self.transport.abort()
            return
        elif self.streams and (self.opened != self._opened_when_pinged or now - self._pinged >= _PING_AGAIN_S):
            self._asked = True
            self._pinged = now
            self._opened_when_pinged = self.opened
            self.put(http2.frame(http2.PING, 0, 0, _PING))
            wait = min(wait, _PING_TIMEOUT_S)
        self._timer = self.loop.call_later(wait, self._keep_alive)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self._draining else "open"
        return f"<Http2ClientConnection {self.endpoint} {state}, {self.active} in flight>"


class Http2Connector:
    """Opens connections to endpoints (the Connector of pools.base). `tls` offers h2 by ALPN."""

    def __init__(
        self,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        connect_timeout_s: float = 5.0,
    ) -> None:
        self._limits = limits
        self._tls = tls
        self._server_name = server_name
        self._timeout_s = connect_timeout_s

    async def connect(self, host: str, port: int) -> Http2ClientConnection:
        endpoint = f"{host}:{port}"
        started = asyncio.get_running_loop().time()

        def make() -> Http2ClientConnection:
            return Http2ClientConnection(self._limits, endpoint)

        connection = await connect(
            make, host, port, tls=self._tls, server_name=self._server_name, timeout_s=self._timeout_s
        )
        try:
            if self._tls is not None:
                chosen = connection.transport.get_extra_info("ssl_object").selected_alpn_protocol()
                if chosen != "h2":
                    raise Unreachable(
                        f"the service does not offer HTTP/2 (ALPN chose {chosen or 'nothing'})", where=endpoint
                    )
            assert connection.settled is not None
            async with asyncio.timeout_at(started + self._timeout_s):
                await connection.settled
        except TimeoutError as error:
            connection.close()
            raise Unreachable(
                f"the service sent no HTTP/2 settings in {self._timeout_s:g} s", where=endpoint
            ) from error
        except UpstreamReset as error:
            raise Unreachable(f"{error.status.message} before its HTTP/2 settings came", where=endpoint) from error
        except BaseException:  # cancelled, too: nobody has the connection
            connection.close()
            raise
        return connection
