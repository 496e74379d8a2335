"""Trace context through a running gateway: in by every protocol, on to the service, and out to a collector."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from websockets import Subprotocol
from websockets.sync.client import connect

from tests.support import kit
from tests.support.collector import Collector, collector
from tests.support.drivers import envelope
from tests.support.gateway import config_of, serving
from tests.support.graphql_driver import operation
from tests.support.raw import Http1, Http2

SPAN = "00f067aa0ba902b7"
CANARY = "canary-of-a-secret"


class Told:
    """The kit's echo as a service that keeps the metadata of each call."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(self._echo)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(kit.SERVICE, {"Unary": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata.append({key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        return request

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture(scope="module")
def seen() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def service() -> Iterator[Told]:
    made = Told()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def port(seen: Collector, service: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tracing")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        tracing={"otlp": seen.url, "sample": "0%", "every": "20ms"},
        metrics={"otlp": seen.url, "every": "50ms"},
    )
    with serving(config, folder) as running:
        yield running.port


def context(trace: str, flags: str = "01") -> list[tuple[str, str]]:
    return [("traceparent", f"00-{trace}-{SPAN}-{flags}"), ("tracestate", "vendor=1"), ("baggage", "user=alice")]


def ask(port: int, path: str, fields: list[tuple[str, str]], body: bytes = b'{"text":"x"}') -> int:
    http = Http1(port)
    try:
        return http.request("POST", path, [("content-type", "application/json"), *fields], body).head()
    finally:
        http.close()


def rest(port: int, trace: str) -> None:
    fields = [("authorization", f"Bearer {CANARY}"), *context(trace)]
    assert ask(port, "/v1/echo", fields) == 200


def rpc(content_type: str) -> Callable[[int, str], None]:
    def call(port: int, trace: str) -> None:
        fields = [("content-type", content_type), ("te", "trailers"), *context(trace)]
        body = envelope(0, kit.message("x").SerializeToString())
        http = Http2(port)
        assert http.request("POST", f"/{kit.SERVICE}/Unary", fields, body).head() == 200
        http.close()

    return call


def connect_rpc(port: int, trace: str) -> None:
    assert ask(port, f"/{kit.SERVICE}/Unary", [("connect-protocol-version", "1"), *context(trace)]) == 200


def graphql(port: int, trace: str) -> None:
    body = json.dumps(operation("Unary", kit.message("x"))).encode()
    assert ask(port, "/graphql", context(trace), body) == 200


def websocket(port: int, trace: str) -> None:
    url = f"ws://127.0.0.1:{port}/{kit.SERVICE}/Unary"
    with connect(
        url, additional_headers=context(trace), subprotocols=[Subprotocol("protogw.json")], proxy=None, legacy=True
    ) as socket:
        socket.send('{"text":"x"}')
        socket.recv(10)


def graphql_first_message(port: int, trace: str) -> None:
    url = f"ws://127.0.0.1:{port}/graphql"
    with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None, legacy=True) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": dict(context(trace))}))
        assert json.loads(socket.recv(10))["type"] == "connection_ack"
        payload = operation("Unary", kit.message("x"))
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
        assert json.loads(socket.recv(10))["type"] == "next"


def session_message(port: int, trace: str) -> None:
    url = f"ws://127.0.0.1:{port}/protogw.calls.v1"
    with connect(url, subprotocols=[Subprotocol("protogw.calls.v1")], proxy=None, legacy=True) as socket:
        assert json.loads(socket.recv(10))["type"] == "hello"
        metadata = {name: [value] for name, value in context(trace)}
        head = {"type": "open", "id": 1, "method": f"{kit.SERVICE}/Unary", "metadata": metadata}
        socket.send(json.dumps(head) + '\n{"text":"x"}')
        said = str(socket.recv(10)).partition("\n")[0]
        assert json.loads(said)["type"] == "head", said


WAYS = {
    "rest": rest,
    "grpc": rpc("application/grpc+proto"),
    "grpc-web": rpc("application/grpc-web+proto"),
    "connect": connect_rpc,
    "graphql": graphql,
    "websocket": websocket,
    "graphql's first message": graphql_first_message,
    "a session's message": session_message,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_trace_goes_in_by_every_protocol_and_on_to_the_service(
    port: int, seen: Collector, service: Told, way: str
) -> None:
    trace = f"{list(WAYS).index(way) + 1:032x}"
    WAYS[way](port, trace)
    spans = seen.trace(trace, 3 if way == "graphql" else 2)
    clients = [span for span in spans if span.kind == "CLIENT"]
    servers = [span for span in spans if span.kind == "SERVER"]
    told = [one for one in service.metadata if one.get("traceparent", "").split("-")[1:2] == [trace]]
    assert {one["traceparent"] for one in told} == {f"00-{trace}-{span.span_id}-01" for span in clients}
    assert {(one["tracestate"], one["baggage"]) for one in told} == {("vendor=1", "user=alice")}
    assert {span.parent_id for span in servers} == {SPAN}
    assert all(span.attributes["rpc.service"] == kit.SERVICE for span in clients)
    assert all(span.attributes["rpc.response.status_code"] == "OK" for span in clients)


def test_a_graphql_request_has_a_span_for_each_call_that_it_is_made_of(port: int, seen: Collector) -> None:
    trace = f"{0xABC:032x}"
    query = """query Both { a: unary(text: "x") { text } b: unary(text: "y") { text } }"""
    assert ask(port, "/graphql", context(trace), json.dumps({"query": query}).encode()) == 200
    spans = seen.trace(trace, 5)
    (server,) = [span for span in spans if span.kind == "SERVER"]
    inside = [span for span in spans if span.kind == "INTERNAL"]
    assert [span.parent_id for span in inside] == [server.span_id] * 2
    assert {span.parent_id for span in spans if span.kind == "CLIENT"} == {span.span_id for span in inside}
    assert server.attributes["graphql.operation.name"] == "Both"


def test_what_callers_do_not_record_is_not_sent_and_passes_on(port: int, seen: Collector, service: Told) -> None:
    trace = f"{0xDEF:032x}"
    assert ask(port, "/v1/echo", context(trace, "00")) == 200
    assert service.metadata[-1]["traceparent"] == f"00-{trace}-{SPAN}-00"
    recorded = f"{0xDE0:032x}"
    rest(port, recorded)
    seen.trace(recorded, 2)
    assert [span for span in seen.spans if span.trace_id == trace] == []


def test_no_secret_is_in_what_the_collector_got(port: int, seen: Collector) -> None:
    trace = f"{0xCA:032x}"
    ask(port, f"/v1/echo?token={CANARY}", context(trace))
    ask(port, f"/v1/nothing/here?token={CANARY}", [("cookie", f"session={CANARY}"), *context(trace)])
    seen.trace(trace, 2)
    assert CANARY.encode() not in seen.raw


@pytest.mark.parametrize("collecting", ["refuses", "gone"])
def test_a_dead_collector_harms_no_call(service: Told, tmp_path: Path, collecting: str) -> None:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with collector() as dead:
        dead.fail = 500
        url = dead.url if collecting == "refuses" else "http://127.0.0.1:1"
        config = config_of(
            {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
            tracing={"otlp": url, "sample": "100%", "every": "5ms", "timeout": "100ms"},
        )
        with serving(config, tmp_path) as running:
            assert [ask(running.port, "/v1/echo", []) for _ in range(50)] == [200] * 50


def test_metrics_go_to_the_collector_too(port: int, seen: Collector) -> None:
    assert ask(port, "/v1/echo", []) == 200

    wanted = {"frontend": "rest", "upstream": "kit", "service": kit.SERVICE, "method": "Unary", "code": "OK"}

    def counted(collector: Collector) -> bool:
        metric = collector.metrics.get("protogw_requests")
        points = metric.sum.data_points if metric is not None else ()
        return wanted in [{one.key: one.value.string_value for one in point.attributes} for point in points]

    seen.wait(counted)
    assert seen.metrics["protogw_requests"].sum.is_monotonic
    took = seen.metrics["protogw_request_duration_seconds"]
    assert all(sum(point.bucket_counts) == point.count for point in took.histogram.data_points)
    assert all(len(point.bucket_counts) == len(point.explicit_bounds) + 1 for point in took.histogram.data_points)
    assert took.unit == "s"
