"""Outlier ejection: who is taken out, for how long, and how many at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protogw.pools.outlier import Outliers
from protogw.pools.settings import OutlierSettings


def outliers(**settings: object) -> Outliers[str]:
    return Outliers(OutlierSettings.model_validate(settings))


def fail(subject: Outliers[str], endpoint: str, times: int, of: int = 10, now: float = 0.0) -> list[bool]:
    return [subject.ended(endpoint, True, of, now) for _ in range(times)]


def test_five_failures_in_a_row_eject_an_endpoint_for_thirty_seconds() -> None:
    subject = outliers()
    assert fail(subject, "a", 5) == [False] * 4 + [True]
    assert subject.is_out("a", 29.9)
    assert not subject.is_out("a", 30.1)
    assert subject.next_return(1.0) == 30.0


def test_a_success_in_between_starts_the_count_anew() -> None:
    subject = outliers()
    fail(subject, "a", 4)
    subject.ended("a", False, 10, 0.0)
    assert fail(subject, "a", 4) == [False] * 4


def test_each_further_ejection_lasts_longer_up_to_a_most() -> None:
    subject = outliers(max_ejection="70s")
    now, lengths = 0.0, []
    for _ in range(4):
        fail(subject, "a", 5, now=now)
        back = subject.next_return(now)
        assert back is not None
        lengths.append(round(back - now, 6))
        now = back + 0.1
    assert lengths == [30.0, 60.0, 70.0, 70.0]


def test_quiet_intervals_are_forgiven() -> None:
    subject = outliers()
    fail(subject, "a", 5)
    subject.sweep(10, 40.0)
    subject.sweep(10, 51.0)
    fail(subject, "a", 5, now=60.0)
    assert subject.next_return(60.0) == 90.0


def test_no_more_than_the_most_are_out_at_once_but_one_always_may() -> None:
    subject = outliers(max_percent="20%")
    assert any(fail(subject, "a", 5, of=10))
    assert any(fail(subject, "b", 5, of=10))
    assert not any(fail(subject, "c", 5, of=10))
    assert any(fail(outliers(max_percent="0%"), "a", 5, of=3))


def test_success_rate_ejects_the_one_far_below_the_others() -> None:
    subject = outliers(consecutive_errors=0, success_rate={})
    for endpoint in "abcdef":
        for number in range(100):
            subject.ended(endpoint, endpoint == "f" and number % 2 == 0, 6, 1.0)
    assert subject.sweep(6, 20.0) == ["f"]


def test_success_rate_needs_enough_endpoints_and_calls() -> None:
    subject = outliers(consecutive_errors=0, success_rate={})
    for endpoint in "abcd":
        for _ in range(100):
            subject.ended(endpoint, endpoint == "d", 4, 1.0)
    assert subject.sweep(4, 20.0) == []


def test_failure_percentage_ejects_whatever_the_others_do() -> None:
    subject = outliers(consecutive_errors=0, failure_percentage={"percent": "50%"}, max_percent="100%")
    for endpoint in "ab":
        for number in range(50):
            subject.ended(endpoint, number % 2 == 0, 2, 1.0)
    assert sorted(subject.sweep(2, 20.0)) == ["a", "b"]


def test_counts_start_anew_with_each_interval() -> None:
    subject = outliers(consecutive_errors=0, failure_percentage={"percent": "50%"})
    for _ in range(30):
        subject.ended("a", True, 2, 1.0)
    assert subject.sweep(2, 20.0) == []
    for _ in range(30):
        subject.ended("a", True, 2, 21.0)
    assert subject.sweep(2, 31.0) == []


def test_a_check_that_succeeds_brings_an_endpoint_back() -> None:
    subject = outliers()
    fail(subject, "a", 5)
    subject.pardon("a")
    assert not subject.is_out("a", 1.0)


def test_endpoints_that_are_gone_are_forgotten() -> None:
    subject = outliers()
    fail(subject, "a", 5)
    subject.keep(["b"])
    assert not subject.is_out("a", 1.0)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.floats(0, 5)), max_size=300))
def test_never_more_are_out_than_may_be(events: list[tuple[str, bool, float]]) -> None:
    subject = outliers(consecutive_errors=2, max_percent="25%", failure_percentage={"calls": 2}, interval="1s")
    now = 0.0
    for endpoint, failed, passed in events:
        now += passed
        subject.ended(endpoint, failed, 8, now)
        subject.sweep(8, now)
        assert sum(subject.is_out(one, now) for one in "abcdefgh") <= 2
