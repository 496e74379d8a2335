"""The little languages of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from protogw.config.units import Address, Target, parse_listen_address, parse_name, parse_target
from protogw.values import Rate, format_duration, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("2s", 2), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("10us", 1e-5), ("1d", 86400), (0, 0)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", 5, 5.0, True, "s", "5 parsecs", "-1s", "1e9s", "1s ", "٣s", None, [], "5S"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@given(st.integers(1, 10**8), st.sampled_from(["ms", "s", "m", "h"]))
def test_a_formatted_duration_is_read_back(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [(4096, 4096), ("512B", 512), ("64KiB", 65536), ("1.5MiB", 3 << 19), ("1GB", 10**9), (0, 0)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64 Kib", -1, True, 1.5, "KiB", None, "64KiBB"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@given(st.integers(0, 1 << 40))
def test_a_formatted_size_is_read_back(size: int) -> None:
    text = format_size(size)
    assert parse_size(int(text) if text.isdigit() else text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/minute", Rate(100, 60)), ("5/s", Rate(5, 1)), ("1000 / 10m", Rate(1000, 600)), ("7/250ms", Rate(7, 0.25))],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["100", "100/fortnight", "/s", "1/0s", 5, "1/", "-1/s"])
def test_what_is_no_rate(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        ("[::]:8080", Address("::", 8080)),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
        ("localhost:0", Address("localhost", 0)),
        ("GW.Example:65535", Address("gw.example", 65535)),
    ],
)
def test_listening_addresses(text: str, address: Address) -> None:
    assert parse_listen_address(text) == address
    assert parse_listen_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("users:80", Target(Address("users", 80), None)),
        ("http://users", Target(Address("users", 80), False)),
        ("https://users/", Target(Address("users", 443), True, "/")),
        ("http://users:4000/api/v1/graphql", Target(Address("users", 4000), False, "/api/v1/graphql")),
        ("http://[::1]:8080", Target(Address("::1", 8080), False)),
        ("grpcs://users:1", Target(Address("users", 1), True)),
        ("dns:53", Target(Address("dns", 53), None)),
    ],
)
def test_upstream_addresses(text: str, target: Target) -> None:
    assert parse_target(text) == target


PARSERS: list[Callable[[object], Any]] = [
    parse_duration,
    parse_size,
    parse_rate,
    parse_listen_address,
    parse_target,
    parse_name,
]


def refused_with_a_reason(parse: Callable[[object], Any], value: object) -> None:
    reason = "read"
    try:
        parse(value)
    except PydanticCustomError as error:
        reason = error.message()
    assert reason


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(value=st.one_of(st.text(max_size=40), st.integers(), st.floats(), st.none(), st.lists(st.integers())))
def test_any_value_is_read_or_refused_with_a_reason(parse: Callable[[object], Any], value: object) -> None:
    refused_with_a_reason(parse, value)


@pytest.mark.parametrize("parse", [parse_listen_address, parse_target], ids=lambda parse: parse.__name__)
@given(value=st.from_regex(r"(https?://)?[a-z0-9.\[\]:%@/-]{0,20}(:[0-9]{1,6})?", fullmatch=True))
def test_whatever_looks_like_an_address_is_read_or_refused(parse: Callable[[object], Any], value: str) -> None:
    refused_with_a_reason(parse, value)
