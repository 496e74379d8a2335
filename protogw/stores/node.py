"""Counters that the worker processes of one node share: one process counts, the others take from it in advance.

A worker holds a few tokens of each key that is in use (a lease), so that most wishes are met without asking. How many
depends on how fast they are used, and is at most a fiftieth of the limit for all workers together: so much may be
held somewhere when another worker is refused. A refusal is remembered until it may be otherwise, which nobody else's
taking can bring forward. So a flood of refused calls asks nobody either.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from protogw.stores.base import StoreError, Taken, Window
from protogw.stores.memory import MOST_KEYS, MemoryCounters
from protogw.stores.places import Places

SHARE = 0.02
"""Of a limit, what all workers together may hold in advance."""
QUICK_S = 0.05
"""A lease that is used up within this time was too small."""
TIMEOUT_S = 0.5
"""How long one question may take."""


class Gone(Exception):
    """Nobody counts for this node any more."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What was taken for a worker: `granted` tokens, 0 when refused, and what became of each window."""

    granted: int
    found: Sequence[Taken]


Ask = Callable[[str, int, int, Sequence[Window]], Awaitable[Grant]]
"""Takes `wanted` for a key, or fewer, but `cost` at least; raises Gone, or StoreError."""


def grant(counters: MemoryCounters, key: str, cost: int, wanted: int, windows: Sequence[Window]) -> Grant:
    """Take as much of `wanted` as there is, if that is at least `cost`."""
    if wanted > cost:
        found = counters.take_now(key, wanted, windows)
        if all(taken.allowed for taken in found):
            return Grant(wanted, found)
        left = min(taken.remaining for taken in found)
        if cost < left < wanted:
            found = counters.take_now(key, left, windows)
            if all(taken.allowed for taken in found):
                return Grant(left, found)
    found = counters.take_now(key, cost, windows)
    return Grant(cost if all(taken.allowed for taken in found) else 0, found)


class _Lease:
    """What a worker holds of one key."""

    __slots__ = ("asked", "found", "refused", "refused_cost", "refused_until", "since", "size", "tokens", "until")

    def __init__(self) -> None:
        self.tokens = 0
        self.size = 1
        """How many to ask for next."""
        self.since = 0.0
        """When the tokens were granted."""
        self.until = 0.0
        """When they would be back anyway: then they are no longer good."""
        self.found: Sequence[Taken] = ()
        self.refused: Sequence[Taken] = ()
        self.refused_cost = 0
        self.refused_until = 0.0
        self.asked: asyncio.Future[None] | None = None
        """A question is on its way."""


class NodeCounters:
    """A CounterStore of a worker. `share` is how many workers there are."""

    def __init__(
        self,
        ask: Ask,
        share: int,
        *,
        places: Places | None = None,
        most: int = MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places = places
        """Those of this node."""
        self.questions = 0
        """Times that somebody else had to be asked."""
        self._ask = ask
        self._share = share
        self._most = most
        self._clock = clock
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._alone: MemoryCounters | None = None
        """Counts once nobody else does: each worker its share of every limit."""

    def __len__(self) -> int:
        return len(self._leases)

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        if self._alone is not None:
            return self._alone.take_now(key, cost, [self._part(window) for window in windows])
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease()
            self._make_room()
        else:
            self._leases.move_to_end(key)
        while True:
            now = self._clock()
            if cost <= lease.tokens and now < lease.until:
                lease.tokens -= cost
                held = lease.tokens
                return [Taken(True, one.remaining + held, one.reset_s, 0.0) for one in lease.found]
            if now < lease.refused_until and cost >= lease.refused_cost:
                passed = lease.refused_until - now
                most = max(taken.retry_s for taken in lease.refused)
                return [
                    taken if taken.allowed else taken._replace(retry_s=max(0.001, taken.retry_s - most + passed))
                    for taken in lease.refused
                ]
            if lease.asked is not None:
                await asyncio.shield(lease.asked)
                if self._alone is not None:
                    return await self.take(key, cost, windows)
                continue
            try:
                return await self._lease(lease, key, cost, windows, now)
            except Gone:
                self._alone = MemoryCounters(self._most, self._clock)
                self._leases.clear()
                return await self.take(key, cost, windows)

    async def _lease(
        self, lease: _Lease, key: str, cost: int, windows: Sequence[Window], now: float
    ) -> Sequence[Taken]:
        """Ask for this wish, and for some more; what there was is used up."""
        most = max(1, int(min(window.burst for window in windows) * SHARE / self._share))
        if now - lease.since < QUICK_S:
            lease.size = min(most, lease.size * 2)
        else:
            lease.size = min(most, max(1, lease.size // 2))
        self.questions += 1
        lease.asked = asyncio.get_running_loop().create_future()
        held = lease.tokens if now < lease.until else 0
        lease.tokens = 0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                got = await self._ask(key, cost - held, max(cost - held, lease.size), windows)
        except TimeoutError as error:
            lease.tokens = held
            raise StoreError(f"no answer within {TIMEOUT_S:g} s") from error
        except BaseException:
            lease.tokens = held
            raise
        finally:
            lease.asked.set_result(None)
            lease.asked = None
        now = self._clock()
        if not got.granted:
            lease.tokens = held
            lease.refused = got.found
            # What is held here is taken into account: so much less is wanted of the others.
            lease.refused_cost = cost
            lease.refused_until = now + max(taken.retry_s for taken in got.found if not taken.allowed)
            return got.found
        lease.found = got.found
        lease.tokens = got.granted + held - cost
        lease.since = now
        lease.until = now + min(taken.reset_s for taken in got.found)
        lease.refused_until = 0.0
        return [taken._replace(remaining=taken.remaining + lease.tokens) for taken in got.found]

    def _part(self, window: Window) -> Window:
        return replace(window, amount=max(1, window.amount // self._share), burst=max(1, window.burst // self._share))

    def _make_room(self) -> None:
        while len(self._leases) > self._most:
            oldest = next(iter(self._leases))
            if self._leases[oldest].asked is not None:
                self._leases.move_to_end(oldest)
                continue
            del self._leases[oldest]

    async def close(self) -> None:
        self._leases.clear()
