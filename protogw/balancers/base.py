"""What a balancer is. Pure and synchronous: given the ready endpoints and an affinity key, never a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, TypeVar


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


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """Picks one of the ready endpoints. One instance serves one pool."""

    kind: ClassVar[str]
    """Its name in an upstream's `balance`."""

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """Choose among `ready`, which is never empty; `key` is the affinity key, empty when there is none."""
        ...
