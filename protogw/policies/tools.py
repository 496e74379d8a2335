"""What policies are handed at assembly."""

from __future__ import annotations

from dataclasses import dataclass

from protogw.stores.base import CounterStore
from protogw.stores.registry import Stores


@dataclass(frozen=True, slots=True)
class PolicyTools:
    """One policy's Tools."""

    name: str
    stores: Stores

    def counters(self, url: str) -> CounterStore:
        return self.stores.counters(url)
