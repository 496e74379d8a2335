"""The jobs that are measured: what is sent to which port, and the ratio that is aimed at."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks import shop
from benchmarks.load import Load

_GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
_JSON = (("content-type", "application/json"),)
_KEY = (("x-api-key", shop.API_KEY),)
_CALL = "/shop.v1.Catalog/"
_TITLE = "kettle"
_GRAPHQL = json.dumps(
    {
        "query": "query ($name: String!) { getItem(name: $name) "
        "{ name title stock price tags condition digest updated } }",
        "variables": {"name": "items/1"},
    }
).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    job: str
    """Which of a peer's ports is used."""
    load: Load
    target: float = 0.0
    """At least this many times the peer's requests for each second of CPU."""
    against: str = "Envoy"
    """The peer that the target is about."""
    unit: str = "requests"
    per_request: int = 1
    """Units in one request."""
    first: int = 0
    """Requests of the first burst, where the common number is over before it tells anything."""


ROWS = (
    Row(
        key="rest-get",
        title="REST → gRPC, GET, HTTP/1.1",
        job="rest",
        target=1.5,
        load=Load(path="/v1/items/1", content=_TITLE),
    ),
    Row(
        key="rest-post",
        title="REST → gRPC, POST 280 B, HTTP/1.1",
        job="rest",
        target=1.5,
        load=Load(path="/v1/items", headers=_JSON, body=shop.text(shop.ITEM), content=_TITLE),
    ),
    Row(
        key="rest-get-varied",
        title="REST → gRPC, GET, HTTP/1.1, no two alike",
        job="rest",
        target=1.5,
        load=Load(path="/v1/items/1", varied=True, content=_TITLE),
    ),
    Row(
        key="rest-post-4k",
        title="REST → gRPC, POST 4 KiB each way, HTTP/1.1, no two alike",
        job="rest",
        target=1.5,
        load=Load(path="/v1/pages", headers=_JSON, body=shop.text(shop.PAGE), varied=True, content=_TITLE),
    ),
    Row(
        key="rest-get-h2",
        title="REST → gRPC, GET, HTTP/2",
        job="rest",
        target=1.5,
        load=Load(path="/v1/items/1", http2=True, connections=8, streams=8, content=_TITLE),
    ),
    Row(
        key="grpc",
        title="gRPC → gRPC",
        job="grpc",
        target=1.2,
        load=Load(
            path=_CALL + "GetItem",
            http2=True,
            connections=8,
            streams=8,
            headers=_GRPC,
            body=shop.framed(shop.REQUEST),
            content=_TITLE,
        ),
    ),
    Row(
        key="grpc-varied",
        title="gRPC → gRPC, no two alike",
        job="grpc",
        target=1.2,
        load=Load(
            path=_CALL + "GetItem",
            http2=True,
            connections=8,
            streams=8,
            headers=_GRPC,
            body=shop.framed(shop.REQUEST),
            varied=True,
            content=_TITLE,
        ),
    ),
    Row(
        key="grpc-2k",
        title="gRPC → gRPC, 2 KiB each way",
        job="grpc",
        target=1.2,
        load=Load(
            path=_CALL + "PutPage",
            http2=True,
            connections=8,
            streams=8,
            headers=_GRPC,
            body=shop.framed(shop.PAGE),
            content=_TITLE,
        ),
    ),
    Row(
        key="grpc-web",
        title="gRPC-Web → gRPC, HTTP/1.1",
        job="grpc-web",
        target=1.2,
        load=Load(
            path=_CALL + "GetItem",
            headers=(("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")),
            body=shop.framed(shop.REQUEST),
            content=_TITLE,
        ),
    ),
    Row(
        key="connect",
        title="Connect → gRPC, HTTP/1.1",
        job="connect",
        target=1.2,
        load=Load(
            path=_CALL + "GetItem",
            headers=(("content-type", "application/proto"), ("connect-protocol-version", "1")),
            body=shop.REQUEST.SerializeToString(),
            content=_TITLE,
        ),
    ),
    Row(
        key="stream",
        title=f"gRPC stream → NDJSON, {shop.STREAMED:,} messages each",
        job="rest",
        target=1.0,
        unit="messages",
        per_request=shop.STREAMED,
        load=Load(
            path="/v1/stream/items",
            connections=4,
            headers=(("accept", "application/x-ndjson"),),
            content=_TITLE,
        ),
    ),
    Row(
        key="http",
        title="HTTP → HTTP, HTTP/1.1",
        job="http",
        target=1.2,
        load=Load(path="/raw/items", content=_TITLE),
    ),
    Row(
        key="rest-get-chain",
        title="REST → gRPC, GET, with API key, rate limit, metrics and access log",
        job="rest-chain",
        target=1.3,
        load=Load(path="/v1/items/1", headers=_KEY, content=_TITLE),
    ),
    Row(
        key="rest-get-chain-varied",
        title="REST → gRPC, GET, with API key, rate limit, metrics and access log, no two alike",
        job="rest-chain",
        target=1.3,
        load=Load(path="/v1/items/1", headers=_KEY, varied=True, content=_TITLE),
    ),
    Row(
        key="http-chain",
        title="HTTP → HTTP, with API key, rate limit, metrics and access log",
        job="http-chain",
        target=1.2,
        load=Load(path="/raw/items", headers=_KEY, content=_TITLE),
    ),
    Row(
        key="http-chain-varied",
        title="HTTP → HTTP, with API key, rate limit, metrics and access log, no two alike",
        job="http-chain",
        target=1.2,
        load=Load(path="/raw/items/1", headers=_KEY, varied=True, content=_TITLE),
    ),
    Row(
        key="http-varied",
        title="HTTP → HTTP, HTTP/1.1, no two alike",
        job="http",
        target=1.2,
        load=Load(path="/raw/items/1", varied=True, content=_TITLE),
    ),
    Row(
        key="socket-64",
        title="WebSocket relay, messages of 64 B",
        job="socket",
        target=0.5,
        against="nginx",
        unit="messages",
        per_request=2,
        load=Load(path="/socket", message=64),
    ),
    Row(
        key="socket-16k",
        title="WebSocket relay, messages of 16 KiB",
        job="socket",
        target=0.5,
        against="nginx",
        unit="messages",
        per_request=2,
        load=Load(path="/socket", message=16 << 10),
    ),
    Row(
        key="graphql",
        title="GraphQL → gRPC, POST, eight fields, HTTP/1.1",
        job="graphql",
        target=1.0,
        against="Tailcall",
        load=Load(path="/graphql", headers=_JSON, body=_GRAPHQL, content=_TITLE),
    ),
    Row(
        key="graphql-http",
        title="GraphQL → HTTP, POST, eight fields, HTTP/1.1",
        job="graphql-http",
        target=1.0,
        against="Tailcall",
        load=Load(path="/graphql", headers=(*_JSON, ("x-over", "rest")), body=_GRAPHQL, content=_TITLE),
    ),
    Row(
        key="tcp-64k",
        title="TCP, writes of 64 KiB",
        job="tcp",
        target=0.8,
        against="HAProxy",
        unit="writes",
        first=4000,
        load=Load(write=64 << 10, connections=4),
    ),
    Row(
        key="tcp-1k",
        title="TCP, writes of 1 KiB",
        job="tcp",
        against="HAProxy",
        unit="writes",
        first=100_000,
        load=Load(write=1 << 10, connections=4),
    ),
    Row(
        key="rest-alone",
        title="REST → gRPC, GET, HTTP/1.1, one client at a time",
        job="rest",
        load=Load(path="/v1/items/1", connections=1, content=_TITLE),
    ),
)
