"""Outlier ejection: which endpoints are taken out for a while, judged by how their calls go. Pure decisions; the pool
acts on them.

The rules and their defaults are Envoy's (outlier_detection.proto): errors in a row, success rate, failure percentage.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection
from typing import Generic, TypeVar

from protogw.errors import Code
from protogw.pools.settings import OutlierSettings

FAILURES = frozenset((Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS))
"""Statuses that speak against an endpoint; all others are an answer."""

E = TypeVar("E")


class Record:
    """How one endpoint has done."""

    __slots__ = ("calls", "ejected_until", "failed", "in_a_row", "times")

    def __init__(self) -> None:
        self.in_a_row = 0
        self.calls = 0
        self.failed = 0
        """Calls and failed calls since the last sweep."""
        self.times = 0
        """Ejections of late: each interval without one forgives one."""
        self.ejected_until = 0.0


class Outliers(Generic[E]):
    """The records of a pool's endpoints, and who is out. Times are those of one monotonic clock, in seconds."""

    def __init__(self, settings: OutlierSettings) -> None:
        self._settings = settings
        self._records: dict[E, Record] = {}
        self._swept = 0.0

    def is_out(self, endpoint: E, now: float) -> bool:
        record = self._records.get(endpoint)
        return record is not None and record.ejected_until > now

    def next_return(self, now: float) -> float | None:
        """When the next endpoint comes back, if one is out."""
        out = [record.ejected_until for record in self._records.values() if record.ejected_until > now]
        return min(out, default=None)

    def keep(self, endpoints: Collection[E]) -> None:
        """Forget every endpoint but these."""
        for gone in [endpoint for endpoint in self._records if endpoint not in endpoints]:
            del self._records[gone]

    def pardon(self, endpoint: E) -> None:
        """It has been found healthy by a check: it is out no longer."""
        record = self._records.get(endpoint)
        if record is not None:
            record.ejected_until = 0.0
            record.in_a_row = 0

    def ended(self, endpoint: E, failed: bool, of: int, now: float) -> bool:
        """A call on this endpoint, one `of` so many, has ended; true when that ejects it."""
        record = self._records.get(endpoint)
        if record is None:
            record = self._records[endpoint] = Record()
        record.calls += 1
        if not failed:
            record.in_a_row = 0
            return False
        record.failed += 1
        record.in_a_row += 1
        most = self._settings.consecutive_errors
        if not most or record.in_a_row < most or record.ejected_until > now:
            return False
        return self._eject(record, of, now)

    def sweep(self, of: int, now: float) -> list[E]:
        """Judge all endpoints by their calls since the last sweep; called at any time, works once an interval."""
        settings = self._settings
        if now - self._swept < settings.interval:
            return []
        self._swept = now
        ejected: list[E] = []
        for endpoint in self._bad(now):
            record = self._records[endpoint]
            if record.ejected_until <= now and self._eject(record, of, now):
                ejected.append(endpoint)
        for endpoint, record in self._records.items():
            record.calls = record.failed = 0
            if record.ejected_until <= now and record.times and endpoint not in ejected:
                record.times -= 1
        return ejected

    def _bad(self, now: float) -> list[E]:
        """Endpoints whose share of failed calls is too high, the worst first."""
        found: dict[E, float] = {}
        percentage = self._settings.failure_percentage
        if percentage is not None:
            for endpoint, record in self._records.items():
                if record.calls >= percentage.calls:
                    share = record.failed / record.calls
                    if share * 100 >= percentage.percent:
                        found[endpoint] = share
        rate = self._settings.success_rate
        if rate is not None:
            shares = {
                endpoint: 1 - record.failed / record.calls
                for endpoint, record in self._records.items()
                if record.calls >= rate.calls and record.ejected_until <= now
            }
            if len(shares) >= rate.endpoints:
                least = statistics.fmean(shares.values()) - rate.deviations * statistics.pstdev(shares.values())
                found |= {endpoint: 1 - share for endpoint, share in shares.items() if share < least}
        return sorted(found, key=lambda endpoint: -found[endpoint])

    def _eject(self, record: Record, of: int, now: float) -> bool:
        settings = self._settings
        out = sum(other.ejected_until > now for other in self._records.values())
        if out and (out + 1) * 100 > of * settings.max_percent:
            return False
        record.times += 1
        record.in_a_row = 0
        record.ejected_until = now + min(settings.ejection * record.times, settings.max_ejection)
        return True
