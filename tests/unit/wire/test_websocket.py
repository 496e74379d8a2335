"""Frames as they are on the wire: what becomes a message, and what fails the connection with which code."""

from __future__ import annotations

import zlib

import pytest

from protogw.wire.websocket import (
    ABNORMAL,
    BINARY,
    CLOSE,
    INVALID_DATA,
    NO_STATUS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Close,
    Control,
    Deflater,
    Event,
    Inflater,
    Reader,
    SocketFault,
    Writer,
)

MASK = b"\x01\x02\x03\x04"


def frame(first: int, payload: bytes = b"", *, mask: bytes = b"") -> bytes:
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + payload


def events(*pieces: bytes, masked: bool = False, limit: int = 1 << 20, inflater: Inflater | None = None) -> list[Event]:
    reader = Reader(masked=masked, message_bytes=limit, inflater=inflater)
    found: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            found.append(event)
    return found


def fault(*pieces: bytes, masked: bool = False, limit: int = 1000, inflater: Inflater | None = None) -> int:
    with pytest.raises(SocketFault) as caught:
        events(*pieces, masked=masked, limit=limit, inflater=inflater)
    assert caught.value.reason
    return caught.value.code


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
@pytest.mark.parametrize("masked", [True, False])
def test_messages_of_every_length_form_come_through(size: int, masked: bool) -> None:
    writer = Writer(masked=masked)
    sent = writer.text("é" * (size // 2)) + writer.frame(BINARY, b"\xff" * size)
    assert events(sent, masked=masked) == ["é" * (size // 2), b"\xff" * size]


def test_frames_cut_into_single_bytes_are_the_same_frames() -> None:
    sent = frame(0x01, b"he", mask=MASK) + frame(0x89, b"p", mask=MASK) + frame(0x80, b"llo", mask=MASK)
    sent += frame(0x82, b"x" * 300, mask=MASK) + frame(0x88, b"\x03\xe8bye", mask=MASK)
    whole = events(sent, masked=True)
    assert [type(event) for event in whole] == [Control, str, bytes, Close]
    pieces = events(*[sent[at : at + 1] for at in range(len(sent))], masked=True)
    assert [str(event) for event in pieces if isinstance(event, (str, bytes))] == ["hello", str(b"x" * 300)]
    assert len(pieces) == 4


def test_a_reader_knows_whether_it_is_between_messages() -> None:
    reader = Reader(masked=False, message_bytes=100)
    assert reader.empty
    for piece in (b"\x01", b"\x02a", b"b"):
        reader.feed(piece)
        assert reader.next() is None
        assert not reader.empty
    reader.feed(frame(0x80))
    assert reader.next() == "ab"
    assert reader.empty


def test_empty_fragments_are_no_part_of_the_message() -> None:
    assert events(frame(0x02), frame(0x00) * 1000, frame(0x80)) == [b""]
    assert events(frame(0x01), frame(0x00, b"a"), frame(0x80)) == ["a"]


def test_control_frames_say_what_they_say() -> None:
    ping, pong, close = events(frame(0x89, b"1"), frame(0x8A, b"2"), frame(0x88, b"\x0f\xa1why"))
    assert isinstance(ping, Control)
    assert (ping.opcode, ping.payload) == (PING, b"1")
    assert isinstance(pong, Control)
    assert (pong.opcode, pong.payload) == (PONG, b"2")
    assert isinstance(close, Close)
    assert (close.code, close.reason) == (4001, "why")
    (bare,) = events(frame(0x88))
    assert isinstance(bare, Close)
    assert (bare.code, bare.reason) == (NO_STATUS, "")


@pytest.mark.parametrize(
    "sent",
    [
        frame(0x81, b"a", mask=MASK),
        *[frame(0x80 | opcode) for opcode in (0x3, 0x4, 0x7, 0xB, 0xF)],
        *[frame(0x81 | bit) for bit in (0x10, 0x20, 0x40)],
        frame(0x09, b"fragment"),
        frame(0x89, b"x" * 126),
        frame(0x80, b"x"),
        frame(0x00, b"x"),
        frame(0x01, b"x") + frame(0x81, b"y"),
        frame(0x01, b"x") + frame(0x01, b"y"),
        frame(0x88, b"\x03"),
        *[frame(0x88, code.to_bytes(2, "big")) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)],
        b"\x81\x7e\x00\x05hello",
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello",
        b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_breaks_the_protocol_fails_with_1002(sent: bytes) -> None:
    assert fault(sent) == PROTOCOL_ERROR


def test_a_client_must_mask() -> None:
    assert fault(frame(0x81, b"a"), masked=True) == PROTOCOL_ERROR


def test_a_bad_frame_is_refused_before_its_header_is_whole() -> None:
    assert fault(b"\x83\x7e") == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "sent",
    [
        frame(0x81, b"\xff"),
        frame(0x81, b"\xed\xa0\x80"),
        frame(0x81, b"\xf4\x90\x80\x80"),
        frame(0x81, b"\xc3"),
        frame(0x01, b"\xc3") + frame(0x80),
        frame(0x01, b"\xff"),
        frame(0x88, b"\x03\xe8\xff"),
    ],
)
def test_text_that_is_not_utf_8_fails_with_1007(sent: bytes) -> None:
    assert fault(sent) == INVALID_DATA


def test_a_character_may_be_split_over_fragments() -> None:
    assert events(frame(0x01, b"\xf0\x9f"), frame(0x00, b"\x98"), frame(0x80, b"\x80")) == ["😀"]


def test_what_came_before_a_fault_is_still_there() -> None:
    reader = Reader(masked=False, message_bytes=100)
    reader.feed(frame(0x81, b"ok") + frame(0x83))
    assert reader.next() == "ok"
    with pytest.raises(SocketFault):
        reader.next()


def test_a_message_over_the_limit_is_refused_by_its_header() -> None:
    assert events(frame(0x82, b"x" * 100), limit=100) == [b"x" * 100]
    assert fault(b"\x82\x7e\x00\x80", limit=100) == TOO_BIG
    assert fault(b"\x82\x7f" + (1 << 62).to_bytes(8, "big"), limit=100) == TOO_BIG
    assert fault(frame(0x02, b"x" * 60), frame(0x89), frame(0x80, b"x" * 41), limit=100) == TOO_BIG
    assert fault(frame(0x02, b"x" * 60), frame(0x00, b"x" * 41), limit=100) == TOO_BIG
    control = events(frame(0x02, b"x" * 100), frame(0x89, b"x" * 125), frame(0x80), limit=100)
    assert control[-1] == b"x" * 100


# --- compressed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_compressed_messages_come_through(keeps: bool) -> None:
    writer = Writer(masked=False, deflater=Deflater(keeps=keeps), deflate_above=10)
    texts = ["short", "long " * 100, "long " * 100, ""]
    frames = [writer.text(text) for text in texts]
    assert [sent[0] for sent in frames] == [0x81, 0xC1, 0xC1, 0x81]
    assert (len(frames[2]) < len(frames[1])) is keeps
    assert events(*frames, inflater=Inflater(keeps=keeps)) == texts


def test_a_window_that_the_peer_asked_for_is_kept_to() -> None:
    writer = Writer(masked=False, deflater=Deflater(keeps=False, bits=9))
    data = bytes(range(256)) * 40
    sent = writer.frame(BINARY, data)
    unpacker = zlib.decompressobj(wbits=-9)
    assert unpacker.decompress(sent[4:] + b"\x00\x00\xff\xff") == data


def test_a_compressed_message_in_fragments_is_one_stream() -> None:
    data = packed("wörd ".encode() * 500)
    sent = frame(0x41, data[:10]) + frame(0x89) + frame(0x00, data[10:11]) + frame(0x80, data[11:])
    assert events(sent, inflater=Inflater(keeps=False))[-1] == "wörd " * 500


def test_a_last_block_within_a_message_is_allowed() -> None:
    """The example of RFC 7692 section 7.2.3.4."""
    assert events(frame(0xC1, bytes.fromhex("f348cdc9c9070000")), inflater=Inflater(keeps=False)) == ["Hello"]


def test_what_unpacks_to_more_than_the_limit_is_refused_and_not_unpacked() -> None:
    bomb = packed(bytes(1 << 24))
    assert len(bomb) < 20_000
    assert fault(frame(0xC2, bomb), limit=20_000, inflater=Inflater(keeps=False)) == TOO_BIG
    half = len(bomb) // 2
    assert fault(frame(0x42, bomb[:half]), frame(0x80, bomb[half:]), limit=20_000, inflater=Inflater(keeps=True)) == (
        TOO_BIG
    )


def test_a_message_of_exactly_the_limit_may_be_one_that_does_not_pack() -> None:
    data = b"".join([(i * 2654435761 % (1 << 32)).to_bytes(4, "big") for i in range(250)])
    sent = frame(0xC2, packed(data))
    assert len(sent) > 1004
    assert events(sent, limit=1000, inflater=Inflater(keeps=False)) == [data]
    assert fault(sent, limit=999, inflater=Inflater(keeps=False)) == TOO_BIG


def test_the_limit_counts_what_fragments_unpack_to() -> None:
    part = packed(b"x" * 600)
    packer = zlib.compressobj(wbits=-15)
    first = packer.compress(b"x" * 600) + packer.flush(zlib.Z_SYNC_FLUSH)
    second = (packer.compress(b"x" * 600) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert fault(frame(0x42, first), frame(0x80, second), inflater=Inflater(keeps=False)) == TOO_BIG
    assert events(frame(0xC2, part) * 2, limit=1000, inflater=Inflater(keeps=False)) == [b"x" * 600] * 2


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06\x00", packed(b"x" * 100)[:-3] + b"\xff\xff\xff\xff"])
def test_what_is_not_compressed_as_it_says_fails(data: bytes) -> None:
    assert fault(frame(0xC2, data), inflater=Inflater(keeps=False)) == INVALID_DATA


@pytest.mark.parametrize("sent", [frame(0xC9), frame(0x02, b"") + frame(0xC0), frame(0x42, b"") + frame(0xC0)])
def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(sent: bytes) -> None:
    assert fault(sent, inflater=Inflater(keeps=False)) == PROTOCOL_ERROR


# --- written ----------------------------------------------------------------------------------------------------------


def test_a_client_masks_each_frame_anew() -> None:
    writer = Writer(masked=True)
    first, second = writer.frame(TEXT, b"hello"), writer.frame(TEXT, b"hello")
    assert first[:2] == second[:2] == b"\x81\x85"
    assert first != second


def test_a_close_has_room_for_123_bytes_of_reason_cut_at_a_character() -> None:
    (close,) = events(Writer(masked=False).close(1001, "é" * 100))
    assert isinstance(close, Close)
    assert (close.code, close.reason) == (1001, "é" * 61)
    assert Writer(masked=False).close(NO_STATUS, "x") == bytes((0x80 | CLOSE, 0))


def test_codes_that_mean_no_close_are_known() -> None:
    assert (NO_STATUS, ABNORMAL) == (1005, 1006)
