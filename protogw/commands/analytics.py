"""`protogw analytics`: what a gateway has counted of its consumers, methods and GraphQL fields, out of its file."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from pydantic_core import PydanticCustomError

from protogw.commands.configured import loaded
from protogw.commands.terminal import CommandFailed, note, print_json, print_table
from protogw.observe.analytics_store import By, Row, Store, StoreFault
from protogw.values import parse_duration


def analytics(path: Path, *, by: By, since: str, limit: int, as_json: bool) -> None:
    try:
        since_s = parse_duration(since)
    except PydanticCustomError as error:
        raise CommandFailed(f'--since: "{since}" {error.message()}', code=2) from error
    config, _ = loaded(path)
    written = config.analytics
    if written is None:
        raise CommandFailed(f"{path}: has no analytics: write analytics: {{ path: analytics.db }}")
    file = Path(written.path)
    if not file.exists():
        raise CommandFailed(f"{file}: nothing has been counted yet")
    store = Store(file, read_only=True)
    try:
        rows = store.report(by, time.time() - since_s, limit)
    except StoreFault as fault:
        raise CommandFailed(str(fault)) from fault
    finally:
        store.close()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        note(f"nothing was counted in the last {since}")
        return
    if by == "field":
        print_table(("field", "requests"), [(row.name, str(row.calls)) for row in rows])
        return
    columns = (by, "calls", "errors", "share", "p50", "p95", "p99", "received", "sent")
    print_table(columns, [_cells(row, "(nobody)" if by == "consumer" else "(none)") for row in rows])


def _cells(row: Row, nothing: str) -> tuple[str, ...]:
    share = f"{row.errors / row.calls:.1%}" if row.calls else "-"
    return (
        row.name or nothing,
        str(row.calls),
        str(row.errors),
        share,
        _time(row.p50_ms),
        _time(row.p95_ms),
        _time(row.p99_ms),
        _size(row.bytes_in),
        _size(row.bytes_out),
    )


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def _size(size: int) -> str:
    for unit, step in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << step:
            return f"{size / (1 << step):.1f} {unit}"
    return f"{size} B"
