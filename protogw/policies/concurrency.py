"""Concurrency: how many calls run at once, for each value of a key."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Reply
from protogw.counting import Count
from protogw.errors import LimitReached, Overloaded
from protogw.expressions import ExpressionText, of_head
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.seldom import Seldom
from protogw.policies.slots import Slot, held
from protogw.stores.base import StoreError
from protogw.stores.places import Places, SharesPlaces
from protogw.values import Seconds, StoreUrl

_RETRY_S = 1.0
_MOST_WAITING = 100_000


class ConcurrencySettings(PolicySettings):
    """How many calls may run at once, and whether others wait."""

    limit: Annotated[int, Field(ge=1, le=10_000_000)]
    """Calls that run at once. A stream runs until it ends."""
    by: ExpressionText | None = None
    """Whose limit it is: calls with an equal value share one. Default: one limit for all."""
    pending: Annotated[int, Field(ge=0, le=_MOST_WAITING)] = 0
    """Calls that may wait for a place, in their order, of each value."""
    wait: Seconds = 1.0
    """How long one waits at the most."""
    store: StoreUrl = ""
    """`redis://host:6379/0` to share the places between gateways; who waits is then let in in no order, and a gateway
    that dies holds its places for half a minute. Default: this node's, which its workers share."""
    on_error: Literal["open", "closed"] = "closed"
    """What becomes of calls while the store cannot be asked: let through (and logged), or refused as UNAVAILABLE."""
    answer: Literal["resource_exhausted", "unavailable"] = "resource_exhausted"
    """What a call without a place gets: that its caller does too much (429), or that the gateway does (503)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pending and not self.wait:
            raise PydanticCustomError("concurrency", "{reason}", {"reason": "lets calls wait for no time at all"})
        return self


class Concurrency:
    """Lets so many calls run at once, for each value of a key."""

    kind: ClassVar[str] = "concurrency"
    Settings: ClassVar[type[PolicySettings]] = ConcurrencySettings

    def __init__(self, settings: ConcurrencySettings) -> None:
        self._settings = settings
        self._by = settings.by
        self._rooms: dict[str, _Room] = {}
        self._refused = Count()
        self._name = "concurrency"
        self._shared: Places | None = None
        """The places of the node, where other processes have some of them."""
        self._entered = 0
        self._telling = Seldom()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        store = tools.counters(self._settings.store)
        self._shared = store.places if isinstance(store, SharesPlaces) else None
        self._refused = tools.count("concurrency_refused", "Calls that found no place.")
        tools.gauge("concurrency_running", "Calls that have a place.", lambda: self.running)

    @property
    def running(self) -> int:
        """Calls that run now, in this process."""
        return self._entered + sum(room.running for room in self._rooms.values())

    @property
    def of_head(self) -> bool:
        return of_head(self._by)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        key = "" if self._by is None else self._by.key(call)
        if self._shared is not None:
            return await self._among(self._shared, key, call, forward)
        settings = self._settings
        room = self._rooms.get(key)
        if call.late is not None:  # see slots
            if room is not None and room.running >= settings.limit and len(room.waiting) >= settings.pending:
                raise self._refusal()
            await call.arrive()
            room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = _Room(self._rooms, key)
        if room.running >= settings.limit or room.waiting:
            await self._wait(room)
        else:
            room.running += 1
        with Slot(room.leave) as slot:
            return held(await forward(call), slot)

    async def _among(self, shared: Places, key: str, call: Call, forward: Handler) -> Reply:
        """The same where other processes share the places."""
        settings = self._settings
        if call.late is not None:
            await call.arrive()
        name = f"{self._name} {key}"
        try:
            entered = await shared.enter(name, settings.limit, settings.pending, settings.wait)
        except StoreError as error:
            let_through = settings.on_error == "open"
            self._telling.unasked(self._name, "the store cannot be asked", error, let_through=let_through)
            if let_through:
                return await forward(call)
            raise Overloaded("places cannot be looked up", retry_after_s=_RETRY_S) from error
        if not entered:
            raise self._refusal()
        self._entered += 1
        with Slot(partial(self._left, shared, name)) as slot:
            return held(await forward(call), slot)

    def _left(self, shared: Places, name: str) -> None:
        self._entered -= 1
        shared.leave(name)

    async def _wait(self, room: _Room) -> None:
        """Until a place is this call's; raises LimitReached or Overloaded."""
        settings = self._settings
        if len(room.waiting) >= settings.pending:
            room.forget()
            raise self._refusal()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        room.waiting.append(place)
        try:
            async with asyncio.timeout(settings.wait):
                await place
        except TimeoutError:
            room.give_up(place)
            raise self._refusal() from None
        except BaseException:
            room.give_up(place)
            raise

    def _refusal(self) -> LimitReached | Overloaded:
        self._refused.value += 1
        settings = self._settings
        text = f"{settings.limit} calls run already"
        if settings.answer == "unavailable":
            return Overloaded(text, retry_after_s=_RETRY_S)
        return LimitReached(text, _RETRY_S)


class _Room:
    """The calls of one value of the key; forgotten once there are none."""

    __slots__ = ("_key", "_rooms", "running", "waiting")

    def __init__(self, rooms: dict[str, _Room], key: str) -> None:
        self._rooms = rooms
        self._key = key
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def leave(self) -> None:
        """A call has ended: its place is that of the one that waits longest."""
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
        self.forget()

    def give_up(self, place: asyncio.Future[None]) -> None:
        """A call waits no more; a place that it was just given is another's."""
        if place in self.waiting:
            self.waiting.remove(place)
        elif place.done() and not place.cancelled():
            self.leave()

    def forget(self) -> None:
        if not self.running and not self.waiting:
            self._rooms.pop(self._key, None)
