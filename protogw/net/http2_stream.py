"""What a stream of either side of an HTTP/2 connection is: two halves, each with its window."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from protogw.wire.http2 import DATA, END_STREAM, ErrorCode, pack_head

if TYPE_CHECKING:
    from protogw.net.http2_connection import Http2Connection


class Stream:
    """One stream. The connection calls what is named `on_…`; the owner of the stream calls the rest.

    Received DATA waits in `chunks` within the stream's window, and reading it is what gives the peer credit for more.
    DATA to send waits in `queue` while windows or the transport leave no room, and `tail` follows it: None while the
    sending half stays open, b"" to set END_STREAM on the last DATA, or the frames of a trailer section.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "chunks",
        "closed",
        "connection",
        "credit",
        "declared",
        "greedy",
        "id",
        "idle",
        "local_closed",
        "mark",
        "offset",
        "queue",
        "queued",
        "reader",
        "receive_window",
        "remote_closed",
        "send_window",
        "tail",
        "writer",
    )

    def __init__(self, connection: Http2Connection[Any], id: int) -> None:
        self.connection = connection
        self.id = id
        self.send_window = connection.initial_send_window
        self.receive_window = connection.initial_receive_window
        self.credit = 0
        self.chunks: list[bytes] = []
        self.bytes_in = 0
        self.bytes_out = 0
        self.declared = -1
        self.greedy = False
        self.remote_closed = False
        self.local_closed = False
        self.closed = False
        self.queue: deque[bytes] | None = None
        self.queued = 0
        self.offset = 0
        self.tail: bytes | None = None
        self.reader: asyncio.Future[None] | None = None
        self.writer: asyncio.Future[None] | None = None
        self.mark = 0
        self.idle = 0.0

    # --- receiving ----------------------------------------------------------------------------------------------------

    def on_data(self, piece: bytes, end: int, size: int) -> None:
        """A DATA frame: `piece` without its padding, `size` with it."""
        connection = self.connection
        window = self.receive_window - size
        if self.remote_closed or window < 0:
            connection.consumed(size)
            code = ErrorCode.STREAM_CLOSED if self.remote_closed else ErrorCode.FLOW_CONTROL_ERROR
            connection.refuse(self, code, "DATA after the end" if self.remote_closed else "DATA over the window")
            return
        self.receive_window = window
        length = len(piece)
        arrived = self.bytes_in = self.bytes_in + length
        declared = self.declared
        if declared >= 0 and (arrived > declared or (end and arrived != declared)):
            self.credit += size
            connection.refuse(self, ErrorCode.PROTOCOL_ERROR, "DATA does not match content-length")
            return
        if length:
            self.chunks.append(piece)
        elif not end:
            connection.nuisance(1)
        if end:
            self.remote_closed = True
        if size != length:
            self.consumed(size - length)
        if self.greedy:
            self.consumed(length)
        if self.reader is not None:
            self.on_arrival()

    def on_arrival(self) -> None:
        """There is something to read, or the end of it."""
        reader = self.reader
        if reader is not None:
            self.reader = None
            if not reader.done():
                reader.set_result(None)

    def consumed(self, size: int) -> None:
        """Give the peer credit for `size` bytes, at the latest when half of the window is used up."""
        connection = self.connection
        connection.consumed(size)
        if self.remote_closed or self.closed:
            return
        credit = self.credit + size
        if credit >= connection.stream_credit_at:
            self.receive_window += credit
            connection.window_update(self.id, credit)
            credit = 0
        self.credit = credit

    def take(self) -> bytes:
        """All that has arrived and was not read."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if not self.greedy:
            self.consumed(len(data))
        return data

    async def arrival(self) -> None:
        """Wait for `on_arrival`; one reader at a time."""
        reader = self.reader = self.connection.loop.create_future()
        try:
            await reader
        finally:
            self.reader = None

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, tail: bytes | None) -> None:
        """Send a piece of the body, as far as there is room, and keep the rest; then `tail`, if not None."""
        connection = self.connection
        size = len(data)
        self.bytes_out += size
        if not size and not self.queue:
            if tail is not None:
                connection.put(tail or pack_head(0, 0, DATA, END_STREAM, self.id))
                self.on_sent()
            return
        if (
            not self.queue
            and size <= self.send_window
            and size <= connection.send_window
            and size <= connection.frame_limit
            and not connection.paused
        ):
            self.send_window -= size
            connection.send_window -= size
            connection.useful += 1
            if tail is None:
                connection.put(pack_head(size >> 8, size & 0xFF, DATA, 0, self.id) + data)
                connection.unsent += size
                if connection.unsent > connection.write_buffer:
                    connection.flush()
                return
            flags = 0 if tail else END_STREAM
            connection.put(pack_head(size >> 8, size & 0xFF, DATA, flags, self.id) + data + tail)
            self.on_sent()
            return
        if size:
            if self.queue is None:
                self.queue = deque()
            self.queue.append(data)
            self.queued += size
            connection.queued += size
        self.tail = tail
        if self.send_window > 0:
            connection.ready[self] = None
            connection.pump()

    def on_room(self) -> None:
        """Room to write may have appeared."""
        writer = self.writer
        if writer is not None and not self.crowded():
            self.writer = None
            if not writer.done():
                writer.set_result(None)

    def crowded(self) -> bool:
        """Whether writers should wait: more is queued than the limit of the stream, or of its connection."""
        connection = self.connection
        if self.closed:
            return False
        if connection.paused:
            return True
        # A stream with nothing queued may always go on: streams that wait for their own windows do not stop others.
        return bool(self.queued) and (
            self.queued > connection.write_buffer or connection.queued > 4 * connection.write_buffer
        )

    async def room(self) -> None:
        """Wait until not crowded; one writer at a time."""
        while self.crowded():
            writer = self.writer = self.connection.loop.create_future()
            try:
                await writer
            finally:
                self.writer = None

    def on_sent(self) -> None:
        """END_STREAM was sent."""
        raise NotImplementedError

    # --- the end ------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Closed, however it came to it: unread bytes are credited to the connection, unsent ones are dropped."""
        self.closed = True
        if self.chunks:
            unread = sum(map(len, self.chunks))
            self.chunks.clear()
            if not self.greedy:
                self.connection.consumed(unread)
        if self.queue is not None:
            self.drop_queue()

    def drop_queue(self) -> None:
        """Nothing that is queued will be sent."""
        connection = self.connection
        connection.queued -= self.queued
        self.queued = 0
        self.queue = None
        connection.ready.pop(self, None)
        if self.writer is not None:
            self.on_room()
