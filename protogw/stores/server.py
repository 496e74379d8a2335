"""A Redis or Valkey server as stores ask one: on a bounded number of connections, each question bounded in time, and
one kind of fault whatever went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from protogw.stores.base import StoreError

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECTIONS: Final = 64


class Server:
    """One server (`redis://`, `rediss://`, `unix://`), asked by `client` within `asking`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` is how long one question may take, connecting included."""
        from redis.asyncio import BlockingConnectionPool, Redis  # only those who share something need it

        # A pool that is handed in is its giver's to close.
        self._pool: Any = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=30,
        )
        self.client: Redis = Redis(connection_pool=self._pool)
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def asking(self, timeout_s: float = 0.0) -> AsyncIterator[None]:
        """Bound a question in time, by another limit than the usual if it says so; raises StoreError for whatever the
        client raises."""
        from redis.exceptions import RedisError

        limit_s = timeout_s or self._timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError as error:
            raise StoreError(f"no answer within {limit_s:g} s") from error
        except (RedisError, OSError) as error:
            raise StoreError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        await self.client.aclose()
        await self._pool.aclose()
