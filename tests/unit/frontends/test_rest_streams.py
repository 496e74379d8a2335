"""Streams over REST: how they are framed, when their heads go, how they end, and requests that stream."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, DeadlineExceeded, Status, UpstreamReset
from protogw.frontends.base import Bounds
from protogw.frontends.rest import streaming
from protogw.wire.content import compress
from protogw.wire.http import HTTP_1_1, HTTP_2
from tests.support.rest import SCHEMA, THING, Exchange, Service, ask, front, message, request, thing

REST = front()
ONE, TWO = (thing(id=number).SerializeToString() for number in (1, 2))
SSE = {"accept": "text/event-stream"}
LINES = {"accept": "application/x-ndjson"}
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
FAULT = '{"code":14,"message":"lost","details":[]}'


async def watch(service: Service, headers: Any = (), line: str = "GET /v1/things:watch", rest: Any = REST) -> Exchange:
    return await ask(rest, request(line, headers=headers), service)


# ---- framing


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("", "application/json", b'[{"id":"1"},{"id":"2"}]'),
        ("application/json", "application/json", b'[{"id":"1"},{"id":"2"}]'),
        ("text/event-stream", "text/event-stream", b'data: {"id":"1"}\n\ndata: {"id":"2"}\n\nevent: end\ndata: {}\n\n'),
        ("application/x-ndjson", "application/x-ndjson", b'{"id":"1"}\n{"id":"2"}\n'),
        ("application/jsonlines", "application/x-ndjson", b'{"id":"1"}\n{"id":"2"}\n'),
        (
            "application/json;q=0.5, text/*",
            "text/event-stream",
            b'data: {"id":"1"}\n\ndata: {"id":"2"}\n\nevent: end\ndata: {}\n\n',
        ),
    ],
)
async def test_accept_chooses_the_framing(accept: str, content_type: str, body: bytes) -> None:
    exchange = await watch(Service(messages=[ONE, TWO]), {"accept": accept} if accept else {})
    assert (exchange.status, exchange.get("content-type"), exchange.body) == (200, content_type, body)
    assert (exchange.get("cache-control"), exchange.get("x-accel-buffering")) == ("no-store", "no")
    assert exchange.ended


@pytest.mark.parametrize(("headers", "body"), [({}, b"[]"), (SSE, b"event: end\ndata: {}\n\n"), (LINES, b"")])
async def test_a_stream_of_nothing(headers: dict[str, str], body: bytes) -> None:
    exchange = await watch(Service(messages=[]), headers)
    assert (exchange.status, exchange.body, exchange.ended) == (200, body, True)


async def test_a_framing_that_is_not_offered_is_406() -> None:
    service = Service(messages=[ONE])
    exchange = await watch(service, {"accept": "text/html"})
    assert exchange.status == 406
    assert not service.calls


async def test_each_message_is_written_as_it_comes() -> None:
    exchange = await watch(Service(messages=[ONE, TWO]), LINES)
    assert exchange.written[:2] == [b'{"id":"1"}\n', b'{"id":"2"}\n']


async def test_one_field_of_each_message() -> None:
    messages = [thing(name=name).SerializeToString() for name in ("a", "b")]
    exchange = await watch(Service(messages=messages), line="GET /v1/names:watch")
    assert exchange.body == b'["a","b"]'


async def test_json_of_the_upstream_stays_on_its_line() -> None:
    reply = Reply()

    async def messages() -> AsyncIterator[Payload]:
        yield Payload(b'{\n "id": "1"\n}', Encoding.JSON, THING.codec)

    for headers, body in (
        (LINES, b'{  "id": "1" }\n'),
        (SSE, b'data: {\ndata:  "id": "1"\ndata: }\n\nevent: end\ndata: {}\n\n'),
    ):
        reply.payloads = messages()
        assert (await watch(Service(reply), headers)).body == body


async def test_metadata_and_trailers_of_a_stream() -> None:
    service = Service(messages=[ONE], metadata=Metadata(((b"x-a", b"1"),)), trailers=Metadata(((b"x-t", b"2"),)))
    exchange = await watch(service, {"te": "trailers"})
    assert (exchange.get("x-a"), exchange.trailer("x-t")) == ("1", "2")
    assert (await watch(service)).trailers == ()


async def test_head_of_a_stream_needs_no_more_than_one_message() -> None:
    service = Service(messages=[ONE, TWO])
    exchange = await watch(service, line="HEAD /v1/things:watch")
    assert (exchange.status, exchange.body, service.closed) == (200, b"", True)


# ---- how they fail


@pytest.mark.parametrize("headers", [{}, SSE, LINES])
async def test_an_error_before_the_first_message_has_its_own_status(headers: dict[str, str]) -> None:
    for service in (
        Service(messages=[], status=Status(Code.UNAVAILABLE, "lost")),
        Service(status=Status(Code.UNAVAILABLE, "lost")),
    ):
        exchange = await watch(service, headers)
        assert (exchange.status, exchange.get("content-type")) == (503, "application/json")
        assert exchange.body.decode() == FAULT
    assert (await watch(Service(messages=[UpstreamReset("lost")]), headers)).status == 502
    assert (await watch(Service(UpstreamReset("lost")), headers)).status == 502


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, f'[{{"id":"1"}},{{"error":{FAULT}}}]'),
        (LINES, f'{{"id":"1"}}\n{{"error":{FAULT}}}\n'),
        (SSE, f'data: {{"id":"1"}}\n\nevent: error\ndata: {FAULT}\n\n'),
    ],
)
async def test_an_error_after_a_message_is_the_last_record(headers: dict[str, str], body: str) -> None:
    for service in (
        Service(messages=[ONE], status=Status(Code.UNAVAILABLE, "lost")),
        Service(messages=[ONE, UpstreamReset("lost")]),
    ):
        exchange = await watch(service, headers)
        assert (exchange.status, exchange.body.decode(), exchange.ended) == (200, body, True)
        assert service.closed


async def test_a_message_that_does_not_convert_is_the_upstream_s_failure() -> None:
    exchange = await watch(Service(messages=[ONE, b"\xff"]), LINES)
    assert json.loads(exchange.body.split(b"\n")[1])["error"]["code"] == Code.INTERNAL
    assert (await watch(Service(messages=[b"\xff"]), LINES)).status == 502


async def test_the_record_follows_the_style() -> None:
    rest = front(errors="aip193")
    exchange = await watch(Service(messages=[ONE], status=Status(Code.UNAVAILABLE, "lost")), LINES, rest=rest)
    assert json.loads(exchange.body.split(b"\n")[1])["error"]["status"] == "UNAVAILABLE"
    rest = front(errors="problem")
    exchange = await watch(Service(messages=[ONE], status=Status(Code.UNAVAILABLE, "lost")), SSE, rest=rest)
    assert b'event: error\ndata: {"type":"about:blank"' in exchange.body


@pytest.mark.parametrize("headers", [{}, LINES])
async def test_where_a_message_could_be_taken_for_the_record_the_answer_is_cut(headers: dict[str, str]) -> None:
    line = "GET /v1/faults:watch"
    good = b"\x0a\x01x"
    exchange = await watch(Service(messages=[good], status=Status(Code.UNAVAILABLE, "lost")), headers, line)
    assert f'{{"error":{FAULT}}}' in exchange.body.decode()
    assert (exchange.aborted, exchange.ended) == (True, False)
    exchange = await watch(Service(messages=[good, UpstreamReset("lost")]), headers, line)
    assert (exchange.aborted, exchange.ended) == (True, False)
    exchange = await watch(Service(messages=[good]), headers, line)
    assert (exchange.aborted, exchange.ended) == (False, True)


async def test_where_events_tell_them_apart_nothing_is_cut() -> None:
    exchange = await watch(Service(messages=[b"\x0a\x01x", UpstreamReset("lost")]), SSE, "GET /v1/faults:watch")
    assert (exchange.aborted, exchange.ended) == (False, True)


# ---- time


class Slow:
    """A service that answers when told to."""

    def __init__(self, *, late_reply: bool) -> None:
        self.go = asyncio.Event()
        self.late_reply = late_reply
        self.closed = False

    async def __call__(self, call: Call) -> Reply:
        if self.late_reply:
            await self.go.wait()
        reply = Reply()
        reply.payloads = self.messages()
        return reply

    async def messages(self) -> AsyncIterator[Payload]:
        try:
            await self.go.wait()
            yield Payload(ONE, Encoding.PROTO, THING.codec)
        finally:
            self.closed = True


@pytest.mark.parametrize("late_reply", [True, False])
async def test_a_silent_stream_gets_its_head_in_time(monkeypatch: pytest.MonkeyPatch, late_reply: bool) -> None:
    monkeypatch.setattr(streaming, "HEAD_AFTER_S", 0.01)
    service = Slow(late_reply=late_reply)
    exchange = request("GET /v1/things:watch", headers=LINES)
    task = asyncio.ensure_future(ask(REST, exchange, service))
    await exchange.until(lambda: exchange.started)
    assert (exchange.status, exchange.body) == (200, b"")
    service.go.set()
    await task
    assert exchange.body == b'{"id":"1"}\n'


async def test_an_error_after_such_a_head_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEAD_AFTER_S", 0.0)
    go = asyncio.Event()

    async def handle(call: Call) -> Reply:
        await go.wait()
        raise UpstreamReset("lost")

    exchange = request("GET /v1/things:watch")
    task = asyncio.ensure_future(ask(REST, exchange, handle))
    await exchange.until(lambda: exchange.started)
    go.set()
    await task
    assert exchange.body.decode() == f'[{{"error":{FAULT}}}]'


async def test_a_silent_event_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEAD_AFTER_S", 0.0)
    service = Slow(late_reply=False)
    exchange = request("GET /v1/things:watch", headers=SSE)
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(ask(front(heartbeat="5ms"), exchange, service))
    await exchange.until(lambda: exchange.body.count(b":\n\n") >= 2)
    service.go.set()
    await task
    assert exchange.body.replace(b":\n\n", b"") == b'data: {"id":"1"}\n\nevent: end\ndata: {}\n\n'
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_client_that_leaves_ends_the_stream_and_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEAD_AFTER_S", 0.0)
    service = Slow(late_reply=False)
    exchange = request("GET /v1/things:watch", headers=SSE)
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(ask(front(heartbeat="5ms"), exchange, service))
    await exchange.until(lambda: b":\n\n" in exchange.body)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.closed
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_deadline_in_a_stream_is_a_record() -> None:
    exchange = request("GET /v1/things:watch", headers=LINES)
    service = Slow(late_reply=False)
    service.go.set()
    serving = Service(messages=[ONE])
    REST.accepts(exchange.head)
    await REST.serve(exchange, serving)
    # The gateway's way: the task is cancelled, then the front end is told.
    exchange.ended = False
    REST.fail(exchange, DeadlineExceeded())
    assert json.loads(exchange.body.split(b"\n")[1])["error"]["code"] == Code.DEADLINE_EXCEEDED


# ---- google.api.HttpBody


def raw(content_type: str, data: bytes) -> bytes:
    made = message("google.api.HttpBody")
    made.content_type, made.data = content_type, data
    serialized: bytes = made.SerializeToString()
    return serialized


async def test_a_raw_stream_is_its_data_under_the_first_type() -> None:
    service = Service(messages=[raw("video/mp4", b"ab"), raw("", b"c"), raw("text/plain", b"")])
    exchange = await watch(service, {"accept": "video/mp4"}, "GET /v1/things/1/content")
    assert (exchange.status, exchange.get("content-type"), exchange.body) == (200, "video/mp4", b"abc")


async def test_a_raw_stream_that_fails_is_cut() -> None:
    line = "GET /v1/things/1/content"
    for service in (
        Service(messages=[raw("a/b", b"x"), UpstreamReset("lost")]),
        Service(messages=[raw("a/b", b"x")], status=Status(Code.DATA_LOSS)),
    ):
        exchange = await watch(service, {}, line)
        assert (exchange.body, exchange.aborted, exchange.ended) == (b"x", True, False)
    assert (await watch(Service(messages=[UpstreamReset("lost")]), {}, line)).status == 502
    assert (await watch(Service(messages=[], status=Status(Code.NOT_FOUND)), {}, line)).status == 404
    assert (await watch(Service(messages=[]), {}, line)).status == 200


# ---- requests that stream


async def send(
    body: Any, headers: Any, line: str = "POST /v1/shelves/s/things:import", rest: Any = REST
) -> tuple[Exchange, Service]:
    service = Service(b"")
    return await ask(rest, request(line, body, headers), service), service


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'[{"id":1},{"id":"2"}]'),
        (JSON, b'{"id":1}{"id":2}'),
        ({}, b'[{"id":1},\n{"id":2}]'),
        (NDJSON, b'{"id":1}\r\n\n{"id":2}'),
        ({"content-type": "application/jsonl; charset=utf-8"}, b'{"id":1}\n{"id":2}\n'),
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 1_000])
async def test_a_request_stream_is_an_array_or_lines(headers: dict[str, str], body: bytes, cut: int) -> None:
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    exchange, service = await send(pieces, headers)
    assert (exchange.status, exchange.body) == (200, b"{}")
    made = [thing(data) for data in service.received]
    # Every message carries what the path gives.
    assert [(one.id, one.name) for one in made] == [(1, "s"), (2, "s")]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_request_stream_may_be_compressed(coding: str) -> None:
    plain = b"".join(b'{"id":%d}\n' % number for number in range(20_000))
    body = compress(plain, coding.encode())
    pieces = [body[at : at + 500] for at in range(0, len(body), 500)]
    _, service = await send(pieces, {**NDJSON, "content-encoding": coding})
    assert len(service.received) == 20_000
    exchange, _ = await send(pieces[:-1], {**NDJSON, "content-encoding": coding})
    assert exchange.status == 400


async def test_a_bomb_in_a_request_stream_stops_at_one_message() -> None:
    body = zlib.compress(b'{"name":"' + b"x" * (32 << 20), wbits=31)
    exchange, _ = await send([body], {**NDJSON, "content-encoding": "gzip"}, rest=front(Bounds(body=1 << 20)))
    assert exchange.status == 413


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (JSON, b'[{"id":1},{"id":"x"}]', 400),
        (JSON, b'[{"id":1},', 400),
        (JSON, b'[{"id":1},]', 400),
        (JSON, b'{"id":1', 400),
        (NDJSON, b'{"id":1}\n[', 400),
        (NDJSON, b'{"id":1} {"id":2}\n', 400),
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/x-protobuf"}, b"", 415),
    ],
)
async def test_a_request_stream_that_is_none_is_refused(headers: dict[str, str], body: bytes, status: int) -> None:
    exchange, _ = await send([body], headers)
    assert exchange.status == status
    assert json.loads(exchange.body)["code"] == Code.INVALID_ARGUMENT


async def test_a_message_over_the_limit_is_413() -> None:
    rest = front(Bounds(body=100))
    exchange, _ = await send([b'{"id":1}\n' * 100], NDJSON, rest=rest)
    assert exchange.status == 200
    for headers in (NDJSON, JSON):
        exchange, _ = await send([b'{"name":"', b"x" * 200, b'"}'], headers, rest=rest)
        assert exchange.status == 413


async def test_a_request_stream_is_read_as_it_is_asked_for() -> None:
    exchange = request("POST /v1/shelves/s/things:import", [b'{"id":%d}\n' % number for number in range(10)], NDJSON)
    left = []

    async def handle(call: Call) -> Reply:
        assert call.payloads is not None
        async for _ in call.payloads:
            left.append(exchange.unread)
        return Reply(payload=Payload(b"", Encoding.PROTO, THING.codec))

    await ask(REST, exchange, handle)
    assert left == list(range(9, -1, -1))


async def test_raw_pieces_are_messages_the_first_of_which_has_the_type() -> None:
    exchange = request("POST /v1/parts/n", [b"ab", b"c"], {"content-type": "image/png"})
    service = Service(b"")
    await ask(REST, exchange, service)
    made = [message("rest.v1.AttachRequest", data) for data in service.received]
    assert [(one.name, one.file.content_type, one.file.data) for one in made] == [
        ("n", "image/png", b"ab"),
        ("n", "", b"c"),
    ]


@pytest.mark.parametrize("version", [HTTP_1_1, HTTP_2])
async def test_a_bidirectional_stream_answers_each_message_as_it_comes(version: int) -> None:
    exchange = request("POST /rest.v1.Things/Chat", [b'{"id":1}\n', b'{"id":2}\n'], {**NDJSON, **LINES}, version)
    seen: list[tuple[int, int]] = []

    async def handle(call: Call) -> Reply:
        payloads = call.payloads
        assert payloads is not None

        async def echo() -> AsyncIterator[Payload]:
            async for payload in payloads:
                yield Payload(payload.proto(), Encoding.PROTO, THING.codec)
                seen.append((exchange.unread, len(exchange.written)))

        return Reply(payloads=echo())

    await ask(REST, exchange, handle)
    assert exchange.body == b'{"id":"1"}\n{"id":"2"}\n'
    assert seen == [(1, 1), (0, 2)]


async def test_a_fault_in_a_request_stream_ends_the_reply_under_way() -> None:
    exchange = request("POST /rest.v1.Things/Chat", [b'{"id":1}\n', b"nonsense\n"], {**NDJSON, **LINES})

    async def handle(call: Call) -> Reply:
        payloads = call.payloads
        assert payloads is not None

        async def echo() -> AsyncIterator[Payload]:
            async for payload in payloads:
                yield Payload(payload.proto(), Encoding.PROTO, THING.codec)

        return Reply(payloads=echo())

    await ask(REST, exchange, handle)
    first, last = exchange.body.splitlines()
    assert first == b'{"id":"1"}'
    assert json.loads(last)["error"]["code"] == Code.INVALID_ARGUMENT


async def test_the_schema_of_these_tests_is_wholly_served() -> None:
    assert REST.faults == ()
    assert len(SCHEMA.services["rest.v1.Things"].methods) == 14
