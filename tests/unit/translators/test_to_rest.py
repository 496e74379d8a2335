"""The translator to REST: what is sent, and what is made of whole replies."""

from __future__ import annotations

from typing import Any

import pytest
from protogw_translators import TRANSLATORS
from protogw_translators.to_rest import ToRest

from protogw.call import Encoding, Payload
from protogw.errors import InvalidRequest
from protogw.wire.http import RequestHead
from tests.support import shop
from tests.support.to_rest import line, refusal, send, translator
from tests.support.upstream import JSON, Connection, Stream


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
    assert stream.get("accept-encoding") == "gzip, br, zstd"


async def test_equal_metadata_of_other_peers_is_told_apart() -> None:
    translator_ = translator()
    first, second = shop.call("Plain"), shop.call("Plain")
    second.metadata = first.metadata
    second.peer = type(first.peer)("198.51.100.9", 1, tls=True)
    for call, host, proto in ((first, "192.0.2.7", "http"), (second, "198.51.100.9", "https")):
        stream = Stream(200, JSON, b"{}")
        await translator_.send(call, Connection(stream))
        assert (stream.get("x-forwarded-for"), stream.get("x-forwarded-proto")) == (host, proto)
