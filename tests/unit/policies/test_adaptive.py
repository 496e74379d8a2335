"""Adaptive concurrency: the limit that is found for a simulated service, and what calls over it are told."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Payload, Reply
from protogw.errors import Code, DeadlineExceeded, Overloaded, Status, UpstreamReset
from protogw.policies.adaptive import Adaptive
from protogw.policies.gradient import Gradient, GradientSettings
from tests.support import rpc
from tests.support.policies import Gated, Stream, call, forward, turns


class Queueing:
    """A service of so many workers, each of which takes about `needs_s` for a call; calls arrive at random."""

    def __init__(self, limit: Gradient, workers: int, needs_s: float, rate: float, seed: int) -> None:
        self.limit = limit
        self.chance = random.Random(seed)
        self.workers = [0.0] * workers
        self.needs_s = needs_s
        self.rate = rate
        self.now = 0.0
        self.inside: list[tuple[float, float]] = []
        """The ends of the calls in the service, with their beginnings."""
        self.taken: list[float] = []
        self.refused = 0

    def run(self, seconds: float) -> None:
        """Let so much time pass; `taken` and `refused` are of that time."""
        self.taken, self.refused = [], 0
        end = self.now + seconds
        while self.now < end:
            self.now += self.chance.expovariate(self.rate)
            while self.inside and self.inside[0][0] <= self.now:
                ended, began = heapq.heappop(self.inside)
                self.limit.left()
                self.limit.replied(ended - began, ended)
                self.taken.append(ended - began)
            if not self.limit.enter(self.now):
                self.refused += 1
                continue
            free = heapq.heappop(self.workers)
            ended = max(free, self.now) + self.needs_s * self.chance.uniform(0.8, 1.2)
            heapq.heappush(self.workers, ended)
            heapq.heappush(self.inside, (ended, self.now))

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.taken, n=100)[98]


@settings(max_examples=12, deadline=None)
@given(st.integers(4, 30), st.sampled_from([0.005, 0.01, 0.05]), st.floats(1.5, 4.0), st.integers(0, 1000))
def test_a_service_with_too_much_to_do_is_kept_busy_without_a_queue(
    workers: int, needs_s: float, load: float, seed: int
) -> None:
    capacity = workers / needs_s
    service = Queueing(Gradient(GradientSettings()), workers, needs_s, capacity * load, seed)
    service.run(300 * needs_s + 3)
    service.run(300 * needs_s + 3)
    assert service.p99 < needs_s * 4, "an open queue would make it endless"
    assert len(service.taken) > 0.7 * capacity * (300 * needs_s + 3)
    assert service.refused


@settings(max_examples=5, deadline=None)
@given(st.integers(8, 20), st.integers(0, 1000))
def test_a_service_with_little_to_do_gets_everything_once_it_is_measured(workers: int, seed: int) -> None:
    service = Queueing(
        Gradient(GradientSettings.model_validate({"measure_every": "1h"})), workers, 0.01, workers / 0.01 * 0.3, seed
    )
    service.run(5)
    service.run(5)
    assert service.refused == 0


def test_a_service_that_becomes_slower_is_measured_anew() -> None:
    service = Queueing(Gradient(GradientSettings.model_validate({"measure_every": "5s"})), 10, 0.01, 500, 1)
    service.run(10)
    before = service.limit.needed_s
    service.needs_s = 0.03
    service.run(15)
    assert service.limit.needed_s == pytest.approx(3 * before, rel=0.3)
    service.rate = 200
    service.run(4)
    service.run(4)
    assert service.refused < 0.2 * len(service.taken)


@given(st.lists(st.floats(0, 10, allow_nan=False), max_size=300), st.integers(3, 50))
def test_the_limit_stays_within_its_bounds(times: list[float], most: int) -> None:
    limit = Gradient(GradientSettings(max=most, measure_calls=5))
    now = 0.0
    for seconds in times:
        now += 0.05
        if limit.enter(now):
            limit.left()
            limit.replied(seconds, now)
        assert 3 <= limit.limit <= most
        assert limit.running == 0


# --- the policy


async def test_calls_over_the_limit_are_refused_at_once_and_told_to_come_back() -> None:
    policy, service = Adaptive(GradientSettings(min=1, initial=1, max=1)), Gated()
    task = asyncio.ensure_future(policy(call(), service))
    await turns()
    with pytest.raises(Overloaded) as caught:
        await policy(call(), service)
    assert caught.value.status.code is Code.UNAVAILABLE
    assert caught.value.retry_after_s == 1.0
    service.waiting[0].set_result(Reply())
    await task
    await policy(call(), forward)
    assert policy.refused.value == 1


async def test_streams_that_go_on_take_no_room_from_others() -> None:
    """Three idle ones took all there is while the needed time is measured, and with that every call of everybody."""
    policy = Adaptive(GradientSettings(min=1))
    stream = Stream()

    async def streaming(_: Call) -> Reply:
        return Reply(payloads=stream.messages())

    replies = [await policy(call(), streaming) for _ in range(5)]
    await policy(call(), forward)
    assert [reply.payloads is not None for reply in replies] == [True] * 5
    (limit,) = policy.limits.values()
    assert (limit.running, len(limit._samples)) == (0, 6)


async def test_requests_that_are_still_sent_take_no_room_from_others_and_are_no_measure() -> None:
    policy = Adaptive(GradientSettings(min=1))
    (sent, service) = (asyncio.Event(), Gated())

    async def slowly() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.PROTO)
        await sent.wait()

    async def reading(one: Call) -> Reply:
        assert one.payloads is not None
        async for _ in one.payloads:
            pass
        return await service(one)

    made = call()
    made.payloads = slowly()
    task = asyncio.ensure_future(policy(made, reading))
    await turns()
    (limit,) = policy.limits.values()
    assert limit.running == 0
    await policy(call(), forward)
    sent.set()
    await turns()
    assert limit.running == 1
    with pytest.raises(Overloaded):
        await policy(call(), forward)
    service.waiting[0].set_result(Reply())
    await task
    assert (limit.running, len(limit._samples)) == (0, 2)

    early = call()
    early.payloads = slowly()
    await policy(early, forward)  # the answer comes before anything was read
    assert limit.running == 0


def test_a_few_slow_calls_do_not_keep_all_others_out_while_the_needed_time_is_measured() -> None:
    limit = Gradient(GradientSettings(min=3, initial=20))
    assert [limit.enter(0.0) for _ in range(4)] == [True] * 3 + [False]
    assert not limit.enter(5.9)
    assert limit.enter(6.1)
    assert (limit.limit, limit.needed_s, limit.measuring) == (20, 0.0, False)
    for _ in range(4):
        limit.replied(10.0, 10.0)
        limit.left()
    for at in range(10):
        assert limit.enter(11.0 + at)
        limit.replied(0.1, 11.1 + at)
        limit.left()
    assert limit.limit == 20  # nothing is known to judge by
    assert limit.enter(70.0)
    assert limit.measuring


async def test_answers_of_a_service_that_did_no_work_are_no_measure() -> None:
    policy = Adaptive(GradientSettings())

    async def refusing(_: object) -> Reply:
        return Reply(status=Status(Code.UNAVAILABLE))

    async def gone(_: object) -> Reply:
        raise UpstreamReset("gone")

    for _ in range(10):
        await policy(call(), refusing)
        with pytest.raises(UpstreamReset):
            await policy(call(), gone)
    (limit,) = policy.limits.values()
    assert limit.running == 0
    assert not limit._samples
    await policy(call(), forward)
    assert len(limit._samples) == 1


@pytest.mark.parametrize(("wanted", "samples"), [(0.001, 0), (None, 1)])
async def test_who_gives_up_early_does_not_say_how_long_a_reply_takes(wanted: float | None, samples: int) -> None:
    policy = Adaptive(GradientSettings())

    async def expiring(one: Call) -> Reply:
        one.cut = DeadlineExceeded()
        raise asyncio.CancelledError

    made = call()
    made.timeout, made.deadline = wanted, made.started + 0.001
    with pytest.raises(asyncio.CancelledError):
        await policy(made, expiring)
    (limit,) = policy.limits.values()
    assert len(limit._samples) == samples


@pytest.mark.parametrize(("data", "samples"), [(b"\xff\xff", 0), (b"", 1)])
async def test_the_answer_to_what_is_no_message_is_no_measure(data: bytes, samples: int) -> None:
    policy = Adaptive(GradientSettings())

    async def failing(_: Call) -> Reply:
        return Reply(status=Status(Code.INTERNAL))

    made = call()
    made.method = rpc.UNARY
    made.payload = Payload(data, Encoding.PROTO, rpc.UNARY.input.codec)
    await policy(made, failing)
    (limit,) = policy.limits.values()
    assert len(limit._samples) == samples
