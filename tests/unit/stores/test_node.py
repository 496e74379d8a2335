"""Limits that workers share: how near they come to the limit, how seldom they ask, and what happens without anybody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from protogw.stores.base import Algorithm, StoreError, Window
from protogw.stores.memory import MemoryCounters
from protogw.stores.node import Gone, Grant, NodeCounters, grant


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about how quickly this machine answers."""
    monkeypatch.setattr("protogw.stores.node.TIMEOUT_S", 60.0)


class Node:
    """A supervisor's counters and some workers, on a clock that a test turns."""

    def __init__(self, workers: int = 2) -> None:
        self.now = 1000.0
        self.counters = MemoryCounters(clock=lambda: self.now)
        self.gone = False
        self.silent = False
        self.workers = [NodeCounters(self.ask, workers, clock=lambda: self.now) for _ in range(workers)]

    async def ask(self, key: str, cost: int, wanted: int, windows: Sequence[Window]) -> Grant:
        if self.silent:
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        if self.gone:
            raise Gone
        return grant(self.counters, key, cost, wanted, windows)

    @property
    def questions(self) -> int:
        return sum(worker.questions for worker in self.workers)

    async def admitted(self, seconds: float, a_second: int, windows: Sequence[Window], key: str = "k") -> int:
        """How many of so many wishes a second, spread over the workers, are met."""
        chance = random.Random(7)
        admitted = 0
        for _ in range(int(seconds * a_second)):
            self.now += 1 / a_second
            found = await chance.choice(self.workers).take(key, 1, windows)
            admitted += all(taken.allowed for taken in found)
        return admitted


def bucket(amount: int, per_s: float = 1.0, burst: int | None = None) -> Window:
    return Window(amount=amount, per_s=per_s, burst=burst or amount)


def sliding(amount: int, per_s: float = 1.0) -> Window:
    return Window(amount=amount, per_s=per_s, burst=amount, algorithm=Algorithm.SLIDING_WINDOW)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("amount", [5, 50, 500, 3000])
async def test_the_flow_is_within_five_percent_of_the_limit(workers: int, amount: int) -> None:
    node = Node(workers)
    await node.admitted(2.0, amount * 3, [bucket(amount)])
    admitted = await node.admitted(5.0, amount * 3, [bucket(amount)])
    assert admitted == pytest.approx(5 * amount, rel=0.05, abs=1)


@pytest.mark.parametrize("amount", [10, 100, 1000])
async def test_a_sliding_window_is_within_five_percent_too(amount: int) -> None:
    node, one = Node(), Node(1)
    one.workers = [one.counters]  # type: ignore[list-item]
    for each in (node, one):
        await each.admitted(2.0, amount * 3, [sliding(amount)])
    admitted = await node.admitted(5.0, amount * 3, [sliding(amount)])
    assert admitted == pytest.approx(await one.admitted(5.0, amount * 3, [sliding(amount)]), rel=0.05, abs=4)
    assert admitted <= 5 * amount * 1.05


@pytest.mark.parametrize("amount", [1, 7, 100, 5000])
async def test_a_burst_is_never_more_than_the_limit_and_hardly_less(amount: int) -> None:
    node = Node()
    admitted = 0
    for turn in range(amount * 2):
        found = await node.workers[turn % 2].take("k", 1, [bucket(amount, 3600.0)])
        admitted += found[0].allowed
    assert amount * 0.97 <= admitted <= amount


async def test_what_one_worker_takes_is_gone_for_the_other() -> None:
    node = Node()
    for _ in range(10):
        assert (await node.workers[0].take("k", 1, [bucket(10, 60.0)]))[0].allowed
    refused = (await node.workers[1].take("k", 1, [bucket(10, 60.0)]))[0]
    assert not refused.allowed
    assert refused.retry_s == pytest.approx(6.0)


async def test_quick_calls_seldom_ask() -> None:
    node = Node()
    await node.admitted(2.0, 5_000, [bucket(100_000)])
    assert node.questions < 400


async def test_a_flood_of_refused_calls_asks_nobody() -> None:
    node = Node()
    await node.admitted(1.0, 100, [bucket(10, 3600.0)])
    before = node.questions
    await node.admitted(1.0, 10_000, [bucket(10, 3600.0)])
    assert node.questions == before


async def test_a_refusal_is_over_when_it_said() -> None:
    node = Node()
    worker = node.workers[0]
    window = [bucket(1, 10.0)]
    assert (await worker.take("k", 1, window))[0].allowed
    assert (await worker.take("k", 1, window))[0].retry_s == pytest.approx(10.0)
    node.now += 6
    assert (await worker.take("k", 1, window))[0].retry_s == pytest.approx(4.0)
    node.now += 4.001
    assert (await worker.take("k", 1, window))[0].allowed


async def test_a_dear_call_is_refused_and_a_cheap_one_is_not() -> None:
    node = Node()
    worker = node.workers[0]
    window = [bucket(10, 60.0)]
    assert (await worker.take("k", 8, window))[0].allowed
    assert not (await worker.take("k", 5, window))[0].allowed
    assert (await worker.take("k", 1, window))[0].allowed


async def test_every_window_is_charged_or_none() -> None:
    node = Node()
    windows = [bucket(100, 60.0), bucket(3, 60.0)]
    found = [await node.workers[turn % 2].take("k", 1, windows) for turn in range(6)]
    assert sum(all(taken.allowed for taken in one) for one in found) == 3
    assert found[5][0].allowed
    assert not found[5][1].allowed


async def test_calls_at_the_same_time_ask_once() -> None:
    node = Node()
    window = [bucket(10_000)]
    found = await asyncio.gather(*(node.workers[0].take("k", 1, window) for _ in range(300)))
    assert all(one[0].allowed for one in found)
    assert node.questions < 30


async def test_without_a_supervisor_each_worker_counts_its_share() -> None:
    node = Node()
    node.gone = True
    admitted = 0
    for turn in range(100):
        admitted += (await node.workers[turn % 2].take("k", 1, [bucket(20, 3600.0)]))[0].allowed
    assert admitted == 20


async def test_those_who_wait_when_the_supervisor_goes_are_counted_too() -> None:
    node = Node()
    node.gone = True
    found = await asyncio.gather(*(node.workers[0].take("k", 1, [bucket(20, 3600.0)]) for _ in range(30)))
    assert sum(one[0].allowed for one in found) == 10


async def test_a_supervisor_that_says_nothing_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    node.silent = True
    with monkeypatch.context() as briefly:
        briefly.setattr("protogw.stores.node.TIMEOUT_S", 0.01)
        with pytest.raises(StoreError, match="no answer within"):
            await node.workers[0].take("k", 1, [bucket(20)])
    node.silent = False
    assert (await node.workers[0].take("k", 1, [bucket(20)]))[0].allowed


async def test_a_million_keys_keep_memory_bounded() -> None:
    node = Node()
    worker = NodeCounters(node.ask, 2, most=1000, clock=lambda: node.now)
    for number in range(5000):
        await worker.take(f"k{number}", 1, [bucket(20)])
    assert len(worker) <= 1000
