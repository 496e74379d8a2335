"""Limits shared through a Redis server: exact under concurrency, by its clock, and what happens when it is gone."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protogw.stores.base import Algorithm, StoreError, Window
from protogw.stores.quotas import RedisQuotas
from protogw.stores.redis import RedisCounters
from protogw.stores.windows import judge
from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import Grpc
from tests.support.gateway import config_of, gateway
from tests.support.processes import until
from tests.support.redis import RedisServer

BUCKET = Window(amount=20, per_s=3600.0, burst=20)
SLIDING = Window(amount=20, per_s=86400.0, burst=20, algorithm=Algorithm.SLIDING_WINDOW)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is there may take its time on a busy machine; one that is gone refuses at once all the same."""
    for store in (RedisCounters, RedisQuotas):
        monkeypatch.setitem(store.__init__.__kwdefaults__, "timeout_s", 10.0)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.mark.parametrize("window", [BUCKET, SLIDING], ids=["bucket", "sliding"])
async def test_two_gateways_admit_exactly_the_limit(redis: RedisServer, window: Window) -> None:
    stores = [RedisCounters(redis.url, timeout_s=5.0) for _ in range(2)]
    key = f"exact {window.algorithm.value}"
    found = await asyncio.gather(*(stores[number % 2].take(key, 1, [window]) for number in range(60)))
    assert sum(taken[0].allowed for taken in found) == 20
    for store in stores:
        await store.close()


@pytest.mark.parametrize("window", [BUCKET, SLIDING], ids=["bucket", "sliding"])
async def test_the_script_decides_as_the_arithmetic_does(redis: RedisServer, window: Window) -> None:
    chance = random.Random(window.algorithm.value)
    store = RedisCounters(redis.url, timeout_s=5.0)
    state = None
    for _ in range(40):
        cost = chance.randint(1, 4)
        told = (await store.take(f"same {window.algorithm.value}", cost, [window]))[0]
        # The period is so long that no test's own time matters.
        meant, after = judge(window, state, cost, 1_700_000_000.0)
        assert (told.allowed, told.remaining) == (meant.allowed, meant.remaining)
        state = after if meant.allowed else state
    await store.close()


async def test_every_window_is_charged_or_none(redis: RedisServer) -> None:
    store = RedisCounters(redis.url, timeout_s=5.0)
    windows = [BUCKET, Window(amount=2, per_s=3600.0, burst=2)]
    found = [await store.take("both", 1, windows) for _ in range(4)]
    assert [tuple(taken.allowed for taken in one) for one in found] == [(True, True)] * 2 + [(True, False)] * 2
    assert found[3][0].remaining == 17
    assert 0 < found[3][1].retry_s <= 1800
    await store.close()


async def test_keys_expire_by_themselves(redis: RedisServer) -> None:
    store = RedisCounters(redis.url, timeout_s=5.0)
    await store.take("short", 1, [Window(amount=10, per_s=1.0, burst=10)])
    left = [await store._server.client.pttl(key) for key in await store._server.client.keys("protogw:limit:{short}*")]
    assert left
    assert all(0 < milliseconds <= 2000 for milliseconds in left)
    await store.close()


async def test_a_server_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    store = RedisCounters("redis://127.0.0.1:1/0")
    with pytest.raises(StoreError):
        await store.take("k", 1, [BUCKET])
    await store.close()


@pytest.mark.parametrize(("on_error", "while_gone"), [("open", 0), ("closed", 14)])
def test_calls_while_the_store_is_gone_and_after_its_return(
    service: Backend, tmp_path: Path, on_error: str, while_gone: int
) -> None:
    server = RedisServer(tmp_path)
    limit = {"rate": "3/hour", "store": server.url, "on_error": on_error}
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        policies={"fair": {"rate_limit": limit}},
        use=["fair"],
    )
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    try:
        with gateway(config, tmp_path) as running:
            client = Grpc(running.port)
            assert [client.call("Unary", kit.message("x")).code for _ in range(4)] == [0, 0, 0, 8]
            server.kill()
            assert [client.call("Unary", kit.message("x")).code for _ in range(5)] == [while_gone] * 5
            server.start()
            # The counters were in its memory: it starts anew, and so do the limits.
            assert [client.call("Unary", kit.message("x")).code for _ in range(4)] == [0, 0, 0, 8]
            client.close()
    finally:
        server.kill()


class Calling:
    """Calls without a pause from threads of their own, and the codes of their replies."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.codes: list[int | None] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(port,)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int) -> None:
        client = Grpc(port)
        while not self._stop.is_set():
            self.codes.append(client.call("Unary", kit.message("x")).code)
        client.close()

    def next(self, count: int) -> list[int | None]:
        """The codes of so many calls that end from now on."""
        seen = len(self.codes)
        until(lambda: len(self.codes) >= seen + count, 30, "more calls")
        return self.codes[seen:]

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@pytest.mark.parametrize(("kind", "on_error"), [("rate_limit", "open"), ("rate_limit", "closed"), ("quota", "closed")])
def test_a_store_that_is_killed_and_comes_back_under_load(
    service: Backend, tmp_path: Path, kind: str, on_error: str
) -> None:
    """Open: not one call fails. Closed: all are refused while it is away, and none before or after."""
    server = RedisServer(tmp_path)
    limits = {"rate_limit": {"rate": "1000000/s"}, "quota": {"limit": "1000000/day"}}
    policy = {kind: {**limits[kind], "store": server.url, "on_error": on_error}}
    config = config_of(
        {"kit": {"grpc": f"127.0.0.1:{service.port}", "schema": str(kit.PROTO)}},
        policies={"fair": policy},
        use=["fair"],
    )
    try:
        with gateway(config, tmp_path) as running:
            calling = Calling(running.port)
            try:
                assert set(calling.next(100)) == {0}
                server.kill()
                calling.next(8)  # what was under way when it died
                assert set(calling.next(60)) == {0 if on_error == "open" else 14}
                server.start()
                # A connection may still be found broken, and the script is not known to the new server.
                # On a busy machine one may also get no answer in time.
                until(lambda: set(calling.next(100)) == {0}, 30, "a hundred calls in a row that are let through again")
            finally:
                calling.stop()
            if on_error == "open":
                assert set(calling.codes) == {0}
            else:
                assert set(calling.codes) == {0, 14}
    finally:
        server.kill()


async def test_a_quota_in_redis_is_exact_and_outlives_gateways(redis: RedisServer) -> None:
    stores = [RedisQuotas(redis.url, timeout_s=5.0) for _ in range(2)]
    later = time.time() + 3600
    found = await asyncio.gather(
        *(stores[number % 2].spend("plan anna day 1", "plan anna day 0", 0.0, 1, 20, later) for number in range(60))
    )
    assert sum(spent.allowed for spent in found) == 20
    for store in stores:
        await store.close()
    again = RedisQuotas(redis.url, timeout_s=5.0)
    assert not (await again.spend("plan anna day 1", "plan anna day 0", 0.0, 1, 20, later)).allowed
    # Of a rolling period, half of what the one before had still counts.
    assert await again.spend("plan anna day 2", "plan anna day 1", 0.5, 10, 20, later) == (True, 20.0, 10)
    assert not (await again.spend("plan anna day 2", "plan anna day 1", 0.5, 1, 20, later)).allowed
    await again.close()
