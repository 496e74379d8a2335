"""What HTTP/2 costs on each side without sockets: microseconds a request, and a header block.

    python benchmarks/micro_http2.py [REQUESTS]

Only ratios within one run count.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable

import hpack
import uvloop

from protogw.net.http2_client import Http2ClientConnection
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.hpack import Decoder, encode
from protogw.wire.http import Header, Peer
from protogw.wire.http2_heads import request_head

REQUEST: list[Header] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.v1.Catalog/GetItem"),
    (b":authority", b"localhost:50051"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-python/1.85 grpc-c/50 (linux; chttp2)"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
]
HEADERS: tuple[Header, ...] = ((b"content-type", b"application/grpc"),)
TRAILERS: tuple[Header, ...] = ((b"grpc-status", b"0"), (b"grpc-message", b""))
MESSAGE = b"\x00\x00\x00\x00\x8c" + b"x" * 140
BATCH = 8
ROUNDS = 5
"""The best counts: the others shared the machine with something else."""


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data


def request(id: int, block: bytes, body: bytes) -> bytes:
    return http2.headers_frames(id, 0, block, 1 << 14) + http2.frame(http2.DATA, http2.END_STREAM, id, body)


def reply(id: int, blocks: tuple[bytes, bytes]) -> bytes:
    return (
        http2.headers_frames(id, 0, blocks[0], 1 << 14)
        + http2.frame(http2.DATA, 0, id, MESSAGE)
        + http2.headers_frames(id, http2.END_STREAM, blocks[1], 1 << 14)
    )


async def server(count: int, block: Callable[[], bytes]) -> float:
    async def serve(exchange: ServerStream) -> None:
        assert exchange.buffered() is not None
        exchange.respond(200, HEADERS, MESSAGE, TRAILERS)

    connection = Http2ServerConnection(serve, Limits(), Peer("127.0.0.1", 1))
    wire = Wire()
    connection.connection_made(wire)
    connection.data_received(http2.PREFACE + http2.settings_frame([]))
    batches = [
        b"".join([request(id, block(), MESSAGE) for id in range(start, start + 2 * BATCH, 2)])
        for start in range(1, 2 * count, 2 * BATCH)
    ]
    wire.take()
    started = time.process_time()
    for batch in batches:
        connection.data_received(batch)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.written
        wire.written.clear()
        connection.send_window = 1 << 20
    spent = time.process_time() - started
    assert connection.active == 0
    return spent / count * 1e6


async def client(count: int) -> float:
    connection = Http2ClientConnection(Limits(), "test")
    wire = Wire()
    connection.connection_made(wire)
    connection.data_received(http2.settings_frame([]))
    head = encode(REQUEST)
    blocks = encode([(b":status", b"200"), *HEADERS]), encode(TRAILERS)
    batches = [
        b"".join([reply(id, blocks) for id in range(start, start + 2 * BATCH, 2)])
        for start in range(1, 2 * count, 2 * BATCH)
    ]

    async def call() -> None:
        answer = await connection.open(head, MESSAGE).whole(1 << 20)
        assert answer.trailers

    loop = asyncio.get_running_loop()
    tasks = []
    spent = 0.0
    for batch in batches:
        tasks = [loop.create_task(call()) for _ in range(BATCH)]
        started = time.process_time()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        connection.data_received(batch)
        await asyncio.sleep(0)
        spent += time.process_time() - started
        assert all(task.done() for task in tasks)
        wire.written.clear()
        connection.send_window = 1 << 20
    return spent / count * 1e6


def varying(encoder: hpack.Encoder) -> Callable[[], bytes]:
    """Blocks as clients send them that put every new value into the table."""
    numbers = random.Random(7)

    def block() -> bytes:
        return encoder.encode(
            [
                *REQUEST,
                (b"grpc-timeout", b"%dm" % numbers.randrange(1000)),
                (b"traceparent", b"00-%032x-%016x-01" % (numbers.getrandbits(128), numbers.getrandbits(64))),
            ]
        )

    return block


def decoding(count: int, block: Callable[[], bytes]) -> float:
    blocks = [block() for _ in range(count)]
    decoder = Decoder(request_head, header_bytes=1 << 16, header_count=200)
    started = time.process_time()
    for one in blocks:
        if one not in decoder.blocks:
            decoder.decode(one)
    return (time.process_time() - started) / count * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8_000

    def run(what: str, work: Callable[[], Awaitable[float]]) -> None:
        async def one() -> float:
            return await work()

        print(f"{what:54} {min(uvloop.run(one()) for _ in range(ROUNDS)):6.2f}")

    constant = encode(REQUEST)
    run("server, the same header block", lambda: server(count, lambda: constant))
    run("server, new values in every block", lambda: server(count, varying(hpack.Encoder())))
    run("client, the same header blocks", lambda: client(count))
    print(f"{'decode and check a block, new values':54} {decoding(count, varying(hpack.Encoder())):6.2f}")
    started = time.process_time()
    for _ in range(count):
        encode(REQUEST)
    print(f"{'encode a block':54} {(time.process_time() - started) / count * 1e6:6.2f}")


if __name__ == "__main__":
    main()
