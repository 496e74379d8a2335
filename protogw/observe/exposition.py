"""What the gateway counts as Prometheus' text or OpenMetrics: made by prometheus-client, only when it is asked for.

The numbers are copied in the event loop and made into text beside it, so that a scrape of many series holds up no call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from protogw.net.listener import Listener

if TYPE_CHECKING:
    from protogw.gateway import Gateway
    from protogw.observe.metrics import Metrics

PREFIX = "protogw_"
REQUEST = ("frontend", "upstream", "service", "method", "code")
_STATES = ("ready", "unreachable", "ejected", "unwell", "breaker open")


class Exposition:
    """Reads everything that is counted. `dropped` says how many lines of the access log were lost."""

    def __init__(
        self,
        metrics: Metrics,
        gateway: Gateway,
        *,
        version: str = "",
        lag_s: Callable[[], float] = lambda: 0.0,
        dropped: Callable[[], int] | None = None,
    ) -> None:
        self._metrics = metrics
        self._gateway = gateway
        self._version = version
        self._lag_s = lag_s
        self._dropped = dropped
        # Of no registry: nobody else's metrics are told, and several gateways may run in one process.
        self._process = ProcessCollector(registry=None)
        self._platform = PlatformCollector(registry=None)

    async def text(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text, in the form that the client accepts."""
        encode, content_type = choose_encoder(accept)
        made = _Made(self.families())
        return content_type, await asyncio.to_thread(encode, made)

    def families(self) -> list[Metric]:
        """Everything, as it is now."""
        found = [*self._requests(), *self._streams(), *self._passed(), *self._listeners(), *self._upstreams()]
        found += [*self._counts(), *self._own()]
        return found

    def _requests(self) -> Iterator[Metric]:
        metrics = self._metrics
        bounds = [str(floatToGoString(bound)) for bound in (*metrics.bounds_s, float("inf"))]  # type: ignore[no-untyped-call]
        total = CounterMetricFamily(
            PREFIX + "requests", "Requests, and the calls that they are made of.", labels=REQUEST
        )
        took = HistogramMetricFamily(
            PREFIX + "request_duration_seconds", "From a request's head to the end of its answer.", labels=REQUEST
        )
        received = CounterMetricFamily(PREFIX + "request_bytes", "Bytes of request bodies.", labels=REQUEST)
        sent = CounterMetricFamily(PREFIX + "response_bytes", "Bytes of answers' bodies.", labels=REQUEST)
        for labels, series in metrics.series.items():
            counted = list(accumulate(series.buckets))
            total.add_metric(labels, counted[-1])
            took.add_metric(labels, list(zip(bounds, counted, strict=True)), series.seconds)
            received.add_metric(labels, series.bytes_in)
            sent.add_metric(labels, series.bytes_out)
        yield from (total, took, received, sent)
        sessions = CounterMetricFamily(
            PREFIX + "sessions", "Sockets that carried any number of calls and have ended.", labels=("frontend",)
        )
        for front_end, count in metrics.sessions.items():
            sessions.add_metric((front_end,), count.value)
        yield sessions

    def _streams(self) -> Iterator[Metric]:
        received = CounterMetricFamily(
            PREFIX + "stream_messages_received", "Messages that clients streamed.", labels=REQUEST[:4]
        )
        sent = CounterMetricFamily(
            PREFIX + "stream_messages_sent", "Messages that services streamed.", labels=REQUEST[:4]
        )
        for labels, messages in self._metrics.messages.items():
            received.add_metric(labels, messages.received.value)
            sent.add_metric(labels, messages.sent.value)
        yield from (received, sent)

    def _passed(self) -> Iterator[Metric]:
        labels = ("listener", "kind", "endpoint", "ended")
        many = CounterMetricFamily(
            PREFIX + "passed_connections", "Connections and sessions that were passed through.", labels=labels
        )
        seconds = CounterMetricFamily(PREFIX + "passed_seconds", "How long they were open, in all.", labels=labels)
        received = CounterMetricFamily(PREFIX + "passed_received_bytes", "Bytes of their clients.", labels=labels)
        sent = CounterMetricFamily(PREFIX + "passed_sent_bytes", "Bytes of their services.", labels=labels)
        for values, passed in self._metrics.passed.items():
            many.add_metric(values, passed.connections)
            seconds.add_metric(values, passed.seconds)
            received.add_metric(values, passed.bytes_in)
            sent.add_metric(values, passed.bytes_out)
        yield from (many, seconds, received, sent)

    def _listeners(self) -> Iterator[Metric]:
        one = ("listener",)
        flying = GaugeMetricFamily(PREFIX + "requests_in_flight", "Requests being served.", labels=one)
        open_ = GaugeMetricFamily(PREFIX + "listener_connections", "Open connections of clients.", labels=one)
        held = CounterMetricFamily(
            PREFIX + "listener_accepts_held", "Times that accepting paused for want of descriptors.", labels=one
        )
        came = CounterMetricFamily(
            PREFIX + "listener_accepted", "Connections by what became of them.", labels=("listener", "outcome")
        )
        for name, listener in self._gateway.listeners.items():
            if not isinstance(listener, Listener):
                continue
            flying.add_metric((name,), listener.active)
            open_.add_metric((name,), listener.connections)
            held.add_metric((name,), listener.accepts_held)
            seen = listener.counters
            outcomes = {
                "http1": seen.http1,
                "http2": seen.http2,
                "denied": seen.denied,
                "refused": seen.refused,
                "handshake_failed": seen.handshakes_failed,
            }
            for outcome, many in outcomes.items():
                came.add_metric((name, outcome), many)
        yield from (flying, open_, held, came)

    def _upstreams(self) -> Iterator[Metric]:
        where = ("upstream", "endpoint")
        state = GaugeMetricFamily(
            PREFIX + "endpoint_state", "1 for the state that an address is in.", labels=(*where, "state")
        )
        flying = GaugeMetricFamily(PREFIX + "endpoint_in_flight", "Calls in flight on an address.", labels=where)
        open_ = GaugeMetricFamily(PREFIX + "endpoint_connections", "Open connections to an address.", labels=where)
        up = GaugeMetricFamily(PREFIX + "upstream_reachable", "An address is not down.", labels=("upstream",))
        known = GaugeMetricFamily(
            PREFIX + "upstream_described", "Its schema is known, where it has one.", labels=("upstream",)
        )
        tripped = GaugeMetricFamily(
            PREFIX + "breakers_open", "Methods on addresses whose breaker is not closed.", labels=("upstream",)
        )
        opened = CounterMetricFamily(PREFIX + "breaker_opened", "Times that a breaker opened.", labels=("upstream",))
        for name, pool in self._gateway.pools.items():
            up.add_metric((name,), pool.reachable)
            if pool.breaker is not None:
                tripped.add_metric((name,), pool.breaker.tripped)
                opened.add_metric((name,), pool.breaker.opened)
            for endpoint in pool.endpoints:
                is_in = pool.state(endpoint).partition(":")[0]
                for one in _STATES:
                    state.add_metric((name, endpoint.label, one), one == is_in)
                flying.add_metric((name, endpoint.label), endpoint.active)
                open_.add_metric((name, endpoint.label), endpoint.connections)
        for name, raw in self._gateway.endpoints.items():
            up.add_metric((name,), raw.reachable)
            for address in raw.endpoints:
                is_in = "unreachable" if address.down_until else "ready"
                for one in _STATES:
                    state.add_metric((name, address.label, one), one == is_in)
                open_.add_metric((name, address.label), address.active)
        offering = self._gateway.offering
        if offering is not None:
            for name in offering.awaited:
                known.add_metric((name,), 0)
            for name in offering.schemas:
                known.add_metric((name,), 1)
        yield from (state, flying, open_, up, known, tripped, opened)

    def _counts(self) -> Iterator[Metric]:
        for family in self._gateway.counts:
            name = PREFIX + family.name
            if family.gauges:
                gauge = GaugeMetricFamily(name, family.what, labels=family.labels)
                for labels, read in tuple(family.gauges.items()):
                    gauge.add_metric(labels, read())
                yield gauge
            else:
                counter = CounterMetricFamily(name, family.what, labels=family.labels)
                for labels, count in tuple(family.counts.items()):
                    counter.add_metric(labels, count.value)
                for labels, read in tuple(family.totals.items()):
                    counter.add_metric(labels, read())
                yield counter

    def _own(self) -> Iterator[Metric]:
        gateway = self._gateway
        yield InfoMetricFamily(PREFIX.rstrip("_"), "The gateway itself.", {"version": self._version})
        yield GaugeMetricFamily(PREFIX + "methods", "Methods that are offered.", len(gateway.catalog.methods))
        yield GaugeMetricFamily(PREFIX + "draining", "It is told to stop.", int(gateway.draining))
        yield GaugeMetricFamily(
            PREFIX + "event_loop_lag_seconds", "How late the event loop was at most since the last look.", self._lag_s()
        )
        if self._dropped is not None:
            yield CounterMetricFamily(
                PREFIX + "access_log_dropped_lines",
                "Lines that could not be written.",
                self._dropped(),
            )
        yield from self._process.collect()
        yield from self._platform.collect()


class _Made:
    """What prometheus-client takes for a registry: families that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Lag:
    """How late the event loop is: a callback that is due every so often says by how much it came late."""

    EVERY_S = 0.5

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._most_s = 0.0
        self._due = loop.time() + self.EVERY_S
        self._timer = loop.call_at(self._due, self._came)

    def _came(self) -> None:
        now = self._loop.time()
        self._most_s = max(self._most_s, now - self._due)
        self._due = now + self.EVERY_S
        self._timer = self._loop.call_at(self._due, self._came)

    def most_s(self) -> float:
        """The most since this was last asked."""
        found = max(self._most_s, self._loop.time() - self._due)
        self._most_s = 0.0
        return found

    def close(self) -> None:
        self._timer.cancel()
