"""Faults on purpose: a share of calls is delayed or refused, to see what clients make of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Metadata, Reply
from protogw.counting import Count
from protogw.errors import Code, GatewayError, InvalidRequest
from protogw.expressions import ExpressionError, ExpressionText, of_head
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.values import Percent, Positive, parse_duration, refuse

DELAY, ABORT = b"x-fault-delay", b"x-fault-abort"
"""The fields by which a client asks for a fault, where that is allowed."""


def _code(value: object) -> Code:
    if isinstance(value, Code):
        return value
    if isinstance(value, str) and value.upper() in Code.__members__ and value.upper() != "OK":
        return Code[value.upper()]
    refuse("is not a code: write unavailable, deadline_exceeded, internal, …")


FaultCode = Annotated[
    Code,
    PlainValidator(_code),
    WithJsonSchema({"type": "string", "enum": [code.name.lower() for code in Code if code is not Code.OK]}),
]


class FaultDelay(PolicySettings):
    """Calls that wait before they go on."""

    share: Percent = 100.0
    """How many of them."""
    time: Positive
    """How long."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The part of the time that is left to chance: 0.5 makes 1s anything from 0.5s to 1.5s."""


class FaultAbort(PolicySettings):
    """Calls that are refused."""

    share: Percent = 100.0
    """How many of them."""
    code: FaultCode = Code.UNAVAILABLE
    """With what."""
    message: Annotated[str, Field(max_length=1000)] = "a fault on purpose"
    """What they are told."""


class FaultSettings(PolicySettings):
    """Which calls are harmed, and how."""

    delay: FaultDelay | None = None
    """Let calls wait."""
    abort: FaultAbort | None = None
    """Refuse calls, after the delay if they have one too."""
    when: ExpressionText | None = None
    """Only calls for which this is true."""
    headers: bool = False
    """Clients may ask for a fault: `x-fault-delay: 200ms`, `x-fault-abort: unavailable`."""
    max_delay: Positive = 30.0
    """The longest that a client may ask for."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.delay is None and self.abort is None and not self.headers:
            raise PydanticCustomError("fault", "{reason}", {"reason": "harms nothing: write delay, abort or headers"})
        return self


class InjectedFault(GatewayError):
    """A call was refused on purpose."""


class Fault:
    """Delays or refuses a share of calls on purpose."""

    kind: ClassVar[str] = "fault"
    Settings: ClassVar[type[PolicySettings]] = FaultSettings

    def __init__(
        self,
        settings: FaultSettings,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._delay = settings.delay
        self._abort = settings.abort
        self._when = settings.when
        self._headers = settings.headers
        self._most = settings.max_delay
        self._chance = chance
        self._sleep = sleep
        self._delayed, self._aborted = Count(), Count()

    def equip(self, tools: Tools) -> None:
        name, what = "faults", "Calls that were harmed on purpose."
        self._delayed = tools.count(name, what, kind="delay")
        self._aborted = tools.count(name, what, kind="abort")

    @property
    def of_head(self) -> bool:
        return of_head(self._when)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        asked_delay, asked_abort = self._asked(call) if self._headers else (0.0, None)
        delay, abort = self._delay, self._abort
        harmed = self._holds(call)
        pause = asked_delay
        if harmed and delay is not None and self._hit(delay.share):
            pause = max(pause, delay.time * (1 + delay.jitter * (2 * self._chance() - 1)))
        if pause:
            self._delayed.value += 1
            await self._sleep(pause)
        if asked_abort is not None:
            self._aborted.value += 1
            raise InjectedFault("a fault that was asked for", code=asked_abort)
        if harmed and abort is not None and self._hit(abort.share):
            self._aborted.value += 1
            raise InjectedFault(abort.message, code=abort.code)
        return await forward(call)

    def _holds(self, call: Call) -> bool:
        if self._when is None:
            return True
        try:
            return self._when.holds(call)
        except ExpressionError:
            return False  # a fault that is not sure of its call harms none

    def _hit(self, share: float) -> bool:
        return self._chance() * 100 < share

    def _asked(self, call: Call) -> tuple[float, Code | None]:
        """What the client asks for, taken out of what goes on; raises InvalidRequest when it is no fault."""
        delay, abort = call.metadata.get(DELAY), call.metadata.get(ABORT)
        if delay is None and abort is None:
            return 0.0, None
        call.metadata = Metadata(call.metadata.pairs).without((DELAY, ABORT))
        try:
            seconds = parse_duration(delay.decode("latin-1")) if delay is not None else 0.0
            code = _code(abort.decode("latin-1")) if abort is not None else None
        except PydanticCustomError as error:
            raise InvalidRequest(f"{DELAY.decode()}, {ABORT.decode()}: {error.message()}") from error
        if seconds > self._most:
            raise InvalidRequest(f"{DELAY.decode()}: more than {self._most:g} s are not given")
        return seconds, code
