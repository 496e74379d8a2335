"""The client's side of HTTP/1.1, as transcripts: what is sent, what is made of the reply, and what is never reused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BadUpstream, BodyTooLarge, GatewayError, InternalError, Unprocessed, UpstreamReset
from protogw.net.http1_client import Http1ClientConnection
from protogw.net.http1_client_stream import Http1Stream
from protogw.net.limits import Limits
from tests.support.transport import MemoryTransport, settle

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nhost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Client:
    """A connection over a transport in memory."""

    def __init__(self, **limits: Any) -> None:
        self.connection = Http1ClientConnection(Limits(**limits))
        self.transport = MemoryTransport(self.connection)
        self.changes: list[int] = []
        self.connection.on_change = lambda connection: self.changes.append(connection.room)

    def ask(self, head: bytes = GET, body: bytes | None = b"") -> Http1Stream:
        return self.connection.open(head, body)

    @property
    def kept(self) -> bool:
        return self.connection.room == 1 and not self.transport.closed


async def answered(*pieces: bytes, head: bytes = GET) -> tuple[Client, bytes]:
    client = Client()
    stream = client.ask(head)
    whole = asyncio.ensure_future(stream.whole(1000))
    client.transport.feed(*pieces)
    return client, (await whole).body


@pytest.mark.parametrize(
    ("head", "body", "sent"),
    [
        (GET, b"", b"\r\n"),
        (POST, b"", b"content-length: 0\r\n\r\n"),
        (POST, b"abc", b"content-length: 3\r\n\r\nabc"),
        (GET, b"abc", b"content-length: 3\r\n\r\nabc"),
        (POST, b"x" * 50000, b"content-length: 50000\r\n\r\n" + b"x" * 50000),
        (POST, None, b"transfer-encoding: chunked\r\n\r\n"),
        (POST + b"content-length: 7\r\n", None, b"\r\n"),
        (POST + b"Transfer-Encoding: chunked\r\n", None, b"\r\n"),
    ],
)
async def test_a_request_gets_its_framing(head: bytes, body: bytes | None, sent: bytes) -> None:
    client = Client()
    client.ask(head, body)
    await settle()
    assert client.transport.take() == head + sent
    assert client.transport.writes == 1
    for _ in range(2):  # heads that come again are not looked at again, and are framed alike
        other = Client()
        other.ask(head, body)
        await settle()
        assert other.transport.take() == head + sent


@pytest.mark.parametrize(
    "head",
    [
        GET + b"\r\nGET /y HTTP/1.1\r\n",
        GET + b"a: b\nc: d\r\n",
        GET + b"a: b\x00\r\n",
        GET + b"a b\r\n",
        b"GET /x y HTTP/1.1\r\n",
        GET[:-1],
        b"",
        GET + b"content-length: 3\r\n",
        GET + b"Transfer-Encoding: gzip\r\n",
    ],
)
async def test_a_head_that_could_be_read_otherwise_is_never_sent(head: bytes) -> None:
    client = Client()
    with pytest.raises(InternalError):
        client.ask(head)
    assert client.transport.take() == b""
    assert client.kept


async def test_a_head_with_two_framings_is_never_sent() -> None:
    client = Client()
    with pytest.raises(InternalError):
        client.ask(POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n", None)
    assert client.kept


async def test_a_body_in_pieces_is_chunked() -> None:
    client = Client()
    stream = client.ask(POST, None)
    await settle()
    client.transport.take()
    await stream.write(b"one")
    await stream.write(b"")
    await stream.write(b"x" * 20000)
    stream.end()
    stream.end()
    assert client.transport.take() == b"3\r\none\r\n4e20\r\n" + b"x" * 20000 + b"\r\n0\r\n\r\n"
    client.transport.feed(OK)
    assert (await stream.whole(10)).body == b"ok"
    assert client.kept


async def test_a_body_of_known_length_is_passed_as_it_is() -> None:
    client = Client()
    stream = client.ask(POST + b"content-length: 6\r\n", None)
    await settle()
    client.transport.take()
    await stream.write(b"one")
    await stream.write(b"two")
    stream.end()
    assert client.transport.take() == b"onetwo"
    client.transport.feed(OK)
    assert client.kept


async def test_a_body_of_another_length_than_it_said_is_cut_off() -> None:
    client = Client()
    stream = client.ask(POST + b"content-length: 6\r\n", None)
    await stream.write(b"one")
    stream.end()
    assert client.transport.aborted
    client = Client()
    stream = client.ask(POST + b"content-length: 2\r\n", None)
    with pytest.raises(InternalError):
        await stream.write(b"one")
    assert client.transport.aborted


async def test_one_request_at_a_time() -> None:
    client = Client()
    client.ask()
    assert (client.connection.room, client.connection.active) == (0, 1)
    with pytest.raises(Unprocessed):
        client.ask()


async def test_a_kept_connection_is_used_again() -> None:
    client = Client()
    for _ in range(3):
        stream = client.ask()
        whole = asyncio.ensure_future(stream.whole(10))
        client.transport.feed(OK)
        answer = await whole
        assert (answer.head.status, answer.body, answer.trailers) == (200, b"ok", ())
    assert client.changes == [1, 1, 1]


async def test_reply_heads_are_shared() -> None:
    client = Client()
    heads = []
    for _ in range(3):
        stream = client.ask()
        client.transport.feed(OK)
        heads.append(await stream.head())
    assert heads[1] is heads[2]


@pytest.mark.parametrize(
    ("raw", "body", "kept"),
    [
        (OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", b"", True),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + OK, b"ok", True),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", b"ok", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", False),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", b"ok", False),
        (OK + b"HTTP/1.1 200 OK\r\n", b"ok", False),
    ],
)
async def test_replies_end_where_their_framing_says(raw: bytes, body: bytes, kept: bool) -> None:
    for pieces in ([raw], [raw[:20], raw[20:]], [raw[i : i + 1] for i in range(len(raw))]):
        client, got = await answered(*pieces)
        assert got == body
        assert client.kept is kept
        assert client.connection.closed is not kept


async def test_a_reply_without_an_end_ends_with_the_connection() -> None:
    client = Client()
    stream = client.ask()
    client.transport.feed(b"HTTP/1.1 200 OK\r\n\r\n", b"one")
    assert await stream.read() == b"one"
    client.transport.feed(b"two")
    client.transport.end()
    await settle()
    assert await stream.read() == b"two"
    assert await stream.read() == b""
    assert client.connection.closed


async def test_a_reset_is_not_the_end() -> None:
    client = Client()
    stream = client.ask()
    client.transport.feed(b"HTTP/1.1 200 OK\r\n\r\none")
    client.transport.lose(ConnectionResetError())
    await settle()
    assert await stream.read() == b"one"
    with pytest.raises(UpstreamReset):
        await stream.read()


async def test_the_reply_to_head_has_no_body_whatever_it_says() -> None:
    for _ in range(2):
        client = Client()
        stream = client.ask(GET.replace(b"GET", b"HEAD"))
        client.transport.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        assert (await stream.whole(0)).body == b""
        assert client.kept
    # The same head, known already, in front of what could be taken for its body.
    stream = client.ask(GET.replace(b"GET", b"HEAD"))
    client.transport.feed(OK)
    assert (await stream.whole(0)).body == b""
    assert client.connection.closed


async def test_trailers_come_with_the_end() -> None:
    client = Client()
    stream = client.ask()
    client.transport.feed(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nHost: no\r\n\r\n"
    )
    assert (await stream.whole(10)).trailers == ((b"x-t", b"1"),)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 999 X\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + OK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx-big: " + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(300)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: b\nx-injected: 1\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_reply_that_breaks_its_protocol_fails_and_closes(raw: bytes) -> None:
    client = Client()
    whole = asyncio.ensure_future(client.ask().whole(1000))
    client.transport.feed(raw)
    with pytest.raises(BadUpstream) as caught:
        await whole
    assert caught.value.http_status == 502
    assert client.transport.aborted
    assert client.connection.room == 0
    assert client.changes == [0]
    await settle()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "without a reply"),
        (b"HTTP/1.1 2", "in the middle of its reply's head"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "in the middle of its reply"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "in the middle of its reply"),
    ],
)
async def test_an_early_close_is_a_reset(raw: bytes, words: str) -> None:
    client = Client()
    whole = asyncio.ensure_future(client.ask().whole(1000))
    if raw:
        client.transport.feed(raw)
    client.transport.end()
    with pytest.raises(UpstreamReset, match=words) as caught:
        await whole
    assert not caught.value.retryable
    assert client.connection.closed


async def stale(head: bytes, body: bytes | None, write: bytes = b"", reply: bytes = b"") -> GatewayError:
    """How a request fails whose kept connection ends."""
    client = Client()
    client.ask()
    client.transport.feed(OK)
    stream = client.ask(head, body)
    if write:
        await stream.write(write)
    whole = asyncio.ensure_future(stream.whole(1000))
    if reply:
        client.transport.feed(reply)
    client.transport.lose(ConnectionResetError())
    with pytest.raises(GatewayError) as caught:
        await whole
    return caught.value


async def test_a_stale_connection_may_be_retried_only_where_that_is_safe() -> None:
    put = POST.replace(b"POST", b"PUT")
    assert (await stale(GET, b"")).retryable
    assert (await stale(put, b"abc")).retryable
    assert not (await stale(POST, b"abc")).retryable
    assert not (await stale(put, None)).retryable
    assert not (await stale(put, None, b"abc")).retryable
    assert not (await stale(GET, b"", reply=b"H")).retryable


async def test_a_connection_known_to_be_closed_takes_nothing() -> None:
    client = Client()
    client.transport.end()
    with pytest.raises(Unprocessed):
        client.ask(POST, b"abc")
    await settle()
    assert client.connection.closed
    assert client.changes == [0]


async def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    client = Client()
    client.transport.feed(OK)
    assert client.connection.closed
    assert client.transport.closed
    await settle()


async def test_an_answer_before_the_request_is_whole_ends_the_connection() -> None:
    client = Client()
    stream = client.ask(POST, None)
    await stream.write(b"one")
    client.transport.feed(OK)
    assert (await stream.whole(10)).body == b"ok"
    assert client.connection.closed
    client.transport.take()
    await stream.write(b"two")
    stream.end()
    assert client.transport.take() == b""
    await settle()


async def test_a_reply_over_the_limit_fails() -> None:
    for raw in (OK, OK[:-1], b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"):
        client = Client()
        client.ask()
        client.transport.feed(OK)  # the head is known from here on
        stream = client.ask()
        whole = asyncio.ensure_future(stream.whole(0))
        client.transport.feed(raw)
        with pytest.raises(BodyTooLarge):
            await whole
        await settle()
    client = Client()
    stream = client.ask()
    client.transport.feed(OK[:-1])
    with pytest.raises(BodyTooLarge):
        await stream.whole(0)
    await settle()


async def test_the_endpoint_waits_while_nobody_reads() -> None:
    client = Client(stream_window=1000)
    stream = client.ask()
    client.transport.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n", b"x" * 900)
    assert client.transport.reading
    client.transport.feed(b"x" * 200)
    assert not client.transport.reading
    assert await stream.read() == b"x" * 1100
    assert client.transport.reading
    client.transport.feed(b"x" * 8900)
    assert await stream.read() == b"x" * 8900
    assert await stream.read() == b""
    assert client.kept


async def test_the_writer_waits_for_a_slow_endpoint() -> None:
    client = Client(write_buffer=1000)
    stream = client.ask(POST, None)
    client.transport.stuck = True
    await stream.write(b"x" * 2000)
    await settle()
    writing = asyncio.ensure_future(stream.write(b"x" * 2000))
    await settle()
    assert not writing.done()
    client.transport.unstick()
    await writing


async def test_cancelling_closes_at_once() -> None:
    client = Client()
    stream = client.ask()
    whole = asyncio.ensure_future(stream.whole(10))
    await settle()
    whole.cancel()
    stream.cancel()
    stream.cancel()
    assert client.transport.aborted
    assert client.changes == [0]
    await settle()
    assert whole.cancelled()


async def test_cancelling_after_the_end_is_harmless() -> None:
    client = Client()
    stream = client.ask()
    client.transport.feed(OK)
    stream.cancel()
    assert client.kept
    assert (await stream.whole(10)).body == b"ok"


async def test_a_cancelled_stream_says_so() -> None:
    client = Client()
    stream = client.ask()
    stream.cancel()
    with pytest.raises(UpstreamReset):
        await stream.head()
    with pytest.raises(UpstreamReset):
        await stream.whole(10)
    await settle()


async def test_draining_ends_after_the_reply() -> None:
    client = Client()
    stream = client.ask()
    client.connection.drain()
    assert client.connection.room == 0
    assert not client.transport.closed
    client.transport.feed(OK)
    assert (await stream.whole(10)).body == b"ok"
    assert client.transport.closed
    client = Client()
    client.connection.drain()
    assert client.connection.closed
    await settle()


async def test_closing_fails_the_request_in_flight() -> None:
    client = Client()
    whole = asyncio.ensure_future(client.ask().whole(10))
    client.connection.close()
    with pytest.raises(UpstreamReset):
        await whole
    assert "closed" in repr(client.connection)


REPLIES = [
    OK,
    OK + b"x",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nall of it",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nshort",
]


async def outcome(pieces: list[bytes]) -> object:
    """What a reply comes to, as its reader sees it."""
    client = Client()
    stream = client.ask()
    whole = asyncio.ensure_future(stream.whole(1000))
    await asyncio.sleep(0)
    client.transport.feed(*pieces)
    await asyncio.sleep(0)
    if not client.transport.closed and not stream.done:
        client.transport.end()
    try:
        answer = await whole
    except GatewayError as error:
        return type(error), error.message
    finally:
        await settle()
    return answer.head.status, answer.head.headers, answer.body, answer.trailers


@given(
    st.one_of(st.sampled_from(REPLIES), st.binary(max_size=80)),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=2),
    st.lists(st.integers(0, 150), max_size=6),
)
def test_a_reply_means_the_same_however_it_is_cut(raw: bytes, damage: list[tuple[int, int]], places: list[int]) -> None:
    damaged = bytearray(raw)
    for place, value in damage:
        if damaged:
            damaged[place % len(damaged)] = value
    raw = bytes(damaged)
    ends = sorted({place % (len(raw) + 1) for place in places} | {len(raw)})
    pieces = [raw[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]

    async def both() -> tuple[object, object]:
        return await outcome([raw] if raw else []), await outcome(pieces)

    whole, cut = asyncio.run(both())
    assert whole == cut
