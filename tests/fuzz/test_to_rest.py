"""Whatever a client's message holds, the request made of it is one request, and means the same message."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from protogw_translators.to_rest_fields import Queries, cut
from protogw_translators.to_rest_reply import ReplyHead, error_status
from protogw_translators.to_rest_request import Request, Requests
from protogw_translators.to_rest_stream import records_of
from protogw_translators.to_rest_text import scan

from protogw.call import Encoding, Payload
from protogw.errors import GatewayError, InvalidRequest, Status
from protogw.wire.http import ResponseHead
from tests.support import shop


class Settings:
    base_path = ""
    queries = Queries()


REQUESTS = {name: Requests(shop.METHODS[name], Settings()) for name in ("Search", "GetItem", "Delete", "Files", "Put")}
LINE = re.compile(rb"(GET|PUT|DELETE) /[\x21-\x22\x24-\x7e]*")

numbers = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
filters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "text_value": st.text(),
        "int64_value": longs,
        "int32_value": numbers,
        "uint64_value": st.integers(0, 2**64 - 1),
        "sint64_value": longs,
        "sint32_value": numbers,
        "fixed64_value": st.integers(0, 2**64 - 1),
        "sfixed32_value": numbers,
        "double_value": st.floats(allow_nan=False),
        "float_value": st.floats(width=32, allow_nan=False),
        "bool_value": st.booleans(),
        "bytes_value": st.binary(),
        "state": st.integers(0, 5),
        "texts": st.lists(st.text()),
        "numbers": st.lists(numbers),
        "labels": st.dictionaries(st.text(alphabet="ab]=&%é"), st.text()),
        "inner": st.fixed_dictionaries({"deep_text": st.text(), "again": st.just({"number": 4})}),
        "at": st.fixed_dictionaries({"seconds": st.integers(0, 2**32), "nanos": st.integers(0, 999_999_999)}),
        "maybe": st.text(),
    },
)


def encoded(name: str, data: bytes) -> Request:
    request, _ = REQUESTS[name].encode(Payload(data, Encoding.PROTO, shop.METHODS[name].input.codec))
    return request


@given(filters)
def test_a_query_means_the_message_that_it_was_made_of(fields: dict[str, Any]) -> None:
    sent = shop.message("Filter", **fields)
    line = encoded("Search", sent.SerializeToString()).line
    assert LINE.fullmatch(line)
    tree: dict[str, Any] = {}
    for name, text in parse_qsl(
        line.partition(b"?")[2].decode(), keep_blank_values=True, strict_parsing=bool(b"?" in line)
    ):
        put(tree, name, text)
    read = json_format.ParseDict(tree, shop.message("Filter"))
    if "inner" in fields and not read.HasField("inner"):
        read.inner.SetInParent()
    assert read == sent


def put(tree: dict[str, Any], name: str, text: str) -> None:
    """One parameter into the JSON that means it."""
    bracket = name.find("[")
    if bracket >= 0:
        assert name.endswith("]")
        tree.setdefault(name[:bracket], {})[name[bracket + 1 : -1]] = text
        return
    *outer, leaf = name.split(".")
    for one in outer:
        tree = tree.setdefault(one, {})
    if leaf in ("texts", "numbers"):
        tree.setdefault(leaf, []).append(text)
    elif leaf == "boolValue":
        tree[leaf] = text == "true"
    elif leaf == "state" and text.isdigit():
        tree[leaf] = int(text)
    else:
        tree[leaf] = text


AROUND = {
    "GetItem": ("/v1/", ""),
    "Delete": ("/v1/items/", ""),
    "Files": ("/v1/files/", ""),
    "Put": ("/v1/", ":replace"),
}


@given(st.text())
@pytest.mark.parametrize("name", sorted(AROUND))
def test_no_value_leaves_its_place_in_the_path(name: str, text: str) -> None:
    field = "parent" if name == "Put" else "name"
    data = shop.message(shop.METHODS[name].input.name, **{field: text}).SerializeToString()
    refused = ""
    try:
        line = encoded(name, data).line
    except InvalidRequest as error:
        refused = error.message
    if refused:
        assert field in refused
        return
    assert LINE.fullmatch(line)
    path = line.partition(b" ")[2].decode()
    assert "?" not in path
    prefix, suffix = AROUND[name]
    assert path.startswith(prefix)
    assert path.endswith(suffix)
    inside = path[len(prefix) : len(path) - len(suffix)]
    segments = inside.split("/")
    if name in ("Delete", "Put"):
        assert len(segments) == 1
        assert unquote(inside) == text
    assert not any(unquote(segment) in ("", ".", "..") for segment in segments)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_never_do_harm(data: bytes) -> None:
    for name in ("Search", "Put", "Delete"):
        try:
            line = encoded(name, data).line
        except InvalidRequest:
            continue
        assert LINE.fullmatch(line)


@given(st.binary(max_size=80))
def test_scanning_accounts_for_every_byte(data: bytes) -> None:
    try:
        found = scan(data)
    except ValueError:
        return
    at = 0
    for _, _, start, end in found:
        assert start == at
        at = end
    assert at == len(data)
    assert cut(data, {}) == data
    assert cut(data, {number: {} for number, _, _, _ in found}) == b""


@given(
    st.lists(st.binary(max_size=30)),
    st.sampled_from([b"application/x-ndjson", b"text/event-stream", b"application/json"]),
)
def test_a_stream_of_anything_ends_or_fails(pieces: list[bytes], media: bytes) -> None:
    head = ReplyHead(ResponseHead(200, ((b"content-type", media),)))
    records = records_of(head, shop.SCHEMA.types["shop.v1.Item"], 100, raw=False)
    try:
        for piece in pieces:
            records.feed(piece)
        records.end()
    except GatewayError:
        pass


@given(
    st.binary() | st.from_regex(rb'\{"(error|code|message|details|status)":.*\}', fullmatch=True), st.integers(400, 599)
)
def test_an_error_of_anything_is_a_status(body: bytes, status: int) -> None:
    fields = ResponseHead(status, ((b"content-type", b"application/json"),))
    found = error_status(ReplyHead(fields), fields, body, b"GET", shop.SCHEMA.types)
    assert isinstance(found, Status)
    assert found.code
    assert found.message
