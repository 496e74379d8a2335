"""Moves a route's weights towards a new version step by step, or back at once, by what both sides do in the same time.

Decisions are synchronous and take the time as an argument; `run` only waits between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protogw.delivery.measured import Window
from protogw.delivery.shadow import Differences
from protogw.delivery.weights import Weights

log = logging.getLogger("protogw")

_FINE = 10_000
"""What weights add up to while they are moved."""

RUNNING, PROMOTED, ROLLED_BACK, STOPPED = "running", "promoted", "rolled back", "stopped by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`steps` are shares of the new version in per cent, each held for `every_s` and `least` calls of it.

    Back to 0 when it has `errors` more failed calls than the others (a share, 0 to 1), its 95th percentile is `latency`
    times theirs, or `diff` of the shadow's comparisons (a share) find a difference; None for what is not looked at.
    """

    upstream: str
    steps: tuple[float, ...]
    every_s: float
    errors: float | None = 0.02
    latency: float | None = None
    diff: float | None = None
    least: int = 100


class Canary:
    """The state of one route's canary."""

    def __init__(
        self, name: str, weights: Weights, plan: Plan, windows: Mapping[str, Window], found: Differences | None
    ) -> None:
        self._name = name
        self._weights = weights
        self._plan = plan
        self._new = windows[plan.upstream]
        self._others = [window for side, window in windows.items() if side != plan.upstream]
        self._found = found
        self._written = weights.now
        self._seen = (0, 0)
        self.state = RUNNING
        self.step = 0
        self.since = 0.0
        self.why = ""

    def begin(self, now: float) -> None:
        """Take the first step."""
        self._take(0, now)

    def look(self, now: float) -> None:
        """Go on, go back, or stay, by what has been seen since this step began."""
        if self.state != RUNNING or self._new.calls < self._plan.least:
            return
        why = self._breach()
        if why:
            self.state = ROLLED_BACK
            self.why = why
            self._move(0.0)
            log.warning("%s: %s is rolled back: %s", self._name, self._plan.upstream, why)
        elif now - self.since >= self._plan.every_s:
            if self.step + 1 < len(self._plan.steps):
                self._take(self.step + 1, now)
            else:
                self.state = PROMOTED
                log.info("%s: %s is promoted: it has %s", self._name, self._plan.upstream, self._weights)

    def stop(self) -> None:
        """An operator has taken over."""
        if self.state == RUNNING:
            self.state = STOPPED
            log.info("%s: the canary is stopped by hand", self._name)

    async def run(self) -> None:
        """Look again and again until it is decided."""
        loop = asyncio.get_running_loop()
        self.begin(loop.time())
        while self.state == RUNNING:
            await asyncio.sleep(min(1.0, self._plan.every_s / 4))
            self.look(loop.time())

    def _take(self, step: int, now: float) -> None:
        self.step = step
        self.since = now
        for window in (self._new, *self._others):
            window.clear()
        if self._found is not None:
            self._seen = (self._found.compared, self._found.different)
        share = self._plan.steps[step]
        self._move(share)
        log.info("%s: %s has %g %% of the calls", self._name, self._plan.upstream, share)

    def _move(self, percent: float) -> None:
        new = round(_FINE * percent / 100)
        others = {name: weight for name, weight in self._written.items() if name != self._plan.upstream}
        whole = sum(others.values())
        left = _FINE - new
        weights = {name: round(left * weight / whole) for name, weight in others.items()}
        self._weights.set({**weights, self._plan.upstream: new})

    def _breach(self) -> str:
        """What speaks against the new version; empty when nothing does."""
        plan = self._plan
        calls = sum(window.calls for window in self._others)
        errors = sum(window.failed for window in self._others) / calls if calls else 0.0
        more = self._new.errors - errors
        if plan.errors is not None and more > plan.errors:
            return f"{self._new.errors:.1%} of its calls fail, of the others' {errors:.1%}"
        if plan.latency is not None and calls >= plan.least:
            slow = self._new.latencies.quantile(0.95)
            other = max(window.latencies.quantile(0.95) for window in self._others)
            if slow > plan.latency * other:
                return f"its calls take {slow * 1000:.1f} ms (95th percentile), the others' {other * 1000:.1f} ms"
        if plan.diff is not None and self._found is not None:
            compared = self._found.compared - self._seen[0]
            different = self._found.different - self._seen[1]
            if compared >= plan.least and different / compared > plan.diff:
                return f"{different / compared:.1%} of its answers differ"
        return ""

    def shown(self) -> dict[str, Any]:
        return {
            "upstream": self._plan.upstream,
            "state": self.state,
            "step": self._plan.steps[self.step],
            "steps": list(self._plan.steps),
            "why": self.why or None,
            "calls": self._new.calls,
            "errors": round(self._new.errors, 6),
            "latency": self._new.latencies.shown(),
        }
