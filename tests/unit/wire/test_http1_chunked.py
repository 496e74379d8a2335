"""The chunked coding: bodies come out whole however they are cut, and nothing outside the grammar passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BadUpstream, GatewayError, InvalidRequest
from protogw.wire.http import Header
from protogw.wire.http1_chunked import (
    EXTENSION_BYTES,
    TRAILER_BYTES,
    ChunkedDecoder,
    encode_chunk,
    encode_fields,
    encode_last_chunk,
)


def decode(*pieces: bytes) -> tuple[bytes, tuple[Header, ...], bytes, bool]:
    decoder = ChunkedDecoder(InvalidRequest)
    body: list[bytes] = []
    rest = b""
    for piece in pieces:
        rest = rest + piece if decoder.done else decoder.feed(piece, body)
    return b"".join(body), decoder.trailers, rest, decoder.done


def test_a_body_is_joined_and_what_follows_is_left() -> None:
    assert decode(b"5\r\nhello\r\n00A;x=y\r\n 0123 456\n\r\n0\r\n\r\nGET") == (b"hello 0123 456\n", (), b"GET", True)


def test_trailers_are_read_without_those_that_name_framing_routing_or_credentials() -> None:
    body, trailers, rest, done = decode(
        b"0\r\nX-Sum: 1 \r\nContent-Length: 5\r\nHost: a\r\nAuthorization: b\r\nX-Forwarded-For: c\r\nY:\r\n\r\nZ"
    )
    assert (body, trailers, rest, done) == (b"", ((b"x-sum", b"1"), (b"y", b"")), b"Z", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0_5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"3\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;\nx\r\nhello\r\n0\r\n\r\n",
        b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n" + b"x: 1\r\n" * 65 + b"\r\n",
        b"0\r\nx: " + b"y" * TRAILER_BYTES,
        b"5;" + b"a" * (EXTENSION_BYTES + 40),
        b"5;" + b"a" * (EXTENSION_BYTES + 1) + b"\r\nhello\r\n0\r\n\r\n",
        (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 20,
    ],
)
def test_what_breaks_the_coding_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(raw)
    with pytest.raises(InvalidRequest):
        decode(*(raw[i : i + 1] for i in range(len(raw))))


def test_signed_chunks_may_carry_an_extension_each() -> None:
    chunk = b"400;chunk-signature=" + b"a" * 64 + b"\r\n" + b"x" * 1024 + b"\r\n"
    assert len(decode(chunk * 200 + b"0\r\n\r\n")[0]) == 200 * 1024


def test_the_fault_is_of_the_side_that_sent_it() -> None:
    with pytest.raises(BadUpstream):
        ChunkedDecoder(BadUpstream).feed(b"x", [])


def test_chunks_and_trailers_are_written() -> None:
    assert encode_chunk(b"") == b""
    assert encode_chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert encode_last_chunk() == b"0\r\n\r\n"
    assert encode_last_chunk([(b"a", b"b"), (b"c", b"d")]) == b"0\r\na: b\r\nc: d\r\n\r\n"


@given(st.lists(st.tuples(st.binary(), st.binary()), max_size=5))
def test_no_value_begins_a_line_of_its_own(fields: list[Header]) -> None:
    block = encode_fields(fields)
    assert block.count(b"\n") == block.count(b"\r") == block.count(b"\r\n") == len(fields)
    assert b"\0" not in block


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 400), max_size=10),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n"]),
)
def test_a_body_is_the_same_however_it_is_cut(chunks: list[bytes], places: list[int], rest: bytes) -> None:
    raw = b"".join(map(encode_chunk, chunks)) + encode_last_chunk([(b"x-t", b"1")]) + rest
    pieces, start = [], 0
    for end in sorted({place % (len(raw) + 1) for place in places} | {len(raw)}):
        pieces.append(raw[start:end])
        start = end
    assert decode(*pieces) == (b"".join(chunks), ((b"x-t", b"1"),), rest, True)


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"5\r\n", b"0\r\n", b"\r\n", b";a"])), max_size=8))
def test_random_bytes_have_one_verdict(pieces: list[bytes]) -> None:
    def verdict(parts: list[bytes]) -> object:
        try:
            return decode(*parts)
        except GatewayError:
            return "refused"

    whole = verdict([b"".join(pieces)])
    single = verdict([bytes((byte,)) for byte in b"".join(pieces)])
    assert verdict(pieces) == single == whole
