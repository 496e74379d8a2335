"""Places for calls that gateways share through a Redis server: never more than there are, none lost for long."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from protogw.stores.base import StoreError
from protogw.stores.redis import RedisCounters
from protogw.stores.redis_places import RedisPlaces
from protogw.stores.server import Server
from tests.support import kit
from tests.support.backend import backend
from tests.support.drivers import Grpc
from tests.support.gateway import config_of, gateway
from tests.support.processes import until
from tests.support.redis import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def places(redis: RedisServer, lease_s: float = 30.0, timeout_s: float = 10.0) -> AsyncIterator[RedisPlaces]:
    server = Server(redis.url, timeout_s)
    made = RedisPlaces(server, lease_s=lease_s)
    yield made
    await made.close()
    await server.close()


async def passed(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
            await asyncio.sleep(0.001)


async def eventually(places_of: RedisPlaces, key: str, limit: int) -> bool:
    return await places_of.enter(key, limit, 1, 20.0)


async def test_two_gateways_have_exactly_the_places_that_there_are(redis: RedisServer) -> None:
    async with places(redis) as one, places(redis) as two:
        found = await asyncio.gather(*((one, two)[number % 2].enter("k", 5, 0, 0.0) for number in range(30)))
        assert sum(found) == 5
        assert await two.enter("other", 5, 0, 0.0)
        (one if found[0] else two).leave("k")
        assert await eventually(two, "k", 5)
        assert not await one.enter("k", 5, 0, 0.0)


async def test_no_more_wait_than_may_and_none_for_longer_than_it_may(redis: RedisServer) -> None:
    async with places(redis) as one, places(redis) as two:
        assert await one.enter("k", 1, 0, 0.0)
        waiting = asyncio.ensure_future(two.enter("k", 1, 1, 20.0))
        await passed(lambda: two._waiting["k"] > 0)
        assert not await two.enter("k", 1, 1, 20.0)
        assert not await one.enter("k", 1, 1, 0.05)
        one.leave("k")
        assert await waiting
        assert not one._waiting
        assert not two._waiting


async def test_the_places_of_a_gateway_that_is_gone_come_back(redis: RedisServer) -> None:
    async with places(redis, lease_s=0.3) as dead, places(redis, lease_s=0.3) as other:
        assert await dead.enter("k", 1, 0, 0.0)
        assert dead._renewing is not None
        dead._renewing.cancel()
        assert await eventually(other, "k", 1)


async def test_places_outlive_a_server_that_forgets_them_and_leases_are_renewed(redis: RedisServer) -> None:
    async with places(redis, lease_s=0.3, timeout_s=2.0) as one:
        assert await one.enter("k", 1, 0, 0.0)
        redis.kill()
        with pytest.raises(StoreError):
            await one.enter("k", 1, 0, 0.0)
        redis.start()
        held = 0
        while not held:
            await asyncio.sleep(0.01)
            async with one._server.asking():
                held = await one._server.client.zcard("protogw:places:k")
        one.leave("k")
        assert await eventually(one, "k", 1)


async def test_a_call_that_is_given_up_leaves_no_place_behind(redis: RedisServer) -> None:
    async with places(redis) as one:
        for pending in (0, 1):
            for turns in range(6):
                asked = asyncio.ensure_future(one.enter("k", 1, pending, 5.0))
                for _ in range(turns):
                    await asyncio.sleep(0.0005)
                asked.cancel()
                await asyncio.wait([asked])
                if not asked.cancelled() and asked.result():
                    one.leave("k")
                assert await eventually(one, "k", 1)
                one.leave("k")


@pytest.mark.parametrize(("on_error", "code"), [("open", 0), ("closed", 14)])
def test_calls_while_the_store_is_gone_and_after_its_return(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str, code: int
) -> None:
    monkeypatch.setitem(RedisCounters.__init__.__kwdefaults__, "timeout_s", 10.0)
    few = {"concurrency": {"limit": 1, "store": redis.url, "on_error": on_error}}
    with backend() as service:
        upstreams = {"kit": {"grpc": f"127.0.0.1:{service.port}", "schema": str(kit.PROTO)}}
        with gateway(config_of(upstreams, policies={"few": few}, use=["few"]), tmp_path) as running:
            client = Grpc(running.port)

            def answered() -> int | None:
                return client.call("Unary", kit.message("x")).code

            assert answered() == 0
            redis.kill()
            assert [answered() for _ in range(3)] == [code] * 3
            redis.start()
            until(lambda: answered() == 0, 20, "a call that is let through")
            client.close()
