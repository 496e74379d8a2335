"""Whatever bytes a peer sends, an HTTP/2 connection takes them or closes: it never raises, hangs or keeps a task."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.net.http2_client import Http2ClientConnection
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.hpack import encode
from tests.support.http2_peer import GET, OK, POST, Frames, data, headers
from tests.support.http2_peer import settings as settings_frame
from tests.support.transport import MemoryTransport, settle

SMALL = Limits(
    concurrent_streams=4, stream_window=70_000, connection_window=80_000, write_buffer=1000, header_bytes=2000
)

STREAMS = st.integers(0, 12)
BLOCKS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([GET, POST, OK, ((b"grpc-status", b"0"),), ((b":status", b"103"),)]).map(encode),
    st.sampled_from([b"\x40\x01a\x01b", b"\xbe", b"\x20", b"\x3f\xe1\x1f", b"\x88\xbe"]),
)
NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([65_535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]))
FRAMES = st.one_of(
    st.builds(http2.frame, st.integers(0, 12), st.integers(0, 255), STREAMS, st.binary(max_size=30)),
    st.builds(http2.frame, st.just(http2.HEADERS), st.sampled_from([0, 1, 4, 5, 12, 36]), STREAMS, BLOCKS),
    st.builds(http2.frame, st.just(http2.CONTINUATION), st.sampled_from([0, 4]), STREAMS, BLOCKS),
    st.builds(http2.frame, st.just(http2.DATA), st.sampled_from([0, 1, 8, 9]), STREAMS, st.binary(max_size=3000)),
    st.builds(
        lambda stream, number: http2.frame(http2.WINDOW_UPDATE, 0, stream, number.to_bytes(4, "big")), STREAMS, NUMBERS
    ),
    st.builds(
        lambda stream, number: http2.frame(http2.RST_STREAM, 0, stream, number.to_bytes(4, "big")), STREAMS, NUMBERS
    ),
    st.builds(lambda key, value: settings_frame((key, value)), st.integers(1, 7), NUMBERS),
    st.builds(http2.goaway_frame, st.integers(0, 12), st.integers(0, 14)),
    st.builds(lambda stream, end: headers(stream, GET, end=end), STREAMS, st.booleans()),
    st.builds(lambda stream, end: data(stream, b"abc", end=end), STREAMS, st.booleans()),
)
CUTS = st.lists(st.integers(1, 50), max_size=10)


def pieces(sent: bytes, cuts: list[int]) -> list[bytes]:
    cut = []
    for size in cuts:
        cut.append(sent[:size])
        sent = sent[size:]
    return [piece for piece in (*cut, sent) if piece]


async def mixed(exchange: ServerStream) -> None:
    """Answers in a way that depends on the stream, so that all of them meet what the peer does."""
    way = exchange.id // 2 % 4
    if way == 0:
        exchange.respond(200, (), await exchange.whole(2000), ((b"a", b"b"),))
    elif way == 1:
        exchange.start(200, ())
        while piece := await exchange.read():
            await exchange.write(piece * 10)
        exchange.finish(b"x", exchange.request_trailers)
    elif way == 2:
        exchange.respond(200, (), b"x" * 100_000)
    else:
        exchange.start(200, ())
        for _ in range(50):
            await exchange.write(b"x" * 3000)
        exchange.abort()


async def feed(transport: MemoryTransport, frames: Frames, sent: list[bytes]) -> None:
    for piece in sent:
        if transport.closed:
            break
        if transport.reading:
            transport.feed(piece)
        await settle()
        frames.take()


@given(st.lists(FRAMES, max_size=25), CUTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_server_survives_any_frames(sent: list[bytes], cuts: list[int], stuck: bool) -> None:
    async def run() -> None:
        connection = Http2ServerConnection(mixed, SMALL)
        transport = MemoryTransport(connection)
        transport.stuck = stuck
        frames = Frames(transport)
        await feed(transport, frames, pieces(http2.PREFACE + settings_frame() + b"".join(sent), cuts))
        assert len(connection.streams) + len(connection.unended.streams) <= SMALL.concurrent_streams
        for second in range(1, 700):
            connection.sweep(float(second))
        if transport.stuck:
            transport.unstick()
        await settle()
        assert connection.closed or not connection.streams
        transport.lose()
        await settle()
        assert not connection.streams
        assert not connection.unended.streams
        assert connection.unended._timer is None
        assert not connection._tasks
        assert connection.queued == 0
        assert not connection.ready

    asyncio.run(run())


@given(st.binary(max_size=200), CUTS)
@settings(max_examples=200, deadline=None)
def test_a_server_survives_any_bytes(sent: bytes, cuts: list[int]) -> None:
    async def run() -> None:
        for start in (b"", http2.PREFACE, http2.PREFACE + settings_frame()):
            connection = Http2ServerConnection(mixed, SMALL)
            transport = MemoryTransport(connection)
            await feed(transport, Frames(transport), pieces(start + sent, cuts))
            transport.lose()
            await settle()
            assert not connection._tasks

    asyncio.run(run())


@given(st.lists(FRAMES, max_size=25), CUTS)
@settings(max_examples=300, deadline=None)
def test_a_client_survives_any_frames_and_every_call_ends(sent: list[bytes], cuts: list[int]) -> None:
    async def run() -> None:
        connection = Http2ClientConnection(SMALL, "fuzz")
        transport = MemoryTransport(connection)
        frames = Frames(transport, preface=True)
        transport.feed(settings_frame())

        async def unary() -> None:
            await connection.open(encode(POST), b"x" * 70_000).whole(1000)

        async def streamed() -> None:
            stream = connection.open(encode(POST), None)
            await stream.write(b"y" * 100)
            await stream.head()
            while await stream.read():
                await stream.write(b"z" * 2000)
            stream.end()

        async def read() -> None:
            stream = connection.open(encode(GET), b"")
            while await stream.read():
                pass

        tasks = [asyncio.ensure_future(call()) for call in (unary, streamed, read, unary)]
        await settle()
        frames.take()
        await feed(transport, frames, pieces(b"".join(sent), cuts))
        transport.lose()
        await settle()
        assert all(task.done() for task in tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not connection.streams
        assert connection.queued == 0
        assert connection.room == 0

    asyncio.run(run())
