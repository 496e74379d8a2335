"""A socket over a stream of bytes, as transcripts: messages, goodbyes, silence, and peers that break the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.errors import BadUpstream, GatewayError, InvalidRequest, NotOffered
from protogw.websocket import SocketClosed, SocketOptions, WebSocket, accept, connected, request_fields
from protogw.wire.http import HTTP_1_1, HTTP_2, Header, RequestHead, ResponseHead
from protogw.wire.websocket import ABNORMAL, Close, Control, Event, Reader, Writer
from protogw.wire.websocket_handshake import accept_of
from tests.support.pipe import End, pipe
from tests.support.transport import settle

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
QUIET = SocketOptions(ping_interval_s=1000, idle_s=1000)


class Peer:
    """The other end of a server's socket, frame by frame."""

    def __init__(self, options: SocketOptions = QUIET, *, client: bool = False, room: int = 1 << 16) -> None:
        self.end, ours = pipe(room)
        self.ours: End = ours
        self.socket = WebSocket(ours, options, client=client)
        self.writer = Writer(masked=not client)
        self.reader = Reader(masked=client, message_bytes=1 << 24)

    async def say(self, *frames: bytes) -> None:
        await self.end.write(b"".join(frames))

    async def hear(self) -> Event | None:
        """The next frame; None when the stream has ended."""
        while (event := self.reader.next()) is None:
            data = await self.end.read()
            if not data:
                return None
            self.reader.feed(data)
        return event

    async def hear_close(self) -> tuple[int, str]:
        event = await self.hear()
        assert isinstance(event, Close)
        return event.code, event.reason


async def ending(socket: WebSocket) -> tuple[int, str]:
    with pytest.raises(SocketClosed) as caught:
        await socket.receive()
    return caught.value.code, caught.value.reason


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_messages_pass_both_ways() -> None:
    peer = Peer()
    await peer.say(peer.writer.text("hello"), peer.writer.frame(2, b"\x00\x01"))
    assert await peer.socket.receive() == "hello"
    assert await peer.socket.receive() == b"\x00\x01"
    await peer.socket.send("é")
    await peer.socket.send(b"\x02")
    await peer.socket.send_text("ü".encode())
    assert [await peer.hear() for _ in range(3)] == ["é", b"\x02", "ü"]


async def test_what_nobody_receives_is_not_read() -> None:
    peer = Peer(room=100)
    await peer.say(peer.writer.text("x" * 50))
    assert peer.ours.reads == 0
    sending = asyncio.ensure_future(peer.say(peer.writer.text("y" * 100)))
    await settle()
    assert not sending.done()
    assert await peer.socket.receive() == "x" * 50
    await sending
    assert await peer.socket.receive() == "y" * 100
    assert peer.ours.reads == 1


async def test_a_sender_waits_for_a_peer_that_does_not_read() -> None:
    peer = Peer(room=100)
    sending = asyncio.ensure_future(peer.socket.send("x" * 200))
    await settle()
    assert not sending.done()
    assert await peer.hear() == "x" * 200
    await sending


async def test_a_flood_of_small_messages_leaves_others_their_turn() -> None:
    peer = Peer()
    await peer.say(peer.writer.text("x") * 1000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    for _ in range(1000):
        await peer.socket.receive()
    counting.cancel()
    assert turns > 10


async def test_one_task_receives() -> None:
    peer = Peer()
    first = asyncio.ensure_future(peer.socket.receive())
    await settle()
    with pytest.raises(RuntimeError):
        await peer.socket.receive()
    first.cancel()
    await settle()
    await peer.say(peer.writer.text("x"))
    assert await peer.socket.receive() == "x"


# --- goodbyes ---------------------------------------------------------------------------------------------------------


async def test_a_close_is_answered_with_its_code_and_the_server_ends_first() -> None:
    peer = Peer()
    await peer.say(peer.writer.text("last"), peer.writer.close(4001, "why"))
    assert await peer.socket.receive() == "last"
    assert await ending(peer.socket) == (4001, "why")
    assert await peer.hear_close() == (4001, "")
    assert await peer.hear() is None
    assert await ending(peer.socket) == (4001, "why")
    with pytest.raises(SocketClosed):
        await peer.socket.send("x")


async def test_a_close_without_a_code_is_answered_without_one() -> None:
    peer = Peer()
    await peer.say(peer.writer.close(1005, ""))
    assert await ending(peer.socket) == (1005, "")
    assert await peer.hear_close() == (1005, "")


async def test_closing_waits_for_the_answer_and_drops_what_comes_before_it() -> None:
    peer = Peer()
    closing = asyncio.ensure_future(peer.socket.close(1001, "going"))
    assert await peer.hear_close() == (1001, "going")
    await peer.say(peer.writer.text("late") * 100)
    await settle()
    assert not closing.done()
    with pytest.raises(SocketClosed):
        await peer.socket.send("x")
    await peer.say(peer.writer.close(1001, ""))
    await closing
    assert await peer.hear() is None
    await peer.socket.close()


async def test_whoever_receives_while_another_task_closes_is_told() -> None:
    peer = Peer()
    receiving = asyncio.ensure_future(peer.socket.receive())
    await settle()
    closing = asyncio.ensure_future(peer.socket.close())
    await settle()
    again = asyncio.ensure_future(peer.socket.receive())
    await peer.say(peer.writer.text("late"), peer.writer.close(1000, ""))
    await closing
    for task in (receiving, again):
        with pytest.raises(SocketClosed) as caught:
            await task
        assert caught.value.code == 1000


async def test_closing_goes_on_when_whoever_received_is_cancelled() -> None:
    peer = Peer()
    receiving = asyncio.ensure_future(peer.socket.receive())
    await settle()
    closing = asyncio.ensure_future(peer.socket.close())
    await settle()
    receiving.cancel()
    await settle()
    await peer.say(peer.writer.close(1000, ""))
    await closing
    assert await ending(peer.socket) == (1000, "")


async def test_a_peer_that_does_not_answer_a_close_is_cut() -> None:
    peer = Peer(SocketOptions(close_timeout_s=0.01))
    await peer.socket.close()
    assert peer.ours.aborted
    assert (await ending(peer.socket))[0] == ABNORMAL


async def test_closing_takes_no_longer_when_the_peer_does_not_read() -> None:
    peer = Peer(SocketOptions(close_timeout_s=0.01), room=0)
    await peer.socket.close()
    assert peer.ours.aborted


async def test_an_end_without_a_close_is_1006() -> None:
    peer = Peer()
    await peer.say(b"\x81")
    peer.end.end()
    code, reason = await ending(peer.socket)
    assert (code, reason) == (ABNORMAL, "the peer ended the connection without a Close")
    assert peer.ours.aborted


async def test_a_reset_is_1006_for_both_directions() -> None:
    peer = Peer()
    peer.end.abort()
    with pytest.raises(SocketClosed) as caught:
        await peer.socket.send("x")
    assert caught.value.code == ABNORMAL
    assert (await ending(peer.socket))[0] == ABNORMAL


async def test_giving_up_resets() -> None:
    peer = Peer()
    receiving = asyncio.ensure_future(peer.socket.receive())
    await settle()
    peer.socket.abort()
    assert peer.ours.aborted
    with pytest.raises(SocketClosed):
        await receiving


async def test_a_client_waits_for_the_server_to_end_first() -> None:
    peer = Peer(client=True)
    await peer.say(peer.writer.close(1000, "done"))
    receiving = asyncio.ensure_future(peer.socket.receive())
    assert await peer.hear_close() == (1000, "")
    await settle()
    assert not receiving.done()
    peer.end.end()
    with pytest.raises(SocketClosed, match="1000 done"):
        await receiving
    assert peer.ours.ended
    assert not peer.ours.aborted


async def test_a_client_does_not_wait_for_ever_for_the_servers_end() -> None:
    peer = Peer(SocketOptions(close_timeout_s=0.01), client=True)
    await peer.say(peer.writer.close(1000, ""))
    assert await ending(peer.socket) == (1000, "")
    assert peer.ours.aborted


@pytest.mark.parametrize(
    ("sent", "code"), [(b"\x83\x80", 1002), (b"\x81\x81\x00\x00\x00\x00\xff", 1007), (b"\x82\xfe\xff\xff", 1009)]
)
async def test_a_peer_that_breaks_the_rules_is_told_and_left(sent: bytes, code: int) -> None:
    peer = Peer(SocketOptions(message_bytes=1000))
    await peer.say(peer.writer.text("fine"), sent, peer.writer.text("not any more"))
    assert await peer.socket.receive() == "fine"
    assert (await ending(peer.socket))[0] == code
    assert (await peer.hear_close())[0] == code
    assert await peer.hear() is None


# --- time -------------------------------------------------------------------------------------------------------------


async def test_pings_are_answered_while_somebody_receives() -> None:
    peer = Peer()
    receiving = asyncio.ensure_future(peer.socket.receive())
    await peer.say(peer.writer.frame(9, b"there?"), peer.writer.frame(10, b"unasked"))
    pong = await peer.hear()
    assert isinstance(pong, Control)
    assert (pong.opcode, pong.payload) == (10, b"there?")
    receiving.cancel()


async def test_a_flood_of_pings_waits_for_its_answers_to_be_read() -> None:
    peer = Peer(room=1000)
    receiving = asyncio.ensure_future(peer.socket.receive())
    sending = asyncio.ensure_future(peer.say(peer.writer.frame(9, b"x" * 125) * 100))
    await sending
    await settle()
    assert len(peer.end.unread) < 2000
    receiving.cancel()


async def test_a_peer_that_does_not_answer_pings_is_gone() -> None:
    peer = Peer(SocketOptions(ping_interval_s=0.01, pong_timeout_s=0.01))
    code, reason = await ending(peer.socket)
    assert code == ABNORMAL
    assert "ping" in reason
    assert peer.ours.aborted
    ping = await peer.hear()
    assert isinstance(ping, Control)


async def test_a_peer_that_answers_pings_stays() -> None:
    peer = Peer(SocketOptions(ping_interval_s=0.01, pong_timeout_s=0.01))
    receiving = asyncio.ensure_future(peer.socket.receive())
    for _ in range(5):
        ping = await peer.hear()
        assert isinstance(ping, Control)
        await peer.say(peer.writer.frame(10, ping.payload))
    await peer.say(peer.writer.text("x"))
    assert await receiving == "x"


async def test_a_peer_whose_messages_nobody_takes_is_not_taken_for_gone() -> None:
    peer = Peer(SocketOptions(ping_interval_s=0.001, pong_timeout_s=0.001))
    await peer.say(peer.writer.text("x"))
    await asyncio.sleep(0.02)  # the time itself is what is tested
    assert await peer.socket.receive() == "x"
    assert not peer.end.unread


async def test_a_socket_without_messages_is_closed() -> None:
    peer = Peer(SocketOptions(idle_s=0.01))
    receiving = asyncio.ensure_future(peer.socket.receive())
    assert await peer.hear_close() == (1001, "no message for 0.01 s")
    await peer.say(peer.writer.close(1001, ""))
    with pytest.raises(SocketClosed):
        await receiving


# --- handshakes -------------------------------------------------------------------------------------------------------

ASKING: tuple[Header, ...] = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
)


class Exchange:
    def __init__(
        self,
        fields: tuple[Header, ...] = ASKING,
        *,
        method: bytes = b"GET",
        version: int = HTTP_1_1,
        upgrade: bytes = b"websocket",
    ) -> None:
        self.head = RequestHead(method, b"/ws", b"", b"a", fields, version, upgrade=upgrade)
        self.fields: dict[bytes, bytes] = {}
        self.other, self.stream = pipe()

    def switch(self, headers: tuple[Header, ...]) -> End:
        self.fields = dict(headers)
        return self.stream


async def accepted(exchange: Exchange, options: SocketOptions = QUIET, subprotocols: tuple[str, ...] = ()) -> WebSocket:
    found: Any = exchange
    return await accept(found, options, subprotocols)


def without(name: bytes) -> tuple[Header, ...]:
    return tuple(pair for pair in ASKING if pair[0] != name)


async def test_a_handshake_is_answered_as_the_rfc_says() -> None:
    exchange = Exchange()
    socket = await accepted(exchange)
    assert exchange.fields == {b"sec-websocket-accept": b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}
    assert socket.subprotocol == ""


async def test_over_http_2_there_is_no_key() -> None:
    exchange = Exchange(without(b"sec-websocket-key"), version=HTTP_2)
    await accepted(exchange)
    assert exchange.fields == {}


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [((b"b, a",), "b"), ((b"x", b"a"), "a"), ((b"x",), ""), ((), "")],
)
async def test_the_clients_first_known_subprotocol_is_chosen(asked: tuple[bytes, ...], chosen: str) -> None:
    exchange = Exchange((*ASKING, *((b"sec-websocket-protocol", value) for value in asked)))
    socket = await accepted(exchange, subprotocols=("a", "b"))
    assert socket.subprotocol == chosen
    assert exchange.fields.get(b"sec-websocket-protocol", b"").decode() == chosen


@pytest.mark.parametrize(
    ("exchange", "status"),
    [
        ({"upgrade": b""}, 426),
        ({"upgrade": b"", "version": HTTP_2}, 400),
        ({"method": b"POST"}, 405),
        ({"fields": without(b"sec-websocket-version")}, 426),
        ({"fields": (*without(b"sec-websocket-version"), (b"sec-websocket-version", b"8"))}, 426),
        ({"fields": (*ASKING, (b"sec-websocket-version", b"13"))}, 426),
        ({"fields": without(b"sec-websocket-key")}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-key", KEY))}, 400),
        ({"fields": (*without(b"sec-websocket-key"), (b"sec-websocket-key", b"short"))}, 400),
        ({"fields": (*without(b"sec-websocket-key"), (b"sec-websocket-key", b"!" * 24))}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-protocol", b"a b"))}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-protocol", b"a,,b"))}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-protocol", b"a, a"))}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-extensions", b'permessage-deflate; "'))}, 400),
        ({"fields": (*ASKING, (b"sec-websocket-extensions", b"x, " * 1000))}, 400),
    ],
)
async def test_what_is_no_handshake_is_refused_in_http(exchange: dict[str, Any], status: int) -> None:
    with pytest.raises(GatewayError) as caught:
        await accepted(Exchange(**exchange))
    assert isinstance(caught.value, (InvalidRequest, NotOffered))
    assert caught.value.http_status == status
    if status == 426:
        assert dict(caught.value.headers) == {b"upgrade": b"websocket", b"sec-websocket-version": b"13"}


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", "server_no_context_takeover; client_no_context_takeover"),
        (
            b"permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ),
        (
            b"x-webkit-deflate-frame, permessage-deflate; odd, permessage-deflate",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        (b"permessage-deflate; server_max_window_bits=7", None),
        (b"bbf-usp-protocol", None),
    ],
)
async def test_compression_is_granted_where_it_can_be(offer: bytes, answer: str | None) -> None:
    exchange = Exchange((*ASKING, (b"sec-websocket-extensions", offer)))
    await accepted(exchange)
    said = exchange.fields.get(b"sec-websocket-extensions")
    assert (said.decode() if said is not None else None) == (f"permessage-deflate; {answer}" if answer else None)
    plain = Exchange((*ASKING, (b"sec-websocket-extensions", offer)))
    await accepted(plain, SocketOptions(deflate=False))
    assert b"sec-websocket-extensions" not in plain.fields


def answered(request: tuple[Header, ...], *more: Header, accept: bytes | None = None) -> ResponseHead:
    key = dict(request)[b"sec-websocket-key"]
    return ResponseHead(101, ((b"sec-websocket-accept", accept_of(key) if accept is None else accept), *more))


async def test_both_sides_understand_each_other() -> None:
    fields = request_fields(QUIET, ("a", "b"))
    exchange = Exchange(fields)
    server = await accepted(exchange, subprotocols=("b",))
    client = connected(exchange.other, ResponseHead(101, tuple(exchange.fields.items())), fields, QUIET)
    assert server.subprotocol == client.subprotocol == "b"
    for message in ("x" * 10_000, b"y" * 10_000, "short"):
        await client.send(message)
        assert await server.receive() == message
        await server.send(message)
        assert await client.receive() == message
    assert len(exchange.other.unread) == 0
    closing = asyncio.ensure_future(client.close(4000, "bye"))
    assert await ending(server) == (4000, "bye")
    await closing
    assert await ending(client) == (4000, "")


@pytest.mark.parametrize(
    ("fields", "accept"),
    [
        ((), b"wrong"),
        (((b"sec-websocket-accept", b"second"),), None),
        (((b"sec-websocket-protocol", b"c"),), None),
        (((b"sec-websocket-protocol", b"a"), (b"sec-websocket-protocol", b"a")), None),
        (((b"sec-websocket-extensions", b"x-odd"),), None),
        (((b"sec-websocket-extensions", b"permessage-deflate; odd"),), None),
        (((b"sec-websocket-extensions", b"permessage-deflate, permessage-deflate"),), None),
    ],
)
async def test_a_service_that_answers_something_else_is_refused(
    fields: tuple[Header, ...], accept: bytes | None
) -> None:
    request = request_fields(QUIET, ("a", "b"))
    stream, _ = pipe()
    with pytest.raises(BadUpstream):
        connected(stream, answered(request, *fields, accept=accept), request, QUIET)
    assert stream.aborted


async def test_compression_that_was_not_asked_for_is_refused() -> None:
    options = SocketOptions(deflate=False)
    request = request_fields(options)
    stream, _ = pipe()
    with pytest.raises(BadUpstream):
        connected(stream, answered(request, (b"sec-websocket-extensions", b"permessage-deflate")), request, options)
