"""Which fields travel on as metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.wire import metadata
from protogw.wire.http import HOP_BY_HOP, Header
from protogw.wire.metadata import RESERVED, forwardable


@pytest.mark.parametrize(
    "name", sorted(RESERVED | {b"grpc-timeout", b"grpc-status", b"trailer-x", b"sec-websocket-key"})
)
def test_reserved_names_stay_behind_in_either_spelling(name: bytes) -> None:
    assert forwardable(((name, b"1"), (name.replace(b"-", b"_"), b"1"), (b"x-a", b"1"))) in (
        ((b"x-a", b"1"),),
        # "grpc_timeout" is no name of gRPC's, and so is nobody's framing.
        ((name.replace(b"-", b"_"), b"1"), (b"x-a", b"1")),
    )
    if name in RESERVED:
        assert forwardable(((name.replace(b"-", b"_"), b"1"),)) == ()


def test_order_and_repetition_are_kept() -> None:
    fields: tuple[Header, ...] = ((b"x-a", b"1"), (b"x-b", b""), (b"x-a", b"2"), (b"authorization", b"s"))
    assert forwardable(fields) == fields


@pytest.mark.parametrize("value", [b"a\tb", b"a\x7f", b"caf\xc3\xa9", b"\x00"])
def test_a_value_that_grpc_cannot_carry_stays_behind_alone(value: bytes) -> None:
    assert forwardable(((b"x-a", b"1"), (b"x-b", value), (b"x-c-bin", b"AA"), (b"x-d", b"2"))) == (
        (b"x-a", b"1"),
        (b"x-c-bin", b"AA"),
        (b"x-d", b"2"),
    )


def test_joined_binary_values_are_split_and_their_padding_removed() -> None:
    assert forwardable(((b"x-bin", b"AA==, AAE= ,,AP8A"),)) == (
        (b"x-bin", b"AA"),
        (b"x-bin", b"AAE"),
        (b"x-bin", b"AP8A"),
    )


def test_what_connection_names_stays_behind() -> None:
    fields = ((b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"x-a", b"1"))
    assert forwardable(fields) == ((b"x-a", b"1"),)


def test_verdicts_on_names_are_bounded() -> None:
    for number in range(10_000):
        forwardable(((b"x-%d" % number, b"1"),))
    assert len(metadata._verdicts) <= 4096


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20).map(str.encode) | st.sampled_from(
    sorted(RESERVED)
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=8))
def test_no_field_of_one_hop_and_no_unprintable_value_ever_passes(fields: list[Header]) -> None:
    for name, value in forwardable(fields):
        assert name not in HOP_BY_HOP
        assert name not in RESERVED
        assert name.endswith(b"-bin") or all(0x20 <= octet <= 0x7E for octet in value)
