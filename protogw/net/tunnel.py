"""Both directions of a connection that has left HTTP (wire/http.py ByteStream), for either side of HTTP/1.1.

It takes the transport over from the HTTP connection, which still owns it. What the peer has sent and nobody has read is
bounded by pausing the transport, what the peer does not take by letting the writer wait. Knows nothing of what passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from protogw.errors import GatewayError
from protogw.net.limits import Limits
from protogw.net.sockets import half_close, reset

_DROPPED_BYTES = 1 << 20
"""How much is read and dropped of a peer that goes on sending when its reader is done."""


class Meter(Protocol):
    """Where the bytes of both directions are counted."""

    bytes_in: int
    bytes_out: int


class Tunnel(asyncio.Protocol):
    """A ByteStream over a TCP or TLS transport. `broken` makes the error of a peer that is gone out of how it went.

    `on_lost` is called once when the transport is gone, with its error or None.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        limits: Limits,
        meter: Meter,
        *,
        broken: Callable[[str], GatewayError],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        self.ended = False
        """Nothing more will be written."""
        self.lost = False
        """The transport is gone."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._window = limits.stream_window
        self._meter = meter
        self._broken = broken
        self._on_lost = on_lost
        self._half_closes = transport.can_write_eof()  # TLS has no half-open connections in asyncio
        self._pieces: list[bytes] = []
        self._unread = 0
        self._peer_ended = False
        self._dropping = False
        self._reading_held = False
        self._writing_held = False
        self._fault: GatewayError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def take_over(self, ahead: bytes, *, peer_ended: bool, reading_held: bool, writing_held: bool) -> None:
        """Be the transport's protocol from now on; `ahead` is what the peer has sent for it already."""
        self._reading_held = reading_held
        self._writing_held = writing_held
        self._transport.set_protocol(self)
        if ahead:
            self.data_received(ahead)
        elif reading_held:
            self._release()
        if peer_ended:
            self._peer_ended = True

    # --- transport ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self._meter.bytes_in += size
        self._unread += size
        if self._dropping:
            if self._unread > _DROPPED_BYTES:
                self._transport.abort()
            return
        self._pieces.append(data)
        if self._reader is not None:
            self._wake_reader()
        if self._unread > self._window and not self._reading_held and not self._peer_ended:
            self._reading_held = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._peer_ended = True
        self._wake_reader()
        return self._half_closes and not self.ended

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self.break_off(self._broken("closed" if exc is None else "reset"))
            self._on_lost(exc)

    def pause_writing(self) -> None:
        self._writing_held = True

    def resume_writing(self) -> None:
        self._writing_held = False
        self._wake_writer()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():
                reader.set_result(None)

    def _wake_writer(self) -> None:
        writer = self._writer
        if writer is not None:
            self._writer = None
            if not writer.done():
                writer.set_result(None)

    # --- ByteStream ---------------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """The next bytes, b"" once the peer has ended its direction; raises GatewayError when it broke off."""
        pieces = self._pieces
        while not pieces:
            if self._peer_ended:
                return b""
            if self._fault is not None:
                raise self._fault
            reader = self._reader = self._loop.create_future()
            await reader
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._reading_held:
            self._release()
        return data

    def _release(self) -> None:
        if self._unread <= self._window:
            self._reading_held = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer leaves no room. Raises GatewayError when it is gone."""
        if self._fault is not None:
            raise self._fault
        if self.ended:
            raise RuntimeError("a write after the end")
        self._meter.bytes_out += len(data)
        self._transport.write(data)
        while self._writing_held:
            if self._writer is None:
                self._writer = self._loop.create_future()
            await asyncio.shield(self._writer)
            if self._fault is not None:
                raise self._fault

    def end(self) -> None:
        """Nothing more will be written. Where the transport has no half-close, it is closed."""
        if self.ended:
            return
        self.ended = True
        if self._fault is not None:
            return
        if self._peer_ended or not self._half_closes:
            self._peer_ended = True
            self._wake_reader()
            self._transport.close()
        else:
            half_close(self._transport)

    def abort(self) -> None:
        """Give up both directions at once; the peer sees a reset. Harmless after the end of both."""
        if self.lost or (self.ended and (self._peer_ended or not self._half_closes)):
            return
        self.break_off(self._broken("was made to close"))
        self.ended = True
        reset(self._transport)

    # --- for the connection that owns it ------------------------------------------------------------------------------

    def break_off(self, fault: GatewayError) -> None:
        """Whoever reads or writes here learns of this fault."""
        if self._fault is None:
            self._fault = fault
        self._wake_reader()
        self._wake_writer()

    def drop(self) -> None:
        """Nobody reads any more: what still comes is dropped, up to a bound, until the peer has ended too."""
        self._dropping = True
        self._pieces.clear()
        self._unread = 0
        if self._reading_held:
            self._release()
