"""The server's side of an HTTP/2 connection: requests become tasks, each with its stream as the Exchange."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from protogw.net.http2_connection import Http2Connection
from protogw.net.http2_lingering import Lingering
from protogw.net.http2_server_stream import ServerStream
from protogw.net.http2_switched import SwitchableStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.hpack import Decoder, FieldsTooLarge, MalformedFields, encode
from protogw.wire.http import Header, Peer
from protogw.wire.http2 import DATA, END_STREAM, PREFACE, ConnectionFault, ErrorCode
from protogw.wire.http2_heads import Http2RequestHead, request_head

logger = logging.getLogger(__name__)

_QUIET_S = 10.0  # an idle connection gives back what it kept to save work
_LINGER_S = 1.0  # from an error to the close
_DRAIN_PING = b"\x00\x00drain\x00"
_SKIPPED = 64  # ranges of stream ids passed over that are remembered


class Http2ServerConnection(Http2Connection[ServerStream]):
    """Serves one client, whose first bytes are the connection preface.

    `serve` is run as one task per request. The tasks belong to the connection: it cancels them when the client resets
    the stream or is lost. `on_close` is called once, when the transport is gone.
    """

    def __init__(
        self,
        serve: Callable[[ServerStream], Awaitable[None]],
        limits: Limits,
        peer: Peer | None = None,
        *,
        on_close: Callable[[Http2ServerConnection], None] | None = None,
    ) -> None:
        super().__init__(limits)
        self.peer = peer
        self.on_close = on_close
        self.draining = False
        self._serve = serve
        self._decoder: Decoder[Http2RequestHead | tuple[Header, ...]] = Decoder(
            self._head, header_bytes=limits.header_bytes, header_count=limits.header_count
        )
        self._blocks = self._decoder.blocks
        self._most_streams = limits.concurrent_streams
        self._last = 0
        self._skipped: list[tuple[int, int]] = []
        self._preface = PREFACE
        self.unended = Lingering(self)
        self._late = self.unended.streams
        self._tasks: set[asyncio.Task[None]] = set()
        self._final = False
        self._drained_s = 0.0
        self._idle_s = 0.0
        self._opened_swept = 0
        self._opening_s = 0.0
        self._stuck = b""
        self._stuck_s = 0.0

    @property
    def active(self) -> int:
        """Requests in flight."""
        return len(self.streams)

    # --- the transport ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.peer is None:
            name = transport.get_extra_info("peername")
            host, port = name[:2] if isinstance(name, tuple) else ("", 0)
            self.peer = Peer(host, port, tls=transport.get_extra_info("ssl_object") is not None)
        limits = self.limits
        self.put(
            self.open_windows(
                [
                    (http2.MAX_CONCURRENT_STREAMS, limits.concurrent_streams),
                    (http2.MAX_HEADER_LIST_SIZE, limits.header_bytes),
                    (http2.ENABLE_CONNECT_PROTOCOL, 1),
                ]
            )
        )

    def data_received(self, data: bytes) -> None:
        if self._preface:
            expected, got = self._preface, data[: len(self._preface)]
            if not expected.startswith(got):
                self.fail(ErrorCode.PROTOCOL_ERROR, "a bad connection preface")
                return
            self._preface = expected[len(got) :]
            data = data[len(got) :]
            if not data:
                return
        super().data_received(data)

    def eof_received(self) -> bool | None:
        # No HTTP/2 client sends FIN before it is done with the connection, and a killed one sends it too: calls of
        # clients that are gone must end, so it is taken as the end of everything.
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.unended.clear()
        for stream in list(self.streams.values()):
            self._drop(stream)
        if self.on_close is not None:
            self.on_close(self)
            self.on_close = None

    # --- requests -----------------------------------------------------------------------------------------------------

    def _head(self, fields: list[Header]) -> Http2RequestHead | tuple[Header, ...]:
        head = request_head(fields)
        if isinstance(head, Http2RequestHead) and len(head.path) + len(head.query) > self.limits.target_bytes:
            head.refusal = 414
        return head

    def on_block(self, id: int, end: int, block: bytes) -> None:
        streams = self.streams
        if id <= self._last or not id & 1:
            stream = streams.get(id)
            if stream is None:
                self._on_stray_block(id, end, block)
            else:
                self._on_trailers(stream, end, block)
            return
        if id != self._last + 2 and len(self._skipped) < _SKIPPED:
            self._skipped.append((self._last, id))
        head = self._blocks.get(block)
        if head is None:
            try:
                head = self._decoder.decode(block)
            except MalformedFields as error:
                self._last = id
                self._refuse_unopened(id, ErrorCode.PROTOCOL_ERROR, str(error))
                return
            except FieldsTooLarge:
                self._last = id
                self._answer_unopened(id, end, 431)
                return
        self._last = id
        if self._final:
            self.forget(id)  # it came after the last stream that GOAWAY names
            return
        self.opened += 1
        if type(head) is tuple:
            self._refuse_unopened(id, ErrorCode.PROTOCOL_ERROR, "no pseudo-header fields")
            return
        assert isinstance(head, Http2RequestHead)
        assert self.peer is not None
        if len(streams) + len(self._late) >= self._most_streams and not self.unended.make_room():
            self._refuse_unopened(id, ErrorCode.REFUSED_STREAM, "too many streams")
            return
        if head.refusal:
            self._answer_unopened(id, end, head.refusal)
            return
        stream = (SwitchableStream if head.upgrade else ServerStream)(self, id, head, self.peer)
        if end:
            if head.length > 0:
                self._refuse_unopened(id, ErrorCode.PROTOCOL_ERROR, "no DATA for content-length")
                return
            stream.remote_closed = True
        streams[id] = stream
        task = stream.task = self.loop.create_task(self._run(stream))
        self._tasks.add(task)

    def _on_trailers(self, stream: ServerStream, end: int, block: bytes) -> None:
        try:
            fields = self._blocks.get(block)
            if fields is None:
                fields = self._decoder.decode(block)
        except MalformedFields as error:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, str(error))
            return
        except FieldsTooLarge as error:
            self.refuse(stream, ErrorCode.ENHANCE_YOUR_CALM, str(error))
            return
        if stream.remote_closed:
            self.refuse(stream, ErrorCode.STREAM_CLOSED, "HEADERS after the end")
        elif not end:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "HEADERS that neither open nor end the stream")
        elif not isinstance(fields, tuple):
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "pseudo-header fields in trailers")
        elif 0 <= stream.declared != stream.bytes_in:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "DATA does not match content-length")
        else:
            stream.request_trailers = fields
            stream.remote_closed = True
            stream.on_arrival()

    def _on_stray_block(self, id: int, end: int, block: bytes) -> None:
        try:
            self._decoder.decode(block)
        except (MalformedFields, FieldsTooLarge):
            pass  # only the compression state matters here
        if id in self._late:
            self.unended.on_trailers(id, end)
            return
        if not id & 1 or any(low < id < high for low, high in self._skipped):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream id that is even, or lower than one before")
        if not self.was_reset(id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that is closed")
        self.nuisance(1)

    def _refuse_unopened(self, id: int, code: ErrorCode, reason: str) -> None:
        logger.debug("stream %d refused, %s: %s", id, code.name, reason)
        self.put(http2.rst_stream_frame(id, code))
        self.forget(id)
        self.cut_short()

    def _answer_unopened(self, id: int, end: int, status: int) -> None:
        """Answer a request that no front end is asked about."""
        self.put(self.headers(id, END_STREAM, encode([(b":status", b"%d" % status), (b"content-length", b"0")])))
        if end:
            self.forget(id)
        else:
            self.unended.add(id, self.initial_receive_window)
        self.nuisance(5)

    async def _run(self, stream: ServerStream) -> None:
        stream.begun = True
        try:
            await self._serve(stream)
        except Exception:
            logger.exception("unhandled fault in %r", stream)
        finally:
            if stream.task is not None:
                self._tasks.discard(stream.task)
            stream.leave()

    def on_answered(self, stream: ServerStream) -> None:
        """The answer is sent whole: the stream is over, and what is left of the request is not wanted."""
        del self.streams[stream.id]
        if not stream.remote_closed:
            self.unended.add(stream.id, stream.receive_window)
        stream.release()
        if self._final and not self.streams:
            self._finish()

    def on_lingered(self) -> None:
        """No stream lingers any more."""
        if self._final and not self.streams:
            self._finish()

    def on_late_data(self, id: int, size: int, end: int) -> bool:
        if id not in self._late:
            return False
        self.unended.on_data(id, size, end)
        return True

    def on_late_reset(self, id: int) -> None:
        if id in self._late:
            self.unended.leave(id)

    def on_reset(self, stream: ServerStream, code: int) -> None:
        self._drop(stream)
        self.cut_short()

    def refuse(self, stream: ServerStream, code: ErrorCode, reason: str) -> None:
        logger.debug("%r reset, %s: %s", stream, code.name, reason)
        self.put(http2.rst_stream_frame(stream.id, code))
        self.forget(stream.id)
        self._drop(stream)
        self.cut_short()

    def cut(self, stream: ServerStream, code: ErrorCode) -> None:
        """Reset a stream for a reason of ours; the task goes on."""
        self.put(http2.rst_stream_frame(stream.id, code))
        self.forget(stream.id)
        del self.streams[stream.id]
        stream.release()
        if self._final and not self.streams:
            self._finish()

    def _drop(self, stream: ServerStream) -> None:
        """The stream is closed for the client: its task ends."""
        del self.streams[stream.id]
        stream.release()
        task = stream.task
        if task is not None:
            task.cancel()
            if not stream.begun:  # its first step will never run
                self._tasks.discard(task)
        if self._final and not self.streams and not self.closed:
            self._finish()

    # --- rules of the server's side -----------------------------------------------------------------------------------

    def is_idle(self, id: int) -> bool:
        return id > self._last or not id & 1

    def on_priority(self, id: int, payload: bytes) -> None:
        if len(payload) != 5:
            reason, code = "PRIORITY is not 5 bytes", ErrorCode.FRAME_SIZE_ERROR
        elif int.from_bytes(payload[:4], "big") & http2.LARGEST_STREAM == id:
            reason, code = "a stream that depends on itself", ErrorCode.PROTOCOL_ERROR
        else:
            return
        stream = self.streams.get(id)
        if stream is not None:
            self.refuse(stream, code, reason)
        elif self.is_idle(id):
            raise ConnectionFault(code, reason)

    def on_pong(self, payload: bytes) -> None:
        if payload == _DRAIN_PING:
            self._say_final()

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no more requests and close once those in flight have ended (RFC 9113 section 6.8).

        The first GOAWAY allows for requests that are on their way; the second, a round trip later, names the last one.
        """
        if self.draining or self.closed:
            return
        self.draining = True
        self.put(http2.goaway_frame(http2.LARGEST_STREAM, ErrorCode.NO_ERROR))
        self.put(http2.frame(http2.PING, 0, 0, _DRAIN_PING))
        for stream in list(self.streams.values()):
            if stream.when_drained is not None:
                stream.when_drained()

    def _say_final(self) -> None:
        if self.draining and not self._final and not self.closed:
            self._final = True
            self.put(http2.goaway_frame(self._last, ErrorCode.NO_ERROR))
            if not self.streams:
                self._finish()

    def _finish(self) -> None:
        if self._late:
            return  # `on_lingered` comes back to it
        self.flush()
        # Time to read what is still in our buffer; a client that has it all has only to close.
        unsent = self.transport.get_write_buffer_size()
        self.end(self.limits.header_timeout_s if unsent else _LINGER_S)

    def close(self) -> None:
        """Close now: the tasks are cancelled, their requests reset."""
        if not self.closed:
            self._close(ErrorCode.NO_ERROR, "")

    def fail(self, code: ErrorCode, reason: str) -> None:
        logger.info("connection from %s closed, %s: %s", self.peer.host if self.peer else "?", code.name, reason)
        self._close(code, reason)

    def _close(self, code: ErrorCode, reason: str) -> None:
        self.put(http2.goaway_frame(self._last, code, reason))
        self.end(_LINGER_S)
        self.unended.clear()
        for stream in list(self.streams.values()):
            self._drop(stream)

    # --- time ---------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End what has taken too long; called about once a second with the loop's time."""
        passed = now - self._swept if self._swept else 1.0
        super().sweep(now)
        if self.closed:
            return
        limits = self.limits
        if self.draining and not self._final:
            self._drained_s += passed
            if self._drained_s >= 2.0:
                self._say_final()
                return
        if self._strict:  # the preface, the first SETTINGS or a header block is being waited for
            self._opening_s += passed
            if self._opening_s > limits.header_timeout_s:
                self.fail(ErrorCode.ENHANCE_YOUR_CALM, "the header block or the settings took too long")
                return
        else:
            self._opening_s = 0.0
        stuck = bytes(self._partial[:9])
        if stuck and stuck == self._stuck and (len(stuck) < 4 or stuck[3] != DATA):
            self._stuck_s += passed
            if self._stuck_s > limits.header_timeout_s:
                self.fail(ErrorCode.ENHANCE_YOUR_CALM, "a frame took too long")
                return
        else:
            self._stuck, self._stuck_s = stuck, 0.0
        used, self._opened_swept = self.opened != self._opened_swept, self.opened
        if not self.streams and not used:
            before, self._idle_s = self._idle_s, self._idle_s + passed
            if self._idle_s >= limits.idle_s:
                self._close(ErrorCode.NO_ERROR, "idle")
            elif before < _QUIET_S <= self._idle_s:
                self._decoder.forget()
            return
        self._idle_s = 0.0
        try:
            for stream in list(self.streams.values()):
                self._sweep_stream(stream, passed)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)

    def _sweep_stream(self, stream: ServerStream, passed: float) -> None:
        mark = stream.bytes_in + stream.bytes_out - stream.queued
        if mark != stream.mark:
            stream.mark, stream.idle = mark, 0.0
        else:
            stream.idle += passed
            if stream.idle >= self.limits.idle_s:
                stream.on_stall()
                return
        if stream.greedy and not stream.remote_closed:
            stream.slow_s += passed
            if stream.slow_s >= self.limits.header_timeout_s:
                if stream.bytes_in - stream.slow_mark < self.limits.min_rate * stream.slow_s:
                    stream.on_stall()
                stream.slow_s, stream.slow_mark = 0.0, stream.bytes_in

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self.draining else "open"
        return f"<Http2ServerConnection from {self.peer.host if self.peer else '?'} {state}, {self.active} in flight>"
