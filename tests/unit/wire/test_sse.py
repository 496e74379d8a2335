from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BodyTooLarge
from protogw.wire.sse import HEARTBEAT, Event, SseReader, event


def read(data: bytes, cut: int = 1_000, limit: int = 1_000) -> list[Event]:
    reader = SseReader(limit)
    return [one for at in range(0, len(data), cut) for one in reader.feed(data[at : at + cut])]


def test_an_event_is_its_data_and_a_blank_line() -> None:
    assert event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert event(b"{}", b"end") == b"event: end\ndata: {}\n\n"


def test_line_ends_in_the_data_do_not_end_the_event() -> None:
    assert event(b"a\nb\r\nc\rd") == b"data: a\ndata: b\ndata: c\ndata: d\n\n"


def test_a_heartbeat_is_no_event() -> None:
    assert read(HEARTBEAT + event(b"1") + HEARTBEAT) == [Event(b"message", b"1", b"")]


@pytest.mark.parametrize("cut", range(1, 12))
def test_events_are_read_however_they_are_cut(cut: int) -> None:
    stream = (
        b"\xef\xbb\xbf: hello\r\n\r\ndata: one\r\n\r\nevent: x\rdata:two\rdata:  three\rid: 7\r\r"
        b"data\n\nretry: 5\nevent: lost\n\nid: a\0b\ndata: four\n\ndata: never ended"
    )
    assert read(stream, cut) == [
        Event(b"message", b"one", b""),
        Event(b"x", b"two\n three", b"7"),
        Event(b"message", b"", b"7"),
        Event(b"message", b"four", b"7"),
    ]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 101, b"data: 12345678\n" * 20, b"x" * 200])
@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_an_event_over_the_limit_is_refused(stream: bytes, cut: int) -> None:
    with pytest.raises(BodyTooLarge):
        read(stream, cut, limit=100)


@given(
    st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=20), max_size=5),
    st.integers(1, 9),
)
def test_what_is_written_is_read_back(texts: list[str], cut: int) -> None:
    stream = b"".join(event(text.encode()) for text in texts)
    assert [one.data.decode() for one in read(stream, cut)] == texts
