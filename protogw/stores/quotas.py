"""Where quotas are kept, which outlive the process: a SQLite file that a node's processes share, or Redis/Valkey.

A use is counted whole or not at all. Each key is one period of one consumer's, and is forgotten some time after it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from protogw.stores.base import StoreError
from protogw.stores.server import Server

TIMEOUT_S = 0.5
MOST_WAITING = 1024
"""Uses that wait for the file at once."""
_SWEEP_S = 60.0


class Spent(NamedTuple):
    """Whether a use was counted, what is used of the period with what counts of the one before, and without."""

    allowed: bool
    used: float
    current: int


class QuotaStore(Protocol):
    """Counts uses."""

    async def spend(self, key: str, before: str, share: float, cost: int, limit: int, until: float) -> Spent:
        """Count `cost` for a key if it, with `share` of what the key `before` has, stays within `limit`.

        `until` is the Unix time from which on the key is of no use. Raises StoreError.
        """
        ...

    async def close(self) -> None: ...


class SqliteQuotas:
    """In a file, by one thread; other processes may have it open as well. `:memory:` is this process's alone."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quotas")
        self._waiting = 0
        self._db: sqlite3.Connection | None = None
        self._swept = time.time()

    async def spend(self, key: str, before: str, share: float, cost: int, limit: int, until: float) -> Spent:
        if self._waiting >= MOST_WAITING:
            raise StoreError(f"{MOST_WAITING} uses wait for {self._path}")
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, self._spend, key, before, share, cost, limit, until
        )
        self._waiting += 1
        # Not when the call ends: what its client gave up waits in the thread's queue all the same.
        work.add_done_callback(self._done)
        try:
            return await asyncio.shield(work)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _done(self, work: asyncio.Future[Spent]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            work.exception()  # nobody may be there to see it

    def _spend(self, key: str, before: str, share: float, cost: int, limit: int, until: float) -> Spent:
        db = self._db or self._open()
        earlier = 0.0
        if share > 0:
            row = db.execute("SELECT used FROM quota WHERE key = ?", (before,)).fetchone()
            earlier = row[0] * share if row is not None else 0.0
        room = int(limit - earlier + 1e-9) - cost
        if room >= 0:
            row = db.execute(
                "INSERT INTO quota VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET used = used + ? WHERE used <= ?"
                " RETURNING used",
                (key, cost, until, cost, room),
            ).fetchone()
            if row is not None:
                self._sweep(db)
                return Spent(True, row[0] + earlier, row[0])
        row = db.execute("SELECT used FROM quota WHERE key = ?", (key,)).fetchone()
        current: int = row[0] if row is not None else 0
        return Spent(False, current + earlier, current)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            # Others may read while one writes; a power cut may lose the last uses, never the file.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS quota (key TEXT PRIMARY KEY, used INTEGER, until REAL) WITHOUT ROWID"
            )
        except sqlite3.Error:
            db.close()
            raise
        self._db = db
        return db

    def _sweep(self, db: sqlite3.Connection) -> None:
        now = time.time()
        if now - self._swept >= _SWEEP_S:
            self._swept = now
            db.execute("DELETE FROM quota WHERE key IN (SELECT key FROM quota WHERE until < ? LIMIT 10000)", (now,))

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


_SCRIPT = """
-- KEYS: the period's key and that of the one before. ARGV: share, cost, limit, and the time to keep it in milliseconds.
local used = tonumber(redis.call('GET', KEYS[1]) or 0)
local earlier = tonumber(ARGV[1]) * tonumber(redis.call('GET', KEYS[2]) or 0)
local cost = tonumber(ARGV[2])
if used + cost > math.floor(tonumber(ARGV[3]) - earlier + 1e-9) then
  return {0, tostring(used + earlier), used}
end
redis.call('INCRBY', KEYS[1], cost)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, tostring(used + cost + earlier), used + cost}
"""


class RedisQuotas:
    """In a Redis or Valkey server."""

    def __init__(self, url: str, *, prefix: str = "protogw:quota:", timeout_s: float = TIMEOUT_S) -> None:
        self._server = Server(url, timeout_s)
        self._script = self._server.client.register_script(_SCRIPT)
        self._prefix = prefix

    async def spend(self, key: str, before: str, share: float, cost: int, limit: int, until: float) -> Spent:
        # One hash tag, so that a cluster keeps both together.
        tag = key.rpartition(" ")[0]
        keys = [f"{self._prefix}{{{tag}}}{name.removeprefix(tag)}" for name in (key, before)]
        keep = max(1000, int((until - time.time()) * 1000))
        async with self._server.asking():
            allowed, used, current = await self._script(keys=keys, args=[f"{share:.9f}", cost, limit, keep])
        return Spent(bool(allowed), float(used), int(current))

    async def close(self) -> None:
        await self._server.close()


def opened(store: str) -> QuotaStore:
    """The store of a setting: a URL of Redis or Valkey, or the path of a file."""
    return RedisQuotas(store) if store.startswith(("redis://", "rediss://", "unix://")) else SqliteQuotas(store)
