"""Addresses that listeners are bound to: every one that a host stands for, on one port."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from protogw.net.sockets import said

_BACKLOG = 1024


class Bound:
    """Base of what has such an address."""

    def __init__(self, name: str, host: str, port: int, *, reuse_port: bool) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self._sockets: list[socket.socket] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        if not self._sockets:
            return self._host, self._port
        name = self._sockets[0].getsockname()
        return name[0], name[1]

    async def _bind(self, kind: socket.SocketKind) -> None:
        """Take the address, and let connections come; raises OSError with a text to show."""
        self._loop = asyncio.get_running_loop()
        try:
            self._sockets = await bind(self._host, self._port, kind, reuse_port=self._reuse_port)
            if kind == socket.SOCK_STREAM:
                for sock in self._sockets:
                    sock.listen(_BACKLOG)
        except OSError as error:
            self._unbind()
            raise cannot_listen(self._name, self._host, self._port, error) from error

    def _unbind(self) -> None:
        self._host, self._port = self.address
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets = []


def cannot_listen(name: str, host: str, port: int, error: OSError) -> OSError:
    """The error with a text to show."""
    return OSError(error.errno, f"listener {name}: cannot listen on {host}:{port}: {said(error)}")


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
