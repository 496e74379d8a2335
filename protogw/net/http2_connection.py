"""What both sides of an HTTP/2 connection share (RFC 9113): frames in, frames out, settings, both levels of flow
control, and the budgets that bound what a peer may cost. Knows no request and no reply.

Frames to send are collected and written once per event-loop turn. Nothing here has a timer per stream: `sweep` is
called about once a second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, TypeVar, cast

from protogw.net.http2_stream import Stream
from protogw.net.limits import Limits
from protogw.net.sockets import half_close
from protogw.wire import http2
from protogw.wire.hpack import table_size_update
from protogw.wire.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    SETTINGS,
    ConnectionFault,
    ErrorCode,
    pack_head,
    unpack_head,
)
from protogw.wire.huffman import HpackError

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Stream)

FRAME_LIMIT = http2.SMALLEST_FRAME_LIMIT
"""The largest payload taken: SETTINGS_MAX_FRAME_SIZE stays at its default."""

_LARGEST_FRAME = 1 << 16  # sent, whatever the peer would take, so that streams take turns
_NUISANCES = 2000  # frames of no use that a peer may be ahead
_NUISANCES_FORGIVEN = 200  # a second
_NUISANCES_PER_USE = 10  # ... and for each request, and each DATA frame sent
_RESETS = 500  # streams cut short, by either side, that a peer may be ahead of those that ended well
_RESETS_FORGIVEN = 33  # a second
_FRAGMENTS = 32  # CONTINUATION frames of one block
_FORGOTTEN = 1000  # streams reset by us, for which frames may still be on their way
_LINGER_BYTES = 1 << 20


class Http2Connection(asyncio.Protocol, Generic[S]):
    """The common half of a server and a client connection. `S` is the class of its streams."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.streams: dict[int, S] = {}
        self.closed = False
        self.paused = False
        self._deaf = False
        self.loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.write_buffer = limits.write_buffer

        # Sending: the peer's settings and windows.
        self.frame_limit = http2.SMALLEST_FRAME_LIMIT
        self.send_window = self.initial_send_window = http2.DEFAULT_WINDOW
        self.ready: dict[Stream, None] = {}
        """Streams with something queued and room in their own window, the next to send first."""
        self.queued = 0
        self.unsent = 0
        self._table_size = 4096
        self.table_update = b""
        self._out: list[bytes] = []
        self._scheduled = False

        # Receiving: our settings and windows. The defaults hold until the peer has acknowledged smaller ones.
        self.initial_receive_window = max(limits.stream_window, http2.DEFAULT_WINDOW)
        self.stream_credit_at = max(1, limits.stream_window // 2)
        self.receive_window = max(limits.connection_window, http2.DEFAULT_WINDOW)
        self._credit = 0
        self._credit_at = self.receive_window // 2
        self._partial = bytearray()
        self._needed = http2.FRAME_HEAD
        # A block that is not whole yet: its stream, END_STREAM, and the fragments.
        self._block: list[bytes] | None = None
        self._block_stream = 0
        self._block_flags = 0
        self._block_bytes = 0
        self._strict = True  # only one kind of frame may come now: SETTINGS at first, CONTINUATION within a block
        self._settled = False  # the peer's first SETTINGS has come
        self._lingering = 0
        self._ending: asyncio.TimerHandle | None = None

        # Budgets.
        self.useful = 0
        self.opened = 0
        self._useful_seen = 0
        self._opened_seen = 0
        self._nuisances = 0
        self._resets = 0
        self._forgotten: dict[int, None] = {}
        self._forgotten_below = 0
        self._swept = 0.0

    # --- what a side adds ---------------------------------------------------------------------------------------------

    def on_block(self, id: int, end: int, block: bytes) -> None:
        """A whole header block; `end` is END_STREAM or 0."""
        raise NotImplementedError

    def on_reset(self, stream: S, code: int) -> None:
        """The peer sent RST_STREAM."""
        raise NotImplementedError

    def on_late_data(self, id: int, size: int, end: int) -> bool:
        """DATA came for a stream that is not among the open ones; True says that all is done about it."""
        return False

    def on_late_reset(self, id: int) -> None:
        """RST_STREAM came for a stream that is not among the open ones."""

    def on_settings_taken(self) -> None:
        """The peer has acknowledged settings of ours."""

    def on_settings(self) -> None:
        """The peer's settings came, for the first time or anew."""

    def on_setting(self, key: int, value: int) -> None:
        """A setting that only one side cares about."""

    def on_goaway(self, last: int, code: int, reason: str) -> None:
        """The peer sent GOAWAY."""

    def on_pong(self, payload: bytes) -> None:
        """The peer answered a PING of ours."""

    def on_priority(self, id: int, payload: bytes) -> None:
        """A PRIORITY frame of the right length, for a stream that may be in any state."""

    def refuse(self, stream: S, code: ErrorCode, reason: str) -> None:
        """The peer broke the rules of one stream: reset it."""
        raise NotImplementedError

    def is_idle(self, id: int) -> bool:
        """Whether the stream was never opened."""
        raise NotImplementedError

    def fail(self, code: ErrorCode, reason: str) -> None:
        """The peer broke the rules of the connection: GOAWAY, and close."""
        raise NotImplementedError

    # --- transport ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=self.write_buffer)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._deaf:
            self._deaf = False
            self.transport.resume_reading()
        self.pump()
        for stream in list(self.streams.values()):
            if stream.writer is not None:
                stream.on_room()

    def put(self, frames: bytes) -> None:
        """Send frames with the next write."""
        self._out.append(frames)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush_scheduled)

    def put_now(self, frames: tuple[bytes, ...], alone: bool) -> None:
        """Send frames; `alone` says that nobody else is about to, so that waiting for them gains nothing."""
        self._out += frames
        if alone:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        if self._out:
            self.flush()

    def flush(self) -> None:
        """Write what was put, now."""
        out = self._out
        if not self.closed and out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            # DATA waits while the transport is paused, but heads and acknowledgements do not: a peer that makes us
            # send those and reads nothing is not listened to.
            if self.paused and not self._deaf and self.transport.get_write_buffer_size() > 2 * self.write_buffer:
                self._deaf = True
                self.transport.pause_reading()
        out.clear()
        self.unsent = 0

    def end(self, within_s: float) -> None:
        """Everything is said: half-close, and take in what still comes until the peer has closed too.

        Closing while bytes are unread would reset the connection, and with it what the peer has not read yet. Harmless
        when repeated: what has ended may be at fault too.
        """
        if self.closed:
            return
        self.flush()
        self.closed = True
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self._lingering = _LINGER_BYTES
            self._ending = self.loop.call_later(within_s, self.transport.abort)
            half_close(self.transport)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._partial.clear()
        if self._ending is not None:
            self._ending.cancel()

    # --- frames in ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.closed:
            self._lingering -= len(data)
            if self._lingering < 0:
                self.transport.abort()
            return
        if self._partial:
            partial = self._partial
            partial += data
            if len(partial) < self._needed:
                return
            data = bytes(partial)
            partial.clear()
        try:
            self._frames(data)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)
        except HpackError as error:
            self.fail(ErrorCode.COMPRESSION_ERROR, str(error))

    def _frames(self, data: bytes) -> None:
        streams = self.streams
        position, end = 0, len(data)
        while not self.closed:
            start = position + 9
            if start > end:
                self._needed = 9
                break
            high, low, kind, flags, id = unpack_head(data, position)
            size = high << 8 | low
            if size > FRAME_LIMIT:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            after = start + size
            if after > end:
                self._needed = after - position
                break
            id &= http2.LARGEST_STREAM
            if self._strict:
                self._check_order(kind, flags, id)
            if kind == DATA:
                window = self.receive_window = self.receive_window - size
                if window < 0:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA over the connection's window")
                piece = data[start:after]
                if flags & PADDED:
                    piece = http2.unpadded(flags, piece)
                stream = streams.get(id)
                if stream is None:
                    self._stray_data(id, size, flags & END_STREAM)
                else:
                    stream.on_data(piece, flags & END_STREAM, size)
            elif kind == HEADERS and flags & END_HEADERS and not flags & (PADDED | HAS_PRIORITY):
                if not id:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
                self.on_block(id, flags & END_STREAM, data[start:after])
            else:
                self._control(kind, flags, id, data[start:after])
            position = after
        if position < end:
            self._partial += data[position:] if position else data

    def _check_order(self, kind: int, flags: int, id: int) -> None:
        if self._block is not None:
            if kind != CONTINUATION or id != self._block_stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
        elif kind != SETTINGS or flags & ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        else:
            self._settled = True
            self._strict = False

    def _stray_data(self, id: int, size: int, end: int) -> None:
        if self.on_late_data(id, size, end):
            return
        if self.is_idle(id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that is idle")
        if not self.was_reset(id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a stream that is closed")
        self.nuisance(1)
        self.consumed(size)

    def _control(self, kind: int, flags: int, id: int, payload: bytes) -> None:
        """Any frame but DATA and the plainest HEADERS."""
        if kind == http2.WINDOW_UPDATE:
            self._on_window_update(id, payload)
        elif kind == SETTINGS:
            self._on_settings(flags, id, payload)
        elif kind == http2.PING:
            if len(payload) != 8:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
            if id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
            self.nuisance(1)
            if flags & ACK:
                self.on_pong(payload)
            else:
                self.put(http2.frame(http2.PING, ACK, 0, payload))
        elif kind == HEADERS:
            self._on_headers(flags, id, payload)
        elif kind == CONTINUATION:
            self._on_continuation(flags, payload)
        elif kind == http2.RST_STREAM:
            if len(payload) != 4:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
            if self.is_idle(id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on a stream that is idle")
            stream = self.streams.get(id)
            if stream is None:
                self.nuisance(1)
                self.on_late_reset(id)
            else:
                self.on_reset(stream, int.from_bytes(payload, "big"))
        elif kind == http2.GOAWAY:
            if id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is under 8 bytes")
            self.nuisance(10)
            last = int.from_bytes(payload[:4], "big") & http2.LARGEST_STREAM
            reason = payload[8:200].decode("ascii", "backslashreplace")
            self.on_goaway(last, int.from_bytes(payload[4:8], "big"), reason)
        elif kind == http2.PRIORITY:
            if not id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
            self.nuisance(1)
            self.on_priority(id, payload)
        elif kind == http2.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which is off")
        else:
            self.nuisance(1)  # extensions are ignored, section 5.5

    def _on_headers(self, flags: int, id: int, payload: bytes) -> None:
        if not id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        payload = http2.unpadded(flags, payload)
        depends = 0
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            depends = int.from_bytes(payload[:4], "big") & http2.LARGEST_STREAM
            payload = payload[5:]
        if flags & END_HEADERS:
            self.on_block(id, flags & END_STREAM, payload)
        else:
            self._block = [payload]
            self._block_stream = id
            self._block_flags = flags & END_STREAM
            self._block_bytes = len(payload)
            self._strict = True
        if depends == id:
            self.on_priority(id, payload=depends.to_bytes(4, "big") + b"\x00")

    def _on_continuation(self, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION outside a header block")
        block.append(payload)
        self._block_bytes += len(payload)
        if self._block_bytes > self.limits.header_bytes or len(block) > _FRAGMENTS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block over the limit")
        if flags & END_HEADERS:
            self._block = None
            self._strict = False
            self.on_block(self._block_stream, self._block_flags, b"".join(block))

    # --- settings and windows -----------------------------------------------------------------------------------------

    def _on_settings(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS acknowledgement with a payload")
            self.nuisance(1)
            change = self.limits.stream_window - self.initial_receive_window
            if change:
                self.initial_receive_window += change
                for stream in self.streams.values():
                    stream.receive_window += change
            self.on_settings_taken()
            return
        self.nuisance(10)
        window = self.initial_send_window
        for key, value in http2.read_settings(payload):
            if key == http2.INITIAL_WINDOW_SIZE:
                window = value
            elif key == http2.MAX_FRAME_SIZE:
                self.frame_limit = min(value, _LARGEST_FRAME)
            elif key == http2.HEADER_TABLE_SIZE:
                if value < self._table_size:
                    self._table_size = value
                    self.table_update = table_size_update(value)
            else:
                self.on_setting(key, value)
        if window != self.initial_send_window:
            self._resize(window)
        self.put(http2.SETTINGS_ACK)
        self.pump()
        self.on_settings()

    def _resize(self, window: int) -> None:
        """The streams' windows change with the setting. Once in a frame: a frame may say it thousands of times."""
        change = window - self.initial_send_window
        self.initial_send_window = window
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > http2.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS makes a window overflow")
            if stream.queue and stream.send_window > 0:
                self.ready[stream] = None

    def _on_window_update(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        increment = int.from_bytes(payload, "big") & http2.LARGEST_WINDOW
        self.nuisance(1)
        if not id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self.send_window += increment
            if self.send_window > http2.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
            if self.ready:
                self.pump()
            return
        stream = self.streams.get(id)
        if stream is None:
            if self.is_idle(id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is idle")
        elif not increment:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        else:
            stream.send_window += increment
            if stream.send_window > http2.LARGEST_WINDOW:
                self.refuse(stream, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
            elif stream.queue and stream.send_window > 0:
                self.ready[stream] = None
                self.pump()

    def consumed(self, size: int) -> None:
        """Give the peer credit for `size` bytes of DATA, at the latest when half of the window is used up."""
        credit = self._credit + size
        if credit >= self._credit_at:
            self.receive_window += credit
            self.window_update(0, credit)
            credit = 0
        self._credit = credit

    def open_windows(self, settings: list[tuple[int, int]]) -> bytes:
        """The first frames of a side: its SETTINGS with the stream window added, and the connection's window."""
        frames = http2.settings_frame([*settings, (http2.INITIAL_WINDOW_SIZE, self.limits.stream_window)])
        if self.receive_window > http2.DEFAULT_WINDOW:
            frames += http2.window_update_frame(0, self.receive_window - http2.DEFAULT_WINDOW)
        return frames

    def window_update(self, id: int, increment: int) -> None:
        self.put(http2.window_update_frame(id, increment))

    def headers(self, id: int, flags: int, block: bytes) -> bytes:
        """The frames of a header block, as this peer wants them."""
        if self.table_update:
            block = self.table_update + block
            self.table_update = b""
        size = len(block)
        if size <= self.frame_limit:
            return pack_head(size >> 8, size & 0xFF, HEADERS, flags | END_HEADERS, id) + block
        return http2.headers_frames(id, flags, block, self.frame_limit)

    # --- frames out ---------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is queued, a frame from each stream in turn, as far as windows and the transport have room."""
        ready = self.ready
        limit = self.frame_limit
        while ready and not self.paused and not self.closed and self.send_window > 0:
            stream = next(iter(ready))
            del ready[stream]
            queue = stream.queue
            if not queue or stream.send_window <= 0:
                continue  # until its own window opens
            head = queue[0]
            start = stream.offset
            size = min(limit, stream.send_window, self.send_window, len(head) - start)
            after = start + size
            if after == len(head):
                queue.popleft()
                stream.offset = 0
                piece = head[start:] if start else head
            else:
                stream.offset = after
                piece = head[start:after]
            last = not queue and stream.tail is not None
            flags = END_STREAM if last and not stream.tail else 0
            self.put(pack_head(size >> 8, size & 0xFF, DATA, flags, stream.id) + piece)
            stream.send_window -= size
            stream.queued -= size
            self.send_window -= size
            self.queued -= size
            self.useful += 1
            self.unsent += size
            if last:
                if stream.tail:
                    self.put(stream.tail)
                stream.on_sent()
            elif queue and stream.send_window > 0:
                ready[stream] = None
            if self.unsent > self.write_buffer:
                self.flush()
            if stream.writer is not None:
                stream.on_room()

    # --- budgets ------------------------------------------------------------------------------------------------------

    def nuisance(self, cost: int) -> None:
        """Count a frame that asks for work and brings nothing; raises ConnectionFault when it is too much."""
        self._nuisances += cost
        if self._nuisances > _NUISANCES:
            useful = self.useful - self._useful_seen
            self._useful_seen = self.useful
            self._nuisances = max(0, self._nuisances - useful * _NUISANCES_PER_USE)
            if self._nuisances > _NUISANCES:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames of no use")

    def cut_short(self) -> None:
        """Count a stream that was reset, whoever made it so; raises ConnectionFault when too many are.

        Requests that go well earn as many resets: those opened since the last reset are taken off.
        """
        well = self.opened - self._opened_seen - 1
        self._opened_seen = self.opened
        self._resets = max(0, self._resets - max(0, well)) + 1
        if self._resets > _RESETS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams are reset")

    def forget(self, id: int) -> None:
        """Frames for this stream, which we reset, may still be on their way: they are ignored."""
        forgotten = self._forgotten
        if len(forgotten) >= _FORGOTTEN:
            oldest = next(iter(forgotten))
            del forgotten[oldest]
            self._forgotten_below = max(self._forgotten_below, oldest)
        forgotten[id] = None

    def was_reset(self, id: int) -> bool:
        return id in self._forgotten or id <= self._forgotten_below

    def sweep(self, now: float) -> None:
        """Called about once a second with the loop's time."""
        passed = now - self._swept if self._swept else 1.0
        self._swept = now
        if self._nuisances:
            self._nuisances = max(0, self._nuisances - int(_NUISANCES_FORGIVEN * passed))
        if self._resets:
            self._resets = max(0, self._resets - int(_RESETS_FORGIVEN * passed))
