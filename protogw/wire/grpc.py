"""gRPC's own fields: grpc-timeout, grpc-status, grpc-message, grpc-status-details-bin. Sans-I/O.

Sources: grpc/doc PROTOCOL-HTTP2.md, statuscodes.md, http-grpc-status-mapping.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status as StatusMessage

from protogw.errors import OK, Code, Detail, Status
from protogw.wire.http import Header

STATUS_TEXT = MappingProxyType({code: b"%d" % code for code in Code})
_CODES = MappingProxyType({text: code for code, text in STATUS_TEXT.items()})

OK_TRAILERS: tuple[Header, ...] = ((b"grpc-status", b"0"),)

CODE_OF_HTTP = MappingProxyType(
    {
        400: Code.INTERNAL,
        401: Code.UNAUTHENTICATED,
        403: Code.PERMISSION_DENIED,
        404: Code.UNIMPLEMENTED,
        429: Code.UNAVAILABLE,
        431: Code.INTERNAL,
        502: Code.UNAVAILABLE,
        503: Code.UNAVAILABLE,
        504: Code.UNAVAILABLE,
    }
)
"""What an HTTP status means when there is no grpc-status; any other means UNKNOWN. For the reader of a reply only."""

_UNITS = MappingProxyType({b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9})
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")


@lru_cache(maxsize=1024)
def decode_timeout(value: bytes) -> float:
    """The seconds of a grpc-timeout; raises ValueError unless it is one to eight digits and a unit."""
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise ValueError(f"grpc-timeout: {value[:40].decode('latin-1')!r} is not 1 to 8 digits and one of H M S m u n")
    return int(found[1]) * _UNITS[found[2]]


def encode_timeout(seconds: float) -> bytes:
    """A grpc-timeout of at most this long; b"0n" when nothing is left."""
    if seconds < 1e-6:
        return b"0n"
    if seconds < 0.01:
        return b"%du" % int(seconds * 1e6)
    if seconds < 99_999:
        return b"%dm" % int(seconds * 1e3)
    if seconds < 99_999_999:
        return b"%dS" % int(seconds)
    return b"%dH" % min(99_999_999, int(seconds // 3600))


_ESCAPED = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode_message(message: str) -> bytes:
    """grpc-message: UTF-8 with everything but printable ASCII, and "%", percent-encoded."""
    return _ESCAPED.sub(lambda found: b"%%%02X" % found[0][0], message.encode("utf-8", "replace"))


def decode_message(value: bytes) -> str:
    """What a grpc-message says; a broken escape stays as it is, and a broken character becomes U+FFFD."""
    if b"%" in value:
        value = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), value)
    return value.decode("utf-8", "replace")


def encode_status(status: Status) -> bytes:
    """google.rpc.Status: the upstream's own bytes where there are any."""
    if status.serialized is not None:
        return status.serialized
    details = [Any(type_url=detail.type_url, value=detail.value) for detail in status.details]
    message = status.message.encode("utf-8", "replace").decode()
    serialized: bytes = StatusMessage(code=int(status.code), message=message, details=details).SerializeToString()
    return serialized


def status_trailers(status: Status) -> tuple[Header, ...]:
    """The trailers that carry a status; without details there is no grpc-status-details-bin."""
    if status is OK:
        return OK_TRAILERS
    trailers = [(b"grpc-status", STATUS_TEXT[status.code])]
    if status.message:
        trailers.append((b"grpc-message", encode_message(status.message)))
    if status.details or status.serialized is not None:
        encoded = base64.b64encode(encode_status(status)).rstrip(b"=")
        trailers.append((b"grpc-status-details-bin", encoded))
    return tuple(trailers)


def decode_status(code: Code, message: str, serialized: bytes) -> Status:
    """The status that google.rpc.Status bytes describe, which wins over the plain fields (as in grpc-go).

    Bytes that do not parse change nothing: the call has failed as `code` says, whatever else is broken.
    """
    try:
        parsed = StatusMessage.FromString(serialized)
    except DecodeError:
        return Status(code, message)
    if parsed.code:
        # A number that is no Code would be lost; UNKNOWN is what gRPC calls it.
        code = Code(parsed.code) if 0 < parsed.code < len(Code) else Code.UNKNOWN
    details = tuple(Detail(detail.type_url, detail.value) for detail in parsed.details)
    return Status(code, parsed.message or message, details, serialized)


def read_status(fields: Iterable[Header]) -> Status | None:
    """The status in trailers, or in the head of a Trailers-Only reply; None when there is no grpc-status.

    A grpc-status that is no Code is UNKNOWN (statuscodes.md, "Error parsing returned status").
    """
    text: bytes | None = None
    message = details = b""
    pushback: float | None = None
    for name, value in fields:
        if name == b"grpc-status":
            text = value
        elif name == b"grpc-message":
            message = value
        elif name == b"grpc-status-details-bin":
            details = value
        elif name == b"grpc-retry-pushback-ms":
            # What is no number asks for no retries (gRFC A6).
            pushback = int(value) / 1e3 if value.isdigit() and len(value) < 10 else -1.0
    if text is None:
        return None
    if text == b"0":
        return OK
    code = _CODES.get(text)
    said = decode_message(message)
    if code is None:
        return Status(Code.UNKNOWN, said or f"the upstream's grpc-status is {text[:40].decode('latin-1')!r}")
    if details:
        try:
            serialized = base64.b64decode(details + b"=" * (-len(details) % 4), validate=True)
        except binascii.Error:
            return Status(code, said, pushback_s=pushback)
        status = decode_status(code, said, serialized)
        return status if pushback is None else replace(status, pushback_s=pushback)
    return Status(code, said, pushback_s=pushback)
