"""Ring hash and Maglev: even shares, equal keys together, and few keys that move when endpoints change."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.balancers.maglev import PLACES, Maglev, table
from protogw.balancers.ring_hash import RingHash, shares_of

KEYS = [f"user-{number}".encode() for number in range(20_000)]


@dataclass(eq=False)
class Spot:
    label: str
    weight: int = 1
    active: int = 0


def spots(count: int) -> tuple[Spot, ...]:
    return tuple(Spot(f"10.0.0.{number}:80") for number in range(count))


@pytest.fixture(params=[RingHash, Maglev], ids=lambda kind: kind.kind)
def balancer(request: pytest.FixtureRequest) -> RingHash | Maglev:
    made: RingHash | Maglev = request.param(random.Random(1))
    return made


def owners(balancer: RingHash | Maglev, ready: tuple[Spot, ...]) -> dict[bytes, str]:
    return {key: balancer.pick(ready, key).label for key in KEYS}


def test_equal_keys_go_to_the_same_endpoint_in_every_gateway(balancer: RingHash | Maglev) -> None:
    ready = spots(7)
    again = type(balancer)(random.Random(2))
    assert owners(balancer, ready) == owners(again, ready)


def test_the_order_in_which_endpoints_are_listed_does_not_matter(balancer: RingHash | Maglev) -> None:
    ready = spots(7)
    assert owners(balancer, ready) == owners(type(balancer)(), tuple(reversed(ready)))


def test_shares_are_nearly_even(balancer: RingHash | Maglev) -> None:
    counted = Counter(owners(balancer, spots(10)).values())
    most = 0.05 if isinstance(balancer, Maglev) else 0.35
    assert all(abs(count / 2000 - 1) < most for count in counted.values())


def test_weights_are_shares(balancer: RingHash | Maglev) -> None:
    ready = (Spot("a:1", weight=300), Spot("b:1", weight=100))
    counted = Counter(owners(balancer, ready).values())
    assert 0.65 < counted["a:1"] / len(KEYS) < 0.85


@pytest.mark.parametrize("count", [2, 10, 100])
def test_few_keys_move_when_an_endpoint_goes(balancer: RingHash | Maglev, count: int) -> None:
    ready = spots(count)
    before = owners(balancer, ready)
    gone = ready[count // 2]
    after = owners(balancer, tuple(spot for spot in ready if spot is not gone))
    moved = sum(before[key] != after[key] for key in KEYS if before[key] != gone.label)
    # A ring moves none but the gone endpoint's own; a Maglev table some few more.
    assert moved == 0 if isinstance(balancer, RingHash) else moved < len(KEYS) * 0.05


def test_a_call_without_a_key_goes_anywhere(balancer: RingHash | Maglev) -> None:
    ready = spots(4)
    assert len({balancer.pick(ready, b"").label for _ in range(200)}) == 4


def test_a_thousand_endpoints_share_a_ring_of_bounded_size() -> None:
    balancer = RingHash()
    ready = tuple(Spot(f"10.0.{number // 250}.{number % 250}:80", weight=number % 7 + 1) for number in range(1000))
    balancer.pick(ready, b"x")
    assert len(balancer._points) <= 200_000


@settings(max_examples=10)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=12))
def test_every_place_of_a_table_has_an_owner(weights: list[int]) -> None:
    ready = tuple(Spot(f"h{number}:1", weight) for number, weight in enumerate(weights))
    counted = Counter(table(ready))
    assert sum(counted.values()) == PLACES
    total = sum(weights)
    assert all(abs(counted[index] / PLACES - weight / total) < 0.01 for index, weight in enumerate(weights))


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=50))
def test_shares_keep_the_weights_proportions(weights: list[int]) -> None:
    shares = shares_of(weights)
    heaviest = max(weights)
    scale = max(shares) / heaviest
    assert all(abs(share - weight * scale) <= 1 for share, weight in zip(shares, weights, strict=True))
    assert min(shares) >= 1
