"""Extended CONNECT (RFC 8441) on the server's side of HTTP/2, as transcripts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import Call, Metadata, NoteNames
from protogw.errors import InvalidRequest
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_switched import SwitchableStream
from protogw.net.limits import Limits
from protogw.wire import http2
from protogw.wire.http2 import PREFACE, ErrorCode
from tests.support.http2_peer import GET, Frames, data, headers, settings
from tests.support.transport import MemoryTransport, settle

CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
SWITCHED = "1 HEADERS :status: 200, x-a: b"


class Server:
    """A connection whose requests are switched unless told otherwise; each waits for the test to be done with it."""

    def __init__(self, *, switches: bool = True, **limits: Any) -> None:
        self.streams: list[Any] = []
        self.outcome: list[str] = []
        self.done = asyncio.get_running_loop().create_future()
        self._switches = switches
        self.connection = Http2ServerConnection(self._serve, Limits(**limits))
        self.transport = MemoryTransport(self.connection)
        self.frames = Frames(self.transport)
        self.transport.feed(PREFACE + settings())

    async def _serve(self, exchange: Any) -> None:
        self.streams.append(exchange.switch(((b"x-a", b"b"),)) if self._switches else exchange)
        try:
            await self.done
            self.outcome.append("done")
        except asyncio.CancelledError:
            self.outcome.append("cancelled")
            raise

    async def say(self, *pieces: bytes) -> list[str]:
        self.transport.feed(*pieces)
        await settle()
        return self.frames.said()

    async def finish(self) -> list[str]:
        self.done.set_result(None)
        await settle()
        return self.frames.said()


async def switched(**limits: Any) -> tuple[Server, SwitchableStream]:
    server = Server(**limits)
    await server.say()
    assert await server.say(headers(1, CONNECT)) == [SWITCHED]
    return server, server.streams[0]


async def test_what_policies_note_goes_with_the_answer() -> None:
    server = Server(switches=False)
    await server.say(headers(1, CONNECT))
    (stream,) = server.streams
    stream.extra = ((b"x-extra", b"1"),)
    stream.call = Call(None, Metadata(), front_end="http", peer=stream.peer, started=0.0)
    stream.call.notes = (NoteNames((b"ratelimit-remaining",)), (7,))
    stream.switch(((b"x-a", b"b"),))
    await settle()
    assert server.frames.said() == [f"{SWITCHED}, x-extra: 1, ratelimit-remaining: 7"]
    await server.finish()


async def test_bytes_pass_both_ways_and_each_direction_ends_alone() -> None:
    server, stream = await switched()
    assert (stream.status, server.connection.active) == (200, 1)
    await server.say(data(1, b"he"), data(1, b"llo"))
    assert await stream.read() == b"hello"
    await stream.write(b"back")
    stream.end()
    stream.end()
    assert await server.say() == ["1 DATA back", "1 DATA  END_STREAM"]
    assert server.connection.active == 1
    await server.say(data(1, b"last", end=True))
    assert await stream.read() == b"last"
    assert await stream.read() == b""
    assert server.connection.active == 0
    assert await server.finish() == []


async def test_a_client_that_ends_first_is_still_written_to() -> None:
    server, stream = await switched()
    await server.say(data(1, b"", end=True))
    assert await stream.read() == b""
    await stream.write(b"x")
    stream.end()
    assert await server.say() == ["1 DATA x", "1 DATA  END_STREAM"]
    assert server.connection.active == 0


async def test_a_client_that_does_not_end_is_told_that_nobody_reads() -> None:
    server, stream = await switched()
    stream.end()
    assert await server.finish() == ["1 DATA  END_STREAM"]
    assert server.connection.active == 0
    server.connection.unended.expire(float("inf"))
    assert await server.say() == ["1 RST_STREAM NO_ERROR"]


async def test_an_end_behind_what_has_no_room_yet_is_sent_when_there_is_some() -> None:
    server, stream = await switched()
    await server.say(settings((http2.INITIAL_WINDOW_SIZE, 0)))
    writer = asyncio.ensure_future(stream.write(b"abc"))
    await settle()
    await writer
    stream.end()
    assert await server.finish() == []
    assert await server.say(http2.window_update_frame(1, 10)) == ["1 DATA abc END_STREAM"]
    assert server.connection.active == 0


async def test_a_writer_waits_for_the_window() -> None:
    server, stream = await switched(write_buffer=1000)
    writer = asyncio.ensure_future(stream.write(b"x" * 70_000))
    await settle()
    assert not writer.done()
    await server.say(http2.window_update_frame(0, 100_000), http2.window_update_frame(1, 100_000))
    assert writer.done()


async def test_a_stream_that_is_reset_cancels_its_task() -> None:
    server, stream = await switched()
    await server.say(http2.rst_stream_frame(1, ErrorCode.CANCEL))
    assert server.outcome == ["cancelled"]
    with pytest.raises(InvalidRequest):
        await stream.write(b"x")


async def test_a_stream_that_is_given_up_is_reset() -> None:
    server, stream = await switched()
    reader = asyncio.ensure_future(stream.write(b"x"))
    await reader
    stream.abort()
    stream.abort()
    assert await server.say() == ["1 DATA x", "1 RST_STREAM CANCEL"]
    assert await server.finish() == []


async def test_a_task_that_leaves_its_stream_open_is_a_fault() -> None:
    server, _ = await switched()
    assert await server.finish() == ["1 RST_STREAM INTERNAL_ERROR"]


async def test_at_the_drain_its_user_is_told() -> None:
    told: list[int] = []
    server, stream = await switched()
    stream.when_draining(lambda: told.append(1))
    server.connection.drain()
    assert told == [1]
    stream.when_draining(lambda: told.append(2))
    assert told == [1, 2]


async def test_an_idle_stream_is_ended() -> None:
    server, _ = await switched(idle_s=3)
    now = asyncio.get_running_loop().time()
    for second in range(1, 6):
        server.connection.sweep(now + second)
    assert "1 RST_STREAM CANCEL" in await server.say()
    assert server.outcome == ["cancelled"]


@pytest.mark.parametrize("started", [True, False])
async def test_a_success_that_switches_nothing_is_never_taken_for_one(started: bool) -> None:
    server = Server(switches=False)
    await server.say()
    await server.say(headers(1, CONNECT) + data(1, b"GET / HTTP/1.1\r\n\r\n"))
    exchange = server.streams[0]
    assert exchange.buffered() == b""
    assert await exchange.read() == b""
    assert await exchange.whole(10) == b""
    if started:
        exchange.start(200, ((b"content-type", b"text/plain"),))
        await exchange.write(b"hello")
        exchange.finish()
    else:
        exchange.respond(200, (), b"hello")
    words = await server.finish()
    assert words[0].startswith("1 HEADERS :status: 501")
    assert words[-1].endswith("END_STREAM")
    assert not any("hello" in word for word in words)


async def test_a_refusal_is_answered_as_it_is() -> None:
    server = Server(switches=False)
    await server.say()
    await server.say(headers(1, CONNECT))
    server.streams[0].respond(426, ((b"sec-websocket-version", b"13"),), b"no")
    assert (await server.finish())[:2] == [
        "1 HEADERS :status: 426, sec-websocket-version: 13, content-length: 2",
        "1 DATA no END_STREAM",
    ]


async def test_other_protocols_are_refused_and_others_streams_not_switched() -> None:
    server = Server(switches=False)
    await server.say()
    other = [(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *GET[1:]]
    assert await server.say(headers(1, other)) == ["1 HEADERS :status: 501, content-length: 0 END_STREAM"]
    await server.say(headers(3, GET, end=True))
    with pytest.raises(RuntimeError):
        server.streams[0].switch(())
