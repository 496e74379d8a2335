"""Whatever a client sends, the REST front end answers it: with the method's reply or a well-formed error."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from protogw.frontends.base import Bounds
from protogw.frontends.rest.bindings import Binding
from protogw.wire.http import HTTP_1_1, HTTP_2, Peer, RequestHead
from tests.support.rest import Exchange, Service, ask, front

REST = front(Bounds(body=500))
ANSWERS = {200, 204, 400, 404, 405, 406, 413, 415}

_verbs = st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"PURGE", b"FOO"])
_pieces = st.sampled_from(
    (
        rb"/ v1 things 1 :watch :import shelves files %2F %2e . % %ff x raw tags inner parts rest.v1.Things Chat Plain"
        rb" ; \ %00 content"
    ).split()
)
_paths = st.one_of(
    st.sampled_from(
        b"/v1/things /v1/things/7 /v1/things/7/tags /v1/things/7/inner /v1/raw /v1/things:watch /v1/parts/n"
        b" /v1/shelves/s/things:import /rest.v1.Things/Chat /rest.v1.Things/Plain".split()
    ),
    st.lists(_pieces, max_size=8).map(lambda parts: b"/" + b"".join(parts)),
)
_queries = st.lists(
    st.sampled_from(
        [b"id=1", b"name=x", b"inner.count=2", b"counts[a]=1", b"&", b"=", b"%zz", b"tags=a", b"+", b"[", b"at=x"]
    ),
    max_size=4,
).map(b"&".join)
_bodies = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"{}", b'{"id":1}', b'[{"id":1},{"id":2}]', b'{"id":1}\n{"id":2}\n', b"[", b'"x"', b"{}" * 400]
    ),
)
_fields = st.dictionaries(
    st.sampled_from([b"accept", b"content-encoding", b"accept-encoding", b"grpc-timeout", b"te", b"x-server-timeout"]),
    st.sampled_from(
        [b"gzip", b"br", b"*/*", b"application/json", b"text/event-stream", b"trailers", b"1S", b";q=", b"2"]
    )
    | st.binary(max_size=12),
    max_size=3,
)
_types = st.sampled_from(
    [b"", b"application/json", b"application/x-ndjson", b"application/x-protobuf", b"text/plain", b"a/b;charset=x"]
)


@given(_verbs, _paths, _queries, _bodies, _fields, _types, st.booleans(), st.integers(1, 70))
def test_every_request_is_answered(
    verb: bytes,
    path: bytes,
    query: bytes,
    body: bytes,
    fields: dict[bytes, bytes],
    content_type: bytes,
    buffered: bool,
    cut: int,
) -> None:
    version = HTTP_1_1 if buffered else HTTP_2
    head = RequestHead(verb, path, query, b"api.test", tuple(fields.items()), version, b"http", content_type)
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    exchange = Exchange(head, body) if buffered else Exchange(head, pieces=pieces)
    exchange.peer = Peer("192.0.2.7", 40000)
    asyncio.run(_answered(exchange))
    assert exchange.ended
    if exchange.status == 404 and not exchange.headers:
        return
    assert exchange.status in ANSWERS, (exchange.status, exchange.body)
    if exchange.status >= 400 and verb != b"HEAD":
        assert set(json.loads(exchange.body)) == {"code", "message", "details"}


async def _answered(exchange: Exchange) -> None:
    """A service streams exactly where its method says so."""
    found = REST._table.find(exchange.head.method, exchange.head.path)
    binding = found.found if found is not None else None
    streams = isinstance(binding, Binding) and binding.method.server_streaming
    await ask(REST, exchange, Service(b"", messages=[b"", b""] if streams else None))
