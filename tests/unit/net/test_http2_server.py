"""The server's side of HTTP/2: requests and answers, as transcripts of frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from protogw.errors import BodyTooLarge, GatewayError
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.http import Peer
from protogw.wire.http2 import PREFACE, ErrorCode
from tests.support.http2_peer import GET, POST, Frames, data, headers, settings
from tests.support.transport import MemoryTransport, settle

Serve = Callable[[ServerStream], Awaitable[None]]


async def echo(exchange: ServerStream) -> None:
    exchange.respond(200, [(b"content-type", b"text/plain")], await exchange.whole(1 << 20))


class Gateway:
    """A server connection and its client."""

    def __init__(self, serve: Serve = echo, limits: Limits | None = None, client: bytes = settings()) -> None:
        self.closed: list[Http2ServerConnection] = []
        self.connection = Http2ServerConnection(serve, limits or Limits(), on_close=self.closed.append)
        self.transport = MemoryTransport(self.connection)
        self.frames = Frames(self.transport)
        self.transport.feed(PREFACE + client)

    async def say(self, *pieces: bytes) -> list[str]:
        self.transport.feed(*pieces)
        await settle()
        return self.frames.said()

    def sweep(self, seconds: int) -> None:
        now = self.connection._swept or 1.0
        for second in range(1, seconds + 1):
            self.connection.sweep(now + second)


async def opened(serve: Serve = echo, limits: Limits | None = None, client: bytes = settings()) -> Gateway:
    gateway = Gateway(serve, limits, client)
    await settle()
    gateway.frames.said()
    return gateway


async def test_the_first_frame_is_settings_and_they_say_the_limits() -> None:
    gateway = Gateway(limits=Limits(concurrent_streams=7, stream_window=100_000, connection_window=200_000))
    await settle()
    first, window, ack = gateway.frames.take()
    assert first.kind == http2.SETTINGS
    assert dict(http2.read_settings(first.payload)) == {
        http2.MAX_CONCURRENT_STREAMS: 7,
        http2.MAX_HEADER_LIST_SIZE: 64 << 10,
        http2.INITIAL_WINDOW_SIZE: 100_000,
        http2.ENABLE_CONNECT_PROTOCOL: 1,
    }
    assert window == (http2.WINDOW_UPDATE, 0, 0, (200_000 - 65_535).to_bytes(4, "big"))
    assert ack == (http2.SETTINGS, http2.ACK, 0, b"")


async def test_a_request_with_a_body_is_answered() -> None:
    gateway = await opened()
    assert await gateway.say(headers(1, POST) + data(1, b"he") + data(1, b"llo", end=True)) == [
        "1 HEADERS :status: 200, content-type: text/plain, content-length: 5",
        "1 DATA hello END_STREAM",
    ]
    assert gateway.connection.active == 0
    assert gateway.transport.writes == 2


async def test_a_request_cut_into_single_bytes_is_the_same_request() -> None:
    gateway = Gateway(client=b"")
    sent = settings() + headers(1, POST) + data(1, b"hello", end=True)
    for at in range(len(sent)):
        gateway.transport.feed(sent[at : at + 1])
    await settle()
    assert gateway.frames.said()[-1] == "1 DATA hello END_STREAM"


async def test_a_preface_cut_into_single_bytes_is_accepted() -> None:
    connection = Http2ServerConnection(echo, Limits())
    transport = MemoryTransport(connection)
    for at in range(len(PREFACE)):
        transport.feed(PREFACE[at : at + 1])
    transport.feed(settings() + headers(1, GET, end=True))
    await settle()
    assert Frames(transport).said()[-1].startswith("1 HEADERS :status: 200")


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nXX", b"\0" * 30]
)
async def test_what_is_not_a_preface_is_refused(sent: bytes) -> None:
    connection = Http2ServerConnection(echo, Limits())
    transport = MemoryTransport(connection)
    transport.feed(sent)
    await settle()
    assert Frames(transport).said()[-1] == "GOAWAY 0 PROTOCOL_ERROR"
    assert transport.eof


async def test_a_body_that_came_with_the_head_is_there_at_once() -> None:
    got: list[bytes | None] = []

    async def serve(exchange: ServerStream) -> None:
        got.append(exchange.buffered())
        got.append(exchange.buffered())
        exchange.respond(204, ())

    gateway = await opened(serve)
    assert await gateway.say(headers(1, POST) + data(1, b"ab") + data(1, b"c", end=True)) == [
        "1 HEADERS :status: 204 END_STREAM"
    ]
    assert await gateway.say(headers(3, GET, end=True)) == ["3 HEADERS :status: 204 END_STREAM"]
    assert await gateway.say(headers(5, POST) + data(5, b"a")) == ["5 HEADERS :status: 204 END_STREAM"]
    assert got == [b"abc", None, b"", b"", None, None]


async def test_requests_with_equal_blocks_share_one_head() -> None:
    heads = []

    async def serve(exchange: ServerStream) -> None:
        heads.append(exchange.head)
        exchange.respond(200, ())

    gateway = await opened(serve)
    await gateway.say(headers(1, GET, end=True) + headers(3, GET, end=True) + headers(5, POST, end=True))
    assert heads[0] is heads[1]
    assert heads[0] is not heads[2]


async def test_an_answer_with_trailers_is_one_write() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.extra = ((b"x-extra", b"1"),)
        exchange.respond(200, ((b"content-type", b"application/grpc"),), b"abc", ((b"grpc-status", b"0"),))

    gateway = await opened(serve)
    writes = gateway.transport.writes
    assert await gateway.say(headers(1, GET, end=True)) == [
        "1 HEADERS :status: 200, content-type: application/grpc, x-extra: 1",
        "1 DATA abc",
        "1 HEADERS grpc-status: 0 END_STREAM",
    ]
    assert gateway.transport.writes == writes + 1


async def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    async def serve(exchange: ServerStream) -> None:
        if exchange.head.path == b"/a":
            exchange.respond(200, (), b"hello")
        else:
            exchange.start(200, [(b"content-length", b"5")])
            await exchange.write(b"hel")
            exchange.finish(b"lo")

    gateway = await opened(serve)
    head = ((b":method", b"HEAD"), *GET[1:])
    assert await gateway.say(headers(1, head, end=True)) == ["1 HEADERS :status: 200, content-length: 5 END_STREAM"]
    other = (*head[:2], (b":path", b"/b"), head[3])
    assert await gateway.say(headers(3, other, end=True)) == [
        "3 HEADERS :status: 200, content-length: 5",
        "3 DATA  END_STREAM",
    ]


async def test_an_answer_is_streamed_in_pieces_and_ended_with_trailers() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.start(200, ())
        await exchange.write(b"one")
        await exchange.write(b"")
        await exchange.write(b"two")
        exchange.finish(b"three", [(b"x-end", b"yes")])
        exchange.finish(b"more")
        assert (exchange.started, exchange.status, exchange.bytes_out) == (True, 200, 11)

    gateway = await opened(serve)
    assert await gateway.say(headers(1, GET, end=True)) == [
        "1 HEADERS :status: 200",
        "1 DATA one",
        "1 DATA two",
        "1 DATA three",
        "1 HEADERS x-end: yes END_STREAM",
    ]


async def test_a_request_is_read_piece_by_piece_and_its_trailers_come_last() -> None:
    pieces = []

    async def serve(exchange: ServerStream) -> None:
        while piece := await exchange.read():
            pieces.append(piece)
        exchange.respond(200, (), b"%d" % exchange.bytes_in, exchange.request_trailers)

    gateway = await opened(serve)
    await gateway.say(headers(1, POST))
    await gateway.say(data(1, b"ab"))
    await gateway.say(data(1, b"c") + data(1, b"d"))
    assert await gateway.say(headers(1, [(b"x-sum", b"9"), (b"authorization", b"no")], end=True)) == [
        "1 HEADERS :status: 200",
        "1 DATA 4",
        "1 HEADERS x-sum: 9 END_STREAM",
    ]
    assert pieces == [b"ab", b"cd"]


async def test_a_client_that_expects_to_be_asked_is_asked() -> None:
    gateway = await opened()
    asked = await gateway.say(headers(1, [*POST, (b"expect", b"100-continue")]))
    assert asked == ["1 HEADERS :status: 100"]
    assert (await gateway.say(data(1, b"x", end=True)))[-1] == "1 DATA x END_STREAM"


async def test_a_body_over_the_limit_is_refused_by_its_length_or_as_it_comes() -> None:
    errors: list[GatewayError] = []

    async def serve(exchange: ServerStream) -> None:
        try:
            await exchange.whole(10)
        except BodyTooLarge as error:
            errors.append(error)
            exchange.respond(413, ())

    gateway = await opened(serve)
    said = await gateway.say(headers(1, [*POST, (b"content-length", b"11")]))
    assert said == ["1 HEADERS :status: 413 END_STREAM"]
    await gateway.say(headers(3, POST) + data(3, b"123456"))
    assert await gateway.say(data(3, b"78901")) == ["3 HEADERS :status: 413 END_STREAM"]
    assert len(errors) == 2


# --- faults of the one who serves -------------------------------------------------------------------------------------


async def test_a_request_that_is_not_answered_is_answered_500(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: ServerStream) -> None:
        if exchange.head.method == b"POST":
            raise RuntimeError("oops")

    gateway = await opened(serve)
    assert await gateway.say(headers(1, GET, end=True)) == ["1 HEADERS :status: 500 END_STREAM"]
    with caplog.at_level(logging.ERROR):
        assert await gateway.say(headers(3, POST, end=True)) == ["3 HEADERS :status: 500 END_STREAM"]
    assert "oops" in caplog.text


async def test_a_started_answer_that_is_not_finished_is_reset(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.start(200, ())
        if exchange.head.method == b"POST":
            exchange.abort()
            exchange.finish(b"late")
        else:
            raise RuntimeError("oops")

    gateway = await opened(serve)
    for stream, method in ((1, GET), (3, POST)):
        assert await gateway.say(headers(stream, method, end=True)) == [
            f"{stream} HEADERS :status: 200",
            f"{stream} RST_STREAM INTERNAL_ERROR",
        ]
    assert gateway.connection.active == 0


async def test_a_header_that_cannot_be_sent_costs_only_its_own_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, [(b"x", b"a\r\nb: c")])

    gateway = await opened(serve)
    assert await gateway.say(headers(1, GET, end=True)) == ["1 HEADERS :status: 500 END_STREAM"]


# --- the client goes away ---------------------------------------------------------------------------------------------


class Waiting:
    """Serves by waiting for ever, and notes how it ended."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.begun = 0

    async def __call__(self, exchange: ServerStream) -> None:
        self.begun += 1
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
            exchange.respond(200, (), b"nobody hears this")
            raise


async def test_a_reset_by_the_client_cancels_the_task_within_a_turn() -> None:
    serve = Waiting()
    gateway = await opened(serve)
    await gateway.say(headers(1, GET, end=True))
    gateway.transport.feed(http2.rst_stream_frame(1, ErrorCode.CANCEL))
    assert gateway.connection.active == 0
    await asyncio.sleep(0)
    assert serve.cancelled == 1
    assert gateway.frames.said() == []
    assert not gateway.connection._tasks


async def test_a_request_that_is_reset_at_once_is_never_begun() -> None:
    serve = Waiting()
    gateway = await opened(serve)
    assert await gateway.say(headers(1, GET, end=True) + http2.rst_stream_frame(1, ErrorCode.CANCEL)) == []
    assert serve.begun == 0
    assert not gateway.connection._tasks


@pytest.mark.parametrize("how", ["lost", "eof", "close"])
async def test_the_end_of_the_connection_cancels_all_tasks(how: str) -> None:
    serve = Waiting()
    gateway = await opened(serve)
    await gateway.say(*[headers(stream, GET, end=True) for stream in range(1, 20, 2)])
    if how == "lost":
        gateway.transport.lose(ConnectionResetError("reset"))
    elif how == "eof":
        gateway.transport.end()
    else:
        gateway.connection.close()
        gateway.transport.end()
    await settle()
    assert serve.cancelled == 10
    assert gateway.closed == [gateway.connection]
    assert gateway.connection.active == 0
    assert gateway.connection.closed


# --- flow control -----------------------------------------------------------------------------------------------------


async def test_an_answer_waits_for_the_streams_window() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, (), b"0123456789")

    gateway = await opened(serve, client=settings((http2.INITIAL_WINDOW_SIZE, 4)))
    head = "1 HEADERS :status: 200, content-length: 10"
    assert await gateway.say(headers(1, GET, end=True)) == [head, "1 DATA 0123"]
    assert await gateway.say(http2.window_update_frame(1, 3)) == ["1 DATA 456"]
    assert await gateway.say(http2.window_update_frame(1, 100)) == ["1 DATA 789 END_STREAM"]


async def test_an_answer_waits_for_the_connections_window_and_streams_take_turns() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, (), b"x" * 100_000)

    gateway = await opened(serve, client=settings((http2.INITIAL_WINDOW_SIZE, 1 << 20)))
    said = await gateway.say(headers(1, GET, end=True) + headers(3, GET, end=True))
    sent = [int(word.split()[2]) for word in said if " DATA" in word]
    assert sum(sent) == 65_535
    said = await gateway.say(http2.window_update_frame(0, 4 * 16_384))
    assert [word.split()[0] for word in said] in (["1", "3", "1", "3"], ["3", "1", "3", "1"])
    said = await gateway.say(http2.window_update_frame(0, 1 << 20))
    assert [word for word in said if "END_STREAM" in word][-1].endswith("END_STREAM")
    assert gateway.connection.active == 0
    assert gateway.connection.queued == 0


async def test_trailers_wait_for_the_body_and_bodiless_answers_wait_for_nothing() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, (), b"abc" if exchange.head.method == b"GET" else b"", [(b"t", b"1")])

    gateway = await opened(serve, client=settings((http2.INITIAL_WINDOW_SIZE, 0)))
    assert await gateway.say(headers(1, GET, end=True)) == ["1 HEADERS :status: 200"]
    assert await gateway.say(headers(3, POST, end=True)) == [
        "3 HEADERS :status: 200",
        "3 DATA ",
        "3 HEADERS t: 1 END_STREAM",
    ]
    assert await gateway.say(http2.window_update_frame(1, 9)) == ["1 DATA abc", "1 HEADERS t: 1 END_STREAM"]


async def test_new_settings_move_the_windows_of_open_streams_also_below_zero() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, (), b"0123456789")

    gateway = await opened(serve, client=settings((http2.INITIAL_WINDOW_SIZE, 4)))
    await gateway.say(headers(1, GET, end=True))
    assert await gateway.say(settings((http2.INITIAL_WINDOW_SIZE, 0))) == []
    assert await gateway.say(http2.window_update_frame(1, 4)) == []
    assert await gateway.say(http2.window_update_frame(1, 1)) == ["1 DATA 4"]
    assert await gateway.say(settings((http2.INITIAL_WINDOW_SIZE, 100))) == ["1 DATA 56789 END_STREAM"]


async def test_a_larger_frame_size_is_used_and_a_long_head_is_continued() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, [(b"x", b"y" * 20_000)], b"z" * 20_000)

    gateway = await opened(serve, client=settings((http2.INITIAL_WINDOW_SIZE, 1 << 20)))
    gateway.transport.feed(headers(1, GET, end=True))
    await settle()
    assert [frame.kind for frame in gateway.frames.take()] == [
        http2.HEADERS,
        http2.CONTINUATION,
        http2.DATA,
        http2.DATA,
    ]
    await gateway.say(settings((http2.MAX_FRAME_SIZE, 1 << 20)))
    gateway.transport.feed(headers(3, GET, end=True))
    await settle()
    assert [frame.kind for frame in gateway.frames.take()] == [http2.HEADERS, http2.DATA]


async def test_a_lowered_table_size_is_acknowledged_in_the_next_block_only() -> None:
    gateway = await opened(client=settings((http2.HEADER_TABLE_SIZE, 100)))
    gateway.frames._decoder.max_allowed_table_size = 100
    assert (await gateway.say(headers(1, GET, end=True)))[0].startswith("1 HEADERS :status: 200")
    gateway.transport.feed(headers(3, GET, end=True))
    await settle()
    assert gateway.frames.take()[0].payload[0] == 0x88


async def test_reading_gives_the_client_credit_and_not_reading_gives_none() -> None:
    go = asyncio.Event()

    async def serve(exchange: ServerStream) -> None:
        await go.wait()
        while await exchange.read():
            pass
        exchange.respond(200, ())

    gateway = await opened(
        serve, Limits(stream_window=70_000, connection_window=80_000), settings() + http2.SETTINGS_ACK
    )
    piece = data(1, b"x" * 10_000)
    assert await gateway.say(headers(1, POST), *[piece] * 7) == []
    go.set()
    await settle()
    assert sorted(gateway.frames.said()) == ["0 WINDOW_UPDATE 70000", "1 WINDOW_UPDATE 70000"]
    assert (await gateway.say(data(1, b"", end=True)))[0].startswith("1 HEADERS :status: 200")


async def test_data_over_the_streams_window_resets_the_stream_and_frees_the_connections_window() -> None:
    serve = Waiting()
    gateway = await opened(serve, Limits(stream_window=65_535, connection_window=131_070))
    await gateway.say(headers(1, POST))
    said = await gateway.say(*[data(1, b"x" * 16_384)] * 4)
    assert said == ["1 RST_STREAM FLOW_CONTROL_ERROR", "0 WINDOW_UPDATE 65536"]
    await settle()
    assert serve.cancelled == 1


async def test_data_over_the_connections_window_ends_the_connection() -> None:
    gateway = await opened(Waiting(), Limits(stream_window=1 << 20, connection_window=65_535))
    said = await gateway.say(headers(1, POST), *[data(1, b"x" * 16_384)] * 4)
    assert said == ["GOAWAY 1 FLOW_CONTROL_ERROR"]


async def test_padding_counts_as_data_and_is_credited_at_once() -> None:
    gateway = await opened(Waiting(), Limits(stream_window=65_535, connection_window=65_535))
    padded = http2.frame(http2.DATA, http2.PADDED, 1, b"\xff" + b"x" * 2 + b"\0" * 255)
    await gateway.say(headers(1, POST))
    said = await gateway.say(*[padded] * 200)
    assert sum(int(word.split()[-1]) for word in said if word.startswith("1 WINDOW")) >= 32_767
    assert gateway.connection.active == 1


async def test_a_writer_waits_while_the_client_does_not_read_and_memory_is_bounded() -> None:
    written = 0

    async def serve(exchange: ServerStream) -> None:
        nonlocal written
        exchange.start(200, ())
        for _ in range(100):
            await exchange.write(b"x" * 10_000)
            written += 10_000
        exchange.finish()

    gateway = await opened(serve, Limits(write_buffer=50_000))
    await gateway.say(headers(1, GET, end=True))
    assert 65_535 + 50_000 <= written + 10_000 <= 65_535 + 70_000
    await gateway.say(http2.window_update_frame(0, 1 << 20) + http2.window_update_frame(1, 1 << 20))
    assert written == 1_000_000
    assert gateway.connection.active == 0


async def test_streams_without_a_window_of_their_own_do_not_stop_others() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.start(200, ())
        for _ in range(20):
            await exchange.write(b"x" * 10_000)
        exchange.finish()

    gateway = await opened(serve, Limits(write_buffer=50_000), settings((http2.INITIAL_WINDOW_SIZE, 0)))
    await gateway.say(http2.window_update_frame(0, 1 << 24))
    await gateway.say(*[headers(stream, GET, end=True) for stream in range(1, 100, 2)])
    assert gateway.connection.queued <= 4 * 50_000 + 50 * 10_000
    said = await gateway.say(http2.window_update_frame(99, 1 << 20))
    assert said[-1].startswith("99 DATA")
    assert said[-1].endswith("END_STREAM")


async def test_a_paused_transport_holds_data_back_in_the_streams() -> None:
    written = 0

    async def serve(exchange: ServerStream) -> None:
        nonlocal written
        exchange.start(200, ())
        for _ in range(100):
            await exchange.write(b"x" * 10_000)
            written += 10_000
        exchange.finish()

    client = settings((http2.INITIAL_WINDOW_SIZE, 1 << 20)) + http2.window_update_frame(0, 1 << 20)
    gateway = await opened(serve, Limits(write_buffer=50_000), client)
    gateway.transport.stuck = True
    await gateway.say(headers(1, GET, end=True))
    assert written <= 120_000
    while gateway.connection.active:
        gateway.transport.unstick()
        gateway.transport.stuck = True
        await settle()
    assert written == 1_000_000


async def test_a_client_that_reads_nothing_is_not_listened_to() -> None:
    gateway = await opened(limits=Limits(write_buffer=1000))
    gateway.transport.stuck = True
    stream = 1
    while gateway.transport.reading and stream < 1000:
        await gateway.say(headers(stream, GET, end=True))
        stream += 2
    assert gateway.transport.held < 4000
    gateway.transport.unstick()
    assert gateway.transport.reading


async def test_the_peer_is_named_by_the_transport_or_by_who_accepted_it() -> None:
    gateway = await opened()
    assert gateway.connection.peer == Peer("192.0.2.1", 40000)
    connection = Http2ServerConnection(echo, Limits(), Peer("198.51.100.7", 9, tls=True))
    MemoryTransport(connection)
    assert connection.peer == Peer("198.51.100.7", 9, tls=True)
    assert repr(gateway.connection) == "<Http2ServerConnection from 192.0.2.1 open, 0 in flight>"
    connection.close()
