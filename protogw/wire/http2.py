"""HTTP/2 frames, error codes and settings (RFC 9113 sections 4, 6 and 7). Sans-I/O, and knows no stream."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator

from protogw.errors import Code

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441 section 3

FRAME_HEAD = 9
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = LARGEST_STREAM = (1 << 31) - 1
SMALLEST_FRAME_LIMIT = 1 << 14
LARGEST_FRAME_LIMIT = (1 << 24) - 1

unpack_head = struct.Struct(">HBBBL").unpack_from
"""The high and the low part of the length, type, flags, stream with its reserved bit."""

pack_head = struct.Struct(">HBBBL").pack
_pack_long = struct.Struct(">L").pack
_pack_setting = struct.Struct(">HL").pack
_unpack_settings = struct.Struct(">HL").iter_unpack


class ErrorCode(enum.IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


_NAMES = {int(code): code.name for code in ErrorCode}

_CODES = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


def error_name(code: int) -> str:
    """The RFC's name of an error code, or the number if it has none."""
    return _NAMES.get(code) or f"error {code:#x}"


def reset_code(code: int) -> Code:
    """The Code that a RST_STREAM means to a caller (gRPC over HTTP/2, "HTTP2 Transport Mapping: Errors")."""
    return _CODES.get(code, Code.INTERNAL)  # type: ignore[call-overload, no-any-return]


class ConnectionFault(Exception):
    """The peer broke the protocol in a way that ends the connection (RFC 9113 section 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return pack_head(size >> 8, size & 0xFF, kind, flags, stream) + payload


def headers_frames(stream: int, flags: int, block: bytes, limit: int) -> bytes:
    """HEADERS, and CONTINUATION as needed, of a block; `flags` is END_STREAM or 0, `limit` the peer's frame size."""
    size = len(block)
    if size <= limit:
        return pack_head(size >> 8, size & 0xFF, HEADERS, flags | END_HEADERS, stream) + block
    parts = [frame(HEADERS, flags, stream, block[:limit])]
    for start in range(limit, size, limit):
        last = END_HEADERS if start + limit >= size else 0
        parts.append(frame(CONTINUATION, last, stream, block[start : start + limit]))
    return b"".join(parts)


def settings_frame(settings: Iterable[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join([_pack_setting(key, value) for key, value in settings]))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The settings of a frame without ACK, in order; raises ConnectionFault on a value that the RFC forbids."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame of a length that is not a multiple of 6")
    for key, value in _unpack_settings(payload):
        if key == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH of {value}")
        if key == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE of {value}")
        if key == MAX_FRAME_SIZE and not SMALLEST_FRAME_LIMIT <= value <= LARGEST_FRAME_LIMIT:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE of {value}")
        yield key, value


def window_update_frame(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _pack_long(increment))


def rst_stream_frame(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, _pack_long(code))


def goaway_frame(last: int, code: int, reason: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, _pack_long(last) + _pack_long(code) + reason.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding, which must be shorter than the rest (sections 6.1, 6.2)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding as long as the frame")
    return payload[1 : len(payload) - payload[0]]
