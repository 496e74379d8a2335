"""The server's side of HTTP/1.1, as transcripts: requests and their bodies, answers, refusals."""

from __future__ import annotations

import asyncio

import pytest

from protogw.errors import BodyTooLarge
from protogw.net.http1_exchange import DRAIN_BYTES, Http1Exchange
from tests.support.http1_server import GET, JSON, Server, chunked, post, refused
from tests.support.transport import settle, without_date


async def test_a_request_is_answered_in_one_write() -> None:
    server = Server()
    await server.feed(GET)
    exchange = server.exchanges[0]
    assert exchange.buffered() == b""
    assert exchange.peer.host == "192.0.2.1"
    exchange.extra = ((b"x-extra", b"1"),)
    await server.answer(b"{}")
    assert server.transport.writes == 1
    answer = server.transport.take()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert without_date(answer) == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\nx-extra: 1\r\n\r\n{}"
    )
    assert (exchange.status, exchange.bytes_out, exchange.started, exchange.ended) == (200, 2, True, True)
    assert not server.transport.closed


async def test_a_body_in_the_same_packet_is_there_at_once() -> None:
    bodies: list[bytes | None] = []

    async def serve(exchange: Http1Exchange) -> None:
        bodies.append(exchange.buffered())
        exchange.respond(204, ())

    server = Server(serve)
    await server.feed(post(b"hello"), chunked(b"5\r\nworld\r\n0\r\n\r\n"), GET, post(b"", length=0))
    assert bodies == [b"hello", b"world", b"", b""]


async def test_pipelined_requests_are_answered_in_order() -> None:
    server = Server()
    await server.feed(GET.replace(b"/x", b"/1") + post(b"two").replace(b"/x", b"/2") + GET.replace(b"/x", b"/3"))
    for number in (b"/1", b"/2", b"/3"):
        assert server.exchanges[-1].head.path == number
        await server.answer(number)
    assert len(server.exchanges) == 3
    assert [part[:2] for part in server.transport.take().split(b"\r\n\r\n")[1:]] == [b"/1", b"/2", b"/3"]


async def test_what_is_pipelined_is_bounded() -> None:
    server = Server()
    await server.feed(GET, GET * 3000)
    assert not server.transport.reading
    for _ in range(3000):
        await server.answer()
    assert server.transport.reading
    assert len(server.exchanges) == 3001


async def test_a_head_that_came_twice_is_parsed_no_more() -> None:
    server = Server()
    for _ in range(3):
        await server.feed(GET)
        await server.answer()
    first, second, third = server.exchanges
    assert first.head is not second.head
    assert second.head is third.head
    assert second is not third


async def test_connection_close_is_honoured_and_said() -> None:
    server = Server()
    await server.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
    await server.answer()
    assert b"\r\nconnection: close\r\n" in server.transport.take()
    assert server.transport.eof  # not closed at once: bytes are there that nobody will answer
    assert len(server.exchanges) == 1


async def test_http_1_0_is_closed_unless_kept_and_never_chunked() -> None:
    server = Server()
    await server.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await server.answer()
    assert b"\r\nconnection: keep-alive\r\n" in server.transport.take()
    await server.feed(b"GET / HTTP/1.0\r\n\r\n")
    exchange = server.exchanges[-1]
    exchange.start(200, JSON)
    await exchange.write(b"one")
    exchange.finish(b"two", [(b"x-trailer", b"1")])
    await server.done()
    assert without_date(server.transport.take()) == (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\nonetwo"
    )
    assert server.transport.closed
    assert not server.transport.aborted


async def test_an_answer_in_pieces_is_chunked() -> None:
    server = Server()
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, JSON)
    await exchange.write(b"one")
    await exchange.write(b"")
    await exchange.write(b"x" * 20000)
    exchange.finish(b"two")
    await server.done()
    assert without_date(server.transport.take()) == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
        b"3\r\none\r\n4e20\r\n" + b"x" * 20000 + b"\r\n3\r\ntwo\r\n0\r\n\r\n"
    )
    assert exchange.bytes_out == 20006
    await server.feed(GET)
    assert len(server.exchanges) == 2


async def test_an_answer_of_known_length_is_not_chunked() -> None:
    server = Server()
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, ((b"content-length", b"6"), (b"transfer-encoding", b"chunked"), (b"connection", b"x")))
    await exchange.write(b"one")
    exchange.finish(b"two")
    await server.done()
    assert without_date(server.transport.take()) == b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nonetwo"


@pytest.mark.parametrize("pieces", [[b"one"], [b"one", b"four"]])
async def test_an_answer_of_another_length_than_it_said_is_cut(pieces: list[bytes]) -> None:
    server = Server()
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, ((b"content-length", b"6"),))
    for piece in pieces:
        await exchange.write(piece)
    exchange.finish()
    await server.done()
    assert server.transport.take().endswith(b"\r\n\r\none")
    assert server.transport.closed


async def test_trailers_go_to_a_client_that_takes_them() -> None:
    server = Server()
    trailers = [(b"x-a", b"1"), (b"x-b", b"2")]
    await server.feed(GET.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"))
    server.exchanges[-1].respond(200, JSON, b"ok", trailers)
    await server.done()
    assert without_date(server.transport.take()) == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\ntrailer: x-a, x-b\r\n\r\n"
        b"2\r\nok\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n"
    )
    await server.feed(GET)
    server.exchanges[-1].respond(200, JSON, b"ok", trailers)
    await server.done()
    assert b"x-a" not in server.transport.take()


async def test_head_tells_the_length_and_sends_no_body() -> None:
    server = Server()
    head = GET.replace(b"GET", b"HEAD")
    for fields, body, told in (
        ((), b"hello", b"content-length: 5\r\n"),
        (((b"content-length", b"17"),), b"", b"content-length: 17\r\n"),
        ((), b"", b""),
    ):
        await server.feed(head)
        server.exchanges[-1].respond(200, fields, body)
        await server.done()
        assert without_date(server.transport.take()) == b"HTTP/1.1 200 OK\r\n" + told + b"\r\n"
    await server.feed(head)
    server.exchanges[-1].start(200, ())
    await server.exchanges[-1].write(b"hello")
    server.exchanges[-1].finish(b"more")
    await server.done()
    assert without_date(server.transport.take()) == b"HTTP/1.1 200 OK\r\n\r\n"


async def test_204_and_304_have_no_body() -> None:
    server = Server()
    for status, told in ((204, b""), (304, b"content-length: 5\r\n")):
        await server.feed(GET)
        await server.answer(b"hello", status)
        assert server.transport.take().endswith(told + b"content-type: application/json\r\n\r\n")


async def test_a_date_given_is_the_only_one() -> None:
    server = Server()
    await server.feed(GET)
    server.exchanges[0].respond(200, ((b"date", b"then"),))
    assert server.transport.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: then\r\n\r\n"
    await server.done()


async def test_no_field_splits_an_answer() -> None:
    server = Server()
    await server.feed(GET)
    server.exchanges[0].respond(200, ((b"x-a", b"1\r\nx-b: 2\r\n\r\nHTTP/1.1"),))
    assert b"x-a: 1  x-b: 2    HTTP/1.1\r\n" in server.transport.take()
    await server.done()


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_a_body_is_read_as_it_comes() -> None:
    server = Server()
    await server.feed(post(b"one", length=9))
    exchange = server.exchanges[0]
    assert exchange.buffered() is None
    assert await exchange.read() == b"one"
    reading = asyncio.ensure_future(exchange.read())
    await server.feed(b"two")
    assert await reading == b"two"
    await server.feed(b"end" + GET)
    assert await exchange.read() == b"end"
    assert await exchange.read() == b""
    assert exchange.bytes_in == 9
    await server.answer()
    assert len(server.exchanges) == 2


async def test_a_whole_body_is_waited_for() -> None:
    server = Server()
    await server.feed(chunked(b"3\r\none\r\n", b"Trailer: x-t"))
    exchange = server.exchanges[0]
    whole = asyncio.ensure_future(exchange.whole(100))
    await server.feed(b"3\r\ntwo\r\n", b"0\r\nX-T: 1\r\nAuthorization: no\r\n\r\n")
    assert await whole == b"onetwo"
    assert exchange.request_trailers == ((b"x-t", b"1"),)
    assert exchange.head.get(b"x-t") is None
    await server.answer()


async def test_a_body_over_the_limit_is_refused_by_its_length_at_once() -> None:
    server = Server()
    await server.feed(post(b"", length=1 << 30))
    with pytest.raises(BodyTooLarge, match="1073741824 bytes, over the limit of 100"):
        await server.exchanges[0].whole(100)
    await server.answer(b"{}", 413)
    assert b"\r\nconnection: close\r\n" in server.transport.take()
    assert server.transport.eof


async def test_a_chunked_body_is_refused_where_it_passes_the_limit() -> None:
    server = Server()
    await server.feed(chunked(b"32\r\n" + b"x" * 50 + b"\r\n"))
    whole = asyncio.ensure_future(server.exchanges[0].whole(99))
    await server.feed(b"32\r\n" + b"x" * 50 + b"\r\n")
    with pytest.raises(BodyTooLarge):
        await whole
    await server.answer(b"{}", 413)


async def test_a_client_waits_while_nobody_reads() -> None:
    server = Server(stream_window=1000)
    await server.feed(post(b"", length=10_000), b"x" * 900)
    assert server.transport.reading
    await server.feed(b"x" * 200)
    assert not server.transport.reading
    assert await server.exchanges[0].read() == b"x" * 1100
    assert server.transport.reading
    await server.feed(b"x" * 8900)
    assert await server.exchanges[0].read() == b"x" * 8900
    await server.answer()
    assert server.transport.reading


async def test_a_whole_body_may_be_larger_than_the_window() -> None:
    server = Server(stream_window=1000)
    await server.feed(post(b"", length=5000), b"x" * 2000)
    assert not server.transport.reading
    whole = asyncio.ensure_future(server.exchanges[0].whole(5000))
    await settle()
    await server.feed(b"x" * 2000, b"x" * 1000)
    assert await whole == b"x" * 5000
    await server.answer()


async def test_continue_is_said_when_the_body_is_asked_for() -> None:
    server = Server()
    await server.feed(post(b"", b"Expect: 100-continue", length=5))
    assert server.transport.take() == b""
    whole = asyncio.ensure_future(server.exchanges[0].whole(10))
    await settle()
    assert server.transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await server.feed(b"he", b"llo")
    assert await whole == b"hello"
    await server.answer()
    assert server.transport.take().startswith(b"HTTP/1.1 200")
    assert not server.transport.eof


async def test_an_answer_without_reading_says_no_continue_and_closes() -> None:
    server = Server()
    await server.feed(post(b"", b"Expect: 100-continue", length=5))
    await server.answer(b"{}", 401)
    answer = server.transport.take()
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized")
    assert b"\r\nconnection: close\r\n" in answer
    assert server.transport.eof
    await server.feed(GET)
    assert len(server.exchanges) == 1


async def test_a_short_body_that_nobody_read_is_dropped_and_the_connection_kept() -> None:
    server = Server()
    await server.feed(post(b"abc", length=10))
    await server.answer()
    assert b"connection:" not in server.transport.take()
    await server.feed(b"defghij" + GET)
    assert len(server.exchanges) == 2
    assert server.exchanges[1].head.method == b"GET"


async def test_a_long_body_that_nobody_read_closes_the_connection() -> None:
    server = Server()
    await server.feed(post(b"abc", length=DRAIN_BYTES + 4))
    await server.answer()
    assert b"\r\nconnection: close\r\n" in server.transport.take()
    assert server.transport.eof
    await server.feed(b"x" * 1000)
    assert not server.transport.closed
    await server.feed(b"x" * (1 << 20))
    assert server.transport.aborted


async def test_an_endless_chunked_body_that_nobody_read_is_dropped_up_to_a_bound() -> None:
    server = Server()
    await server.feed(chunked(b""))
    await server.answer()
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    await server.feed(*[chunk] * 4)
    assert not server.transport.eof
    await server.feed(chunk)
    assert server.transport.eof


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "not an HTTP request"),
        (b"hello\r\n\r\n", 400, "not an HTTP request"),
        (b"GET / HTTP/1.1\n\n", 400, "request line: malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "host: missing"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host: given twice"),
        (GET.replace(b"GET", b"TRACE"), 405, "TRACE"),
        (GET.replace(b"GET", b"BREW"), 501, "BREW"),
        (GET.replace(b"/x", b"/" + b"x" * 20000), 414, "request target: longer than 16384 bytes"),
        (GET[:-2] + b"a: b\r\n" * 300 + b"\r\n", 431, "more than 200 fields"),
        (GET[:-2] + b"a: " + b"b" * 70000 + b"\r\n\r\n", 431, "longer than 65536 bytes"),
        (post(b"x", b"Transfer-Encoding: chunked"), 400, "content-length"),
        (chunked(b"5 \r\nhello\r\n0\r\n\r\n"), 400, "chunked body"),
        (chunked(b"5;" + b"a" * 5000 + b"\r\n"), 400, "extensions"),
        (GET[:-2] + b"Expect: tea\r\n\r\n", 417, "expect"),
    ],
)
async def test_a_refusal_is_answered_and_nothing_after_it_is_done(raw: bytes, status: int, words: str) -> None:
    server = Server()
    got, message = await refused(server, raw + GET)
    assert got == status
    assert words in message
    await server.feed(GET)
    assert server.transport.take() == b""
    assert server.exchanges == []


async def test_a_refusal_keeps_reading_so_that_it_is_read_itself() -> None:
    server = Server()
    await server.feed(GET.replace(b"/x", b"/" + b"x" * 20000))
    assert server.transport.eof
    assert not server.transport.closed
    await server.feed(b"x" * 1000)
    server.transport.end()
    await settle()
    assert server.transport.closed
    assert not server.transport.aborted
    assert server.closed == [server.connection]


async def test_a_bad_chunk_in_the_middle_cancels_and_refuses() -> None:
    server = Server()
    await server.feed(chunked(b"3\r\none\r\n"))
    assert await server.exchanges[0].read() == b"one"
    status, message = await refused(server, b"zz\r\n" + GET)
    assert (status, message) == (400, "chunked body: what follows a chunk is malformed")
    assert server.cancelled == 1
    assert server.exchanges[0].status == 400


async def test_a_bad_chunk_after_the_answer_started_cuts_it() -> None:
    server = Server()
    await server.feed(chunked(b"3\r\none\r\n"))
    server.exchanges[0].start(200, JSON)
    await settle()
    server.transport.take()
    await server.feed(b"zz\r\n")
    assert server.transport.take() == b""
    assert server.transport.closed
    assert server.cancelled == 1


async def test_a_refused_pipelined_request_does_not_overtake_the_answer_before_it() -> None:
    server = Server()
    await server.feed(GET + b"BAD\r\n\r\n" + GET)
    assert server.transport.take() == b""
    await server.answer()
    answers = server.transport.take()
    assert answers.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in answers
    assert len(server.exchanges) == 1
