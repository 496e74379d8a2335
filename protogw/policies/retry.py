"""Retries: a call that failed is sent again, to another endpoint where there is one, if twice does no harm.

Nothing is tried again once any of the answer has gone to the caller, or any of a request's stream to a service. What
the pool does by itself stays: a call that no endpoint has processed is sent elsewhere at once, whatever the method.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar

from pydantic import Field

from protogw.call import Call, Reply, Tries
from protogw.counting import Count
from protogw.errors import OK, Code, DeadlineExceeded, GatewayError
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.budget import Budget
from protogw.policies.repeating import Answers, Before, Budgets, Triggers, discard, may_repeat, wait_of
from protogw.values import Percent, Positive, Seconds

_MOST_BACKOFF = 10
"""The longest pause, in first ones."""


class RetrySettings(PolicySettings):
    """When a call is tried again, and how often."""

    attempts: Annotated[int, Field(ge=2, le=10)] = 2
    """Tries of one call, the first among them."""
    on: Triggers = (Code.UNAVAILABLE,)
    """Codes that call for another try, and HTTP statuses of plain HTTP. `unavailable` is also a connection that cannot
    be made or breaks, and 502 and 503 of plain HTTP; `deadline_exceeded` its 504."""
    idempotent: bool = False
    """Every call may be repeated, whatever its descriptor says. Default: those that are NO_SIDE_EFFECTS or IDEMPOTENT,
    or bound to GET, PUT or DELETE; of plain HTTP by the verb."""
    budget: Percent = 20.0
    """Retries beside all calls to the same upstream; three in ten seconds are always let through."""
    backoff: Positive = 0.025
    """The longest pause before the second try, twice as long before each further one, up to ten times this. The real
    pause is any time up to it."""
    per_try: Positive | None = None
    """How long one try may take until its reply begins; a longer one is given up for the next."""
    max_wait: Seconds = 1.0
    """A service that asks to wait longer than this (Retry-After, RetryInfo, gRPC's pushback) is not asked again."""


class Retry:
    """Tries calls again that may be repeated and have failed, elsewhere and within a budget."""

    kind: ClassVar[str] = "retry"
    Settings: ClassVar[type[PolicySettings]] = RetrySettings

    def __init__(
        self,
        settings: RetrySettings,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._attempts = settings.attempts
        self._answers = Answers(settings.on)
        self._any = settings.idempotent
        self._budgets = Budgets(settings.budget)
        self._backoff = settings.backoff
        self._per_try = settings.per_try
        self._max_wait = settings.max_wait
        self._chance = chance
        self._sleep = sleep
        self.retries = Count()
        """Calls that were sent again."""
        self.over_budget = Count()
        """Calls that were not for want of budget."""

    def equip(self, tools: Tools) -> None:
        name, what = "retries", "Calls that were sent again, and those that were not for want of budget."
        self.retries = tools.count(name, what, outcome="sent")
        self.over_budget = tools.count(name, what, outcome="over_budget")

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        budget = self._budgets.of(call)
        budget.called(call.started)
        before = Before(call)
        outcome: Reply | GatewayError
        try:
            if self._per_try is not None and self._repeatable(call):
                outcome = await self._bounded(call, forward, self._per_try)
            else:
                outcome = await forward(call)
            head = outcome.head
            if outcome.status is OK if head is None else head.status < 400:
                return outcome
        except GatewayError as error:
            outcome = error
        return await self._again(call, forward, before, outcome, budget)

    def _repeatable(self, call: Call) -> bool:
        return call.payloads is None and (self._any or may_repeat(call))

    def _wanted(self, call: Call, outcome: Reply | GatewayError) -> bool:
        """Whether this outcome calls for another try, and the call allows it."""
        if isinstance(outcome, Reply):
            return self._answers.bad(outcome) and self._repeatable(call)
        if isinstance(outcome, _TryExpired):
            return True
        return self._answers.fault(outcome) and (outcome.retryable or self._repeatable(call))

    async def _again(
        self, call: Call, forward: Handler, before: Before, outcome: Reply | GatewayError, budget: Budget
    ) -> Reply:
        tries = call.tries
        while self._wanted(call, outcome):
            number = tries.number + 1 if tries is not None else 2
            if number > self._attempts:
                break
            pause = self._pause(call, outcome, number)
            if pause is None:
                break
            if not budget.take(asyncio.get_running_loop().time()):
                self.over_budget.value += 1
                break
            if tries is None:
                tries = call.tries = Tries()
            tries.tried.add(call.upstream)
            tries.number = number
            tries.expired = False
            self.retries.value += 1
            if isinstance(outcome, Reply):
                await discard(outcome)
            await self._sleep(pause)
            before.restore(call, number)
            try:
                if self._per_try is not None:
                    outcome = await self._bounded(call, forward, self._per_try)
                else:
                    outcome = await forward(call)
            except GatewayError as error:
                outcome = error
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    def _pause(self, call: Call, outcome: Reply | GatewayError, number: int) -> float | None:
        """Seconds before the next try: full jitter, and no less than the service asks for. None when there is no time
        for it, or the service wants none."""
        pause = self._chance() * self._backoff * min(2.0 ** (number - 2), _MOST_BACKOFF)
        asked = wait_of(outcome)
        if asked is not None:
            if not 0 <= asked <= self._max_wait:
                return None
            pause = max(pause, asked)
        if call.deadline is not None and asyncio.get_running_loop().time() + pause >= call.deadline:
            return None
        return pause

    async def _bounded(self, call: Call, forward: Handler, seconds: float) -> Reply:
        """One try that is given up after so long; raises _TryExpired then. The pool learns that it was the endpoint."""
        tries = call.tries
        if tries is None:
            tries = call.tries = Tries()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()

        def expire() -> None:
            tries.expired = True
            task.cancel()

        timer = loop.call_later(seconds, expire)
        try:
            return await forward(call)
        except asyncio.CancelledError:
            # As asyncio.timeout does: only a cancellation of our own, and no other beside it, is taken back.
            if not tries.expired or task.uncancel() > cancelling:
                raise
            raise _TryExpired from None
        finally:
            timer.cancel()


class _TryExpired(DeadlineExceeded):
    """One try took longer than one may."""

    def __init__(self) -> None:
        super().__init__("the upstream did not answer in time")
