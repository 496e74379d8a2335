"""Peak EWMA: slow endpoints get less, peaks count at once, and old latencies are forgotten."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass

from protogw.balancers.ewma import DECAY_S, Ewma


@dataclass(eq=False)
class Spot:
    label: str
    weight: int = 1
    active: int = 0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def picked(balancer: Ewma, ready: tuple[Spot, ...], times: int = 50) -> Counter[str]:
    return Counter(balancer.pick(ready, b"").label for _ in range(times))


def test_the_faster_of_two_is_picked() -> None:
    clock = Clock()
    balancer = Ewma(random.Random(1), clock)
    fast, slow = Spot("fast"), Spot("slow")
    balancer.observe(fast, 0.01, clock.now)
    balancer.observe(slow, 0.05, clock.now)
    assert picked(balancer, (fast, slow)) == {"fast": 50}


def test_calls_in_flight_outweigh_latency() -> None:
    clock = Clock()
    balancer = Ewma(random.Random(1), clock)
    fast, slow = Spot("fast", active=9), Spot("slow", active=0)
    balancer.observe(fast, 0.01, clock.now)
    balancer.observe(slow, 0.05, clock.now)
    assert picked(balancer, (fast, slow)) == {"slow": 50}


def test_one_slow_answer_counts_at_once_and_is_forgotten_slowly() -> None:
    clock = Clock()
    balancer = Ewma(random.Random(1), clock)
    one, other = Spot("one"), Spot("other")
    for _ in range(100):
        balancer.observe(one, 0.010, clock.now)
        balancer.observe(other, 0.020, clock.now)
    balancer.observe(one, 2.0, clock.now)
    assert picked(balancer, (one, other)) == {"other": 50}
    clock.now += 8 * DECAY_S
    balancer.observe(other, 0.020, clock.now)
    assert picked(balancer, (one, other)) == {"one": 50}


def test_an_endpoint_that_was_never_asked_is_tried() -> None:
    clock = Clock()
    balancer = Ewma(random.Random(1), clock)
    known, new = Spot("known"), Spot("new")
    balancer.observe(known, 0.01, clock.now)
    assert picked(balancer, (known, new)) == {"new": 50}


def test_under_uneven_latency_the_slow_endpoint_gets_little() -> None:
    """A simulation: nine endpoints answer in 10 ms, one in 200 ms; 500 calls a second."""
    clock = Clock()
    balancer = Ewma(random.Random(3), clock)
    ready = tuple(Spot(f"e{number}") for number in range(10))
    ends: list[tuple[float, int, Spot, float]] = []
    counted: Counter[str] = Counter()
    for number in range(5000):
        clock.now += 0.002
        while ends and ends[0][0] <= clock.now:
            end, _, spot, began = heapq.heappop(ends)
            spot.active -= 1
            balancer.observe(spot, end - began, end)
        spot = balancer.pick(ready, b"")
        counted[spot.label] += 1
        spot.active += 1
        heapq.heappush(ends, (clock.now + (0.2 if spot is ready[9] else 0.01), number, spot, clock.now))
    assert counted["e9"] < 5000 / 10 / 5
    assert all(count > 400 for label, count in counted.items() if label != "e9")
