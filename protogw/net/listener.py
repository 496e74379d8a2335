"""A bound address: accepts connections, finds out what each speaks, and looks after all of them.

One port takes every protocol: with TLS, ALPN decides; without, HTTP/2 is known by its preface (RFC 9113 section 3.3)
and everything else is HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from protogw.net.acceptor import Acceptor
from protogw.net.first_bytes import read_proxy_header
from protogw.net.http1_server import Http1ServerConnection
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.limits import Limits
from protogw.net.sockets import tune
from protogw.net.sources import Sources
from protogw.net.tcp_relay import close
from protogw.net.tls import H2, peer_identity
from protogw.wire.http import Peer
from protogw.wire.http1 import CACHED_HEADS, Request
from protogw.wire.http2 import PREFACE
from protogw.wire.proxy_protocol import BadProxyHeader
from protogw.wire.recurring import Recurring

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

    Serve: TypeAlias = Callable[[Exchange], Awaitable[None]]

logger = logging.getLogger(__name__)

_CLOSE_S = 1.0
_SWEEPS_A_SECOND = 8
"""Each connection is swept once a second; not all in one go, which would be felt with ten thousand of them."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ServerConnection(Protocol):
    """What the listener asks of a connection, whatever it speaks."""

    @property
    def active(self) -> int:
        """Requests in progress."""
        ...

    def drain(self) -> None:
        """Finish what is in progress, take nothing new, then close."""
        ...

    def close(self) -> None:
        """Close now."""
        ...

    def sweep(self, now: float) -> None:
        """Called about once a second with the loop's time: end what is too slow."""
        ...


@dataclass(slots=True)
class Counters:
    """What a listener has seen since it started."""

    accepted: int = 0
    denied: int = 0
    """By the rules over sources, or no trusted proxy."""
    refused: int = 0
    """Over the bound on connections."""
    handshakes_failed: int = 0
    http1: int = 0
    http2: int = 0


class Listener:
    """Serves HTTP on one address. `serve` answers each request, in a task of its own."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        serve: Serve,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        *,
        sources: Sources | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.name = name
        self.counters = Counters()
        self._acceptor = Acceptor(name, host, port, self._accepted, reuse_port=reuse_port)
        self._serve = serve
        self._limits = limits
        self._tls = tls
        self._sources = sources or Sources()
        self._loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self._draining = False
        self._greetings: set[asyncio.Task[None]] = set()
        self._greeted = 0
        """Connections accepted and not yet made: those in their handshake."""
        self._connections: dict[ServerConnection, dict[ServerConnection, None]] = {}
        self._slices: list[dict[ServerConnection, None]] = [{} for _ in range(_SWEEPS_A_SECOND)]
        self._heads: Recurring[bytes, Request] = Recurring(CACHED_HEADS)
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        return self._acceptor.address

    @property
    def accepts_held(self) -> int:
        """Times that accepting paused for want of file descriptors or memory."""
        return self._acceptor.held

    @property
    def connections(self) -> int:
        """Open connections, those in their TLS handshake included."""
        return len(self._connections) + self._greeted

    @property
    def active(self) -> int:
        """Requests in progress."""
        return sum(connection.active for connection in self._connections)

    async def start(self) -> None:
        """Bind and accept; raises OSError with a text to show."""
        self._loop = asyncio.get_running_loop()
        await self._acceptor.start()
        self._sweeper = self._loop.call_later(1 / _SWEEPS_A_SECOND, self._sweep)

    # --- accepting ----------------------------------------------------------------------------------------------------

    def _accepted(self, sock: socket.socket, host: str, port: int) -> None:
        self.counters.accepted += 1
        sources = self._sources
        if not (sources.trusts(host) if sources.proxied else sources.admits(host)):
            self.counters.denied += 1
            close(sock, reset=True)
            return
        if self.connections >= self._limits.connections:
            self.counters.refused += 1
            self._turn_away(sock)
            return
        self._greeted += 1
        task = self._loop.create_task(self._greet(sock, host, port))
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)

    def _turn_away(self, sock: socket.socket) -> None:
        with sock:
            if self._tls is None:
                try:
                    sock.send(_FULL)
                except OSError:
                    pass  # it is closed either way

    async def _greet(self, sock: socket.socket, host: str, port: int) -> None:
        """Bring an accepted connection to the point where its protocol is known, or may be told from its bytes."""
        greeter = _Greeter(self, host, port)
        try:
            tune(sock)
            if self._sources.proxied and not await self._introduced(sock, greeter):
                close(sock, reset=True)
                return
            await self._loop.connect_accepted_socket(
                lambda: greeter,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake_timeout_s if self._tls is not None else None,
            )
        except (OSError, TimeoutError, BadProxyHeader) as error:
            sock.close()
            self.counters.handshakes_failed += 1
            logger.debug("listener %s: %s: no connection: %s", self.name, host, error)
        finally:
            if not greeter.made:
                self._greeted -= 1

    async def _introduced(self, sock: socket.socket, greeter: _Greeter) -> bool:
        """Learn from its PROXY header whom a connection comes from; False when that source may not connect."""
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                proxied = await read_proxy_header(sock)
        except asyncio.CancelledError:
            sock.close()
            raise
        if proxied.source is None:
            return True
        greeter.host, greeter.port = proxied.source
        if self._sources.admits(greeter.host):
            return True
        self.counters.denied += 1
        return False

    # --- connections --------------------------------------------------------------------------------------------------

    def greeted(self) -> None:
        """A connection is made: its handshake, if it needed one, is over."""
        self._greeted -= 1

    def add(self, connection: ServerConnection) -> None:
        """Look after a connection from now on."""
        if self._draining:
            connection.drain()
        part = min(self._slices, key=len)
        part[connection] = None
        self._connections[connection] = part

    def forget(self, connection: ServerConnection) -> None:
        """A connection is closed, or has become another."""
        part = self._connections.pop(connection, None)
        if part is not None:
            del part[connection]
            if not self._connections and self._emptied is not None and not self._emptied.done():
                self._emptied.set_result(None)

    def speaks_http1(self, peer: Peer) -> Http1ServerConnection:
        self.counters.http1 += 1
        return Http1ServerConnection(self._serve, self._limits, peer, cache=self._heads, on_close=self.forget)

    def speaks_http2(self, peer: Peer) -> Http2ServerConnection:
        self.counters.http2 += 1
        return Http2ServerConnection(self._serve, self._limits, peer, on_close=self.forget)

    @property
    def limits(self) -> Limits:
        return self._limits

    def _sweep(self) -> None:
        loop = self._loop
        self._sweeper = loop.call_later(1 / _SWEEPS_A_SECOND, self._sweep)
        now = loop.time()
        part = self._slices.pop(0)
        self._slices.append(part)
        for connection in tuple(part):
            connection.sweep(now)

    # --- ending -------------------------------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Close the address; connections go on."""
        self._acceptor.stop()

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, let requests in progress finish for `timeout_s`, then close everything."""
        self.stop_accepting()
        self._draining = True
        for connection in tuple(self._connections):
            connection.drain()
        if self._greetings:
            await asyncio.wait(self._greetings, timeout=min(timeout_s, _CLOSE_S))
        await self._empty(timeout_s)
        self.close()
        await asyncio.gather(*self._greetings, return_exceptions=True)
        await self._empty(_CLOSE_S)

    async def _empty(self, timeout_s: float) -> None:
        if self._connections:
            self._emptied = self._loop.create_future()
            await asyncio.wait((self._emptied,), timeout=timeout_s)
            self._emptied = None

    def close(self) -> None:
        """Close everything now; requests in progress are cancelled."""
        self.stop_accepting()
        self._draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in tuple(self._greetings):
            task.cancel()
        for connection in tuple(self._connections):
            connection.close()

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Listener {self.name} {host}:{port}, {self.connections} connections, {self.active} requests>"


class _Greeter(asyncio.Protocol):
    """Stands in until it is known which protocol a connection speaks, then hands the transport over."""

    active = 0

    def __init__(self, listener: Listener, host: str, port: int) -> None:
        self._listener = listener
        self.host = host
        self.port = port
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._begun = b""
        self._since = -1.0
        self._patience_s = listener.limits.header_timeout_s
        self.made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.made = True
        self._listener.greeted()
        secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secure is None:
            self._listener.add(self)
            return
        peer = Peer(self.host, self.port, True, peer_identity(secure))
        self._hand_over(
            self._listener.speaks_http2(peer)
            if secure.selected_alpn_protocol() == H2
            else self._listener.speaks_http1(peer)
        )

    def data_received(self, data: bytes) -> None:
        begun = self._begun + data if self._begun else data
        if len(begun) < len(PREFACE) and PREFACE.startswith(begun):
            self._begun = begun
            return
        peer = Peer(self.host, self.port)
        listener = self._listener
        connection = listener.speaks_http2(peer) if begun.startswith(PREFACE) else listener.speaks_http1(peer)
        self._hand_over(connection)
        connection.data_received(begun)

    def _hand_over(self, connection: Http1ServerConnection | Http2ServerConnection) -> None:
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        self._listener.add(connection)
        self._listener.forget(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)

    def drain(self) -> None:
        """A client that has only just connected is about to ask: it gets a moment, since it has done nothing wrong."""
        self._patience_s = min(self._patience_s, _CLOSE_S)

    def close(self) -> None:
        self._transport.abort()

    def sweep(self, now: float) -> None:
        if self._since < 0:
            self._since = now
        elif now - self._since >= self._patience_s:
            self._transport.abort()
