from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BodyTooLarge
from protogw.wire.ndjson import NdjsonReader, line


def read(data: bytes, cut: int = 1_000, limit: int = 100) -> list[bytes]:
    reader = NdjsonReader(limit)
    found = [one for at in range(0, len(data), cut) for one in reader.feed(data[at : at + cut])]
    return found + reader.end()


def test_a_value_is_a_line() -> None:
    assert line(b'{"a":1}') == b'{"a":1}\n'


def test_line_ends_in_json_become_spaces() -> None:
    assert line(b'{\r\n"a": "\\n"\n}') == b'{  "a": "\\n" }\n'


@pytest.mark.parametrize("cut", range(1, 8))
def test_lines_are_read_however_they_are_cut(cut: int) -> None:
    assert read(b'{"a":1}\r\n\n  \n 2 \n"last"', cut) == [b'{"a":1}', b"2", b'"last"']


@pytest.mark.parametrize("cut", [1, 7, 1_000])
@pytest.mark.parametrize("data", [b"x" * 101, b"x" * 101 + b"\n", b"1\n" + b"x" * 101])
def test_a_line_over_the_limit_is_refused(data: bytes, cut: int) -> None:
    with pytest.raises(BodyTooLarge):
        read(data, cut)


def test_byte_by_byte_takes_linear_time() -> None:
    assert read(b"x" * 200_000, 1, limit=1 << 20) == [b"x" * 200_000]


@given(
    st.lists(st.binary(min_size=1, max_size=20).map(lambda data: b"[" + data.translate(None, b"\r\n") + b"]")),
    st.integers(1, 9),
)
def test_what_is_written_is_read_back(values: list[bytes], cut: int) -> None:
    assert read(b"".join(line(value) for value in values), cut) == values
