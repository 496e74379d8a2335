"""What policies are handed at assembly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protogw.consumers import Consumers
from protogw.fetching import Fetcher
from protogw.policies.base import Target
from protogw.stores.base import CounterStore
from protogw.stores.entries import CacheStore
from protogw.stores.registry import Stores


@dataclass(frozen=True, slots=True)
class PolicyTools:
    """One policy's Tools."""

    name: str
    stores: Stores
    fetcher: Fetcher
    targets: Mapping[str, Target]
    policies: Mapping[str, object]
    consumers: Consumers | None = None

    def counters(self, url: str) -> CounterStore:
        return self.stores.counters(url)

    def cache(self, url: str, *, most_bytes: int, most_entry: int) -> CacheStore:
        return self.stores.cache(url, self.name, most_bytes=most_bytes, most_entry=most_entry)

    def policy(self, name: str) -> object:
        found = self.policies.get(name)
        if found is None:
            raise ValueError(f"there is no policy {name}; there are {', '.join(self.policies)}")
        return found

    def upstream(self, name: str) -> Target:
        found = self.targets.get(name)
        if found is None:
            raise ValueError(f"there is no upstream {name}; there are {', '.join(self.targets)}")
        return found
