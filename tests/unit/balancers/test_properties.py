"""What holds for every balancer, with any endpoints and weights: fairness, few moves, one or a thousand endpoints."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.balancers import SCENARIOS, simulate
from protogw.balancers import BALANCERS
from protogw.balancers.round_robin import turns

KEYED = [kind for kind, part in BALANCERS.items() if getattr(part, "keyed", False)]
UNKEYED = [kind for kind in BALANCERS if kind not in KEYED]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Endpoint:
    label: str
    weight: int = 1
    active: int = 0


def endpoints(count: int, weights: list[int] | None = None) -> tuple[Endpoint, ...]:
    weights = weights or [1] * count
    return tuple(Endpoint(f"10.{n >> 8}.{n & 255}.1:80", weight) for n, weight in enumerate(weights))


def made(kind: str) -> Any:
    part = BALANCERS[kind]
    takes = part.__init__.__code__.co_varnames if hasattr(part.__init__, "__code__") else ()
    return part(random.Random(1)) if "source" in takes else part()


@pytest.mark.parametrize("kind", BALANCERS)
def test_one_endpoint_is_always_picked(kind: str) -> None:
    ready = endpoints(1)
    balancer = made(kind)
    assert all(balancer.pick(ready, key) is ready[0] for key in (b"", b"a", b"\xff" * 100))


@pytest.mark.parametrize("kind", BALANCERS)
def test_a_thousand_endpoints_all_have_a_share(kind: str) -> None:
    """Of calls that stay, so that those that look at load see it."""
    ready = endpoints(1000)
    balancer = made(kind)
    for number in range(20_000):
        balancer.pick(ready, b"key %d" % number).active += 1
    counts = [one.active for one in ready]
    assert min(counts) > 0
    assert max(counts) < 20 * 3


@pytest.mark.parametrize("kind", BALANCERS)
def test_a_thousand_endpoints_of_any_weight_are_taken_in_within_a_moment(kind: str) -> None:
    """Calls stand still for so long when endpoints change; the bound is wide, for machines that are busy."""
    chance = random.Random(3)
    ready = endpoints(1000, [chance.randint(1, 100) for _ in range(1000)])
    balancer = made(kind)
    began = perf_counter()
    balancer.pick(ready, b"")
    assert perf_counter() - began < 5.0


@pytest.mark.parametrize("kind", UNKEYED)
@settings(max_examples=30)
@given(weights=st.lists(st.integers(1, 20), min_size=2, max_size=8))
def test_shares_follow_the_weights(kind: str, weights: list[int]) -> None:
    ready = endpoints(len(weights), weights)
    balancer = made(kind)
    for _ in range(3000):
        balancer.pick(ready, b"").active += 1
    for one in ready:
        assert abs(one.active - 3000 * one.weight / sum(weights)) < 3000 * 0.12


@pytest.mark.parametrize("kind", KEYED)
@settings(max_examples=10)
@given(count=st.integers(2, 30), gone=st.integers(0, 29))
def test_only_keys_of_the_endpoint_that_goes_move_and_few_others(kind: str, count: int, gone: int) -> None:
    ready = endpoints(count)
    left = tuple(one for number, one in enumerate(ready) if number != gone % count)
    before, after = made(kind), made(kind)
    keys = [b"key %d" % number for number in range(400)]
    homes = {key: before.pick(ready, key) for key in keys}
    moved = [key for key in keys if homes[key] in left and after.pick(left, key) is not homes[key]]
    # A ring moves no other; Maglev's table moves about as many again as it must.
    assert len(moved) <= (0 if kind == "ring_hash" else len(keys) * 0.15)


@pytest.mark.parametrize("kind", KEYED)
def test_an_endpoint_that_comes_takes_its_share_and_hardly_more(kind: str) -> None:
    before, after = endpoints(10), endpoints(11)
    balancer, other = made(kind), made(kind)
    keys = [b"key %d" % number for number in range(3000)]
    moved = [key for key in keys if balancer.pick(before, key).label != other.pick(after, key).label]
    assert 0.04 * len(keys) < len(moved) < 0.20 * len(keys)


@pytest.mark.parametrize("kind", ["least_request", "least_connections", "ewma"])
def test_a_slow_server_gets_little_and_costs_little(kind: str) -> None:
    outcome = simulate(kind, SCENARIOS["one is 5 times slower"], calls=15_000)
    assert outcome.share < 0.05
    assert outcome.p99 < 120


def test_the_simulation_is_the_same_each_time() -> None:
    slower = SCENARIOS["half are 2 times slower"]
    first, second = (simulate("least_request", slower, calls=3000) for _ in range(2))
    assert first == second
    assert simulate("least_request", slower, seed=2, calls=3000) != first


@given(weights=st.lists(st.integers(1, 50), min_size=200, max_size=400))
@settings(max_examples=10)
def test_a_long_round_serves_each_as_often_as_its_weight(weights: list[int]) -> None:
    order = turns(weights)
    total = sum(weights)
    scaled = [max(1, round(weight * 10_000 / total)) for weight in weights] if total > 10_000 else weights
    assert Counter(order) == dict(enumerate(scaled))
