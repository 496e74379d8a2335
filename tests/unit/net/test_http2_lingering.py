"""Requests answered before they had all come: the answer is never followed at once by the reset that may hide it."""

from __future__ import annotations

import pytest

from protogw.net import http2_lingering
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.http2 import ErrorCode
from tests.support.http2_peer import GET, POST, data, headers, settings
from tests.support.transport import settle
from tests.unit.net.test_http2_server import Gateway, Waiting, opened

REFUSED = ["1 HEADERS :status: 403, content-length: 2", "1 DATA no END_STREAM"]
WINDOW = 256 << 10


async def refuse(exchange: ServerStream) -> None:
    exchange.respond(403, (), b"no")


async def refused(limits: Limits | None = None, *streams: int) -> Gateway:
    """A connection on which each of the streams, 1 if none is named, was refused before its body came."""
    gateway = await opened(refuse, limits)
    said = await gateway.say(*[headers(stream, POST) for stream in streams or (1,)])
    assert not any("RST_STREAM" in word for word in said)
    assert gateway.connection.active == 0
    return gateway


async def time_passes(gateway: Gateway) -> list[str]:
    """What is said when the time of everything that lingers has come."""
    gateway.connection.unended.expire(float("inf"))
    await settle()
    return gateway.frames.said()


async def test_a_refusal_is_followed_by_a_reset_only_when_the_time_is_over() -> None:
    gateway = await opened(refuse)
    assert await gateway.say(headers(1, POST)) == REFUSED
    assert await gateway.say(data(1, b"x" * 100)) == []
    assert await time_passes(gateway) == ["1 RST_STREAM NO_ERROR"]
    assert await time_passes(gateway) == []


async def test_the_clock_resets_what_was_answered_and_not_what_was_answered_later() -> None:
    gateway = await refused(None, 1, 3)
    unended = gateway.connection.unended
    first, _ = unended.streams[1]
    unended.streams[3] = (first + 1.0, WINDOW)
    unended.expire(first)
    await settle()
    assert gateway.frames.said() == ["1 RST_STREAM NO_ERROR"]
    assert list(unended.streams) == [3]


async def test_the_timer_of_the_connection_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_lingering, "LINGER_S", 0.0)
    gateway = await opened(refuse)
    assert await gateway.say(headers(1, POST)) == [*REFUSED, "1 RST_STREAM NO_ERROR"]
    assert (await gateway.say(headers(3, POST)))[-1] == "3 RST_STREAM NO_ERROR"


@pytest.mark.parametrize(
    "end",
    [data(1, b"", end=True), data(1, b"x" * 100, end=True), headers(1, [(b"x-sum", b"9")], end=True)],
    ids=["empty", "data", "trailers"],
)
async def test_a_client_that_ends_its_request_is_never_reset(end: bytes) -> None:
    gateway = await refused()
    assert await gateway.say(data(1, b"x" * 100), end) == []
    assert await time_passes(gateway) == []
    assert (await gateway.say(headers(3, GET, end=True)))[0].startswith("3 HEADERS")


async def test_a_client_that_gives_up_its_request_is_not_reset_either() -> None:
    gateway = await refused()
    assert await gateway.say(http2.rst_stream_frame(1, ErrorCode.CANCEL)) == []
    assert await time_passes(gateway) == []


async def test_frames_after_the_end_of_a_request_that_was_dropped_break_the_rules() -> None:
    gateway = await refused()
    await gateway.say(data(1, b"", end=True))
    assert await gateway.say(data(1, b"x")) == ["GOAWAY 1 STREAM_CLOSED"]


async def test_what_was_on_its_way_at_the_reset_is_dropped() -> None:
    gateway = await refused()
    await time_passes(gateway)
    assert await gateway.say(data(1, b"x" * 100), data(1, b"", end=True)) == []


async def test_what_is_dropped_is_given_back_to_the_connection_and_not_to_the_stream() -> None:
    gateway = await refused(Limits(connection_window=4 * WINDOW), 1, 3)
    said: list[str] = []
    for stream in (1, 3):
        said += await gateway.say(*[data(stream, b"x" * 16_384)] * 16)
    assert said == [f"0 WINDOW_UPDATE {2 * WINDOW}"]


async def test_more_than_the_window_of_a_stream_is_not_taken() -> None:
    gateway = await refused()
    assert await gateway.say(*[data(1, b"x" * 16_384)] * 16) == []
    assert await gateway.say(data(1, b"x")) == ["1 RST_STREAM FLOW_CONTROL_ERROR"]
    assert await time_passes(gateway) == []


async def test_trailers_that_do_not_end_the_stream_break_its_rules() -> None:
    gateway = await refused()
    assert await gateway.say(headers(1, [(b"x-sum", b"9")])) == ["1 RST_STREAM PROTOCOL_ERROR"]


async def test_empty_frames_without_end_cost_the_connection() -> None:
    gateway = await refused()
    said = await gateway.say(*[data(1, b"")] * 2100)
    assert said == ["GOAWAY 1 ENHANCE_YOUR_CALM"]


async def test_broken_windows_without_end_cost_the_connection() -> None:
    gateway = await opened(refuse, Limits(stream_window=65_535))
    said: list[str] = []
    for stream in range(1, 2001, 2):
        if gateway.connection.closed:
            break
        said += await gateway.say(headers(stream, POST))
        said += await gateway.say(data(stream, b"x" * 16_384) * 4)  # one byte over the window
    assert said[-1].endswith("ENHANCE_YOUR_CALM")


async def test_streams_that_linger_count_as_open_and_the_oldest_makes_room() -> None:
    gateway = await refused(Limits(concurrent_streams=3), 1, 3, 5)
    said = await gateway.say(headers(7, POST))
    assert said == ["1 RST_STREAM NO_ERROR", "7 HEADERS :status: 403, content-length: 2", "7 DATA no END_STREAM"]
    assert list(gateway.connection.unended.streams) == [3, 5, 7]


async def test_heads_answered_without_being_served_are_bounded_alike() -> None:
    gateway = await opened(refuse, Limits(concurrent_streams=3, header_count=20))
    large = [*POST, *[(b"x%d" % number, b"y") for number in range(30)]]
    said = await gateway.say(*[headers(stream, large) for stream in (1, 3, 5, 7)])
    assert [word for word in said if "RST" in word] == ["1 RST_STREAM NO_ERROR"]
    assert list(gateway.connection.unended.streams) == [3, 5, 7]


async def test_a_head_that_comes_while_all_streams_are_open_does_not_linger() -> None:
    gateway = await opened(Waiting(), Limits(concurrent_streams=2, header_count=20))
    await gateway.say(headers(1, POST), headers(3, POST))
    large = [*POST, *[(b"x%d" % number, b"y") for number in range(30)]]
    said = await gateway.say(headers(5, large))
    assert said == ["5 HEADERS :status: 431, content-length: 0 END_STREAM", "5 RST_STREAM NO_ERROR"]
    assert list(gateway.connection.streams) == [1, 3]


async def test_a_connection_that_drains_closes_once_nothing_lingers() -> None:
    gateway = await refused()
    gateway.connection.drain()
    gateway.sweep(3)
    assert not gateway.transport.eof
    assert await gateway.say(data(1, b"", end=True)) == ["GOAWAY 2147483647 NO_ERROR", "PING", "GOAWAY 1 NO_ERROR"]
    assert gateway.transport.eof


async def test_a_connection_that_drains_waits_no_longer_than_the_time() -> None:
    gateway = await refused()
    gateway.connection.drain()
    gateway.sweep(3)
    assert (await time_passes(gateway))[-1] == "1 RST_STREAM NO_ERROR"
    assert gateway.transport.eof


@pytest.mark.parametrize("how", ["lost", "closed", "failed"])
async def test_nothing_lingers_on_a_connection_that_is_over(how: str) -> None:
    gateway = await refused()
    if how == "lost":
        gateway.transport.lose()
        await settle()
    elif how == "closed":
        gateway.connection.close()
    else:
        await gateway.say(settings((http2.ENABLE_PUSH, 2)))
    assert not gateway.connection.unended.streams
    assert not any("RST_STREAM" in word for word in await time_passes(gateway))
