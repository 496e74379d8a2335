"""Limits' arithmetic: exactly as much as is allowed, in any order of wishes, and an honest time to come back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from protogw.stores.base import Algorithm, Window
from protogw.stores.memory import MemoryCounters

BUCKET = Window(amount=10, per_s=1.0, burst=10)
SLIDING = Window(amount=10, per_s=1.0, burst=10, algorithm=Algorithm.SLIDING_WINDOW)


class Clock:
    def __init__(self, now: float = 5000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def counters(clock: Clock, most: int = 1000) -> MemoryCounters:
    return MemoryCounters(most, clock)


@pytest.mark.parametrize("window", [BUCKET, SLIDING], ids=["bucket", "sliding"])
def test_exactly_as_many_as_allowed_at_once(window: Window) -> None:
    store = counters(Clock())
    found = [store.take_now("k", 1, [window])[0] for _ in range(12)]
    assert [taken.allowed for taken in found] == [True] * 10 + [False] * 2
    assert [taken.remaining for taken in found] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]


def test_a_bucket_fills_steadily() -> None:
    clock = Clock()
    store = counters(clock)
    for _ in range(10):
        store.take_now("k", 1, [BUCKET])
    refused = store.take_now("k", 1, [BUCKET])[0]
    assert refused.retry_s == pytest.approx(0.1)
    clock.now += 0.1
    assert store.take_now("k", 1, [BUCKET])[0].allowed
    assert not store.take_now("k", 1, [BUCKET])[0].allowed


def test_a_burst_is_less_than_the_rate_allows_in_time() -> None:
    clock = Clock()
    store = counters(clock)
    window = Window(amount=10, per_s=1.0, burst=2)
    assert [store.take_now("k", 1, [window])[0].allowed for _ in range(3)] == [True, True, False]


def test_a_window_slides() -> None:
    clock = Clock(5000.5)
    store = counters(clock)
    for _ in range(10):
        store.take_now("k", 1, [SLIDING])
    clock.now = 5001.0
    refused = store.take_now("k", 1, [SLIDING])[0]
    assert not refused.allowed
    clock.now += refused.retry_s
    assert store.take_now("k", 1, [SLIDING])[0].allowed


def test_either_every_window_is_charged_or_none() -> None:
    store = counters(Clock())
    daily = Window(amount=3, per_s=86400.0, burst=3)
    for _ in range(3):
        assert all(taken.allowed for taken in store.take_now("k", 1, [BUCKET, daily]))
    for _ in range(5):
        first, second = store.take_now("k", 1, [BUCKET, daily])
        assert (first.allowed, second.allowed) == (True, False)
        assert first.remaining == 6


def test_a_wish_larger_than_the_burst_is_never_admitted() -> None:
    store = counters(Clock())
    taken = store.take_now("k", 11, [BUCKET])[0]
    assert not taken.allowed
    assert taken.retry_s > 0
    assert store.take_now("k", 10, [BUCKET])[0].allowed


def test_keys_do_not_share() -> None:
    store = counters(Clock())
    for _ in range(10):
        store.take_now("a", 1, [BUCKET])
    assert store.take_now("b", 1, [BUCKET])[0].allowed


def test_memory_is_bounded_and_what_says_nothing_is_let_go() -> None:
    clock = Clock()
    store = counters(clock, most=100)
    for number in range(1000):
        store.take_now(f"k{number}", 1, [BUCKET])
    assert len(store) == 100
    clock.now += 10
    for number in range(10):
        store.take_now(f"n{number}", 1, [BUCKET])
    assert len(store) < 20


def test_a_flood_of_keys_does_not_free_who_has_used_up_theirs() -> None:
    store = counters(Clock(), most=100)
    for _ in range(10):
        assert store.take_now("greedy", 1, [BUCKET])[0].allowed
    for number in range(1000):
        store.take_now(f"k{number}", 1, [BUCKET])
    assert len(store) == 100
    assert not store.take_now("greedy", 1, [BUCKET])[0].allowed


@given(
    st.sampled_from([BUCKET, SLIDING, Window(amount=7, per_s=2.0, burst=3)]),
    st.lists(st.tuples(st.floats(0, 1.5), st.integers(1, 4)), min_size=1, max_size=80),
)
def test_no_stretch_of_time_sees_more_than_it_may(window: Window, wishes: list[tuple[float, int]]) -> None:
    clock = Clock()
    store = counters(clock)
    admitted: list[tuple[float, int]] = []
    for passed, cost in wishes:
        clock.now += passed
        if store.take_now("k", cost, [window])[0].allowed:
            admitted.append((clock.now, cost))
    for start, _ in admitted:
        within = sum(cost for at, cost in admitted if start <= at < start + window.per_s)
        if window.algorithm is Algorithm.TOKEN_BUCKET:
            assert within <= window.burst + window.amount
        else:
            assert within <= 2 * window.amount


@given(
    st.sampled_from([BUCKET, SLIDING]),
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 5)), min_size=1, max_size=40),
)
def test_who_comes_back_when_told_is_admitted(window: Window, wishes: list[tuple[float, int]]) -> None:
    clock = Clock()
    store = counters(clock)
    for passed, cost in wishes:
        clock.now += passed
        taken = store.take_now("k", cost, [window])[0]
        if not taken.allowed:
            clock.now += taken.retry_s + 1e-6
            assert store.take_now("k", cost, [window])[0].allowed


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), min_size=1, max_size=60))
def test_the_sliding_window_is_that_of_another_library(gaps: list[float]) -> None:
    """The `limits` package reads the wall clock: it is turned by hand for both."""
    import time
    from unittest import mock

    clock = Clock(1_700_000_000.0)
    store = counters(clock)
    with mock.patch.object(time, "time", clock):
        storage = MemoryStorage()
        oracle = SlidingWindowCounterRateLimiter(storage)
        item = RateLimitItemPerSecond(10)
        for gap in gaps:
            clock.now += gap
            assert store.take_now("k", 1, [SLIDING])[0].allowed == oracle.hit(item, "k")
    storage.reset()


async def test_concurrent_wishes_are_admitted_exactly() -> None:
    store = counters(Clock())
    found = await asyncio.gather(*(store.take("k", 1, [BUCKET]) for _ in range(50)))
    assert sum(taken[0].allowed for taken in found) == 10
