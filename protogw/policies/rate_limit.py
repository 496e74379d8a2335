"""Rate limits: so many calls, messages or bytes in so much time, for each value of a key.

A refusal says when to come back, in the caller's own protocol. Counters live in this process or in Redis/Valkey; what
happens while that cannot be asked is the config's to say.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.counting import Count
from protogw.errors import LimitReached, Overloaded
from protogw.expressions import ExpressionText, of_head
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.costs import MOST_COST, cost_of
from protogw.policies.left import left, tell
from protogw.stores.base import Algorithm, CounterStore, StoreError, Taken, Window
from protogw.stores.memory import MemoryCounters
from protogw.values import LISTED, PerTime

log = logging.getLogger("protogw")

_COMPLAIN_S = 10.0


class RateLimitSettings(PolicySettings):
    """How much is let through, for whom, and where it is counted."""

    rate: Annotated[tuple[PerTime, ...], LISTED, Field(min_length=1, max_length=8)]
    """So many in so long, `100/minute`; or a list of such, all of which must admit a call."""
    burst: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """How many at once. Default: as many as the rate's own number."""
    by: ExpressionText | None = None
    """Whose limit it is: calls with an equal value share one. Default: one limit for all."""
    algorithm: Literal["token_bucket", "sliding_window"] = "token_bucket"
    """`token_bucket` lets a burst through and then a steady flow; `sliding_window` counts what any such time had."""
    cost: Annotated[int, Field(ge=1, le=MOST_COST)] | ExpressionText = 1
    """What a call counts for: a number, or an expression that is one."""
    per: Literal["call", "message", "byte"] = "call"
    """What is counted: calls; the messages that clients send, of streams each by itself; or their bytes."""
    store: Annotated[str, Field(pattern=r"^(|(redis|rediss|unix)://\S+)$", max_length=1000)] = ""
    """`redis://host:6379/0` to share the counters between gateways. Default: this node's memory."""
    on_error: Literal["open", "closed"] = "open"
    """What becomes of calls while the store cannot be asked: let through (and logged), or refused as UNAVAILABLE."""
    headers: bool = True
    """Tell clients what is left: `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(rate.amount < 1 for rate in self.rate):
            raise PydanticCustomError("rate", "{reason}", {"reason": "has a rate of 0, which lets nothing through"})
        if self.burst is not None and (len(self.rate) > 1 or self.algorithm != "token_bucket"):
            raise PydanticCustomError("rate", "{reason}", {"reason": "burst is for one rate, counted by token_bucket"})
        return self


class RateLimit:
    """Lets through so many calls, messages or bytes in so much time, for each value of a key."""

    kind: ClassVar[str] = "rate_limit"
    Settings: ClassVar[type[PolicySettings]] = RateLimitSettings

    def __init__(self, settings: RateLimitSettings) -> None:
        algorithm = Algorithm(settings.algorithm)
        self._windows = tuple(
            Window(amount=rate.amount, per_s=rate.per_s, burst=settings.burst or rate.amount, algorithm=algorithm)
            for rate in settings.rate
        )
        self._by = settings.by
        self._cost = settings.cost
        self._calls = settings.per == "call"
        self._bytes = settings.per == "byte"
        self._url = settings.store
        self._open = settings.on_error == "open"
        self._headers = settings.headers
        self._name = "rate_limit"
        self._prefix = "rate_limit "
        self._store: CounterStore = MemoryCounters()
        lone = self._calls and len(self._windows) == 1 and algorithm is Algorithm.TOKEN_BUCKET
        self._bucket = self._windows[0] if lone and isinstance(settings.cost, int) else None
        """The only window, where that is a token bucket of calls with a fixed cost: the usual limit, counted without
        waiting or listing anything where the counters are in memory."""
        self._memory: MemoryCounters | None = None
        self._limit = self._windows[0].amount
        self._told_s = -math.inf
        self.failures = 0
        """Wishes that the store did not answer."""
        self._allowed, self._refused, self._unasked = Count(), Count(), Count()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        self._prefix = f"{tools.name} "
        self._store = tools.counters(self._url)
        self._memory = self._store if isinstance(self._store, MemoryCounters) else None
        name, what = "rate_limit_decisions", "Calls, messages or pieces that a rate limit judged."
        self._allowed = tools.count(name, what, outcome="allowed")
        self._refused = tools.count(name, what, outcome="refused")
        self._unasked = tools.count(name, what, outcome="unasked_open" if self._open else "unasked_closed")

    @property
    def of_head(self) -> bool:
        return self._calls and of_head(self._by, self._cost)

    def __call__(self, call: Call, forward: Handler) -> Awaitable[Reply]:
        key = self._name if self._by is None else self._prefix + self._by.key(call)
        if self._bucket is None or self._memory is None:
            return self._asked(key, call, forward)
        taken = self._memory.take_bucket(key, self._cost, self._bucket)  # type: ignore[arg-type]
        if not taken.allowed:
            raise self._refusal(call, taken)
        self._allowed.value += 1
        if self._headers:
            tell(call, left(self._limit, taken.remaining, taken.reset_s))
        return forward(call)

    async def _asked(self, key: str, call: Call, forward: Handler) -> Reply:
        """The same where there is more to look at, or to wait for."""
        taken: Taken | None = None
        if self._calls:
            taken = await self._take(key, call, None)
        elif call.payloads is not None:
            call.payloads = _Counted(self, key, call, call.payloads)
        elif call.payload is not None:
            taken = await self._take(key, call, call.payload)
        if taken is not None and self._headers:
            tell(call, left(self._limit, taken.remaining, taken.reset_s))
        return await forward(call)

    async def _take(self, key: str, call: Call, payload: Payload | None) -> Taken | None:
        """What is left once this is taken, of the window with the least; raises LimitReached."""
        cost = self._cost_of(call, payload)
        store = self._store
        try:
            found = (
                store.take_now(key, cost, self._windows)
                if isinstance(store, MemoryCounters)
                else await store.take(key, cost, self._windows)
            )
        except StoreError as error:
            self.failures += 1
            self._unasked.value += 1
            self._complain(error)
            if self._open:
                return None
            raise Overloaded("the rate limit cannot be looked up") from error
        refused = [taken for taken in found if not taken.allowed]
        if not refused:
            self._allowed.value += 1
            return min(found, key=_remaining)
        raise self._refusal(call, max(refused, key=_retry))

    def _refusal(self, call: Call, taken: Taken) -> LimitReached:
        self._refused.value += 1
        # What another leaves is not what counts.
        call.notes = left(self._limit, taken.remaining, taken.reset_s) if self._headers else ()
        return LimitReached(f"the limit of {self._name} is reached", taken.retry_s)

    def _cost_of(self, call: Call, payload: Payload | None) -> int:
        """What this counts for, at least 1; raises InvalidRequest when the expression says nothing of use."""
        size = len(payload.data) if self._bytes and payload is not None else 1
        written = self._cost
        if isinstance(written, int):
            return max(1, written * size)
        return cost_of(written, call, payload) * size

    def _complain(self, error: StoreError) -> None:
        now = time.monotonic()
        if now - self._told_s >= _COMPLAIN_S:
            self._told_s = now
            become = "let through" if self._open else "refused"
            log.warning("policies.%s: the store cannot be asked, calls are %s: %s", self._name, become, error)


def _remaining(taken: Taken) -> int:
    return taken.remaining


def _retry(taken: Taken) -> float:
    return taken.retry_s


class _Counted(PassingPayloads):
    """The messages of a request, each counted before it goes on; the one that is too many ends the call."""

    __slots__ = ("_call", "_key", "_limit")

    def __init__(self, limit: RateLimit, key: str, call: Call, payloads: AsyncIterator[Payload]) -> None:
        self._limit = limit
        self._key = key
        self._call = call
        super().__init__(payloads)

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        await self._limit._take(self._key, self._call, payload)
        return payload
