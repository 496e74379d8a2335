"""Which endpoints serve: priorities, panic and zones."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from protogw.pools.membership import members


@dataclass(frozen=True)
class Spot:
    name: str
    priority: int = 0
    zone: str = ""


A, B, C, D = (Spot(name) for name in "abcd")
BACKUP, OTHER = Spot("backup", priority=1), Spot("other", priority=1)


def test_the_ready_ones_serve() -> None:
    assert members([A, B, C], [A, C]) == (A, C)


def test_in_panic_all_serve() -> None:
    assert members([A, B, C], [A]) == (A, B, C)
    assert members([A, B, C], [A], panic=0.0) == (A,)


def test_with_nothing_ready_all_are_tried() -> None:
    assert members([A, B], []) == (A, B)


def test_the_next_priority_serves_when_too_few_of_the_first_are_ready() -> None:
    assert members([A, B, BACKUP], [A, B, BACKUP]) == (A, B)
    assert members([A, B, C, BACKUP], [A, BACKUP]) == (BACKUP,)
    assert members([A, B, C, BACKUP, OTHER], [A, BACKUP], panic=60.0) == (A, B, C)


def test_ones_own_zone_serves_while_half_of_it_is_ready() -> None:
    near, nearer, far = Spot("near", zone="eu"), Spot("nearer", zone="eu"), Spot("far", zone="us")
    all_of_them = [near, nearer, far]
    assert members(all_of_them, all_of_them, zone="eu") == (near, nearer)
    assert members(all_of_them, [near, far], zone="eu") == (near,)
    assert members(all_of_them, [far], zone="eu", panic=0.0) == (far,)
    assert members(all_of_them, all_of_them, zone="asia") == (near, nearer, far)


SPOTS = st.lists(
    st.builds(Spot, st.uuids().map(str), st.integers(0, 2), st.sampled_from(["", "eu", "us"])), min_size=1, max_size=12
)


@given(SPOTS, st.data(), st.floats(0, 100), st.sampled_from(["", "eu"]))
def test_there_is_always_someone_and_never_one_that_is_not_ready_beside_one_that_is_outside_panic(
    spots: list[Spot], data: st.DataObject, panic: float, zone: str
) -> None:
    ready = [spot for spot in spots if data.draw(st.booleans())]
    found = members(spots, ready, panic=panic, zone=zone)
    assert found
    assert len({spot.priority for spot in found}) == 1
    outside = [spot for spot in found if spot not in ready]
    if outside:
        assert set(found) == {spot for spot in spots if spot.priority == found[0].priority}
