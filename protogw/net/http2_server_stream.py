"""One request on an HTTP/2 connection, and the means to answer it: the Exchange of frontends.base."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from protogw.errors import BodyTooLarge, Code, GatewayError, InvalidRequest
from protogw.net.http2_stream import Stream
from protogw.wire.hpack import encode
from protogw.wire.http2 import DATA, END_STREAM, ErrorCode, pack_head

if TYPE_CHECKING:
    from protogw.net.http2_server import Http2ServerConnection
    from protogw.wire.http import ByteStream, Header, Peer
    from protogw.wire.http2_heads import Http2RequestHead

STATUS_FIELDS = {status: encode([(b":status", b"%d" % status)]) for status in range(100, 600)}


class ServerStream(Stream):
    """An Exchange. After the client is gone its methods do nothing, and the task that uses it is being cancelled."""

    __slots__ = (
        "begun",
        "bodiless",
        "call",
        "extra",
        "head",
        "peer",
        "request_trailers",
        "slow_mark",
        "slow_s",
        "started",
        "state",
        "status",
        "task",
        "when_drained",
    )

    connection: Http2ServerConnection

    def __init__(self, connection: Http2ServerConnection, id: int, head: Http2RequestHead, peer: Peer) -> None:
        super().__init__(connection, id)
        self.declared = head.length
        self.head: Http2RequestHead = head
        self.peer = peer
        self.extra: tuple[Header, ...] = ()
        self.call: Any = None
        self.state: object = None
        self.started = False
        self.status = 0
        self.request_trailers: tuple[Header, ...] = ()
        self.bodiless = False
        self.begun = False
        self.task: asyncio.Task[None] | None = None
        self.slow_s = 0.0
        self.slow_mark = 0
        self.when_drained: Callable[[], None] | None = None

    # --- the request --------------------------------------------------------------------------------------------------

    @property
    def held_back(self) -> bool:
        return self.head.expects_continue and not self.bytes_in and not self.remote_closed

    def buffered(self) -> bytes | None:
        if not self.remote_closed or self.greedy:
            return None
        chunks = self.chunks
        if not chunks:
            return b"" if not self.bytes_in else None
        if len(chunks) == 1:
            data = chunks[0]
            if len(data) != self.bytes_in:
                return None
            chunks.clear()
            self.connection.consumed(len(data))
            return data
        if sum(map(len, chunks)) != self.bytes_in:
            return None
        return self.take()

    async def whole(self, limit: int) -> bytes:
        if self.declared > limit or self.bytes_in > limit:
            raise _too_large(limit)
        if not self.remote_closed:
            self._continue()
            self.consumed(sum(map(len, self.chunks)))
            self.greedy = True
            self.slow_mark = self.bytes_in
            while not self.remote_closed:
                await self.arrival()
                if self.bytes_in > limit:
                    raise _too_large(limit)
        return self.take()

    async def read(self) -> bytes:
        while not self.chunks:
            if self.remote_closed:
                return b""
            self._continue()
            await self.arrival()
        return self.take()

    def _continue(self) -> None:
        """Ask for a body that the client holds back (RFC 9110 section 10.1.1)."""
        if self.head.expects_continue and not self.bytes_in and not self.started and not self.closed:
            self.connection.put(self.connection.headers(self.id, 0, STATUS_FIELDS[100]))

    # --- the answer ---------------------------------------------------------------------------------------------------

    def answer_block(self, status: int, headers: Sequence[Header]) -> bytes:
        """The fields of an answer's head, with those that go with whatever answer it is."""
        block = STATUS_FIELDS[status] + encode(headers)
        if self.extra:
            block += encode(self.extra)
        if self.call is not None and self.call.notes:
            block += encode(self.call.noted())
        return block

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        if self.closed:
            return
        connection = self.connection
        block = self.answer_block(status, headers)
        bodiless = status < 200 or status == 204 or status == 304
        if not trailers:
            names = [name for name, _ in headers]
            if b"date" not in names:
                block += date()
            if body and not bodiless and b"content-length" not in names:
                block += encode(((b"content-length", b"%d" % len(body)),))
        if bodiless or self.head.method == b"HEAD":
            body, trailers = b"", ()
        self.started = True
        self.status = status
        if not body and not trailers:
            connection.put(connection.headers(self.id, END_STREAM, block))
            self.on_sent()
            return
        id = self.id
        start = connection.headers(id, 0, block)
        tail = connection.headers(id, END_STREAM, encode(trailers)) if trailers else b""
        size = len(body)
        if (
            size <= self.send_window
            and size <= connection.send_window
            and size <= connection.frame_limit
            and not connection.paused
        ):
            connection.send_window -= size
            connection.useful += 1
            self.bytes_out = size
            self.local_closed = True
            data = pack_head(size >> 8, size & 0xFF, DATA, 0 if tail else END_STREAM, id)
            connection.put_now((start, data, body, tail), len(connection.streams) == 1)
            connection.on_answered(self)
        else:
            connection.put(start)
            self.send(body, tail)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        if self.closed:
            return
        block = self.answer_block(status, headers)
        if b"date" not in [name for name, _ in headers]:
            block += date()
        self.started = True
        self.status = status
        self.bodiless = self.head.method == b"HEAD" or status < 200 or status == 204 or status == 304
        self.connection.put(self.connection.headers(self.id, 0, block))

    async def write(self, data: bytes) -> None:
        if self.closed:
            await asyncio.sleep(0)  # where the cancellation that is on its way gets in
        elif not self.bodiless:
            self.send(data, None)
            if self.queued or self.connection.paused:
                await self.room()

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        if self.closed or self.tail is not None:
            return
        if self.bodiless:
            self.send(b"", b"")
        elif trailers:
            self.send(data, self.connection.headers(self.id, END_STREAM, encode(trailers)))
        else:
            self.send(data, b"")

    def switch(self, headers: Sequence[Header]) -> ByteStream:
        raise RuntimeError("the client has not asked for it")

    def abort(self) -> None:
        if not self.closed:
            self.connection.cut(self, ErrorCode.INTERNAL_ERROR)

    def when_draining(self, tell: Callable[[], None]) -> None:
        self.when_drained = tell
        if self.connection.draining:
            tell()

    def on_sent(self) -> None:
        self.local_closed = True
        self.connection.on_answered(self)

    def leave(self) -> None:
        """Whoever served the request is done with it, and has answered unless there was a fault."""
        if self.closed or self.tail is not None:
            return
        if self.started:
            self.connection.cut(self, ErrorCode.INTERNAL_ERROR)
        else:
            self.respond(500, ())

    def on_stall(self) -> None:
        """The client leaves the body unfinished for too long: whoever waits for it is told, or the stream is cut."""
        reader = self.reader
        if reader is not None and not reader.done() and not self.started:
            self.fail_reader(InvalidRequest("the request's body came too slowly", code=Code.ABORTED, http_status=408))
        else:
            self.connection.refuse(self, ErrorCode.CANCEL, "no progress")

    def fail_reader(self, error: GatewayError) -> None:
        reader = self.reader
        if reader is not None and not reader.done():
            reader.set_exception(error)

    def __repr__(self) -> str:
        return f"<ServerStream {self.id} {self.head!r} from {self.peer.host}>"


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request's body is larger than {limit} bytes")


class _Date:
    """The Date field, encoded once a second (RFC 9110 section 6.6.1)."""

    __slots__ = ("_block", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._block = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._block = encode([(b"date", formatdate(second, usegmt=True).encode())])
        return self._block


date = _Date()
