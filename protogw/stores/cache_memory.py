"""Cached answers in this process's memory, up to so many bytes: the least recently used go first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from protogw.stores.entries import Clock, Entry, Wanted, wall

_SWEPT = 8
_LOOKED_AT = 2000


class MemoryCache:
    """A CacheStore of this process; no entry may take more than a quarter of it."""

    def __init__(self, most_bytes: int, clock: Clock = wall) -> None:
        self._most = most_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[Entry, int]] = OrderedDict()
        self.size = 0
        """Bytes that are taken."""

    def __len__(self) -> int:
        return len(self._entries)

    def get_now(self, key: bytes) -> Entry | None:
        """The entry, without waiting, which nothing here does."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put_now(self, key: bytes, entry: Entry) -> None:
        """Keep it, without waiting."""
        size = entry.size + len(key)
        self._remove(key)
        if size > self._most // 4:
            return
        self._entries[key] = (entry, size)
        self.size += size
        self._make_room()

    async def get(self, key: bytes) -> Entry | None:
        return self.get_now(key)

    async def put(self, key: bytes, entry: Entry) -> None:
        self.put_now(key, entry)

    async def remove(self, key: bytes) -> None:
        self._remove(key)

    async def purge(self, wanted: Wanted) -> int:
        count = 0
        for number, key in enumerate(tuple(self._entries)):
            if number % _LOOKED_AT == _LOOKED_AT - 1:
                await asyncio.sleep(0)  # other calls get their turn
            found = self._entries.get(key)
            if found is not None and wanted.takes(found[0]):
                self._remove(key)
                count += 1
        return count

    async def close(self) -> None:
        self._entries.clear()
        self.size = 0

    def _remove(self, key: bytes) -> None:
        known = self._entries.pop(key, None)
        if known is not None:
            self.size -= known[1]

    def _make_room(self) -> None:
        """Let go of the oldest: all that there is no room for, and a few of no use with each new one."""
        now = self._clock()
        for number in range(len(self._entries)):
            key, (entry, size) = next(iter(self._entries.items()))
            if self.size <= self._most and (number >= _SWEPT or now - entry.made_s < entry.keep_s):
                break
            del self._entries[key]
            self.size -= size
