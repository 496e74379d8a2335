"""Counting: bound once, added to cheaply, and bounded in how many series there are."""

from __future__ import annotations

import pytest

from protogw.counting import MOST_SERIES, OVERFLOW, Counts


def test_the_same_name_and_labels_are_one_count() -> None:
    counts = Counts()
    first = counts.count("cache_replies", "Replies.", {"policy": "a", "outcome": "hit"})
    first.add()
    first.value += 2
    assert counts.count("cache_replies", "Replies.", {"policy": "a", "outcome": "hit"}).value == 3
    assert counts.count("cache_replies", "Replies.", {"policy": "a", "outcome": "miss"}).value == 0


def test_one_name_has_one_set_of_labels() -> None:
    counts = Counts()
    counts.count("retries", "Tries.", {"policy": "a"})
    with pytest.raises(ValueError, match="retries: has the labels policy, not method"):
        counts.count("retries", "Tries.", {"method": "a"})


@pytest.mark.parametrize("name", ["", "Retries", "re-tries", "retries_", "re tries", "9lives"])
def test_a_name_that_no_metric_could_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="written_so"):
        Counts().count(name, "What.", {})


def test_more_values_than_there_may_be_share_one_series() -> None:
    counts = Counts()
    family = counts.family("calls", "Calls.", ("method",))
    for number in range(MOST_SERIES + 500):
        family.of(f"m{number}").add()
    assert len(family.counts) == MOST_SERIES + 1
    assert family.counts[(OVERFLOW,)].value == 500


def test_a_gauge_is_read_when_it_is_looked_at() -> None:
    counts = Counts()
    level = [1.0]
    counts.gauge("limit", "A limit.", lambda: level[0], {"policy": "a"})
    (family,) = counts
    level[0] = 7.0
    assert {values: read() for values, read in family.gauges.items()} == {("a",): 7.0}
