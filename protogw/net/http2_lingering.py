"""Streams answered before their request had all come: what still comes of it is dropped, and the reset waits.

RFC 9113 section 8.1 lets a server reset such a stream once its answer is complete, so that the client stops sending.
But clients that read the reset together with the answer may act on it first and never see the answer, so it is sent
only if they have not ended the stream by themselves a while later. Until then a client may use up the stream's window,
which is not opened again; the connection's is, so that other streams go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protogw.wire.http2 import ErrorCode, rst_stream_frame

if TYPE_CHECKING:
    from protogw.net.http2_server import Http2ServerConnection

LINGER_S = 0.5
"""From the answer to the reset: what a busy client needs to read the one before the other. A client that waits for room
in the stream's window waits as long."""


class Lingering:
    """Those of one connection, with one timer for all."""

    __slots__ = ("_connection", "_timer", "streams")

    def __init__(self, connection: Http2ServerConnection) -> None:
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None
        self.streams: dict[int, tuple[float, int]] = {}
        """By id, the oldest first: the loop's time of the reset, and the bytes that the client may still send."""

    def add(self, id: int, window: int) -> None:
        """The stream is answered, and its request has not ended."""
        connection = self._connection
        due = connection.loop.time() + LINGER_S
        self.streams[id] = (due, window)
        if self._timer is None:
            self._timer = connection.loop.call_at(due, self._on_time)
        if len(self.streams) + len(connection.streams) > connection.limits.concurrent_streams:
            self.make_room()

    def on_data(self, id: int, size: int, end: int) -> None:
        """A DATA frame of `size` bytes came for a stream that lingers."""
        connection = self._connection
        connection.consumed(size)
        due, window = self.streams[id]
        if size > window:
            connection.cut_short()
            self._reset(id, ErrorCode.FLOW_CONTROL_ERROR)
        elif end:
            self.leave(id)
        else:
            self.streams[id] = (due, window - size)
            if not size:
                connection.nuisance(1)

    def on_trailers(self, id: int, end: int) -> None:
        """A header block came for a stream that lingers."""
        if end:
            self.leave(id)
        else:
            self._connection.cut_short()
            self._reset(id, ErrorCode.PROTOCOL_ERROR)

    def leave(self, id: int) -> None:
        """The stream is over, and so, perhaps, is what a connection that drains has waited for."""
        del self.streams[id]
        if not self.streams:
            self.clear()
            self._connection.on_lingered()

    def make_room(self) -> bool:
        """Reset the stream that has lingered longest, for one that is opened; False if there is none."""
        for id in self.streams:
            self._reset(id, ErrorCode.NO_ERROR)
            return True
        return False

    def clear(self) -> None:
        """Wait for no stream any more."""
        self.streams.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def expire(self, now: float) -> None:
        """Reset the streams whose time has come."""
        for id in [id for id, (due, _) in self.streams.items() if due <= now]:
            self._reset(id, ErrorCode.NO_ERROR)

    def _on_time(self) -> None:
        self._timer = None
        loop = self._connection.loop
        # The loop calls up to a tick of its clock early.
        self.expire(loop.time() + 0.01)
        for due, _ in self.streams.values():
            self._timer = loop.call_at(due, self._on_time)
            break

    def _reset(self, id: int, code: ErrorCode) -> None:
        self._connection.put(rst_stream_frame(id, code))
        self._connection.forget(id)
        self.leave(id)
