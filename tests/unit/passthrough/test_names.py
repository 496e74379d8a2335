"""Exact names first, then the longest end; never the bare domain of a wildcard."""

from __future__ import annotations

import pytest

from protogw.passthrough.names import Names

NAMES = Names({"a.example": 1, "*.example": 2, "*.b.example": 3, "x.b.example": 4})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.example", 1),
        ("c.example", 2),
        ("a.a.example", 2),
        ("b.example", 2),
        ("c.b.example", 3),
        ("d.c.b.example", 3),
        ("x.b.example", 4),
        ("example", None),
        (".example", 2),
        ("xexample", None),
        ("a.example.evil.test", None),
        ("", None),
    ],
)
def test_a_name_is_found(name: str, found: int | None) -> None:
    assert NAMES.find(name) == found


def test_without_wildcards_only_exact_names_are_found() -> None:
    names = Names({"a.example": 1})
    assert (names.find("a.example"), names.find("b.a.example")) == (1, None)
