"""What the gateway counts → an OpenTelemetry collector, every so often: the same families that Prometheus is shown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

log = logging.getLogger("protogw")

_SCOPE: Final = InstrumentationScope("protogw")
_UNITS: Final = {"seconds": "s", "bytes": "By"}


class Push:
    """Sends all families every so often, from a thread; a collector that is slow or gone only makes them late."""

    def __init__(
        self,
        url: str,
        families: Callable[[], Iterable[Family]],
        *,
        headers: Mapping[str, str],
        service: str,
        attributes: Mapping[str, str],
        every_s: float,
        timeout_s: float,
    ) -> None:
        self.failed = 0
        """Times that the collector took nothing."""
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # `run` tells, once
        self._exporter = OTLPMetricExporter(url, headers=dict(headers), timeout=timeout_s, compression=Compression.Gzip)
        self._families = families
        self._resource = Resource.create({**attributes, "service.name": service})
        self._every_s = every_s
        self._began_ns = time.time_ns()

    async def run(self) -> None:
        """Send until cancelled."""
        told = False
        while True:
            await asyncio.sleep(self._every_s)
            found = list(self._families())
            if await asyncio.to_thread(self._send, found):
                told = False
                continue
            self.failed += 1
            if not told:
                told = True
                log.warning("metrics: the collector does not take them; they are told again every %g s", self._every_s)

    def _send(self, families: Iterable[Family]) -> bool:
        made = metrics_data(families, self._resource, self._began_ns, time.time_ns())
        return self._exporter.export(made) is MetricExportResult.SUCCESS


def metrics_data(families: Iterable[Family], resource: Resource, began_ns: int, now_ns: int) -> MetricsData:
    """The families as the SDK's exporters take them: cumulative sums, gauges and histograms."""
    metrics = [_metric(family, began_ns, now_ns) for family in families if family.samples]
    scope = ScopeMetrics(scope=_SCOPE, metrics=metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def _metric(family: Family, began_ns: int, now_ns: int) -> Metric:
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        data = Histogram(_histogram(family, began_ns, now_ns), AggregationTemporality.CUMULATIVE)
    else:
        points = [
            NumberDataPoint(dict(sample.labels), began_ns, now_ns, float(sample.value))
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        counts = family.type == "counter"
        data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counts else Gauge(points)
    unit = _UNITS.get(family.name.rpartition("_")[2], "1")
    return Metric(name=family.name, description=family.documentation, unit=unit, data=data)


def _histogram(family: Family, began_ns: int, now_ns: int) -> list[HistogramDataPoint]:
    """Prometheus' cumulative buckets as OpenTelemetry's own, one point for each set of labels."""
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    found = []
    for labels, cumulative in buckets.items():
        cumulative.sort()
        counts = [
            many - before for (_, many), before in zip(cumulative, [0, *(n for _, n in cumulative)], strict=False)
        ]
        found.append(
            HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=began_ns,
                time_unix_nano=now_ns,
                count=cumulative[-1][1],
                sum=sums.get(labels, 0.0),
                bucket_counts=counts,
                explicit_bounds=[bound for bound, _ in cumulative[:-1]],
                min=float("nan"),
                max=float("nan"),
            )
        )
    return found
