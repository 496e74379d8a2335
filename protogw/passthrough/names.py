"""Names that TLS clients ask for → what they mean: an exact name first, else the longest `*.` end that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Names(Generic[T]):
    """A table of lower-case names and patterns; `*.b.example` stands for every name below b.example."""

    def __init__(self, patterns: Mapping[str, T]) -> None:
        self._exact = {name: value for name, value in patterns.items() if not name.startswith("*.")}
        self._ends = {name[1:]: value for name, value in patterns.items() if name.startswith("*.")}

    def find(self, name: str) -> T | None:
        """What the name means, None when it means nothing here."""
        found = self._exact.get(name)
        if found is not None or not self._ends:
            return found
        dot = name.find(".")
        while dot >= 0:
            found = self._ends.get(name[dot:])
            if found is not None:
                return found
            dot = name.find(".", dot + 1)
        return None
