"""Traces: which calls are recorded, what is noted of them, and what the services behind are told.

A call that is not recorded costs one look at its metadata; what its client says of a trace passes on as it came. Of one
that is, bare facts are noted as it goes; spans are made of them elsewhere (`otlp`).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Protocol

from protogw.call import Composite, Metadata, PassingPayloads, Payload
from protogw.errors import Code, GatewayError
from protogw.observe.outcome import of_status, outcome
from protogw.observe.trace_context import (
    CONTEXT,
    TRACEPARENT,
    TRACESTATE,
    Parent,
    new_span_id,
    new_trace_id,
    parent,
    traceparent,
    unsampled,
)
from protogw.policies.base import Reachable

if TYPE_CHECKING:
    from protogw.call import Call, Reply
    from protogw.frontends.base import Handler, Recorded
    from protogw.passthrough.base import Carried
    from protogw.policies.base import Target

SERVER, INTERNAL, CLIENT = "server", "internal", "client"
MOST_EVENTS: Final = 32


class Event:
    """Something that happened within a span."""

    __slots__ = ("at_ns", "attributes", "name")

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self.at_ns = time_ns()
        self.name = name
        self.attributes = attributes


class Span:
    """One finished piece of work, in plain values."""

    __slots__ = (
        "attributes",
        "code",
        "ended_ns",
        "error",
        "events",
        "kind",
        "name",
        "parent_id",
        "span_id",
        "started_ns",
        "state",
        "trace_id",
    )

    def __init__(self, trace: Trace, kind: str, name: str, *, span_id: int, parent_id: int, started_ns: int) -> None:
        self.trace_id = trace.trace_id
        self.state = trace.state
        self.kind = kind
        self.name = name
        self.span_id = span_id
        self.parent_id = parent_id
        """0 for the first of a trace."""
        self.started_ns = started_ns
        self.ended_ns = 0
        self.code = 0
        self.error = ""
        """What went wrong, in words; empty for nothing, or nothing said."""
        self.attributes: dict[str, Any] = {}
        self.events: list[Event] = []


class Trace:
    """The part of a recorded trace that one call is."""

    __slots__ = ("events", "parent_id", "span_id", "state", "trace_id", "tries")

    def __init__(self, trace_id: int, parent_id: int, state: bytes) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.span_id = new_span_id()
        self.state = state
        self.tries = 0
        self.events: list[Event] = []

    def note(self, name: str, **attributes: Any) -> None:
        """Something happened to the call that its trace shall show."""
        if len(self.events) < MOST_EVENTS:
            self.events.append(Event(name, attributes))


class Sink(Protocol):
    """Takes finished spans; never waits."""

    def put(self, span: Span) -> None: ...


class Tracer:
    """Decides what is recorded, and records it. `share` of the traces that begin here are (0 to 1); of others their
    callers have decided.

    `mark` tells the services behind of traces that begin here and are not recorded, too.
    """

    def __init__(
        self,
        sink: Sink,
        share: float,
        *,
        b3: bool = False,
        mark: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._put = sink.put
        self._share = share
        self._b3 = b3
        self._mark = mark
        self._chance = chance

    # --- the decision -------------------------------------------------------------------------------------------------

    def around(self, handle: Handler) -> Handler:
        """The same handler, which decides of each call first."""
        begin, chance, share = self._begin, self._chance, self._share
        plain = not self._b3 and not self._mark

        def traced(call: Call) -> Awaitable[Reply]:
            for name, value in call.metadata.pairs:
                if name == TRACEPARENT:
                    if not unsampled(value):
                        begin(call)
                    return handle(call)
            # What nearly every call comes to, without a further look.
            if plain and call.whole is None:
                if chance() < share:
                    call.trace = Trace(new_trace_id(), 0, b"")
            else:
                begin(call)
            return handle(call)

        return traced

    def _begin(self, call: Call) -> None:
        whole = call.whole
        if whole is None:
            call.trace = self._decided(call)
            return
        if whole.trace is None and not whole.decided:
            whole.decided = True
            whole.trace = self._decided(call)
        if whole.trace is not None:
            call.trace = Trace(whole.trace.trace_id, whole.trace.span_id, whole.trace.state)

    def _decided(self, call: Call) -> Trace | None:
        metadata = call.metadata
        found = parent(metadata.pairs, b3=self._b3)
        if found is not None:
            return Trace(found.trace_id, found.span_id, metadata.get(TRACESTATE) or b"") if found.sampled else None
        if self._chance() < self._share:
            return Trace(new_trace_id(), 0, b"")
        if self._mark:
            call.metadata = _told(metadata, traceparent(new_trace_id(), new_span_id(), sampled=False))
        return None

    # --- requests -----------------------------------------------------------------------------------------------------

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """Note the request, if it is recorded; called for every one."""
        call = exchange.call
        if call is None:
            self._uncalled(exchange, elapsed_s, error, front_end)
        elif call.trace is not None:
            self._served(call.trace, exchange, elapsed_s, error, front_end)

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        """Note a call that was one of several of a request; without a request of its own it stands for itself."""
        trace: Trace | None = call.trace
        if trace is None:
            return
        now = time_ns()
        kind = INTERNAL if call.whole is not None else SERVER
        span = Span(
            trace,
            kind,
            _name(call),
            span_id=trace.span_id,
            parent_id=trace.parent_id,
            started_ns=now - int(elapsed_s * 1e9),
        )
        reply = call.reply
        span.code = error.status.code if error is not None else Code.CANCELLED if reply is None else reply.status.code
        span.attributes = _called(call)
        span.attributes["protogw.frontend"] = call.front_end
        self._ended(span, now, error, trace.events)

    def carried(self, what: Carried) -> None:
        """What is passed through belongs to no trace."""

    def _uncalled(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """A request that led to no call: its head says whether it is recorded."""
        head = exchange.head
        found = parent(head.headers, b3=self._b3)
        if found is None:
            if self._chance() >= self._share:
                return
            found = Parent(new_trace_id(), 0, True)
        if found.sampled:
            trace = Trace(found.trace_id, found.span_id, head.get(TRACESTATE) or b"")
            self._served(trace, exchange, elapsed_s, error, front_end)

    def _served(
        self, trace: Trace, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str
    ) -> None:
        now = time_ns()
        call, head = exchange.call, exchange.head
        name = _name(call) if call is not None else head.method.decode("latin-1")
        span = Span(
            trace,
            SERVER,
            name,
            span_id=trace.span_id,
            parent_id=trace.parent_id,
            started_ns=now - int(elapsed_s * 1e9),
        )
        span.code = outcome(exchange, error)
        span.attributes = {
            "protogw.frontend": front_end,
            "http.request.method": head.method.decode("latin-1"),
            "url.path": head.path[:1024].decode("latin-1"),
            "url.scheme": head.scheme.decode("latin-1"),
            "server.address": head.authority[:255].decode("latin-1"),
            "network.protocol.version": {10: "1.0", 11: "1.1"}.get(head.version, "2"),
            "client.address": exchange.peer.host,
            "http.request.body.size": exchange.bytes_in,
            "http.response.body.size": exchange.bytes_out,
        }
        if exchange.status:
            span.attributes["http.response.status_code"] = exchange.status
        if call is not None:
            span.attributes.update(_called(call))
            if isinstance(call, Composite):
                span.attributes["graphql.operation.type"] = call.kind
                span.attributes["protogw.calls"] = call.calls
                if call.name:
                    span.attributes["graphql.operation.name"] = call.name[:256]
            if call.deadline is not None:
                span.attributes["protogw.deadline_s"] = round(call.deadline - call.started, 3)
        self._ended(span, now, error, trace.events)

    def _ended(self, span: Span, now_ns: int, error: GatewayError | None, events: list[Event]) -> None:
        span.ended_ns = now_ns
        span.events = events
        if error is not None:
            span.error = error.message
            span.attributes["protogw.fault"] = error.source.value
        self._put(span)

    # --- what is called -----------------------------------------------------------------------------------------------

    def over(self, target: Target) -> Target:
        """The same target, whose recorded calls leave a span each, and are told on."""
        return _Traced(target, self)

    def began(self, call: Call, upstream: str, kind: str) -> Span:
        """A try of a recorded call begins: its service is told of the trace."""
        trace: Trace = call.trace
        trace.tries += 1
        span = Span(trace, CLIENT, _name(call), span_id=new_span_id(), parent_id=trace.span_id, started_ns=time_ns())
        call.metadata = _told(call.metadata, traceparent(trace.trace_id, span.span_id), trace.state)
        span.attributes = {"protogw.upstream": upstream, "protogw.upstream.kind": kind}
        if trace.tries > 1:
            span.attributes["protogw.retry"] = trace.tries - 1
        return span

    def tried(self, span: Span, call: Call, code: int, error: GatewayError | None) -> None:
        """The try has ended."""
        span.code = code
        span.attributes.update(_method(call))
        host, _, port = call.upstream.rpartition(":")
        if host:
            span.attributes["server.address"] = host
            span.attributes["server.port"] = int(port)
        self._ended(span, time_ns(), error, [])


class _Traced:
    """A target whose recorded calls leave a span each."""

    def __init__(self, target: Target, tracer: Tracer) -> None:
        self.name = target.name
        self.kind = target.kind
        self._send = target.send
        self._tracer = tracer
        self._reached = target if isinstance(target, Reachable) else None

    @property
    def reachable(self) -> bool:
        return self._reached is None or self._reached.reachable

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        return self._send(call) if call.trace is None else self._recorded(call)

    async def _recorded(self, call: Call) -> Reply:
        tracer = self._tracer
        span = tracer.began(call, self.name, self.kind)
        try:
            reply = await self._send(call)
        except GatewayError as error:
            tracer.tried(span, call, error.status.code, error)
            raise
        except BaseException:
            tracer.tried(span, call, Code.DEADLINE_EXCEEDED if call.expired else Code.CANCELLED, None)
            raise
        if reply.payloads is not None:
            reply.payloads = _Followed(reply.payloads, span, call, reply, tracer)
        else:
            tracer.tried(span, call, _code(reply), None)
        return reply


class _Followed(PassingPayloads):
    """A reply's stream, whose span ends with it."""

    __slots__ = ("_call", "_many", "_reply", "_span", "_tracer")

    def __init__(self, payloads: AsyncIterator[Payload], span: Span, call: Call, reply: Reply, tracer: Tracer) -> None:
        super().__init__(payloads)
        self._span: Span | None = span
        self._call = call
        self._reply = reply
        self._tracer = tracer
        self._many = 0

    def _end(self, code: int, error: GatewayError | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.attributes["protogw.messages"] = self._many
            self._tracer.tried(span, self._call, code, error)

    async def __anext__(self) -> Payload:
        try:
            payload = await self._payloads.__anext__()
        except StopAsyncIteration:
            self._end(_code(self._reply), None)
            raise
        except GatewayError as error:
            self._end(error.status.code, error)
            raise
        self._many += 1
        return payload

    async def aclose(self) -> None:
        self._end(Code.CANCELLED, None)
        await super().aclose()


def _told(metadata: Metadata, value: bytes, state: bytes = b"") -> Metadata:
    """The metadata with this context instead of whatever was in it; baggage stays."""
    kept = [pair for pair in metadata.pairs if pair[0] not in CONTEXT]
    kept.append((TRACEPARENT, value))
    if state:
        kept.append((TRACESTATE, state))
    return Metadata(tuple(kept))


def _name(call: Call) -> str:
    if isinstance(call, Composite):
        return call.kind or call.front_end
    if call.method is not None:
        return call.method.full_name
    route = call.route
    verb = call.head.method.decode("latin-1") if call.head is not None else "HTTP"
    return f"{verb} {route.title}" if route is not None else verb


def _method(call: Call) -> dict[str, Any]:
    method = call.method
    if method is None or isinstance(call, Composite):
        return {}
    return {"rpc.service": method.service, "rpc.method": method.name}


def _called(call: Call) -> dict[str, Any]:
    found = _method(call)
    if call.route is not None:
        found["protogw.route"] = call.route.title
        found["protogw.upstream"] = call.route.target.name
    consumer = getattr(call.identity, "consumer", "")
    if consumer:
        found["protogw.consumer"] = consumer
    return found


def _code(reply: Reply) -> int:
    if reply.head is None:
        return reply.status.code
    return of_status(reply.head.status)
