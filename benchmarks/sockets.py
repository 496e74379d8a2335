"""WebSocket load: an echo service, and a client whose sockets each send one message at a time and await its echo.

Both are the same for every gateway, are processes of their own, and look at no more of a frame than they need.
`python -m benchmarks.sockets echo PORT` serves; with an order and a result, both JSON, it sends (benchmarks.load).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from protogw.wire.websocket import BINARY, CLOSE, Close, Control, Reader, Writer
from protogw.wire.websocket_handshake import accept_of

_LIMIT = 16 << 20


class Echo(asyncio.Protocol):
    """One socket of the service."""

    def __init__(self) -> None:
        self._head = b""
        self._open = False
        self._reader = Reader(masked=True, message_bytes=_LIMIT)
        self._writer = Writer(masked=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            fields = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n")[1:])
            if b"sec-websocket-key" not in fields:
                self._transport.close()
                return
            key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key)
            )
            self._open = True
            data = rest
        self._reader.feed(data)
        while (event := self._reader.next()) is not None:
            if isinstance(event, bytes):
                self._transport.write(self._writer.frame(BINARY, event))
            elif isinstance(event, Close):
                self._transport.write(self._writer.frame(CLOSE, b""))
                self._transport.close()
            else:
                assert isinstance(event, Control), "the load is binary"


class Socket(asyncio.Protocol):
    """One socket of the load. The echo has a known size, so it is counted, and its first bytes are compared."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open = False
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        key = base64.b64encode(os.urandom(16))
        transport.write(  # type: ignore[attr-defined]
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % (self._run.path, key)
        )

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            if not self._head.startswith(b"HTTP/1.1 101 "):
                self._transport.close()
                return
            self._open = True
            self._run.opened()
            return
        if self._left == self._run.size and not data.startswith(self._run.echo_head[: len(data)]):
            self._run.failed += 1
            self._transport.close()
            return
        self._left -= len(data)
        if self._left == 0:
            self._run.latencies.append(time.perf_counter() - self._sent)
            self.send()

    def send(self) -> None:
        if self._run.left <= 0:
            self._transport.close()
            return
        self._run.left -= 1
        self._left = self._run.size
        self._sent = time.perf_counter()
        self._transport.write(self._run.message)

    def connection_lost(self, error: Exception | None) -> None:
        self._run.closed()


class Run:
    """The echoes still to be asked for, and what came of those that were. The clock starts once all are connected."""

    def __init__(self, order: dict[str, Any]) -> None:
        payload = os.urandom(order["message"])
        self.path: bytes = order["path"].encode()
        self.message = Writer(masked=True).frame(BINARY, payload)
        echo = Writer(masked=False).frame(BINARY, payload)
        self.size = len(echo)
        self.echo_head = echo[:16]
        self.left: int = order["requests"]
        self.failed = 0
        self.latencies: list[float] = []
        self._order = order
        self._sockets: list[Socket] = []
        self._opened = self._closed = 0
        self._ready = asyncio.Event()
        self._over = asyncio.Event()

    def opened(self) -> None:
        self._opened += 1
        if self._opened == len(self._sockets):
            self._ready.set()

    def closed(self) -> None:
        self._closed += 1
        if self._closed == len(self._sockets):
            self._ready.set()
            self._over.set()

    async def __call__(self) -> dict[str, Any]:
        loop, order = asyncio.get_running_loop(), self._order
        self._sockets = [Socket(self) for _ in range(order["connections"])]
        for socket in self._sockets:
            await loop.create_connection(lambda made=socket: made, "127.0.0.1", order["port"])  # type: ignore[misc]
        await self._ready.wait()
        began = time.perf_counter()
        for socket in self._sockets:
            socket.send()
        await self._over.wait()
        return {
            "requests": len(self.latencies),
            "failed": order["requests"] - len(self.latencies),
            "wall_s": time.perf_counter() - began,
            "latencies": [round(latency, 6) for latency in self.latencies],
        }


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


async def _send(order: dict[str, Any]) -> dict[str, Any]:
    return await Run(order)()


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        uvloop.run(_serve(int(sys.argv[2])))
    else:
        order, result = map(Path, sys.argv[1:])
        result.write_text(json.dumps(uvloop.run(_send(json.loads(order.read_text())))))
