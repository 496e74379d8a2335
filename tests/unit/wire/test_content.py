from __future__ import annotations

import random
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from protogw.wire.content import (
    CODINGS,
    MediaType,
    choose_coding,
    choose_type,
    compress,
    decoder,
    decompress,
    media_type,
)

OFFERS = (b"application/json", b"text/event-stream", b"application/x-ndjson")


def gzip(data: bytes) -> bytes:
    return zlib.compress(data, wbits=31)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"application/json", MediaType(b"application/json", b"")),
        (b' Application/JSON ; Charset="UTF-8"', MediaType(b"application/json", b"utf-8")),
        (b"text/plain;format=flowed;charset=latin1", MediaType(b"text/plain", b"latin1")),
        (b";", MediaType(b"", b"")),
        (b"", MediaType(b"", b"")),
    ],
)
def test_a_media_type_is_read(value: bytes, expected: MediaType) -> None:
    assert media_type(value) == expected


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, b"application/json"),
        (b"", b"application/json"),
        (b"*/*", b"application/json"),
        (b"text/event-stream", b"text/event-stream"),
        (b"text/*", b"text/event-stream"),
        (b"TEXT/Event-Stream", b"text/event-stream"),
        (b"application/json;q=0.5, application/x-ndjson", b"application/x-ndjson"),
        (b"application/*;q=0.9, application/json;q=0.1, text/*;q=0.5", b"application/x-ndjson"),
        (b"*/*;q=0.1, application/json;q=0", b"text/event-stream"),
        (b"text/html, application/xhtml+xml, */*;q=0.8", b"application/json"),
        (b"text/html", None),
        (b"application/json;q=0", None),
        (b"application/json;q=abc", None),
        (b"application/json;q=1.5", None),
        (b",,;q=1,", None),
    ],
)
def test_the_most_wanted_offer_is_chosen(accept: bytes | None, chosen: bytes | None) -> None:
    assert choose_type(accept, OFFERS) == chosen


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (None, b""),
        (b"", b""),
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br", b"br"),
        (b"br;q=0.5, gzip;q=0.8", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"*", b"zstd"),
        (b"zstd;q=0, br;q=0, *;q=0.1", b"gzip"),
        (b"br;q=0, zstd;q=0, *", b"gzip"),
        (b"gzip, deflate, br, zstd", b"zstd"),
        (b"gzip, zstd;q=0.9", b"gzip"),
        (b"zstd;q=0, br;q=0.5", b"br"),
        (b"gzip;q=0", b""),
        (b"identity, gzip;q=0.5", b""),
        (b"identity;q=0.5, gzip", b"gzip"),
        (b"compress, deflate", b""),
    ],
)
def test_a_coding_is_chosen_by_its_weight(accept_encoding: bytes | None, coding: bytes) -> None:
    assert choose_coding(accept_encoding) == coding


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=300), cut=st.integers(1, 50), room=st.integers(1, 64))
def test_what_is_compressed_is_decoded_in_any_pieces(coding: bytes, data: bytes, cut: int, room: int) -> None:
    encoded = compress(data, coding)
    assert decompress(encoded, coding, 300) == data
    inner = decoder(coding)
    assert inner is not None
    out = b""
    for at in range(0, len(encoded), cut):
        out += inner.decode(encoded[at : at + cut], room)
        while inner.pending:
            out += inner.decode(b"", room)
    inner.end()
    assert out == data


@pytest.mark.parametrize("coding", [b"", b"identity", b" Identity "])
def test_identity_is_left_alone(coding: bytes) -> None:
    assert decompress(b"abc", coding, 1) == b"abc"


@pytest.mark.parametrize("coding", [b"deflate", b"lz4", b"gzip, gzip", b"br, gzip", b"x" * 5_000])
def test_other_codings_are_refused_with_those_offered(coding: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as raised:
        decompress(b"abc", coding, 10)
    assert raised.value.headers == ((b"accept-encoding", b"zstd, br, gzip"),)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", b"not gzip at all"),
        (b"gzip", gzip(b"hello")[:-1]),
        (b"gzip", gzip(b"hello")[:5]),
        (b"gzip", gzip(b"hello") + b"junk"),
        (b"gzip", gzip(b"") * 9),
        (b"gzip", gzip(b"hello")[:-8] + b"\0" * 8),
        (b"br", b"not brotli \xff\xff"),
        (b"br", brotli.compress(b"hello" * 100)[:-2]),
        (b"br", brotli.compress(b"hello") + b"junk"),
        (b"zstd", b"not zstd \xff\xff"),
        (b"zstd", compress(b"hello" * 100, b"zstd")[:-2]),
        (b"zstd", compress(b"hello", b"zstd") + b"junk"),
    ],
)
def test_a_broken_body_is_refused(coding: bytes, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decompress(body, coding, 10_000)


def test_gzip_members_are_one_body() -> None:
    assert decompress(gzip(b"hel") + gzip(b"") + gzip(b"lo"), b"gzip", 5) == b"hello"


@pytest.mark.parametrize("coding", CODINGS)
def test_the_limit_is_exact(coding: bytes) -> None:
    body = compress(b"x" * 1_000, coding)
    assert len(decompress(body, coding, 1_000)) == 1_000
    with pytest.raises(BodyTooLarge):
        decompress(body, coding, 999)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_stops_at_the_limit_and_holds_no_more(coding: bytes) -> None:
    bomb = compress(b"0" * (32 << 20), coding)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decompress(bomb, coding, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("room", [1 << 16, 1 << 20])
@pytest.mark.parametrize("data", [bytes(3 << 20), random.Random(1).randbytes(1 << 20)], ids=["zeros", "noise"])
def test_much_more_than_there_is_room_for_comes_out_whole(coding: bytes, room: int, data: bytes) -> None:
    """brotli says that it could take more input while most of what the input made is still inside."""
    inner = decoder(coding)
    assert inner is not None
    out = [inner.decode(compress(data, coding), room)]
    while inner.pending:
        out.append(inner.decode(b"", room))
    inner.end()
    assert b"".join(out) == data
    assert max(map(len, out)) <= 2 * room
