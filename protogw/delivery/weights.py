"""The shares of a route's upstreams, which an operator may change while calls run, and the choice by them.

The choice for a key is a pure function of the key, the names and the weights (weighted rendezvous hashing): it is the
same after a restart and on every node, and a changed weight moves only the calls that have to move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import xxhash

_SPAN = float(1 << 64)

MOST = 1_000_000
"""The largest weight."""


class Weighed(Protocol):
    """Something with a share; `seed` is its name's hash."""

    @property
    def seed(self) -> int: ...

    @property
    def weight(self) -> int: ...


W = TypeVar("W", bound=Weighed)


def seed_of(name: str) -> int:
    return xxhash.xxh64_intdigest(name.encode())


def chosen(key: bytes, among: Sequence[W]) -> W:
    """The one that this key belongs to. `among` is not empty and has weights above 0."""
    best = among[0]
    least = math.inf
    for one in among:
        # An exponential draw of the rate `weight`: the smallest of several is each one's by its share of the sum.
        draw = -math.log((xxhash.xxh3_64_intdigest(key, one.seed) + 1) / _SPAN) / one.weight
        if draw < least:
            least = draw
            best = one
    return best


class Side:
    """One upstream of a route: its share now, and what has come of it."""

    __slots__ = ("calls", "fallbacks", "name", "seed", "weight")

    def __init__(self, name: str, weight: int) -> None:
        self.name = name
        self.seed = seed_of(name)
        self.weight = weight
        self.calls = 0
        """Calls that were sent to it."""
        self.fallbacks = 0
        """Calls that were its own and went to another, since none of its endpoints could be reached."""

    def __repr__(self) -> str:
        return f"<Side {self.name} {self.weight}, {self.calls} calls>"


class Weights:
    """The sides of one route. `version` is another object whenever a weight has changed."""

    __slots__ = ("sides", "version")

    def __init__(self, written: Mapping[str, int]) -> None:
        self.sides = {name: Side(name, weight) for name, weight in written.items()}
        self.version = object()

    def set(self, weights: Mapping[str, int]) -> None:
        """Have these weights from the next call on; sides that are not named keep theirs.

        Raises ValueError, and changes nothing, when a name is not one of the route's or nothing would be left.
        """
        for name, weight in weights.items():
            if name not in self.sides:
                raise ValueError(f"{name} is not an upstream of this route; there are {', '.join(self.sides)}")
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MOST:
                raise ValueError(f"{name}: a weight is a whole number from 0 to {MOST}")
        after = {name: weights.get(name, side.weight) for name, side in self.sides.items()}
        if not any(after.values()):
            raise ValueError("every weight would be 0: no call could be carried")
        for name, weight in after.items():
            self.sides[name].weight = weight
        self.version = object()

    @property
    def now(self) -> dict[str, int]:
        return {name: side.weight for name, side in self.sides.items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {side.weight}" for name, side in self.sides.items())
