"""Whatever a Connect client sends, it gets one whole, well-formed answer, and the gateway keeps its wits."""

from __future__ import annotations

import asyncio
import gzip
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.frontends.base import Bounds
from protogw.frontends.connect import Connect, ConnectSettings
from protogw.wire.connect import CODE_NAMES
from protogw.wire.envelope import envelope
from tests.support import kit, rpc
from tests.support.rpc import Exchange, Service

LIMIT = 2000
GOOD = kit.message("q").SerializeToString()
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=12)
FIELDS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(
                [
                    "connect-timeout-ms",
                    "connect-protocol-version",
                    "content-encoding",
                    "accept-encoding",
                    "connect-content-encoding",
                    "connect-accept-encoding",
                ]
            ),
            st.one_of(VALUES, st.sampled_from(["1", "0", "1000", "gzip", "br", "identity", "gzip, br"])),
        ),
        st.tuples(st.sampled_from(["x-a", "x-b-bin", "connection", "content-type", "trailer-y"]), VALUES),
    ),
    max_size=5,
)
PATHS = st.sampled_from([f"/kit.v1.Echo/{name}" for name in ("Unary", "Look", "Down", "Up", "Chat", "Nothing")])
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                GOOD,
                b"{}",
                gzip.compress(GOOD),
                gzip.compress(bytes(LIMIT * 2)),
                envelope(GOOD),
                envelope(b"{}"),
                envelope(gzip.compress(GOOD), 1),
                envelope(b"{}", 2),
                b"\0\xff\xff\xff\xff",
            ]
        ),
    ),
    max_size=4,
)


class Converts(Service):
    """Reads every message of the request, as a translator would."""

    async def __call__(self, call: rpc.Call) -> rpc.Reply:
        method = call.method
        self.answer = (
            rpc.many("a", "b", trailers=[("x-trail", "t")])
            if method is not None and method.server_streaming
            else rpc.one("answer", metadata=[("x-lead", "a")], trailers=[("x-trail", "t")])
        )
        reply = await super().__call__(call)
        for payload in self.received:
            payload.proto()
        return reply


def check(exchange: Exchange) -> None:
    assert exchange.ended
    assert exchange.trailers == ()
    content_type = exchange.get("content-type") or ""
    body = exchange.body
    if exchange.status != 200:
        assert content_type == "application/json"
        assert json.loads(body)["code"] in CODE_NAMES.values()
    elif content_type.startswith("application/connect+"):
        flags = []
        while body:
            size = int.from_bytes(body[1:5], "big")
            assert len(body) >= 5 + size
            flags.append(body[0])
            last, body = body[5 : 5 + size], body[5 + size :]
        assert flags[-1] == 2
        assert set(flags[:-1]) <= {0, 1}
        assert set(json.loads(last)) <= {"error", "metadata"}


@given(
    PATHS,
    st.sampled_from(
        [
            "application/json",
            "application/proto",
            "application/x",
            "application/connect+json",
            "application/connect+proto",
            "application/connect+x",
        ]
    ),
    FIELDS,
    PIECES,
    st.booleans(),
    st.sampled_from([11, 20]),
    st.sampled_from(["POST", "PUT"]),
)
@settings(max_examples=200)
def test_post(
    path: str,
    content_type: str,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    buffered: bool,
    version: int,
    method: str,
) -> None:
    head = rpc.head(path, content_type, *fields, ("connect-protocol-version", "1"), version=version, method=method)
    exchange = Exchange(head, b"".join(pieces), None if buffered else [piece for piece in pieces if piece])
    front = Connect(ConnectSettings(), Bounds(body=LIMIT))
    front.offer(rpc.CATALOG)
    check(asyncio.run(rpc.serve(front, exchange, Converts())))


QUERIES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "encoding=json",
                "encoding=proto",
                "message=%7B%7D",
                "message=e30",
                "base64=1",
                "compression=gzip",
                "&",
                "x=1",
            ]
        ),
        st.builds(
            "{}={}".format,
            st.sampled_from(["encoding", "message", "base64", "compression", "x"]),
            st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=10),
        ),
    ),
    max_size=6,
)


@given(PATHS, QUERIES, FIELDS)
@settings(max_examples=200)
def test_get(path: str, query: list[str], fields: list[tuple[str, str]]) -> None:
    # A field of that name would make it another protocol's request.
    fields = [field for field in fields if field[0] != "content-type"]
    head = rpc.head(f"{path}?{'&'.join([*query, 'connect=v1'])}", "", *fields, method="GET", version=11)
    front = Connect(ConnectSettings(), Bounds(body=LIMIT))
    front.offer(rpc.CATALOG)
    check(asyncio.run(rpc.serve(front, Exchange(head), Converts())))
