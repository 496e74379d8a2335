"""Compression of single messages, as gRPC and Connect's streams have it: each on its own, marked by a flag.

Source: gRPC's compression.md; Connect's Streaming-Content-Encoding. The codings themselves are those of plain HTTP.
"""

from __future__ import annotations

from protogw.errors import BodyTooLarge, GatewayError, InvalidRequest
from protogw.wire.content import decompress
from protogw.wire.envelope import COMPRESSED

GRPC_CODINGS = (b"gzip",)
CONNECT_CODINGS = (b"gzip", b"br", b"zstd")
"""The codings beside identity, the preferred first."""

WORTHWHILE = 128
"""Bytes below which a message is sent as it is: gzip's frame alone takes 18."""


def named_coding(value: bytes | None, offered: tuple[bytes, ...]) -> bytes | None:
    """The coding that a field names: b"" for identity or no field; None when it is not offered."""
    if value is None:
        return b""
    name = value.strip().lower()
    if name in (b"", b"identity"):
        return b""
    return name if name in offered else None


def accepted_coding(value: bytes | None, offered: tuple[bytes, ...]) -> bytes:
    """The first coding of an accept list that is offered, b"" when there is none; weight 0 refuses a coding."""
    for part in (value or b"").split(b","):
        name, _, weight = part.partition(b";")
        if name.strip().lower() in offered and weight.replace(b" ", b"").rstrip(b"0.") != b"q=":
            return name.strip().lower()
    return b""


def open_message(flags: int, data: bytes, coding: bytes, limit: int, fault: type[GatewayError]) -> bytes:
    """The message in an envelope; raises `fault` for flags or bytes that break the rules, BodyTooLarge over `limit`."""
    if not flags:
        return data
    if flags != COMPRESSED:
        raise fault(f"a message has the flags 0x{flags:02x}, which mean nothing here")
    if not coding:
        raise fault("a message is flagged as compressed, but no encoding was named")
    try:
        return decompress(data, coding, limit)
    except BodyTooLarge:
        raise
    except InvalidRequest as error:
        raise fault(f"a message does not decompress as {coding.decode()}") from error
