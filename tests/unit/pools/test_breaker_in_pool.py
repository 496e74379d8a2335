"""Pools with circuit breakers and bounds: what calls meet, and whose doing speaks against a service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from protogw.balancers.ring_hash import RingHash
from protogw.balancers.round_robin import RoundRobin
from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, Reply, Tries
from protogw.errors import CircuitOpen, Code, DeadlineExceeded, InvalidRequest, Overloaded, Status, UpstreamReset
from protogw.expressions import Expression
from protogw.policies.inspected import Inspected
from protogw.pools import pool as pools
from protogw.pools import watch
from protogw.pools.pool import Address, Pool
from protogw.pools.settings import BreakerSettings, OutlierSettings, PoolLimits
from protogw.wire.http import Peer, ResponseHead
from tests.support import rpc
from tests.support.links import Dialer, Link, Sender

Act = Callable[[Call, Link], Awaitable[Reply]]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (pools, watch):
            monkeypatch.setattr(module, "_now", lambda: self.now)


def made(act: Act | None, *ports: int, **options: object) -> tuple[Pool, Sender]:
    sender = Sender(act)
    addresses = [Address(host="127.0.0.1", port=port) for port in ports]
    pool = Pool(
        "p",
        addresses,
        sender,  # type: ignore[arg-type]
        Dialer(),  # type: ignore[arg-type]
        RoundRobin(),
        max_connections=4,
        shared=True,
        **options,  # type: ignore[arg-type]
    )
    return pool, sender


def call(method: object = None) -> Call:
    return Call(method, NO_METADATA, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0)  # type: ignore[arg-type]


def bad_on(*ports: int, method: object = None, code: Code = Code.UNAVAILABLE) -> Act:
    async def act(one: Call, link: Link) -> Reply:
        bad = link.port in ports and (method is None or one.method is method)
        return Reply(status=Status(code if bad else Code.OK))

    return act


TWO = BreakerSettings(consecutive=2, probes=1)


async def test_an_open_breaker_answers_at_once_and_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pool, sender = made(bad_on(1), 1, breaker=TWO)
    for _ in range(2):
        await pool.send(call())
    clock.now += 0.5
    with pytest.raises(CircuitOpen) as caught:
        await pool.send(call())
    assert caught.value.retry_after_s == 1.5
    assert caught.value.status.code is Code.UNAVAILABLE
    assert (b"retry-after", b"2") in caught.value.headers
    assert len(sender.ports) == 2
    assert pool.state(pool.endpoints[0]) == "breaker open"
    pool.close()


async def test_calls_go_to_the_endpoints_whose_breaker_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    pool, sender = made(bad_on(1), 1, 2, breaker=TWO)
    for _ in range(4):
        await pool.send(call())
    sender.ports.clear()
    for _ in range(4):
        await pool.send(call())
    assert sender.ports == [2, 2, 2, 2]
    pool.close()


async def test_one_method_that_fails_says_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    pool, _ = made(bad_on(1, method=rpc.UNARY), 1, breaker=TWO)
    for _ in range(2):
        await pool.send(call(rpc.UNARY))
    with pytest.raises(CircuitOpen):
        await pool.send(call(rpc.UNARY))
    assert (await pool.send(call(rpc.LOOK))).status.code is Code.OK
    pool.close()


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.ABORTED])
async def test_an_answer_that_is_the_clients_fault_is_no_failure(code: Code) -> None:
    pool, _ = made(bad_on(1, code=code), 1, breaker=TWO)
    for _ in range(5):
        await pool.send(call())
    assert pool.state(pool.endpoints[0]) == "ready"
    pool.close()


@pytest.mark.parametrize(("status", "open"), [(404, False), (429, False), (500, True), (503, True)])
async def test_plain_http_counts_by_its_status(status: int, open: bool) -> None:
    async def act(_: Call, link: Link) -> Reply:
        return Reply(head=ResponseHead(status, ()))

    pool, _ = made(act, 1, breaker=TWO)
    for _ in range(2):
        await pool.send(call())
    assert (pool.state(pool.endpoints[0]) == "breaker open") is open
    pool.close()


async def test_one_route_of_plain_http_that_fails_says_nothing_of_the_others() -> None:
    async def act(one: Call, link: Link) -> Reply:
        return Reply(head=ResponseHead(500 if one.route.title == "reports" else 200, ()))

    def on(route: str) -> Call:
        made = call()
        made.route = SimpleNamespace(title=route)  # type: ignore[assignment]
        return made

    pool, _ = made(act, 1, breaker=TWO)
    for _ in range(2):
        await pool.send(on("reports"))
    with pytest.raises(CircuitOpen):
        await pool.send(on("reports"))
    reply = await pool.send(on("pages"))
    assert reply.head is not None
    assert reply.head.status == 200
    assert pool.breaker is not None
    assert [one.method for one in pool.breaker.of(pool.endpoints[0], 0.0)] == ["reports"]
    pool.close()


async def test_errors_of_the_endpoint_count_and_those_of_the_client_do_not() -> None:
    raised: list[Exception] = [InvalidRequest("bad")] * 3 + [UpstreamReset("gone")] * 2

    async def act(_: Call, link: Link) -> Reply:
        raise raised.pop(0)

    pool, _ = made(act, 1, breaker=TWO)
    for _ in range(3):
        with pytest.raises(InvalidRequest):
            await pool.send(call())
    for _ in range(2):
        with pytest.raises(UpstreamReset):
            await pool.send(call())
    with pytest.raises(CircuitOpen):
        await pool.send(call())
    pool.close()


def wanting(seconds: float | None, deadline: float) -> Call:
    """A call whose client asked for this much time, and which has so much."""
    made = Call(None, NO_METADATA, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0, timeout=seconds)
    made.deadline = deadline
    return made


def passing(way: str, clock: Clock, lasts: float) -> Act:
    """An endpoint at which the deadline passes after so long: told by the service, or by our own clock."""

    async def act(one: Call, link: Link) -> Reply:
        clock.now += lasts
        if way == "told":
            return Reply(status=Status(Code.DEADLINE_EXCEEDED))
        if way == "raised":
            raise DeadlineExceeded
        one.cut = DeadlineExceeded()
        raise asyncio.CancelledError

    return act


@pytest.mark.parametrize("way", ["told", "raised", "cut"])
@pytest.mark.parametrize(
    ("wanted", "deadline", "lasts", "counts"),
    [
        (0.001, 0.001, 0.002, False),
        (0.5, 0.5, 0.5, False),
        (5.0, 5.0, 5.0, True),
        (5.0, 0.5, 0.5, True),
        (None, 0.5, 0.5, True),
    ],
    ids=["a millisecond", "short", "long", "shortened by the route", "the route's"],
)
async def test_a_clients_own_short_deadline_takes_the_service_from_nobody(
    way: str, wanted: float | None, deadline: float, lasts: float, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    outlier = OutlierSettings(consecutive_errors=3)
    pool, _ = made(passing(way, clock, lasts), 1, breaker=BreakerSettings(consecutive=3), outlier=outlier)
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError, DeadlineExceeded):
            await pool.send(wanting(wanted, deadline))
    assert (pool.state(pool.endpoints[0]) != "ready") is counts
    assert pool.breaker is not None
    assert bool(pool.breaker.tripped) is counts
    pool.close()


def _same(payload: Payload) -> Payload:
    return payload


class Sent:
    """A request's messages, of which the client still has some to send, or not."""

    def __init__(self, waiting: bool) -> None:
        self.waiting = waiting

    def __aiter__(self) -> Sent:
        return self

    async def __anext__(self) -> Payload:
        raise StopAsyncIteration


@pytest.mark.parametrize("way", ["told", "raised", "cut"])
@pytest.mark.parametrize("waiting", [True, False])
async def test_who_begins_to_send_and_stops_takes_the_service_from_nobody(
    way: str, waiting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    outlier = OutlierSettings(consecutive_errors=3)
    pool, _ = made(passing(way, clock, 5.0), 1, breaker=BreakerSettings(consecutive=3), outlier=outlier)
    for _ in range(3):
        one = wanting(None, 5.0)
        one.payloads = Inspected(Inspected(Sent(waiting), _same), _same)
        with contextlib.suppress(asyncio.CancelledError, DeadlineExceeded):
            await pool.send(one)
    assert (pool.state(pool.endpoints[0]) == "ready") is waiting
    assert pool.breaker is not None
    assert bool(pool.breaker.tripped) is not waiting
    pool.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("data", "encoding", "code", "counts"),
    [
        (b"\xff\xff\xff", Encoding.PROTO, Code.INTERNAL, False),
        (b"\x0a\x01\xff", Encoding.PROTO, Code.UNKNOWN, False),
        (b"\xff\xff\xff", Encoding.PROTO, Code.UNAVAILABLE, True),
        (b"\x0a\x01x", Encoding.PROTO, Code.INTERNAL, True),
        (b"", Encoding.PROTO, Code.INTERNAL, True),
        (b'{"text":"x"}', Encoding.JSON, Code.INTERNAL, True),
    ],
    ids=["no message", "text that is no UTF-8", "unavailable", "a message", "an empty one", "JSON"],
)
async def test_bytes_that_are_no_message_take_the_service_from_nobody(
    stream: bool, data: bytes, encoding: Encoding, code: Code, counts: bool
) -> None:
    async def nothing() -> AsyncIterator[Payload]:
        return
        yield

    async def act(_: Call, link: Link) -> Reply:
        return Reply(payloads=nothing() if stream else None, status=Status(code))

    pool, _ = made(act, 1, breaker=TWO, outlier=OutlierSettings(consecutive_errors=2))
    for _ in range(2):
        one = call(rpc.UNARY)
        one.payload = Payload(data, encoding, rpc.UNARY.input.codec)
        reply = await pool.send(one)
        if reply.payloads is not None:
            assert [payload async for payload in reply.payloads] == []
    assert (pool.state(pool.endpoints[0]) != "ready") is counts
    assert pool.breaker is not None
    assert bool(pool.breaker.tripped) is counts
    pool.close()


@pytest.mark.parametrize(("wanted", "counts"), [(60.0, False), (None, True)])
async def test_a_stream_may_end_by_its_clients_deadline(wanted: float | None, counts: bool) -> None:
    async def messages() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.PROTO)
        raise DeadlineExceeded

    async def act(_: Call, link: Link) -> Reply:
        return Reply(payloads=messages())

    pool, _ = made(act, 1, outlier=OutlierSettings(consecutive_errors=1))
    reply = await pool.send(wanting(wanted, 60.0))
    assert reply.payloads is not None
    with pytest.raises(DeadlineExceeded):
        async for _ in reply.payloads:
            pass
    assert (pool.state(pool.endpoints[0]) == "ejected") is counts
    pool.close()


async def test_a_call_that_its_client_gives_up_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    hang = asyncio.Event()
    state = {"bad": True}

    async def act(_: Call, link: Link) -> Reply:
        if state["bad"]:
            return Reply(status=Status(Code.INTERNAL))
        await hang.wait()
        return Reply()

    pool, sender = made(act, 1, breaker=TWO)
    for _ in range(2):
        await pool.send(call())
    clock.now += 2.0
    state["bad"] = False
    probe = asyncio.ensure_future(pool.send(call()))
    await asyncio.sleep(0)
    assert len(sender.ports) == 3
    with pytest.raises(CircuitOpen):
        await pool.send(call())
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    hang.set()
    await pool.send(call())
    assert pool.state(pool.endpoints[0]) == "ready"
    pool.close()


async def test_a_stream_is_as_good_as_its_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    state = {"bad": True}

    async def messages() -> AsyncIterator[Payload]:
        if state["bad"]:
            raise UpstreamReset("gone")
        while True:
            yield Payload(b"", Encoding.RAW)

    async def act(_: Call, link: Link) -> Reply:
        return Reply(payloads=messages())

    pool, _ = made(act, 1, breaker=TWO)
    for _ in range(2):
        reply = await pool.send(call())
        assert reply.payloads is not None
        with pytest.raises(UpstreamReset):
            await anext(reply.payloads)
    assert pool.state(pool.endpoints[0]) == "breaker open"
    clock.now += 2.0
    state["bad"] = False
    reply = await pool.send(call())
    assert reply.payloads is not None
    await anext(reply.payloads)
    assert pool.state(pool.endpoints[0]) == "ready", "although the stream goes on"
    pool.close()


async def test_more_calls_than_a_pool_may_have_in_flight_are_refused_at_once() -> None:
    async def act(_: Call, link: Link) -> Reply:
        link.take()
        return Reply()

    pool, _ = made(act, 1, 2, limits=PoolLimits(requests=2))
    for _ in range(2):
        await pool.send(call())
    with pytest.raises(Overloaded, match="2 calls are in flight") as caught:
        await pool.send(call())
    assert caught.value.retry_after_s == 1.0
    pool.close()


@pytest.mark.parametrize("shared", [True, False])
async def test_calls_that_wait_for_a_connection_are_in_flight_already(shared: bool) -> None:
    async def act(_: Call, link: Link) -> Reply:
        link.take()
        return Reply()

    dialer = Dialer()
    dialer.gate = asyncio.Event()
    addresses = [Address(host="127.0.0.1", port=port) for port in (1, 2)]
    pool = Pool(  # type: ignore[arg-type]
        "p",
        addresses,
        Sender(act),
        dialer,
        RoundRobin(),
        max_connections=9,
        shared=shared,
        limits=PoolLimits(requests=3),
    )
    burst = [asyncio.ensure_future(pool.send(call())) for _ in range(9)]
    await asyncio.sleep(0)
    dialer.gate.set()
    ended = await asyncio.gather(*burst, return_exceptions=True)
    assert [type(one) for one in ended] == [Reply] * 3 + [Overloaded] * 6
    pool.close()


async def test_more_calls_than_may_wait_for_a_connection_are_refused_at_once() -> None:
    sender, dialer = Sender(), Dialer()
    dialer.gate = asyncio.Event()
    addresses = [Address(host="127.0.0.1", port=1)]
    limits = PoolLimits(pending=1)
    pool = Pool("p", addresses, sender, dialer, RoundRobin(), max_connections=4, shared=True, limits=limits)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(pool.send(call()))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="1 calls are waiting") as caught:
        await pool.send(call())
    assert caught.value.retry_after_s == 1.0
    dialer.gate.set()
    await waiting
    pool.close()


async def test_an_endpoint_is_not_down_because_this_process_has_no_file_descriptors_left() -> None:
    dialer = Dialer()
    connect = dialer.connect

    async def exhausted(host: str, port: int) -> Link:
        raise Overloaded("Too many open files")

    dialer.connect = exhausted  # type: ignore[method-assign]
    addresses = [Address(host="127.0.0.1", port=1)]
    pool = Pool("p", addresses, Sender(), dialer, RoundRobin(), max_connections=4, shared=True)  # type: ignore[arg-type]
    with pytest.raises(Overloaded):
        await pool.send(call())
    assert pool.state(pool.endpoints[0]) == "ready"
    dialer.connect = connect  # type: ignore[method-assign]
    await pool.send(call())
    pool.close()


class Asked(RoundRobin):
    """A balancer that keeps what it was asked to choose among."""

    def __init__(self) -> None:
        super().__init__()
        self.of: set[int] = set()

    def pick(self, ready: Sequence[Any], key: bytes) -> Any:
        self.of.add(id(ready))
        return super().pick(ready, key)


async def test_balancers_work_nothing_out_anew_for_calls_that_need_other_endpoints() -> None:
    """Some do so for a millisecond, and a service in trouble makes many such calls."""
    balancer, sender = Asked(), Sender(bad_on(1))
    addresses = [Address(host="127.0.0.1", port=port, weight=port) for port in (1, 2, 3)]
    pool = Pool("p", addresses, sender, Dialer(), balancer, max_connections=4, shared=True, breaker=TWO)  # type: ignore[arg-type]
    for _ in range(60):
        one = call()
        await pool.send(one)
        again = call()
        again.tries = Tries()
        again.tries.tried.add(one.upstream)
        await pool.send(again)
        assert again.upstream != one.upstream
    assert sender.ports.count(1) == 2
    assert len(balancer.of) == 1
    pool.close()


async def test_equal_keys_stay_together_when_their_endpoint_does_not_fit() -> None:
    sender = Sender(bad_on(1, 2))
    addresses = [Address(host="127.0.0.1", port=port) for port in (1, 2, 3, 4, 5)]
    options: Any = {"max_connections": 4, "shared": True, "breaker": TWO, "affinity": Expression("header.x-user")}
    pool = Pool("p", addresses, sender, Dialer(), RingHash(), **options)  # type: ignore[arg-type]

    def of(user: int) -> Call:
        metadata = Metadata(((b"x-user", b"%d" % user),))
        return Call(None, metadata, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0)

    for user in range(60):
        await pool.send(of(user))
    assert [pool.state(one) for one in pool.endpoints[:2]] == ["breaker open"] * 2
    where = []
    for _ in range(2):
        sender.ports.clear()
        for user in range(60):
            await pool.send(of(user))
        where.append(list(sender.ports))
    assert where[0] == where[1]
    assert set(where[0]) == {3, 4, 5}
    pool.close()
