"""What a connection says first, read before anyone else reads from it: a PROXY header, a ClientHello."""

from __future__ import annotations

import asyncio
import socket

from protogw.wire import proxy_protocol
from protogw.wire.client_hello import ClientHello, ClientHelloReader, NotTls
from protogw.wire.proxy_protocol import BadProxyHeader, Proxied

_PIECE = 4096


async def read_proxy_header(sock: socket.socket) -> Proxied:
    """The connection's PROXY header, and not one byte more. The caller limits the time.

    Raises BadProxyHeader or OSError.
    """
    begun = b""
    while True:
        await _readable(sock)
        peeked = sock.recv(_PIECE, socket.MSG_PEEK)
        if not peeked:
            raise BadProxyHeader("closed before its PROXY header was whole")
        found = proxy_protocol.read(begun + peeked)
        # What is known to belong to the header is taken, so that the socket wakes us only for more.
        taken = sock.recv(len(peeked) if found is None else found[1] - len(begun))
        if found is not None:
            return found[0]
        begun += taken


async def read_client_hello(sock: socket.socket) -> tuple[ClientHello, bytes]:
    """The connection's ClientHello, and all that was read with it. The caller limits the time.

    Raises NotTls or OSError.
    """
    loop = asyncio.get_running_loop()
    reader = ClientHelloReader()
    while True:
        data = await loop.sock_recv(sock, _PIECE)
        try:
            if not data:
                raise NotTls("closed before its ClientHello was whole")
            hello = reader.feed(data)
        except NotTls as error:
            error.data = reader.data
            raise
        if hello is not None:
            return hello, reader.data


async def _readable(sock: socket.socket) -> None:
    """Until there is something to read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
