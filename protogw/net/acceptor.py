"""A bound address that accepts connections; what becomes of them is its owner's business.

Accepting is done here and not by the event loop's server, so that the bound on connections also counts those still in
their handshake, and a process out of file descriptors waits instead of spinning.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TypeAlias

from protogw.net.bound import Bound
from protogw.net.sockets import OUT_OF_RESOURCES

logger = logging.getLogger(__name__)

Accepted: TypeAlias = Callable[[socket.socket, str, int], None]
"""Takes a connection, which it owns from then on, and the address and port of its other end."""

_ACCEPTS_A_TURN = 64
_RETRY_ACCEPT_S = 1.0


class Acceptor(Bound):
    """Listens on every address that a host stands for, and hands what connects to `accepted`, non-blocking."""

    def __init__(self, name: str, host: str, port: int, accepted: Accepted, *, reuse_port: bool = False) -> None:
        super().__init__(name, host, port, reuse_port=reuse_port)
        self.held = 0
        """Times that accepting paused for want of file descriptors or memory."""
        self._accepted = accepted
        self._accepting = False
        self._retry: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Bind and accept; raises OSError with a text to show."""
        await self._bind(socket.SOCK_STREAM)
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
        self._unbind()
