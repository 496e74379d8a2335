"""The translator to REST: what is sent, and what is made of whole replies."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import brotli
import pytest
from google.rpc import error_details_pb2
from protogw_translators import TRANSLATORS
from protogw_translators.to_rest import ToRest

from protogw.call import Call, Encoding, Payload, Reply
from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest, NotOffered, Unprocessed, UpstreamReset
from protogw.wire.http import RequestHead
from tests.support import shop
from tests.support.upstream import JSON, Connection, Stream

LIMIT = 100_000


def translator(**options: Any) -> ToRest:
    return ToRest("shop:80", message_limit=LIMIT, user_agent="gw/1", **options)


async def send(call: Call, stream: Stream | None = None, **options: Any) -> tuple[Stream, Reply]:
    stream = Stream(200, JSON, b"{}") if stream is None else stream
    reply = await translator(**options).send(call, Connection(stream))
    return stream, reply


async def line(name: str, /, **fields: Any) -> str:
    stream, _ = await send(shop.call(name, **fields))
    return stream.line


async def refusal(name: str, /, **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await send(shop.call(name, **fields))
    return caught.value.message


async def answered(status: int, fields: Any = JSON, body: bytes = b"", name: str = "GetItem") -> Reply:
    fill = {"name": "shops/1/items/2"} if name == "GetItem" else {"parent": "shops/1"}
    _, reply = await send(shop.call(name, **fill), Stream(status, fields, body))
    return reply


def test_it_is_in_the_table() -> None:
    assert TRANSLATORS["rest"] is ToRest
    assert (ToRest.kind, ToRest.transport, ToRest.default_schema) == ("rest", "http/1.1", "")


# --- paths ------------------------------------------------------------------------------------------------------------


async def test_a_variable_over_several_segments_keeps_its_slashes() -> None:
    assert await line("GetItem", name="shops/1/items/2") == "GET /v1/shops/1/items/2"
    assert await line("GetItem", name="shops/a b/items/ü?#") == "GET /v1/shops/a%20b/items/%C3%BC%3F%23"
    assert await line("Files", name="a/b/c d") == "GET /v1/files/a/b/c%20d"


async def test_a_variable_over_one_segment_encodes_everything_reserved() -> None:
    assert await line("Delete", name="a/b?c#d e%:@&=+") == "DELETE /v1/items/a%2Fb%3Fc%23d%20e%25%3A%40%26%3D%2B"


async def test_numbers_and_verbs_go_into_the_path() -> None:
    assert await line("GetById", int64_value=-5) == "GET /v1/items/-5"
    assert await line("GetById", int64_value=2**63 - 1) == "GET /v1/items/9223372036854775807"
    assert await line("Put", parent="p", request_id="r") == "PUT /v1/p:replace"


async def test_a_number_that_is_not_set_is_zero() -> None:
    assert await line("GetById") == "GET /v1/items/0"


async def test_a_nested_variable_is_found() -> None:
    assert await line("Update", item={"name": "shops/1/items/2"}) == "PATCH /v1/shops/1/items/2"


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "shops/../items/x",
        "shops/1/items/..",
        "shops//items/2",
        "shops/1",
        "x/1/items/2",
        "shops/1/items/",
    ],
)
async def test_a_path_that_escapes_its_template_is_refused_naming_the_field(value: str) -> None:
    assert "name" in await refusal("GetItem", name=value)


@pytest.mark.parametrize("value", ["", "..", ".", "a/..", "../x", "a\\b", "a\0b", "a/./b"])
async def test_a_segment_that_reads_as_another_path_is_refused(value: str) -> None:
    assert "name" in await refusal("Delete", name=value)


async def test_an_unset_variable_is_named_with_its_path() -> None:
    assert await refusal("GetItem") == ("name: it must be set, for it is part of the path /v1/{name=shops/*/items/*}")


async def test_the_first_rule_whose_path_fits_is_used() -> None:
    assert await line("Either", parent="shops/1") == "GET /v1/shops/1/either"
    assert await line("Either", parent="malls/1") == "GET /v1/malls/1/either"
    assert "parent" in await refusal("Either", parent="barns/1")


async def test_a_base_path_goes_before_every_path() -> None:
    for name, fields, want in (
        ("GetItem", {"name": "shops/1/items/2"}, "GET /api/v1/shops/1/items/2"),
        ("GetItem", {"name": "shops/1/items/ü"}, "GET /api/v1/shops/1/items/%C3%BC"),
        ("Search", {}, "GET /api/v1/search"),
        ("Plain", {}, "POST /api/shop.v1.Shop/Plain"),
    ):
        stream, _ = await send(shop.call(name, **fields), base_path="/api/")
        assert stream.line == want


# --- queries ----------------------------------------------------------------------------------------------------------


QUERIES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"text_value": "a b&c=d+ü"}, "textValue=a%20b%26c%3Dd%2B%C3%BC"),
    ({"int64_value": -(2**63)}, "int64Value=-9223372036854775808"),
    ({"int32_value": -1, "uint32_value": 2**32 - 1}, "int32Value=-1&uint32Value=4294967295"),
    ({"uint64_value": 2**64 - 1}, "uint64Value=18446744073709551615"),
    ({"sint64_value": -(2**63), "sint32_value": -(2**31)}, "sint64Value=-9223372036854775808&sint32Value=-2147483648"),
    ({"fixed64_value": 2**64 - 1, "sfixed64_value": -2}, "fixed64Value=18446744073709551615&sfixed64Value=-2"),
    ({"fixed32_value": 7, "sfixed32_value": -2}, "fixed32Value=7&sfixed32Value=-2"),
    ({"double_value": 0.1, "float_value": 0.1}, "doubleValue=0.1&floatValue=0.1"),
    ({"double_value": float("inf"), "float_value": float("-inf")}, "doubleValue=Infinity&floatValue=-Infinity"),
    ({"double_value": float("nan")}, "doubleValue=NaN"),
    ({"double_value": 5.0}, "doubleValue=5"),
    ({"bool_value": True}, "boolValue=true"),
    ({"bytes_value": b"\xfb\xff\xfe"}, "bytesValue=-__-"),
    ({"bytes_value": b"\xfb"}, "bytesValue=-w%3D%3D"),
    ({"state": "SOLD_OUT"}, "state=SOLD_OUT"),
    ({"state": 77}, "state=77"),
    ({"inner": {"deep_text": "x", "again": {"number": 3}}}, "inner.deepText=x&inner.again.number=3"),
    ({"texts": ["a", "", "b"]}, "texts=a&texts=&texts=b"),
    ({"numbers": [1, -1, 0]}, "numbers=1&numbers=-1&numbers=0"),
    ({"states": ["ACTIVE", "STATE_UNSPECIFIED"]}, "states=ACTIVE&states=STATE_UNSPECIFIED"),
    ({"doubles": [1.5, 2]}, "doubles=1.5&doubles=2"),
    ({"labels": {"k]": "v v"}}, "labels%5Bk%5D%5D=v%20v"),
    ({"state_of": {3: "ACTIVE"}}, "stateOf%5B3%5D=ACTIVE"),
    ({"at": {"seconds": 1, "nanos": 500_000_000}}, "at=1970-01-01T00%3A00%3A01.500Z"),
    ({"within": {"seconds": 3}}, "within=3s"),
    ({"mask": {"paths": ["a.b_c", "d"]}}, "mask=a.bC%2Cd"),
    ({"wrapped": {"value": 5}}, "wrapped=5"),
    ({"wrapped": {}}, "wrapped=0"),
    ({"wrapped_bytes": {"value": b"\xfb\xff\xfe"}}, "wrappedBytes=-__-"),
    ({"maybe": "", "maybe_number": 0}, "maybe=&maybeNumber=0"),
    ({"left": "x"}, "left=x"),
    ({"right": {"number": 2}}, "right.number=2"),
    ({"times": [{"seconds": 1}]}, "times=1970-01-01T00%3A00%3A01Z"),
]


@pytest.mark.parametrize(("fields", "query"), QUERIES, ids=[query or "empty" for _, query in QUERIES])
async def test_what_is_set_goes_into_the_query(fields: dict[str, Any], query: str) -> None:
    assert await line("Search", **fields) == "GET /v1/search" + (f"?{query}" if query else "")


async def test_query_names_may_be_the_protos() -> None:
    stream, _ = await send(shop.call("Search", text_value="a", inner={"deep_text": "b"}), query_names="proto")
    assert stream.line == "GET /v1/search?text_value=a&inner.deep_text=b"


async def test_fields_of_the_path_and_the_body_are_not_repeated_in_the_query() -> None:
    assert await line("GetById", int64_value=3, state="ACTIVE") == "GET /v1/items/3?state=ACTIVE"
    stream, _ = await send(shop.call("Create", parent="shops/1", item={"name": "n"}, request_id="r"))
    assert stream.line == "POST /v1/shops/1/items?requestId=r"
    assert stream.body == b'{"name":"n"}'


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"inners": [{"number": 1}]}, "inners"),
        ({"anything": {"a": 1}}, "anything"),
        ({"inner_of": {"k": {"number": 1}}}, "innerOf"),
    ],
)
async def test_what_no_query_can_hold_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    assert (await refusal("Search", **fields)).startswith(f"{name}: ")


async def test_the_last_of_a_oneof_and_of_a_singular_field_wins() -> None:
    call = shop.call("Search")
    assert call.payload is not None
    parts = ({"left": "x"}, {"right": {"number": 1}}, {"text_value": "a"}, {"text_value": "b"})
    call.payload.data = b"".join(shop.message("Filter", **part).SerializeToString() for part in parts)
    stream, _ = await send(call)
    assert stream.line == "GET /v1/search?textValue=b&right.number=1"
    call.payload.data += shop.message("Filter", left="y").SerializeToString() + b"\x0a\x00"
    stream, _ = await send(call)
    assert stream.line == "GET /v1/search?left=y"


async def test_a_message_given_in_pieces_is_merged() -> None:
    call = shop.call("Search")
    assert call.payload is not None
    parts = ({"inner": {"number": 1}}, {"inner": {"deep_text": "x"}})
    call.payload.data = b"".join(shop.message("Filter", **part).SerializeToString() for part in parts)
    stream, _ = await send(call)
    assert stream.line == "GET /v1/search?inner.number=1&inner.deepText=x"


async def test_unpacked_and_packed_elements_are_the_same() -> None:
    call = shop.call("Search")
    assert call.payload is not None
    call.payload.data = b"\x98\x01\x05" + b"\x9a\x01\x02\x06\x07"
    stream, _ = await send(call)
    assert stream.line == "GET /v1/search?numbers=5&numbers=6&numbers=7"


async def test_nesting_has_a_bound() -> None:
    inner: dict[str, Any] = {"number": 1}
    for _ in range(80):
        inner = {"again": inner}
    assert "nested too deeply" in await refusal("Search", inner=inner)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\xff\x01x", b"\x00", b"\x0a\x02\xff\xfe", b"\x0b", b"\x0c", b"\x62\x01x", b"\xff" * 12]
)
async def test_bytes_that_are_no_message_are_the_clients_fault(data: bytes) -> None:
    call = shop.call("Search")
    assert call.payload is not None
    call.payload.data = data
    with pytest.raises(InvalidRequest):
        await send(call)


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_a_method_without_rules_is_posted_under_its_name() -> None:
    stream, _ = await send(shop.call("Plain", name="n", price=2**60))
    assert stream.line == "POST /shop.v1.Shop/Plain"
    assert stream.body == b'{"name":"n","price":"1152921504606846976"}'
    assert stream.get("content-type") == "application/json"


async def test_json_that_needs_no_change_passes_untouched() -> None:
    call = shop.call("Plain")
    call.payload = Payload(b'{ "price": 12345678901234567890123, "odd": 1 }', Encoding.JSON, call.payload.codec)  # type: ignore[union-attr]
    stream, _ = await send(call)
    assert stream.body == b'{ "price": 12345678901234567890123, "odd": 1 }'


async def test_json_whose_fields_are_needed_is_read() -> None:
    call = shop.call("Put")
    assert call.payload is not None
    call.payload = Payload(b'{"parent":"p","request_id":"r"}', Encoding.JSON, call.payload.codec)
    stream, _ = await send(call)
    assert (stream.line, stream.body) == ("PUT /v1/p:replace", b'{"requestId":"r"}')
    call.payload = Payload(b'{"parent":"p","nope":1}', Encoding.JSON, call.payload.codec)
    with pytest.raises(InvalidRequest, match="nope"):
        await send(call)


async def test_what_the_path_holds_is_cut_from_a_whole_body() -> None:
    stream, _ = await send(shop.call("Put", parent="p", item={"name": "n"}))
    assert stream.body == b'{"item":{"name":"n"}}'
    stream, _ = await send(shop.call("PutNested", item={"name": "n", "price": 1}, request_id="r"))
    assert (stream.line, stream.body) == ("PUT /v1/nested/n", b'{"item":{"price":"1"},"requestId":"r"}')


async def test_a_body_field_that_is_not_set_is_an_empty_message() -> None:
    stream, _ = await send(shop.call("Create", parent="shops/1"))
    assert stream.body == b"{}"


async def test_a_method_without_a_body_sends_none() -> None:
    stream, _ = await send(shop.call("GetItem", name="shops/1/items/2"))
    assert stream.body == b""
    assert stream.get("content-type") is None


async def test_an_http_body_goes_raw_with_its_type() -> None:
    stream, _ = await send(shop.call("Upload", content_type="image/png", data=b"\x89PNG"))
    assert (stream.body, stream.get("content-type")) == (b"\x89PNG", "image/png")
    stream, _ = await send(
        shop.call("UploadTo", name="x", content={"content_type": "a/b", "data": b"\0"}), Stream(200, JSON, b"{}")
    )
    assert (stream.line, stream.body, stream.get("content-type")) == ("POST /v1/raw/x", b"\0", "a/b")


async def test_a_content_type_that_is_none_is_not_sent() -> None:
    for value in ("a\r\nx: y", "", "ü"):
        stream, _ = await send(shop.call("Upload", content_type=value, data=b"d"))
        assert stream.get("content-type") == "application/octet-stream"


# --- fields -----------------------------------------------------------------------------------------------------------


async def test_the_head_has_the_metadata_and_who_asks() -> None:
    call = shop.call("Plain", metadata=((b"authorization", b"s"), (b"x-a-bin", b"AP8")))
    stream, _ = await send(call)
    assert stream.fields == [
        ("host", "shop:80"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("authorization", "s"),
        ("x-a-bin", "AP8"),
        ("user-agent", "gw/1"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "http"),
    ]


async def test_who_asked_is_told_once_and_by_the_gateway_alone() -> None:
    call = shop.call("Plain", metadata=((b"x-forwarded-for", b"198.51.100.1"), (b"user-agent", b"curl")))
    stream, _ = await send(call)
    told = [value for name, value in stream.fields if name == "x-forwarded-for"]
    assert (told, stream.get("user-agent")) == ([call.peer.host], "curl")


async def test_the_clients_host_is_told_as_forwarded() -> None:
    call = shop.call("Plain")
    call.head = RequestHead(b"POST", b"/", b"", b"www.example.com", (), 20)
    stream, _ = await send(call)
    assert (stream.get("host"), stream.get("x-forwarded-host")) == ("shop:80", "www.example.com")


async def test_fields_of_one_hop_and_conditions_stay_behind() -> None:
    names = (b"connection", b"te", b"upgrade", b"host", b"content-length", b"if-none-match", b"range", b"accept")
    stream, _ = await send(shop.call("Plain", metadata=tuple((name, b"x") for name in names)))
    assert [name for name, value in stream.fields if value == "x"] == []


async def test_a_value_cannot_start_a_field() -> None:
    stream, _ = await send(shop.call("Plain", metadata=((b"x-a", b"1\r\nx-evil: 1"),)))
    assert stream.get("x-evil") is None


async def test_compressed_replies_are_asked_for_only_where_wanted() -> None:
    stream, _ = await send(shop.call("Plain"))
    assert stream.get("accept-encoding") is None
    stream, _ = await send(shop.call("Plain"), compression=True)
    assert stream.get("accept-encoding") == "gzip, br"


async def test_equal_metadata_of_other_peers_is_told_apart() -> None:
    translator_ = translator()
    first, second = shop.call("Plain"), shop.call("Plain")
    second.metadata = first.metadata
    second.peer = type(first.peer)("198.51.100.9", 1, tls=True)
    for call, host, proto in ((first, "192.0.2.7", "http"), (second, "198.51.100.9", "https")):
        stream = Stream(200, JSON, b"{}")
        await translator_.send(call, Connection(stream))
        assert (stream.get("x-forwarded-for"), stream.get("x-forwarded-proto")) == (host, proto)


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
    ("coding", "encode"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("br", brotli.compress)]
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
        ("zstd", b"x"),
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
