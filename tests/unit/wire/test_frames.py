"""Messages of a socket are counted however its bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from protogw.wire.frames import Frames

SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000])
FRAMES = st.lists(st.tuples(st.sampled_from(list(Opcode)), SIZES, st.booleans(), st.booleans()), max_size=6)


@given(FRAMES, st.data())
def test_each_message_counts_once_however_its_bytes_are_cut(
    frames: list[tuple[Opcode, int, bool, bool]], data: st.DataObject
) -> None:
    written = b"".join(
        Frame(opcode, bytes(size if opcode < 8 else min(size, 125)), fin or opcode >= 8).serialize(mask=mask)
        for opcode, size, fin, mask in frames
    )
    ends = data.draw(st.lists(st.integers(0, len(written)), max_size=8).map(sorted))
    counter = Frames()
    pieces = [written[start:end] for start, end in zip([0, *ends], [*ends, len(written)], strict=True)]
    messages = sum(opcode in (Opcode.TEXT, Opcode.BINARY) for opcode, *_ in frames)
    assert sum(counter.begun(piece) for piece in pieces) == messages


@given(st.binary(max_size=100))
def test_bytes_that_are_no_frames_are_passed_over(data: bytes) -> None:
    counter = Frames()
    assert 0 <= sum(counter.begun(bytes((byte,))) for byte in data) <= len(data)


def test_a_message_is_counted_before_it_is_whole() -> None:
    counter = Frames()
    assert counter.begun(b"\x81") == 0
    assert counter.begun(b"\xff" + b"\xff" * 8 + b"mask" + b"x" * 1000) == 1
    assert counter.begun(b"\x81\x01" * 1000) == 0
