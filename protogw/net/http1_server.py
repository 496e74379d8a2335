"""The server's side of an HTTP/1.1 connection: requests in their order, one task for each (RFC 9112).

At most one request is in progress. What arrives behind it is held as bytes, up to a bound, and looked at once its
answer has ended and its body has been read: so pipelined requests are answered in order, and nothing that follows a
framing error is ever acted on. Nothing here has a timer per request: `sweep` is called about once a second.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, cast

from protogw.errors import Code, GatewayError, InvalidRequest, Malformed
from protogw.net.http1_exchange import DRAIN_BYTES, Http1Exchange, date
from protogw.net.limits import Limits
from protogw.net.sockets import half_close, reset
from protogw.net.tunnel import Tunnel
from protogw.wire.http import Peer
from protogw.wire.http1 import CACHED_HEADS, HeadBounds, Request, RequestScanner, parse_request, remember
from protogw.wire.http1_answer import refusal
from protogw.wire.recurring import Recurring

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

    Serve: TypeAlias = Callable[[Exchange], Awaitable[None]]

logger = logging.getLogger(__name__)

_AHEAD_BYTES = 64 << 10
"""Requests read before their turn."""
_DRAINED_S = 1.0  # for a client that connected just before the drain
_LINGER_BYTES = 1 << 20
_LINGER_S = 2.0
"""How much of what a refused client still sends is read and dropped, and for how long, so that it sees the answer."""

_HEAD, _BUSY, _SWITCHED, _LINGERING, _CLOSED = range(5)


class Http1ServerConnection(asyncio.Protocol):
    """Serves one client connection; `serve` answers each exchange in a task of its own.

    `cache` is shared between the connections of one listener: a head's bytes, as they came, to what they mean.
    `probe_s` after a client has ended its side, it is found out whether it still reads.
    """

    def __init__(
        self,
        serve: Serve,
        limits: Limits,
        peer: Peer | None = None,
        *,
        cache: Recurring[bytes, Request] | None = None,
        probe_s: float = 0.25,
        on_close: Callable[[Http1ServerConnection], None] | None = None,
    ) -> None:
        self.limits = limits
        self.peer = peer or Peer("", 0)
        self.on_close = on_close
        self.loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.last = False
        """No request is taken after the current one."""
        self.draining = False
        self.writing_held = False
        self._serve = serve
        self._probe_s = probe_s
        self._tls = False
        self._scheme = b"http"
        self._cache = cache if cache is not None else Recurring(CACHED_HEADS)
        self._bounds = HeadBounds(limits.target_bytes, limits.header_bytes, limits.header_count)
        self._state = _HEAD
        self._scanner: RequestScanner | None = None
        self._exchange: Http1Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._ahead: bytes | bytearray = b""
        self._requests = 0
        self._eof = False
        self._reading_held = False
        self._room: asyncio.Future[None] | None = None
        self._prober: asyncio.TimerHandle | None = None
        self._lingered = 0
        # What sweep saw last, and since when.
        self._seen: object = None
        self._since = 0.0
        self._pace_from = 0

    @property
    def active(self) -> int:
        """Requests in progress."""
        return 0 if self._exchange is None or self._exchange.ended else 1

    @property
    def _waiting(self) -> bool:
        """Nothing of a next request has come."""
        return self._scanner is None or self._scanner.empty

    # --- transport ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer)
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._scheme = b"https" if self._tls else b"http"
        if not self.peer.host:
            name = transport.get_extra_info("peername")
            if isinstance(name, tuple):
                self.peer = Peer(name[0], name[1], self._tls)

    def data_received(self, data: bytes) -> None:
        if self._state == _HEAD:
            if self._scanner is None:
                end = data.find(b"\r\n\r\n") + 4
                if end > 3:
                    whole = end == len(data)
                    request = self._cache.get(data if whole else data[:end])
                    if request is not None:
                        self._begin(request, b"" if whole else data[end:])
                        return
            self._read_head(data)
        elif self._state == _BUSY:
            self._read_on(data)
        elif self._state == _LINGERING:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.transport.abort()

    def _read_head(self, data: bytes) -> None:
        try:
            request: Request | None = None
            if self._scanner is None:
                end = data.find(b"\r\n\r\n") + 4
                if end > 3:
                    raw, rest = data[:end], data[end:]
                    request = parse_request(raw, self._scheme, self._bounds)
            if request is None:
                if self._scanner is None:
                    self._scanner = RequestScanner(self._bounds)
                found = self._scanner.feed(data)
                if found is None:
                    return
                self._scanner = None
                raw, rest = found
                request = self._cache.get(raw) or parse_request(raw, self._scheme, self._bounds)
                assert request is not None, "what the scanner lets through is well-formed"
        except GatewayError as error:
            self._refuse(error)
            return
        remember(self._cache, raw, request)
        self._begin(request, rest)

    def _begin(self, request: Request, rest: bytes) -> None:
        """A request's head is whole: serve it. `rest` is what came with it, so a small body is there at once."""
        exchange = Http1Exchange(self, request)
        if request.length and rest:
            try:
                rest = exchange.feed(rest)
            except GatewayError as error:
                self._refuse(error)
                return
        self._ahead = rest
        self._requests += 1
        self._state = _BUSY
        self._exchange = exchange
        self._task = self.loop.create_task(self._run(exchange))

    def _read_on(self, data: bytes) -> None:
        """Bytes behind a head whose request is in progress: its body, then what is ahead of its turn."""
        exchange = self._exchange
        assert exchange is not None
        if not exchange.complete:
            try:
                data = exchange.feed(data)
            except GatewayError as error:
                self._refuse(error)
                return
            if self._task is None:
                if not exchange.complete:
                    if exchange.dropped > DRAIN_BYTES:
                        self._linger()
                    return
                self._ahead = data
                self._next()
                return
        if data:
            if self._ahead:
                ahead = self._ahead
                if type(ahead) is bytes:
                    ahead = self._ahead = bytearray(ahead)
                ahead += data
            else:
                self._ahead = data
            if len(self._ahead) > _AHEAD_BYTES:
                self.hold_reading()

    async def _run(self, exchange: Http1Exchange) -> None:
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            exchange.abort()
            self._task = None
            self._answered(exchange)
            raise
        except Exception as error:  # a fault of ours in one request: the client is answered, the log told
            logger.error("a request's task failed: %r", exchange.head, exc_info=error)
            self._fail(exchange)
        else:
            tunnel = exchange.tunnel
            if not exchange.ended and (tunnel is None or not (tunnel.ended or tunnel.lost)):
                logger.error("a request was not answered: %r", exchange.head)
                self._fail(exchange)
        self._task = None
        self._answered(exchange)

    @staticmethod
    def _fail(exchange: Http1Exchange) -> None:
        if exchange.started:
            exchange.abort()
            return
        status, body = 500, b'{"code":13,"message":"internal error","details":[]}'
        exchange.respond(status, ((b"content-type", b"application/json"),), body)

    def _answered(self, exchange: Http1Exchange) -> None:
        """The answer has ended: keep the connection, or close it so that the client still reads all of it."""
        if self._state == _SWITCHED:
            self._leave(exchange)
            return
        if self._state != _BUSY:
            return
        if not exchange.keep:
            if exchange.complete and not self._ahead:
                self._state = _LINGERING
                self.transport.close()
            else:
                self._linger()
        elif exchange.complete:
            self._next()
        else:
            exchange.drop()
            self.release_reading()

    def _next(self) -> None:
        """Take the next request, which may have come already."""
        self._exchange = None
        self._state = _HEAD
        ahead = self._ahead
        if self.last:
            self._state = _LINGERING
            self.transport.close()
        elif ahead:
            self._ahead = b""
            self.release_reading()
            self.data_received(bytes(ahead))
            if self._eof:
                self._nothing_more()

    def _nothing_more(self) -> None:
        """The client has ended its side: what is whole is answered, what is not never will be."""
        exchange = self._exchange
        if self._state != _BUSY or exchange is None:
            self.transport.close()
        elif not self._ahead:
            self.last = True
            if exchange.complete:
                if self._prober is None:
                    self._prober = self.loop.call_later(self._probe_s, self._probe, False)
            elif self._task is None:
                self.transport.close()
            else:
                exchange.break_off(Malformed(f"request body: ended after {exchange.bytes_in} bytes, not whole"))

    def _probe(self, sent: bool) -> None:
        """Find out whether a client that ended its side still reads: it is written to, and the kernel tells."""
        self._prober = None
        exchange = self._exchange
        if self._state != _BUSY or exchange is None or exchange.ended:
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        if not sent:
            exchange.probe()
        self._prober = self.loop.call_later(self._probe_s, self._probe, True)

    # --- switched -----------------------------------------------------------------------------------------------------

    def switch(self, exchange: Http1Exchange, head: bytes) -> Tunnel:
        """Send the last head of this connection; what follows is not HTTP."""
        tunnel = Tunnel(self.transport, self.limits, exchange, broken=_client_gone, on_lost=self._tunnel_lost)
        if self._state != _BUSY:  # the client is gone, and so is the task that asks for this, soon
            tunnel.connection_lost(None)
            return tunnel
        self._state = _SWITCHED
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None
        self.transport.write(head)
        ahead, self._ahead = bytes(self._ahead), b""
        tunnel.take_over(ahead, peer_ended=self._eof, reading_held=self._reading_held, writing_held=self.writing_held)
        return tunnel

    def _leave(self, exchange: Http1Exchange) -> None:
        """Whoever used the switched connection is done with it."""
        tunnel = exchange.tunnel
        assert tunnel is not None
        exchange.ended = True
        if tunnel.lost:
            self.connection_lost(None)
        elif tunnel.ended:
            self._state = _LINGERING
            tunnel.drop()
        else:
            tunnel.abort()

    def _tunnel_lost(self, error: Exception | None) -> None:
        """The switched connection is gone. What it brought before a clean end is still worth a moment."""
        if self._state == _CLOSED:
            return
        task = self._task
        if task is None:
            self.connection_lost(error)
        elif error is not None:
            task.cancel()
        else:
            self._prober = self.loop.call_later(_LINGER_S, task.cancel)

    def eof_received(self) -> bool:
        self._eof = True
        if self._state == _LINGERING or self._tls:  # TLS has no half-open connections in asyncio
            return False
        self._nothing_more()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = _CLOSED
        self._scanner = None
        if self._prober is not None:
            self._prober.cancel()
        exchange = self._exchange
        if exchange is not None and not exchange.ended:
            exchange.lose()
            if self._task is not None:
                self._task.cancel()
        self.resume_writing()
        if self.on_close is not None:
            self.on_close(self)

    # --- holding back -------------------------------------------------------------------------------------------------

    def hold_reading(self) -> None:
        """Let the client wait: enough has come for now."""
        if not self._reading_held and not self._eof:
            self._reading_held = True
            self.transport.pause_reading()

    def release_reading(self) -> None:
        if self._reading_held and len(self._ahead) <= _AHEAD_BYTES:
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
        """Wait until the client has taken enough of the answer."""
        while self.writing_held:
            if self._room is None:
                self._room = self.loop.create_future()
            await self._room

    # --- ending -------------------------------------------------------------------------------------------------------

    def _refuse(self, error: GatewayError) -> None:
        """Answer what cannot be served, and take nothing more from this connection."""
        exchange, task = self._exchange, self._task
        if exchange is not None:
            if exchange.ended:  # answered already: it is the rest of its body that is at fault
                self._linger()
                return
            if task is not None:
                task.cancel()
            if exchange.started:
                exchange.abort()
                return
            exchange.lose()
            exchange.status = error.http_status or 400
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: refused: %s", self.peer.host, error.message)
        self.transport.write(refusal(error, date())[1])
        self._linger()

    def _linger(self) -> None:
        """Close, but read and drop what still comes for a while: an early reset could overtake the answer."""
        self._state = _LINGERING
        self._scanner = None
        self._ahead = b""
        self.release_reading()
        if self._eof:
            self.transport.close()
        elif not self._tls:
            half_close(self.transport)

    def cut(self, hard: bool) -> None:
        """Close in the middle of an answer; if `hard` with a reset, so that it cannot be taken for the answer's end."""
        self._state = _LINGERING
        if hard:
            reset(self.transport)
        else:
            self.transport.close()

    def drain(self) -> None:
        """Finish the request in progress, then close; close at once if there is none.

        A client that has only just connected is about to ask, and gets a moment: it could not know.
        """
        self.last = self.draining = True
        exchange = self._exchange
        if exchange is not None and not exchange.ended:
            exchange.drain()
        if self._state == _HEAD and self._waiting and self._requests:
            self._state = _LINGERING
            self.transport.close()

    def close(self) -> None:
        """Close now; the request in progress is cancelled."""
        if self._state == _SWITCHED and self._task is not None:
            self._task.cancel()
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """Judge, about once a second, whether the client is too slow. `now` is the loop's time."""
        state, exchange, limits = self._state, self._exchange, self.limits
        unsent = self.transport.get_write_buffer_size()
        if state == _LINGERING:
            seen: object = (state, unsent)
            patience = limits.idle_s if unsent else _LINGER_S
        elif state == _SWITCHED:
            assert exchange is not None
            seen = (exchange.bytes_in, exchange.bytes_out, unsent)
            patience = limits.idle_s
        elif exchange is None:
            waiting = self._waiting
            seen = (waiting, self._requests)
            patience = limits.idle_s if waiting and self._requests else limits.header_timeout_s
            if waiting and self.last:
                patience = min(patience, _DRAINED_S)
        elif exchange.complete or self._reading_held or (exchange.started and not exchange.ended):
            seen = (exchange.bytes_in, exchange.bytes_out, unsent)
            patience = limits.idle_s
        else:
            # A slow body: looked at once in every header_timeout_s, for whether it kept the pace since.
            seen = self._requests
            patience = limits.header_timeout_s
        if seen != self._seen or state == _CLOSED:
            self._seen = seen
            self._since = now
            if exchange is not None:
                self._pace_from = exchange.bytes_in
            return
        waited = now - self._since
        if waited < patience:
            return
        if state == _LINGERING or (exchange is None and self._waiting):
            self.transport.abort()
        elif state == _SWITCHED:
            assert exchange is not None
            assert exchange.tunnel is not None
            exchange.tunnel.break_off(_too_slow(f"no progress for {patience:g} s", 504))
            self.transport.abort()
        elif exchange is None:
            self._refuse(_too_slow(f"header section: not whole after {patience:g} s", 408))
        elif exchange.complete or self._reading_held or (exchange.started and not exchange.ended):
            if exchange.started:
                self.transport.abort()
            else:
                self._refuse(_too_slow(f"no progress for {patience:g} s", 504))
        elif exchange.bytes_in - self._pace_from < limits.min_rate * waited:
            self._refuse(_too_slow(f"request body: slower than {limits.min_rate} bytes a second", 408))
        else:
            self._since = now
            self._pace_from = exchange.bytes_in


def _too_slow(message: str, http_status: int) -> GatewayError:
    return InvalidRequest(message, code=Code.DEADLINE_EXCEEDED, http_status=http_status)


def _client_gone(how: str) -> GatewayError:
    return InvalidRequest(f"the client's connection {how}", code=Code.CANCELLED)
