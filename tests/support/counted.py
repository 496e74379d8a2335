"""The counting part of a policy's tools, for tests that stand in for the rest; `told` is what was counted."""

from __future__ import annotations

from collections.abc import Callable

from protogw.counting import Count, Counts


class Counted:
    name = "policy"
    consumers = None

    def __init__(self) -> None:
        self.counted = Counts()

    def count(self, name: str, what: str, **labels: str) -> Count:
        return self.counted.count(name, what, labels)

    def counts(self, name: str, what: str, *labels: str) -> Callable[..., Count]:
        return self.counted.family(name, what, labels).of

    def gauge(self, name: str, what: str, read: Callable[[], float], **labels: str) -> None:
        self.counted.gauge(name, what, read, labels)

    def told(self, name: str) -> dict[tuple[str, ...], int]:
        """The numbers of this name that are not 0, by their label values."""
        return {
            values: count.value
            for family in self.counted
            if family.name == name
            for values, count in family.counts.items()
            if count.value
        }
