"""Connections that leave HTTP/1.1, on both sides, as transcripts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest, UpstreamReset
from protogw.net.http1_client import Http1ClientConnection
from protogw.net.http1_exchange import Http1Exchange
from protogw.net.http1_server import Http1ServerConnection
from protogw.net.limits import Limits
from protogw.net.tunnel import Tunnel
from protogw.wire.http import ResponseHead
from tests.support.transport import MemoryTransport, settle, without_date

ASK = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


class Server:
    """A server's connection; the one request is switched, and its stream is the test's."""

    def __init__(self, *, tls: bool = False, switches: bool = True, **limits: Any) -> None:
        self.closed = 0
        self.exchange: Http1Exchange
        self.tunnel: Tunnel
        self.done = asyncio.get_running_loop().create_future()
        self.outcome: list[str] = []
        self._switches = switches
        self.connection = Http1ServerConnection(self._serve, Limits(**limits), on_close=self._on_close)
        self.transport = MemoryTransport(self.connection, {"sslcontext": object()} if tls else None)

    def _on_close(self, connection: Http1ServerConnection) -> None:
        self.closed += 1

    async def _serve(self, exchange: Any) -> None:
        self.exchange = exchange
        if self._switches:
            self.tunnel = exchange.switch(((b"sec-websocket-accept", b"x"),))
        try:
            await self.done
            self.outcome.append("done")
        except asyncio.CancelledError:
            self.outcome.append("cancelled")
            raise

    async def ask(self, *more: bytes) -> None:
        self.transport.feed(ASK + b"".join(more))
        await settle()

    async def finish(self) -> None:
        self.done.set_result(None)
        await settle()


async def switched(*more: bytes, **settings: Any) -> Server:
    server = Server(**settings)
    await server.ask(*more)
    server.transport.take()
    return server


async def test_a_switch_is_answered_101_and_then_bytes_pass_both_ways() -> None:
    server = Server()
    await server.ask()
    assert without_date(server.transport.take()) == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: x\r\n\r\n"
    )
    assert (server.exchange.status, server.exchange.started, server.connection.active) == (101, True, 1)
    server.transport.feed(b"GET / HTTP/1.1\r\n", b"\r\n")
    assert await server.tunnel.read() == b"GET / HTTP/1.1\r\n\r\n"
    await server.tunnel.write(b"\x81\x00")
    assert server.transport.take() == b"\x81\x00"
    assert (server.exchange.bytes_in, server.exchange.bytes_out) == (18, 2)


async def test_bytes_behind_the_head_belong_to_the_stream() -> None:
    server = await switched(b"early")
    server.transport.feed(b"later")
    assert await server.tunnel.read() == b"earlylater"


async def test_bytes_behind_the_head_are_never_a_request_if_nothing_is_switched() -> None:
    server = Server(switches=False)
    await server.ask(ASK)
    server.exchange.respond(426, ())
    await server.finish()
    assert b"\r\nconnection: close\r\n" in server.transport.take()
    assert server.transport.eof
    assert server.outcome == ["done"]


async def test_what_is_not_read_makes_the_peer_wait() -> None:
    server = await switched(stream_window=1000)
    server.transport.feed(b"x" * 1000)
    assert server.transport.reading
    server.transport.feed(b"x")
    assert not server.transport.reading
    assert len(await server.tunnel.read()) == 1001
    assert server.transport.reading


async def test_much_that_came_early_is_bounded_and_released() -> None:
    server = Server(switches=False)
    await server.ask(b"x" * 10, b"")
    server.transport.feed(b"x" * (65 << 10))
    assert not server.transport.reading
    tunnel = server.exchange.switch(())
    assert len(await tunnel.read()) == 10 + (65 << 10)
    assert server.transport.reading


async def test_a_writer_waits_for_a_peer_that_does_not_read() -> None:
    server = await switched(write_buffer=1000)
    server.transport.stuck = True
    writer = asyncio.ensure_future(server.tunnel.write(b"x" * 2000))
    other = asyncio.ensure_future(server.tunnel.write(b"y"))
    await settle()
    assert not writer.done()
    other.cancel()
    await settle()
    assert not writer.done()
    server.transport.unstick()
    await settle()
    assert writer.done()


async def test_each_direction_ends_alone() -> None:
    server = await switched()
    server.transport.feed(b"last")
    server.transport.end()
    assert await server.tunnel.read() == b"last"
    assert await server.tunnel.read() == b""
    await server.tunnel.write(b"reply")
    server.tunnel.end()
    server.tunnel.end()
    assert server.transport.take() == b"reply"
    assert server.transport.closed
    assert not server.transport.aborted
    await server.finish()
    assert (server.closed, server.outcome) == (1, ["done"])


async def test_our_end_leaves_the_peers_open() -> None:
    server = await switched()
    server.tunnel.end()
    assert server.transport.eof
    assert not server.transport.closed
    server.transport.feed(b"more")
    assert await server.tunnel.read() == b"more"
    with pytest.raises(RuntimeError):
        await server.tunnel.write(b"x")
    server.transport.end()
    assert await server.tunnel.read() == b""
    assert server.transport.closed


async def test_after_our_end_a_peer_that_goes_on_is_read_for_a_moment_and_then_cut() -> None:
    server = await switched()
    server.tunnel.end()
    await server.finish()
    server.transport.feed(b"x" * 1000)
    assert not server.transport.closed
    now = asyncio.get_running_loop().time()
    server.connection.sweep(now)
    server.connection.sweep(now + 3)
    assert server.transport.aborted
    await settle()
    assert server.closed == 1


async def test_after_our_end_no_flood_is_read() -> None:
    server = await switched()
    server.tunnel.end()
    await server.finish()
    server.transport.feed(b"x" * (2 << 20))
    assert server.transport.aborted


async def test_over_tls_our_end_closes_both_directions() -> None:
    server = await switched(tls=True)
    server.tunnel.end()
    assert server.transport.closed


async def test_over_tls_what_came_before_the_end_is_still_read() -> None:
    server = await switched(tls=True)
    server.transport.feed(b"close frame")
    server.transport.end()
    await settle()
    assert await server.tunnel.read() == b"close frame"
    assert await server.tunnel.read() == b""
    with pytest.raises(InvalidRequest):
        await server.tunnel.write(b"x")
    await server.finish()
    assert (server.closed, server.outcome) == (1, ["done"])


async def test_a_client_that_is_gone_cancels_the_task() -> None:
    server = await switched()
    server.transport.lose(ConnectionResetError())
    await settle()
    assert (server.closed, server.outcome) == (1, ["cancelled"])
    with pytest.raises(InvalidRequest, match="reset") as caught:
        await server.tunnel.read()
    assert caught.value.status.code is Code.CANCELLED


async def test_a_stream_that_is_given_up_is_reset() -> None:
    server = await switched()
    server.exchange.abort()
    assert server.transport.aborted
    assert server.transport.socket.options
    with pytest.raises(InvalidRequest):
        await server.tunnel.write(b"x")
    await server.finish()
    assert server.closed == 1


async def test_a_task_that_leaves_its_stream_open_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    server = await switched()
    await server.finish()
    assert server.transport.aborted
    assert "not answered" in caplog.text


async def test_an_idle_stream_is_ended() -> None:
    server = await switched(idle_s=100)
    reader = asyncio.ensure_future(server.tunnel.read())
    now = asyncio.get_running_loop().time()
    server.connection.sweep(now)
    server.transport.feed(b"x")
    assert await reader == b"x"
    server.connection.sweep(now + 99)
    server.connection.sweep(now + 198)
    assert not server.transport.closed
    reader = asyncio.ensure_future(server.tunnel.read())
    await settle()
    server.connection.sweep(now + 200)
    assert server.transport.aborted
    with pytest.raises(GatewayError, match="no progress for 100 s"):
        await reader


async def test_at_the_drain_its_user_is_told_and_goes_on_until_done() -> None:
    told: list[int] = []
    server = await switched()
    server.exchange.when_draining(lambda: told.append(1))
    server.connection.drain()
    assert told == [1]
    assert not server.transport.closed
    late = await switched()
    late.connection.drain()
    late.exchange.when_draining(lambda: told.append(2))
    assert told == [1, 2]
    late.connection.close()
    await settle()
    assert late.outcome == ["cancelled"]


async def test_only_what_was_asked_for_is_switched_to_and_only_once() -> None:
    server = Server(switches=False)
    server.transport.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await settle()
    with pytest.raises(RuntimeError):
        server.exchange.switch(())
    server.exchange.respond(204, ())
    await server.finish()
    asked = await switched()
    with pytest.raises(RuntimeError):
        asked.exchange.switch(())
    asked.exchange.abort()


# --- the client's side ------------------------------------------------------------------------------------------------


class Client:
    def __init__(self, **limits: Any) -> None:
        self.connection = Http1ClientConnection(Limits(**limits))
        self.transport = MemoryTransport(self.connection)
        self.changes: list[bool] = []
        self.connection.on_change = lambda connection: self.changes.append(connection.closed)
        head = b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        self.stream = self.connection.open(head, b"")
        self.asked = asyncio.ensure_future(self.stream.switched(b"websocket"))

    async def reply(self, *pieces: bytes) -> Tunnel | ResponseHead:
        await settle()
        self.transport.feed(*pieces)
        return await self.asked


async def test_an_endpoint_that_switches_is_a_stream_of_bytes() -> None:
    client = Client()
    tunnel = await client.reply(SWITCHED[:20], SWITCHED[20:] + b"first")
    assert isinstance(tunnel, Tunnel)
    assert client.stream.switched_head is not None
    assert client.stream.switched_head.status == 101
    assert await tunnel.read() == b"first"
    client.transport.take()
    await tunnel.write(b"x")
    assert client.transport.take() == b"x"
    assert (client.connection.room, client.connection.active, client.connection.switched) == (0, 1, True)
    assert client.changes == [False]
    client.transport.end()
    assert await tunnel.read() == b""
    tunnel.end()
    await settle()
    assert client.transport.closed
    assert (client.connection.active, client.changes) == (0, [False, True])


async def test_an_endpoint_that_does_not_switch_has_answered() -> None:
    client = Client()
    head = await client.reply(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
    assert isinstance(head, ResponseHead)
    assert head.status == 403
    assert await client.stream.read() == b"no"
    assert await client.stream.read() == b""
    assert client.connection.room == 1


@pytest.mark.parametrize(
    "raw",
    [
        SWITCHED.replace(b"websocket", b"h2c"),
        SWITCHED.replace(b"upgrade: websocket\r\n", b""),
        SWITCHED.replace(b"connection: Upgrade\r\n", b""),
        SWITCHED.replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n"),
        SWITCHED.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"),
    ],
)
async def test_a_switch_to_something_else_is_refused(raw: bytes) -> None:
    client = Client()
    with pytest.raises(BadUpstream):
        await client.reply(raw)
    assert client.transport.aborted
    assert client.changes == [True]


async def test_an_endpoint_that_is_gone_is_told_to_both_directions() -> None:
    client = Client()
    tunnel = await client.reply(SWITCHED)
    assert isinstance(tunnel, Tunnel)
    client.transport.lose(ConnectionResetError())
    with pytest.raises(UpstreamReset, match="reset"):
        await tunnel.read()
    with pytest.raises(UpstreamReset):
        await tunnel.write(b"x")
    assert client.changes == [False, True]


@pytest.mark.parametrize("how", ["cancel", "abort", "close"])
async def test_giving_up_resets_the_connection(how: str) -> None:
    client = Client()
    tunnel = await client.reply(SWITCHED)
    assert isinstance(tunnel, Tunnel)
    reader = asyncio.ensure_future(tunnel.read())
    await settle()
    {"cancel": client.stream.cancel, "abort": tunnel.abort, "close": client.connection.close}[how]()
    with pytest.raises(UpstreamReset):
        await reader
    await settle()
    assert client.transport.aborted
    assert client.changes == [False, True]


async def test_a_drained_pool_leaves_switched_connections_to_their_users() -> None:
    client = Client()
    tunnel = await client.reply(SWITCHED)
    assert isinstance(tunnel, Tunnel)
    client.connection.drain()
    assert not client.transport.closed
    tunnel.abort()
    await settle()
    assert client.connection.closed
