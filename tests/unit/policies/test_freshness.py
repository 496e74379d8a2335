"""How long an answer may be given again, by its fields."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.policies.freshness import Rules, directives, freshness, matches
from tests.support import rpc

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
RULES = Rules(None, 0.0, 0.0, 1000.0)


@pytest.mark.parametrize(
    ("fields", "fresh"),
    [
        ([("cache-control", "max-age=60")], 60),
        ([("cache-control", "max-age=60, s-maxage=30")], 30),
        ([("cache-control", "Max-Age=60"), ("cache-control", "public")], 60),
        ([("cache-control", 'max-age="60"')], 60),
        ([("cache-control", "max-age=60, max-age=10")], 10),
        ([("cache-control", "max-age=-1")], 0),
        ([("cache-control", "max-age=99999999999999999999")], 0),
        ([("cache-control", "max-age=5000")], 1000),
        ([("expires", "Wed, 21 Oct 2015 07:29:00 GMT")], 60),
        ([("expires", "Wed, 21 Oct 2015 07:29:00 GMT"), ("date", "Wed, 21 Oct 2015 07:28:30 GMT")], 30),
        ([("expires", "Wed, 21 Oct 2015 07:29:00 GMT"), ("cache-control", "max-age=5")], 5),
        ([("expires", "0")], 0),
        ([("cache-control", "no-cache")], 0),
    ],
    ids=str,
)
def test_how_long_it_is_fresh(fields: list[tuple[str, str]], fresh: float) -> None:
    found = freshness(rpc.headers(fields), RULES, NOW)
    assert found is not None
    assert found.fresh_s == fresh


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("cache-control", "no-store, max-age=60")],
        [("cache-control", "max-age=60, private")],
        [("cache-control", "max-age=60; private")],
        [("cache-control", 'max-age=60, x="')],
        [("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        [("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")],
        [("cache-control", "max-age=60"), ("vary", "accept, *")],
    ],
    ids=str,
)
def test_what_must_not_be_kept(fields: list[tuple[str, str]]) -> None:
    assert freshness(rpc.headers(fields), RULES, NOW) is None


@pytest.mark.parametrize(
    ("said", "stale", "error"),
    [
        ("max-age=1", 7, 9),
        ("max-age=1, stale-while-revalidate=3, stale-if-error=4", 3, 4),
        ("max-age=1, must-revalidate, stale-while-revalidate=3", 0, 0),
        ("max-age=1, proxy-revalidate", 0, 0),
        ("no-cache", 0, 0),
    ],
)
def test_how_long_it_is_of_use_after_that(said: str, stale: float, error: float) -> None:
    found = freshness(rpc.headers([("cache-control", said)]), RULES._replace(stale_s=7.0, error_s=9.0), NOW)
    assert found is not None
    assert (found.stale_s, found.error_s) == (stale, error)


@given(st.lists(st.binary()))
def test_any_field_can_be_read_or_not(values: list[bytes]) -> None:
    directives(values)
    freshness(
        [(name, value) for value in values for name in (b"cache-control", b"expires", b"date", b"age")], RULES, NOW
    )


@pytest.mark.parametrize(
    "value", [b"a" * 65536 + b"!", b'a="' + b"\\a" * 30000, b"a=," * 20000, b" " * 65536 + b"\x00"]
)
def test_long_fields_take_no_longer_than_they_are(value: bytes) -> None:
    started = time.perf_counter()
    directives([value])
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize(
    ("condition", "etag", "meets"),
    [
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"b" , W/"a"', b'"a"', True),
        (b"*", b'"a"', True),
        (b'"b"', b'"a"', False),
        (b"", b'"a"', False),
        (b"a", b'"a"', False),
    ],
)
def test_if_none_match_is_compared_weakly(condition: bytes, etag: bytes, meets: bool) -> None:
    assert matches(condition, etag) is meets
