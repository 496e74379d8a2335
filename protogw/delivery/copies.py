"""Copies of calls that go elsewhere too: a share of them, so many at once, each with its own deadline.

A copy never delays or harms the call: it is a task of its own, and where there is no room for one there is none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from protogw.call import Call, Reply
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`share` of the calls, from 0 to 1; `in_flight` copies at once; `timeout_s` for each."""

    share: float = 1.0
    in_flight: int = 100
    timeout_s: float = 5.0


class Counts:
    """What has become of one route's copies."""

    __slots__ = ("dropped", "failed", "in_flight", "sent", "skipped")

    def __init__(self) -> None:
        self.sent = 0
        self.in_flight = 0
        self.dropped = 0
        """Not sent: too many were in flight."""
        self.skipped = 0
        """Not sent: a request that streams, which cannot be read twice."""
        self.failed = 0
        """Ended without an answer."""

    def shown(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("sent", "in_flight", "dropped", "skipped", "failed")}


class Copies:
    """Makes copies and runs them. `what` is how the log calls them."""

    def __init__(self, what: str, to: Target, bounds: Bounds, own: Own, counts: Counts) -> None:
        self._what = what
        self.to = to
        self._bounds = bounds
        self._own = own
        self.counts = counts

    def taken(self, call: Call) -> bool:
        """Whether this call is one to copy, and may be."""
        counts = self.counts
        if self._bounds.share < 1.0 and random.random() >= self._bounds.share:
            return False
        if call.payloads is not None or (call.head is not None and call.head.upgrade):
            counts.skipped += 1
            return False
        if counts.in_flight >= self._bounds.in_flight:
            counts.dropped += 1
            return False
        return True

    def copy(self, call: Call) -> Call:
        """The copy, marked and with its own deadline, which begins now."""
        made = twin(call, method=call.method, payload=call.payload)
        made.metadata = call.metadata.setting(MARK, self._what.encode())
        made.started = asyncio.get_running_loop().time()
        made.timeout = self._bounds.timeout_s
        made.deadline = made.started + self._bounds.timeout_s
        return made

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run this within the bounds of time; what it raises is counted."""
        self.counts.sent += 1
        self.counts.in_flight += 1
        self._own(asyncio.get_running_loop().create_task(self._bounded(work), name=self._what))

    async def _bounded(self, work: Callable[[], Awaitable[None]]) -> None:
        counts = self.counts
        try:
            async with asyncio.timeout(self._bounds.timeout_s):
                await work()
        except (GatewayError, TimeoutError):
            counts.failed += 1
        except Exception:  # a fault in a copy must harm nobody: the call it is a copy of goes its own way
            counts.failed += 1
            log.exception("%s: a fault of the gateway's own in a copy", self._what)
        finally:
            counts.in_flight -= 1


class Mirror:
    """A Target whose calls go to a second one too; what that answers is nobody's."""

    def __init__(self, target: Target, copies: Copies) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._copies = copies

    async def send(self, call: Call) -> Reply:
        copies = self._copies
        if copies.taken(call):
            copies.start(partial(self._tell, copies.copy(call)))
        return await self._target.send(call)

    async def _tell(self, copy: Call) -> None:
        await ignored(await self._copies.to.send(copy))


async def ignored(reply: Reply) -> None:
    """Read a reply to its end, or until it is too much, so that its connection is free again."""
    if reply.tunnel is not None:
        reply.tunnel.abort()
    payloads = reply.payloads
    if payloads is None:
        return
    read = 0
    try:
        async for payload in payloads:
            read += len(payload.data)
            if read > MOST_READ:
                break
    finally:
        if isinstance(payloads, AsyncGenerator):
            await payloads.aclose()
