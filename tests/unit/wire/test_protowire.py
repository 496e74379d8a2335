from __future__ import annotations

import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from protogw.wire.protowire import MOST_DEPTH, delimited, fields, tag, varint


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_as_google_writes_it(number: int) -> None:
    assert varint(number) == encoder._VarintBytes(number)
    assert list(fields(tag(1, 0) + varint(number))) == [(1, number)]


def test_fields_are_read_in_their_order_and_groups_are_skipped() -> None:
    group = tag(9, 3) + delimited(1, b"inside") + tag(10, 3) + tag(10, 4) + tag(9, 4)
    data = delimited(2, b"two") + group + tag(3, 5) + b"abcd" + tag(4, 1) + b"abcdefgh" + delimited(2, b"")
    assert list(fields(data)) == [(2, b"two"), (3, b"abcd"), (4, b"abcdefgh"), (2, b"")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08\x80",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x12\x05abc",
        b"\x0d\x01\x02",
        b"\x09\x01",
        b"\x0b",
        b"\x0c",
        tag(9, 3) + tag(8, 4),
        tag(9, 3) + tag(1, 2) + b"\x05abc",
        b"\x0e\x00",
        b"\x00\x00",
        b"\x12" + b"\xff" * 9 + b"\x01",
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"number|type|truncated"):
        list(fields(data))


def test_groups_in_each_other_are_bounded() -> None:
    for depth in 100, 101:
        data = tag(9, 3) * depth + tag(9, 4) * depth + delimited(2, b"two")
        if depth > MOST_DEPTH:
            with pytest.raises(ValueError, match="too deeply"):
                list(fields(data))
        else:
            assert list(fields(data)) == [(2, b"two")]


@given(st.binary(max_size=30))
def test_any_bytes_are_fields_or_a_value_error(data: bytes) -> None:
    try:
        found = list(fields(data))
    except ValueError:
        return
    assert all(number > 0 for number, _ in found)
