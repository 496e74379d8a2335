"""What a balancer is. Pure and synchronous: given the ready endpoints and an affinity key, never a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, TypeVar, runtime_checkable


class Candidate(Protocol):
    """What a balancer sees of an endpoint."""

    @property
    def weight(self) -> int:
        """Its share beside the others', at least 1."""
        ...

    @property
    def active(self) -> int:
        """Calls in flight on it."""
        ...

    @property
    def label(self) -> str:
        """Its address, which tells it from the others and is the same after a restart."""
        ...


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """Picks one of the ready endpoints. One instance serves one pool.

    A balancer that chooses by the affinity key says so with a class attribute `keyed = True`.
    """

    kind: ClassVar[str]
    """Its name in an upstream's `balance`."""

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """Choose among `ready`, which is never empty; `key` is the affinity key, empty when there is none."""
        ...


@runtime_checkable
class Observer(Protocol):
    """A balancer that learns from how calls went; asked for once, when a pool is made."""

    def observe(self, endpoint: Candidate, seconds: float, now: float) -> None:
        """A call on this endpoint has ended after so long; `now` is a monotonic time in seconds."""
        ...
