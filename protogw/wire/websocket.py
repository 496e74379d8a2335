"""WebSocket frames to messages and back (RFC 6455 section 5), with messages compressed one by one (RFC 7692). Sans-I/O.

The reader takes one message out of what has arrived each time it is asked, so that what one packet may unpack to is
bounded by one message and not by the packet. A frame over the limit is refused by its header, before its payload.
"""

from __future__ import annotations

import codecs
import os
import struct
import zlib
from typing import TypeAlias

try:
    from websockets.speedups import apply_mask
except ImportError:  # no build for this platform
    from websockets.utils import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_CONTINUATION = 0x0
_FIN, _COMPRESSED, _RESERVED, _OPCODE = 0x80, 0x40, 0x30, 0x0F
_MASKED = 0x80

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
NO_STATUS, ABNORMAL = 1005, 1006
"""Codes that are never sent: a Close without one came, or none came at all."""

CONTROL_BYTES = 125
REASON_BYTES = CONTROL_BYTES - 2
_LARGEST_WINDOW_BITS = 15
_TAIL = b"\x00\x00\xff\xff"
"""The end of every compressed message, which stays off the wire (RFC 7692 section 7.2.1)."""
_HEADS = tuple(tuple(bytes((_FIN | opcode, size)) for size in range(126)) for opcode in range(16))

_pack_16, _pack_64, _pack_code = struct.Struct(">BBH").pack, struct.Struct(">BBQ").pack, struct.Struct(">H").pack
_unpack_16, _unpack_64 = struct.Struct(">H").unpack_from, struct.Struct(">Q").unpack_from


class SocketFault(Exception):
    """The peer breaks the protocol or a limit: the connection is to be failed with this code (section 7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Control:
    """A ping or a pong, by its opcode."""

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload


class Close:
    """The peer says that it sends no more, and why."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


Event: TypeAlias = str | bytes | Control | Close
"""A text message, a binary message, or what a control frame says."""


class Inflater:
    """Unpacks the peer's messages. Unless the peer keeps its window between them, nothing is held between them."""

    __slots__ = ("_bits", "_keeps", "_unpacker")

    def __init__(self, *, keeps: bool, bits: int = _LARGEST_WINDOW_BITS) -> None:
        self._keeps = keeps
        self._bits = bits
        self._unpacker: zlib._Decompress | None = None

    def unpack(self, data: bytes, last: bool, room: int) -> bytes:
        """The next part of a message, `last` with its end; raises SocketFault when it is larger than `room`."""
        unpacker = self._unpacker
        if unpacker is None:
            unpacker = zlib.decompressobj(wbits=-self._bits)
        if last:
            data += _TAIL
        parts = []
        try:
            while data:
                part = unpacker.decompress(data, room + 1)
                room -= len(part)
                if room < 0 or unpacker.unconsumed_tail:
                    raise SocketFault(TOO_BIG, "the message is over the limit once unpacked")
                parts.append(part)
                data = unpacker.unused_data
                if unpacker.eof:  # a last block in the middle of it, which is allowed (RFC 7692 section 7.2.3.4)
                    unpacker = zlib.decompressobj(wbits=-self._bits)
                    if len(parts) > _MOST_LAST_BLOCKS:
                        raise SocketFault(INVALID_DATA, "the message is not compressed as it says")
        except zlib.error as error:
            raise SocketFault(INVALID_DATA, "the message is not compressed as it says") from error
        self._unpacker = None if last and not self._keeps else unpacker
        return parts[0] if len(parts) == 1 else b"".join(parts)


_MOST_LAST_BLOCKS = 64


class Deflater:
    """Packs our messages. Unless the window is kept between them, nothing is held between them."""

    __slots__ = ("_bits", "_keeps", "_packer")

    def __init__(self, *, keeps: bool, bits: int = _LARGEST_WINDOW_BITS) -> None:
        self._keeps = keeps
        self._bits = bits
        self._packer: zlib._Compress | None = None

    def pack(self, data: bytes) -> bytes:
        packer = self._packer
        if packer is None:
            packer = zlib.compressobj(_LEVEL, wbits=-self._bits, memLevel=_MEMORY_LEVEL)
            if self._keeps:
                self._packer = packer
        packed = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
        return packed[: -len(_TAIL)]


_LEVEL, _MEMORY_LEVEL = 1, 5
"""What is sent once is packed fast and in little memory: 6 % larger than by zlib's defaults, in 2/3 of the time."""


class Reader:
    """The peer's frames as events. `masked` says that the peer is a client, whose frames are masked and no others'."""

    __slots__ = (
        "_at",
        "_collected",
        "_compressed",
        "_data",
        "_decoder",
        "_first",
        "_inflater",
        "_left",
        "_limit",
        "_mask",
        "_masked",
        "_parts",
        "_size",
        "_text",
    )

    def __init__(self, *, masked: bool, message_bytes: int, inflater: Inflater | None = None) -> None:
        self._masked = masked
        self._limit = message_bytes
        self._inflater = inflater
        self._data = b""
        self._at = 0
        # A frame whose payload has not all arrived.
        self._first = 0
        self._mask = b""
        self._left = -1
        self._collected = bytearray()
        # A message in fragments.
        self._parts: list[str | bytes] | None = None
        self._size = 0
        self._text = False
        self._compressed = False
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def empty(self) -> bool:
        """Nothing of a further message has arrived."""
        return self._at == len(self._data) and self._left < 0 and self._parts is None

    def feed(self, data: bytes) -> None:
        """Take in what has arrived. To be called when `next` has nothing."""
        rest = self._data[self._at :]
        self._data = rest + data if rest else data
        self._at = 0

    def next(self) -> Event | None:
        """The next event, or None when more must arrive first; raises SocketFault, after which there is nothing."""
        while True:
            data, at = self._data, self._at
            if self._left < 0:
                available = len(data) - at
                if available < 2:
                    return None
                first, second = data[at], data[at + 1]
                masked = second >= _MASKED
                size = second & 0x7F
                if (
                    masked is not self._masked
                    or (first != _WHOLE_TEXT and first != _WHOLE_BINARY)
                    or (self._parts is not None)
                ):
                    self._check(first, masked, size)
                begin = at + 2 if size < 126 else at + 4 if size == 126 else at + 10
                head = begin + 4 if masked else begin
                if len(data) < head:
                    return None
                if size == 126:
                    (size,) = _unpack_16(data, at + 2)
                    if size < 126:
                        raise SocketFault(PROTOCOL_ERROR, "a length that is not written the shortest way")
                elif size == 127:
                    (size,) = _unpack_64(data, at + 2)
                    if size < 1 << 16 or size >> 63:
                        raise SocketFault(PROTOCOL_ERROR, "a length that is not written the shortest way")
                if size > self._limit - self._size:
                    self._check_size(first, size)
                mask = data[begin:head] if masked else b""
                end = head + size
                if end > len(data):
                    self._first, self._mask = first, mask
                    self._collected = bytearray(data[head:])
                    self._left = end - len(data)
                    self._data, self._at = b"", 0
                    return None
                payload = data[head:end]
                self._at = end
            else:
                taken = data[at : at + self._left] if at or self._left < len(data) else data
                self._collected += taken
                self._left -= len(taken)
                self._at = at + len(taken)
                if self._left:
                    return None
                first, mask = self._first, self._mask
                payload = bytes(self._collected)
                self._collected = bytearray()
                self._left = -1
            if mask:
                payload = apply_mask(payload, mask)
            event = self._event(first, payload)
            if event is not None:
                return event

    def _check(self, first: int, masked: bool, size: int) -> None:
        """Refuse a frame by the first two bytes of its header."""
        opcode = first & _OPCODE
        if first & _RESERVED:
            raise SocketFault(PROTOCOL_ERROR, "a reserved bit is set")
        if first & _COMPRESSED and (self._inflater is None or opcode not in (TEXT, BINARY)):
            raise SocketFault(PROTOCOL_ERROR, "a frame that must not be compressed says that it is")
        if masked is not self._masked:
            raise SocketFault(PROTOCOL_ERROR, "a frame that is not masked" if self._masked else "a masked frame")
        if opcode in (TEXT, BINARY):
            if self._parts is not None:
                raise SocketFault(PROTOCOL_ERROR, "a message begins within another")
        elif opcode == _CONTINUATION:
            if self._parts is None:
                raise SocketFault(PROTOCOL_ERROR, "a continuation of nothing")
        elif opcode not in (CLOSE, PING, PONG):
            raise SocketFault(PROTOCOL_ERROR, f"opcode {opcode} is unknown")
        elif size > CONTROL_BYTES or not first & _FIN:
            raise SocketFault(PROTOCOL_ERROR, "a control frame that is fragmented or too long")

    def _check_size(self, first: int, size: int) -> None:
        """Refuse a frame that brings its message over the limit."""
        if first & _OPCODE >= CLOSE:
            return
        room = self._limit - self._size
        if first & _COMPRESSED or self._compressed:
            room += 64 + (room >> 8)  # what cannot be packed grows a little
        if size > room:
            raise SocketFault(TOO_BIG, f"the message is over the limit of {self._limit} bytes")

    def _event(self, first: int, payload: bytes) -> Event | None:
        if first == _WHOLE_TEXT:
            try:
                return payload.decode()
            except UnicodeDecodeError as error:
                raise SocketFault(INVALID_DATA, "text that is not UTF-8") from error
        if first == _WHOLE_BINARY:
            return payload
        opcode = first & _OPCODE
        if opcode >= CLOSE:
            return _close(payload) if opcode == CLOSE else Control(opcode, payload)
        return self._fragment(opcode, first & _FIN != 0, first & _COMPRESSED != 0, payload)

    def _fragment(self, opcode: int, last: bool, compressed: bool, payload: bytes) -> str | bytes | None:
        """A part of a message: the whole message with its last one. Bad text is found as soon as it has come."""
        if opcode != _CONTINUATION:
            self._parts = []
            self._text = opcode == TEXT
            self._compressed = compressed
            if self._text:
                self._decoder = _utf_8()
        parts = self._parts
        assert parts is not None
        if self._compressed:
            assert self._inflater is not None
            payload = self._inflater.unpack(payload, last, self._limit - self._size)
        self._size += len(payload)
        if self._text:
            assert self._decoder is not None
            try:
                text = self._decoder.decode(payload, last)
            except UnicodeDecodeError as error:
                raise SocketFault(INVALID_DATA, "text that is not UTF-8") from error
            if text:
                parts.append(text)
        elif payload:
            parts.append(payload)
        if not last:
            return None
        self._parts = None
        self._size = 0
        self._compressed = False
        self._decoder = None
        if len(parts) == 1:
            return parts[0]
        return "".join(parts) if self._text else b"".join(parts)  # type: ignore[arg-type]


_WHOLE_TEXT, _WHOLE_BINARY = _FIN | TEXT, _FIN | BINARY
_utf_8 = codecs.getincrementaldecoder("utf-8")


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_STATUS, "")
    if len(payload) == 1:
        raise SocketFault(PROTOCOL_ERROR, "a Close with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1014 and code not in (1004, NO_STATUS, ABNORMAL)) and not 3000 <= code <= 4999:
        raise SocketFault(PROTOCOL_ERROR, f"a Close with the code {code}, which has no place there")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError as error:
        raise SocketFault(INVALID_DATA, "a Close whose reason is not UTF-8") from error


class Writer:
    """Our messages as frames, one each. `masked` says that we are the client."""

    __slots__ = ("_deflate_above", "_deflater", "_masked")

    def __init__(self, *, masked: bool, deflater: Deflater | None = None, deflate_above: int = 0) -> None:
        self._masked = masked
        self._deflater = deflater
        self._deflate_above = deflate_above
        """Messages up to this size are not compressed."""

    def text(self, message: str) -> bytes:
        return self.frame(TEXT, message.encode())

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """A frame that is a whole message, or a control frame of at most CONTROL_BYTES."""
        size = len(payload)
        first = _FIN | opcode
        if self._deflater is not None and size > self._deflate_above and opcode < CLOSE:
            payload = self._deflater.pack(payload)
            size = len(payload)
            first |= _COMPRESSED
        elif size < 126 and not self._masked:
            return _HEADS[opcode][size] + payload
        bit = _MASKED if self._masked else 0
        if size < 126:
            head = bytes((first, bit | size))
        elif size < 1 << 16:
            head = _pack_16(first, bit | 126, size)
        else:
            head = _pack_64(first, bit | 127, size)
        if not bit:
            return head + payload
        mask = os.urandom(4)
        return head + mask + apply_mask(payload, mask)

    def close(self, code: int, reason: str) -> bytes:
        """A Close frame; a reason that is too long is cut at a character."""
        if code == NO_STATUS:
            return self.frame(CLOSE, b"")
        said = reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore").encode()
        return self.frame(CLOSE, _pack_code(code) + said)
