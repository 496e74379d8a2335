"""Analytics in an SQLite file: batches in, reports out. Blocking; for one thread at a time, any number of processes.

Latencies are counted in buckets that grow by a quarter, so that minutes, consumers and nodes add up, and a percentile
is right to within an eighth.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

BOUNDS_S: Final = tuple(0.0001 * 1.25**step for step in range(63))
"""Upper bounds of the latency buckets, from 100 µs to 100 s."""
BUSY_MS: Final = 2000

By = Literal["consumer", "method", "field"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (
  minute INTEGER, consumer TEXT, method TEXT, calls INTEGER, errors INTEGER,
  bytes_in INTEGER, bytes_out INTEGER, seconds REAL,
  PRIMARY KEY (minute, consumer, method)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latency (
  minute INTEGER, consumer TEXT, method TEXT, bucket INTEGER, calls INTEGER,
  PRIMARY KEY (minute, consumer, method, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fields (
  minute INTEGER, field TEXT, calls INTEGER, PRIMARY KEY (minute, field)) WITHOUT ROWID;
"""

_ADD_CALLS: Final = """
INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  calls = calls + excluded.calls, errors = errors + excluded.errors, bytes_in = bytes_in + excluded.bytes_in,
  bytes_out = bytes_out + excluded.bytes_out, seconds = seconds + excluded.seconds"""
_ADD_LATENCY: Final = """
INSERT INTO latency VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls"""
_ADD_FIELDS: Final = """
INSERT INTO fields VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls"""

# Of two columns, whose names are this module's own.
_REPORT: Final = {
    by: (
        f"""SELECT {by}, SUM(calls), SUM(errors), SUM(bytes_in), SUM(bytes_out), SUM(seconds) FROM calls
        WHERE minute >= ? GROUP BY {by} ORDER BY 2 DESC, 1 LIMIT ?""",
        f"SELECT {by}, bucket, SUM(calls) FROM latency WHERE minute >= ? GROUP BY {by}, bucket ORDER BY {by}, bucket",
    )
    for by in ("consumer", "method")
}
_FIELDS: Final = "SELECT field, SUM(calls) FROM fields WHERE minute >= ? GROUP BY field ORDER BY 2 DESC, 1 LIMIT ?"


class StoreFault(Exception):
    """The file cannot be read or written; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows to add, in the order of the tables' columns."""

    calls: Sequence[tuple[int, str, str, int, int, int, int, float]]
    latency: Sequence[tuple[int, str, str, int, int]]
    fields: Sequence[tuple[int, str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a report. Of GraphQL's fields only the calls are known."""

    name: str
    calls: int
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Store:
    """The file, opened when it is first needed and after every fault."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._open: sqlite3.Connection | None = None

    def add(self, batch: Batch) -> None:
        """Add the rows to what is there, all of them or none; raises StoreFault."""
        with self._connection() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_ADD_CALLS, batch.calls)
            db.executemany(_ADD_LATENCY, batch.latency)
            db.executemany(_ADD_FIELDS, batch.fields)

    def forget(self, before: float) -> None:
        """Delete the minutes before this time (Unix seconds); raises StoreFault."""
        with self._connection() as db, db:
            for table in ("calls", "latency", "fields"):
                db.execute(f"DELETE FROM {table} WHERE minute < ?", (int(before),))

    def report(self, by: By, since: float, limit: int) -> list[Row]:
        """What was counted since then (Unix seconds), most calls first; raises StoreFault."""
        # A minute that had begun is told whole.
        first = int(since // 60) * 60
        with self._connection() as db:
            if by == "field":
                return [Row(name=name, calls=calls) for name, calls in db.execute(_FIELDS, (first, limit))]
            totals, latencies = _REPORT[by]
            rows = db.execute(totals, (first, limit)).fetchall()
            buckets: dict[str, list[tuple[int, int]]] = {}
            for name, bucket, calls in db.execute(latencies, (first,)):
                buckets.setdefault(name, []).append((bucket, calls))
        return [_row(row, buckets.get(row[0], [])) for row in rows]

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._open is None:
                self._open = self._opened()
            yield self._open
        except (sqlite3.Error, OSError) as error:
            # Whatever state it is in: the next wish opens it anew.
            with contextlib.suppress(sqlite3.Error):
                self.close()
            self._open = None
            raise StoreFault(f"{self._path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._read_only:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000, check_same_thread=False)
        db = sqlite3.connect(self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            # Readers and other workers do not wait for a writer; after a crash at most the last seconds are gone.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        return db


def _row(row: tuple[Any, ...], buckets: Sequence[tuple[int, int]]) -> Row:
    name, calls, errors, bytes_in, bytes_out, seconds = row
    return Row(
        name=name,
        calls=calls,
        errors=errors,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        mean_ms=round(seconds / calls * 1e3, 3) if calls else None,
        p50_ms=percentile(buckets, 0.50),
        p95_ms=percentile(buckets, 0.95),
        p99_ms=percentile(buckets, 0.99),
    )


def percentile(buckets: Sequence[tuple[int, int]], share: float) -> float | None:
    """Milliseconds that this share of the calls stayed within: the middle of its bucket; None without any calls.

    `buckets` are (index into BOUNDS_S, calls), growing.
    """
    total = sum(calls for _, calls in buckets)
    if not total:
        return None
    seen = bucket = 0
    for index, calls in buckets:
        bucket = index
        seen += calls
        if seen >= total * share:
            break
    if bucket >= len(BOUNDS_S):
        return round(BOUNDS_S[-1] * 1e3, 3)
    upper = BOUNDS_S[bucket]
    lower = BOUNDS_S[bucket - 1] if bucket else 0.0
    return round((lower + upper) / 2 * 1e3, 3)
