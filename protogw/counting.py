"""Numbers that the parts of the gateway count as they work: bare integers, made into metrics only when asked for.

Imports nothing of ours and knows no exposition format. A count is bound once, where its labels are known, so that
counting is one addition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

MOST_SERIES: Final = 1000
"""Label sets of one name; those beyond share one whose values are all OVERFLOW."""
OVERFLOW: Final = "overflow"

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Labels = tuple[str, ...]


class Count:
    """One number that only grows. Where every nanosecond counts, add to `value` itself."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, many: int = 1) -> None:
        self.value += many

    def __repr__(self) -> str:
        return f"<Count {self.value}>"


class Family:
    """All counts, or all gauges, of one name: the same label names, one number for each set of values."""

    def __init__(self, name: str, what: str, labels: Labels) -> None:
        self.name = name
        self.what = what
        self.labels = labels
        self.counts: dict[Labels, Count] = {}
        self.gauges: dict[Labels, Callable[[], float]] = {}
        self.totals: dict[Labels, Callable[[], float]] = {}
        """Counts that are kept elsewhere."""

    def of(self, *values: str) -> Count:
        """The count of these label values, in the order of `labels`; made when it is new. For values that come with
        calls and are few, such as methods: keep what is returned."""
        count = self.counts.get(values)
        if count is None:
            if len(self.counts) >= MOST_SERIES:
                values = (OVERFLOW,) * len(self.labels)
            count = self.counts.setdefault(values, Count())
        return count


class Counts:
    """Everything that one gateway counts, by name."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def family(self, name: str, what: str, labels: Labels) -> Family:
        """The family of this name (`cache_replies`: without prefix or suffix) that `what` says in a sentence.

        Raises ValueError for a name that is none, or one that has been used with other labels.
        """
        if not all(_NAME.fullmatch(one) for one in (name, *labels)):
            raise ValueError(f"{name}: metric and label names are written_so")
        found = self._families.get(name)
        if found is None:
            found = self._families[name] = Family(name, what, labels)
        elif found.labels != labels:
            raise ValueError(f"{name}: has the labels {', '.join(found.labels)}, not {', '.join(labels)}")
        return found

    def count(self, name: str, what: str, labels: Mapping[str, str]) -> Count:
        """The one count of this name and these labels, 0 at first."""
        return self.family(name, what, tuple(labels)).of(*labels.values())

    def gauge(self, name: str, what: str, read: Callable[[], float], labels: Mapping[str, str]) -> None:
        """Have a number read whenever the metrics are looked at; of one name and labels the last stays."""
        family = self.family(name, what, tuple(labels))
        if len(family.gauges) < MOST_SERIES:
            family.gauges[tuple(labels.values())] = read

    def total(self, name: str, what: str, read: Callable[[], float], labels: Mapping[str, str]) -> None:
        """Have a number that only grows, and that another part keeps, read whenever the metrics are looked at."""
        family = self.family(name, what, tuple(labels))
        if len(family.totals) < MOST_SERIES:
            family.totals[tuple(labels.values())] = read

    def __iter__(self) -> Iterator[Family]:
        return iter(tuple(self._families.values()))

    def __repr__(self) -> str:
        return f"<Counts {', '.join(self._families) or 'nothing'}>"
