"""Load in which no two requests are alike: paths, ids, cookies and traces differ, as real clients' do.

A process of its own, so that only its requests meet the gateway; reads an order, writes a Burst, both JSON. HTTP/2
header blocks go through a real HPACK encoder, which puts the changing fields into the dynamic table: the hard case for
whoever decodes them.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import hpack
import httptools
import uvloop

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:133.0) Gecko/20100101 Firefox/133.0",
    "grpc-go/1.68.0",
    "okhttp/4.12.0",
)
LANGUAGES = ("en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "pl", "fr-CH, fr;q=0.9, en;q=0.8")
VARIANTS = 997


def headers(chance: random.Random) -> list[tuple[str, str]]:
    """Ten fields as a browser's or a service's request has them."""
    return [
        ("user-agent", chance.choice(AGENTS)),
        ("accept-language", chance.choice(LANGUAGES)),
        ("cache-control", "no-cache"),
        ("x-request-id", f"{chance.getrandbits(128):032x}"),
        ("traceparent", f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01"),
        ("authorization", f"Bearer {chance.getrandbits(400):0100x}"),
        ("cookie", f"session={chance.getrandbits(128):032x}; theme=dark"),
        ("x-forwarded-for", f"203.0.113.{chance.randrange(256)}"),
        ("x-tenant", f"tenant-{chance.randrange(50)}"),
        ("referer", f"https://shop.example/items/{chance.randrange(10_000)}?from=search"),
    ]


class Http1(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser: Any = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._next()

    def _next(self) -> None:
        request = self._run.take()
        if request is None:
            self._transport.close()
            return
        self._sent = self._run.now()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._run.done(self._parser.get_status_code() == 200, self._run.now() - self._sent)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.closed()


class Http2(asyncio.Protocol):
    """One connection with several streams; looks at every frame, decodes every header block."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._buffer = b""
        self._stream = -1
        self._sent: dict[int, float] = {}
        self._status: dict[int, bool] = {}
        self._unacknowledged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.write(  # type: ignore[attr-defined]
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(8, 0, 0, (1 << 30).to_bytes(4, "big"))
        )
        for _ in range(self._run.streams):
            self._next()

    def _next(self) -> None:
        request = self._run.take()
        if request is None:
            if not self._sent:
                self._transport.close()
            return
        self._stream += 2
        block = self._encoder.encode(request[0])
        self._sent[self._stream] = self._run.now()
        body = request[1]
        wire = _frame(1, 4 if body else 5, self._stream, block)
        self._transport.write(wire + _frame(0, 1, self._stream, body) if body else wire)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at, end = 0, len(self._buffer)
        while at + 9 <= end:
            length = int.from_bytes(self._buffer[at : at + 3], "big")
            if at + 9 + length > end:
                break
            kind, flags = self._buffer[at + 3], self._buffer[at + 4]
            stream = int.from_bytes(self._buffer[at + 5 : at + 9], "big")
            self._on_frame(kind, flags, stream, self._buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = self._buffer[at:]

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == 0:
            self._unacknowledged += len(payload)
            if self._unacknowledged > 1 << 20:
                self._transport.write(_frame(8, 0, 0, self._unacknowledged.to_bytes(4, "big")))
                self._unacknowledged = 0
        elif kind == 1:
            for name, value in self._decoder.decode(payload):
                if (name == ":status" and value != "200") or (name == "grpc-status" and value != "0"):
                    self._status[stream] = False
        elif kind == 4 and not flags & 1:
            self._transport.write(_frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            self._transport.write(_frame(6, 1, 0, payload))
        if kind == 3 or (kind in (0, 1) and flags & 1):
            ok = self._status.pop(stream, True) and kind != 3
            self._run.done(ok, self._run.now() - self._sent.pop(stream))
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.closed()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Run:
    """The requests still to be sent, and what came of those that were."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.now = time.perf_counter  # the loop's own clock is in milliseconds
        self.streams: int = order["streams"]
        self._left: int = order["requests"]
        self._order = order
        self._open = 0
        self._over = asyncio.Event()
        self._failed = 0
        self._latencies: list[float] = []
        chance = random.Random(7)
        self._ready: deque[Any] = deque(self._request(chance, number) for number in range(VARIANTS))

    def _request(self, chance: random.Random, number: int) -> Any:
        order = self._order
        path = order["path"].replace("/items/1", f"/items/{chance.randrange(1 << 30)}", 1)
        fields = [*map(tuple, order["headers"]), *headers(chance)]
        body = bytes.fromhex(order["body"])
        host = f"127.0.0.1:{order['port']}"
        verb = "POST" if body else "GET"
        if order["http2"]:
            pseudo = [(":method", verb), (":scheme", "http"), (":path", path), (":authority", host)]
            return pseudo + fields, body
        lines = [f"{verb} {path} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in fields)]
        if body:
            lines.append(f"content-length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def take(self) -> Any:
        """The next request, or None when enough were sent."""
        if self._left <= 0:
            return None
        self._left -= 1
        self._ready.rotate(-1)
        return self._ready[0]

    def done(self, ok: bool, latency: float) -> None:
        if ok:
            self._latencies.append(latency)
        else:
            self._failed += 1

    def closed(self) -> None:
        self._open -= 1
        if not self._open:
            self._over.set()

    async def __call__(self) -> dict[str, Any]:
        loop, order = asyncio.get_running_loop(), self._order
        began = self.now()
        protocol = Http2 if order["http2"] else Http1
        self._open = order["connections"]
        for _ in range(order["connections"]):
            await loop.create_connection(lambda: protocol(self), "127.0.0.1", order["port"])
        await self._over.wait()
        short = order["requests"] - len(self._latencies) - self._failed
        return {
            "requests": len(self._latencies),
            "failed": self._failed + short,
            "wall_s": self.now() - began,
            "latencies": [round(latency, 6) for latency in self._latencies],
        }


async def _main(order: dict[str, Any]) -> dict[str, Any]:
    return await Run(order)()


if __name__ == "__main__":
    order, result = map(Path, sys.argv[1:])
    result.write_text(json.dumps(uvloop.run(_main(json.loads(order.read_text())))))
