"""Bounded tables of what comes back: whole heads met again, and what is true of a field's name.

Requests of which no two are alike pass these by. Keeping what is met once costs more than the look-up that misses: its
parts live on, the collector walks them, what others come back for is pushed out, and what is secret in it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_NAMES, _NAME_BYTES = 1024, 64


class Recurring(dict[K, V]):
    """What was made from each key, from the second time on that the key is met. Emptied when full, which is cheapest.

    It is a dict so that a look-up, which every request pays for, is one call of native code.
    """

    __slots__ = ("_met", "_most")

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._met: set[int] = set()
        """Hashes of keys met once; that two may share one only means that the second is kept at once."""

    def keep(self, key: K, value: V) -> None:
        """Take in what was made for a key that was not here."""
        if self.again(key):
            self.take(key, value)

    def again(self, key: K) -> bool:
        """Whether a key that is not here was met before; for whoever must look at it more closely before `take`."""
        met = self._met
        mark = hash(key)
        if mark in met:
            return True
        if len(met) >= self._most:
            met.clear()
        met.add(mark)
        return False

    def take(self, key: K, value: V) -> None:
        """Take in what was made for a key that was met before."""
        if len(self) >= self._most:
            super().clear()
        self[key] = value

    def clear(self) -> None:
        super().clear()
        self._met.clear()


class ByName(dict[bytes, V]):
    """What a function says of a field's name: `table[name]` asks it once for each of the few names in use."""

    __slots__ = ("_judge",)

    def __init__(self, judge: Callable[[bytes], V]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, name: bytes) -> V:
        said = self._judge(name)
        if len(name) <= _NAME_BYTES:
            if len(self) >= _NAMES:
                self.clear()
            self[name] = said
        return said
