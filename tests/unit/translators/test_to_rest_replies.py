"""The translator to REST: what is made of whole replies."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import brotli
import pytest
from google.rpc import error_details_pb2

from protogw.call import Call, Encoding
from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest, NotOffered, Unprocessed, UpstreamReset
from protogw.wire import zstd
from tests.support import shop
from tests.support.to_rest import LIMIT, answered, send, translator
from tests.support.upstream import JSON, Connection, Stream

# --- replies ----------------------------------------------------------------------------------------------------------


async def test_json_goes_back_untouched_and_converts_when_asked() -> None:
    reply = await answered(200, (*JSON, ("x-a", "1"), ("date", "now")), b'{ "price": 5, "new": {"x": 1} }')
    assert reply.payload is not None
    assert (reply.payload.encoding, reply.payload.data) == (Encoding.JSON, b'{ "price": 5, "new": {"x": 1} }')
    assert shop.parse("Item", reply.payload.proto()).price == 5
    assert reply.metadata.pairs == ((b"x-a", b"1"),)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_every_2xx_is_ok_and_an_empty_body_an_empty_message(status: int) -> None:
    reply = await answered(status, ())
    assert reply.status.code is Code.OK
    assert reply.payload is not None
    assert reply.payload.proto() == b""


async def test_a_body_that_is_a_field_is_put_back() -> None:
    _, reply = await send(shop.call("List"), Stream(200, JSON, b'[{"name":"a"},{"name":"b"}]'))
    assert reply.payload is not None
    assert [item.name for item in shop.parse("Items", reply.payload.proto()).items] == ["a", "b"]
    for body in (b'[],"next":"x"', b"[1", b"}"):
        with pytest.raises(BadUpstream, match="not JSON"):
            await send(shop.call("List"), Stream(200, JSON, body))


async def test_raw_replies_become_http_bodies() -> None:
    _, reply = await send(shop.call("Download", name="x"), Stream(200, (("content-type", "image/png"),), b"\x89PNG"))
    assert reply.payload is not None
    body = shop.parse("google.api.HttpBody", reply.payload.proto())
    assert (body.content_type, body.data) == ("image/png", b"\x89PNG")
    _, reply = await send(shop.call("UploadTo", name="x"), Stream(200, (("content-type", "a/b"),), b"d"))
    assert reply.payload is not None
    raw = shop.parse("Raw", reply.payload.proto())
    assert (raw.content.content_type, raw.content.data) == ("a/b", b"d")


async def test_protobuf_replies_are_taken() -> None:
    data = shop.message("Item", name="n").SerializeToString()
    reply = await answered(200, (("content-type", "application/x-protobuf"),), data)
    assert reply.payload is not None
    assert reply.payload.proto() == data


@pytest.mark.parametrize("media", ["text/html", "application/json; charset=utf-16", "text/event-stream"])
async def test_a_reply_of_another_type_is_the_upstreams_fault(media: str) -> None:
    with pytest.raises(BadUpstream, match="not JSON"):
        await answered(200, (("content-type", media),), b"<html>")


@pytest.mark.parametrize("media", ["application/vnd.api+json", "application/json;charset=UTF-8", "text/json", ""])
async def test_every_kind_of_json_is_json(media: str) -> None:
    fields = (("content-type", media),) if media else ()
    assert (await answered(200, fields, b'{"name":"n"}')).payload is not None


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)],
)
async def test_content_codings_are_undone(coding: str, encode: Any) -> None:
    reply = await answered(200, (*JSON, ("content-encoding", coding)), encode(b'{"name":"n"}'))
    assert reply.payload is not None
    assert reply.payload.data == b'{"name":"n"}'


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b" " * (LIMIT * 50), mtime=0)),
        ("br", brotli.compress(b" " * (LIMIT * 50))),
        ("gzip", b"not gzip at all"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4]),
        ("zstd", zstd.compress(b" " * (LIMIT * 50))),
        ("zstd", zstd.compress(b"{}")[:-1]),
        ("deflate", b"x"),
        ("gzip, br", b"x"),
    ],
)
async def test_bombs_and_broken_codings_are_the_upstreams_fault(coding: str, body: bytes) -> None:
    with pytest.raises(BadUpstream) as caught:
        await answered(200, (*JSON, ("content-encoding", coding)), body)
    assert caught.value.http_status == 502


async def test_a_reply_over_the_limit_is_the_upstreams_fault() -> None:
    with pytest.raises(BadUpstream) as caught:
        await answered(200, JSON, b" " * (LIMIT + 1))
    assert (caught.value.status.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 502)


@pytest.mark.parametrize("body", [b'{"price":"x"}', b"[1]", b'{"a": [1, 2', b'{"name":"\xff"}', b"[" * 5000])
async def test_a_reply_that_does_not_convert_says_so_when_asked(body: bytes) -> None:
    reply = await answered(200, JSON, body)
    assert reply.payload is not None
    with pytest.raises(InvalidRequest):
        reply.payload.proto()


# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INVALID_ARGUMENT),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.NOT_FOUND),
        (405, Code.UNIMPLEMENTED),
        (408, Code.DEADLINE_EXCEEDED),
        (409, Code.ABORTED),
        (412, Code.FAILED_PRECONDITION),
        (418, Code.FAILED_PRECONDITION),
        (429, Code.RESOURCE_EXHAUSTED),
        (499, Code.CANCELLED),
        (500, Code.INTERNAL),
        (501, Code.UNIMPLEMENTED),
        (502, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (504, Code.DEADLINE_EXCEEDED),
        (599, Code.INTERNAL),
    ],
)
async def test_a_status_maps_by_its_meaning(status: int, code: Code) -> None:
    reply = await answered(status, (*JSON, ("x-a", "1")))
    assert reply.status.code is code
    assert reply.status.message == f"the upstream answered HTTP {status}"
    assert reply.metadata.pairs == ((b"x-a", b"1"),)


async def test_a_conflict_on_post_means_that_it_exists() -> None:
    assert (await answered(409, name="Create")).status.code is Code.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code":5,"message":"no shelf"}', Code.NOT_FOUND, "no shelf"),
        (b'{"error":{"code":409,"message":"m","status":"ABORTED"}}', Code.ABORTED, "m"),
        (b'{"error":{"code":404,"message":"m"}}', Code.NOT_FOUND, "m"),
        (b'{"error":{"code":7,"message":"m"}}', Code.PERMISSION_DENIED, "m"),
        (b'{"error":"m","code":3,"message":"m"}', Code.INVALID_ARGUMENT, "m"),
        (b'{"code":"not_found","message":"m"}', Code.NOT_FOUND, "m"),
        (b'{"code":"canceled"}', Code.CANCELLED, "the upstream answered HTTP 400"),
        (b'{"type":"about:blank","title":"Bad","detail":"d","status":400}', Code.INVALID_ARGUMENT, "d"),
        (b'{"error":"invalid_grant","error_description":"expired"}', Code.INVALID_ARGUMENT, "expired"),
        (b'{"code":0,"message":"m"}', Code.INVALID_ARGUMENT, "m"),
        (b'{"code":17,"message":"m"}', Code.INVALID_ARGUMENT, "m"),
        (b'{"code":"OK"}', Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
        (b'{"code":true,"message":5}', Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
        (b"[1]", Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
        (b"{", Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
        (b"[" * 100_000, Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
        (b"", Code.INVALID_ARGUMENT, "the upstream answered HTTP 400"),
    ],
)
async def test_an_error_body_says_more_than_the_status(body: bytes, code: Code, message: str) -> None:
    status = (await answered(400, JSON, body)).status
    assert (status.code, status.message) == (code, message)


async def test_the_details_of_a_status_survive() -> None:
    body = (
        b'{"code":3,"message":"m","details":['
        b'{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R","domain":"d"},'
        b'{"@type":"type.googleapis.com/shop.v1.Named","name":"n"},'
        b'{"@type":"type.googleapis.com/un.Known","value":"AAE="}]}'
    )
    details = (await answered(400, JSON, body)).status.details
    assert error_details_pb2.ErrorInfo.FromString(details[0].value).reason == "R"
    assert shop.parse("Named", details[1].value).name == "n"
    assert (details[2].type_url, details[2].value) == ("type.googleapis.com/un.Known", b"\0\1")
    assert len(details) == 3


async def test_what_was_not_understood_of_an_error_is_kept_raw() -> None:
    for media, body in (
        ("text/html", b"<h1>no</h1>"),
        ("application/json", b'{"mine":1}'),
        ("application/json", b'{"code":3,"message":"m","details":[{"@type":"x/y","z":1}]}'),
        ("application/json", b'{"code":3,"message":"m","details":"d"}'),
    ):
        (detail,) = (await answered(400, (("content-type", media),), body)).status.details
        raw = shop.parse("google.api.HttpBody", detail.value)
        assert (detail.type_url, raw.content_type, raw.data) == ("type.googleapis.com/google.api.HttpBody", media, body)


async def test_text_is_the_message_within_bounds() -> None:
    status = (await answered(500, (("content-type", "text/plain; charset=utf-8"),), b"boom\n")).status
    assert status.message == "boom"
    status = (await answered(500, (("content-type", "text/plain"),), b"x" * 90_000)).status
    assert len(status.message) < 3000
    assert len(status.details[0].value) < 5000


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("0", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("9" * 30, None), ("soon", None)]
)
async def test_retry_after_becomes_retry_info(value: str, seconds: int | None) -> None:
    reply = await answered(429, (*JSON, ("retry-after", value)), b'{"code":8,"message":"slow down"}')
    found = [error_details_pb2.RetryInfo.FromString(detail.value) for detail in reply.status.details]
    assert [one.retry_delay.seconds for one in found] == ([] if seconds is None else [seconds])
    assert reply.metadata.get(b"retry-after") == value.encode()


@pytest.mark.parametrize("status", [300, 302, 304, 101, 199])
async def test_redirects_and_interim_replies_are_told_plainly(status: int) -> None:
    with pytest.raises(BadUpstream, match=f"HTTP {status}") as caught:
        await answered(status, (("location", "http://169.254.169.254/"),))
    assert "169.254" not in caught.value.message
    assert caught.value.http_status == 502


async def test_an_error_in_a_broken_coding_is_still_an_error() -> None:
    reply = await answered(404, (*JSON, ("content-encoding", "gzip")), b"x")
    assert reply.status.code is Code.NOT_FOUND
    reply = await answered(404, (*JSON, ("content-encoding", "gzip")), gzip.compress(b'{"message":"m"}'))
    assert reply.status.message == "m"


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unprocessed("u"), UpstreamReset("r"), BadUpstream("b")])
async def test_failures_of_transport_propagate_as_they_are(error: GatewayError) -> None:
    with pytest.raises(type(error)) as caught:
        await send(shop.call("Plain"), Stream(refuse=error))
    assert caught.value is error


async def test_cancelling_a_call_cancels_its_request() -> None:
    stream = Stream(hang=True)
    task = asyncio.create_task(translator().send(shop.call("Plain"), Connection(stream)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.cancelled.is_set()


async def test_a_bidirectional_stream_is_refused_with_its_reason() -> None:
    call = Call(
        shop.METHODS["Sync"], shop.call("Plain").metadata, front_end="test", peer=shop.call("Plain").peer, started=0.0
    )
    with pytest.raises(NotOffered, match=r"Sync is a bidirectional stream.*HTTP/1\.1") as caught:
        await translator().send(call, Connection())
    assert caught.value.status.code is Code.UNIMPLEMENTED
