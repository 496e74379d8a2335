"""Pools: choose, connect, try elsewhere only where that is safe, wait only within bounds."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from protogw.balancers.round_robin import RoundRobin
from protogw.call import NO_METADATA, Call, Reply
from protogw.errors import GatewayError, InternalError, Overloaded, Unprocessed, Unreachable, UpstreamReset
from protogw.pools.endpoint import Endpoint
from protogw.pools.pool import Address, Pool
from protogw.wire.http import Peer
from tests.support.links import Dialer, Link, Sender


def pool(dialer: Dialer, sender: Sender, *ports: int, most: int = 4, shared: bool = True) -> Pool:
    addresses = [Address(host="127.0.0.1", port=port) for port in ports]
    return Pool("p", addresses, sender, dialer, RoundRobin(), max_connections=most, shared=shared)  # type: ignore[arg-type]


def call() -> Call:
    return Call(None, NO_METADATA, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0)


async def test_calls_take_turns_over_the_endpoints_and_share_connections() -> None:
    dialer, sender = Dialer(), Sender()
    under_test = pool(dialer, sender, 1, 2)
    for _ in range(6):
        await under_test.send(call())
    assert sender.ports == [1, 2, 1, 2, 1, 2]
    assert dialer.dialled == [1, 2]
    under_test.close()


@pytest.mark.parametrize("shared", [True, False])
async def test_a_call_does_not_wait_for_an_endpoint_that_is_busy_and_takes_no_new_connection(shared: bool) -> None:
    """Its one connection is full for as long as a stream lasts; a service that shuts down looks so."""
    dialer, sender = Dialer(room=1), Sender(lambda call, link: hold(link))
    under_test = pool(dialer, sender, 1, shared=shared)
    await under_test.send(call())
    dialer.down = {1}
    with pytest.raises(Unreachable, match="refused"):
        await asyncio.wait_for(under_test.send(call()), 5)
    dialer.links[0].give_back()
    await under_test.send(call())
    under_test.close()


async def test_a_fault_in_connecting_ends_the_calls_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    dialer = Dialer()

    async def connect(host: str, port: int) -> Link:
        raise ValueError("a fault of ours")

    dialer.connect = connect  # type: ignore[method-assign]
    under_test = pool(dialer, Sender(), 1)
    with pytest.raises(InternalError):
        await asyncio.wait_for(under_test.send(call()), 5)
    assert "a fault of ours" in caplog.text
    under_test.close()


async def hold(link: Link) -> Reply:
    link.take()
    return Reply()


async def test_calls_go_elsewhere_when_an_endpoint_takes_no_new_connection() -> None:
    dialer, sender = Dialer(room=1), Sender(lambda call, link: hold(link))
    under_test = pool(dialer, sender, 1, 2)
    await under_test.send(call())
    dialer.down = {1}
    dialer.room = 100
    for _ in range(3):
        await asyncio.wait_for(under_test.send(call()), 5)
    assert sender.ports == [1, 2, 2, 2]
    under_test.close()


async def test_an_unreachable_endpoint_is_passed_over_and_left_alone() -> None:
    dialer, sender = Dialer(down=(1,)), Sender()
    under_test = pool(dialer, sender, 1, 2)
    for _ in range(4):
        await under_test.send(call())
    assert sender.ports == [2, 2, 2, 2]
    assert dialer.dialled.count(1) == 1
    assert "1/2 ready" in repr(under_test)
    under_test.close()


async def test_when_no_endpoint_can_be_reached_the_call_fails_unavailable_naming_it() -> None:
    dialer, sender = Dialer(down=(1, 2)), Sender()
    under_test = pool(dialer, sender, 1, 2)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:[12]: refused"):
        await under_test.send(call())
    assert sorted(dialer.dialled) == [1, 2]
    assert len(under_test.ready) == 2, "with none up, all are tried"
    under_test.close()


async def test_a_refused_call_is_tried_on_another_endpoint() -> None:
    async def act(_: Call, link: Link) -> Reply:
        if link.port == 1:
            raise Unprocessed("refused")
        return Reply()

    sender = Sender(act)
    under_test = pool(Dialer(), sender, 1, 2)
    await under_test.send(call())
    assert sender.ports == [1, 2]
    under_test.close()


async def test_a_refused_call_is_tried_again_on_the_only_endpoint_a_bounded_number_of_times() -> None:
    async def act(_: Call, link: Link) -> Reply:
        raise Unprocessed("refused")

    sender = Sender(act)
    under_test = pool(Dialer(), sender, 1)
    with pytest.raises(Unprocessed):
        await under_test.send(call())
    assert sender.ports == [1, 1, 1]
    under_test.close()


async def test_a_call_that_may_have_been_processed_is_never_sent_twice() -> None:
    async def act(_: Call, link: Link) -> Reply:
        raise UpstreamReset("gone")

    sender = Sender(act)
    under_test = pool(Dialer(), sender, 1, 2)
    with pytest.raises(UpstreamReset):
        await under_test.send(call())
    assert sender.ports == [1]
    under_test.close()


async def test_calls_that_wait_for_the_first_shared_connection_open_only_one() -> None:
    dialer, sender = Dialer(), Sender()
    dialer.gate = asyncio.Event()
    under_test = pool(dialer, sender, 1)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(under_test.send(call()))
        await asyncio.sleep(0)
        dialer.gate.set()
    assert dialer.dialled == [1]
    assert len(sender.ports) == 20
    under_test.close()


async def test_calls_over_a_full_connection_get_one_of_their_own_up_to_the_bound() -> None:
    release = asyncio.Event()

    async def act(_: Call, link: Link) -> Reply:
        link.take()
        await release.wait()
        link.give_back()
        return Reply()

    dialer, sender = Dialer(room=1), Sender(act)
    under_test = pool(dialer, sender, 1, most=3, shared=False)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(under_test.send(call()))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(dialer.links) == 3
        assert [link.active for link in dialer.links] == [1, 1, 1]
        release.set()
    assert len(sender.ports) == 10
    assert len(dialer.links) == 3
    under_test.close()


async def test_a_shared_connection_that_fills_up_makes_room_on_another() -> None:
    release = asyncio.Event()

    async def act(_: Call, link: Link) -> Reply:
        link.take()
        await release.wait()
        link.give_back()
        return Reply()

    dialer, sender = Dialer(room=2), Sender(act)
    under_test = pool(dialer, sender, 1, most=4)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(under_test.send(call()))
        for _ in range(40):
            await asyncio.sleep(0)
        assert [link.active for link in dialer.links] == [2, 2, 2]
        release.set()
    under_test.close()


async def test_too_many_waiting_calls_are_refused_at_once() -> None:
    dialer = Dialer()
    dialer.gate = asyncio.Event()
    endpoint = Endpoint(
        "h",
        1,
        dialer,  # type: ignore[arg-type]
        max_connections=1,
        max_pending=2,
        shared=True,
        on_reach=lambda endpoint, reached: None,
    )
    waiting = [asyncio.ensure_future(endpoint.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 calls are waiting"):
        await endpoint.acquire()
    dialer.gate.set()
    assert {await one for one in waiting} == set(dialer.links)
    endpoint.close()


async def test_connections_that_have_left_http_take_no_place_from_others() -> None:
    dialer = Dialer(room=1)
    endpoint = Endpoint(
        "h",
        1,
        dialer,  # type: ignore[arg-type]
        max_connections=1,
        shared=False,
        on_reach=lambda endpoint, reached: None,
    )
    for _ in range(3):
        link = await asyncio.wait_for(endpoint.acquire(), 5)
        link.take()  # type: ignore[attr-defined]
        dialled = len(dialer.links)
        waiting = asyncio.ensure_future(endpoint.acquire())
        await asyncio.sleep(0)
        assert len(dialer.links) == dialled
        link.switch()  # type: ignore[attr-defined]
        again = await asyncio.wait_for(waiting, 5)
        again.take()  # type: ignore[attr-defined]
        again.switch()  # type: ignore[attr-defined]
        again.close()
    assert (endpoint.active, endpoint.connections) == (3, 3)
    endpoint.close()
    assert (endpoint.connections, dialer.links[0].closed) == (0, True)


async def test_a_cancelled_waiter_passes_its_place_on() -> None:
    dialer = Dialer(room=1)
    endpoint = Endpoint(
        "h",
        1,
        dialer,  # type: ignore[arg-type]
        max_connections=1,
        shared=False,
        on_reach=lambda endpoint, reached: None,
    )
    link = await endpoint.acquire()
    link.take()  # type: ignore[attr-defined]
    first = asyncio.ensure_future(endpoint.acquire())
    second = asyncio.ensure_future(endpoint.acquire())
    await asyncio.sleep(0)
    link.give_back()  # type: ignore[attr-defined]
    first.cancel()
    assert await second is link
    with pytest.raises(asyncio.CancelledError):
        await first
    endpoint.close()


async def test_a_closed_connection_is_replaced() -> None:
    dialer, sender = Dialer(), Sender()
    under_test = pool(dialer, sender, 1)
    connected: list[int] = []
    under_test.on_connected = lambda: connected.append(1)
    await under_test.send(call())
    dialer.links[0].close()
    await under_test.send(call())
    assert dialer.dialled == [1, 1]
    assert connected == [1, 1]
    under_test.close()


async def test_an_endpoint_that_is_back_is_used_again_after_its_rest() -> None:
    dialer, sender = Dialer(down=(1,)), Sender()
    under_test = pool(dialer, sender, 1, 2)
    await under_test.send(call())
    endpoint = under_test.endpoints[0]
    assert endpoint.down_until > asyncio.get_running_loop().time()
    dialer.down.clear()
    endpoint.down_until = asyncio.get_running_loop().time() - 1
    under_test._refresh()
    sender.ports.clear()
    for _ in range(4):
        await under_test.send(call())
    assert sorted(set(sender.ports)) == [1, 2]
    under_test.close()


async def test_closing_the_pool_closes_a_connection_that_was_being_opened() -> None:
    dialer = Dialer()
    dialer.gate = asyncio.Event()
    under_test = pool(dialer, Sender(), 1)
    task = asyncio.ensure_future(under_test.send(call()))
    await asyncio.sleep(0)
    under_test.close()
    task.cancel()
    with pytest.raises((asyncio.CancelledError, GatewayError)):
        await task


class Lanes(Sender):
    """A translator whose calls to one method share connections that no others use."""

    max_connections: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.over_what: list[Dialer] = []
        self.dialer = Dialer()
        self.used: list[Link] = []
        self.laned = True

    def lane(self, call: Call) -> Lanes | None:
        return self if self.laned else None

    def over(self, connector: Dialer) -> Dialer:
        self.over_what.append(connector)
        return self.dialer

    async def send(self, call: Call, connection: Link) -> Reply:
        self.used.append(connection)
        return Reply()


async def test_calls_with_connections_of_their_own_kind_get_them_and_no_others_do() -> None:
    dialer, sender = Dialer(), Lanes()
    under_test = pool(dialer, sender, 1)
    for laned in (True, False, True):
        sender.laned = laned
        await under_test.send(call())
    own, other, again = sender.used
    assert own is again
    assert (own in sender.dialer.links, other in dialer.links) == (True, True)
    assert sender.over_what == [dialer]
    assert under_test.endpoints[0].connections == 2
    under_test.close()
    assert own.closed


async def test_an_address_that_one_lane_cannot_reach_is_left_alone_by_all() -> None:
    dialer, sender = Dialer(), Lanes()
    sender.dialer.down = {1}
    under_test = pool(dialer, sender, 1, 2)
    await under_test.send(call())
    assert sender.used[0].port == 2
    assert [endpoint.port for endpoint in under_test.ready] == [2]
    under_test.close()


async def test_draining_a_pool_drains_its_lanes() -> None:
    sender = Lanes()
    under_test = pool(Dialer(), sender, 1)
    await under_test.send(call())
    under_test.drain()
    assert sender.dialer.links[0].drained
    under_test.close()
