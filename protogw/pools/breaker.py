"""Circuit breaking: an endpoint that fails the calls of one method gets none of that method for a while. Pure
decisions; the pool acts on them.

    closed ── failures in a row, or too large a share of the window ──▶ open ── its time is over ──▶ half open
       ▲                                                                 ▲                             │
       └──────────────── every probe has succeeded ──────────────────────┼─────────────────────────────┤
                                                                         └────── one probe has failed ─┘

Beside outlier ejection, which judges an endpoint as a whole and never takes out more than a share of the pool: one
method that cannot work says nothing of the others, and a service that is broken everywhere is left alone everywhere.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Hashable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from protogw.pools.settings import BreakerSettings

log = logging.getLogger("protogw")

BUCKETS = 10
"""Parts of the window: what is older than the window is forgotten in tenths of it."""

E = TypeVar("E", bound=Hashable)


class CircuitState(enum.Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """What is known of one method's calls on one endpoint. Times are those of one monotonic clock, in seconds."""

    __slots__ = (
        "_bucket",
        "_buckets",
        "_calls",
        "_failed",
        "_in_a_row",
        "_left",
        "_owner",
        "_passed",
        "_times",
        "_width",
        "era",
        "name",
        "state",
        "until",
    )

    def __init__(self, owner: Breaker[Any], name: str) -> None:
        self.name = name
        self.state = CircuitState.CLOSED
        self.until = 0.0
        """When an open one lets probes through; when the probes of a half open one count as lost."""
        self.era = 0
        """Changes with every change of state, so that a probe of one time does not count at another."""
        self._owner = owner
        self._width = owner.settings.window / BUCKETS
        self._times = 0
        self._left = 0
        self._passed = 0
        self._in_a_row = 0
        self._bucket = 0
        self._buckets: list[list[int]] = [[0, 0] for _ in range(BUCKETS)]
        self._calls = self._failed = 0

    def admits(self, now: float) -> bool:
        """Whether a call may pass now."""
        if self.state is CircuitState.CLOSED:
            return True
        if self.state is CircuitState.OPEN:
            if now < self.until:
                return False
            self._probe(now)
        elif self._left == 0 and now >= self.until:
            self._probe(now)  # probes that never ended are no answer
        return self._left > 0

    def enter(self) -> Circuit | Trial:
        """A call that was admitted begins; what is returned is told how it ends."""
        if self.state is CircuitState.CLOSED:
            return self
        self._left -= 1
        return Trial(self)

    def ended(self, failed: bool, now: float) -> None:
        """A call that began while closed has ended."""
        if self.state is not CircuitState.CLOSED:
            return
        bucket = int(now / self._width)
        if bucket != self._bucket:
            self._turn(bucket)
        counts = self._buckets[bucket % BUCKETS]
        counts[0] += 1
        self._calls += 1
        if not failed:
            self._in_a_row = 0
            return
        counts[1] += 1
        self._failed += 1
        self._in_a_row += 1
        settings = self._owner.settings
        if settings.consecutive and self._in_a_row >= settings.consecutive:
            self._open(now, f"{self._in_a_row} calls in a row have failed")
        elif self._calls >= settings.calls and self._failed * 100 >= self._calls * settings.failures:
            self._open(now, f"{self._failed} of {self._calls} calls have failed")

    def left(self) -> None:
        """A call that began while closed has ended in a way that says nothing of the endpoint."""

    def probed(self, era: int, failed: bool | None, now: float) -> None:
        """A probe of this era has ended; None for in a way that says nothing."""
        if era != self.era:
            return
        if failed is None:
            self._left += 1
        elif failed:
            self._open(now, "a probe has failed")
        else:
            self._passed += 1
            if self._passed >= self._owner.settings.probes:
                self._close()

    def _turn(self, bucket: int) -> None:
        """Forget what is older than the window."""
        for passed in range(max(self._bucket + 1, bucket - BUCKETS + 1), bucket + 1):
            counts = self._buckets[passed % BUCKETS]
            self._calls -= counts[0]
            self._failed -= counts[1]
            counts[0] = counts[1] = 0
        self._bucket = bucket

    def _probe(self, now: float) -> None:
        self.state = CircuitState.HALF_OPEN
        self.era += 1
        self._left = self._owner.settings.probes
        self._passed = 0
        self.until = now + self._duration()

    def _duration(self) -> float:
        """Twice as long each time that probes did not close it."""
        settings = self._owner.settings
        return min(settings.open * 2.0 ** min(self._times - 1, 60), settings.max_open)

    def _open(self, now: float, why: str) -> None:
        if self.state is CircuitState.CLOSED:
            self._owner.tripped += 1
        self._owner.opened += 1
        self._times += 1
        self.state = CircuitState.OPEN
        self.era += 1
        duration = self._duration()
        self.until = now + duration
        log.warning("upstreams.%s: the breaker is open for %gs: %s", self.name, duration, why)

    def _close(self) -> None:
        self._owner.tripped -= 1
        self._times = 0
        self._in_a_row = 0
        self._calls = self._failed = 0
        for counts in self._buckets:
            counts[0] = counts[1] = 0
        self.state = CircuitState.CLOSED
        self.era += 1
        log.info("upstreams.%s: the breaker is closed: probes have succeeded", self.name)

    def __repr__(self) -> str:
        return f"<Circuit {self.name} {self.state.value} {self._failed}/{self._calls} failed>"


class Trial:
    """A call that finds out whether a half open circuit can be closed. Its end counts once."""

    __slots__ = ("_circuit", "_era")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit: Circuit | None = circuit
        self._era = circuit.era

    def ended(self, failed: bool, now: float) -> None:
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit.probed(self._era, failed, now)

    def left(self) -> None:
        """It has ended in a way that says nothing of the endpoint: another may be sent in its place."""
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit.probed(self._era, None, 0.0)


class Tripped(NamedTuple):
    """A circuit that is not closed."""

    method: str
    state: CircuitState
    left_s: float


class Breaker(Generic[E]):
    """The circuits of a pool: one for each endpoint and method that has had a call."""

    def __init__(self, name: str, settings: BreakerSettings) -> None:
        self.settings = settings
        self.tripped = 0
        """How many circuits are not closed."""
        self.opened = 0
        """How often one has opened."""
        self._name = name
        self._circuits: dict[E, dict[str, Circuit]] = {}

    def circuit(self, endpoint: E, label: str, method: str) -> Circuit:
        """The circuit of this endpoint and method; calls without a name share one."""
        methods = self._circuits.get(endpoint)
        if methods is None:
            methods = self._circuits[endpoint] = {}
        found = methods.get(method)
        if found is None:
            found = methods[method] = Circuit(self, f"{self._name}: {label} {method}".rstrip())
        return found

    def admits(self, endpoint: E, method: str, now: float) -> bool:
        """Whether a call of this method may go to this endpoint now."""
        methods = self._circuits.get(endpoint)
        found = methods.get(method) if methods is not None else None
        return found is None or found.admits(now)

    def opens_in(self, endpoints: Collection[E], method: str, now: float) -> float:
        """The seconds until the first of these endpoints, none of which admits the method, may do so."""
        return max(0.0, min(self._circuits[endpoint][method].until for endpoint in endpoints) - now)

    def of(self, endpoint: E, now: float) -> Iterator[Tripped]:
        """The circuits of an endpoint that are not closed."""
        for method, circuit in self._circuits.get(endpoint, {}).items():
            if circuit.state is not CircuitState.CLOSED:
                yield Tripped(method, circuit.state, max(0.0, circuit.until - now))

    def keep(self, endpoints: Collection[E]) -> None:
        """Forget every endpoint but these."""
        for gone in [endpoint for endpoint in self._circuits if endpoint not in endpoints]:
            circuits = self._circuits.pop(gone).values()
            self.tripped -= sum(circuit.state is not CircuitState.CLOSED for circuit in circuits)
