"""What counts as a difference between two messages, and what does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.delivery.compare import MOST, Rules, differences, path_of


def paths(first: Any, second: Any, **rules: Any) -> list[str]:
    return [one.path for one in differences(first, second, Rules(**rules))]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": [{"c": 1}, {"c": 2}]}}, {"a": {"b": [{"c": 1}, {"c": 3}]}}, ["a.b.c"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a", "a"]),
        ({"a": "x"}, {}, ["a"]),
        ({}, {"a": "x"}, ["a"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": [1]}, {"a": {"0": 1}}, ["a"]),
        ({"a": "1"}, {"a": True}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"id": "007"}, {"id": "7"}, ["id"]),
        ({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-01-01T00:00:01Z"}, ["at"]),
        ({"at": "2026-99-01T00:00:00Z"}, {"at": "2026-01-01T00:00:01Z"}, ["at"]),
    ],
)
def test_what_says_something_else_is_different(first: Any, second: Any, found: list[str]) -> None:
    assert paths(first, second) == found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"n": 5}, {"n": "5"}),
        ({"n": 9007199254740993}, {"n": "9007199254740993"}),
        ({"n": 2.5}, {"n": "2.5"}),
        ({"made_at": "x"}, {"madeAt": "x"}),
        ({"a": "", "b": 0, "c": False, "d": [], "e": {}, "f": None, "g": "0"}, {}),
        ({}, {"a": {"b": {"c": ""}}}),
        ({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-01-01T01:00:00.000+01:00"}),
        ({"at": "2026-01-01T00:00:00.5Z"}, {"at": "2026-01-01T00:00:00.500000000Z"}),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
    ],
)
def test_one_thing_said_in_two_ways_is_no_difference(first: Any, second: Any) -> None:
    assert paths(first, second) == []
    assert paths(second, first) == []


def test_long_numbers_are_compared_exactly() -> None:
    assert paths({"n": 9007199254740993}, {"n": "9007199254740992"}) == ["n"]


@pytest.mark.parametrize("ignore", ["items.etag", "*.etag", "items.*", "items"])
def test_fields_that_are_ignored_are_not_compared(ignore: str) -> None:
    first, second = {"items": [{"etag": "a"}]}, {"items": [{"etag": "b"}]}
    assert paths(first, second) == ["items.etag"]
    assert paths(first, second, ignore=frozenset((path_of(ignore),))) == []


def test_an_ignored_path_may_be_written_either_way() -> None:
    assert paths({"made_at": "x"}, {"madeAt": "y"}, ignore=frozenset((path_of("made_at"),))) == []


def test_the_order_of_a_list_means_nothing_where_that_is_said() -> None:
    first, second = {"a": [{"n": 1}, {"n": 2}], "b": [1, 2]}, {"a": [{"n": "2"}, {"n": 1}], "b": [2, 1]}
    assert paths(first, second, unordered=frozenset((path_of("a"),))) == ["b", "b"]
    assert paths(first, second, any_order=True) == []
    assert paths({"a": [1, 1, 2]}, {"a": [1, 2, 2]}, any_order=True) == ["a"]
    assert paths({"a": [*range(1, 1000)]}, {"a": [*range(999, 0, -1)]}, any_order=True) == []


def test_numbers_and_moments_may_differ_by_so_much() -> None:
    assert paths({"n": 1.0}, {"n": 1.0009}, tolerance=0.001) == []
    assert paths({"n": 1.0}, {"n": 1.002}, tolerance=0.001) == ["n"]
    first, second = {"at": "2026-01-01T00:00:00Z"}, {"at": "2026-01-01T00:00:01Z"}
    assert paths(first, second, moments_s=1.0) == []
    assert paths(first, second, moments_s=0.5) == ["at"]


def test_no_more_are_told_than_so_many() -> None:
    first = {f"f{number}": 1 for number in range(100)}
    assert len(differences(first, {}, Rules())) == MOST


def test_a_nest_of_any_depth_is_compared() -> None:
    def nest(leaf: Any) -> Any:
        for _ in range(200):
            leaf = {"a": leaf}
        return leaf

    assert paths(nest(1), nest(1)) == []
    assert len(paths(nest(1), nest(2))) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_message_does_not_differ_from_itself(value: Any) -> None:
    assert differences(value, copy.deepcopy(value), Rules()) == []
    assert differences(value, copy.deepcopy(value), Rules(any_order=True)) == []


@given(JSON, JSON)
def test_any_two_are_compared_and_both_ways_agree(first: Any, second: Any) -> None:
    assert bool(differences(first, second, Rules())) == bool(differences(second, first, Rules()))
