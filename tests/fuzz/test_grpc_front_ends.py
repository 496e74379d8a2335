"""Whatever a gRPC or gRPC-Web client sends, it gets one whole, well-formed answer, and the gateway keeps its wits."""

from __future__ import annotations

import asyncio
import base64
import gzip

from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.errors import Code
from protogw.frontends.base import Bounds
from protogw.frontends.grpc import Grpc, GrpcSettings, GrpcWeb
from protogw.wire.envelope import envelope
from protogw.wire.grpc_web import TextReader
from tests.support import kit, rpc
from tests.support.rpc import Exchange, Service

LIMIT = 2000
GOOD = kit.message("q").SerializeToString()

FRAMES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            envelope(GOOD),
            envelope(gzip.compress(GOOD), 1),
            envelope(gzip.compress(bytes(LIMIT * 2)), 1),
            envelope(b"{}"),
            envelope(b"", 0x80),
            b"\0\xff\xff\xff\xff",
        ]
    ),
    st.builds(envelope, st.binary(max_size=20), st.integers(0, 255)),
)
PIECES = st.lists(FRAMES, max_size=4)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=12)
FIELDS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "content-encoding", "accept"]),
            st.one_of(
                VALUES, st.sampled_from(["1S", "0n", "gzip", "identity", "identity,gzip", "application/grpc-web-text"])
            ),
        ),
        st.tuples(st.sampled_from(["x-a", "x-b-bin", "connection", "content-type", "grpc-x", "trailer-y"]), VALUES),
    ),
    max_size=5,
)
PATHS = st.sampled_from([f"/kit.v1.Echo/{name}" for name in ("Unary", "Down", "Up", "Chat", "Nothing")] + ["/", "*"])
REPLIES = st.sampled_from(["one", "many", "error"])


def service(reply: str) -> Service:
    if reply == "one":
        return Service(rpc.one("answer", metadata=[("x-lead", "a")], trailers=[("x-trail", "t")]))
    if reply == "many":
        return Service(rpc.many("a", "b"))
    return Service(rpc.many("a", error=rpc.UpstreamReset("gone")))


def run(front: Grpc | GrpcWeb, exchange: Exchange, reply: str) -> Exchange:
    front.offer(rpc.CATALOG)
    return asyncio.run(rpc.serve(front, exchange, service(reply)))


def check_frames(body: bytes) -> list[bytes]:
    """The flags of each envelope; the body is nothing but whole envelopes."""
    flags = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size
        flags.append(body[:1])
        body = body[5 + size :]
    return flags


@given(
    PATHS,
    st.sampled_from(["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc+x"]),
    FIELDS,
    PIECES,
    st.booleans(),
    st.sampled_from([10, 11, 20]),
    st.sampled_from(["POST", "GET"]),
    REPLIES,
)
@settings(max_examples=150)
def test_grpc(
    path: str,
    content_type: str,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    buffered: bool,
    version: int,
    method: str,
    reply: str,
) -> None:
    head = rpc.head(path, content_type, *fields, version=version, method=method)
    exchange = Exchange(head, b"".join(pieces), None if buffered else [piece for piece in pieces if piece])
    run(Grpc(GrpcSettings(), Bounds(body=LIMIT)), exchange, reply)
    assert exchange.ended
    if exchange.status != 200:
        assert exchange.status in (405, 415, 505)
        assert exchange.get("grpc-status") is None
        return
    status = exchange.get("grpc-status") if not exchange.trailers else exchange.trailer("grpc-status")
    assert status is not None
    assert int(status) in set(Code)
    assert set(check_frames(exchange.body)) <= {b"\0", b"\1"}


@given(
    PATHS,
    st.sampled_from(["application/grpc-web", "application/grpc-web+json", "application/grpc-web-text"]),
    FIELDS,
    PIECES,
    st.booleans(),
    st.booleans(),
    st.sampled_from([11, 20]),
    REPLIES,
)
@settings(max_examples=150)
def test_grpc_web(
    path: str,
    content_type: str,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    encode: bool,
    buffered: bool,
    version: int,
    reply: str,
) -> None:
    if encode and content_type.endswith("text"):
        pieces = [base64.b64encode(piece) for piece in pieces]
    head = rpc.head(path, content_type, *fields, version=version)
    exchange = Exchange(head, b"".join(pieces), None if buffered else [piece for piece in pieces if piece])
    run(GrpcWeb(GrpcSettings(), Bounds(body=LIMIT)), exchange, reply)
    assert exchange.ended
    if exchange.status != 200:
        assert exchange.status in (405, 415, 505)
        return
    assert exchange.trailers == ()
    if exchange.get("grpc-status") is not None:
        assert exchange.body == b""
        return
    body = exchange.body
    if "text" in (exchange.get("content-type") or ""):
        reader = TextReader()
        body = reader.feed(body)
        reader.end()
    *messages, last = check_frames(body)
    assert last == b"\x80"
    assert set(messages) <= {b"\0", b"\1"}
