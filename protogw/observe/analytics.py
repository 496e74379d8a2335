"""Who called what, how often, how well and how quickly: kept on the node, minute by minute, for days.

Counted in memory and written in batches by a thread of its own (`analytics_store`), so that a disk that is full, locked
or slow costs no call anything. Bounded in keys; what cannot be written is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from protogw.call import Composite
from protogw.counting import OVERFLOW
from protogw.errors import Code
from protogw.observe.analytics_store import BOUNDS_S, Batch, By, Row, Store, StoreFault
from protogw.observe.outcome import outcome

if TYPE_CHECKING:
    from protogw.call import Call, Fields
    from protogw.errors import GatewayError
    from protogw.frontends.base import Recorded
    from protogw.passthrough.base import Carried

log = logging.getLogger("protogw")

MOST_KEYS: Final = 10_000
"""Pairs of consumer and method, and GraphQL operations, between two writes; those beyond share one."""
COMPLAIN_S: Final = 60.0
_BOUNDS: Final = list(BOUNDS_S)


class Cell:
    """The calls of one consumer to one method since the last write."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "calls", "errors", "seconds")

    def __init__(self) -> None:
        self.calls = self.errors = self.bytes_in = self.bytes_out = 0
        self.seconds = 0.0
        self.buckets: dict[int, int] = {}


class Analytics:
    """A recorder of requests; `run` writes what it has counted every `every_s` seconds, until cancelled."""

    def __init__(
        self,
        store: Store,
        *,
        every_s: float = 10.0,
        keep_s: float = 30 * 86400.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0
        """Calls that could not be written."""
        self._store = store
        self._every_s = every_s
        self._keep_s = keep_s
        self._clock = clock
        self._cells: dict[tuple[str, str], Cell] = {}
        self._fields: dict[Fields, int] = {}
        # One thread, which alone has the file open.
        self._thread = ThreadPoolExecutor(1, "analytics")
        self._told_s = -COMPLAIN_S
        self._cleaned_s = 0.0

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """Count a request; called for every one."""
        call = exchange.call
        if call is None:
            return
        if isinstance(call, Composite):
            # Each of its calls is counted by itself; the bytes are the request's.
            cell = self._cell(call)
            fields = call.fields
            if fields is not None and (fields in self._fields or len(self._fields) < MOST_KEYS):
                self._fields[fields] = self._fields.get(fields, 0) + 1
        else:
            cell = self._counted(call, elapsed_s, outcome(exchange, error))
        cell.bytes_in += exchange.bytes_in
        cell.bytes_out += exchange.bytes_out

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        """Count one of the calls of a request."""
        reply = call.reply
        code = error.status.code if error is not None else Code.CANCELLED if reply is None else reply.status.code
        self._counted(call, elapsed_s, code)

    def carried(self, what: Carried) -> None:
        """What is passed through is nobody's call."""

    def _counted(self, call: Call, elapsed_s: float, code: int) -> Cell:
        cell = self._cell(call)
        cell.calls += 1
        if code:
            cell.errors += 1
        cell.seconds += elapsed_s
        bucket = bisect_left(_BOUNDS, elapsed_s)
        buckets = cell.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        return cell

    def _cell(self, call: Call) -> Cell:
        identity, method, route = call.identity, call.method, call.route
        who = identity.consumer or identity.subject if identity is not None else ""
        what = method.full_name if method is not None else route.title if route is not None else ""
        cell = self._cells.get((who, what))
        if cell is None:
            if len(self._cells) >= MOST_KEYS:
                who = what = OVERFLOW
            cell = self._cells.setdefault((who, what), Cell())
        return cell

    # --- to the file, and out of it -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write every so often, until cancelled; then what is left."""
        try:
            while True:
                await asyncio.sleep(self._every_s)
                await self.flush()
        finally:
            batch, calls = self._taken()
            self._thread.submit(self._write, batch, calls)
            self._thread.shutdown(wait=False)

    async def flush(self) -> None:
        """Write what was counted."""
        batch, calls = self._taken()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch, calls)

    async def report(self, by: By, since_s: float, limit: int) -> list[Row]:
        """What was counted in the last `since_s` seconds, most calls first; raises StoreFault."""
        await self.flush()
        since = self._clock() - since_s
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.report, by, since, limit)

    def _taken(self) -> tuple[Batch, int]:
        # The file takes UTF-8: half a surrogate pair, which a policy of the user's may have found, is no part of it.
        cells = [((who.encode("utf-8", "replace").decode(), what), one) for (who, what), one in self._cells.items()]
        self._cells = {}
        asked, self._fields = self._fields, {}
        fields: dict[str, int] = {}
        for operation, many in asked.items():
            for name in operation.names():
                fields[name] = fields.get(name, 0) + many
        minute = int(self._clock() // 60) * 60
        batch = Batch(
            calls=[
                (minute, who, what, one.calls, one.errors, one.bytes_in, one.bytes_out, one.seconds)
                for (who, what), one in cells
            ],
            latency=[
                (minute, who, what, bucket, many) for (who, what), one in cells for bucket, many in one.buckets.items()
            ],
            fields=[(minute, name, many) for name, many in fields.items()],
        )
        return batch, sum(one.calls for _, one in cells)

    def _write(self, batch: Batch, calls: int) -> None:
        """In the thread."""
        now = self._clock()
        try:
            if batch.calls or batch.fields:
                self._store.add(batch)
            if now - self._cleaned_s >= 3600:
                self._cleaned_s = now
                self._store.forget(now - self._keep_s)
        except StoreFault as fault:
            self.lost += calls
            if now - self._told_s >= COMPLAIN_S:
                self._told_s = now
                log.warning("analytics: %d calls are not kept: %s", calls, fault)
