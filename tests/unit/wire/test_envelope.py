"""Envelopes and the compression of single messages."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BadUpstream, BodyTooLarge, Code, Malformed
from protogw.wire.envelope import EnvelopeReader, envelope, only_message
from protogw.wire.message_encoding import accepted_coding, named_coding, open_message


def read_all(pieces: list[bytes], limit: int = 1 << 20) -> list[tuple[int, bytes]]:
    reader = EnvelopeReader(limit, Malformed)
    found = []
    for piece in pieces:
        reader.push(piece)
        while (one := reader.next()) is not None:
            found.append(one)
    reader.end()
    return found


def test_an_envelope_is_flags_and_length_and_message() -> None:
    assert envelope(b"abc") == b"\0\0\0\0\x03abc"
    assert envelope(b"", 0x80) == b"\x80\0\0\0\0"


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_messages_are_the_same_however_the_body_is_cut(messages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    body = b"".join(envelope(data, flags) for flags, data in messages)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(body)), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert read_all(pieces) == messages


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_end_in_messages_or_a_named_fault(pieces: list[bytes]) -> None:
    try:
        read_all(pieces, limit=100)
    except (Malformed, BodyTooLarge):
        pass


@given(st.binary(max_size=20))
def test_the_only_message_is_found_exactly_when_the_reader_finds_one_and_nothing_else(body: bytes) -> None:
    fast = only_message(body)
    try:
        slow = read_all([body])
    except (Malformed, BodyTooLarge):
        slow = []
    assert fast == (slow[0][1] if len(slow) == 1 and slow[0][0] == 0 else None)


def test_a_message_over_the_limit_is_refused_by_its_prefix_alone() -> None:
    reader = EnvelopeReader(10, Malformed)
    reader.push(b"\0\xff\xff\xff\xff")
    with pytest.raises(BodyTooLarge, match="4294967295 bytes is over the limit of 10"):
        reader.next()


def test_messages_before_one_that_is_too_large_are_delivered() -> None:
    reader = EnvelopeReader(3, Malformed)
    reader.push(envelope(b"abc") + envelope(b"abcd"))
    assert reader.next() == (0, b"abc")
    with pytest.raises(BodyTooLarge):
        reader.next()


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0\0", b"\0\0\0\0\x02a", envelope(b"a") + b"\0\0"])
def test_a_body_that_ends_within_a_message_is_the_fault_of_its_sender(body: bytes) -> None:
    for fault in (Malformed, BadUpstream):
        reader = EnvelopeReader(10, fault)
        reader.push(body)
        while reader.next() is not None:
            pass
        with pytest.raises(fault, match="ends within a message") as caught:
            reader.end()
        assert caught.value.status.code is Code.INTERNAL


def test_a_large_message_in_small_pieces_costs_one_copy() -> None:
    data = bytes(4 << 20)
    body = envelope(data)
    reader = EnvelopeReader(8 << 20, Malformed)
    for start in range(0, len(body), 1000):
        assert reader.next() is None
        reader.push(body[start : start + 1000])
    assert reader.next() == (0, data)
    assert reader.empty


def test_compressed_messages_open_and_plain_ones_pass() -> None:
    squeezed = gzip.compress(b"x" * 1000)
    assert open_message(0, b"abc", b"gzip", 10, Malformed) == b"abc"
    assert open_message(1, squeezed, b"gzip", 1000, Malformed) == b"x" * 1000
    assert open_message(1, b"", b"gzip", 10, Malformed) == b""


@pytest.mark.parametrize(
    ("flags", "data", "coding"),
    [
        (1, gzip.compress(b"abc", mtime=0), b""),
        (1, b"no gzip", b"gzip"),
        (1, gzip.compress(b"abc" * 100, mtime=0)[:-9], b"gzip"),
        (1, gzip.compress(b"abc", mtime=0) + b"junk", b"gzip"),
        (2, b"abc", b"gzip"),
        (0x80, b"", b""),
        (3, gzip.compress(b"abc", mtime=0), b"gzip"),
    ],
)
def test_flags_and_bytes_that_break_the_rules_are_internal(flags: int, data: bytes, coding: bytes) -> None:
    for fault in (Malformed, BadUpstream):
        with pytest.raises(fault) as caught:
            open_message(flags, data, coding, 1000, fault)
        assert caught.value.status.code is Code.INTERNAL


def test_a_decompression_bomb_stops_at_the_limit_with_flat_memory() -> None:
    bomb = gzip.compress(bytes(64 << 20), 1)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge) as caught:
            open_message(1, bomb, b"gzip", 1 << 20, Malformed)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.status.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("value", "coding"),
    [(None, b""), (b"identity", b""), (b"", b""), (b"gzip", b"gzip"), (b" GZIP ", b"gzip"), (b"snappy", None)],
)
def test_a_coding_is_named_or_not_offered(value: bytes | None, coding: bytes | None) -> None:
    assert named_coding(value, (b"gzip",)) == coding


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, b""),
        (b"identity, deflate, gzip", b"gzip"),
        (b"br,gzip", b"br"),
        (b"gzip;q=0, br;q=0.5", b"br"),
        (b"gzip;q=0.0", b""),
        (b"gzip;q=1", b"gzip"),
        (b"zstd", b""),
    ],
)
def test_the_first_offered_coding_of_a_list_is_taken(value: bytes | None, coding: bytes) -> None:
    assert accepted_coding(value, (b"gzip", b"br")) == coding
