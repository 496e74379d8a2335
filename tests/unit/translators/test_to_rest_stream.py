"""The translator to REST: streamed replies and streamed requests."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from protogw_translators.to_rest import ToRest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import (
    BadUpstream,
    BodyTooLarge,
    Code,
    GatewayError,
    InvalidRequest,
    NotOffered,
    Unprocessed,
    UpstreamReset,
)
from protogw.wire.http import Peer
from tests.support import shop
from tests.support.upstream import JSON, Connection, Stream

LIMIT = 10_000
LINES = (("content-type", "application/x-ndjson"),)
EVENTS = (("content-type", "text/event-stream"),)
RAW = (("content-type", "image/png"),)


async def watch(stream: Stream, name: str = "Watch", /, **fields: Any) -> Reply:
    return await ToRest("shop:80", message_limit=LIMIT).send(shop.call(name, **fields), Connection(stream))


async def names(reply: Reply) -> list[str]:
    assert reply.payloads is not None
    return [shop.parse("Item", payload.proto()).name async for payload in reply.payloads]


# --- streamed replies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (LINES, b'{"name":"a"}\n\r\n{"name":"b"}\n'),
        (LINES, b'{"name":"a"}\n{"name":"b"}'),
        (LINES, b'{"result":{"name":"a"}}\n{ "result" : {"name":"b"} }\n'),
        (EVENTS, b': hi\n\ndata: {"name":"a"}\n\nevent: x\ndata: {"name":\ndata: "b"}\n\n'),
        (EVENTS, b'data: {"name":"a"}\r\n\r\ndata: {"name":"b"}\r\n\r\nevent: end\r\ndata: {}\r\n\r\n'),
        (EVENTS, b'data: {"name":"a"}\n\ndata: {"name":"b"}\n\n:\n\n'),
        (JSON, b'[{"name":"a"}, {"name":"b"}]'),
        (JSON, b'{"name":"a"}{"name":"b"}'),
        ((), b'[{"name":"a"},{"name":"b"}]'),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_messages_come_out_however_the_body_is_cut(fields: Any, body: bytes, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    stream = Stream(200, fields, *pieces)
    reply = await watch(stream)
    assert await names(reply) == ["a", "b"]
    assert reply.status.code is Code.OK
    assert stream.get("accept") == "application/x-ndjson, text/event-stream, application/json;q=0.9"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (LINES, b'{"name":"a"}\n{"error":{"code":5,"message":"gone"}}\n'),
        (LINES, b'{"result":{"name":"a"}}\n{"error":{"code":5,"message":"gone","details":[]}}'),
        (EVENTS, b'data: {"name":"a"}\n\nevent: error\ndata: {"code":5,"message":"gone"}\n\n'),
        (EVENTS, b'data: {"name":"a"}\n\nevent: error\ndata: {"error":{"code":404,"message":"gone"}}\n\ndata: {}\n\n'),
        (JSON, b'[{"name":"a"},{"error":{"code":5,"message":"gone"}}]'),
    ],
)
async def test_a_terminal_error_record_is_the_status(fields: Any, body: bytes) -> None:
    reply = await watch(Stream(200, fields, body))
    assert await names(reply) == ["a"]
    assert (reply.status.code, reply.status.message) == (Code.NOT_FOUND, "gone")


async def test_an_error_event_that_is_no_status_is_unknown() -> None:
    reply = await watch(Stream(200, EVENTS, b"event: error\ndata: boom\n\n"))
    assert await names(reply) == []
    assert (reply.status.code, reply.status.message) == (Code.UNKNOWN, "boom")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (LINES, b'{"name":"a"}\n{"na'),
        (EVENTS, b'data: {"name":"a"}\n\ndata: {"na'),
        (EVENTS, b'data: {"name":"a"}\n\ndata: {"name":"b"}\n'),
        (JSON, b'[{"name":"a"},{"na'),
        (JSON, b'[{"name":"a"}'),
    ],
)
async def test_a_body_that_ends_inside_a_record_was_cut(fields: Any, body: bytes) -> None:
    reply = await watch(Stream(200, fields, body))
    assert reply.payloads is not None
    assert shop.parse("Item", (await anext(reply.payloads)).proto()).name == "a"
    with pytest.raises(UpstreamReset) as caught:
        await anext(reply.payloads)
    assert caught.value.status.code is Code.UNAVAILABLE


async def test_a_cut_connection_is_never_a_good_end() -> None:
    reply = await watch(Stream(200, LINES, b'{"name":"a"}\n', cut=UpstreamReset("r")))
    with pytest.raises(UpstreamReset):
        await names(reply)


@pytest.mark.parametrize(
    ("fields", "body"), [(LINES, b""), (JSON, b"[]"), (EVENTS, b""), (EVENTS, b":\n\n"), (JSON, b"")]
)
async def test_an_empty_stream_is_one(fields: Any, body: bytes) -> None:
    reply = await watch(Stream(200, fields, body))
    assert await names(reply) == []
    assert reply.status.code is Code.OK
    assert await names(await watch(Stream(204, ()))) == []


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (LINES, b"x" * (LIMIT + 1)),
        (EVENTS, b"data: " + b"x" * (LIMIT + 1)),
        (JSON, b'["' + b"x" * (LIMIT + 1)),
        (JSON, b"[1 2]"),
        ((*LINES, ("content-encoding", "gzip")), b"no gzip"),
    ],
)
async def test_records_too_large_or_malformed_are_the_upstreams_fault(fields: Any, body: bytes) -> None:
    stream = Stream(200, fields, body, hang=True)
    reply = await watch(stream)
    assert reply.payloads is not None
    with pytest.raises(BadUpstream) as caught:
        async for _ in reply.payloads:
            pass
    assert caught.value.http_status == 502
    assert stream.cancelled.is_set()


async def test_a_stream_of_another_type_is_refused_and_cancelled() -> None:
    stream = Stream(200, (("content-type", "text/html"),), b"<html>")
    with pytest.raises(BadUpstream, match="text/html"):
        await watch(stream)
    assert stream.cancelled.is_set()
    with pytest.raises(BadUpstream, match="not offered"):
        await watch(Stream(200, (*LINES, ("content-encoding", "compress")), b"x"))


async def test_a_coded_stream_is_decoded_as_it_comes() -> None:
    body = gzip.compress(b'{"name":"a"}\n' * 5000)
    reply = await watch(
        Stream(200, (*LINES, ("content-encoding", "gzip")), *(body[at : at + 9] for at in range(0, len(body), 9)))
    )
    assert await names(reply) == ["a"] * 5000
    reply = await watch(Stream(200, (*LINES, ("content-encoding", "gzip")), body[:-5]))
    with pytest.raises(UpstreamReset):
        await names(reply)


async def test_an_error_instead_of_a_stream_is_a_reply_with_its_status() -> None:
    reply = await watch(Stream(404, JSON, b'{"message":', b'"gone"}'))
    assert (reply.status.code, reply.status.message, reply.payloads) == (Code.NOT_FOUND, "gone", None)
    stream = Stream(500, (("content-type", "text/plain"),), *(b"x" * 4096 for _ in range(100)))
    reply = await watch(stream)
    assert reply.status.code is Code.INTERNAL
    assert stream.cancelled.is_set()


async def test_raw_pieces_are_http_bodies_the_first_with_the_type() -> None:
    reply = await watch(Stream(200, RAW, b"ab", b"c"), "Tail", name="x")
    assert reply.payloads is not None
    bodies = [shop.parse("google.api.HttpBody", payload.proto()) async for payload in reply.payloads]
    assert [(body.content_type, body.data) for body in bodies] == [("image/png", b"ab"), ("", b"c")]


async def test_leaving_a_stream_cancels_it() -> None:
    for first in (True, False):
        stream = Stream(200, LINES, b'{"name":"a"}\n', hang=True)
        reply = await watch(stream)
        assert reply.payloads is not None
        if first:
            await anext(reply.payloads)
        await reply.payloads.aclose()  # type: ignore[attr-defined]
        assert stream.cancelled.is_set()
        with pytest.raises(StopAsyncIteration):
            await anext(reply.payloads)


async def test_cancelling_the_wait_for_a_stream_cancels_it() -> None:
    stream = Stream(200, LINES, hang=True)
    task = asyncio.create_task(watch(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.cancelled.is_set()


# --- streamed requests ------------------------------------------------------------------------------------------------


def client_stream(name: str, *messages: dict[str, Any], error: GatewayError | None = None, hang: bool = False) -> Call:
    method = shop.METHODS[name]

    async def payloads() -> AsyncIterator[Payload]:
        for message in messages:
            yield shop.payload(method, **message)
        if error is not None:
            raise error
        if hang:
            await asyncio.Event().wait()

    return Call(method, Metadata(), front_end="test", peer=Peer("192.0.2.7", 1), started=0.0, payloads=payloads())


async def upload(call: Call, stream: Stream) -> Reply:
    return await ToRest("shop:80", message_limit=LIMIT).send(call, Connection(stream))


class Slow(Stream):
    """Replies once the request's body has ended."""

    async def head(self) -> Any:
        await self.ended.wait()
        return await super().head()


async def test_a_client_stream_goes_as_lines() -> None:
    stream = Slow(200, JSON, b'{"next":"n"}')
    reply = await upload(client_stream("Import", {"name": "a"}, {"name": "b"}), stream)
    assert stream.body is None
    assert stream.written == [b'{"name":"a"}\n', b'{"name":"b"}\n']
    assert (stream.line, stream.get("content-type")) == ("POST /v1/import", "application/x-ndjson")
    assert reply.payload is not None
    assert shop.parse("Items", reply.payload.proto()).next == "n"


async def test_a_line_end_inside_json_does_not_end_the_line() -> None:
    call = client_stream("Import")

    async def payloads() -> AsyncIterator[Payload]:
        yield Payload(b'{\n"name":\r\n"a"}', Encoding.JSON, shop.METHODS["Import"].input.codec)

    call.payloads = payloads()
    stream = Slow(200, JSON, b"{}")
    await upload(call, stream)
    assert stream.written == [b'{ "name":  "a"}\n']


async def test_the_path_of_a_client_stream_is_its_first_messages() -> None:
    stream = Slow(200, JSON, b"{}")
    first = {"parent": "shops/1", "item": {"name": "a"}, "request_id": "r"}
    await upload(client_stream("ImportInto", first, {"parent": "shops/1", "item": {"name": "b"}}), stream)
    assert stream.line == "POST /v1/shops/1/import?requestId=r"
    assert stream.written == [b'{"name":"a"}\n', b'{"name":"b"}\n']
    with pytest.raises(InvalidRequest, match="at least one message"):
        await upload(client_stream("ImportInto"), Stream())


async def test_an_empty_client_stream_is_an_empty_body() -> None:
    stream = Slow(200, JSON, b"{}")
    await upload(client_stream("Import"), stream)
    assert (stream.written, stream.body) == ([], None)


async def test_a_client_stream_without_a_body_in_its_rule_is_refused() -> None:
    with pytest.raises(NotOffered, match="no body"):
        await upload(client_stream("ImportQuery", {}), Stream())


async def test_an_early_reply_ends_the_request() -> None:
    reply = await upload(
        client_stream("Import", {"name": "a"}, hang=True), stream := Stream(409, JSON, b'{"message":"m"}')
    )
    assert (reply.status.code, reply.status.message) == (Code.ALREADY_EXISTS, "m")
    assert stream.cancelled.is_set()


async def test_the_clients_own_fault_is_the_one_that_is_told() -> None:
    stream = Stream(hang=True)
    with pytest.raises(InvalidRequest, match="bad line"):
        await upload(client_stream("Import", {"name": "a"}, error=InvalidRequest("bad line")), stream)
    assert stream.cancelled.is_set()


async def test_what_was_consumed_is_not_tried_again() -> None:
    with pytest.raises(UpstreamReset):
        await upload(client_stream("Import", {"name": "a"}, hang=True), Refusing())
    first = {"parent": "shops/1"}
    with pytest.raises(UpstreamReset):
        await ToRest("shop:80").send(client_stream("ImportInto", first), Full())  # type: ignore[arg-type]
    with pytest.raises(Unprocessed):
        await ToRest("shop:80").send(client_stream("Import", first), Full())  # type: ignore[arg-type]


class Full:
    """A connection that takes no more requests."""

    def open(self, head: bytes, body: bytes | None) -> Stream:
        raise Unprocessed("no more")


class Refusing(Stream):
    """Refuses the request once something of it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def write(self, data: bytes) -> None:
        self.begun.set()

    async def head(self) -> Any:
        await self.begun.wait()
        raise Unprocessed("no")


async def test_a_reply_over_the_limit_is_the_upstreams_fault_in_a_client_stream() -> None:
    with pytest.raises(BadUpstream):
        await upload(client_stream("Import", {"name": "a"}), Slow(200, JSON, b" " * (LIMIT + 1)))
    with pytest.raises(BodyTooLarge):
        await upload(client_stream("Import", error=BodyTooLarge("client's")), Stream(hang=True))


async def test_cancelling_a_client_stream_stops_both_ways() -> None:
    stream = Stream(hang=True)
    task = asyncio.create_task(upload(client_stream("Import", {"name": "a"}, hang=True), stream))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.cancelled.is_set()
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
