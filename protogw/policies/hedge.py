"""Hedging: a call whose reply is long in coming is sent a second time, to another endpoint; the first good reply wins.

The rules of what may be sent twice, and the budget, are those of retries. The first try runs where the call runs, so
that a call whose reply comes in time costs a timer and nothing more.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar

from pydantic import Field

from protogw.call import Call, Reply, Tries
from protogw.counting import Count
from protogw.errors import Code, GatewayError
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.budget import Budget
from protogw.policies.repeating import ATTEMPT, Answers, Budgets, Triggers, discard, may_repeat
from protogw.values import Percent, Positive

_SEEN = 128
_LOOK_EVERY = 32
"""So many of a method's last replies tell how long one takes, and after so many more that is worked out anew."""
_KEPT = 4096


class HedgeSettings(PolicySettings):
    """When a call is sent a second time."""

    delay: Positive | None = None
    """So long after the first. Default: once most replies of the method have come, see `percentile`."""
    percentile: Annotated[float, Field(ge=50, le=99.9)] = 95
    """Of a method's last replies, the share that came sooner than the second try is sent."""
    idempotent: bool = False
    """Every call may be sent twice, whatever its descriptor says. Default: as with retries."""
    not_good: Triggers = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNKNOWN)
    """Codes, and HTTP statuses of plain HTTP, for which the other try is waited for while there is one."""
    budget: Percent = 10.0
    """Second tries beside all calls to the same upstream; three in ten seconds are always let through."""


class Hedge:
    """Sends a call a second time, elsewhere, when its reply is late, and takes the first good one."""

    kind: ClassVar[str] = "hedge"
    Settings: ClassVar[type[PolicySettings]] = HedgeSettings

    def __init__(self, settings: HedgeSettings) -> None:
        self._delay = settings.delay
        self._share = settings.percentile / 100
        self._any = settings.idempotent
        self._answers = Answers(settings.not_good)
        self._budgets = Budgets(settings.budget)
        self._seen: dict[str, _Latencies] = {}
        self.hedges = Count()
        """Second tries."""
        self.won = Count()
        """Second tries whose reply was the one taken."""

    def equip(self, tools: Tools) -> None:
        name, what = "hedges", "Second tries of calls whose reply was late, and those of them that won."
        self.hedges = tools.count(name, what, outcome="sent")
        self.won = tools.count(name, what, outcome="won")

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        budget = self._budgets.of(call)
        budget.called(call.started)
        if call.payloads is not None or not (self._any or may_repeat(call)):
            return await forward(call)
        loop = asyncio.get_running_loop()
        seen = None
        delay = self._delay
        if delay is None:
            seen = self._latencies(call)
            delay = seen.late
        if delay is None:
            return await self._timed(call, forward, seen)
        race = _Race(self, call, forward, budget)
        timer = loop.call_later(delay, race.hedge)
        started = loop.time()
        try:
            reply = await race.run()
        finally:
            timer.cancel()
        if seen is not None:
            seen.add(loop.time() - started, self._share)
        return reply

    async def _timed(self, call: Call, forward: Handler, seen: _Latencies | None) -> Reply:
        """A call of a method of which too little is known."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        reply = await forward(call)
        if seen is not None:
            seen.add(loop.time() - started, self._share)
        return reply

    def _latencies(self, call: Call) -> _Latencies:
        name = call.method.full_name if call.method is not None else ""
        found = self._seen.get(name)
        if found is None:
            if len(self._seen) >= _KEPT:
                self._seen.clear()
            found = self._seen[name] = _Latencies()
        return found

    def good(self, outcome: Reply | GatewayError) -> bool:
        """Whether there is no use in waiting for the other try."""
        if isinstance(outcome, GatewayError):
            return not self._answers.fault(outcome)
        return not self._answers.bad(outcome)


class _Latencies:
    """How long a method's last replies took."""

    __slots__ = ("_at", "_new", "_times", "late")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._at = 0
        self._new = 0
        self.late: float | None = None
        """A reply that takes longer is late; None while there were too few."""

    def add(self, seconds: float, share: float) -> None:
        times = self._times
        if len(times) < _SEEN:
            times.append(seconds)
        else:
            times[self._at] = seconds
            self._at = (self._at + 1) % _SEEN
        self._new += 1
        if self._new >= _LOOK_EVERY:
            self._new = 0
            self.late = sorted(times)[min(len(times) - 1, int(len(times) * share))]


class _Race:
    """The one or two tries of a call."""

    __slots__ = ("_budget", "_call", "_done", "_forward", "_owner", "_runner", "_second", "_taken_over", "_twin")

    def __init__(self, owner: Hedge, call: Call, forward: Handler, budget: Budget) -> None:
        self._owner = owner
        self._call = call
        self._forward = forward
        self._budget = budget
        self._runner = asyncio.current_task()
        self._second: asyncio.Task[Reply] | None = None
        self._twin: Call | None = None
        self._done = False
        """The first try has ended."""
        self._taken_over = False
        """The second try has won, and the first is cancelled for that."""

    def hedge(self) -> None:
        """The reply is late: try elsewhere, if there is budget."""
        loop = asyncio.get_running_loop()
        if self._done or not self._budget.take(loop.time()):
            return
        call = self._call
        twin = self._twin = call.fork()
        tries = twin.tries = Tries()
        tries.number = 2
        if call.tries is not None:
            tries.number = call.tries.number + 1
            tries.tried |= call.tries.tried
        tries.tried.add(call.upstream)
        twin.metadata = call.metadata.setting(ATTEMPT, b"%d" % tries.number)
        self._owner.hedges.value += 1
        self._second = loop.create_task(self._carried(twin))
        self._second.add_done_callback(self._second_ended)

    async def _carried(self, twin: Call) -> Reply:
        return await self._forward(twin)

    def _second_ended(self, task: asyncio.Task[Reply]) -> None:
        """Take its reply if it is good and the first has none yet."""
        if self._done or task.cancelled() or task.exception() is not None or not self._owner.good(task.result()):
            return
        self._taken_over = True
        assert self._runner is not None
        self._runner.cancel()

    async def run(self) -> Reply:
        task = self._runner
        assert task is not None
        cancelling = task.cancelling()
        outcome: Reply | GatewayError
        try:
            try:
                outcome = await self._forward(self._call)
            except GatewayError as error:
                outcome = error
            self._done = True
        except asyncio.CancelledError:
            self._done = True
            if not self._taken_over or task.uncancel() > cancelling:
                await self._give_up()
                raise
            return self._won(self._second)
        except BaseException:
            self._done = True
            await self._give_up()
            raise
        second = self._second
        if second is None:
            return _given(outcome)
        if self._owner.good(outcome):
            await self._give_up()
            return _given(outcome)
        return await self._other(second, outcome)

    async def _other(self, second: asyncio.Task[Reply], outcome: Reply | GatewayError) -> Reply:
        """The first try was no good: what the second comes to, unless that is no good either."""
        try:
            await asyncio.wait((second,))
        except asyncio.CancelledError:
            await self._give_up()
            raise
        if second.cancelled() or second.exception() is not None or not self._owner.good(second.result()):
            await self._give_up()
            return _given(outcome)
        if isinstance(outcome, Reply):
            await discard(outcome)
        return self._won(second)

    def _won(self, second: asyncio.Task[Reply] | None) -> Reply:
        assert second is not None
        assert self._twin is not None
        self._owner.won.value += 1
        self._call.upstream = self._twin.upstream
        self._call.tries = self._twin.tries
        self._call.notes = self._twin.notes
        return second.result()

    async def _give_up(self) -> None:
        """Nobody wants what the second try brings."""
        second = self._second
        if second is None:
            return
        if self._twin is not None:
            self._twin.cut = self._call.cut
        second.cancel()
        await asyncio.wait((second,))
        if not second.cancelled() and second.exception() is None:
            await discard(second.result())


def _given(outcome: Reply | GatewayError) -> Reply:
    if isinstance(outcome, GatewayError):
        raise outcome
    return outcome
