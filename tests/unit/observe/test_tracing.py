"""Traces: who is recorded, what services are told, what spans say, and that a dead collector harms nobody."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from protogw.call import Call, Composite, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, GatewayError, NotOffered, Status, Unreachable
from protogw.observe.otlp import QUEUE, Export, exporter
from protogw.observe.tracing import CLIENT, INTERNAL, SERVER, Span, Tracer
from protogw.routing.route import Route
from protogw.wire.http import Header
from tests.support.collector import collector
from tests.support.rpc import DOWN, UNARY, Exchange, head

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
SAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
UNSAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())


class Kept:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def put(self, span: Span) -> None:
        self.spans.append(span)


class Service:
    """A target that keeps what it was told, and fails as often as it is to."""

    name, kind = "kit", "grpc"

    def __init__(self, *failures: GatewayError, reply: Reply | None = None) -> None:
        self.told: list[Metadata] = []
        self._failures = list(failures)
        self._reply = reply or Reply()

    async def send(self, call: Call) -> Reply:
        self.told.append(call.metadata)
        call.upstream = "10.0.0.1:50051"
        if self._failures:
            raise self._failures.pop(0)
        return self._reply


class Made:
    """A tracer, a service behind it, and the handling of calls by way of both."""

    def __init__(self, service: Service | None = None, *, share: float = 0.0, tries: int = 1, **options: Any) -> None:
        self.kept = Kept()
        self.service = service or Service()
        self.tracer = Tracer(self.kept, share, **options)
        target = self.tracer.over(self.service)
        self.route = Route("default", target)

        async def handle(call: Call) -> Reply:
            call.route = self.route
            for left in reversed(range(tries)):
                try:
                    call.reply = await target.send(call)
                except GatewayError:
                    if not left:
                        raise
                else:
                    return call.reply
            raise AssertionError

        self.handle = self.tracer.around(handle)

    async def __call__(self, *fields: Header, method: Any = UNARY, error: GatewayError | None = None) -> Exchange:
        """One request with these fields, served and recorded."""
        made = Exchange(head("/v1/x", "", *[(name.decode(), value.decode()) for name, value in fields], method="GET"))
        made.status = 200
        made.call = Call(method, Metadata(fields), front_end="rest", peer=made.peer, started=0.0, head=made.head)
        try:
            await self.handle(made.call)
        except GatewayError as failed:
            error = failed
        self.tracer.record(made, 0.25, error, "rest")
        return made

    def spans(self, kind: str) -> list[Span]:
        return [span for span in self.kept.spans if span.kind == kind]

    @property
    def parents(self) -> list[str]:
        """The `traceparent` that each try told the service."""
        return [(told.get(b"traceparent") or b"").decode() for told in self.service.told]


async def test_a_recorded_call_leaves_a_span_of_the_request_and_one_of_the_call_to_the_service() -> None:
    made = Made()
    await made(SAMPLED, (b"tracestate", b"vendor=1"), (b"baggage", b"user=alice"))
    (server,), (client,) = made.spans(SERVER), made.spans(CLIENT)
    assert f"{server.trace_id:032x}" == f"{client.trace_id:032x}" == TRACE
    assert f"{server.parent_id:016x}" == SPAN
    assert client.parent_id == server.span_id
    assert server.ended_ns - server.started_ns == 250_000_000
    assert server.name == client.name == "kit.v1.Echo/Unary"
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["protogw.frontend"] == "rest"
    assert client.attributes["server.address"] == "10.0.0.1"
    assert client.attributes["server.port"] == 50051


async def test_the_service_is_told_of_the_span_that_called_it() -> None:
    made = Made()
    await made((b"x-a", b"1"), SAMPLED, (b"tracestate", b"vendor=1"), (b"baggage", b"user=alice"))
    (client,) = made.spans(CLIENT)
    assert made.parents == [f"00-{TRACE}-{client.span_id:016x}-01"]
    told = made.service.told[0]
    assert told.get_all(b"tracestate") == [b"vendor=1"]
    assert (told.get(b"baggage"), told.get(b"x-a")) == (b"user=alice", b"1")


async def test_what_is_not_recorded_passes_on_untouched() -> None:
    made = Made(share=1.0)
    exchange = await made(UNSAMPLED, (b"tracestate", b"vendor=1"))
    assert made.kept.spans == []
    assert exchange.call is not None
    assert exchange.call.trace is None
    assert made.service.told[0] is exchange.call.metadata
    assert made.parents == [UNSAMPLED[1].decode()]


async def test_traces_that_begin_here_are_recorded_by_their_share() -> None:
    chances = iter([0.009, 0.011, 0.5])
    made = Made(share=0.01, chance=lambda: next(chances))
    for _ in range(3):
        await made()
    (server,) = made.spans(SERVER)
    assert server.parent_id == 0
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made.parents[0])
    assert made.parents[1:] == ["", ""]


async def test_services_are_told_of_what_is_not_recorded_where_that_is_wanted() -> None:
    made = Made(share=0.0, mark=True)
    await made()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made.parents[0])


async def test_a_broken_traceparent_begins_a_new_trace_without_its_state() -> None:
    made = Made(share=1.0)
    await made((b"traceparent", b"00-zz"), (b"tracestate", b"vendor=1"))
    assert len(made.parents[0]) == 55
    assert made.service.told[0].get(b"tracestate") is None


async def test_b3_is_read_and_replaced() -> None:
    made = Made(b3=True)
    await made((b"b3", f"{TRACE}-{SPAN}-1".encode()))
    assert made.parents[0].startswith(f"00-{TRACE}-")
    assert made.service.told[0].get(b"b3") is None
    await made((b"x-b3-traceid", TRACE.encode()), (b"x-b3-spanid", SPAN.encode()), (b"x-b3-sampled", b"1"))
    assert made.parents[1].startswith(f"00-{TRACE}-")
    assert made.service.told[1].get(b"x-b3-traceid") is None


async def test_every_try_is_a_span_of_its_own() -> None:
    made = Made(Service(Unreachable("nobody there"), Unreachable("still")), tries=3)
    await made(SAMPLED)
    tries = made.spans(CLIENT)
    assert [span.code for span in tries] == [Code.UNAVAILABLE, Code.UNAVAILABLE, Code.OK]
    assert [span.attributes.get("protogw.retry") for span in tries] == [None, 1, 2]
    assert tries[0].error == "nobody there"
    assert len(set(made.parents)) == 3


async def test_a_status_is_how_the_span_ends_and_not_only_http() -> None:
    made = Made(Service(reply=Reply(status=Status(Code.NOT_FOUND, "no such thing"))))
    await made(SAMPLED)
    assert [span.code for span in made.kept.spans] == [Code.NOT_FOUND, Code.NOT_FOUND]


async def test_a_streams_span_ends_with_the_stream_and_says_how() -> None:
    async def messages() -> AsyncIterator[Payload]:
        yield Payload(b"{}", Encoding.JSON)
        raise GatewayError("it broke", code=Code.DATA_LOSS)

    made = Made(Service(reply=Reply(payloads=messages())))
    exchange = await made(SAMPLED, method=DOWN)
    assert made.spans(CLIENT) == []
    assert exchange.call is not None
    assert exchange.call.reply is not None
    assert exchange.call.reply.payloads is not None
    with pytest.raises(GatewayError):
        async for _ in exchange.call.reply.payloads:
            pass
    (span,) = made.spans(CLIENT)
    assert (span.code, span.error, span.attributes["protogw.messages"]) == (Code.DATA_LOSS, "it broke", 1)


async def test_a_request_that_was_refused_before_it_was_a_call_is_recorded_too() -> None:
    made = Made()
    exchange = Exchange(head("/nothing", "", ("traceparent", SAMPLED[1].decode()), method="GET"))
    exchange.status = 404
    made.tracer.record(exchange, 0.001, NotOffered("nothing is offered here"), "rest")
    (span,) = made.spans(SERVER)
    assert (span.name, span.code, span.error) == ("GET", Code.UNIMPLEMENTED, "nothing is offered here")


async def test_the_calls_of_one_request_are_spans_below_it() -> None:
    made = Made()
    exchange = Exchange(head("/graphql"))
    exchange.status = 200
    calls = [Call(UNARY, Metadata((SAMPLED,)), front_end="graphql", peer=exchange.peer, started=0.0) for _ in range(2)]
    exchange.call = whole = Composite(calls[0], "query", "Shelves")
    for call in calls:
        call.whole = whole
        await made.handle(call)
        made.tracer.called(call, 0.01, None)
    made.tracer.record(exchange, 0.1, None, "graphql")
    (server,) = made.spans(SERVER)
    fields = made.spans(INTERNAL)
    assert [span.parent_id for span in fields] == [server.span_id] * 2
    assert [span.parent_id for span in made.spans(CLIENT)] == [span.span_id for span in fields]
    assert server.name == "query"
    assert server.attributes["graphql.operation.name"] == "Shelves"


async def test_queries_and_secrets_are_in_no_span() -> None:
    made = Made()
    exchange = Exchange(head("/v1/x?token=canary", "", ("authorization", "Bearer canary"), method="GET"))
    exchange.call = Call(
        UNARY,
        Metadata((SAMPLED, (b"authorization", b"Bearer canary"))),
        front_end="rest",
        peer=exchange.peer,
        started=0.0,
        head=exchange.head,
    )
    await made.handle(exchange.call)
    made.tracer.record(exchange, 0.1, None, "rest")
    assert made.kept.spans
    assert "canary" not in repr([span.attributes for span in made.kept.spans])


# --- to the collector -------------------------------------------------------------------------------------------------


class Stuck(SpanExporter):
    """A collector that takes nothing until it is let."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.go = threading.Event()
        self.result = result
        self.seen: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(10)
        self.seen.extend(spans)
        return self.result


async def recorded() -> Span:
    made = Made()
    await made(SAMPLED, (b"tracestate", b"vendor=1"))
    return made.spans(SERVER)[0]


async def test_spans_beyond_the_room_are_dropped_and_counted() -> None:
    stuck = Stuck()
    export = Export(stuck, service="gw", attributes={})
    span = await recorded()
    for _ in range(QUEUE * 3):
        export.put(span)
    assert export.dropped >= QUEUE
    stuck.go.set()
    export.close()
    assert export.sent + export.dropped == QUEUE * 3


async def test_what_the_collector_does_not_take_is_counted() -> None:
    refusing = Stuck(SpanExportResult.FAILURE)
    refusing.go.set()
    export = Export(refusing, service="gw", attributes={})
    export.put(await recorded())
    export.close()
    assert (export.sent, export.failed) == (0, 1)


async def test_the_official_protobuf_says_all_of_it() -> None:
    with collector() as seen:
        sends = exporter(seen.url + "/v1/traces", headers={"x-token": "t"}, timeout_s=5)
        export = Export(sends, service="edge", attributes={"deployment.environment.name": "test"}, every_s=0.01)
        made = Made(Service(Unreachable("nobody there")))
        await made(SAMPLED, (b"tracestate", b"vendor=1"))
        for span in made.kept.spans:
            export.put(span)
        spans = {span.kind: span for span in seen.trace(TRACE, 2)}
        export.close()
    server, client = spans["SERVER"], spans["CLIENT"]
    assert (server.parent_id, server.state) == (SPAN, "vendor=1")
    assert client.parent_id == server.span_id
    assert server.resource["service.name"] == "edge"
    assert server.resource["deployment.environment.name"] == "test"
    assert (client.status, client.attributes["error.type"]) == (2, "UNAVAILABLE")
    assert client.events[0][0] == "exception"
    assert client.events[0][1]["exception.message"] == "nobody there"
    assert server.attributes["rpc.grpc.status_code"] == 14
    assert seen.headers[0]["x-token"] == "t"
