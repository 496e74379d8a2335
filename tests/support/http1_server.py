"""A server's HTTP/1.1 connection over a transport in memory, and requests to feed it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from protogw.net.http1_exchange import Http1Exchange
from protogw.net.http1_server import Http1ServerConnection
from protogw.net.limits import Limits
from tests.support.transport import MemoryTransport, settle

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
JSON = ((b"content-type", b"application/json"),)


def post(body: bytes = b"", *fields: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [b"POST /x HTTP/1.1", b"Host: a", b"Content-Length: %d" % size, *fields, b"", body]
    return b"\r\n".join(lines)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"POST /x HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", *fields, b"", body])


class Server:
    """A connection over a transport in memory; exchanges wait in `exchanges` for the test to answer them."""

    def __init__(
        self,
        serve: Callable[[Any], Awaitable[None]] | None = None,
        *,
        tls: bool = False,
        probe_s: float = 60.0,
        **limits: Any,
    ) -> None:
        self.exchanges: list[Http1Exchange] = []
        self.closed: list[object] = []
        self.cancelled = 0
        self._parked: list[asyncio.Future[None]] = []
        self.connection = Http1ServerConnection(
            serve or self._park,
            Limits(**limits),
            probe_s=probe_s,
            on_close=lambda connection: self.closed.append(connection),
        )
        self.transport = MemoryTransport(self.connection, {"sslcontext": object()} if tls else None)

    async def _park(self, exchange: Any) -> None:
        self.exchanges.append(exchange)
        future = asyncio.get_running_loop().create_future()
        self._parked.append(future)
        try:
            await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def feed(self, *pieces: bytes) -> None:
        self.transport.feed(*pieces)
        await settle()

    async def done(self) -> None:
        """The front end is finished with the oldest exchange."""
        self._parked.pop(0).set_result(None)
        await settle()

    async def answer(self, body: bytes = b"ok", status: int = 200) -> None:
        self.exchanges[-1].respond(status, JSON, body)
        await self.done()


async def refused(server: Server, *pieces: bytes) -> tuple[int, str]:
    await server.feed(*pieces)
    answer = server.transport.take()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert server.transport.eof or server.transport.closed
    said = json.loads(body)
    assert said["details"] == []
    return int(head.split(b" ")[1]), said["message"]
