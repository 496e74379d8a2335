"""Answers in a Redis server: they come back as they were, expire, are purged, and rubbish among them is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from protogw.stores.base import StoreError
from protogw.stores.cache_redis import RedisCache
from protogw.stores.entries import Entry, Wanted
from tests.support.redis import RedisServer

MADE = Entry(
    name="kit.v1.Echo/Look",
    body=b"\x00\n\xff",
    encoding="proto",
    fields=((b"x-a", b"\xe9"), (b"etag", b'"1"')),
    tags=("shelf-1",),
    fresh_s=60.0,
)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisCache]:
    made = RedisCache(redis.url, "kept[*]", most_entry=1 << 20, timeout_s=5.0)
    await made.purge(Wanted())
    yield made
    await made.close()


def entry(**said: object) -> Entry:
    return replace(MADE, made_s=time.time(), **said)  # type: ignore[arg-type]


async def test_an_entry_comes_back_as_it_was(store: RedisCache) -> None:
    made = entry()
    await store.put(b"k", made)
    assert await store.get(b"k") == made
    assert await store.get(b"other") is None
    await store.remove(b"k")
    assert await store.get(b"k") is None


async def test_entries_expire_by_themselves(store: RedisCache) -> None:
    await store.put(b"k", entry(fresh_s=5.0, stale_s=5.0, fields=()))
    left = await store._client.pttl(store._prefix + b"k".hex().encode())
    assert 0 < left <= 10_000
    await store.put(b"gone", replace(entry(fields=()), made_s=time.time() - 100))
    assert await store.get(b"gone") is None


async def test_what_is_too_large_is_left_out(redis: RedisServer) -> None:
    small = RedisCache(redis.url, "small", most_entry=4096, timeout_s=5.0)
    await small.put(b"k", entry(body=b"x" * 4096))
    assert await small.get(b"k") is None
    await small.close()


@pytest.mark.parametrize("rubbish", [b"", b"x", b"{}\n", b'{"v":1}\nbody', b"\xff\n" * 10])
async def test_rubbish_is_no_entry(store: RedisCache, rubbish: bytes) -> None:
    await store._client.set(store._prefix + b"k".hex().encode(), rubbish)
    assert await store.get(b"k") is None


async def test_a_value_of_another_kind_is_a_store_error(store: RedisCache) -> None:
    await store._client.lpush(store._prefix + b"k".hex().encode(), b"x")
    with pytest.raises(StoreError):
        await store.get(b"k")


async def test_purging_takes_what_is_meant_and_no_other_caches(redis: RedisServer, store: RedisCache) -> None:
    other = RedisCache(redis.url, "kept[a]", most_entry=1 << 20, timeout_s=5.0)
    await other.put(b"k", entry())
    for number in range(450):
        await store.put(b"%d" % number, entry(name=f"s/M{number % 3}", tags=("even",) if number % 2 == 0 else ()))
    assert await store.purge(Wanted(name="s/M1")) == 150
    assert await store.purge(Wanted(tag="even")) == 150
    assert await store.purge(Wanted()) == 150
    assert await other.get(b"k") is not None
    await other.close()


async def test_a_server_that_is_not_there_is_a_store_error_and_is_not_asked_again_at_once() -> None:
    store = RedisCache("redis://127.0.0.1:1/0", "kept", most_entry=1 << 20)
    with pytest.raises(StoreError):
        await store.get(b"k")
    with pytest.raises(StoreError, match="a moment ago"):
        await store.put(b"k", entry())
    await store.close()


async def test_a_server_that_hangs_costs_no_more_than_the_timeout() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisCache(f"redis://127.0.0.1:{port}/0", "kept", most_entry=1 << 20, timeout_s=0.05)
    with pytest.raises(StoreError):
        await store.get(b"k")
    await store.close()
    server.close()
    await server.wait_closed()
