"""Raw connections for tests of what is passed through: both ends in the test's own loop, resets that are resets."""

from __future__ import annotations

import asyncio
import socket
import struct


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over loopback, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for sock in (one, other):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def connect(port: int) -> socket.socket:
    """A client's end. The kernel makes it at once, before anyone in the loop can accept and reset it."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


async def send(sock: socket.socket, data: bytes, *, end: bool = False) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
    if end:
        sock.shutdown(socket.SHUT_WR)


async def receive(sock: socket.socket, count: int = 0, *, timeout_s: float = 5.0) -> bytes:
    """So many bytes, or with 0 all until the end; raises OSError when the connection is reset."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(timeout_s):
        while not count or len(data) < count:
            piece = await loop.sock_recv(sock, 1 << 20)
            if not piece:
                break
            data += piece
    return bytes(data)


async def until_reset(sock: socket.socket) -> bytes:
    """What comes before the connection is reset; fails when it ends in good order."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(5):
        while True:
            try:
                piece = await loop.sock_recv(sock, 1 << 20)
            except (ConnectionResetError, BrokenPipeError):
                return bytes(data)
            assert piece, "the connection ended in good order"
            data += piece


def reset(sock: socket.socket) -> None:
    """Close so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Deaf:
    """An address that nobody listens on, and that nobody else can take meanwhile."""

    def __init__(self) -> None:
        self._bound = socket.socket()
        self._bound.bind(("127.0.0.1", 0))
        self.port: int = self._bound.getsockname()[1]

    def close(self) -> None:
        self._bound.close()


class Origin:
    """A service on a port of its own; each connection that it gets is a socket that the test speaks with."""

    def __init__(self, port: int = 0) -> None:
        self._server = socket.create_server(("127.0.0.1", port), backlog=256)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        self.taken: list[socket.socket] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(5):
            sock, _ = await asyncio.get_running_loop().sock_accept(self._server)
        self.taken.append(sock)
        return sock

    def close(self) -> None:
        self._server.close()
        for sock in self.taken:
            sock.close()
