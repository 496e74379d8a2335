"""The server's side of HTTP/2 against clients that break the rules, cost too much, or take too long."""

from __future__ import annotations

import asyncio

import pytest

from protogw.errors import GatewayError
from protogw.net import http2_connection
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.http2 import PREFACE, ErrorCode
from tests.support.http2_peer import GET, POST, Frames, answered, block, data, headers, settings
from tests.support.transport import MemoryTransport, settle
from tests.unit.net.test_http2_server import Gateway, Waiting, opened


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return http2.frame(kind, flags, stream, payload)


def reset(stream: int) -> bytes:
    return http2.rst_stream_frame(stream, ErrorCode.CANCEL)


CASES: list[tuple[str, list[bytes], str]] = [
    ("data on stream 0", [data(0, b"x")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("data on an idle stream", [data(5, b"x")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("padding over the frame", [frame(http2.DATA, http2.PADDED, 1, b"\x05abc")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("headers on stream 0", [headers(0, GET)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("an even stream", [headers(2, GET)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("a stream passed over", [headers(7, GET), headers(5, GET)], "GOAWAY 7 PROTOCOL_ERROR"),
    ("padded headers on stream 0", [frame(http2.HEADERS, 0xC, 0, b"\0")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("headers too short for priority", [frame(http2.HEADERS, 0x24, 3, b"\0\0")], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("headers padding over the frame", [frame(http2.HEADERS, 0xC, 3, b"\x09a")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("a second head", [headers(1, GET)], "1 RST_STREAM PROTOCOL_ERROR"),
    ("pseudo-header fields in trailers", [headers(1, GET, end=True)], "1 RST_STREAM PROTOCOL_ERROR"),
    ("upper case in trailers", [headers(1, [(b"X", b"y")], end=True)], "1 RST_STREAM PROTOCOL_ERROR"),
    ("large trailers", [headers(1, [(b"x", b"y" * 400)] * 190, end=True)], "GOAWAY 1 ENHANCE_YOUR_CALM"),
    ("too many trailers", [headers(1, [(b"x", b"y")] * 300, end=True)], "1 RST_STREAM ENHANCE_YOUR_CALM"),
    ("data after the end", [data(1, b"", end=True), data(1, b"x")], "1 RST_STREAM STREAM_CLOSED"),
    ("headers after the end", [data(1, b"", end=True), headers(1, [], end=True)], "1 RST_STREAM STREAM_CLOSED"),
    ("priority on stream 0", [frame(http2.PRIORITY, 0, 0, b"\0" * 5)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("priority of 4 bytes", [frame(http2.PRIORITY, 0, 1, b"\0" * 4)], "1 RST_STREAM FRAME_SIZE_ERROR"),
    ("priority on itself", [frame(http2.PRIORITY, 0, 1, b"\0\0\0\x01\0")], "1 RST_STREAM PROTOCOL_ERROR"),
    ("priority of 4 bytes, idle", [frame(http2.PRIORITY, 0, 9, b"\0" * 4)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    (
        "a stream that depends on itself",
        [frame(http2.HEADERS, 0x25, 3, b"\0\0\0\x03\0" + block(GET))],
        "3 RST_STREAM PROTOCOL_ERROR",
    ),
    ("reset on stream 0", [reset(0)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("reset of an idle stream", [reset(3)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("reset of 3 bytes", [frame(http2.RST_STREAM, 0, 1, b"\0" * 3)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("settings on a stream", [frame(http2.SETTINGS, 0, 1)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("settings of 3 bytes", [frame(http2.SETTINGS, 0, 0, b"\0" * 3)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("an acknowledgement with a payload", [frame(http2.SETTINGS, 1, 0, b"\0" * 6)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("push of 2", [settings((http2.ENABLE_PUSH, 2))], "GOAWAY 1 PROTOCOL_ERROR"),
    ("a window of 2^31", [settings((http2.INITIAL_WINDOW_SIZE, 1 << 31))], "GOAWAY 1 FLOW_CONTROL_ERROR"),
    ("frames of 100", [settings((http2.MAX_FRAME_SIZE, 100))], "GOAWAY 1 PROTOCOL_ERROR"),
    ("a push promise", [frame(http2.PUSH_PROMISE, 4, 1, b"\0\0\0\x02")], "GOAWAY 1 PROTOCOL_ERROR"),
    ("ping on a stream", [frame(http2.PING, 0, 1, b"\0" * 8)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("ping of 6 bytes", [frame(http2.PING, 0, 0, b"\0" * 6)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("goaway on a stream", [frame(http2.GOAWAY, 0, 1, b"\0" * 8)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("goaway of 4 bytes", [frame(http2.GOAWAY, 0, 0, b"\0" * 4)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("window update of 0", [http2.window_update_frame(0, 0)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("window update of 0 for a stream", [http2.window_update_frame(1, 0)], "1 RST_STREAM PROTOCOL_ERROR"),
    ("window update of an idle stream", [http2.window_update_frame(3, 1)], "GOAWAY 1 PROTOCOL_ERROR"),
    ("window update of 3 bytes", [frame(http2.WINDOW_UPDATE, 0, 0, b"\0" * 3)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("the window overflows", [http2.window_update_frame(0, http2.LARGEST_WINDOW)], "GOAWAY 1 FLOW_CONTROL_ERROR"),
    (
        "the stream's window overflows",
        [http2.window_update_frame(1, http2.LARGEST_WINDOW)],
        "1 RST_STREAM FLOW_CONTROL_ERROR",
    ),
    (
        "settings make a window overflow",
        [http2.window_update_frame(1, 1 << 30), settings((http2.INITIAL_WINDOW_SIZE, http2.LARGEST_WINDOW))],
        "GOAWAY 1 FLOW_CONTROL_ERROR",
    ),
    ("continuation alone", [frame(http2.CONTINUATION, 4, 1)], "GOAWAY 1 PROTOCOL_ERROR"),
    (
        "a frame within a block",
        [frame(http2.HEADERS, 0, 3, block(GET)), frame(http2.PING, 0, 0, b"\0" * 8)],
        "GOAWAY 1 PROTOCOL_ERROR",
    ),
    (
        "an unknown frame within a block",
        [frame(http2.HEADERS, 0, 3, block(GET)), frame(0x77, 0, 0)],
        "GOAWAY 1 PROTOCOL_ERROR",
    ),
    (
        "continuation of another stream",
        [frame(http2.HEADERS, 0, 3, block(GET)), frame(http2.CONTINUATION, 4, 5)],
        "GOAWAY 1 PROTOCOL_ERROR",
    ),
    ("a frame over the limit", [frame(http2.PING, 0, 0, b"\0" * 16_385)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("data over the frame limit", [data(1, b"\0" * 16_385)], "GOAWAY 1 FRAME_SIZE_ERROR"),
    ("a broken block", [frame(http2.HEADERS, 4, 3, b"\x80")], "GOAWAY 1 COMPRESSION_ERROR"),
    ("a broken block in trailers", [frame(http2.HEADERS, 5, 1, b"\xfe")], "GOAWAY 1 COMPRESSION_ERROR"),
    ("malformed", [headers(3, [*GET, (b"connection", b"close")])], "3 RST_STREAM PROTOCOL_ERROR"),
    ("no pseudo-header fields", [headers(3, [(b"a", b"b")])], "3 RST_STREAM PROTOCOL_ERROR"),
    ("nothing at all", [headers(3, [], end=True)], "3 RST_STREAM PROTOCOL_ERROR"),
    (
        "no data for the length",
        [headers(3, [*GET, (b"content-length", b"3")], end=True)],
        "3 RST_STREAM PROTOCOL_ERROR",
    ),
    (
        "too much data for the length",
        [headers(3, [*GET, (b"content-length", b"3")]), data(3, b"abcd")],
        "3 RST_STREAM PROTOCOL_ERROR",
    ),
    (
        "too little data for the length",
        [headers(3, [*GET, (b"content-length", b"3")]), data(3, b"ab", end=True)],
        "3 RST_STREAM PROTOCOL_ERROR",
    ),
    (
        "trailers before all of the length",
        [headers(3, [*GET, (b"content-length", b"3")]), headers(3, [], end=True)],
        "3 RST_STREAM PROTOCOL_ERROR",
    ),
]


@pytest.mark.parametrize(("sent", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_each_broken_rule_has_the_answer_of_the_rfc(sent: list[bytes], said: str) -> None:
    gateway = await opened(Waiting())
    await gateway.say(headers(1, POST))
    assert said in await gateway.say(b"".join(sent))
    if said.startswith("GOAWAY"):
        assert gateway.transport.eof
        assert gateway.connection.active == 0
    else:
        assert not gateway.connection.closed


async def test_frames_for_streams_that_are_over_end_the_connection_unless_we_cut_them() -> None:
    gateway = await opened()
    assert answered(await gateway.say(headers(1, GET, end=True)))
    for harmless in (http2.window_update_frame(1, 5), reset(1), frame(http2.PRIORITY, 0, 1, b"\0" * 5)):
        assert await gateway.say(harmless) == []
    assert await gateway.say(data(1, b"x")) == ["GOAWAY 1 STREAM_CLOSED"]
    gateway = await opened()
    await gateway.say(headers(1, GET, end=True))
    assert await gateway.say(headers(1, GET, end=True)) == ["GOAWAY 1 STREAM_CLOSED"]
    gateway = await opened(Waiting())
    await gateway.say(headers(1, POST) + http2.window_update_frame(1, 0))
    assert await gateway.say(data(1, b"x"), headers(1, [(b"a", b"b")], end=True)) == []


async def test_the_first_frame_must_be_settings() -> None:
    for first in (frame(http2.PING, 0, 0, b"\0" * 8), http2.SETTINGS_ACK, headers(1, GET)):
        gateway = Gateway(client=first)
        await settle()
        assert gateway.frames.said()[-1] == "GOAWAY 0 PROTOCOL_ERROR"


async def test_what_is_unknown_is_ignored() -> None:
    gateway = await opened(client=settings((0x99, 7)))
    assert await gateway.say(frame(0x77, 0xFF, 9, b"x" * 100)) == []
    assert await gateway.say(frame(http2.PING, 0xFE, 0, b"12345678")) == ["PING ACK"]
    assert answered(await gateway.say(headers(1, GET, end=True)))


async def test_padding_and_priority_are_taken_off_a_head() -> None:
    gateway = await opened()
    padded = frame(http2.HEADERS, 0x2D, 1, b"\x03" + b"\0\0\0\x09\x10" + block(GET) + b"\0\0\0")
    assert answered(await gateway.say(padded))


async def test_a_block_over_several_frames_is_one_head() -> None:
    gateway = await opened()
    whole = block(GET)
    said = await gateway.say(
        frame(http2.HEADERS, 1, 1, whole[:5]),
        frame(http2.CONTINUATION, 0, 1, whole[5:9]),
        frame(http2.CONTINUATION, 4, 1, whole[9:]),
    )
    assert answered(said)


async def test_requests_over_the_stream_limit_are_refused_and_those_under_it_live() -> None:
    serve = Waiting()
    gateway = await opened(serve, Limits(concurrent_streams=3))
    said = await gateway.say(*[headers(stream, GET, end=True) for stream in range(1, 13, 2)])
    assert said == [f"{stream} RST_STREAM REFUSED_STREAM" for stream in (7, 9, 11)]
    assert gateway.connection.active == 3
    await gateway.say(reset(1))
    assert await gateway.say(headers(13, GET, end=True)) == []
    assert serve.begun == 4


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*GET, (b"x", b"y" * 9000)], 431),
        ([*GET, *[(b"x%d" % number, b"y") for number in range(40)]], 431),
        ([*GET[:2], (b":path", b"/" + b"a" * 5000), GET[3]], 414),
        ([(b":method", b"CONNECT"), GET[3]], 501),
        ([(b":method", b"TRACE"), *GET[1:]], 405),
    ],
)
async def test_heads_that_are_too_large_or_of_no_use_are_answered(
    fields: list[tuple[bytes, bytes]], status: int
) -> None:
    gateway = await opened(Waiting(), Limits(header_bytes=8000, header_count=30, target_bytes=4000))
    answer = f"HEADERS :status: {status}, content-length: 0 END_STREAM"
    assert await gateway.say(headers(1, fields, end=True)) == [f"1 {answer}"]
    assert await gateway.say(headers(3, fields), data(3, b"x")) == [f"3 {answer}"]
    assert gateway.connection.active == 0


async def test_an_indexed_bomb_is_refused_and_costs_no_copy() -> None:
    gateway = await opened()
    entry = b"\x40\x01x\x7f" + http2_length(4000) + b"a" * 4000
    assert answered(await gateway.say(frame(http2.HEADERS, 5, 1, block(GET) + entry)))
    said = await gateway.say(frame(http2.HEADERS, 5, 3, block(GET) + b"\xbe" * 4000))
    assert said == ["3 HEADERS :status: 431, content-length: 0 END_STREAM"]
    assert answered(await gateway.say(headers(5, GET, end=True)), 5)


def http2_length(size: int) -> bytes:
    """The rest of a string length whose prefix is all ones."""
    size -= 0x7F
    octets = bytearray()
    while size >= 0x80:
        octets.append(size & 0x7F | 0x80)
        size >>= 7
    octets.append(size)
    return bytes(octets)


# --- floods -----------------------------------------------------------------------------------------------------------


async def flooded(gateway: Gateway, pieces: list[bytes], rounds: int = 200) -> int:
    """How many rounds it took until the connection was closed for it."""
    for taken in range(rounds):
        said = await gateway.say(*pieces)
        if said and said[-1].startswith("GOAWAY"):
            assert said[-1].endswith("ENHANCE_YOUR_CALM")
            assert gateway.connection.active == 0
            return taken
    raise AssertionError("the flood was let through")


@pytest.mark.parametrize(
    "piece",
    [
        settings(),
        http2.SETTINGS_ACK,
        frame(http2.PING, 0, 0, b"\0" * 8),
        frame(http2.PING, 1, 0, b"\0" * 8),
        frame(http2.PRIORITY, 0, 9, b"\0" * 5),
        data(1, b""),
        frame(http2.DATA, http2.PADDED, 1, b"\0"),
        frame(0x77, 0, 0),
        frame(http2.GOAWAY, 0, 0, b"\0" * 8),
        http2.window_update_frame(1, 1),
        http2.window_update_frame(0, 1),
    ],
    ids=[
        "settings",
        "settings ack",
        "ping",
        "pong",
        "priority",
        "data",
        "padding",
        "unknown",
        "goaway",
        "window",
        "windows",
    ],
)
async def test_a_flood_of_frames_of_no_use_ends_the_connection(piece: bytes) -> None:
    gateway = await opened(Waiting())
    await gateway.say(headers(1, POST))
    await flooded(gateway, [piece * 50])


async def test_a_client_that_does_useful_work_may_ping_and_update_windows_as_much() -> None:
    gateway = await opened()
    for stream in range(1, 2001, 2):
        said = await gateway.say(
            headers(stream, POST) + data(stream, b"x", end=True) + frame(http2.PING, 0, 0, b"\0" * 8),
            http2.window_update_frame(0, 1) + http2.window_update_frame(stream, 1),
        )
        assert answered(said, stream)


@pytest.mark.parametrize(
    "cut",
    [reset, lambda stream: http2.window_update_frame(stream, 0), lambda stream: headers(stream, GET)],
    ids=["rapid reset", "made to reset", "made to reset by a second head"],
)
async def test_streams_cut_short_without_end_cost_the_connection(cut: object) -> None:
    assert callable(cut)
    serve = Waiting()
    gateway = await opened(serve)
    for stream in range(1, 2001, 20):
        said = await gateway.say(*[headers(one, POST) + cut(one) for one in range(stream, stream + 20, 2)])
        if gateway.connection.closed:
            break
    assert said[-1].endswith("ENHANCE_YOUR_CALM")
    assert 900 < stream < 1200
    assert serve.begun == 0


async def test_malformed_requests_without_end_cost_the_connection() -> None:
    gateway = await opened()
    for stream in range(1, 2001, 2):
        said = await gateway.say(headers(stream, [*GET, (b"upgrade", b"x")]))
        if gateway.connection.closed:
            break
    assert said[-1].endswith("ENHANCE_YOUR_CALM")


async def test_a_client_half_of_whose_calls_end_well_may_cancel_the_others() -> None:
    async def serve(exchange: ServerStream) -> None:
        if exchange.head.method == b"GET":
            exchange.respond(200, ())
        else:
            await asyncio.get_running_loop().create_future()

    gateway = await opened(serve)
    for stream in range(1, 4001, 4):
        said = await gateway.say(headers(stream, GET, end=True) + headers(stream + 2, POST) + reset(stream + 2))
        assert answered(said, stream)


async def test_a_flood_of_continuations_ends_the_connection_below_the_limit_of_bytes() -> None:
    for fragment in (b"", b"x", b"x" * 5000):
        gateway = await opened(limits=Limits(header_bytes=50_000))
        await gateway.say(frame(http2.HEADERS, 0, 1, block(GET)))
        assert await flooded(gateway, [frame(http2.CONTINUATION, 0, 1, fragment)]) <= 32


async def test_a_fault_of_one_stream_leaves_the_others_alone() -> None:
    gateway = await opened()
    await gateway.say(headers(1, POST) + data(1, b"one"))
    await gateway.say(headers(3, POST) + http2.window_update_frame(3, 0))
    await gateway.say(headers(5, [*POST, (b"te", b"x")]))
    said = await gateway.say(data(1, b" two", end=True))
    assert said[-1] == "1 DATA one two END_STREAM"


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_connection_without_requests_ends_after_the_idle_time_and_not_before() -> None:
    gateway = await opened(limits=Limits(idle_s=30))
    gateway.sweep(20)
    assert answered(await gateway.say(headers(1, GET, end=True)))
    gateway.sweep(29)
    assert not gateway.connection.closed
    assert answered(await gateway.say(headers(3, GET, end=True)), 3)
    gateway.sweep(31)
    assert gateway.frames.said() == ["GOAWAY 3 NO_ERROR"]
    assert gateway.transport.eof


async def test_a_quiet_connection_gives_back_what_it_kept() -> None:
    gateway = await opened()
    await gateway.say(headers(1, GET, end=True))
    assert gateway.connection._blocks
    gateway.sweep(12)
    assert not gateway.connection._blocks
    assert answered(await gateway.say(headers(3, GET, end=True)), 3)


@pytest.mark.parametrize(
    "begun",
    [b"", PREFACE[:10], PREFACE, PREFACE + settings() + frame(http2.HEADERS, 0, 1, block(GET)),
     PREFACE + settings() + headers(1, GET)[:20]],
    ids=["nothing", "half a preface", "no settings", "half a block", "half a frame"],
)  # fmt: skip
async def test_who_does_not_come_to_the_end_of_a_head_is_closed(begun: bytes) -> None:
    connection = Http2ServerConnection(Waiting(), Limits(header_timeout_s=10))
    transport = MemoryTransport(connection)
    frames = Frames(transport)
    if begun:
        transport.feed(begun)
    for second in range(1, 13):
        connection.sweep(100.0 + second)
    await settle()
    assert frames.said()[-1].startswith("GOAWAY 0")
    assert connection.closed


async def test_a_stream_without_progress_is_cut_and_others_are_not() -> None:
    go = asyncio.Event()

    async def serve(exchange: ServerStream) -> None:
        exchange.start(200, ())
        while exchange.head.method == b"POST":
            await exchange.write(await exchange.read())
        await go.wait()

    gateway = await opened(serve, Limits(idle_s=20))
    await gateway.say(headers(1, GET, end=True) + headers(3, POST))
    for _ in range(5):
        gateway.sweep(5)
        await gateway.say(data(3, b"x"))
    assert list(gateway.connection.streams) == [3]
    assert not gateway.connection.closed


async def test_an_answer_that_the_client_does_not_take_is_cut_after_the_idle_time() -> None:
    async def serve(exchange: ServerStream) -> None:
        exchange.respond(200, (), b"x" * 1000)

    gateway = await opened(serve, Limits(idle_s=20), settings((http2.INITIAL_WINDOW_SIZE, 0)))
    await gateway.say(headers(1, GET, end=True))
    gateway.sweep(15)
    await gateway.say(http2.window_update_frame(1, 10))
    gateway.sweep(15)
    assert gateway.connection.active == 1
    gateway.sweep(10)
    assert gateway.connection.active == 0
    await settle()
    assert gateway.frames.said() == ["1 RST_STREAM CANCEL"]
    assert gateway.connection.queued == 0


async def test_a_body_slower_than_the_least_rate_is_answered_408() -> None:
    errors: list[GatewayError] = []

    async def serve(exchange: ServerStream) -> None:
        try:
            await exchange.whole(1 << 20)
        except GatewayError as error:
            errors.append(error)
            exchange.respond(error.http_status or 500, ())

    gateway = await opened(serve, Limits(header_timeout_s=10, min_rate=100))
    await gateway.say(headers(1, POST) + headers(3, POST))
    said = []
    for _ in range(11):
        said += await gateway.say(data(1, b"x" * 200) + data(3, b"x"))
        gateway.sweep(1)
    assert said == ["3 HEADERS :status: 408 END_STREAM"]
    assert [error.http_status for error in errors] == [408]
    assert list(gateway.connection.streams) == [1]


# --- drain ------------------------------------------------------------------------------------------------------------


async def test_draining_says_so_twice_and_lets_requests_on_their_way_in() -> None:
    go = asyncio.Event()

    async def serve(exchange: ServerStream) -> None:
        await go.wait()
        exchange.respond(200, ())

    gateway = await opened(serve)
    await gateway.say(headers(1, GET, end=True))
    gateway.connection.drain()
    gateway.connection.drain()
    await settle()
    goaway, ping = gateway.frames.take()
    assert goaway.payload == b"\x7f\xff\xff\xff\0\0\0\0"
    assert await gateway.say(headers(3, GET, end=True)) == []
    assert await gateway.say(frame(http2.PING, 1, 0, ping.payload)) == ["GOAWAY 3 NO_ERROR"]
    assert await gateway.say(headers(5, GET), data(5, b"x")) == []
    assert gateway.connection.active == 2
    go.set()
    await settle()
    assert gateway.frames.said() == ["1 HEADERS :status: 200 END_STREAM", "3 HEADERS :status: 200 END_STREAM"]
    assert gateway.transport.eof
    assert gateway.connection.closed


async def test_draining_does_not_depend_on_an_answer_to_its_ping() -> None:
    gateway = await opened()
    gateway.connection.drain()
    gateway.sweep(3)
    await settle()
    assert gateway.frames.said()[-1] == "GOAWAY 0 NO_ERROR"
    assert gateway.transport.eof


@pytest.mark.parametrize("last", [reset(1), http2.window_update_frame(1, 0)], ids=["reset", "refused"])
async def test_a_drained_connection_whose_last_stream_is_one_cut_short_too_many_ends_once(
    last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stream's end closes the connection, and the fault that it is would close it again: with a second timer,
    that held the connection after it was lost."""
    monkeypatch.setattr(http2_connection, "_RESETS", 0)
    gateway = await opened(Waiting())
    connection = gateway.connection
    await gateway.say(headers(1, GET))
    ended: list[asyncio.TimerHandle | None] = []
    end = connection.end

    def counted(within_s: float) -> None:
        end(within_s)
        ended.append(connection._ending)

    monkeypatch.setattr(connection, "end", counted)
    connection.drain()
    gateway.sweep(3)
    await gateway.say(last)
    first, again = ended
    assert first is not None
    assert again is first
    assert gateway.transport.eof
    gateway.transport.close()
    await settle()
    assert first.cancelled()
    assert gateway.closed == [connection]


async def test_a_window_said_thousands_of_times_in_one_frame_is_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time would walk over every stream: four megabytes of SETTINGS would cost seconds."""
    applied: list[int] = []
    resize = Http2ServerConnection._resize

    def counted(self: Http2ServerConnection, window: int) -> None:
        applied.append(window)
        resize(self, window)

    monkeypatch.setattr(Http2ServerConnection, "_resize", counted)
    gateway = await opened()
    await gateway.say(settings(*[(http2.INITIAL_WINDOW_SIZE, number) for number in range(2000)]))
    await gateway.say(settings((http2.INITIAL_WINDOW_SIZE, 1999)))
    assert applied == [1999]
    assert gateway.connection.initial_send_window == 1999
