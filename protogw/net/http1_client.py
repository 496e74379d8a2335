"""The client's side of an HTTP/1.1 connection: one request at a time, kept for the next where that is safe (RFC 9112).

Nothing is believed of a reply that two readers could understand in two ways: it fails as BadUpstream and the connection
is closed. The connection is kept only if the reply had an end of its own and nothing came after it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from protogw.errors import BadUpstream, GatewayError, InternalError, Unprocessed, UpstreamReset
from protogw.net.http1_client_stream import Http1Stream
from protogw.net.limits import Limits
from protogw.net.sockets import connect
from protogw.net.tunnel import Tunnel
from protogw.wire.http import connection_named
from protogw.wire.http1 import (
    CACHED_HEADS,
    CHUNKED,
    UNTIL_CLOSE,
    CheckedHead,
    HeadBounds,
    Response,
    ResponseScanner,
    parse_response,
    remember,
)
from protogw.wire.http1_chunked import ChunkedDecoder
from protogw.wire.recurring import Recurring

if TYPE_CHECKING:
    from protogw.pools.base import PooledConnection

_INTERIM_REPLIES = 16
_JOINED_BYTES = 16 << 10
_FLUSH_BYTES = 64 << 10

_LINE = rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) [\x21-\x7e]+ HTTP/1\.1\r\n"
_FIELD = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n"
_REQUEST = re.compile(_LINE + rb"(?:(?![cCtT](?i:ontent-length|ransfer-encoding):)" + _FIELD + rb")*+")
_FRAMED_REQUEST = re.compile(_LINE + rb"(?:" + _FIELD + rb")*+")
_FRAMING_FIELD = re.compile(
    rb"\n(?:content-length:(?: *([0-9]{1,18}) *\r)?|transfer-encoding:( *chunked *\r)?)", re.IGNORECASE
)
_asked: Recurring[bytes, bytes] = Recurring(CACHED_HEADS)
"""The methods of heads that are known to be well-formed and without framing."""

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
_BODY_EXPECTED = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods that say "no body" by Content-Length: 0 (RFC 9110 section 8.6)."""


class Http1ClientConnection(asyncio.Protocol):
    """One connection to an endpoint (pools/base.py PooledConnection). `cache` is shared as in Http1ServerConnection."""

    def __init__(self, limits: Limits, *, cache: Recurring[bytes, Response] | None = None) -> None:
        self.limits = limits
        self.closed = False
        self.switched = False
        self.on_change: Callable[[PooledConnection], None] | None = None
        self.loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.writing_held = False
        self._cache = cache if cache is not None else Recurring(CACHED_HEADS)
        self._bounds = HeadBounds(limits.target_bytes, limits.header_bytes, limits.header_count)
        self._stream: Http1Stream | None = None
        self._requests = 0
        self._draining = False
        self._reading_held = False
        self._room: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        """A request in pieces on its way: written at the end of the loop's turn, or once it is much."""
        self._unsent = 0
        # The reply under way.
        self._scanner: ResponseScanner | None = None
        self._response: Response | None = None
        self._decoder: ChunkedDecoder | None = None
        self._left = 0
        self._heard = False
        self._interim = 0

    @property
    def room(self) -> int:
        return 0 if self._stream is not None or self.closed or self._draining else 1

    @property
    def active(self) -> int:
        return 0 if self._stream is None else 1

    def open(self, head: bytes, body: bytes | None) -> Http1Stream:
        """Send a request. `head` is the request line and field lines, each with its CRLF, without the blank line.

        The framing field is added: Content-Length for a whole body (none for an empty one where the method expects no
        body), chunked for `body` None. To pass on a body whose length is known before it is, give `body` None and a
        `content-length` in `head`: the writes must then add up to it, or the request is cut off.
        """
        if self._stream is not None or self.closed or self._draining or self.transport.is_closing():
            raise Unprocessed("the connection takes no more requests")
        method = head[: head.index(b" ")] if head.__class__ is CheckedHead else _asked.get(head)
        if method is None:
            match = _REQUEST.fullmatch(head)
            if match is None:
                return self._open_framed(head, body)
            method = match[1]
            remember(_asked, head, method)
        stream = Http1Stream(self, method, body is not None)
        if body is None:
            stream.frame(CHUNKED)
            self.put(head + b"transfer-encoding: chunked\r\n\r\n")
        elif body:
            if len(body) > _JOINED_BYTES:
                self.transport.writelines((b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body))
            else:
                self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        elif method in _BODY_EXPECTED:
            self.transport.write(head + b"content-length: 0\r\n\r\n")
        else:
            self.transport.write(head + b"\r\n")
        self._take(stream)
        return stream

    def _open_framed(self, head: bytes, body: bytes | None) -> Http1Stream:
        """Send a request whose head has one framing field of its own, for a body that comes in pieces.

        Anything else is a fault of the translator's, and would be read as another request than was meant, or as two.
        """
        match = _FRAMED_REQUEST.fullmatch(head)
        framing = _FRAMING_FIELD.findall(head)
        if match is None or body is not None or len(framing) != 1:
            raise InternalError
        length, coding = framing[0]
        if not length and not coding:
            raise InternalError
        stream = Http1Stream(self, match[1], False)
        stream.frame(int(length) if length else CHUNKED)
        self.put(head + b"\r\n")
        self._take(stream)
        return stream

    def _take(self, stream: Http1Stream) -> None:
        self._stream = stream
        self._requests += 1
        self._heard = False
        self._interim = 0

    def put(self, data: bytes) -> None:
        """Write soon: the head and small pieces of one turn are then one write."""
        if not self._out:
            self.loop.call_soon(self.flush)
        self._out.append(data)
        self._unsent += len(data)
        if self._unsent >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        out = self._out
        if out:
            if not self.closed:
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            self._unsent = 0

    # --- transport ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer)

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:  # nothing was asked: whatever this is, it is not the next reply
            self._shut()
            return
        self._heard = True
        if self._response is None:
            if self._scanner is None:
                end = data.find(b"\r\n\r\n") + 4
                if end > 3:
                    response = self._cache.get(data[:end])
                    if response is not None:
                        if response.length == len(data) - end and stream.method != b"HEAD" and stream.sent:
                            self._answer(stream, response, data[end:] if response.length else b"")
                        else:
                            self._begin(stream, response, data[end:])
                        return
            self._read_head(stream, data)
        else:
            self._read_body(stream, data)

    def _read_head(self, stream: Http1Stream, data: bytes) -> None:
        while True:
            try:
                response: Response | None = None
                if self._scanner is None:
                    end = data.find(b"\r\n\r\n") + 4
                    if end > 3:
                        raw, rest = data[:end], data[end:]
                        response = self._cache.get(raw) or parse_response(raw, self._bounds)
                if response is None:
                    if self._scanner is None:
                        self._scanner = ResponseScanner(self._bounds)
                    found = self._scanner.feed(data)
                    if found is None:
                        return
                    self._scanner = None
                    raw, rest = found
                    response = self._cache.get(raw) or parse_response(raw, self._bounds)
                    assert response is not None, "what the scanner lets through is well-formed"
            except GatewayError as error:
                self.fail(error)
                return
            status = response.head.status
            if status >= 200:
                remember(self._cache, raw, response)
                self._begin(stream, response, rest)
                return
            if status == 101:
                self._switch(stream, response, rest)
                return
            self._interim += 1
            if self._interim > _INTERIM_REPLIES:
                self.fail(BadUpstream(f"more than {_INTERIM_REPLIES} interim replies"))
                return
            if not rest:
                return
            data = rest

    def _switch(self, stream: Http1Stream, response: Response, rest: bytes) -> None:
        """The endpoint leaves HTTP on this connection, which it must have been asked for."""
        head = response.head
        said = (head.get(b"upgrade") or b"").lower()
        if not stream.asked:
            self.fail(BadUpstream("reply head: 101, but nothing was asked to be switched to"))
        elif said != stream.asked or b"upgrade" not in connection_named(
            value for name, value in head.headers if name == b"connection"
        ):
            asked = stream.asked.decode()
            self.fail(BadUpstream(f"reply head: 101, but not to {asked}, which was asked for"))
        elif response.length not in (0, UNTIL_CLOSE):
            self.fail(BadUpstream("reply head: 101 with a body"))
        else:
            tunnel = Tunnel(self.transport, self.limits, stream, broken=_endpoint_gone, on_lost=self._tunnel_lost)
            tunnel.take_over(rest, peer_ended=False, reading_held=self._reading_held, writing_held=self.writing_held)
            self.switched = True
            stream.on_switched(head, tunnel)
            if self.on_change is not None:
                self.on_change(self)

    def _tunnel_lost(self, error: Exception | None) -> None:
        stream = self._stream
        self._stream = None
        if stream is not None:
            stream.done = True
        self._closed()

    def _answer(self, stream: Http1Stream, response: Response, body: bytes) -> None:
        """The reply came whole with its head."""
        self._stream = None
        if not response.keep_alive or self._draining:
            self._shut()
            stream.on_answer(response.head, body)
            return
        stream.on_answer(response.head, body)
        if self.on_change is not None:
            self.on_change(self)

    def _begin(self, stream: Http1Stream, response: Response, rest: bytes) -> None:
        self._response = response
        length = response.length
        if stream.method == b"HEAD":
            length = 0
        self._left = length
        if length == CHUNKED:
            self._decoder = ChunkedDecoder(BadUpstream)
        stream.on_head(response.head)
        if rest or length == 0:
            self._read_body(stream, rest)

    def _read_body(self, stream: Http1Stream, data: bytes) -> None:
        decoder = self._decoder
        rest = b""
        ended = False
        if decoder is not None:
            pieces: list[bytes] = []
            try:
                rest = decoder.feed(data, pieces)
            except GatewayError as error:
                self.fail(error)
                return
            if decoder.done:
                ended = True
                stream.trailers = decoder.trailers
        else:
            left = self._left
            if left != UNTIL_CLOSE:
                if len(data) > left:
                    rest = data[left:]
                    data = data[:left]
                self._left = left - len(data)
                ended = self._left == 0
            pieces = [data] if data else []
        if pieces:
            stream.on_body(pieces)
            if stream.done:  # it was over its limit
                return
        if ended:
            self._end(stream, bool(rest))

    def _end(self, stream: Http1Stream, overrun: bool) -> None:
        """The reply is whole: the connection is kept only if both sides are at the end of what they had to say."""
        response = self._response
        assert response is not None
        keep = response.keep_alive and not overrun and stream.sent and not self._draining
        self._stream = self._response = self._decoder = None
        self.release_reading()
        if not keep:
            self._shut()
            stream.on_end()
            return
        stream.on_end()
        if self.on_change is not None:
            self.on_change(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        stream = self._stream
        self._stream = None
        self.resume_writing()
        if stream is not None and not stream.done:
            if self._response is not None and self._left == UNTIL_CLOSE and exc is None:
                stream.on_end()
            else:
                stream.on_fault(self._loss(stream, exc))
        self._closed()

    def _loss(self, stream: Http1Stream, exc: Exception | None) -> GatewayError:
        """What the loss of the connection means for the request that was in flight.

        A kept connection that ends before a byte of reply was most likely closed before the request came. That
        is no proof: only a request that may be repeated (RFC 9110 section 9.2.2) is declared unprocessed.
        """
        how = "reset" if exc is not None else "closed"
        if self._response is not None:
            return UpstreamReset(f"the endpoint {how} the connection in the middle of its reply")
        if self._heard:
            return UpstreamReset(f"the endpoint {how} the connection in the middle of its reply's head")
        if self._requests > 1 and stream.replayable and stream.method in _IDEMPOTENT:
            return Unprocessed(f"the endpoint had {how} the kept connection")
        return UpstreamReset(f"the endpoint {how} the connection without a reply")

    def hold_reading(self) -> None:
        if not self._reading_held and not self.transport.is_closing():
            self._reading_held = True
            self.transport.pause_reading()

    def release_reading(self) -> None:
        if self._reading_held:
            self._reading_held = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.writing_held = True

    def resume_writing(self) -> None:
        self.writing_held = False
        room = self._room
        if room is not None:
            self._room = None
            if not room.done():
                room.set_result(None)

    async def writable(self) -> None:
        while self.writing_held:
            if self._room is None:
                self._room = self.loop.create_future()
            await self._room

    # --- ending -------------------------------------------------------------------------------------------------------

    def fail(self, fault: GatewayError) -> None:
        """The reply cannot be understood or is too much: its reader learns why, the connection is closed."""
        stream = self._stream
        self._stream = None
        if stream is not None and not stream.done:
            stream.on_fault(fault)
            if stream.tunnel is not None:
                stream.tunnel.break_off(fault)
        self.transport.abort()
        self._closed()

    def give_up(self, stream: Http1Stream) -> None:
        """The caller no longer wants the reply: HTTP/1.1 has no other way to say so than to close."""
        if self._stream is stream:
            self._stream = None
            self.transport.abort()
            self._closed()

    def _shut(self) -> None:
        self.transport.close()
        self._closed()

    def _closed(self) -> None:
        if not self.closed:
            self.closed = True
            if self.on_change is not None:
                self.on_change(self)

    def drain(self) -> None:
        """Take no more requests; close once the one in flight has ended."""
        self._draining = True
        if self._stream is None:
            self._shut()

    def close(self) -> None:
        """Close now; a request in flight fails with UpstreamReset."""
        self.fail(UpstreamReset("the connection was closed"))

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self._draining else "busy" if self._stream else "idle"
        return f"<Http1ClientConnection {state}, {self._requests} requests>"


def _endpoint_gone(how: str) -> GatewayError:
    return UpstreamReset(f"the endpoint's connection {how}")


class Http1Connector:
    """Opens connections to endpoints that speak HTTP/1.1 (pools/base.py Connector)."""

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
        self._connect_timeout_s = connect_timeout_s
        self._cache: Recurring[bytes, Response] = Recurring(CACHED_HEADS)

    async def connect(self, host: str, port: int) -> Http1ClientConnection:
        """A ready connection; raises Unreachable."""
        return await connect(
            self._make,
            host,
            port,
            tls=self._tls,
            server_name=self._server_name,
            timeout_s=self._connect_timeout_s,
        )

    def _make(self) -> Http1ClientConnection:
        return Http1ClientConnection(self._limits, cache=self._cache)
