"""Finished spans → an OpenTelemetry collector, from a thread of its own, so that a slow or dead one holds up no call.

Bounded: what finds no room, or cannot be sent, is dropped and counted. The SDK's exporter writes and sends protobuf.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from protogw.errors import Code
from protogw.observe.tracing import CLIENT, INTERNAL, SERVER, Span

log = logging.getLogger("protogw")

BATCH: Final = 512
QUEUE: Final = 2048
EVERY_S: Final = 2.0
TIMEOUT_S: Final = 10.0

_KINDS = {SERVER: SpanKind.SERVER, CLIENT: SpanKind.CLIENT, INTERNAL: SpanKind.INTERNAL}
_OURS = frozenset(
    (Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS)
)
"""A server's span is a failure for these alone: of the others its client is the cause (semantic conventions, gRPC)."""
_NAMES = {int(code): code.name for code in Code}
_SCOPE = InstrumentationScope("protogw")


def exporter(url: str, *, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> SpanExporter:
    """What sends spans to the collector at this URL, `…/v1/traces`."""
    for noisy in ("opentelemetry.exporter", "opentelemetry.sdk"):
        # It tells of every failure and every new try; Export tells of them once in a while.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return OTLPSpanExporter(url, headers=dict(headers), timeout=timeout_s, compression=Compression.Gzip)


class Export:
    """Takes spans from the event loop; sends them in batches."""

    COMPLAIN_S: Final = 60.0

    def __init__(
        self, exporter: SpanExporter, *, service: str, attributes: Mapping[str, str], every_s: float = EVERY_S
    ) -> None:
        self.sent = 0
        self.dropped = 0
        """Spans that found no room."""
        self.failed = 0
        """Spans that the collector did not take."""
        self._exporter = exporter
        self._resource = Resource.create({**attributes, "service.name": service})
        self._every_s = every_s
        self._waiting: deque[Span] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._told = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> None:
        """Take a span; never waits for the collector."""
        waiting = self._waiting
        if len(waiting) >= QUEUE:
            self.dropped += 1
            return
        waiting.append(span)
        if len(waiting) == BATCH:
            with self._wake:
                self._wake.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what waits, but not for longer than this."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        self._exporter.shutdown()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._closing and len(self._waiting) < BATCH:
                    self._wake.wait(self._every_s)
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._send(batch)
            if self._closing:
                return

    def _send(self, batch: Sequence[Span]) -> None:
        try:
            made = [sdk_span(span, self._resource) for span in batch]
            taken = self._exporter.export(made) is SpanExportResult.SUCCESS
        except Exception:  # a span that cannot be written must not end the thread that writes the others
            log.exception("a fault of the gateway's own in sending traces")
            taken = False
        if taken:
            self.sent += len(batch)
            self._told = False
        else:
            self.failed += len(batch)
            if not self._told:
                self._told = True
                log.warning("tracing: the collector does not take spans; they are dropped until it does")


def sdk_span(span: Span, resource: Resource) -> ReadableSpan:
    """The span as the SDK's exporters take it."""
    flags, state = TraceFlags(TraceFlags.SAMPLED), TraceState.from_header([span.state.decode("latin-1")])
    context = SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=flags, trace_state=state)
    above = None
    if span.parent_id:
        above = SpanContext(span.trace_id, span.parent_id, is_remote=span.kind == SERVER, trace_flags=flags)
    code = _NAMES.get(span.code, "UNKNOWN")
    attributes = {**span.attributes, "rpc.grpc.status_code": span.code, "rpc.response.status_code": code}
    failed = span.code in _OURS if span.kind == SERVER else span.code != Code.OK
    if failed:
        attributes["error.type"] = code
    events = [SdkEvent(event.name, event.attributes, event.at_ns) for event in span.events]
    if span.error:
        about = {"exception.type": code, "exception.message": span.error[:1024]}
        events.append(SdkEvent("exception", about, span.ended_ns))
    return ReadableSpan(
        span.name,
        context,
        parent=above,
        resource=resource,
        attributes=attributes,
        events=events,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error[:1024] or code) if failed else Status(StatusCode.UNSET),
        start_time=span.started_ns,
        end_time=span.ended_ns,
        instrumentation_scope=_SCOPE,
    )
