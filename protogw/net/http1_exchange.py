"""One HTTP/1.1 request and its answer, as a front end is handed it (frontends/base.py Exchange).

The connection feeds the request's body in; the exchange decides how the answer is framed (RFC 9112 section 6) and
whether the connection may be kept after it (section 9.3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from protogw.errors import BodyTooLarge, GatewayError, InvalidRequest
from protogw.wire.http import HTTP_1_1, Header, Peer
from protogw.wire.http1 import CHUNKED, Request
from protogw.wire.http1_answer import CONTINUE, STATUS_LINES, answer_fields
from protogw.wire.http1_chunked import ChunkedDecoder, encode_fields, encode_last_chunk

if TYPE_CHECKING:
    from protogw.call import Call, NoteNames
    from protogw.net.http1_server import Http1ServerConnection
    from protogw.net.tunnel import Tunnel

DRAIN_BYTES = 256 << 10
"""How much of a body that nobody wants is read and dropped so that the connection can be kept."""

_JOINED_BYTES = 16 << 10
"""Up to this size, copying a piece next to its framing is cheaper than handing the kernel one buffer more."""

_FLUSH_BYTES = 64 << 10
"""What is collected in one turn of the loop at most before it is written."""

_BODILESS, _BY_LENGTH, _BY_CHUNKS, _BY_CLOSE = range(4)


class Http1Exchange:
    """Answers one request. After its end, and once its client is gone, writing to it does nothing."""

    __slots__ = (
        "_collecting",
        "_connection",
        "_decoder",
        "_fault",
        "_framing",
        "_left",
        "_out",
        "_pieces",
        "_remaining",
        "_request",
        "_unread",
        "_unsent",
        "_waiter",
        "_when_draining",
        "bytes_in",
        "bytes_out",
        "call",
        "complete",
        "ended",
        "extra",
        "head",
        "keep",
        "peer",
        "request_trailers",
        "started",
        "state",
        "status",
        "tunnel",
        "unsent_continue",
    )

    def __init__(self, connection: Http1ServerConnection, request: Request) -> None:
        self.head = request.head
        self.peer: Peer = connection.peer
        self.extra: tuple[Header, ...] = ()
        self.call: Call | None = None
        self.state: object = None
        self.started = False
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.request_trailers: tuple[Header, ...] = ()

        self.ended = False
        """The answer is whole, cut, or without anyone to read it."""
        self.tunnel: Tunnel | None = None
        """What the connection was switched to."""
        self.keep = request.keep_alive
        """Whether another request may follow; final once the answer has started."""
        self._connection = connection
        self._request = request
        self._framing = _BODILESS
        self._left = 0
        self._out: list[bytes] = []
        """An answer in pieces on its way: written at the end of the loop's turn, or once it is much."""
        self._unsent = 0
        self._when_draining: Callable[[], None] | None = None

        length = request.length
        self.complete = length == 0
        """The request's body has arrived."""
        if length:
            self.unsent_continue = request.expects_continue
            self._remaining = length
            self._decoder = ChunkedDecoder(InvalidRequest) if length == CHUNKED else None
            self._pieces: list[bytes] = []
            self._unread = 0
            self._collecting = -1
            self._fault: GatewayError | None = None
            self._waiter: asyncio.Future[None] | None = None

    # --- the request's body -------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived of the body; returns what follows its end. Raises InvalidRequest on bad chunks."""
        pieces = self._pieces
        decoder = self._decoder
        if decoder is None:
            remaining = self._remaining
            size = len(data)
            if size > remaining:
                rest = data[remaining:]
                data = data[:remaining]
                size = remaining
            else:
                rest = b""
            self._remaining = remaining - size
            self.complete = size == remaining
            if size:
                pieces.append(data)
        else:
            before = len(pieces)
            rest = decoder.feed(data, pieces)
            size = 0
            for piece in pieces[before:]:
                size += len(piece)
            if decoder.done:
                self.complete = True
                self.request_trailers = decoder.trailers
        self.bytes_in += size
        self._unread += size
        if self.ended:
            pieces.clear()
        elif self._waiter is not None:
            if self._collecting < 0 or self.complete or self._unread > self._collecting:
                self._wake()
        elif self._unread > self._connection.limits.stream_window:
            self._connection.hold_reading()
        return rest

    def break_off(self, fault: GatewayError) -> None:
        """No more of the body will come: whoever reads it learns so."""
        self._fault = fault
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _more(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self.unsent_continue:
            self.unsent_continue = False
            if not self.bytes_in and not self.started:
                self._connection.transport.write(CONTINUE)
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        self._connection.release_reading()
        return data

    @property
    def held_back(self) -> bool:
        return self._request.length != 0 and self.unsent_continue and not self.bytes_in and not self.complete

    def buffered(self) -> bytes | None:
        """The whole body if it has all arrived and none was read, else None. Consumes it."""
        if not self.complete:
            return None
        if self._request.length == 0:
            return b""
        if self._unread != self.bytes_in:
            return None
        return self._take()

    async def whole(self, limit: int) -> bytes:
        """The whole body; raises BodyTooLarge as soon as it is over `limit` bytes (by Content-Length at once)."""
        length = self._request.length
        if length == 0:
            return b""
        if length > limit:
            raise BodyTooLarge(f"request body: {length} bytes, over the limit of {limit}")
        self._collecting = limit
        self._connection.release_reading()
        while not self.complete and self._unread <= limit:
            await self._more()
        self._collecting = -1
        if self._unread > limit:
            raise BodyTooLarge(f"request body: over the limit of {limit} bytes")
        return self._take()

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Reading is what lets the client send more."""
        if self._request.length == 0:
            return b""
        while not self._pieces:
            if self.complete:
                return b""
            await self._more()
        return self._take()

    @property
    def left_unread(self) -> bool:
        """The rest of the body is too long, or too uncertain, to be read only to be dropped."""
        if self.complete:
            return False
        if self._fault is not None or (self.unsent_continue and not self.bytes_in):
            return True
        return self._decoder is None and self._remaining > DRAIN_BYTES

    def drop(self) -> None:
        """Nobody wants the rest of the body."""
        if self._request.length:
            self._pieces.clear()
            self._unread = 0

    @property
    def dropped(self) -> int:
        """Body bytes that have come since `drop`."""
        return self._unread

    # --- the answer ---------------------------------------------------------------------------------------------------

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        """Send a whole answer in one write."""
        if self.ended:
            return
        if self.started:
            raise RuntimeError("the answer has started already")
        bodiless = status in _WITHOUT_BODY or self.head.method == b"HEAD"
        if trailers and self._request.trailers_wanted and not bodiless:
            names = b", ".join([name for name, _ in trailers])
            self._start(status, (*headers, (b"trailer", names)), _BY_CHUNKS)
            self.finish(body, trailers)
            return
        fields = answer_fields(tuple(headers))
        size = len(body)
        if bodiless:
            # A HEAD answer tells the length that GET's would have, where it is known.
            size = -1 if status == 204 else fields.length if fields.length >= 0 else size or -1
            body = b""
        head = b"%b%b%b%b%b%b\r\n" % (
            STATUS_LINES[status],
            b"" if fields.dated else date(),
            b"content-length: %d\r\n" % size if size >= 0 else b"",
            self._persistence(),
            fields.block,
            self._added(),
        )
        self.status = status
        self.started = self.ended = True
        self.bytes_out = len(body)
        if len(body) > _JOINED_BYTES:
            self._connection.transport.writelines((head, body))
        else:
            self._connection.transport.write(head + body)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head of an answer whose body follows: by Content-Length if `headers` have one, else chunked."""
        if self.ended:
            return
        if self.started:
            raise RuntimeError("the answer has started already")
        if status in _WITHOUT_BODY or self.head.method == b"HEAD":
            framing = _BODILESS
        else:
            framing = _BY_CHUNKS if self.head.version == HTTP_1_1 else _BY_CLOSE
        self._start(status, tuple(headers), framing)

    def _start(self, status: int, headers: tuple[Header, ...], framing: int) -> None:
        fields = answer_fields(headers)
        told = b""
        if fields.length >= 0 and status != 204:
            told = b"content-length: %d\r\n" % fields.length
            if framing != _BODILESS:
                framing = _BY_LENGTH
                self._left = fields.length
        elif framing == _BY_CHUNKS:
            told = b"transfer-encoding: chunked\r\n"
        elif framing == _BY_CLOSE:
            self.keep = False
        self._framing = framing
        self.status = status
        self.started = True
        self._put(
            b"%b%b%b%b%b%b\r\n"
            % (
                STATUS_LINES[status],
                b"" if fields.dated else date(),
                told,
                self._persistence(),
                fields.block,
                self._added(),
            )
        )

    def switch(self, headers: Sequence[Header]) -> Tunnel:
        """Answer 101 with these fields beside those of switching: the connection is the stream that is returned."""
        if self.started:
            raise RuntimeError("the answer has started already")
        protocol = self.head.upgrade
        if not protocol:
            raise RuntimeError("the client has not asked for it")
        fields = answer_fields(tuple(headers))
        self.started = True
        self.status = 101
        self.keep = False
        self.tunnel = self._connection.switch(
            self,
            b"%b%bconnection: Upgrade\r\nupgrade: %b\r\n%b%b\r\n"
            % (STATUS_LINES[101], b"" if fields.dated else date(), protocol, fields.block, self._added()),
        )
        return self.tunnel

    def when_draining(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once the connection is to end soon, at once if that is so already."""
        self._when_draining = tell
        if self._connection.draining:
            tell()

    def drain(self) -> None:
        """The connection is to end soon."""
        if self._when_draining is not None:
            self._when_draining()

    def _put(self, data: bytes) -> None:
        """Write soon: many small pieces of one turn are then one write."""
        out = self._out
        if not out:
            self._connection.loop.call_soon(self._flush)
        out.append(data)
        self._unsent += len(data)
        if self._unsent >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        out = self._out
        if out:
            self._connection.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            self._unsent = 0

    def _persistence(self) -> bytes:
        """Decide whether the connection is kept after this answer, and say it where HTTP's default is the other."""
        if self.keep and not self._connection.last and (self.complete or not self.left_unread):
            return b"" if self.head.version == HTTP_1_1 else b"connection: keep-alive\r\n"
        self.keep = False
        return b"connection: close\r\n"

    def _added(self) -> bytes:
        """The fields that go with whatever answer it is."""
        added = encode_fields(self.extra) if self.extra else b""
        if self.call is not None and self.call.notes:
            names, numbers = self.call.notes
            added += (names.made or _noted(names)) % numbers
        return added

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client leaves no room."""
        if not self.ended and data:
            self._send(data)
            connection = self._connection
            if connection.writing_held:
                await connection.writable()

    def _send(self, data: bytes) -> None:
        framing = self._framing
        if framing == _BODILESS:
            return
        size = len(data)
        if framing == _BY_LENGTH:
            if size > self._left:
                self.abort()
                return
            self._left -= size
        self.bytes_out += size
        if size <= _JOINED_BYTES:
            self._put(b"%x\r\n%b\r\n" % (size, data) if framing == _BY_CHUNKS else data)
            return
        self._flush()
        transport = self._connection.transport
        if framing == _BY_CHUNKS:
            transport.writelines((b"%x\r\n" % size, data, b"\r\n"))
        else:
            transport.write(data)

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        """Send a last piece of the body without waiting, and end the answer.

        Trailers go only to a client that said it takes them, and only after chunks. A body shorter than its
        Content-Length is cut off, for the client to see.
        """
        if self.ended:
            return
        if data:
            self._send(data)
        if self._framing == _BY_CHUNKS:
            self._put(encode_last_chunk(trailers if self._request.trailers_wanted else ()))
        elif self._framing == _BY_LENGTH and self._left:
            self.abort()
        if not self.ended:
            self._flush()
            self.ended = True

    def abort(self) -> None:
        """Cut the answer so that the client sees it: close without its end; reset where a close would be the end."""
        if self.tunnel is not None:
            self.tunnel.abort()
        elif not self.ended:
            self.ended = True
            self.keep = False
            reset = self._framing == _BY_CLOSE
            if not reset:
                self._flush()
            self.lose()
            self._connection.cut(reset)

    def lose(self) -> None:
        """Nobody reads the answer any more."""
        self.ended = True
        self._out.clear()

    def probe(self) -> None:
        """Send something that means nothing, for the answer of the kernel at the other end.

        A client that shut down its sending side looks like one that is gone, until it is written to. An interim
        response may come before any final one; the size of the next chunk may begin with a zero.
        """
        self._flush()
        if not self.started:
            if self.head.version == HTTP_1_1:
                self._connection.transport.write(CONTINUE)
        elif self._framing == _BY_CHUNKS:
            self._connection.transport.write(b"0")


_WITHOUT_BODY = frozenset((204, 304))


def _noted(names: NoteNames) -> bytes:
    """The lines of a call's notes without their numbers."""
    names.made = b"".join([b"%b: %%d\r\n" % name for name in names])
    return names.made


_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class _DateLine:
    """The Date field, written once a second (RFC 9110 section 6.6.1)."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            now = time.gmtime(second)
            day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
            clock = (now.tm_hour, now.tm_min, now.tm_sec)
            self._line = b"date: %b, %02d %b %d %02d:%02d:%02d GMT\r\n" % (day, now.tm_mday, month, now.tm_year, *clock)
        return self._line


date = _DateLine()
