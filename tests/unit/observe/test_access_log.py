"""The access log: what a line says, what it never says, and that nothing ever waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import NO_METADATA, Call, Reply
from protogw.errors import Code, GatewayError, InvalidRequest, Status
from protogw.identity import Identity
from protogw.observe import query_secrets
from protogw.observe.access_log import (
    HANDED_BYTES,
    AccessLog,
    Entry,
    each,
    timestamp,
)
from protogw.observe.console_line import coloured_line, console_line
from protogw.observe.json_line import json_lines
from protogw.observe.printable import text
from protogw.observe.query_secrets import keep_out, redacted
from protogw.wire.http import Peer
from tests.support.rpc import UNARY, Exchange, head


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.dropped = 0
        self.error = ""
        self.path = "kept"
        self.reopened = self.closed = False
        self.written = asyncio.Event()

    def write(self, block: bytes, lines: int) -> None:
        assert block.count(b"\n") == lines
        self.blocks.append(block)
        self.written.set()

    def reopen(self) -> None:
        self.reopened = True

    def close(self) -> None:
        self.closed = True


def answered(path: str = "/v1/x", *fields: tuple[str, str], status: int = 200, called: bool = True) -> Exchange:
    """An exchange whose call went through and was answered with OK."""
    exchange = Exchange(head(path, "", *fields, method="GET"))
    exchange.status = status
    if called:
        exchange.call = Call(UNARY, NO_METADATA, front_end="rest", peer=exchange.peer, started=0.0)
        exchange.call.upstream = "127.0.0.1:50051"
        exchange.call.reply = Reply()
    return exchange


async def line_of(exchange: Exchange, error: GatewayError | None = None, **options: Any) -> dict[str, Any]:
    sink = Kept()
    log = AccessLog(sink, json_lines, clock=lambda: 1764035422.0625, **options)  # type: ignore[arg-type]
    log.record(exchange, 0.00125, error, "rest")
    log.flush()
    found: dict[str, Any] = json.loads(sink.blocks[0])
    return found


async def test_a_line_says_who_asked_for_what_and_how_it_ended() -> None:
    exchange = answered("/v1/x?a=1", ("user-agent", "curl/8"), ("x-request-id", "r-1"))
    exchange.bytes_in, exchange.bytes_out = 12, 34
    assert await line_of(exchange) == {
        "time": "2025-11-25T01:50:22.062Z",
        "client": "127.0.0.1:50000",
        "protocol": "rest",
        "method": "kit.v1.Echo/Unary",
        "request": "GET /v1/x?a=1",
        "host": "gw.test",
        "status": 200,
        "code": "OK",
        "duration_ms": 1.25,
        "bytes_in": 12,
        "bytes_out": 34,
        "upstream": "127.0.0.1:50051",
        "user_agent": "curl/8",
        "request_id": "r-1",
    }


async def test_a_status_in_the_reply_is_logged_beside_the_http_one() -> None:
    exchange = answered()
    assert exchange.call is not None
    exchange.call.reply = Reply(status=Status(Code.NOT_FOUND, "none"))
    line = await line_of(exchange)
    assert (line["status"], line["code"]) == (200, "NOT_FOUND")


async def test_an_error_before_any_call_is_logged_with_its_code() -> None:
    line = await line_of(answered(status=400, called=False), InvalidRequest("bad"))
    assert (line["protocol"], line["method"], line["code"], line["upstream"]) == (
        "rest",
        None,
        "INVALID_ARGUMENT",
        None,
    )


async def test_a_client_that_went_away_before_the_answer_is_logged_as_cancelled() -> None:
    exchange = answered(status=0)
    assert exchange.call is not None
    exchange.call.reply = None
    line = await line_of(exchange)
    assert (line["status"], line["code"]) == (None, "CANCELLED")


async def test_control_characters_cannot_forge_a_line() -> None:
    exchange = answered('/x\r\n{"time":1}\x1b[2J\x9b', ("user-agent", "a\nb\x1b]0;x\x07"))
    sink = Kept()
    for make in (json_lines, each(console_line)):
        log = AccessLog(sink, make)  # type: ignore[arg-type]
        log.record(exchange, 0.0, None, "rest")
        log.flush()
    for block in sink.blocks:
        assert block.count(b"\n") == 1
        assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in block.replace("→".encode(), b""))


@pytest.mark.parametrize(
    ("query", "logged"),
    [
        (b"access_token=abc&a=b", b"access_token=***&a=b"),
        (b"a=b&ToKeN=abc", b"a=b&ToKeN=***"),
        (b"access%5Ftoken=abc", b"access%5Ftoken=***"),
        (b"api_key=a=b&x", b"api_key=***&x"),
        (b"token", b"token"),
        (b"tokens=1", b"tokens=1"),
        (b"a=b&token\t=abc", b"a=b&token\t=***"),
        (b"+token=abc", b"+token=***"),
        (b"TOKEN=abc&page=2&page=3", b"TOKEN=***&page=2&page=3"),
        (b"page=2&sort=token", b"page=2&sort=token"),
        (b"code=4%2F0&state=x", b"code=***&state=x"),
        (b"a=1;token=abc", b"a=1;token=***"),
        (b"a=1;token=abc;b=2&c=3", b"a=1;token=***&c=3"),
        (b"token=abc;def&c=3", b"token=***&c=3"),
        (b"a=1;b=2", b"a=1;b=2"),
        (b"a=1;token", b"a=1;token"),
        (b"token[]=abc&a=1", b"token[]=***&a=1"),
        (b"Token[0]=abc&token[1]=def", b"Token[0]=***&token[1]=***"),
        (b"user[password]=abc&user[name]=x", b"user[password]=***&user[name]=x"),
        (b"users[0][+password+][]=abc", b"users[0][+password+][]=***"),
        (b"user%5Bpassword%5D=abc&page%5Bsize%5D=2", b"user%5Bpassword%5D=***&page%5Bsize%5D=2"),
        (b"ids=[token]&filter[name]=token", b"ids=[token]&filter[name]=token"),
    ],
)
def test_secrets_are_cut_out_of_queries(query: bytes, logged: bytes) -> None:
    assert redacted(query) == logged


@given(st.lists(st.sampled_from((b"token", b"A", b"=", b"&", b";", b"[", b"]", b"+", b" ", b"\t")), max_size=20))
def test_what_is_logged_as_it_came_has_no_secret_by_a_closer_look(pieces: list[bytes]) -> None:
    query = b"".join(pieces)
    assert redacted(query + b"&%") == redacted(query) + b"&%"  # an escape is always looked at closely


@given(st.binary(max_size=300), st.integers(0, 100))
def test_text_is_always_printable_ascii_and_bounded(value: bytes, limit: int) -> None:
    shown = text(value, limit).removesuffix("…")
    assert shown.isascii()
    assert shown.isprintable() or not shown
    assert len(shown) <= 4 * limit


@given(st.integers(0, 4_000_000_000_000))
def test_timestamps_keep_their_order(milliseconds: int) -> None:
    first, second = timestamp(milliseconds / 1000), timestamp((milliseconds + 1500) / 1000)
    assert first < second
    assert len(first) == len("2025-11-25T01:50:22.062Z")


async def test_the_console_line_names_both_statuses() -> None:
    sink = Kept()
    log = AccessLog(sink, each(console_line), clock=lambda: 1764035422.0625)  # type: ignore[arg-type]
    log.record(answered(), 0.0012, None, "rest")
    log.flush()
    assert sink.blocks[0].decode() == (
        "01:50:22.062 200 OK rest GET /v1/x → kit.v1.Echo/Unary 1.2ms 0B in 0B out 127.0.0.1:50000 "
        "via 127.0.0.1:50051\n"
    )


async def test_failures_are_coloured_on_a_terminal() -> None:
    sink = Kept()
    log = AccessLog(sink, each(coloured_line))  # type: ignore[arg-type]
    log.record(answered(), 0.0, None, "rest")
    log.record(answered(status=404), 0.0, InvalidRequest("x"), "rest")
    log.record(answered(status=503), 0.0, GatewayError("x", code=Code.UNAVAILABLE), "rest")
    log.flush()
    good, bad, worse = sink.blocks[0].splitlines()
    assert b"\x1b[32m200 OK\x1b[0m" in good
    assert b"\x1b[33m404 INVALID_ARGUMENT\x1b[0m" in bad
    assert b"\x1b[31m503 UNAVAILABLE\x1b[0m" in worse


async def test_lines_are_handed_over_in_batches() -> None:
    sink = Kept()
    log = AccessLog(sink, json_lines)  # type: ignore[arg-type]
    exchange = answered()
    recorded = 0
    while not sink.blocks:
        log.record(exchange, 0.0, None, "rest")
        recorded += 1
    assert HANDED_BYTES <= len(sink.blocks[0]) < 2 * HANDED_BYTES
    assert sink.blocks[0].count(b"\n") == recorded
    log.record(exchange, 0.0, None, "rest")
    assert len(sink.blocks) == 1
    log.close()
    assert sum(block.count(b"\n") for block in sink.blocks) == recorded + 1
    assert sink.closed


def test_what_policies_look_for_in_queries_is_cut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_secrets, "_secret", set(query_secrets.SECRET_PARAMETERS))
    keep_out((b"Tenant-Pass", b"a+b"))
    assert redacted(b"tenant-pass=abc&page=2") == b"tenant-pass=***&page=2"
    assert redacted(b"Tenant%2DPass=abc&token=d") == b"Tenant%2DPass=***&token=***"
    assert redacted(b"a%2Bb=abc") == b"a%2Bb=***"


async def test_a_client_without_an_address_has_a_line_too() -> None:
    exchange = answered()
    exchange.peer = Peer("", 0)
    assert (await line_of(exchange))["client"] == ":0"


async def test_half_a_character_is_logged_escaped() -> None:
    exchange = answered()
    assert exchange.call is not None
    exchange.call.identity = Identity(subject="half \ud800", scheme="x")
    assert (await line_of(exchange))["consumer"] == "half \\xed\\xa0\\x80"


async def test_lines_that_cannot_be_made_do_not_keep_others_from_being() -> None:
    sink, faults = Kept(), [True]

    def lines(entries: Iterable[Entry]) -> bytes:
        if faults:
            faults.pop()
            raise RuntimeError
        return json_lines(entries)

    log = AccessLog(sink, lines)  # type: ignore[arg-type]
    log.record(answered(), 0.0, None, "rest")
    with pytest.raises(RuntimeError):
        log.flush()
    log.record(answered(), 0.0, None, "rest")
    log.flush()
    assert b"".join(sink.blocks).count(b"\n") == 1


async def test_a_lone_line_is_handed_over_soon() -> None:
    sink = Kept()
    log = AccessLog(sink, json_lines)  # type: ignore[arg-type]
    log.record(answered(), 0.0, None, "rest")
    async with asyncio.timeout(5):
        await sink.written.wait()


async def test_dropped_lines_are_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    sink = Kept()
    log = AccessLog(sink, json_lines)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "protogw"):
        for _ in range(3):
            sink.dropped += 5
            sink.error = "No space left on device"
            log.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "access log kept: 5 lines dropped: No space left on device"
    ]
    assert log.dropped == 15


async def test_recording_is_cheap() -> None:
    """A bound far above the usual third of a microsecond, to notice only a change of kind."""
    log = AccessLog(Kept(), each(lambda entry, facts: b"\n"))  # type: ignore[arg-type]
    exchange = answered()
    started = os.times().user
    for _ in range(20_000):
        log.record(exchange, 0.001, None, "rest")
    assert (os.times().user - started) / 20_000 < 20e-6
    log.flush()


async def test_reopening_is_the_sinks() -> None:
    sink = Kept()
    AccessLog(sink, json_lines).reopen()  # type: ignore[arg-type]
    assert sink.reopened
