"""An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP, read by the official protobuf."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span as it arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    status: int
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class Collector:
    """`fail` answers with that status instead of taking anything."""

    url: str = ""
    fail: int = 0
    spans: list[Seen] = field(default_factory=list, repr=False)
    metrics: dict[str, Any] = field(default_factory=dict, repr=False)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    raw: bytes = field(default=b"", repr=False)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def took(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with self._changed:
            self.requests += 1
            self.headers.append(headers)
            self.raw += body
            if not self.fail and path.endswith("/traces"):
                self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            elif not self.fail and path.endswith("/metrics"):
                request = ExportMetricsServiceRequest.FromString(body)
                self.metrics = {
                    metric.name: metric
                    for resource in request.resource_metrics
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                }
            self._changed.notify_all()

    def wait(self, condition: Callable[[Collector], Any], timeout: float = 10.0) -> Any:
        """What the condition finds, once it finds something."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise AssertionError(f"the collector did not see it in {timeout} s; it has {len(self.spans)} spans")
            return condition(self)

    def trace(self, trace_id: str, spans: int) -> list[Seen]:
        """The spans of a trace once there are so many, those begun first in front."""

        def whole(collector: Collector) -> list[Seen]:
            found = [span for span in collector.spans if span.trace_id == trace_id]
            return found if len(found) >= spans else []

        found: list[Seen] = self.wait(whole)
        return found


@contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.took(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(made.fail or 200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        about = _plain(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    state=span.trace_state,
                    status=span.status.code,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    attributes=_plain(span.attributes),
                    resource=about,
                    events=[(event.name, _plain(event.attributes)) for event in span.events],
                )


def _plain(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    return getattr(value, which) if which is not None else None
