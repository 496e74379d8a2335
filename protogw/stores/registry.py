"""The stores of one gateway: each URL's is made once, and all are closed with the gateway."""

from __future__ import annotations

import asyncio

from protogw.stores.base import CounterStore
from protogw.stores.memory import MemoryCounters
from protogw.stores.redis import RedisCounters


class Stores:
    """Makes stores on first use."""

    def __init__(self) -> None:
        self._counters: dict[str, CounterStore] = {}

    def counters(self, url: str) -> CounterStore:
        """The counters at this URL, or of this process for an empty one."""
        found = self._counters.get(url)
        if found is None:
            found = self._counters[url] = RedisCounters(url) if url else MemoryCounters()
        return found

    async def run(self) -> None:
        """Keep the stores until cancelled, then close them."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def _close(self) -> None:
        for store in self._counters.values():
            await store.close()
        self._counters.clear()
