"""Load shedding: what cannot be done in time is refused at once, the least important first, before all are late.

What is watched: how late the event loop is (a process with too much to do runs every callback late), calls in flight,
memory, file descriptors.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Reply
from protogw.counting import Count
from protogw.errors import Overloaded
from protogw.expressions import ExpressionError, ExpressionText, of_head
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.pressure import Valve, descriptors_used, memory_limit, memory_used
from protogw.policies.slots import Slot, held
from protogw.values import Percent, Positive, Seconds

log = logging.getLogger("protogw")

_LOOK_S = 0.05
_LOOK_AROUND_S = 1.0
_RETRY_S = 1.0

MOST_HELD = 1000
"""Calls whose refusal waits, at the most."""

_RANKS = {"low": 0, "normal": 1, "high": 2}
_ROOM = (0.8, 0.9, 1.0)
"""The part of `in_flight` that calls of each rank may fill."""


class ShedSettings(PolicySettings):
    """What is watched, and how much is too much."""

    lag: Positive | None = 0.05
    """How late the event loop may be; beyond it a growing part of the calls is refused."""
    hold: Seconds = 1.0
    """About how long a call that is refused for lag waits for that. Refusing costs as much as carrying: a client that
    came back at once would gain nothing and take the place of others. A thousand wait at the most, the others are
    refused at once; none waits for longer than half of the time that it has left."""
    in_flight: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Calls in flight under this policy, streams included; low ones up to 80 % of it, normal ones up to 90 %."""
    memory: Percent | None = 95.0
    """The share of the memory that this process may use (its cgroup's limit, else the machine's); beyond it every call
    is refused."""
    descriptors: Percent | None = 95.0
    """The share of file descriptors; beyond it every call is refused."""
    priority: ExpressionText | None = None
    """An expression that is "low", "normal" or "high": what is refused first and last. Default: all are normal."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.lag is None and self.in_flight is None and self.memory is None and self.descriptors is None:
            raise PydanticCustomError("shed", "{reason}", {"reason": "watches nothing"})
        return self


class Shed:
    """Refuses calls at once while the gateway has more to do than it can in time, the least important first."""

    kind: ClassVar[str] = "shed"
    Settings: ClassVar[type[PolicySettings]] = ShedSettings

    def __init__(
        self,
        settings: ShedSettings,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._priority = settings.priority
        self._in_flight = settings.in_flight
        self._valve = Valve(settings.lag) if settings.lag is not None else None
        self._chance = chance
        self._sleep = sleep
        self._memory = memory_limit() if settings.memory is not None else 0
        self._full = ""
        self._name = "shed"
        self.running = 0
        """Calls in flight, where that is limited."""
        self.held = 0
        """Calls whose refusal waits."""
        self.refused = Count()
        """Calls that were refused."""
        self.lag_s = 0.0
        """How late the event loop was when last looked at."""

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        self.refused = tools.count("shed_refused", "Calls that were refused because there was too much to do.")
        valve = self._valve
        if valve is not None:
            what = "The part of the calls that is refused because the event loop is late."
            tools.gauge("shed_part", what, lambda: valve.part)

    async def run(self) -> None:
        """Look at the event loop twenty times a second, and around once a second."""
        loop = asyncio.get_running_loop()
        around = 0.0
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOK_S)
            now = loop.time()
            self.look(max(0.0, now - before - _LOOK_S))
            if now >= around:
                around = now + _LOOK_AROUND_S
                self.look_around()

    def look(self, lag_s: float) -> None:
        """The event loop is so late."""
        self.lag_s = lag_s
        if self._valve is not None:
            before = self._valve.part
            part = self._valve.look(lag_s)
            if part and not before:
                log.warning("policies.%s: the event loop is %.0f ms late: calls are refused", self._name, lag_s * 1e3)
            elif before and not part:
                log.info("policies.%s: the event loop is in time again", self._name)

    def look_around(self) -> None:
        """See what is left of memory and file descriptors."""
        settings = self._settings
        full = ""
        if settings.memory is not None and self._memory and memory_used() * 100 >= self._memory * settings.memory:
            full = "memory"
        elif settings.descriptors is not None and descriptors_used() * 100 >= settings.descriptors:
            full = "file descriptors"
        if full != self._full:
            if full:
                log.warning("policies.%s: hardly any %s left: calls are refused", self._name, full)
            else:
                log.info("policies.%s: there are enough %s again", self._name, self._full)
            self._full = full

    @property
    def of_head(self) -> bool:
        return of_head(self._priority)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if self._full:
            raise self._refusal(f"hardly any {self._full} left")
        valve, most = self._valve, self._in_flight
        shedding = valve is not None and valve.part > 0
        rank, ranks = 0, 1
        if self._priority is not None and (shedding or most is not None):
            rank, ranks = self._rank(call), len(_RANKS)
        if shedding and valve is not None and not valve.admits(rank, ranks, self._chance()):
            await self._hold(call)
            raise self._refusal("there is too much to do")
        if most is None:
            return await forward(call)
        if self.running >= most * (_ROOM[rank] if self._priority is not None else 1.0):
            raise self._refusal(f"{self.running} calls are in flight")
        self.running += 1
        with Slot(self._leave) as slot:
            return held(await forward(call), slot)

    async def _hold(self, call: Call) -> None:
        """Let the client wait for its refusal, if there is room for one more."""
        seconds = self._settings.hold
        if call.deadline is not None:
            seconds = min(seconds, (call.deadline - asyncio.get_running_loop().time()) / 3)
        if self.held >= MOST_HELD or seconds <= 0:
            return
        self.held += 1
        try:
            # Not all for the same time: they would come back together.
            await self._sleep(seconds * (0.5 + self._chance()))
        finally:
            self.held -= 1

    def _leave(self) -> None:
        self.running -= 1

    def _rank(self, call: Call) -> int:
        assert self._priority is not None
        try:
            return _RANKS.get(str(self._priority.value(call)), 1)
        except ExpressionError:
            return 1

    def _refusal(self, why: str) -> Overloaded:
        self.refused.value += 1
        return Overloaded(f"overloaded: {why}", retry_after_s=_RETRY_S)
