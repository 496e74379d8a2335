"""The choice by key: by share, the same everywhere and ever, and moved by a new weight no more than it must."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.delivery.weights import Side, Weights, chosen

KEYS = [b"user-%d" % number for number in range(10_000)]


def sides(**weights: int) -> list[Side]:
    return [Side(name, weight) for name, weight in weights.items() if weight]


def names(keys: list[bytes], **weights: int) -> list[str]:
    among = sides(**weights)
    return [chosen(key, among).name for key in keys]


def test_five_percent_of_ten_thousand_keys_are_about_five_hundred() -> None:
    assert 435 <= names(KEYS, stable=95, canary=5).count("canary") <= 565


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 2}, {"a": 50, "b": 30, "c": 20}, {"a": 1000, "b": 1}])
def test_each_has_its_share(weights: dict[str, int]) -> None:
    found = names(KEYS, **weights)
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        assert found.count(name) == pytest.approx(10_000 * share, abs=4 * (10_000 * share * (1 - share)) ** 0.5)


def test_a_larger_weight_takes_keys_over_and_gives_none_away() -> None:
    before, after = names(KEYS, a=90, b=5, c=5), names(KEYS, a=90, b=5, c=25)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in moved} == {"c"}
    assert len(moved) < 2000


def test_one_that_goes_leaves_the_others_keys_where_they_are() -> None:
    before, after = names(KEYS, a=50, b=25, c=25), names(KEYS, a=50, b=25)
    assert all(old == new for old, new in zip(before, after, strict=True) if old != "c")


def test_the_order_of_the_names_means_nothing() -> None:
    assert names(KEYS[:1000], a=3, b=2, c=1) == names(KEYS[:1000], c=1, b=2, a=3)


def test_another_process_chooses_the_same() -> None:
    script = (
        "from protogw.delivery.weights import Side, chosen\n"
        "among = [Side('stable', 95), Side('canary', 5)]\n"
        "print(','.join(chosen(b'user-%d' % n, among).name for n in range(200)))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip().split(",") == names(KEYS[:200], stable=95, canary=5)


@given(st.binary(max_size=64), st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8))
def test_any_key_has_exactly_one_side(key: bytes, weights: list[int]) -> None:
    among = [Side(f"side{index}", weight) for index, weight in enumerate(weights)]
    assert chosen(key, among) is chosen(key, among[::-1])


def test_weights_change_whole_or_not_at_all() -> None:
    weights = Weights({"a": 95, "b": 5})
    version = weights.version
    for wrong in ({"c": 1}, {"a": -1}, {"a": 0, "b": 0}, {"b": True}, {"b": 1.5}, {"b": 1_000_001}, {"a": 1, "c": 2}):
        with pytest.raises(ValueError, match=r"upstream of this route|whole number|every weight"):
            weights.set(wrong)  # type: ignore[arg-type]
        assert weights.version is version
    weights.set({"b": 0})
    assert weights.now == {"a": 95, "b": 0}
    assert weights.version is not version
