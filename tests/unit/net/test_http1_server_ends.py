"""How HTTP/1.1 connections end on the server's side: clients that go, answers that go wrong, time, draining."""

from __future__ import annotations

import asyncio
import logging

import pytest

from protogw.errors import Malformed
from protogw.net.http1_exchange import Http1Exchange
from tests.support.http1_server import GET, JSON, Server, post
from tests.support.transport import settle

# --- clients that go --------------------------------------------------------------------------------------------------


async def test_a_client_that_is_lost_cancels_its_request() -> None:
    server = Server()
    await server.feed(GET)
    assert server.connection.active == 1
    server.transport.lose(ConnectionResetError())
    await settle()
    assert server.cancelled == 1
    assert server.connection.active == 0
    assert server.closed == [server.connection]
    server.exchanges[0].respond(200, JSON, b"late")
    assert server.transport.take() == b""


async def test_a_client_that_ended_its_side_gets_every_answer() -> None:
    server = Server()
    await server.feed(GET + GET)
    server.transport.end()
    await server.answer()
    assert b"connection: close" not in server.transport.take()
    await server.answer()
    assert b"connection: close" in server.transport.take()
    assert server.transport.closed
    assert server.cancelled == 0


async def test_over_tls_a_client_that_ended_its_side_is_gone() -> None:
    server = Server(tls=True)
    await server.feed(GET)
    assert server.exchanges[0].head.scheme == b"https"
    server.transport.end()
    await settle()
    assert server.cancelled == 1


async def test_an_idle_client_that_ends_its_side_is_closed() -> None:
    server = Server()
    server.transport.end()
    await settle()
    assert server.transport.closed


async def test_a_head_that_ends_half_way_is_dropped() -> None:
    server = Server()
    await server.feed(GET[:-5])
    server.transport.end()
    await settle()
    assert server.transport.closed
    assert server.transport.take() == b""


async def test_a_body_that_ends_half_way_is_told_to_its_reader() -> None:
    server = Server()
    await server.feed(post(b"abc", length=10))
    exchange = server.exchanges[0]
    assert await exchange.read() == b"abc"
    reading = asyncio.ensure_future(exchange.read())
    await settle()
    server.transport.end()
    with pytest.raises(Malformed, match="ended after 3 bytes"):
        await reading
    await server.answer(b"{}", 400)
    assert b"connection: close" in server.transport.take()
    assert server.transport.closed


async def test_a_client_that_vanished_behind_a_half_close_is_found_by_writing() -> None:
    server = Server(probe_s=0.0)
    await server.feed(GET)
    server.transport.end()
    await settle()
    assert server.transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    server.transport.socket.error = 32
    await settle()
    assert server.cancelled == 1
    assert server.transport.aborted


async def test_a_half_close_during_chunks_is_probed_within_the_coding() -> None:
    server = Server(probe_s=0.0)
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, JSON)
    await exchange.write(b"one")
    await settle()
    server.transport.take()
    server.transport.end()
    await settle()
    exchange.finish(b"two")
    await server.done()
    assert server.transport.take() == b"03\r\ntwo\r\n0\r\n\r\n"
    assert server.transport.closed


# --- answers that go wrong --------------------------------------------------------------------------------------------


async def test_a_cut_answer_is_seen_as_cut() -> None:
    server = Server()
    await server.feed(GET)
    server.exchanges[0].start(200, JSON)
    await server.exchanges[0].write(b"one")
    server.exchanges[0].abort()
    await server.done()
    assert server.transport.take().endswith(b"3\r\none\r\n")
    assert server.transport.closed
    assert not server.transport.socket.options


async def test_a_cut_answer_that_ends_with_the_connection_is_reset() -> None:
    server = Server()
    await server.feed(b"GET / HTTP/1.0\r\n\r\n")
    server.exchanges[0].start(200, JSON)
    await server.exchanges[0].write(b"one")
    server.exchanges[0].abort()
    await server.done()
    assert server.transport.aborted
    assert server.transport.socket.options


async def test_a_fault_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: Http1Exchange) -> None:
        raise ZeroDivisionError("secret")

    server = Server(serve)
    await server.feed(GET)
    answer = server.transport.take()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "ZeroDivisionError" in caplog.text


async def test_a_request_that_was_not_answered_is(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: Http1Exchange) -> None:
        pass

    with caplog.at_level(logging.ERROR):
        server = Server(serve)
        await server.feed(GET)
    assert server.transport.take().startswith(b"HTTP/1.1 500 ")
    assert "not answered" in caplog.text


async def test_a_fault_after_the_start_cuts_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(exchange: Http1Exchange) -> None:
        exchange.start(200, JSON)
        raise ZeroDivisionError

    server = Server(serve)
    await server.feed(GET)
    assert server.transport.closed
    assert not server.transport.take().endswith(b"0\r\n\r\n")


async def test_small_pieces_of_one_turn_are_one_write() -> None:
    server = Server()
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, JSON)
    for _ in range(10):
        await exchange.write(b"0123456789")
    assert server.transport.writes == 0
    await settle()
    assert server.transport.writes == 1
    for _ in range(100):
        await exchange.write(b"x" * 1000)
    assert server.transport.writes == 2  # much is not kept for long
    exchange.finish(b"end")
    assert server.transport.writes == 3
    await server.done()


async def test_the_writer_waits_for_a_slow_reader() -> None:
    server = Server(write_buffer=1000)
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, JSON)
    server.transport.stuck = True
    await exchange.write(b"x" * 2000)
    await settle()
    writing = asyncio.ensure_future(exchange.write(b"x" * 2000))
    await settle()
    assert not writing.done()
    server.transport.unstick()
    await writing
    exchange.finish()
    await server.done()


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_client_that_says_nothing_is_closed_after_the_header_timeout() -> None:
    server = Server()
    server.connection.sweep(100.0)
    server.connection.sweep(109.0)
    assert not server.transport.closed
    server.connection.sweep(110.0)
    assert server.transport.aborted
    await settle()


async def test_a_head_that_drips_is_408_at_the_header_timeout() -> None:
    server = Server()
    for second in range(10):
        await server.feed(GET[second : second + 1])
        server.connection.sweep(100.0 + second)
    server.connection.sweep(111.0)
    await settle()
    assert server.transport.take().startswith(b"HTTP/1.1 408 ")
    assert server.transport.eof


async def test_an_idle_connection_is_closed_after_the_idle_timeout() -> None:
    server = Server(idle_s=60)
    await server.feed(GET)
    await server.answer()
    server.connection.sweep(100.0)
    await server.feed(b"\r\n")
    server.connection.sweep(130.0)
    assert not server.transport.closed
    server.connection.sweep(160.0)
    assert server.transport.aborted
    await settle()


async def test_a_body_slower_than_the_least_rate_is_408() -> None:
    server = Server(min_rate=100)
    await server.feed(post(b"", length=100_000))
    server.connection.sweep(100.0)
    await server.feed(b"x" * 1000)
    server.connection.sweep(110.0)
    assert server.transport.take() == b""
    await server.feed(b"x" * 999)
    server.connection.sweep(119.0)
    server.connection.sweep(120.0)
    await settle()
    assert server.transport.take().startswith(b"HTTP/1.1 408 ")
    assert server.cancelled == 1


async def test_a_body_held_back_by_us_is_not_slow() -> None:
    server = Server(stream_window=10)
    await server.feed(post(b"", length=100), b"x" * 20)
    for second in range(0, 200, 10):
        server.connection.sweep(100.0 + second)
    assert not server.transport.closed
    server.exchanges[0].drop()
    await server.answer()


async def test_a_client_that_does_not_read_is_cut_after_the_idle_timeout() -> None:
    server = Server(idle_s=60, write_buffer=1000)
    await server.feed(GET)
    exchange = server.exchanges[0]
    exchange.start(200, JSON)
    server.transport.stuck = True
    await exchange.write(b"x" * 2000)
    await settle()
    writing = asyncio.ensure_future(exchange.write(b"x" * 2000))
    await settle()
    server.connection.sweep(100.0)
    server.transport.held -= 1
    server.connection.sweep(150.0)
    server.connection.sweep(200.0)
    assert not server.transport.closed
    server.connection.sweep(210.0)
    assert server.transport.aborted
    await writing
    assert server.cancelled == 1


async def test_a_request_without_progress_is_504_after_the_idle_timeout() -> None:
    server = Server(idle_s=60)
    await server.feed(GET)
    server.connection.sweep(100.0)
    server.connection.sweep(160.0)
    await settle()
    assert server.transport.take().startswith(b"HTTP/1.1 504 ")
    assert server.cancelled == 1


async def test_lingering_ends() -> None:
    server = Server()
    await server.feed(b"BAD\r\n\r\n")
    server.connection.sweep(100.0)
    server.connection.sweep(101.0)
    assert not server.transport.closed
    server.connection.sweep(102.5)
    assert server.transport.aborted
    await settle()


# --- draining ---------------------------------------------------------------------------------------------------------


async def test_draining_closes_an_idle_connection_at_once() -> None:
    server = Server()
    await server.feed(GET)
    await server.answer()
    server.connection.drain()
    assert server.transport.closed
    await settle()


async def test_draining_finishes_the_request_in_progress() -> None:
    server = Server()
    await server.feed(GET + GET)
    server.connection.drain()
    assert not server.transport.closed
    await server.answer()
    assert b"connection: close" in server.transport.take()
    assert server.transport.eof or server.transport.closed
    assert len(server.exchanges) == 1


async def test_draining_lets_a_started_answer_end() -> None:
    server = Server()
    await server.feed(GET)
    server.exchanges[0].start(200, JSON)
    server.connection.drain()
    server.exchanges[0].finish(b"ok")
    await server.done()
    assert server.transport.take().endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert server.transport.closed


async def test_closing_cancels() -> None:
    server = Server()
    await server.feed(GET)
    server.connection.close()
    await settle()
    assert server.cancelled == 1
    assert server.closed == [server.connection]
