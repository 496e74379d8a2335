"""What policies are handed at assembly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from ssl import SSLContext

from protogw.consumers import Consumers
from protogw.counting import Count, Counts
from protogw.descriptors.model import Spelling
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
    counted: Counts = field(default_factory=Counts)
    connect: Callable[[str, str, Sequence[tuple[str, int]], bool, Path | None], Target] | None = None
    """Makes a pool for the policy of this name."""
    secure: Callable[[Path], SSLContext] | None = None
    """Makes the TLS of the fetcher."""
    on_change: Callable[[], None] | None = None
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    """By the kind of the front end, of those that have one."""

    def spelling(self, front_end: str) -> Spelling:
        return self.spellings.get(front_end, Spelling.PROTO)

    def changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

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

    def count(self, name: str, what: str, **labels: str) -> Count:
        return self.counted.count(name, what, {"policy": self.name, **labels})

    def counts(self, name: str, what: str, *labels: str) -> Callable[..., Count]:
        return partial(self.counted.family(name, what, ("policy", *labels)).of, self.name)

    def gauge(self, name: str, what: str, read: Callable[[], float], **labels: str) -> None:
        self.counted.gauge(name, what, read, {"policy": self.name, **labels})

    def pool(
        self, kind: str, addresses: Sequence[tuple[str, int]], *, tls: bool = False, ca: Path | None = None
    ) -> Target:
        assert self.connect is not None
        return self.connect(self.name, kind, addresses, tls, ca)

    def tls(self, ca: Path) -> SSLContext:
        assert self.secure is not None
        return self.secure(ca)
