"""Adaptive concurrency: no more calls at once than a service carries without a queue, which is found out by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import ClassVar

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.counting import Count
from protogw.errors import Code, Overloaded, Source, Status
from protogw.errors import GatewayError as Fault
from protogw.excused import excused
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.gradient import Gradient, GradientSettings

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
        started = asyncio.get_running_loop().time()
        if not limit.enter(started):
            raise self._refusal(target, limit)
        place = _Place(limit, started)
        if call.payloads is not None:
            call.payloads = _Sending(call.payloads, place)
        try:
            reply = await forward(call)
            if (reply.head is None or reply.head.status < 500) and reply.status.code not in _NO_MEASURE:
                self._measure(limit, call, reply.status, place)
        except Fault as error:
            if error.source is not Source.CLIENT and error.status.code not in _NO_MEASURE:
                self._measure(limit, call, error.status, place)
            raise
        except BaseException:
            if call.expired:
                self._measure(limit, call, Status(Code.DEADLINE_EXCEEDED), place)
            raise
        finally:
            place.free()
        return reply

    @staticmethod
    def _measure(limit: Gradient, call: Call, status: Status, place: _Place) -> None:
        """A reply is there, or is not when it should be. Who gives up early, or sends what is no message, does not say
        how long one takes; nor does who has not sent all of it."""
        if not place.taken:
            return
        now = asyncio.get_running_loop().time()
        seconds = now - place.since
        if not excused(call, status, seconds):
            limit.replied(seconds, now)

    def _refusal(self, target: str, limit: Gradient) -> Overloaded:
        self.refused.value += 1
        return Overloaded(f"{target}: {limit.limit} calls are what it carries now", retry_after_s=_RETRY_S)


class _Place:
    """The place of one call for as long as its service has to do with it, which is what is measured: from when the
    whole request is there to where the reply begins. Streams last as long as clients like; if they counted, a few idle
    ones would be all that there is room for while the needed time is measured."""

    __slots__ = ("_limit", "_over", "since", "taken")

    def __init__(self, limit: Gradient, since: float) -> None:
        self._limit = limit
        self._over = False
        self.since = since
        self.taken = True
        """It is the service's turn."""

    def away(self) -> None:
        """It is the client's turn."""
        if self.taken:
            self.taken = False
            self._limit.left()

    def back(self) -> None:
        """The request is whole."""
        if not self.taken and not self._over:
            self.taken = True
            self.since = asyncio.get_running_loop().time()
            self._limit.again()

    def free(self) -> None:
        self.away()
        self._over = True


class _Sending(PassingPayloads):
    """A request's messages while the client sends them."""

    __slots__ = ("_place",)

    def __init__(self, payloads: AsyncIterator[Payload], place: _Place) -> None:
        super().__init__(payloads)
        self._place = place

    async def __anext__(self) -> Payload:
        self._place.away()
        try:
            return await self._payloads.__anext__()
        except StopAsyncIteration:
            self._place.back()
            raise
