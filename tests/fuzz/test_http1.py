"""HTTP/1.1 server connections under bytes that are cut, damaged or random: one outcome, no exception, no hang."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.errors import GatewayError
from protogw.net.http1_server import Http1ServerConnection
from protogw.net.limits import Limits
from tests.support.transport import MemoryTransport, settle, without_date

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
    b"\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /e HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /f HTTP/1.0\r\n\r\n",
    b"GET /g HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    b"GET http://b/i HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /j HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /l HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    b"GET /m HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n",
    b"GET /" + b"n" * 300 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /o HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 30 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]

LIMITS = Limits(target_bytes=200, header_bytes=500, header_count=20)


async def outcome(pieces: list[bytes]) -> object:
    """Every request that was served, every byte that was answered, and how the connection stands."""
    served: list[object] = []

    async def serve(exchange: Any) -> None:
        try:
            body = exchange.buffered()
            if body is None:
                body = await exchange.whole(1000)
        except GatewayError as error:
            exchange.respond(error.http_status or 400, (), error.message.encode())
            return
        served.append((exchange.head.method, exchange.head.path, body, exchange.request_trailers))
        exchange.respond(200, (), exchange.head.path)

    connection = Http1ServerConnection(serve, LIMITS, probe_s=60)
    transport = MemoryTransport(connection)
    for piece in pieces:
        transport.feed(piece)
        await settle()
    if not transport.closed:
        transport.end()
        await settle()
    assert transport.closed, "a client that has said everything is not left waiting"
    assert connection.active == 0
    return served, without_date(transport.take()), transport.aborted


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(raw) + 1) for place in places} | {len(raw)})
    return [raw[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]


def same(raw: bytes, places: list[int]) -> None:
    async def both() -> tuple[object, object]:
        return await outcome([raw] if raw else []), await outcome(cut(raw, places))

    whole, parts = asyncio.run(both())
    assert whole == parts


@given(st.lists(st.sampled_from(REQUESTS), max_size=5), st.lists(st.integers(0, 1500), max_size=12))
def test_a_stream_of_requests_comes_to_the_same_however_it_is_cut(requests: list[bytes], places: list[int]) -> None:
    same(b"".join(requests), places)


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 600), st.sampled_from(b"\r\n \t:;\x00,0aZ\xff")), min_size=1, max_size=3),
    st.lists(st.integers(0, 600), max_size=12),
)
def test_a_damaged_stream_comes_to_the_same_however_it_is_cut(
    requests: list[bytes], damage: list[tuple[int, int]], places: list[int]
) -> None:
    raw = bytearray(b"".join(requests))
    for place, value in damage:
        raw[place % len(raw)] = value
    same(bytes(raw), places)


@given(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from(REQUESTS)), max_size=6))
def test_random_bytes_never_raise(pieces: list[bytes]) -> None:
    asyncio.run(outcome([piece for piece in pieces if piece]))


@settings(max_examples=30)
@given(st.sampled_from(REQUESTS), st.sampled_from(REQUESTS))
def test_single_bytes_come_to_the_same(first: bytes, second: bytes) -> None:
    raw = first + second
    same(raw, list(range(len(raw))))
