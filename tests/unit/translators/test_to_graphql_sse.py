"""Subscriptions over server-sent events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protogw.call import Reply
from protogw.errors import BadUpstream, Code, GatewayError, UpstreamReset
from tests.support import catalog
from tests.support.catalog import call
from tests.support.upstream import Stream

EVENTS = (("content-type", "text/event-stream; charset=utf-8"), ("content-encoding", "none"), ("x-lead", "a"))


def event(result: Any, name: str = "next") -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(result))


def tick(number: int | None, **more: Any) -> bytes:
    return event({"data": {"ticks": number}, **more})


COMPLETE = b"event: complete\ndata: \n\n"


async def sent(stream: Stream, **options: Any) -> Reply:
    _, reply = await catalog.send(call("Ticks", upTo=3), stream, subscriptions="sse", **options)
    return reply


async def whole(stream: Stream) -> tuple[Reply, list[bytes]]:
    reply = await sent(stream)
    assert reply.payloads is not None
    return reply, [payload.json() async for payload in reply.payloads]


async def test_a_subscription_is_a_request_for_events() -> None:
    stream = Stream(200, EVENTS, tick(1), COMPLETE)
    reply, found = await whole(stream)
    assert stream.line == "POST /graphql"
    assert stream.get("accept") is not None
    assert (stream.get("accept") or "").startswith("text/event-stream, ")
    assert stream.body is not None
    assert orjson.loads(stream.body)["query"] == "subscription Ticks($upTo: Int!) { ticks(upTo: $upTo) }"
    assert found == [b'{"ticks":1}']
    assert reply.metadata.get(b"x-lead") == b"a"
    assert reply.status.code is Code.OK


async def test_events_come_in_whatever_pieces_with_comments_between() -> None:
    data = b":\n\n" + tick(1) + b":\n\n" + tick(None) + tick(3) + COMPLETE
    _, found = await whole(Stream(200, EVENTS, *(data[at : at + 7] for at in range(0, len(data), 7))))
    assert found == [b'{"ticks":1}', b'{"ticks":null}', b'{"ticks":3}']


async def test_other_events_are_passed_over() -> None:
    _, found = await whole(
        Stream(200, EVENTS, event({}, "heartbeat") + event({"data": {"ticks": 1}}, "message"), COMPLETE)
    )
    assert found == [b'{"ticks":1}']


async def test_an_error_ends_the_stream_with_its_status() -> None:
    error = {"errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}], "data": {"ticks": None}}
    stream = Stream(200, EVENTS, tick(1), event(error), tick(2), COMPLETE)
    reply, found = await whole(stream)
    assert found == [b'{"ticks":1}']
    assert (reply.status.code, reply.status.message) == (Code.PERMISSION_DENIED, "no")
    assert stream.cancelled.is_set()


async def test_errors_beside_data_are_told_in_the_trailers() -> None:
    reply, found = await whole(Stream(200, EVENTS, tick(1, errors=[{"message": "half"}]), COMPLETE))
    assert found == [b'{"ticks":1}']
    assert orjson.loads(reply.trailers.get(b"graphql-errors") or b"") == [{"message": "half"}]


@pytest.mark.parametrize(
    ("pieces", "cut", "error"),
    [
        ((tick(1),), None, UpstreamReset),
        ((), None, UpstreamReset),
        ((tick(1), b"data: {"), None, UpstreamReset),
        ((tick(1),), UpstreamReset("gone"), UpstreamReset),
        ((tick(1), b"event: next\ndata: x\n\n"), None, BadUpstream),
        ((tick(1), event([])), None, BadUpstream),
        ((tick(1), event({})), None, BadUpstream),
        ((tick(1), event({"data": {"ticks": "x"}})), None, BadUpstream),
        ((b"x" * (catalog.LIMIT + 1),), None, BadUpstream),
        ((b"data: " + b"x" * (catalog.LIMIT + 1) + b"\n\n",), None, BadUpstream),
    ],
)
async def test_what_is_no_whole_stream_is_never_a_success(
    pieces: tuple[bytes, ...], cut: GatewayError | None, error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        await whole(Stream(200, EVENTS, *pieces, cut=cut))


async def test_an_answer_that_is_no_stream_is_read_whole() -> None:
    errors = orjson.dumps({"errors": [{"message": "no", "extensions": {"code": "BAD_USER_INPUT"}}]})
    for status in (200, 400):
        reply = await sent(Stream(status, (("content-type", "application/json"),), errors[:5], errors[5:]))
        assert (reply.payloads, reply.status.code) == (None, Code.INVALID_ARGUMENT)
    reply = await sent(Stream(405, (("content-type", "text/plain"),), b"use GET"))
    assert (reply.status.code, reply.status.message) == (Code.UNIMPLEMENTED, "use GET")


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "application/json", b'{"data":{"ticks":1}}'),
        (200, "text/html", b"<html>"),
        (302, "text/event-stream", b""),
        (200, "application/json", b"x" * (catalog.LIMIT + 1)),
    ],
)
async def test_an_answer_that_is_neither_is_refused(status: int, content_type: str, body: bytes) -> None:
    stream = Stream(status, (("content-type", content_type),), body)
    with pytest.raises(BadUpstream):
        await sent(stream)
    assert stream.cancelled.is_set()


async def test_a_caller_that_goes_away_cancels_the_request() -> None:
    stream = Stream(200, EVENTS, tick(1), hang=True)
    reply = await sent(stream)
    assert reply.payloads is not None
    assert (await anext(reply.payloads)).json() == b'{"ticks":1}'
    await reply.payloads.aclose()  # type: ignore[attr-defined]
    assert stream.cancelled.is_set()
