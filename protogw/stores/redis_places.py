"""Places in Redis or Valkey, which gateways share: each is held by a lease, so that none is lost with the gateway that
had it."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import Counter
from typing import Final

from protogw.stores.base import StoreError
from protogw.stores.server import Server

log = logging.getLogger("protogw")

LEASE_S: Final = 30.0
"""How long a place stays taken that nobody renews: its gateway is gone."""
_POLL_S: Final = (0.01, 0.05)
"""How long a call that waits for a place waits to ask again."""

_ENTER = """
-- KEYS: the places of a key, each with the time at which its lease is over. ARGV: limit, lease in milliseconds, a name.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RENEW = """
-- KEYS: the places of a key. ARGV: lease in milliseconds, and the names of those that are still held.
local clock = redis.call('TIME')
local ends = clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], ends, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""


class RedisPlaces:
    """Places of all gateways that ask this server."""

    def __init__(self, server: Server, *, prefix: str = "protogw:places:", lease_s: float = LEASE_S) -> None:
        self._server = server
        self._enter = server.client.register_script(_ENTER)
        self._renew = server.client.register_script(_RENEW)
        self._prefix = prefix
        self._lease_s = lease_s
        self._lease_ms = int(lease_s * 1000)
        self._own = uuid.uuid4().hex
        self._last = 0
        self._held: dict[str, list[str]] = {}
        self._waiting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self, key: str, limit: int, pending: int, wait_s: float) -> bool:
        if await self._take(key, limit):
            return True
        if self._waiting[key] >= pending:
            return False
        self._waiting[key] += 1
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    await asyncio.sleep(random.uniform(*_POLL_S))
                    # Shielded: a place that was taken while time ran out is given back.
                    asked = asyncio.ensure_future(self._take(key, limit))
                    try:
                        if await asyncio.shield(asked):
                            return True
                    except asyncio.CancelledError:
                        asked.add_done_callback(lambda done: self._unwanted(key, done))
                        raise
        except TimeoutError:
            return False
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def _unwanted(self, key: str, asked: asyncio.Task[bool]) -> None:
        if not asked.cancelled() and asked.exception() is None and asked.result():
            self.leave(key)

    async def _take(self, key: str, limit: int) -> bool:
        self._loop = asyncio.get_running_loop()
        self._last += 1
        name = f"{self._own}:{self._last}"
        try:
            async with self._server.asking():
                entered = bool(await self._enter(keys=[self._prefix + key], args=[limit, self._lease_ms, name]))
        except BaseException:
            self._forget(key, name)  # it may have been taken all the same
            raise
        if entered:
            self._held.setdefault(key, []).append(name)
            if self._renewing is None:
                self._renewing = self._loop.create_task(self._keep(), name="places in Redis")
        return entered

    def leave(self, key: str) -> None:
        names = self._held.get(key)
        if not names:
            return
        name = names.pop()
        if not names:
            del self._held[key]
        self._forget(key, name)

    def _forget(self, key: str, name: str) -> None:
        # A reply that is dropped unread gives its place back when it is collected, in whichever thread that is.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._remove, key, name)

    def _remove(self, key: str, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._removed(key, name), name="a place in Redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _removed(self, key: str, name: str) -> None:
        try:
            async with self._server.asking():
                await self._server.client.zrem(self._prefix + key, name)
        except StoreError as error:
            # Its lease will be over.
            log.debug("a place of %s could not be given back: %s", key, error)

    async def _keep(self) -> None:
        """Renew what is held, three times within a lease; what a server that was started anew has forgotten, too."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            for key, names in tuple(self._held.items()):
                held = tuple(names)
                try:
                    async with self._server.asking():
                        await self._renew(keys=[self._prefix + key], args=[self._lease_ms, *held])
                except StoreError as error:
                    log.debug("places of %s could not be renewed: %s", key, error)
                    continue
                # Those that were given back meanwhile must not stay for a lease.
                for name in set(held).difference(self._held.get(key, ())):
                    self._forget(key, name)

    async def close(self) -> None:
        """Give back what is still held, as far as the server answers."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        for key, names in self._held.items():
            for name in names:
                self._remove(key, name)
        self._held.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
