"""The client's side of HTTP/2: requests and replies, as transcripts of frames."""

from __future__ import annotations

import asyncio

import pytest

from protogw.errors import BadUpstream, BodyTooLarge, Code, GatewayError, Unprocessed, UpstreamReset
from protogw.net.http2_client import Http2ClientConnection
from protogw.net.http2_client_stream import ClientStream
from protogw.net.limits import Limits
from protogw.pools.base import PooledConnection
from protogw.translator import HttpStream
from protogw.wire import http2
from protogw.wire.hpack import encode
from protogw.wire.http import Answer
from protogw.wire.http2 import ErrorCode
from tests.support.http2_peer import GET, OK, POST, Frames, block, data, headers, settings
from tests.support.transport import MemoryTransport, settle

HEAD = encode(POST)
TRAILERS = ((b"grpc-status", b"0"),)


class Endpoint:
    """A client connection and its server."""

    def __init__(self, limits: Limits | None = None, server: bytes = settings(), keepalive_s: float = 30.0) -> None:
        self.connection = Http2ClientConnection(limits or Limits(), "h.test:1", keepalive_s=keepalive_s)
        self.transport = MemoryTransport(self.connection)
        self.frames = Frames(self.transport, preface=True)
        self.changes = 0
        self.connection.on_change = self._changed
        self.transport.feed(server)

    def _changed(self, connection: PooledConnection) -> None:
        assert connection is self.connection
        self.changes += 1

    async def say(self, *pieces: bytes) -> list[str]:
        self.transport.feed(*pieces)
        await settle()
        return self.frames.said()

    def open(self, body: bytes | None = b"", head: bytes = HEAD) -> ClientStream:
        return self.connection.open(head, body)


async def opened(limits: Limits | None = None, server: bytes = settings(), keepalive_s: float = 30.0) -> Endpoint:
    endpoint = Endpoint(limits, server, keepalive_s)
    await settle()
    endpoint.frames.said()
    return endpoint


async def test_the_first_words_are_the_preface_and_settings_without_push() -> None:
    endpoint = Endpoint(Limits(stream_window=100_000, connection_window=200_000), server=b"")
    first, window = endpoint.frames.take()
    assert dict(http2.read_settings(first.payload)) == {
        http2.HEADER_TABLE_SIZE: 0,
        http2.ENABLE_PUSH: 0,
        http2.MAX_HEADER_LIST_SIZE: 64 << 10,
        http2.INITIAL_WINDOW_SIZE: 100_000,
    }
    assert window.payload == (200_000 + 100 * 100_000 - 65_535).to_bytes(4, "big")
    settled = endpoint.connection.settled
    assert settled is not None
    assert not settled.done()
    await endpoint.say(settings())
    assert settled.done()


async def test_a_connection_and_its_streams_are_what_pools_and_translators_ask_for() -> None:
    endpoint = await opened()
    pooled: PooledConnection = endpoint.connection
    stream: HttpStream = endpoint.open()
    assert pooled.active == 1
    stream.cancel()
    assert repr(endpoint.connection) == "<Http2ClientConnection h.test:1 open, 0 in flight>"


async def test_a_unary_call_is_one_write_and_one_answer() -> None:
    endpoint = await opened()
    writes = endpoint.transport.writes
    whole = endpoint.open(b"hello").whole(100)
    assert (await endpoint.say())[1:] == ["1 DATA hello END_STREAM"]
    assert endpoint.transport.writes == writes + 1
    await endpoint.say(
        headers(1, [*OK, (b"x", b"y")]) + data(1, b"wor") + data(1, b"ld") + headers(1, TRAILERS, end=True)
    )
    answer = await whole
    assert (answer.head.status, answer.head.headers, answer.body) == (200, ((b"x", b"y"),), b"world")
    assert answer.trailers == TRAILERS
    assert endpoint.connection.active == 0


async def test_a_request_without_a_body_ends_with_its_head() -> None:
    endpoint = await opened()
    endpoint.open(b"")
    assert (await endpoint.say())[0].endswith("END_STREAM")


async def test_replies_with_equal_blocks_share_their_heads_and_trailers() -> None:
    endpoint = await opened()
    answers: list[Answer] = []
    for id in (1, 3):
        whole = endpoint.open().whole(100)
        await endpoint.say(headers(id, OK) + headers(id, TRAILERS, end=True))
        answers.append(await whole)
    assert answers[0].head is answers[1].head
    assert answers[0].trailers is answers[1].trailers


async def test_a_reply_that_was_there_before_it_was_asked_for_is_given() -> None:
    endpoint = await opened()
    stream = endpoint.open()
    await endpoint.say(headers(1, OK) + data(1, b"abc", end=True))
    assert (await stream.whole(3)).body == b"abc"
    stream = endpoint.open()
    await endpoint.say(headers(3, OK) + data(3, b"abc", end=True))
    with pytest.raises(BodyTooLarge):
        await stream.whole(2)


async def test_a_head_alone_is_a_reply() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(0)
    await endpoint.say(headers(1, [*OK, *TRAILERS], end=True))
    answer = await whole
    assert (answer.body, answer.trailers, answer.head.get(b"grpc-status")) == (b"", (), b"0")


async def test_a_reply_is_read_piece_by_piece() -> None:
    endpoint = await opened()
    stream = endpoint.open()
    head = asyncio.create_task(stream.head())
    await endpoint.say(headers(1, [(b":status", b"103")]))
    assert not head.done()
    await endpoint.say(headers(1, OK))
    assert (await head).status == 200
    piece = asyncio.create_task(stream.read())
    await endpoint.say(data(1, b"one"))
    assert await piece == b"one"
    await endpoint.say(data(1, b"two") + data(1, b"three") + headers(1, TRAILERS, end=True))
    assert await stream.read() == b"twothree"
    assert await stream.read() == b""
    assert await stream.read() == b""
    assert stream.trailers == TRAILERS


async def test_a_request_is_written_piece_by_piece() -> None:
    endpoint = await opened()
    stream = endpoint.open(None)
    await stream.write(b"one")
    await stream.write(b"two")
    stream.end()
    stream.end()
    await stream.write(b"late")
    assert (await endpoint.say())[1:] == ["1 DATA one", "1 DATA two", "1 DATA  END_STREAM"]


async def test_a_request_waits_for_both_windows_and_for_settings_that_lower_them() -> None:
    endpoint = await opened(server=settings((http2.INITIAL_WINDOW_SIZE, 4)))
    endpoint.open(b"0123456789")
    assert (await endpoint.say())[1:] == ["1 DATA 0123"]
    assert await endpoint.say(settings((http2.INITIAL_WINDOW_SIZE, 2))) == []
    assert await endpoint.say(http2.window_update_frame(1, 2)) == []
    assert await endpoint.say(http2.window_update_frame(1, 6)) == ["1 DATA 456789 END_STREAM"]


async def test_a_writer_waits_while_the_endpoint_takes_nothing() -> None:
    endpoint = await opened(Limits(write_buffer=20_000))
    stream = endpoint.open(None)
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(20):
            await stream.write(b"x" * 10_000)
            written += 10_000
        stream.end()

    task = asyncio.create_task(write())
    await endpoint.say()
    assert 65_535 + 10_000 <= written + 10_000 <= 65_535 + 40_000
    await endpoint.say(http2.window_update_frame(0, 1 << 20) + http2.window_update_frame(1, 1 << 20))
    assert task.done()
    assert written == 200_000


async def test_a_writer_that_waits_hears_that_the_stream_was_reset() -> None:
    endpoint = await opened(Limits(write_buffer=20_000))
    stream = endpoint.open(None)

    async def write() -> None:
        while True:
            await stream.write(b"x" * 10_000)

    task = asyncio.create_task(write())
    await endpoint.say()
    await endpoint.say(http2.rst_stream_frame(1, ErrorCode.INTERNAL_ERROR))
    with pytest.raises(UpstreamReset, match="INTERNAL_ERROR"):
        await task
    with pytest.raises(UpstreamReset):
        await stream.write(b"x")


async def test_reading_gives_credit_and_not_reading_gives_none() -> None:
    endpoint = await opened(Limits(stream_window=70_000, connection_window=80_000), settings() + http2.SETTINGS_ACK)
    stream = endpoint.open()
    assert await endpoint.say(headers(1, OK), *[data(1, b"x" * 10_000)] * 7) == [
        "1 HEADERS :method: POST, :scheme: http, :path: /a, :authority: h.test END_STREAM"
    ]
    assert len(await stream.read()) == 70_000
    await settle()
    assert sorted(endpoint.frames.said()) == ["0 WINDOW_UPDATE 70000", "1 WINDOW_UPDATE 70000"]


async def test_whole_takes_more_than_the_window_and_no_more_than_the_limit() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(1_000_000)
    await endpoint.say(headers(1, OK))
    said = await endpoint.say(*[data(1, b"x" * 10_000)] * 100)
    assert sum(int(word.split()[-1]) for word in said if word.startswith("1 WINDOW")) >= 1_000_000 - 200_000
    assert await endpoint.say(data(1, b"x")) == ["1 RST_STREAM CANCEL"]
    with pytest.raises(BodyTooLarge, match="1000000 bytes"):
        await whole
    assert await endpoint.say(data(1, b"x", end=True)) == []
    assert endpoint.connection.active == 0


async def test_a_length_over_the_limit_is_refused_before_the_body() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(10)
    assert (await endpoint.say(headers(1, [*OK, (b"content-length", b"11")])))[-1] == "1 RST_STREAM CANCEL"
    with pytest.raises(BodyTooLarge):
        await whole


async def test_unread_bytes_of_streams_that_are_over_do_not_hold_the_connections_window() -> None:
    endpoint = await opened(Limits(stream_window=65_535, connection_window=65_535))
    for id in range(1, 41, 2):
        endpoint.open()
        await endpoint.say(headers(id, OK), data(id, b"x" * 10_000, end=id % 4 == 1))
        if id % 4 == 3:
            endpoint.connection.streams[id].cancel()
    assert endpoint.connection.active == 0
    assert not endpoint.connection.closed


async def test_readers_that_are_slow_do_not_hold_the_connections_window() -> None:
    """Every stream but one is full and unread: the last still gets its reply."""
    endpoint = await opened(Limits(stream_window=70_000, connection_window=70_000, concurrent_streams=20))
    for id in range(1, 39, 2):
        endpoint.open()
        await endpoint.say(headers(id, OK), *[data(id, b"x" * 14_000)] * 5)
    whole = endpoint.open().whole(200_000)
    said = await endpoint.say(headers(39, OK), *[data(39, b"y" * 14_000)] * 5)
    assert not endpoint.connection.closed
    assert any(word.startswith("39 WINDOW_UPDATE") for word in said)
    await endpoint.say(*[data(39, b"y" * 14_000)] * 4, data(39, b"z", end=True))
    assert len((await whole).body) == 9 * 14_000 + 1


async def test_cancelling_tells_the_endpoint_at_once_and_late_frames_are_ignored() -> None:
    endpoint = await opened()
    stream = endpoint.open(b"x")
    whole = stream.whole(100)
    stream.cancel()
    stream.cancel()
    with pytest.raises(UpstreamReset, match="cancelled"):
        await whole
    assert (await endpoint.say())[-1] == "1 RST_STREAM CANCEL"
    indexed = b"\x88\x40\x01a\x01b"
    late = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, indexed)
    assert await endpoint.say(late, data(1, b"x" * 100), headers(1, TRAILERS, end=True)) == []
    whole = endpoint.open().whole(100)
    await endpoint.say(http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 3, b"\x88\xbe"))
    assert (await whole).head.get(b"a") == b"b"


async def test_a_reply_before_the_request_is_whole_ends_the_request() -> None:
    endpoint = await opened()
    stream = endpoint.open(None)
    await stream.write(b"x")
    whole = stream.whole(100)
    assert (await endpoint.say(headers(1, OK, end=True)))[-1] == "1 RST_STREAM NO_ERROR"
    assert (await whole).head.status == 200
    await stream.write(b"more")
    stream.end()
    stream.cancel()
    assert await endpoint.say(http2.rst_stream_frame(1, ErrorCode.NO_ERROR)) == []


async def test_a_reset_after_the_whole_reply_does_not_undo_it() -> None:
    endpoint = await opened()
    stream = endpoint.open(b"x" * 100_000)
    whole = stream.whole(100)
    sent = headers(1, [*OK, (b"grpc-status", b"8")], end=True) + http2.rst_stream_frame(1, ErrorCode.INTERNAL_ERROR)
    await endpoint.say(sent)
    assert (await whole).head.get(b"grpc-status") == b"8"
    assert endpoint.connection.active == 0
    assert endpoint.connection.queued == 0


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "means"),
    [
        (ErrorCode.REFUSED_STREAM, Unprocessed, Code.UNAVAILABLE),
        (ErrorCode.NO_ERROR, UpstreamReset, Code.INTERNAL),
        (ErrorCode.INTERNAL_ERROR, UpstreamReset, Code.INTERNAL),
        (ErrorCode.CANCEL, UpstreamReset, Code.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, UpstreamReset, Code.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, UpstreamReset, Code.PERMISSION_DENIED),
    ],
)
async def test_a_reset_is_named_and_has_the_code_that_grpc_gives_it(
    code: ErrorCode, kind: type[GatewayError], means: Code
) -> None:
    endpoint = await opened()
    whole, head = endpoint.open().whole(100), asyncio.create_task(endpoint.open().head())
    await endpoint.say(http2.rst_stream_frame(1, code), http2.rst_stream_frame(3, code))
    for waiting in (whole, head):
        with pytest.raises(kind, match=f"^h.test:1: the stream was reset: {code.name}$") as raised:
            await waiting
        assert raised.value.status.code is means
    assert endpoint.connection.active == 0


async def test_a_lost_connection_fails_everything_in_flight() -> None:
    endpoint = await opened()
    whole, read = endpoint.open().whole(100), endpoint.open(None)
    await endpoint.say(headers(3, OK) + data(3, b"part"))
    endpoint.transport.lose(ConnectionResetError("reset by peer"))
    await settle()
    with pytest.raises(UpstreamReset, match="lost: reset by peer"):
        await whole
    with pytest.raises(UpstreamReset):
        await read.read()
    with pytest.raises(UpstreamReset):
        await read.write(b"x")
    with pytest.raises(Unprocessed):
        endpoint.open()
    assert (endpoint.connection.closed, endpoint.connection.room, endpoint.connection.active) == (True, 0, 0)
    assert endpoint.changes == 1


async def test_streams_above_the_last_of_goaway_were_not_processed_and_others_finish() -> None:
    endpoint = await opened()
    first, second = endpoint.open().whole(100), endpoint.open().whole(100)
    assert await endpoint.say(http2.goaway_frame(http2.LARGEST_STREAM, 0), http2.goaway_frame(1, 0))
    with pytest.raises(Unprocessed):
        await second
    with pytest.raises(Unprocessed):
        endpoint.open()
    assert endpoint.connection.room == 0
    await endpoint.say(headers(1, OK, end=True))
    assert (await first).head.status == 200
    assert endpoint.connection.closed
    assert endpoint.transport.eof


async def test_the_reason_of_goaway_is_told_to_who_is_cut_by_it() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(100)
    await endpoint.say(http2.goaway_frame(1, ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings"))
    endpoint.transport.lose()
    await settle()
    with pytest.raises(UpstreamReset, match=r"ENHANCE_YOUR_CALM \(too_many_pings\)"):
        await whole


async def test_draining_lets_what_is_in_flight_finish_and_closing_does_not() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(100)
    endpoint.connection.drain()
    assert endpoint.connection.room == 0
    await endpoint.say(headers(1, OK, end=True))
    assert (await whole).head.status == 200
    assert endpoint.connection.closed
    endpoint = await opened()
    whole = endpoint.open().whole(100)
    endpoint.connection.close()
    with pytest.raises(UpstreamReset):
        await whole
    idle = await opened()
    idle.connection.drain()
    assert idle.connection.closed


async def test_room_follows_the_peers_limit_and_is_announced() -> None:
    endpoint = await opened(server=settings((http2.MAX_CONCURRENT_STREAMS, 2)))
    assert (endpoint.connection.room, endpoint.changes) == (2, 0)
    first = endpoint.open()
    endpoint.open()
    assert (endpoint.connection.room, endpoint.connection.active) == (0, 2)
    with pytest.raises(Unprocessed):
        endpoint.open()
    first.cancel()
    assert (endpoint.connection.room, endpoint.changes) == (1, 1)
    await endpoint.say(settings((http2.MAX_CONCURRENT_STREAMS, 0)))
    assert (endpoint.connection.room, endpoint.connection.active, endpoint.changes) == (0, 1, 1)
    await endpoint.say(headers(3, OK, end=True))
    assert endpoint.changes == 1
    await endpoint.say(settings((http2.MAX_CONCURRENT_STREAMS, 5)))
    assert (endpoint.connection.room, endpoint.changes) == (5, 2)
    assert (await opened(Limits(concurrent_streams=9))).connection.room == 9


async def test_stream_ids_run_out_and_the_connection_is_drained() -> None:
    endpoint = await opened()
    endpoint.connection._next = http2.LARGEST_STREAM - 2
    endpoint.open()
    assert endpoint.connection.room > 0
    whole = endpoint.open().whole(10)
    assert endpoint.connection.room == 0
    with pytest.raises(Unprocessed):
        endpoint.open()
    await endpoint.say(headers(http2.LARGEST_STREAM, OK, end=True))
    assert (await whole).head.status == 200


STREAM_FAULTS: list[tuple[str, list[bytes]]] = [
    ("trailers before a head", [headers(1, TRAILERS, end=True)]),
    ("data before a head", [data(1, b"x", end=True)]),
    ("trailers that do not end", [headers(1, OK), headers(1, TRAILERS)]),
    ("a second head", [headers(1, OK), headers(1, OK)]),
    ("no status", [headers(1, [(b":path", b"/")])]),
    ("a status of two digits", [headers(1, [(b":status", b"20")])]),
    ("upper case", [headers(1, [*OK, (b"X", b"y")])]),
    ("a connection field", [headers(1, [*OK, (b"connection", b"close")])]),
    ("a line break in a value", [headers(1, [*OK, (b"x", b"a\r\nb: c")])]),
    ("switching protocols", [headers(1, [(b":status", b"101")])]),
    ("an informational head that ends", [headers(1, [(b":status", b"103")], end=True)]),
    ("less data than the length", [headers(1, [*OK, (b"content-length", b"5")]), data(1, b"abc", end=True)]),
    ("more data than the length", [headers(1, [*OK, (b"content-length", b"2")]), data(1, b"abc")]),
    ("no data for the length", [headers(1, [*OK, (b"content-length", b"2")], end=True)]),
    ("trailers before all of the length", [headers(1, [*OK, (b"content-length", b"2")]), headers(1, [], end=True)]),
    ("too many fields", [headers(1, [*OK, *[(b"a", b"b")] * 300])]),
    ("data over the window", [headers(1, OK), *[data(1, b"x" * 16_384)] * 17]),
    ("window update of 0", [http2.window_update_frame(1, 0)]),
]


@pytest.mark.parametrize("sent", [case[1] for case in STREAM_FAULTS], ids=[case[0] for case in STREAM_FAULTS])
async def test_a_reply_that_breaks_the_rules_fails_alone(sent: list[bytes]) -> None:
    endpoint = await opened()
    broken = endpoint.open()
    other = endpoint.open().whole(100)
    said = await endpoint.say(*sent)
    assert said[-1].startswith("1 RST_STREAM") or said[-2].startswith("1 RST_STREAM")
    with pytest.raises(BadUpstream, match=r"^h\.test:1: "):
        await broken.whole(1 << 20)
    await endpoint.say(headers(3, OK, end=True))
    assert (await other).head.status == 200


CONNECTION_FAULTS: list[tuple[str, bytes]] = [
    ("push promise", http2.frame(http2.PUSH_PROMISE, 4, 1, b"\0\0\0\x02")),
    ("push turned on", settings((http2.ENABLE_PUSH, 1))),
    ("data on an idle stream", data(5, b"x")),
    ("data on an even stream", data(2, b"x")),
    ("head on an idle stream", headers(5, OK)),
    ("head on an even stream", headers(2, OK)),
    ("data on stream 0", data(0, b"x")),
    ("broken block", http2.frame(http2.HEADERS, 4, 1, b"\x80")),
    ("broken block on a stream", http2.frame(http2.HEADERS, 4, 1, b"\x40")),
    ("frame too large", http2.frame(http2.PING, 0, 0, b"x" * 20_000)),
    ("continuation alone", http2.frame(http2.CONTINUATION, 4, 1)),
    ("endless continuation", http2.frame(http2.HEADERS, 0, 1, b"") + http2.frame(http2.CONTINUATION, 0, 1) * 40),
    ("informational heads without end", headers(1, [(b":status", b"103")]) * 40),
    ("pings without end", http2.frame(http2.PING, 0, 0, b"x" * 8) * 3000),
    ("settings without end", settings() * 1000),
    ("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
]


@pytest.mark.parametrize("sent", [case[1] for case in CONNECTION_FAULTS], ids=[case[0] for case in CONNECTION_FAULTS])
async def test_a_server_that_breaks_the_rules_of_the_connection_is_left(sent: bytes) -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(100)
    read = asyncio.create_task(endpoint.open().head())
    await settle()
    assert (await endpoint.say(sent))[-1].startswith("GOAWAY 0 ")
    for waiting in (whole, read):
        with pytest.raises(BadUpstream, match=r"^h\.test:1: "):
            await waiting
    assert endpoint.connection.closed
    assert endpoint.changes == 1


async def test_data_after_the_end_closes_the_connection() -> None:
    endpoint = await opened()
    whole = endpoint.open().whole(100)
    said = await endpoint.say(headers(1, OK, end=True) + data(1, b"x"))
    assert said[-1] == "GOAWAY 0 STREAM_CLOSED"
    assert (await whole).body == b""


async def test_a_server_that_does_not_begin_with_settings_is_left() -> None:
    endpoint = Endpoint(server=b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await settle()
    settled = endpoint.connection.settled
    assert settled is not None
    with pytest.raises(UpstreamReset):
        await settled


async def test_the_reply_to_head_has_a_length_and_no_data() -> None:
    endpoint = await opened()
    whole = endpoint.open(b"", encode([(b":method", b"HEAD"), *GET[1:]])).whole(10)
    await endpoint.say(headers(1, [*OK, (b"content-length", b"5000")], end=True))
    assert (await whole).head.get(b"content-length") == b"5000"
    whole = endpoint.open(b"").whole(10)
    await endpoint.say(headers(3, [(b":status", b"304"), (b"content-length", b"5000")], end=True))
    assert (await whole).head.status == 304


async def test_a_long_head_is_continued_and_a_lowered_table_is_acknowledged() -> None:
    endpoint = await opened(server=settings((http2.HEADER_TABLE_SIZE, 0)))
    head = encode([*POST, (b"x", b"y" * 30_000)])
    endpoint.open(b"", head)
    await settle()
    frames = endpoint.frames.take()
    assert [frame.kind for frame in frames] == [http2.HEADERS, http2.CONTINUATION]
    assert b"".join(frame.payload for frame in frames) == b"\x20" + head


# --- keepalive --------------------------------------------------------------------------------------------------------


class Clock:
    """Turns the connection's timer by hand."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.connection = endpoint.connection

    def tick(self) -> float:
        """The timer fires; the time until it will again."""
        timer = self.connection._timer
        assert timer is not None
        timer.cancel()
        self.connection._keep_alive()
        timer = self.connection._timer
        return 0.0 if timer is None else timer.when() - self.connection.loop.time()


async def test_a_silent_endpoint_with_requests_in_flight_is_asked_and_then_given_up() -> None:
    endpoint = await opened()
    clock = Clock(endpoint)
    clock.tick()
    whole = endpoint.open().whole(100)
    await endpoint.say()
    assert 15 < clock.tick() <= 20
    assert await endpoint.say() == ["PING"]
    clock.tick()
    with pytest.raises(UpstreamReset, match="does not answer"):
        await whole
    assert endpoint.connection.closed
    assert endpoint.transport.aborted


async def test_an_endpoint_that_answers_is_not_asked_again_for_a_while() -> None:
    endpoint = await opened()
    clock = Clock(endpoint)
    clock.tick()
    clock.tick()
    assert await endpoint.say() == []  # nothing in flight
    endpoint.open(None)
    clock.tick()
    assert (await endpoint.say())[-1] == "PING"
    await endpoint.say(http2.frame(http2.PING, http2.ACK, 0, b"protogw!"))
    for _ in range(5):
        assert clock.tick() > 25
    assert await endpoint.say() == []
    endpoint.connection._pinged -= 400
    clock.tick()
    assert await endpoint.say() == ["PING"]


async def test_blocks_of_the_table_are_understood_until_it_changes() -> None:
    endpoint = await opened()
    answers = []
    for id, indexed in (
        (1, b"\x88\x40\x01a\x01b"),
        (3, b"\x88\xbe"),
        (5, b"\x88\xbe"),
        (7, b"\x88\x40\x01c\x01d"),
        (9, b"\x88\xbe"),
    ):
        whole = endpoint.open().whole(1)
        await endpoint.say(http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, id, indexed))
        answers.append((await whole).head)
    assert [head.headers for head in answers] == [((b"a", b"b"),)] * 3 + [((b"c", b"d"),)] * 2
    assert answers[1] is answers[2]
    assert block([]) == b""
