"""WebSocket messages over a connection that has left HTTP: both sides, over any ByteStream. Knows nothing of its peers.

Whoever receives drives it: bytes are read, pings answered and the peer's Close noticed while a `receive` is waiting,
and a socket whose messages nobody takes is not read, so that its peer must wait. One task receives, any number send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogw.errors import GatewayError
from protogw.wire.http import ByteStream, Header, ResponseHead
from protogw.wire.websocket import (
    ABNORMAL,
    BINARY,
    PING,
    PONG,
    TEXT,
    Close,
    Control,
    Deflater,
    Inflater,
    Reader,
    SocketFault,
    Writer,
)
from protogw.wire.websocket_handshake import Compression, asked, asking, granted

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

NORMAL, GOING_AWAY = 1000, 1001

_SOON_S = 1.0

_DROPPED_BYTES = 1 << 20
"""How much is read and dropped of a server that goes on sending after the end."""

_EVENTS_A_TURN = 64
"""What is taken from one piece of what has arrived before others get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """The bounds of one socket. Bytes and seconds throughout."""

    message_bytes: int = 16 << 20
    """The largest message taken, as it is once unpacked."""
    deflate: bool = True
    """Compress messages where the peer offers to (permessage-deflate)."""
    deflate_above: int = 512
    """Messages up to this size are sent as they are: they would hardly become smaller."""
    ping_interval_s: float = 30.0
    """How often the peer is asked whether it is there."""
    pong_timeout_s: float = 20.0
    """How long it may take to answer."""
    idle_s: float = 3600.0
    """A socket without a message in either direction is closed after this."""
    close_timeout_s: float = 5.0
    """How long the peer may take to answer a Close, and then to end the connection."""


class SocketClosed(Exception):
    """The socket carries no more messages. 1005: a Close without a code; 1006: the connection broke off without one.

    With `ours`, the peer has broken the protocol or a limit, and the code is what it was told.
    """

    def __init__(self, code: int, reason: str, *, ours: bool = False) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.ours = ours


class WebSocket:
    """One open socket; made by `accept` and `connected`."""

    __slots__ = (
        "_active_at",
        "_client",
        "_close_sent",
        "_closed",
        "_finished",
        "_heard",
        "_idle_timer",
        "_keeper",
        "_left",
        "_loop",
        "_options",
        "_ping_timer",
        "_reader",
        "_receiving",
        "_run",
        "_stream",
        "_writer",
        "subprotocol",
    )

    def __init__(
        self,
        stream: ByteStream,
        options: SocketOptions,
        *,
        client: bool,
        subprotocol: str = "",
        compression: Compression | None = None,
    ) -> None:
        inflater = deflater = None
        if compression is not None:
            inflater = Inflater(keeps=compression.they_keep)
            deflater = Deflater(keeps=compression.we_keep, bits=compression.our_bits)
        self.subprotocol = subprotocol
        self._stream = stream
        self._options = options
        self._client = client
        self._reader = Reader(masked=not client, message_bytes=options.message_bytes, inflater=inflater)
        self._writer = Writer(masked=client, deflater=deflater, deflate_above=options.deflate_above)
        self._loop = asyncio.get_running_loop()
        self._close_sent = False
        self._closed: SocketClosed | None = None
        """How it ended, once it has."""
        self._finished: asyncio.Future[SocketClosed] = self._loop.create_future()
        self._receiving = False
        self._left: asyncio.Future[None] | None = None
        """Wakes `close` when whoever receives is no longer at it."""
        self._run = 0
        """Events since others had their turn."""
        self._active_at = self._loop.time()
        self._heard = True
        """Something has arrived since the last ping."""
        self._keeper: asyncio.Task[None] | None = None
        self._ping_timer = self._loop.call_later(options.ping_interval_s, self._ping_due)
        self._idle_timer = self._loop.call_later(options.idle_s, self._idle_due)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """The next message, text or binary; raises SocketClosed once there is none."""
        if self._closed is not None:
            raise self._closed
        if self._receiving:
            if not self._close_sent:
                raise RuntimeError("another task receives")
            await asyncio.wait((self._finished,))  # `close` receives, and drops what it gets
            raise self._finished.result()
        self._receiving = True
        reader = self._reader
        try:
            while True:
                event = reader.next()
                kind = event.__class__
                if kind is str or kind is bytes:
                    if self._close_sent:
                        continue
                    self._active_at = self._loop.time()
                    self._run += 1
                    if self._run > _EVENTS_A_TURN:
                        self._run = 0
                        await asyncio.sleep(0)
                    return event  # type: ignore[return-value]
                if event is None:
                    data = await self._stream.read()
                    self._run = 0
                    self._heard = True
                    if not data:
                        self._stream.abort()
                        raise self._over(ABNORMAL, "the peer ended the connection without a Close")
                    reader.feed(data)
                elif isinstance(event, Close):
                    closed = self._over(event.code, event.reason)
                    await self._part(event.code, "")
                    raise closed
                else:
                    assert isinstance(event, Control)
                    await self._on_control(event)
        except SocketFault as fault:
            # The peer is told what it did, and not listened to any more (RFC 6455 section 7.1.7).
            closed = self._over(fault.code, fault.reason, ours=True)
            await self._part(fault.code, fault.reason)
            raise closed from None
        except GatewayError as error:
            raise self._over(ABNORMAL, error.message) from error
        finally:
            self._receiving = False
            if self._left is not None and not self._left.done():
                self._left.set_result(None)

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message; waits while the peer leaves no room. Raises SocketClosed."""
        if isinstance(message, str):
            await self.send_text(message.encode())
        else:
            await self._send(BINARY, message)

    async def send_text(self, message: bytes) -> None:
        """Send a text message that is there as UTF-8."""
        await self._send(TEXT, message)

    async def _send(self, opcode: int, message: bytes) -> None:
        if self._close_sent or self._closed is not None:
            raise self._closed or SocketClosed(ABNORMAL, "the socket is closing")
        self._active_at = self._loop.time()
        try:
            await self._stream.write(self._writer.frame(opcode, message))
        except GatewayError as error:
            raise self._over(ABNORMAL, error.message) from error

    async def _on_control(self, event: Control) -> None:
        if event.opcode == PING and not self._close_sent:
            await self._stream.write(self._writer.frame(PONG, event.payload))
        self._run += 1
        if self._run > _EVENTS_A_TURN:
            self._run = 0
            await asyncio.sleep(0)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye, and wait a while for the peer to do so too. Messages that still come are dropped.

        A `receive` that is waiting meanwhile raises SocketClosed. Harmless when the socket is closed, or closing.
        """
        if self._closed is not None or self._close_sent:
            return
        self._close_sent = True
        try:
            async with asyncio.timeout(self._options.close_timeout_s):
                await self._stream.write(self._writer.close(code, reason))
                while self._closed is None:
                    if self._receiving:
                        self._left = self._loop.create_future()
                        await self._left
                    else:
                        await self.receive()
        except SocketClosed:
            pass
        except (GatewayError, TimeoutError):
            self._over(ABNORMAL, "the peer did not answer the Close")
            self._stream.abort()

    async def _part(self, code: int, reason: str) -> None:
        """Say goodbye if that has not been done, and end our direction. The server is the first to end the connection;
        as a client, wait for that."""
        try:
            async with asyncio.timeout(self._options.close_timeout_s):
                if not self._close_sent:
                    self._close_sent = True
                    await self._stream.write(self._writer.close(code, reason))
                self._stream.end()
                dropped = 0
                while self._client and dropped < _DROPPED_BYTES and (data := await self._stream.read()):
                    dropped += len(data)
        except (TimeoutError, GatewayError):
            self._stream.abort()
        if self._client:
            self._stream.abort()

    def abort(self) -> None:
        """End it without a goodbye."""
        self._over(ABNORMAL, "the socket was given up")
        self._stream.abort()

    def _over(self, code: int, reason: str, *, ours: bool = False) -> SocketClosed:
        """It has ended; how it ended first is what counts."""
        if self._closed is None:
            self._closed = SocketClosed(code, reason, ours=ours)
            self._finished.set_result(self._closed)
            self._ping_timer.cancel()
            self._idle_timer.cancel()
            keeper = self._keeper
            if keeper is not None and keeper is not asyncio.current_task():
                keeper.cancel()
        return self._closed

    # --- time ---------------------------------------------------------------------------------------------------------

    def _ping_due(self) -> None:
        """Ask whether the peer is there; unless nobody receives, when its answer would not be seen."""
        options = self._options
        if self._receiving and not self._close_sent and self._keep(self._ping):
            self._heard = False
            self._ping_timer = self._loop.call_later(options.pong_timeout_s, self._pong_due)
        else:
            self._ping_timer = self._loop.call_later(options.ping_interval_s, self._ping_due)

    def _keep(self, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Do this beside everything else, unless something is being done."""
        if self._keeper is not None and not self._keeper.done():
            return False
        self._keeper = self._loop.create_task(work())
        return True

    async def _ping(self) -> None:
        try:
            await self._stream.write(self._writer.frame(PING, b""))
        except GatewayError:
            pass  # whoever receives learns of it

    def _pong_due(self) -> None:
        options = self._options
        if not self._heard and self._receiving:
            self._over(ABNORMAL, f"the peer did not answer a ping in {options.pong_timeout_s:g} s")
            self._stream.abort()
            return
        rest = max(options.ping_interval_s - options.pong_timeout_s, 0.0)
        self._ping_timer = self._loop.call_later(rest, self._ping_due)

    def _idle_due(self) -> None:
        left = self._active_at + self._options.idle_s - self._loop.time()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._idle_due)
        elif not self._keep(self._close_idle):
            self._idle_timer = self._loop.call_later(_SOON_S, self._idle_due)

    async def _close_idle(self) -> None:
        await self.close(GOING_AWAY, f"no message for {self._options.idle_s:g} s")

    def __repr__(self) -> str:
        state = "closed" if self._closed is not None else "closing" if self._close_sent else "open"
        return f"<WebSocket {'client' if self._client else 'server'} {state}>"


async def accept(exchange: Exchange, options: SocketOptions, subprotocols: Sequence[str] = ()) -> WebSocket:
    """Answer a client's handshake, choosing the first of its subprotocols that is among these, or none.

    Raises InvalidRequest or NotOffered, to be answered in HTTP, when it is not one. The socket is the exchange's: it
    is to be closed or aborted before its `serve` returns.
    """
    handshake = asked(exchange.head, subprotocols=subprotocols, deflate=options.deflate)
    return WebSocket(
        exchange.switch(handshake.fields),
        options,
        client=False,
        subprotocol=handshake.subprotocol,
        compression=handshake.compression,
    )


def request_fields(options: SocketOptions, subprotocols: Sequence[str] = ()) -> tuple[Header, ...]:
    """The fields that ask a service for a socket over HTTP/1.1, beside Host and what a service may want to know."""
    return asking(subprotocols=subprotocols, deflate=options.deflate)


def connected(stream: ByteStream, head: ResponseHead, request: Sequence[Header], options: SocketOptions) -> WebSocket:
    """The socket on a stream that a service has switched to with `head`, when asked with the fields `request`.

    Raises BadUpstream when its answer does not fit them; the stream is then aborted.
    """
    try:
        subprotocol, compression = granted(request, head)
    except GatewayError:
        stream.abort()
        raise
    return WebSocket(stream, options, client=True, subprotocol=subprotocol, compression=compression)
