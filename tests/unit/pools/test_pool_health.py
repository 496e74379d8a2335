"""Pools that judge their endpoints: by checks, by how calls go, by latency; and endpoints that come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from protogw.balancers.ewma import Ewma
from protogw.balancers.ring_hash import RingHash
from protogw.balancers.round_robin import RoundRobin
from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, DeadlineExceeded, Status, Unreachable, UpstreamReset
from protogw.expressions import Expression
from protogw.pools import pool as pools
from protogw.pools.pool import Address, Pool
from protogw.pools.settings import BalancingSettings, OutlierSettings
from protogw.probes.base import Probed, ProbeSettings
from protogw.wire.http import Peer
from tests.support.links import Dialer, Link, Sender

Act = Callable[[Call, Link], Awaitable[Reply]]


def made(*ports: int, act: Act | None = None, dialer: Dialer | None = None, **options: object) -> tuple[Pool, Sender]:
    sender = Sender(act)
    balancer = options.pop("balancer", None) or RoundRobin()
    pool = Pool(
        "p",
        [Address(host="127.0.0.1", port=port) for port in ports],
        sender,  # type: ignore[arg-type]
        dialer or Dialer(),  # type: ignore[arg-type]
        balancer,  # type: ignore[arg-type]
        max_connections=4,
        shared=True,
        **options,  # type: ignore[arg-type]
    )
    return pool, sender


def call(user: str = "") -> Call:
    metadata = Metadata(((b"x-user", user.encode()),) if user else ())
    return Call(None, metadata, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0)


class Clock:
    """Stands in for the loop's time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pools, "_now", lambda: self.now)


def failing(*ports: int, status: Code = Code.UNAVAILABLE) -> Act:
    async def act(_: Call, link: Link) -> Reply:
        return Reply(status=Status(status if link.port in ports else Code.OK))

    return act


async def test_an_endpoint_whose_calls_fail_is_left_out_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pool, sender = made(1, 2, act=failing(1), outlier=OutlierSettings(consecutive_errors=3))
    for _ in range(10):
        await pool.send(call())
    assert Counter(sender.ports) == {1: 3, 2: 7}
    assert pool.state(pool.endpoints[0]) == "ejected"
    clock.now += 31
    pool._refresh()
    assert pool.state(pool.endpoints[0]) == "ready"
    await pool.send(call())
    await pool.send(call())
    assert sender.ports[-2:].count(1) == 1
    pool.close()


@pytest.mark.parametrize("status", [Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.CANCELLED, Code.RESOURCE_EXHAUSTED])
async def test_an_answer_that_is_the_clients_fault_speaks_against_no_endpoint(status: Code) -> None:
    pool, _ = made(1, 2, act=failing(1, 2, status=status), outlier=OutlierSettings(consecutive_errors=1))
    for _ in range(6):
        await pool.send(call())
    assert len(pool.ready) == 2
    pool.close()


async def test_a_stream_that_breaks_off_speaks_against_its_endpoint() -> None:
    async def broken() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.RAW)
        raise UpstreamReset("gone")

    async def act(_: Call, link: Link) -> Reply:
        return Reply(payloads=broken())

    pool, _ = made(1, 2, 3, act=act, outlier=OutlierSettings(consecutive_errors=1))
    reply = await pool.send(call())
    assert reply.payloads is not None
    await anext(reply.payloads)
    assert len(pool.ready) == 3
    with pytest.raises(UpstreamReset):
        await anext(reply.payloads)
    assert len(pool.ready) == 2
    pool.close()


async def test_a_stream_that_its_reader_leaves_speaks_against_nobody_and_is_closed() -> None:
    closed = False

    async def endless() -> AsyncIterator[Payload]:
        nonlocal closed
        try:
            while True:
                yield Payload(b"", Encoding.RAW)
        finally:
            closed = True

    async def act(_: Call, link: Link) -> Reply:
        return Reply(payloads=endless())

    pool, _ = made(1, 2, act=act, outlier=OutlierSettings(consecutive_errors=1))
    payloads = (await pool.send(call())).payloads
    assert payloads is not None
    await anext(payloads)
    await payloads.aclose()  # type: ignore[attr-defined]
    assert closed
    assert len(pool.ready) == 2
    pool.close()


async def test_a_deadline_that_passes_on_an_endpoint_speaks_against_it() -> None:
    async def act(one: Call, link: Link) -> Reply:
        one.cut = DeadlineExceeded()
        raise asyncio.CancelledError

    pool, _ = made(1, 2, act=act, outlier=OutlierSettings(consecutive_errors=1))
    with pytest.raises(asyncio.CancelledError):
        await pool.send(call())
    assert len(pool.ready) == 1
    pool.close()


async def test_equal_keys_go_to_the_same_endpoint() -> None:
    pool, sender = made(1, 2, 3, 4, balancer=RingHash(), affinity=Expression("header.x-user"))
    for user in ("anna", "ben", "cleo", "dora", "emil") * 3:
        await pool.send(call(user))
    assert sender.ports[:5] == sender.ports[5:10] == sender.ports[10:]
    assert len(set(sender.ports)) > 1
    pool.close()


async def test_the_latency_of_calls_reaches_the_balancer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    async def act(_: Call, link: Link) -> Reply:
        clock.now += 0.5 if link.port == 1 else 0.01
        return Reply()

    pool, sender = made(1, 2, act=act, balancer=Ewma(clock=lambda: clock.now))
    for _ in range(20):
        await pool.send(call())
    assert sender.ports.count(1) <= 2
    pool.close()


class Said:
    """A probe that says what the test tells it to, and tells the test when it was asked."""

    kind = "said"
    transports = ()
    Settings = ProbeSettings

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def ask(self, endpoint: Probed) -> str:
        label = endpoint._endpoint.label  # type: ignore[attr-defined]
        said = self.wrong.get(label, "")
        self.asked.put_nowait(label)
        if said == "hang":
            await asyncio.Event().wait()
        if said == "raise":
            raise ValueError("a fault of ours")
        return said

    async def rounds(self, count: int) -> None:
        """Wait until each of two endpoints was asked so often more, and what was said has been taken in."""
        for _ in range(2 * count):
            await asyncio.wait_for(self.asked.get(), 5)
        await asyncio.sleep(0)


FAST = ProbeSettings.model_validate({"interval": "2ms", "timeout": "20ms", "healthy": 2, "unhealthy": 2})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("wrong", ["not serving", "hang", "raise"])
async def test_an_endpoint_that_is_unwell_gets_no_calls_until_it_is_well_again(wrong: str) -> None:
    probe = Said()
    pool, sender = made(1, 2)
    probe.wrong = {"127.0.0.1:1": wrong}
    await pool.check(probe, FAST)
    await until(lambda: len(pool.ready) == 1)
    for _ in range(4):
        await pool.send(call())
    assert set(sender.ports) == {2}
    assert pool.state(pool.endpoints[0]).startswith("unwell: ")
    assert pool.reachable
    probe.wrong = {}
    await until(lambda: len(pool.ready) == 2)
    pool.close()


async def test_most_being_unwell_is_likelier_a_wrong_check() -> None:
    probe = Said()
    pool, _ = made(1, 2, 3)
    probe.wrong = {"127.0.0.1:1": "no", "127.0.0.1:2": "no"}
    await pool.check(probe, FAST)
    await until(lambda: pool._up == 1)
    assert len(pool.ready) == 3
    pool.close()


async def test_a_good_check_ends_an_ejection() -> None:
    probe = Said()
    pool, _ = made(1, 2, act=failing(1), outlier=OutlierSettings(consecutive_errors=1))
    probe.wrong = {"127.0.0.1:1": "no"}
    await pool.check(probe, FAST)
    await until(lambda: len(pool.ready) == 1)
    pool._judge(pool.endpoints[0], True, 0.1)
    probe.wrong = {}
    await until(lambda: len(pool.ready) == 2)
    pool.close()


async def test_a_closed_pool_asks_no_more() -> None:
    probe = Said()
    pool, _ = made(1, 2)
    await pool.check(probe, FAST)
    await probe.rounds(1)
    pool.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("health of p")]


async def test_endpoints_come_and_go_while_those_that_stay_keep_their_connections() -> None:
    dialer = Dialer()
    pool, sender = made(1, 2, dialer=dialer)
    for _ in range(4):
        await pool.send(call())
    pool.update([Address(host="127.0.0.1", port=2), Address(host="127.0.0.1", port=3, weight=2)])
    sender.ports.clear()
    for _ in range(6):
        await pool.send(call())
    assert Counter(sender.ports) == {2: 2, 3: 4}
    assert dialer.dialled == [1, 2, 3]
    pool.close()


async def test_a_weight_that_changes_is_a_share_that_changes() -> None:
    pool, sender = made(1, 2)
    await pool.send(call())
    pool.update([Address(host="127.0.0.1", port=1, weight=3), Address(host="127.0.0.1", port=2)])
    sender.ports.clear()
    for _ in range(8):
        await pool.send(call())
    assert Counter(sender.ports) == {1: 6, 2: 2}
    pool.close()


async def test_an_update_without_any_endpoint_changes_nothing() -> None:
    pool, _ = made(1, 2)
    pool.update([])
    assert len(pool.endpoints) == 2
    pool.close()


async def test_before_any_address_is_known_calls_are_unavailable_and_then_they_go_there() -> None:
    pool, sender = made(settings=BalancingSettings(zone="eu"))
    with pytest.raises(Unreachable, match=r"upstreams\.p: no address is known yet"):
        await pool.send(call())
    assert not pool.reachable
    pool.update([Address(host="127.0.0.1", port=1)])
    await pool.send(call())
    assert sender.ports == [1]
    assert pool.reachable
    pool.close()


async def test_a_new_endpoint_works_up_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pool, sender = made(1, settings=BalancingSettings(slow_start=30.0))
    pool.update([Address(host="127.0.0.1", port=1), Address(host="127.0.0.1", port=2)])
    shares = []
    for _ in range(4):
        sender.ports.clear()
        for _ in range(400):
            await pool.send(call())
        shares.append(sender.ports.count(2) / 400)
        clock.now += 10
        pool._refresh()
    assert shares[0] < 0.15
    assert shares == sorted(shares)
    assert shares[3] == 0.5
    pool.close()


async def test_connections_end_at_their_age_and_calls_go_on() -> None:
    dialer = Dialer()
    pool, _ = made(1, dialer=dialer, settings=BalancingSettings(connection_max_age=0.005))
    await pool.send(call())
    await until(lambda: dialer.links[0].drained)
    await pool.send(call())
    assert len(dialer.links) == 2
    pool.close()
