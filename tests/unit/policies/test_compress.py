"""Compression of plain HTTP's replies: which, how, and what their fields say then."""

from __future__ import annotations

import gzip
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Payload, Reply
from protogw.policies.compress import Compress, CompressSettings
from protogw.wire.content import CODINGS, decoder, decompress, encoder
from protogw.wire.http import Header, ResponseHead
from tests.support.policies import Stream, call

TEXT = b"the same words again and again " * 200
HTML: Header = (b"content-type", b"text/html; charset=utf-8")


def compress(**settings: Any) -> Compress:
    return Compress(CompressSettings.model_validate(settings))


async def answered(
    policy: Compress, accept: bytes = b"gzip", *, status: int = 200, fields: tuple[Header, ...] = (HTML,), **rest: Any
) -> Reply:
    body = rest.pop("body", TEXT)

    async def service(_: Call) -> Reply:
        return Reply(head=ResponseHead(status, fields), payload=Payload(body, Encoding.RAW))

    wanted = ((b"accept-encoding", accept),) if accept else ()
    return await policy(call(verb=rest.pop("verb", b"GET"), fields=wanted), service)


def said(reply: Reply, name: bytes) -> list[bytes]:
    assert reply.head is not None
    return [value for one, value in reply.head.headers if one == name]


def body(reply: Reply) -> bytes:
    assert reply.payload is not None
    return reply.payload.data


async def test_a_reply_is_compressed_for_a_client_that_accepts_it() -> None:
    reply = await answered(compress(), b"gzip")
    assert gzip.decompress(body(reply)) == TEXT
    assert (said(reply, b"content-encoding"), said(reply, b"vary")) == ([b"gzip"], [b"accept-encoding"])
    reply = await answered(compress(), b"gzip, br")
    assert brotli.decompress(body(reply)) == TEXT
    assert said(reply, b"content-encoding") == [b"br"]
    reply = await answered(compress(), b"gzip, br, zstd")
    assert decompress(body(reply), b"zstd", 10_000) == TEXT
    assert said(reply, b"content-encoding") == [b"zstd"]


@pytest.mark.parametrize("accept", [b"", b"identity", b"gzip;q=0", b"deflate", b"br;q=0, gzip;q=0", b"garbage;;q"])
async def test_a_client_that_does_not_accept_it_gets_the_same_bytes_and_caches_are_told(accept: bytes) -> None:
    reply = await answered(compress(), accept)
    assert body(reply) == TEXT
    assert (said(reply, b"content-encoding"), said(reply, b"vary")) == ([], [b"accept-encoding"])


@pytest.mark.parametrize(
    ("fields", "status", "verb", "data"),
    [
        ((HTML, (b"content-encoding", b"br")), 200, b"GET", TEXT),
        ((HTML, (b"cache-control", b"max-age=1, No-Transform")), 200, b"GET", TEXT),
        (((b"content-type", b"image/png"),), 200, b"GET", TEXT),
        (((b"content-type", b"text"),), 200, b"GET", TEXT),
        ((), 200, b"GET", TEXT),
        ((HTML,), 206, b"GET", TEXT),
        (((b"content-type", b"image/png"),), 304, b"GET", b""),
        ((HTML,), 200, b"HEAD", b""),
        ((HTML,), 200, b"GET", TEXT[:1000]),
    ],
    ids=["encoded", "no-transform", "image", "no type", "untyped", "part", "an image not modified", "HEAD", "small"],
)
async def test_what_is_left_as_it_is(fields: tuple[Header, ...], status: int, verb: bytes, data: bytes) -> None:
    reply = await answered(compress(), status=status, fields=fields, verb=verb, body=data)
    assert reply.head is not None
    assert (body(reply), reply.head.headers) == (data, fields)


async def test_fields_about_the_bytes_do_not_outlive_them() -> None:
    fields = (
        HTML,
        (b"content-length", b"6200"),
        (b"etag", b'"a"'),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:x:"),
        (b"vary", b"Origin, Accept-Encoding"),
    )
    reply = await answered(compress(), fields=fields)
    assert said(reply, b"etag") == [b'W/"a"']
    assert said(reply, b"vary") == [b"Origin, Accept-Encoding"]
    for gone in (b"content-length", b"accept-ranges", b"repr-digest"):
        assert not said(reply, gone)
    reply = await answered(compress(), b"", fields=fields)
    assert said(reply, b"etag") == [b'"a"']
    assert said(reply, b"content-length") == [b"6200"]


@pytest.mark.parametrize(
    ("held", "etag"),
    [(b'W/"a"', b'W/"a"'), (b'"b", W/"a"', b'W/"a"'), (b'"a"', b'"a"'), (b'W/"b"', b'"a"'), (b"*", b'"a"')],
)
async def test_an_answer_that_still_holds_has_the_etag_that_its_client_knows(held: bytes, etag: bytes) -> None:
    """Of a 304 with a strong ETag no cache takes that the weak one it has holds on (RFC 9111 section 4.3.4)."""

    async def service(_: Call) -> Reply:
        return Reply(head=ResponseHead(304, ((b"etag", b'"a"'),)), payload=Payload(b"", Encoding.RAW))

    fields = ((b"accept-encoding", b"gzip"), (b"if-none-match", held))
    reply = await compress()(call(verb=b"GET", fields=fields), service)
    assert (said(reply, b"etag"), said(reply, b"vary"), body(reply)) == ([etag], [b"accept-encoding"], b"")
    assert said(reply, b"content-encoding") == []


async def test_the_config_chooses_types_codings_and_sizes() -> None:
    policy = compress(types="application/*+json", codings="gzip", min_bytes=10, gzip_level=9)
    fields: tuple[Header, ...] = ((b"content-type", b"Application/Problem+JSON"),)
    reply = await answered(policy, b"br, gzip", fields=fields, body=TEXT[:100])
    assert gzip.decompress(body(reply)) == TEXT[:100]
    assert not said(await answered(policy), b"content-encoding")


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_piece_of_a_stream_can_be_read_when_it_has_come(coding: bytes) -> None:
    stream = Stream()

    async def service(_: Call) -> Reply:
        return Reply(head=ResponseHead(200, ((b"content-type", b"text/event-stream"),)), payloads=stream.messages())

    reply = await compress()(call(verb=b"GET", fields=((b"accept-encoding", coding),)), service)
    assert reply.payloads is not None
    reader = decoder(coding)
    assert reader is not None
    for number in range(3):
        event = b"data: %d\n\n" % number
        stream.give(event)
        piece = (await anext(reply.payloads)).data
        assert reader.decode(piece, 1000) == event
    stream.end()
    last = (await anext(reply.payloads)).data
    assert reader.decode(last, 1000) == b""
    with pytest.raises(StopAsyncIteration):
        await anext(reply.payloads)
    reader.end()


async def test_a_stream_that_nobody_reads_on_is_let_go() -> None:
    stream = Stream()
    stream.give(b"x")

    async def service(_: Call) -> Reply:
        return Reply(head=ResponseHead(200, (HTML,)), payloads=stream.messages())

    reply = await compress()(call(verb=b"GET", fields=((b"accept-encoding", b"gzip"),)), service)
    assert reply.payloads is not None
    await anext(reply.payloads)
    await reply.payloads.aclose()  # type: ignore[attr-defined]
    assert stream.closed


async def test_messages_are_left_to_their_front_end() -> None:
    payload = Payload(TEXT, Encoding.JSON)

    async def service(_: Call) -> Reply:
        return Reply(payload=payload)

    assert (await compress()(call(fields=((b"accept-encoding", b"gzip"),)), service)).payload is payload


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(CODINGS), st.integers(1, 9))
def test_what_is_encoded_piece_by_piece_decodes_to_the_same(pieces: list[bytes], coding: bytes, level: int) -> None:
    writer = encoder(coding, level)
    encoded = b"".join([writer.encode(piece) for piece in pieces]) + writer.end()
    assert decompress(encoded, coding, 1 << 20) == b"".join(pieces)
