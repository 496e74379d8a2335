"""Copies of calls that go elsewhere too: a share of them, so many at once, each with its own deadline.

A copy never delays or harms the call: it is a task of its own, and where there is no room for one there is none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from protogw.call import Call, Payload, Reply
from protogw.delivery.twin import twin
from protogw.errors import GatewayError
from protogw.policies.base import Target

log = logging.getLogger("protogw")

Own = Callable[["asyncio.Task[None]"], None]
"""Keeps a task until it ends or the gateway does."""

MARK = b"x-protogw-copy"
"""The field that tells the other upstream that nobody waits for its answer."""

MOST_READ = 1 << 20
"""Bytes of a copy's answer that are read where it is a stream."""

_LATER_S = 1.0
"""How much later than it is a service is told that a copy's time is over: ending first, it would answer so."""

OUTCOMES = ("sent", "dropped", "skipped", "behind", "cancelled", "failed")
"""What becomes of copies; all but those not sent are among `sent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`share` of the calls, from 0 to 1; `in_flight` copies at once; `timeout_s` for each."""

    share: float = 1.0
    in_flight: int = 100
    timeout_s: float = 5.0


class Counts:
    """What has become of one route's copies."""

    __slots__ = (*OUTCOMES, "in_flight")

    def __init__(self) -> None:
        self.sent = 0
        self.in_flight = 0
        self.dropped = 0
        """Not sent: too many were in flight."""
        self.skipped = 0
        """Not sent: a request for another protocol than HTTP, whose two sides then talk as they like."""
        self.behind = 0
        """Ended: more of the call's messages were waiting for it than are kept."""
        self.cancelled = 0
        """Ended: the call's client went away, or its request came to no end."""
        self.failed = 0
        """Ended without an answer."""

    def shown(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in (*OUTCOMES, "in_flight")}


class Copies:
    """Makes copies and runs them. `what` is how the log calls them."""

    def __init__(self, what: str, to: Target, bounds: Bounds, own: Own, counts: Counts) -> None:
        self._what = what
        self.to = to
        self._bounds = bounds
        self._own = own
        self.counts = counts

    def taken(self, call: Call) -> bool:
        """Whether this call is one to copy, and may be: at most once, however often it is tried, and wherever."""
        counts = self.counts
        tries, attributes = call.tries, call.attributes
        if (tries is not None and tries.number > 1) or (attributes is not None and self._what in attributes):
            return False
        if self._bounds.share < 1.0 and random.random() >= self._bounds.share:
            return False
        if call.head is not None and call.head.upgrade:
            counts.skipped += 1
            return False
        if counts.in_flight >= self._bounds.in_flight:
            counts.dropped += 1
            return False
        call.attributes = {**(attributes or {}), self._what: True}
        return True

    def copy(self, call: Call, payloads: AsyncIterator[Payload] | None = None) -> Call:
        """The copy, marked and with its own deadline, which begins now; `payloads` where its request streams."""
        made = twin(call, method=call.method, payload=call.payload, payloads=payloads)
        made.metadata = call.metadata.setting(MARK, self._what.encode())
        made.started = asyncio.get_running_loop().time()
        made.timeout = self._bounds.timeout_s
        made.deadline = made.started + self._bounds.timeout_s + _LATER_S
        return made

    def start(
        self, work: Callable[[], Awaitable[None]], expire: Callable[[], bool] | None = None
    ) -> asyncio.Task[None]:
        """Run this within the bounds of time; what it raises is counted, and that the time is over where `expire` does
        not say that it has been."""
        self.counts.sent += 1
        self.counts.in_flight += 1
        task = asyncio.get_running_loop().create_task(self._bounded(work, expire), name=self._what)
        # Not in the task itself, which does not even begin when it is cancelled at once.
        task.add_done_callback(self._over)
        self._own(task)
        return task

    def _over(self, _: asyncio.Task[None]) -> None:
        self.counts.in_flight -= 1

    async def _bounded(self, work: Callable[[], Awaitable[None]], expire: Callable[[], bool] | None) -> None:
        counts = self.counts
        try:
            async with asyncio.timeout(self._bounds.timeout_s):
                await work()
        except TimeoutError:
            if expire is None or not expire():
                counts.failed += 1
        except GatewayError:
            counts.failed += 1
        except Exception:  # a fault in a copy must harm nobody: the call it is a copy of goes its own way
            counts.failed += 1
            log.exception("%s: a fault of the gateway's own in a copy", self._what)


async def ignored(reply: Reply, most: int = MOST_READ) -> None:
    """Read a reply to its end, or until it is over `most` bytes, so that its connection is free again."""
    if reply.tunnel is not None:
        reply.tunnel.abort()
    payloads = reply.payloads
    if payloads is None:
        return
    read = 0
    try:
        async for payload in payloads:
            read += len(payload.data)
            if read > most:
                break
    finally:
        if isinstance(payloads, AsyncGenerator):
            await payloads.aclose()
