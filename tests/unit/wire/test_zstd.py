"""zstd as a content coding: what is refused, and that nothing grows beyond its limit."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BodyTooLarge, InvalidRequest
from protogw.wire import zstd
from protogw.wire.content import decompress
from protogw.wire.zstd import ZstdDecoder, ZstdEncoder, compress

MAGIC = bytes.fromhex("28b52ffd")
HELLO = compress(b"hello")


def skippable(content: bytes, kind: int = 0) -> bytes:
    """RFC 8878 section 3.1.2."""
    return bytes((0x50 + kind,)) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def windowed(exponent: int, blocks: bytes = b"\x29\0\0hello") -> bytes:
    """A frame that says that its window has 1 KiB << exponent (section 3.1.1.1.2); one raw block."""
    return MAGIC + bytes((0, exponent << 3)) + blocks


def in_pieces(body: bytes, cut: int, room: int) -> bytes:
    reader = ZstdDecoder()
    out = b""
    for at in range(0, len(body), cut):
        piece = reader.decode(body[at : at + cut], room)
        assert len(piece) <= room
        out += piece
        while reader.pending:
            out += reader.decode(b"", room)
    reader.end()
    return out


FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda data: (compress(data), data)),
        st.tuples(st.binary(max_size=20), st.integers(0, 15)).map(lambda one: (skippable(*one), b"")),
        st.integers(1, 200_000).map(lambda many: (compress(b"ab" * many), b"ab" * many)),
    ),
    max_size=8,
)


@given(FRAMES, st.integers(1, 200_000), st.integers(1000, 70_000))
def test_frames_of_any_kind_are_one_body_in_any_pieces(frames: list[tuple[bytes, bytes]], cut: int, room: int) -> None:
    body, plain = b"".join(frame for frame, _ in frames), b"".join(data for _, data in frames)
    assert decompress(body, b"zstd", max(1, len(plain))) == plain
    assert in_pieces(body, max(cut, len(body) // 50), room) == plain


def test_pieces_of_one_byte_are_enough() -> None:
    assert in_pieces(skippable(b"xyz") + HELLO + skippable(b"") + HELLO, 1, 1) == b"hellohello"


def test_a_frame_that_ends_within_what_was_kept_is_followed_by_the_next() -> None:
    """With too little room, the decoder keeps input; the next frame's beginning may be in it."""
    plain = bytes(300_000)
    body = compress(plain) + HELLO + compress(plain)
    reader = ZstdDecoder()
    out = [reader.decode(body[:-5], 1000)]
    while reader.pending:
        out.append(reader.decode(b"", 1000))
    out.append(reader.decode(body[-5:], 1 << 20))
    reader.end()
    assert b"".join(out) == plain + b"hello" + plain


@pytest.mark.parametrize(
    "body",
    [
        b"not zstd at all",
        HELLO[:-1],
        HELLO[:3],
        HELLO + b"junk",
        HELLO + b"\x28",
        HELLO + b"\0" * 100,
        skippable(b"abc")[:-1],
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        compress(b"x" * 1000)[:-3] + b"\xff\xff\xff",
        MAGIC + b"\xff" * 60,
        # A dictionary that nobody has.
        MAGIC + b"\x01\x00\x07\x29\0\0hello",
        # A reserved block type.
        windowed(0, b"\x2f\0\0hello"),
        # zstd as it was before its format was settled.
        b"\x27\xb5\x2f\xfd" + HELLO[4:],
    ],
)
def test_a_broken_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decompress(body, b"zstd", 10_000)


def test_a_wrong_checksum_is_refused() -> None:
    parameter = zstd.zstd.CompressionParameter
    body = zstd.zstd.compress(b"hello", options={parameter.checksum_flag: 1})
    assert decompress(body, b"zstd", 5) == b"hello"
    with pytest.raises(InvalidRequest, match="checksum"):
        decompress(body[:-4] + bytes(byte ^ 1 for byte in body[-4:]), b"zstd", 5)


def test_a_window_of_8_mib_is_the_largest() -> None:
    assert decompress(windowed(13), b"zstd", 5) == b"hello"
    for exponent in (14, 20, 31):
        with pytest.raises(InvalidRequest, match="window"):
            decompress(windowed(exponent), b"zstd", 5)


def test_a_size_that_is_only_claimed_takes_no_memory() -> None:
    body = MAGIC + b"\xe0" + (1 << 40).to_bytes(8, "little") + b"\x29\0\0hello"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest):
            decompress(body, b"zstd", 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("frame", [compress(b""), skippable(b""), skippable(b"x" * 1000)])
def test_frames_that_hold_nothing_come_to_an_end(frame: bytes) -> None:
    assert decompress(frame * 64, b"zstd", 10) == b""
    with pytest.raises(InvalidRequest, match="more than 64 zstd frames"):
        decompress(frame * 100_000, b"zstd", 10)


def test_a_bomb_of_several_frames_stops_at_the_limit_of_all() -> None:
    body = compress(bytes(1 << 20)) * 10
    assert len(decompress(body, b"zstd", 10 << 20)) == 10 << 20
    with pytest.raises(BodyTooLarge):
        decompress(body, b"zstd", (10 << 20) - 1)


@pytest.mark.parametrize("level", [1, 3, 9])
def test_what_is_encoded_keeps_to_the_window_that_all_may_read(level: int) -> None:
    plain = b"".join(b"%d " % number for number in range(500_000))
    assert decompress(compress(plain, level), b"zstd", len(plain)) == plain
    writer = ZstdEncoder(level)
    body = b"".join(writer.encode(plain[at : at + 100_000]) for at in range(0, len(plain), 100_000)) + writer.end()
    assert decompress(body, b"zstd", len(plain)) == plain
