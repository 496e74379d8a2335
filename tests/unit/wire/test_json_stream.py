from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BodyTooLarge, InvalidRequest
from protogw.wire.json_stream import JsonReader


def read(data: bytes, cut: int = 1 << 20, limit: int = 1 << 20) -> list[bytes]:
    reader = JsonReader(limit)
    found = [one for at in range(0, len(data), cut) for one in reader.feed(data[at : at + cut])]
    return found + reader.end()


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_array_gives_its_elements(cut: int) -> None:
    body = b' [ {"a":"}\\"],"} , 1,"x,y\\\\" ,[[],{}],true, -1.5e3 ]\r\n '
    assert read(body, cut) == [b'{"a":"}\\"],"}', b"1", b'"x,y\\\\"', b"[[],{}]", b"true", b"-1.5e3"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_values_one_after_another_are_values(cut: int) -> None:
    assert read(b'{"a":1}{"b":[2]}\n{} 5 "x""y" null', cut) == [
        b'{"a":1}',
        b'{"b":[2]}',
        b"{}",
        b"5",
        b'"x"',
        b'"y"',
        b"null",
    ]


@pytest.mark.parametrize("body", [b"", b"   ", b"[]", b" [ \n ] "])
def test_nothing_is_no_value(body: bytes) -> None:
    assert read(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[1",
        b"[1,",
        b'["a',
        b"{",
        b'{"a":',
        b'"a',
        b'"a\\',
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[1 2]",
        b"[{} {}]",
        b"[}]",
        b"]",
        b"}",
        b",",
        b"{},{}",
        b"[1] [2]",
        b"[1]x",
        b"[1]]",
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 100])
def test_what_is_wrong_between_values_is_refused(body: bytes, cut: int) -> None:
    with pytest.raises(InvalidRequest):
        read(body, cut)


@pytest.mark.parametrize("body", [b'["%s"]' % (b"x" * 200), b"[%s]" % (b"[" * 200), b"1" * 200, b"[1," + b"2" * 200])
@pytest.mark.parametrize("cut", [1, 13, 1_000])
def test_a_value_over_the_limit_is_refused(body: bytes, cut: int) -> None:
    with pytest.raises(BodyTooLarge):
        read(body, cut, limit=100)


def test_values_before_a_fault_are_given_first() -> None:
    reader = JsonReader(100)
    assert reader.feed(b"[1,2,") == [b"1", b"2"]
    with pytest.raises(InvalidRequest):
        reader.feed(b"]")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'"' + b"\\\\" * 100_000 + b'"',
        b" " * 300_000,
        b"[" + b"1," * 100_000 + b"1]",
    ],
)
@pytest.mark.parametrize("cut", [1, 4096])
def test_time_is_linear_in_the_input(body: bytes, cut: int) -> None:
    started = time.process_time()
    try:
        read(body, cut)
    except InvalidRequest:
        pass
    assert time.process_time() - started < 3


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(_values, max_size=5), st.integers(1, 9), st.sampled_from([None, 1, "\t"]))
def test_any_array_in_any_cuts_gives_its_elements(values: list[Any], cut: int, indent: int | str | None) -> None:
    body = json.dumps(values, indent=indent).encode()
    assert [json.loads(one) for one in read(body, cut)] == values


@given(
    st.binary(max_size=40).map(lambda data: data.translate(bytes(b'[]{}",\\ 1a'[n % 10] for n in range(256)))),
    st.integers(1, 5),
)
def test_cutting_changes_nothing(data: bytes, cut: int) -> None:
    def outcome(size: int) -> object:
        try:
            return read(data, size, limit=20)
        except (InvalidRequest, BodyTooLarge):
            return None

    assert outcome(cut) == outcome(1_000)
