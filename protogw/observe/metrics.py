"""Counts requests by who served them, what was called and how it ended: the same few labels for every protocol.

Kept as bare numbers; `exposition` makes Prometheus' text of them. Bounded: only methods that are offered are named, and
label sets beyond a number share one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from protogw.call import Composite, PassingPayloads, Payload
from protogw.counting import OVERFLOW, Count
from protogw.errors import Code
from protogw.observe.outcome import of_status

if TYPE_CHECKING:
    from protogw.call import Call, Reply
    from protogw.descriptors.model import Method
    from protogw.errors import GatewayError
    from protogw.frontends.base import Handler, Recorded
    from protogw.passthrough.base import Carried
    from protogw.routing.route import Route

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the duration histogram's buckets, in seconds."""
SERIES: Final = 10_000
UNKNOWN: Final = "unknown"
_KEPT: Final = 65_536
_NO_POOLS: Final[Mapping[str, Addresses]] = MappingProxyType({})

Labels = tuple[str, str, str, str, str]
"""Front end, upstream, service, method, Code."""
StreamLabels = tuple[str, str, str, str]
"""The same without the Code, which a stream does not have while it runs."""


class Series:
    """The requests of one label set."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "seconds")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        """How many took so long, for each bound and beyond the last; not cumulative."""
        self.seconds = 0.0
        self.bytes_in = 0
        self.bytes_out = 0


class Messages:
    """The messages of one label set's streams."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = Count()
        self.sent = Count()


class Passed:
    """The connections of one passthrough, by upstream address and by how they ended."""

    __slots__ = ("bytes_in", "bytes_out", "connections", "seconds")

    def __init__(self) -> None:
        self.connections = self.bytes_in = self.bytes_out = 0
        self.seconds = 0.0


class _Addressed(Protocol):
    @property
    def label(self) -> str: ...


class Addresses(Protocol):
    """An upstream, as far as its addresses go."""

    @property
    def endpoints(self) -> Sequence[_Addressed]: ...


class _Named(Protocol):
    name: str


@runtime_checkable
class Several(Protocol):
    """A target that is several upstreams, among which each call is given to one."""

    between: Sequence[_Named]


class Metrics:
    """A recorder of requests that counts them."""

    def __init__(self, bounds_s: Sequence[float] = BUCKETS_S, *, series: int = SERIES) -> None:
        self.bounds_s = list(bounds_s)
        self.series: dict[Labels, Series] = {}
        self.messages: dict[StreamLabels, Messages] = {}
        self.passed: dict[tuple[str, str, str, str], Passed] = {}
        self.sessions: dict[str, Count] = {}
        """Sockets that carried any number of calls, by front end; the calls are requests."""
        self._most = series
        self._buckets = len(self.bounds_s) + 1
        self._known: dict[tuple[object, str, int], Series] = {}
        self._streams: dict[tuple[object, str], Messages] = {}
        self._pools: Mapping[str, Addresses] = {}

    # --- requests -----------------------------------------------------------------------------------------------------

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """Count a request that has ended; called for every one."""
        call = exchange.call
        if call is None:
            self._uncalled(exchange, elapsed_s, error, front_end)
            return
        reply = call.reply
        if error is not None:
            code: int = error.status.code
        elif reply is not None and reply.head is None:
            code = reply.status.code
        else:
            status = exchange.status
            code = 0 if 0 < status < 400 else of_status(status)
        # A route is of one method, or of opaque HTTP.
        try:
            series = self._known[call.route, front_end, code]
        except KeyError:
            series = self._found(call, front_end, code)
        series.buckets[bisect_left(self.bounds_s, elapsed_s)] += 1
        series.seconds += elapsed_s
        if received := exchange.bytes_in:
            series.bytes_in += received
        series.bytes_out += exchange.bytes_out

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        """Count a call that was one of several of a request, which has ended; its bytes are the request's."""
        reply = call.reply
        code: int = error.status.code if error is not None else Code.CANCELLED if reply is None else reply.status.code
        series = self._known.get((call.route, call.front_end, code)) or self._found(call, call.front_end, code)
        series.buckets[bisect_left(self.bounds_s, elapsed_s)] += 1
        series.seconds += elapsed_s

    def _uncalled(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """A request that led to no call: refused before, answered by the gateway itself, or a session."""
        if error is None and exchange.head.upgrade and exchange.status in (101, 200):
            self.sessions.setdefault(front_end, Count()).value += 1
            return
        code = error.status.code if error is not None else of_status(exchange.status)
        series = self._of((front_end, "", UNKNOWN, UNKNOWN, _name(code)))
        series.buckets[bisect_left(self.bounds_s, elapsed_s)] += 1
        series.seconds += elapsed_s
        series.bytes_in += exchange.bytes_in
        series.bytes_out += exchange.bytes_out

    def _found(self, call: Call, front_end: str, code: int) -> Series:
        series = self._of((front_end, *self._called(call), _name(code)))
        if call.route is not None and not isinstance(call.route.target, Several):
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[call.route, front_end, code] = series
        return series

    def _called(self, call: Call) -> tuple[str, str, str]:
        """Upstream, service and method, of the configuration's and the schemas' names alone."""
        if isinstance(call, Composite):
            # What clients call their requests has no bound.
            return "", "", call.kind
        method: Method | None = call.method
        route: Route | None = call.route
        upstream = self._upstream(call, route) if route is not None else ""
        if method is not None:
            return upstream, method.service, method.name
        if route is None:
            return upstream, UNKNOWN, UNKNOWN
        return upstream, "", route.path or route.name

    def _upstream(self, call: Call, route: Route) -> str:
        """The upstream that the call went to: of several, the one whose address it was."""
        target = route.target
        if isinstance(target, Several):
            for member in target.between:
                pool = self._pools.get(member.name)
                if pool is not None and any(one.label == call.upstream for one in pool.endpoints):
                    return member.name
        return target.name

    def _of(self, labels: Labels) -> Series:
        found = self.series.get(labels)
        if found is None:
            if len(self.series) >= self._most:
                labels = (labels[0], OVERFLOW, OVERFLOW, OVERFLOW, labels[4])
            found = self.series.setdefault(labels, Series(self._buckets))
        return found

    def routed(self, pools: Mapping[str, Addresses] = _NO_POOLS) -> None:
        """The routes are others from now on, and these the upstreams that they lead to."""
        self._pools = pools
        # Keyed by routes that nobody will come by again.
        self._known.clear()
        self._streams.clear()

    # --- messages of streams ------------------------------------------------------------------------------------------

    async def streamed(self, call: Call, carry: Handler) -> Reply:
        """Carry a call of a described method that is a stream, whose messages are counted."""
        if call.route is not None and isinstance(call.route.target, Several):
            return await self._split(call, carry)
        found = self._messages_of(call)
        if call.payloads is not None:
            call.payloads = _Messages(call.payloads, found.received)
        reply = await carry(call)
        if reply.payloads is not None:
            reply.payloads = _Messages(reply.payloads, found.sent)
        return reply

    async def _split(self, call: Call, carry: Handler) -> Reply:
        """The same where the upstream, and with it the count, is known only once the call has gone to it."""
        asked = None
        if call.payloads is not None:
            asked = call.payloads = _Messages(call.payloads, Count())
        try:
            reply = await carry(call)
        finally:
            found = self._messages_of(call)
            if asked is not None:
                found.received.value += asked.count.value
                asked.count = found.received
        if reply.payloads is not None:
            reply.payloads = _Messages(reply.payloads, found.sent)
        return reply

    def _messages_of(self, call: Call) -> Messages:
        key = (call.route, call.front_end)
        found = self._streams.get(key)
        if found is None:
            labels: StreamLabels = (call.front_end, *self._called(call))
            found = self.messages.get(labels)
            if found is None:
                if len(self.messages) >= self._most:
                    labels = (labels[0], OVERFLOW, OVERFLOW, OVERFLOW)
                found = self.messages.setdefault(labels, Messages())
            if len(self._streams) >= _KEPT:
                self._streams.clear()
            if call.route is None or not isinstance(call.route.target, Several):
                self._streams[key] = found
        return found

    # --- what is passed through ---------------------------------------------------------------------------------------

    def carried(self, what: Carried) -> None:
        """Count a connection that was passed through."""
        labels = (what.listener, what.kind, what.upstream, what.ended)
        found = self.passed.get(labels)
        if found is None:
            if len(self.passed) >= self._most:
                labels = (what.listener, what.kind, OVERFLOW, OVERFLOW)
            found = self.passed.setdefault(labels, Passed())
        found.connections += 1
        found.bytes_in += what.bytes_in
        found.bytes_out += what.bytes_out
        found.seconds += what.elapsed_s


class _Messages(PassingPayloads):
    """A stream's messages, counted as they are taken."""

    __slots__ = ("count",)

    def __init__(self, payloads: AsyncIterator[Payload], count: Count) -> None:
        super().__init__(payloads)
        self.count = count

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        self.count.value += 1
        return payload


_NAMES: Final = {int(code): code.name for code in Code}


def _name(code: int) -> str:
    """A service may send any number: those that are no Code are one."""
    return _NAMES.get(code, UNKNOWN.upper())
