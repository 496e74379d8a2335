"""Balancers: fairness by weight, and behaviour at one endpoint and at a thousand."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.balancers import BALANCERS
from protogw.balancers.least_request import LeastRequest
from protogw.balancers.random import Random
from protogw.balancers.round_robin import RoundRobin, turns


@dataclass(eq=False)
class Spot:
    name: str
    weight: int = 1
    active: int = 0

    @property
    def label(self) -> str:
        return self.name


@pytest.mark.parametrize("kind", BALANCERS)
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_every_balancer_picks_among_the_ready(kind: str, count: int) -> None:
    balancer = BALANCERS[kind]()
    ready = tuple(Spot(str(index)) for index in range(count))
    for _ in range(50):
        assert balancer.pick(ready, b"") in ready


def test_round_robin_gives_each_endpoint_its_turn() -> None:
    balancer = RoundRobin()
    ready = (Spot("a"), Spot("b"), Spot("c"))
    assert "".join(balancer.pick(ready, b"").name for _ in range(7)) == "abcabca"


def test_round_robin_spreads_a_heavy_endpoints_turns_out() -> None:
    balancer = RoundRobin()
    ready = (Spot("a", weight=5), Spot("b"), Spot("c"))
    assert "".join(balancer.pick(ready, b"").name for _ in range(7)) == "aabacaa"


def test_round_robin_goes_on_when_an_endpoint_disappears() -> None:
    balancer = RoundRobin()
    a, b, c = Spot("a"), Spot("b"), Spot("c")
    for _ in range(5):
        balancer.pick((a, b, c), b"")
    rest = (a, c)
    assert Counter(balancer.pick(rest, b"").name for _ in range(10)) == {"a": 5, "c": 5}


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40))
def test_one_round_serves_each_as_often_as_its_weight(weights: list[int]) -> None:
    counted = Counter(turns(weights))
    total = sum(weights)
    if len(set(weights)) == 1:
        assert set(counted.values()) == {1}
    elif total <= 10_000:
        assert [counted[index] for index in range(len(weights))] == weights
    else:
        for index, weight in enumerate(weights):
            assert abs(counted[index] / sum(counted.values()) - weight / total) < 0.01


def test_random_follows_the_weights() -> None:
    balancer = Random(random.Random(7))
    ready = (Spot("a", weight=9), Spot("b", weight=1))
    counted = Counter(balancer.pick(ready, b"").name for _ in range(5000))
    assert 0.87 < counted["a"] / 5000 < 0.93


def test_least_request_prefers_the_less_loaded_of_two() -> None:
    balancer = LeastRequest(random.Random(1))
    busy, idle = Spot("busy", active=9), Spot("idle", active=0)
    assert {balancer.pick((busy, idle), b"").name for _ in range(20)} == {"idle"}


def test_least_request_counts_load_by_weight() -> None:
    balancer = LeastRequest(random.Random(1))
    big, small = Spot("big", weight=10, active=5), Spot("small", weight=1, active=1)
    assert {balancer.pick((big, small), b"").name for _ in range(20)} == {"big"}
