"""What the RPC front ends and the translator to gRPC cost a unary call, without the network.

"shared" calls have one head object, as HTTP/2 connections share it; "fresh" ones an equal head made anew, as when
each call writes another timeout.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvloop
from protogw_translators.to_grpc import ToGrpc

from benchmarks import shop
from protogw.call import Call, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.frontends.base import Bounds
from protogw.frontends.connect import Connect, ConnectSettings
from protogw.frontends.grpc import Grpc, GrpcSettings, GrpcWeb
from protogw.wire.envelope import envelope
from protogw.wire.http import HTTP_2, Answer, Header, Peer, RequestHead, ResponseHead

CALLS, ROUNDS = 50_000, 3
PATH = b"/shop.v1.Catalog/GetItem"
FIELDS: tuple[Header, ...] = (
    (b"te", b"trailers"),
    (b"user-agent", b"grpc-python/1.85 grpc-c/52"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    (b"authorization", b"Bearer xyz"),
    (b"connect-protocol-version", b"1"),
)
_PEER = Peer("127.0.0.1", 1)


class _Exchange:
    """The least an exchange can be; not slower than a real one."""

    __slots__ = ("_body", "call", "head", "peer", "started", "state")

    def __init__(self, head: RequestHead, body: bytes) -> None:
        self.head = head
        self.peer = _PEER
        self.call: Call | None = None
        self.state: object = None
        self.started = False
        self._body = body

    def buffered(self) -> bytes:
        return self._body

    def respond(self, status: int, headers: Any, body: bytes = b"", trailers: Any = ()) -> None:
        self.started = True


class _Stream:
    def __init__(self, answer: asyncio.Future[Answer]) -> None:
        self._answer = answer

    def whole(self, limit: int) -> asyncio.Future[Answer]:
        return self._answer


class _Connection:
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def open(self, head: bytes, body: bytes | None) -> _Stream:
        return self._stream


async def measure(name: str, front: Any, content_type: bytes, body: bytes, connection: Any, catalog: Catalog) -> None:
    front.offer(catalog)
    translator = ToGrpc("backend:1")

    async def handle(call: Call) -> Reply:
        call.deadline = call.started + 15
        return await translator.send(call, connection)

    for kind in ("shared", "fresh"):
        best = 1e9
        for _ in range(ROUNDS):
            fields = ((b"content-type", content_type), *FIELDS)
            head = RequestHead(b"POST", PATH, b"", b"a", fields, HTTP_2, content_type=content_type)
            started = time.process_time()
            for _ in range(CALLS):
                if kind == "fresh":
                    head.memo = None
                await front.serve(_Exchange(head, body), handle)
            best = min(best, (time.process_time() - started) / CALLS)
        print(f"{name:16} {kind:8} {best * 1e6:6.2f} µs a call")


async def main() -> None:
    catalog = Catalog.merge([load([shop.PROTO])])
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    head = ResponseHead(200, ((b"content-type", b"application/grpc"),))
    answer.set_result(Answer(head, shop.framed(shop.ITEM), ((b"grpc-status", b"0"),)))
    connection = _Connection(_Stream(answer))
    bounds = Bounds()
    framed = envelope(b"")
    rows: tuple[tuple[str, Any, bytes, bytes], ...] = (
        ("grpc", Grpc(GrpcSettings(), bounds), b"application/grpc", framed),
        ("grpc-web", GrpcWeb(GrpcSettings(), bounds), b"application/grpc-web+proto", framed),
        ("connect proto", Connect(ConnectSettings(), bounds), b"application/proto", b""),
        ("connect json", Connect(ConnectSettings(), bounds), b"application/json", b"{}"),
    )
    for name, front, content_type, body in rows:
        await measure(name, front, content_type, body, connection, catalog)


if __name__ == "__main__":
    uvloop.run(main())
