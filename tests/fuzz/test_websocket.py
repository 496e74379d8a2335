"""The frame reader beside that of the websockets package: the same bytes, the same messages, the same verdict."""

from __future__ import annotations

import zlib
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close as TheirClose
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State

from protogw.errors import InvalidRequest, NotOffered
from protogw.wire.http import HTTP_1_1, HTTP_2, RequestHead
from protogw.wire.websocket import CLOSE, PING, Close, Control, Deflater, Event, Inflater, Reader, SocketFault, Writer
from protogw.wire.websocket_handshake import asked

LIMIT = 2000


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def framed(first: int, payload: bytes, *, mask: bytes | None) -> bytes:
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    head = bytes((first, bit | size)) if size < 126 else bytes((first, bit | 126)) + size.to_bytes(2, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


texts = st.text(max_size=40).map(str.encode)
payloads = st.one_of(texts, st.binary(max_size=150), st.just(b""), texts.map(packed), st.just(b"x" * 1900))
firsts = st.one_of(
    st.sampled_from((0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0xC2, 0x41)), st.integers(0, 255)
)
closes = st.builds(lambda code, reason: code.to_bytes(2, "big") + reason, st.integers(0, 5100), st.binary(max_size=10))
frames = st.one_of(
    st.tuples(firsts, payloads), st.tuples(st.just(0x88), closes), st.tuples(st.sampled_from((0x81, 0x82)), payloads)
)


def ours(pieces: list[bytes], masked: bool, deflate: bool) -> tuple[list[Any], int]:
    reader = Reader(masked=masked, message_bytes=LIMIT, inflater=Inflater(keeps=False) if deflate else None)
    found: list[Any] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not None:
                found.append(_shown(event))
                if isinstance(event, Close):
                    return found, 0
    except SocketFault as fault:
        return found, fault.code
    return found, 0


def _shown(event: Event) -> Any:
    if isinstance(event, Close):
        return "close", event.code, event.reason
    if isinstance(event, Control):
        return "ping" if event.opcode == PING else "pong", event.payload
    return event


def theirs(pieces: list[bytes], masked: bool, deflate: bool) -> tuple[list[Any], int]:
    protocol = Protocol(SERVER if masked else CLIENT, state=State.OPEN, max_size=LIMIT)
    if deflate:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    for piece in pieces:
        protocol.receive_data(piece)
    found: list[Any] = []
    parts: list[bytes] = []
    text = False
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            found.append(("ping" if frame.opcode is Opcode.PING else "pong", bytes(frame.data)))
        elif frame.opcode is Opcode.CLOSE:
            said = TheirClose.parse(frame.data)
            found.append(("close", said.code, said.reason))
        else:
            if frame.opcode is not Opcode.CONT:
                parts, text = [], frame.opcode is Opcode.TEXT
            parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(parts)
                if text:
                    try:
                        found.append(whole.decode())
                    except UnicodeDecodeError:  # that layer leaves text to its caller
                        return found, 1007
                else:
                    found.append(whole)
    failed = protocol.parser_exc is not None and protocol.close_sent is not None
    return found, protocol.close_sent.code if failed and protocol.close_sent is not None else 0


@given(st.lists(frames, max_size=8), st.booleans(), st.booleans(), st.lists(st.integers(1, 60), max_size=20))
@example([(0x42, b""), (0x00, b""), (0x80, b"")], True, True, [])
def test_frames_mean_what_websockets_says_they_mean(
    sent: list[tuple[int, bytes]], masked: bool, deflate: bool, cuts: list[int]
) -> None:
    data = b"".join([framed(first, payload, mask=b"\x01\x80\x00\xfe" if masked else None) for first, payload in sent])
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    pieces.append(data)
    pieces = [piece for piece in pieces if piece]
    found, fault = ours(pieces, masked, deflate)
    expected, verdict = theirs(pieces, masked, deflate)
    if 1007 in (fault, verdict):
        # Text in fragments is judged by us as it comes, so what follows the bad fragment may or may not be seen.
        assert fault
        assert expected[: len(found)] == found or found[: len(expected)] == expected
    else:
        assert found == expected
        assert (fault == 0) is (verdict == 0)
        if fault and not deflate:
            assert fault == verdict


@given(st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=10), st.booleans(), st.booleans())
def test_what_we_write_is_what_websockets_reads(messages: list[str | bytes], masked: bool, deflate: bool) -> None:
    deflater = Deflater(keeps=False) if deflate else None
    writer = Writer(masked=masked, deflater=deflater, deflate_above=20)
    sent = [writer.text(part) if isinstance(part, str) else writer.frame(2, part) for part in messages]
    found, fault = theirs(sent, masked, deflate)
    assert (found, fault) == (messages, 0)


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_do_more_than_fail(data: bytes, masked: bool) -> None:
    reader = Reader(masked=masked, message_bytes=100, inflater=Inflater(keeps=True))
    reader.feed(data)
    code = 0
    try:
        while (event := reader.next()) is not None:
            if isinstance(event, (str, bytes)):
                assert len(event) <= 100
            else:
                assert isinstance(event, Close) or event.opcode > CLOSE
    except SocketFault as fault:
        code = fault.code
    assert code in (0, 1002, 1007, 1009)


NAMES = ("sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-extensions")
values = st.one_of(
    st.binary(max_size=40),
    st.sampled_from((b"13", b"dGhlIHNhbXBsZSBub25jZQ==", b"chat, a", b"permessage-deflate; client_max_window_bits")),
    st.lists(
        st.sampled_from((b"permessage-deflate", b"; server_max_window_bits=", b"9", b"15", b'"', b"=", b",", b"x"))
    ).map(b"".join),
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=6), st.sampled_from((HTTP_1_1, HTTP_2)))
def test_no_handshake_is_more_than_granted_or_refused(fields: list[tuple[str, bytes]], version: int) -> None:
    headers = tuple((name.encode(), value) for name, value in fields)
    head = RequestHead(b"GET", b"/", b"", b"a", headers, version, upgrade=b"websocket")
    status = 101
    try:
        granted = asked(head, subprotocols=("a", "chat"), deflate=True)
    except (InvalidRequest, NotOffered) as error:
        status = error.http_status or 0
    else:
        assert all(b"\r" not in value and b"\n" not in value for _, value in granted.fields)
        assert (head.get_all(b"sec-websocket-version"), granted.subprotocol in ("", "a", "chat")) == ([b"13"], True)
    assert status in (101, 400, 426)
