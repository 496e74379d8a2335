"""The stores of one gateway: each URL's is made once, and all are closed with the gateway."""

from __future__ import annotations

import asyncio

from protogw.stores.base import CounterStore
from protogw.stores.cache_memory import MemoryCache
from protogw.stores.cache_redis import RedisCache
from protogw.stores.entries import CacheStore
from protogw.stores.memory import MemoryCounters
from protogw.stores.redis import RedisCounters


class Stores:
    """Makes stores on first use; `node` is what counts for an empty URL, where it is not this process alone."""

    def __init__(self, node: CounterStore | None = None) -> None:
        self._counters: dict[str, CounterStore] = {} if node is None else {"": node}
        self._caches: list[CacheStore] = []

    def counters(self, url: str) -> CounterStore:
        """The counters at this URL, or of this process for an empty one."""
        found = self._counters.get(url)
        if found is None:
            found = self._counters[url] = RedisCounters(url) if url else MemoryCounters()
        return found

    def cache(self, url: str, name: str, *, most_bytes: int, most_entry: int) -> CacheStore:
        """A cache of this name at this URL, or for an empty one in this process, where it takes up to `most_bytes`."""
        made = RedisCache(url, name, most_entry=most_entry) if url else MemoryCache(most_bytes)
        self._caches.append(made)
        return made

    async def run(self) -> None:
        """Keep the stores until cancelled, then close them."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def _close(self) -> None:
        for store in self._counters.values():
            await store.close()
        for cache in self._caches:
            await cache.close()
        self._counters.clear()
        self._caches.clear()
