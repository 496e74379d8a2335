"""Adaptive concurrency: no more calls at once than a service carries without a queue, which is found out by itself."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar

from protogw.call import Call, Reply
from protogw.counting import Count
from protogw.errors import Code, Overloaded, Source, Status
from protogw.errors import GatewayError as Fault
from protogw.excused import excused
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.gradient import Gradient, GradientSettings
from protogw.policies.slots import Slot, held

_RETRY_S = 1.0
_NO_MEASURE = frozenset((Code.UNAVAILABLE, Code.CANCELLED))
"""Replies that say nothing of how long the service needs: it did not do the work."""


class Adaptive:
    """Lets a service have no more calls at once than it answers without a queue, by how long its replies take."""

    kind: ClassVar[str] = "adaptive"
    Settings: ClassVar[type[PolicySettings]] = GradientSettings
    of_head: ClassVar[bool] = True

    def __init__(self, settings: GradientSettings) -> None:
        self._settings = settings
        self._limits: dict[str, Gradient] = {}
        self.refused = Count()
        """Calls that were over the limit."""
        self._tools: Tools | None = None

    def equip(self, tools: Tools) -> None:
        self._tools = tools
        self.refused = tools.count("adaptive_refused", "Calls over the limit that was found.")

    def _made(self, target: str) -> Gradient:
        limit = self._limits[target] = Gradient(self._settings, random.random())
        if self._tools is not None:
            what = "Calls at once that an upstream carries, as found."
            self._tools.gauge("adaptive_limit", what, lambda: limit.limit, upstream=target)
        return limit

    @property
    def limits(self) -> dict[str, Gradient]:
        """The limits, by where the calls go."""
        return self._limits

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        route = call.route
        target: str = route.target.name if route is not None else ""
        limit = self._limits.get(target)
        if limit is None:
            limit = self._made(target)
        if call.late is not None:  # see slots; nor is the client's time to send the service's
            if limit.full:
                raise self._refusal(target, limit)
            await call.arrive()
        loop = asyncio.get_running_loop()
        started = loop.time()
        if not limit.enter(started):
            raise self._refusal(target, limit)
        slot = Slot(limit.left)
        try:
            reply = await forward(call)
        except Fault as error:
            if error.source is not Source.CLIENT and error.status.code not in _NO_MEASURE:
                self._measure(limit, call, error.status, started)
            slot.free()
            raise
        except BaseException:
            if call.expired:
                self._measure(limit, call, Status(Code.DEADLINE_EXCEEDED), started)
            slot.free()
            raise
        if (reply.head is None or reply.head.status < 500) and reply.status.code not in _NO_MEASURE:
            self._measure(limit, call, reply.status, started)
        return held(reply, slot)

    @staticmethod
    def _measure(limit: Gradient, call: Call, status: Status, started: float) -> None:
        """A reply is there, or is not when it should be. Who gives up early, or sends what is no message, does not say
        how long one takes."""
        now = asyncio.get_running_loop().time()
        if not excused(call, status, now - started):
            limit.replied(now - started, now)

    def _refusal(self, target: str, limit: Gradient) -> Overloaded:
        self.refused.value += 1
        return Overloaded(f"{target}: {limit.limit} calls are what it carries now", retry_after_s=_RETRY_S)
