"""How the calls of one side end, and how long they take."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.errors import OK, Code, GatewayError, Source, Status
from protogw.excused import excused
from protogw.policies.base import Target

KEPT = 1000
"""Latencies that are kept: the last ones."""

FAILURES = frozenset(
    (Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS)
)
"""Ends of a call that speak against the version that was asked; all others are an answer."""


class Latencies:
    """The last latencies, in seconds."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=KEPT)

    def add(self, seconds: float) -> None:
        self._last.append(seconds)

    def clear(self) -> None:
        self._last.clear()

    def quantile(self, share: float) -> float:
        """The latency that this share of the calls did not exceed; 0 without calls."""
        known = sorted(self._last)
        return known[min(len(known) - 1, int(share * len(known)))] if known else 0.0

    def shown(self) -> dict[str, float]:
        return {f"p{int(share * 100)}_ms": round(self.quantile(share) * 1000, 3) for share in (0.5, 0.95, 0.99)}


class Window:
    """The calls of one side since it was last cleared."""

    __slots__ = ("calls", "failed", "latencies")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.latencies = Latencies()

    def add(self, failed: bool, seconds: float) -> None:
        self.calls += 1
        self.failed += failed
        self.latencies.add(seconds)

    def clear(self) -> None:
        self.calls = self.failed = 0
        self.latencies.clear()

    @property
    def errors(self) -> float:
        """The share that failed, from 0 to 1."""
        return self.failed / self.calls if self.calls else 0.0


class Measured:
    """A Target whose calls are counted in a window."""

    def __init__(self, target: Target, window: Window) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._window = window

    async def send(self, call: Call) -> Reply:
        began = time.perf_counter()
        try:
            reply = await self._target.send(call)
        except GatewayError as error:
            blamed = error.source is Source.UPSTREAM or error.status.code in FAILURES
            self._ended(call, blamed, error.status, time.perf_counter() - began)
            raise
        except asyncio.CancelledError:
            if call.expired:
                self._ended(call, True, Status(Code.DEADLINE_EXCEEDED), time.perf_counter() - began)
            raise
        seconds = time.perf_counter() - began
        if reply.payloads is None:
            self._ended(call, _failed(reply), reply.status, seconds)
        else:
            reply.payloads = _Ending(reply.payloads, call, reply, self._window, seconds)
        return reply

    def _ended(self, call: Call, failed: bool, status: Status, seconds: float) -> None:
        if not failed or not excused(call, status, seconds):
            self._window.add(failed, seconds)


def _failed(reply: Reply) -> bool:
    return reply.head.status >= 500 if reply.head is not None else reply.status.code in FAILURES


class _Ending(PassingPayloads):
    """A reply's stream, which is counted once it has ended."""

    __slots__ = ("_call", "_reply", "_seconds", "_window")

    def __init__(
        self, payloads: AsyncIterator[Payload], call: Call, reply: Reply, window: Window, seconds: float
    ) -> None:
        super().__init__(payloads)
        self._call = call
        self._reply = reply
        self._window: Window | None = window
        self._seconds = seconds

    def _end(self, failed: bool, status: Status = OK) -> None:
        """A deadline of the client's own is a usual end of a stream."""
        window, self._window = self._window, None
        if window is not None:
            window.add(failed and not excused(self._call, status, 0.0), self._seconds)

    async def __anext__(self) -> Payload:
        try:
            return await self._payloads.__anext__()
        except StopAsyncIteration:
            self._end(_failed(self._reply), self._reply.status)
            raise
        except GatewayError as error:
            self._end(error.source is Source.UPSTREAM or error.status.code in FAILURES, error.status)
            raise

    async def aclose(self) -> None:
        """Left by whoever read it: it answered well as far as it went."""
        self._end(False)
        await super().aclose()
