"""Rate limits: so many calls, messages or bytes in so much time, for each value of a key.

A refusal says when to come back, in the caller's own protocol. Counters live in this process or in Redis/Valkey; what
happens while that cannot be asked is the config's to say.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.counting import Count
from protogw.errors import LimitReached, Overloaded
from protogw.expressions import ExpressionText, of_head
from protogw.policies.base import Folding, Handler, PolicySettings, Tools
from protogw.policies.costs import MOST_COST, cost_of
from protogw.policies.left import FIELDS, left, tell
from protogw.policies.metered import MeteredTunnel
from protogw.policies.seldom import Seldom
from protogw.stores.base import Algorithm, CounterStore, StoreError, Taken, Window
from protogw.stores.memory import MemoryCounters
from protogw.values import LISTED, PerTime, StoreUrl
from protogw.wire.frames import Frames
from protogw.wire.http import ByteStream


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
    """What is counted: calls; the messages that clients send, of streams and sockets each by itself; or their bytes."""
    store: StoreUrl = ""
    """`redis://host:6379/0` to share the counters between gateways. Default: this node's memory."""
    on_error: Literal["open", "closed"] = "closed"
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


class RateLimit(Folding):
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
        self._reads_message = not of_head(settings.cost)
        self._bytes = settings.per == "byte"
        self._url = settings.store
        self._open = settings.on_error == "open"
        self._headers = settings.headers
        self._name = "rate_limit"
        self._prefix = "rate_limit "
        self._store: CounterStore = MemoryCounters()
        lone = self._calls and len(self._windows) == 1 and algorithm is Algorithm.TOKEN_BUCKET
        self._bucket = self._windows[0] if lone and isinstance(settings.cost, int) else None
        """The only window, where that is a token bucket of calls with a fixed cost."""
        self._memory: MemoryCounters | None = None
        self._telling = Seldom()
        self.failures = 0
        """Wishes that the store did not answer."""
        self._allowed, self._refused, self._unasked = Count(), Count(), Count()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        self._prefix = f"{tools.name} "
        self._store = tools.counters(self._url)
        # Its own, so that keys need not say whose they are.
        self._memory = self._store.apart() if isinstance(self._store, MemoryCounters) else None
        name, what = "rate_limit_decisions", "Calls, messages or pieces that a rate limit judged."
        self._allowed = tools.count(name, what, outcome="allowed")
        self._refused = tools.count(name, what, outcome="refused")
        self._unasked = tools.count(name, what, outcome="unasked_open" if self._open else "unasked_closed")

    @property
    def of_head(self) -> bool:
        return self._calls and of_head(self._by, self._cost)

    def around(self, forward: Handler) -> Handler:
        if self._memory is None or self._bucket is None:

            def ask(call: Call) -> Awaitable[Reply]:
                return self._asked(self._key(call), call, forward)

            return ask
        return self._counting(self._memory, self._bucket, forward)

    def _counting(self, memory: MemoryCounters, bucket: Window, forward: Handler) -> Handler:
        """The usual limit: a token bucket of calls in memory, counted without waiting or listing anything."""
        assert isinstance(self._cost, int)
        cost, headers, allowed, amount = self._cost, self._headers, self._allowed, bucket.amount
        key_of = _all_alike if self._by is None else self._by.key
        take = memory.taker(cost, bucket)
        tolerance, per_s = bucket.tolerance_s, 1.0 / bucket.emission_s

        def run(call: Call) -> Awaitable[Reply]:
            key = key_of(call)
            room = take(key)
            if room < 0.0:
                taken = memory.take_bucket(key, cost, bucket)
                if not taken.allowed:
                    raise self._refusal(call, bucket, taken)
                room = tolerance - taken.reset_s
            allowed.value += 1
            if headers:
                notes = FIELDS, (amount, int(room * per_s + 1e-6), math.ceil(tolerance - room))
                if call.notes is None:
                    call.notes = notes
                else:
                    tell(call, notes)
            return forward(call)

        return run

    def _key(self, call: Call) -> str:
        return self._name if self._by is None else self._prefix + self._by.key(call)

    async def _asked(self, key: str, call: Call, forward: Handler) -> Reply:
        """Count where there is more to look at, or to wait for."""
        least: tuple[Window, Taken] | None = None
        if self._calls:
            least = await self._take(key, call, None)
        elif call.payloads is None:
            if call.payload is not None:
                least = await self._take(key, call, call.payload)
        elif call.method is not None or self._bytes:
            call.payloads = _Counted(self, key, call, call.payloads)
        else:
            # A body is one message, in however many pieces it comes.
            least = await self._take(key, call, None)
        if least is not None and self._headers:
            window, taken = least
            tell(call, left(window.amount, taken.remaining, taken.reset_s))
        reply = await forward(call)
        if reply.tunnel is not None and not self._calls:
            reply.tunnel = self._metered(reply.tunnel, key, call)
        return reply

    def _metered(self, tunnel: ByteStream, key: str, call: Call) -> ByteStream:
        """What a client sends once it has left HTTP: a call like any other to who counts messages or bytes."""
        frames = None if self._bytes else Frames()

        async def spend(data: bytes) -> None:
            many = len(data) if frames is None else frames.begun(data)
            if many:
                await self._take(key, call, None, many)

        return MeteredTunnel(tunnel, spend)

    async def _take(self, key: str, call: Call, payload: Payload | None, many: int = 1) -> tuple[Window, Taken] | None:
        """The window that leaves the least once this is taken, and what it leaves; raises LimitReached."""
        cost = self._cost_of(call, payload) * many
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
            self._telling.unasked(self._name, "the store cannot be asked", error, let_through=self._open)
            if self._open:
                return None
            raise Overloaded("the rate limit cannot be looked up") from error
        judged = tuple(zip(self._windows, found, strict=True))
        refused = [one for one in judged if not one[1].allowed]
        if not refused:
            self._allowed.value += 1
            return min(judged, key=_remaining)
        raise self._refusal(call, *max(refused, key=_retry))

    def _refusal(self, call: Call, window: Window, taken: Taken) -> LimitReached:
        self._refused.value += 1
        # What another leaves is not what counts.
        call.notes = left(window.amount, taken.remaining, taken.reset_s) if self._headers else None
        return LimitReached(f"the limit of {self._name} is reached", taken.retry_s)

    def _cost_of(self, call: Call, payload: Payload | None) -> int:
        """What this counts for, at least 1; raises InvalidRequest when the expression says nothing of use."""
        size = len(payload.data) if self._bytes and payload is not None else 1
        written = self._cost
        if isinstance(written, int):
            return max(1, written * size)
        return cost_of(written, call, payload) * size


def _all_alike(call: Call) -> str:
    return ""


def _remaining(judged: tuple[Window, Taken]) -> int:
    return judged[1].remaining


def _retry(judged: tuple[Window, Taken]) -> float:
    return judged[1].retry_s


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
        if self._limit._reads_message:
            payload = payload.settled()
        await self._limit._take(self._key, self._call, payload)
        return payload
