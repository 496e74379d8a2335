"""Cached answers in Redis or Valkey, which gateways share: one key for each, which expires by itself.

What is found there is believed no further than it can be read. A server that fails costs a look-up, never a call.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from protogw.stores.base import StoreError
from protogw.stores.entries import Clock, Entry, Wanted, dumped, loaded, wall
from protogw.stores.server import Server

TIMEOUT_S = 0.25
"""How long a look-up may take, connecting included."""
PURGE_S = 30.0
RETRY_S = 1.0
"""For how long a server that did not answer is not asked: what it is asked for would only be held up."""
_BATCH = 200
_HEAD_BYTES = 64 << 10
"""How much of an entry is read to tell whether it is meant: all that is said of the answer stands before it."""


class RedisCache:
    """A CacheStore in a Redis or Valkey server (`redis://`, `rediss://`, `unix://`); entries over `most_entry` bytes
    are left out."""

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        most_entry: int,
        timeout_s: float = TIMEOUT_S,
        retry_s: float = RETRY_S,
        clock: Clock = wall,
    ) -> None:
        self._server = Server(url, timeout_s)
        self._client = self._server.client
        self._prefix = b"protogw:cache:%b:" % prefix.encode()
        self._most = most_entry
        self._retry_s = retry_s
        self._clock = clock
        self._down_until = -math.inf

    async def get(self, key: bytes) -> Entry | None:
        async with self._asking():
            data: Any = await self._client.get(self._prefix + key.hex().encode())
        return loaded(data) if data is not None and len(data) <= 2 * self._most else None

    async def put(self, key: bytes, entry: Entry) -> None:
        if entry.size > self._most:
            return
        left_s = entry.made_s + entry.keep_s - self._clock()
        if left_s <= 0:
            return
        data = dumped(entry)
        async with self._asking():
            await self._client.set(self._prefix + key.hex().encode(), data, px=max(1, int(left_s * 1000)))

    async def remove(self, key: bytes) -> None:
        async with self._asking():
            await self._client.unlink(self._prefix + key.hex().encode())

    async def purge(self, wanted: Wanted) -> int:
        """Looks through all keys of this cache, a batch at a time."""
        count = 0
        found: list[bytes] = []
        async with self._asking(PURGE_S):
            async for key in self._client.scan_iter(match=_literal(self._prefix) + b"*", count=_BATCH):
                found.append(key)
                if len(found) >= _BATCH:
                    count += await self._unlink(found, wanted)
                    found = []
            count += await self._unlink(found, wanted)
        return count

    async def _unlink(self, keys: list[bytes], wanted: Wanted) -> int:
        meant = keys
        if (wanted.name or wanted.tag) and keys:
            asked = self._client.pipeline(transaction=False)
            for key in keys:
                asked.getrange(key, 0, _HEAD_BYTES - 1)
            heads = [loaded(bytes(head)) for head in await asked.execute()]
            # What cannot be read is of no use: better gone than left.
            meant = [key for key, one in zip(keys, heads, strict=True) if one is None or wanted.takes(one)]
        return int(await self._client.unlink(*meant)) if meant else 0

    @asynccontextmanager
    async def _asking(self, timeout_s: float = 0.0) -> AsyncIterator[None]:
        """As the server's own, but one that did not answer is left alone for a moment."""
        loop = asyncio.get_running_loop()
        if not timeout_s and loop.time() < self._down_until:
            raise StoreError("it did not answer a moment ago")
        try:
            async with self._server.asking(timeout_s):
                yield
        except StoreError:
            self._down_until = loop.time() + self._retry_s
            raise

    async def close(self) -> None:
        await self._server.close()


def _literal(pattern: bytes) -> bytes:
    """Text as a pattern that only it matches."""
    return b"".join(b"\\" + bytes((one,)) if one in b"*?[]^-\\" else bytes((one,)) for one in pattern)
