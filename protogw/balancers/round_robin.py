"""Smooth weighted round robin: each endpoint gets its share, and a heavy one's turns are spread out."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import ClassVar

from protogw.balancers.base import C


class RoundRobin:
    """Each endpoint in turn, as often as its weight says."""

    kind: ClassVar[str] = "round_robin"

    def __init__(self) -> None:
        self._next = 0
        self._ready: Sequence[object] = ()
        self._turns: tuple[int, ...] = ()

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """The next in turn; a change of the ready endpoints starts a new round."""
        if ready is not self._ready:
            # The sequence is replaced when an endpoint comes or goes, so the order of a whole round is made once.
            self._ready = ready
            self._turns = turns([endpoint.weight for endpoint in ready])
        at = self._next % len(self._turns)
        self._next = at + 1
        return ready[self._turns[at]]


_MOST_STEPS = 500_000
"""Calls stand still while a round is made: at most some 50 ms."""


def turns(weights: Sequence[int]) -> tuple[int, ...]:
    """One round of smooth weighted round robin: indices into `weights`, each as often as its weight.

    A round longer than 10,000 turns is scaled down, which keeps shares within 1 % for up to 100 endpoints.
    """
    total = sum(weights)
    if total > 10_000:
        weights = [max(1, round(weight * 10_000 / total)) for weight in weights]
        total = sum(weights)
    if len(set(weights)) == 1:
        return tuple(range(len(weights)))
    if total * len(weights) > _MOST_STEPS:
        return _by_deadlines(weights)
    current = [0] * len(weights)
    order: list[int] = []
    for _ in range(total):
        for index, weight in enumerate(weights):
            current[index] += weight
        best = max(range(len(weights)), key=current.__getitem__)
        current[best] -= total
        order.append(best)
    return tuple(order)


def _by_deadlines(weights: Sequence[int]) -> tuple[int, ...]:
    """The same for many endpoints, in fewer steps: each is due in even spaces of the round, and who is due next goes
    first. The turns of one endpoint are as far apart, those of others may be next to each other."""
    due = [(0.5 / weight, index) for index, weight in enumerate(weights)]
    heapify(due)
    order: list[int] = []
    for _ in range(sum(weights)):
        when, index = due[0]
        order.append(index)
        heapreplace(due, (when + 1.0 / weights[index], index))
    return tuple(order)
