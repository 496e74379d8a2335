"""How many calls at once a service carries without a queue, found out from how long its replies take. Pure; time comes
from the caller.

The rule is Envoy's (adaptive_concurrency, "gradient controller"): now and then so few calls are let through that none
waits, and their median is the time that a reply needs by itself. From then on, after every short while,

    gradient = (needed + buffer) / taken         limit = gradient * limit + √(gradient * limit)

so that the limit grows by its root while replies take no longer than they need, and shrinks in proportion as they do.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.policies.base import PolicySettings
from protogw.values import Percent, Positive

_SAMPLES_KEPT = 1000
_LEAST_SAMPLES = 5
_AT_LEAST_FOR = 5
"""After so many windows at the lowest limit the needed time is measured anew: the service may have become slower."""
_MEASURING = 0.1
"""The share of the time in which calls may be refused so that the needed time can be measured."""
_LEAST, _MOST = 0.5, 2.0
"""How far one step may go."""


class GradientSettings(PolicySettings):
    """How the limit is found."""

    initial: Annotated[int, Field(ge=1, le=100_000)] = 20
    """The limit to begin with."""
    min: Annotated[int, Field(ge=1, le=100_000)] = 3
    """The lowest limit, and how many calls run at once while the time that a reply needs is measured."""
    max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The highest."""
    window: Positive = 0.1
    """How often the limit is worked out anew."""
    measure_every: Positive = 60.0
    """How often the needed time is measured; more or less, so that many gateways do not measure together."""
    measure_calls: Annotated[int, Field(ge=5, le=1000)] = 50
    """Over how many calls; fewer if they take more than a tenth of that time and others are waiting for room."""
    buffer: Percent = 25.0
    """So much longer a reply may take before the limit shrinks."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError("limits", "{reason}", {"reason": f"min {self.min} is more than max {self.max}"})
        return self


class Gradient:
    """One limit. `chance` is from 0 to 1, for the time of the next measurement."""

    __slots__ = (
        "_chance",
        "_low",
        "_measure_at",
        "_measure_until",
        "_samples",
        "_settings",
        "_usual",
        "_window_ends",
        "limit",
        "measuring",
        "needed_s",
        "running",
    )

    def __init__(self, settings: GradientSettings, chance: float = 0.5) -> None:
        self._settings = settings
        self._chance = chance
        self.running = 0
        """Calls that run now."""
        self.limit = max(settings.min, min(settings.initial, settings.max))
        self.needed_s = 0.0
        """How long a reply takes when none waits; 0.0 before that is known."""
        self.measuring = False
        self._usual = self.limit
        self._samples: list[float] = []
        self._window_ends = 0.0
        self._measure_at = 0.0
        self._measure_until = 0.0
        self._low = 0

    @property
    def full(self) -> bool:
        """No call more may run now."""
        return self.running >= self.limit

    def enter(self, now: float) -> bool:
        """Whether a call may run now; counts it."""
        if not self.measuring and now >= self._measure_at:
            self._begin(now)
        elif self.measuring and self.running >= self.limit and now >= self._measure_until:
            self._end(now)  # a few slow calls would keep all others out
        if self.running >= self.limit:
            return False
        self.running += 1
        return True

    def replied(self, seconds: float, now: float) -> None:
        """A reply took so long."""
        samples = self._samples
        if self.measuring and self.running > self.limit:
            return  # it was waiting with others before
        if len(samples) < _SAMPLES_KEPT:
            samples.append(seconds)
        if self.measuring:
            if len(samples) >= self._settings.measure_calls:
                self._end(now)
        elif now >= self._window_ends:
            self._window_ends = now + self._settings.window
            if len(samples) >= _LEAST_SAMPLES and self.needed_s > 0:
                self._step(now)

    def left(self) -> None:
        """A call runs no more."""
        self.running -= 1

    def again(self) -> None:
        """A call that had left runs on."""
        self.running += 1

    def _begin(self, now: float) -> None:
        self.measuring = True
        self._measure_until = now + self._settings.measure_every * _MEASURING
        self._usual = self.limit
        self.limit = min(self.limit, self._settings.min)
        self._samples.clear()

    def _end(self, now: float) -> None:
        settings = self._settings
        if len(self._samples) >= _LEAST_SAMPLES:
            self.needed_s = _median(self._samples)
        self._samples.clear()
        self.measuring = False
        self.limit = self._usual
        self._low = 0
        self._window_ends = now + settings.window
        self._measure_at = now + settings.measure_every * (0.9 + 0.2 * self._chance)

    def _step(self, now: float) -> None:
        settings = self._settings
        taken = _median(self._samples)
        self._samples.clear()
        allowed = self.needed_s * (1 + settings.buffer / 100)
        gradient = max(_LEAST, min(_MOST, allowed / taken if taken > 0 else _MOST))
        scaled = gradient * self.limit
        self.limit = max(settings.min, min(settings.max, int(scaled + math.sqrt(scaled))))
        self._low = self._low + 1 if self.limit == settings.min else 0
        if self._low >= _AT_LEAST_FOR:
            self._measure_at = now


def _median(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]
