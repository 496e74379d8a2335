"""A bound address that accepts connections; what becomes of them is its owner's business.

Accepting is done here and not by the event loop's server, so that the bound on connections also counts those still in
their handshake, and a process out of file descriptors waits instead of spinning.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TypeAlias, cast

from protogw.net.sockets import OUT_OF_RESOURCES, said

logger = logging.getLogger(__name__)

Accepted: TypeAlias = Callable[[socket.socket, str, int], None]
"""Takes a connection, which it owns from then on, and the address and port of its other end."""

_BACKLOG = 1024
_ACCEPTS_A_TURN = 64
_RETRY_ACCEPT_S = 1.0


class Acceptor:
    """Listens on every address that a host stands for, and hands what connects to `accepted`, non-blocking."""

    def __init__(self, name: str, host: str, port: int, accepted: Accepted, *, reuse_port: bool = False) -> None:
        self.held = 0
        """Times that accepting paused for want of file descriptors or memory."""
        self._name = name
        self._host = host
        self._port = port
        self._accepted = accepted
        self._reuse_port = reuse_port
        self._loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._retry: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        if not self._sockets:
            return self._host, self._port
        name = self._sockets[0].getsockname()
        return name[0], name[1]

    async def start(self) -> None:
        """Bind and accept; raises OSError with a text to show."""
        self._loop = asyncio.get_running_loop()
        try:
            self._sockets = await bind(self._host, self._port, socket.SOCK_STREAM, reuse_port=self._reuse_port)
            for sock in self._sockets:
                sock.listen(_BACKLOG)
        except OSError as error:
            self._close_sockets()
            what = f"listener {self._name}: cannot listen on {self._host}:{self._port}: {said(error)}"
            raise OSError(error.errno, what) from error
        self._accepting = True
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    self._hold(error)
                    return
                continue  # the client was gone before it was accepted (accept(2) lists the errors)
            sock.setblocking(False)
            self._accepted(sock, address[0], address[1])

    def _hold(self, error: OSError) -> None:
        """Out of file descriptors or memory: what waits in the backlog would wake us again at once, for nothing."""
        self.held += 1
        logger.warning("listener %s: accepts nothing for %g s: %s", self._name, _RETRY_ACCEPT_S, error.strerror)
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_ACCEPT_S, self._resume)

    def _resume(self) -> None:
        self._retry = None
        if self._accepting:
            for sock in self._sockets:
                self._loop.add_reader(sock, self._accept, sock)

    def stop(self) -> None:
        """Close the address, once what waits in its backlog has been accepted. Harmless when repeated."""
        if self._accepting:
            # Connections that wait to be accepted would be reset by the close, whatever they have sent.
            for sock in self._sockets:
                self._accept(sock)
        self._accepting = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._host, self._port = self.address
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets = []


async def bind(host: str, port: int, kind: socket.SocketKind, *, reuse_port: bool = False) -> list[socket.socket]:
    """Non-blocking sockets on every address of the host, on one port; raises OSError, after closing what it opened."""
    made: list[socket.socket] = []
    found = await asyncio.get_running_loop().getaddrinfo(
        None if host in ("", "*") else host, port, type=kind, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )
    try:
        for family, what, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, what, protocol)
            made.append(sock)
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            port = sock.getsockname()[1]
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made
