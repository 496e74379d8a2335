"""Circuit breakers by themselves: what opens one, and how it finds out whether to close."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protogw.pools.breaker import Breaker, Circuit, CircuitState
from protogw.pools.settings import BreakerSettings


def breaker(**settings: object) -> Breaker[str]:
    return Breaker("p", BreakerSettings.model_validate(settings))


def circuit(owner: Breaker[str]) -> Circuit:
    return owner.circuit("a", "a", "s/m")


def test_failures_in_a_row_open_it() -> None:
    owner = breaker(consecutive=3, calls=1000)
    one = circuit(owner)
    for failed in (True, True, False, True, True):
        one.ended(failed, 1.0)
    assert one.state is CircuitState.CLOSED
    one.ended(True, 1.0)
    assert one.state is CircuitState.OPEN
    assert owner.tripped == 1
    assert not one.admits(2.9)


def test_a_share_of_failures_opens_it_once_there_were_enough_calls() -> None:
    one = circuit(breaker(consecutive=0, calls=4, failures="50%"))
    for failed in (True, True, False):
        one.ended(failed, 1.0)
    assert one.state is CircuitState.CLOSED, "three calls are too few to judge by"
    one.ended(False, 1.0)
    assert one.state is CircuitState.CLOSED, "it is failures that open it"
    one.ended(True, 1.0)
    assert one.state is CircuitState.OPEN


def test_what_is_older_than_the_window_is_forgotten() -> None:
    one = circuit(breaker(consecutive=0, calls=4, failures="50%", window="10s"))
    for _ in range(3):
        one.ended(True, 1.0)
    for _ in range(3):
        one.ended(False, 12.0)
    one.ended(True, 12.0)
    assert one.state is CircuitState.CLOSED


def test_exactly_so_many_probes_pass_and_their_success_closes_it() -> None:
    owner = breaker(consecutive=1, probes=3, open="2s")
    one = circuit(owner)
    one.ended(True, 10.0)
    assert not one.admits(11.9)
    probes = []
    while one.admits(12.0):
        probes.append(one.enter())
    assert len(probes) == 3
    for probe in probes:
        assert one.state is CircuitState.HALF_OPEN
        probe.ended(False, 12.1)
    assert one.state is CircuitState.CLOSED
    assert owner.tripped == 0


def test_one_probe_that_fails_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    one = circuit(breaker(consecutive=1, probes=1, open="2s", max_open="5s"))
    one.ended(True, 0.0)
    lasted = []
    now = one.until
    for _ in range(4):
        assert one.admits(now)
        one.enter().ended(True, now)
        lasted.append(one.until - now)
        now = one.until
    assert lasted == [4.0, 5.0, 5.0, 5.0]


def test_a_probe_that_is_given_up_lets_another_one_pass() -> None:
    one = circuit(breaker(consecutive=1, probes=1))
    one.ended(True, 0.0)
    assert one.admits(2.0)
    probe = one.enter()
    assert not one.admits(2.0)
    probe.left()
    probe.left()
    assert one.admits(2.0)
    one.enter()
    assert not one.admits(2.0)


def test_probes_that_never_end_do_not_keep_it_half_open_for_ever() -> None:
    one = circuit(breaker(consecutive=1, probes=1, open="2s"))
    one.ended(True, 0.0)
    assert one.admits(2.0)
    lost = one.enter()
    assert not one.admits(3.9)
    assert one.admits(4.0)
    lost.ended(True, 4.1)
    assert one.state is CircuitState.HALF_OPEN, "a probe of another time decides nothing"


def test_calls_from_before_it_opened_count_no_more() -> None:
    one = circuit(breaker(consecutive=2, probes=1))
    early = [one.enter() for _ in range(5)]
    for call in early:
        call.ended(True, 0.0)
    until = one.until
    early[0].ended(True, 1.0)
    assert one.until == until
    assert one.admits(until)
    early[1].ended(False, until)
    assert one.state is CircuitState.HALF_OPEN


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "bad", "left", "none"]), st.floats(0, 4, allow_nan=False)), max_size=120),
    st.integers(1, 4),
)
def test_never_more_probes_than_allowed_and_never_stuck(steps: list[tuple[str, float]], probes: int) -> None:
    owner = breaker(consecutive=2, calls=5, probes=probes, open="1s", max_open="4s", window="5s")
    one = circuit(owner)
    now = 0.0
    era, passed = one.era, 0
    for outcome, wait in steps:
        now += wait
        if not one.admits(now):
            assert one.state is not CircuitState.CLOSED
            assert one.until - now <= 4.0, "it never stays shut for longer than the longest"
            continue
        era, passed = (one.era, 0) if one.era != era else (era, passed)
        entered = one.enter()
        if one.state is CircuitState.HALF_OPEN:
            passed += 1
            assert passed <= probes
        if outcome == "left":
            entered.left()
            passed -= one.state is CircuitState.HALF_OPEN
        elif outcome != "none":
            entered.ended(outcome == "bad", now)
    assert owner.tripped == (one.state is not CircuitState.CLOSED)


def test_endpoints_that_are_gone_are_forgotten() -> None:
    owner = breaker(consecutive=1)
    circuit(owner).ended(True, 0.0)
    owner.keep(["b"])
    assert owner.tripped == 0
    assert not list(owner.of("a", 0.0))
