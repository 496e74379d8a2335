"""Where counters live: in this process, or in a server that gateways share. Knows no call and no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """The store cannot be asked now; the message says why."""


class Algorithm(Enum):
    """How a window is counted."""

    TOKEN_BUCKET = "token_bucket"
    """So many at once (`burst`), which come back steadily: GCRA, the generic cell rate algorithm (ITU-T I.371)."""
    SLIDING_WINDOW = "sliding_window"
    """So many in any window: the window before counts by the share of it that is still within."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One limit: `amount` in `per_s` seconds. `burst` is how many at once, for token buckets."""

    amount: int
    per_s: float
    burst: int
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    emission_s: float = field(init=False, compare=False, repr=False)
    """How long one takes to come back."""
    tolerance_s: float = field(init=False, compare=False, repr=False)
    """How long the whole burst takes to come back."""

    def __post_init__(self) -> None:
        emission = self.per_s / self.amount
        object.__setattr__(self, "emission_s", emission)
        object.__setattr__(self, "tolerance_s", emission * self.burst)


class Taken(NamedTuple):
    """What became of a wish to take from a window.

    `remaining` is what could still be taken at once, `reset_s` when all of it is back, and `retry_s` when as much as
    was wished for may be taken (0.0 when it was).
    """

    allowed: bool
    remaining: int
    reset_s: float
    retry_s: float


class CounterStore(Protocol):
    """Counts by keys. Either every window of a wish admits it and all are charged, or none is."""

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        """Take `cost` from each window of this key; raises StoreError."""
        ...

    async def close(self) -> None: ...
