"""The other end of an HTTP/2 connection in memory: frames by hand, in and out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import hpack

from protogw.wire import http2
from protogw.wire.hpack import encode_integer
from protogw.wire.http import Header
from protogw.wire.http2 import END_STREAM, ErrorCode
from tests.support.transport import MemoryTransport

GET: tuple[Header, ...] = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/a"),
    (b":authority", b"h.test"),
)
POST: tuple[Header, ...] = ((b":method", b"POST"), *GET[1:])
OK: tuple[Header, ...] = ((b":status", b"200"),)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def block(fields: Iterable[Header]) -> bytes:
    """A header block that neither uses nor changes the table, whatever the fields are."""
    parts = []
    for name, value in fields:
        parts.append(b"\x00" + encode_integer(len(name), 7) + name + encode_integer(len(value), 7) + value)
    return b"".join(parts)


def headers(stream: int, fields: Iterable[Header], *, end: bool = False) -> bytes:
    return http2.headers_frames(stream, END_STREAM if end else 0, block(fields), 1 << 14)


def data(stream: int, piece: bytes, *, end: bool = False) -> bytes:
    return http2.frame(http2.DATA, END_STREAM if end else 0, stream, piece)


def settings(*pairs: tuple[int, int]) -> bytes:
    return http2.settings_frame(pairs)


class Frames:
    """What the connection under test has sent: frames, and header blocks decoded in order."""

    def __init__(self, transport: MemoryTransport, *, preface: bool = False) -> None:
        self.transport = transport
        self._decoder = hpack.Decoder(1 << 20)
        self._rest = b""
        self._preface = preface

    def take(self) -> list[Frame]:
        """The frames since the last time."""
        sent = self._rest + self.transport.take()
        if self._preface and sent:
            assert sent.startswith(http2.PREFACE)
            sent = sent[len(http2.PREFACE) :]
            self._preface = False
        frames = []
        while len(sent) >= 9:
            high, low, kind, flags, stream = http2.unpack_head(sent, 0)
            size = high << 8 | low
            if len(sent) < 9 + size:
                break
            frames.append(Frame(kind, flags, stream, sent[9 : 9 + size]))
            sent = sent[9 + size :]
        self._rest = sent
        return frames

    def said(self) -> list[str]:
        """The same in words, settings and their acknowledgement left out, so that tests read as transcripts."""
        words = []
        fragments = b""
        for frame in self.take():
            end = " END_STREAM" if frame.flags & END_STREAM else ""
            if frame.kind in (http2.HEADERS, http2.CONTINUATION):
                fragments += frame.payload
                if frame.flags & http2.END_HEADERS:
                    fields = self._decoder.decode(fragments, raw=True)
                    fragments = b""
                    shown = ", ".join(f"{n.decode()}: {v.decode()}" for n, v in fields if n != b"date")
                    words.append(f"{frame.stream} HEADERS {shown}{end}")
            elif frame.kind == http2.DATA:
                shown = frame.payload.decode() if len(frame.payload) < 40 else f"{len(frame.payload)} bytes"
                words.append(f"{frame.stream} DATA {shown}{end}")
            elif frame.kind == http2.RST_STREAM:
                words.append(f"{frame.stream} RST_STREAM {ErrorCode(int.from_bytes(frame.payload, 'big')).name}")
            elif frame.kind == http2.GOAWAY:
                last, code = struct.unpack(">LL", frame.payload[:8])
                words.append(f"GOAWAY {last} {ErrorCode(code).name}")
            elif frame.kind == http2.WINDOW_UPDATE:
                words.append(f"{frame.stream} WINDOW_UPDATE {int.from_bytes(frame.payload, 'big')}")
            elif frame.kind == http2.PING:
                words.append("PING ACK" if frame.flags & http2.ACK else "PING")
        return words


def answered(words: Sequence[str], stream: int = 1) -> bool:
    return any(word.startswith(f"{stream} HEADERS :status: 200") for word in words)
