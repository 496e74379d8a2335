"""Trace context: what a field says, and that nothing a client sends there can break the reading of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.observe.trace_context import (
    Parent,
    new_span_id,
    new_trace_id,
    of_b3,
    of_traceparent,
    parent,
    trace_of,
    traceparent,
    unsampled,
)

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7
VALUE = b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


def test_a_traceparent_says_trace_span_and_whether_it_is_recorded() -> None:
    assert of_traceparent(VALUE) == Parent(TRACE, SPAN, True)
    assert of_traceparent(VALUE[:-2] + b"00") == Parent(TRACE, SPAN, False)
    assert of_traceparent(VALUE[:-2] + b"03") == Parent(TRACE, SPAN, True)


def test_a_later_version_may_say_more() -> None:
    assert of_traceparent(b"01" + VALUE[2:] + b"-what-comes-later") == Parent(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALUE[:-1],
        VALUE + b"-more",
        VALUE.upper(),
        b"ff" + VALUE[2:],
        b"00-" + b"0" * 32 + VALUE[35:],
        VALUE[:36] + b"0" * 16 + b"-01",
        VALUE.replace(b"0af", b"xyz"),
        b" " + VALUE,
        VALUE + b"\n",
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(value: bytes) -> None:
    assert of_traceparent(value) is None
    assert parent([(b"traceparent", value)]) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:
    written = traceparent(trace, span, sampled=sampled)
    assert of_traceparent(written) == Parent(trace, span, sampled)
    assert unsampled(written) is not sampled


@given(st.binary(max_size=80))
def test_any_bytes_are_read_without_a_fault(value: bytes) -> None:
    found = of_traceparent(value)
    if unsampled(value) and found is not None:
        assert not found.sampled
    of_b3(value)


def test_b3_is_read_only_where_it_is_wanted_and_after_a_traceparent() -> None:
    b3 = (b"b3", b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90")
    assert parent([b3]) is None
    assert parent([b3], b3=True) == Parent(0x80F198EE56343BA864FE8B2A57D3EFF7, 0xE457B5A2E4D86BD1, True)
    assert parent([b3, (b"traceparent", VALUE)], b3=True) == Parent(TRACE, SPAN, True)


IDS = ((b"x-b3-traceid", b"80f198ee56343ba864fe8b2a57d3eff7"), (b"x-b3-spanid", b"e457b5a2e4d86bd1"))


@pytest.mark.parametrize(
    ("fields", "sampled"),
    [
        (((b"x-b3-sampled", b"1"),), True),
        (((b"x-b3-sampled", b"true"), (b"x-b3-parentspanid", b"05e3ac9a4f6e3b90")), True),
        (((b"x-b3-flags", b"1"),), True),
        (((b"x-b3-sampled", b"0"),), False),
        (((b"x-b3-sampled", b"false"),), False),
        ((), False),
    ],
)
def test_b3_may_come_in_several_fields(fields: tuple[tuple[bytes, bytes], ...], sampled: bool) -> None:
    assert parent([*IDS, *fields]) is None
    assert parent([*fields, *IDS], b3=True) == Parent(0x80F198EE56343BA864FE8B2A57D3EFF7, 0xE457B5A2E4D86BD1, sampled)
    assert parent([*IDS, *fields, (b"traceparent", VALUE)], b3=True) == Parent(TRACE, SPAN, True)
    one = (b"b3", b"64fe8b2a57d3eff7-05e3ac9a4f6e3b90-1")
    assert parent([*IDS, *fields, one], b3=True) == Parent(0x64FE8B2A57D3EFF7, 0x05E3AC9A4F6E3B90, True)


@pytest.mark.parametrize("fields", [IDS[:1], IDS[1:], (*IDS, (b"x-b3-sampled", b"perhaps"))])
def test_half_of_b3_is_no_parent(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    assert parent(fields, b3=True) is None


@pytest.mark.parametrize(
    ("value", "sampled"),
    [(b"1", True), (b"d", True), (b"0", False)],
    ids=["yes", "debug", "no"],
)
def test_b3_says_whether_it_is_recorded(value: bytes, sampled: bool) -> None:
    found = of_b3(b"64fe8b2a57d3eff7-e457b5a2e4d86bd1-" + value)
    assert found is not None
    assert found.sampled is sampled


@pytest.mark.parametrize("value", [b"0", b"1", b"", b"0-0-1", b"0" * 16 + b"-" + b"1" * 16])
def test_b3_without_ids_is_no_parent(value: bytes) -> None:
    assert of_b3(value) is None


def test_ids_are_never_zero_and_never_the_same() -> None:
    assert len({new_trace_id() for _ in range(1000)} | {new_span_id() for _ in range(1000)}) == 2000


VALUES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda version, trace, span, flags, more: b"-".join((version, trace, span, flags)) + more,
        st.sampled_from([b"00", b"01", b"ff", b"0"]),
        st.text("0123456789abcdefAF-g", min_size=31, max_size=33).map(str.encode) | st.just(b"0" * 32),
        st.text("0123456789abcdef ", min_size=15, max_size=17).map(str.encode) | st.just(b"0" * 16),
        st.sampled_from([b"00", b"01", b"0g", b"1"]),
        st.sampled_from([b"", b"-more", b"x"]),
    ),
)


@given(VALUES)
def test_the_trace_is_the_one_that_is_read_at_length(value: bytes) -> None:
    found = of_traceparent(value)
    assert trace_of(value) == (f"{found.trace_id:032x}" if found is not None else "")
