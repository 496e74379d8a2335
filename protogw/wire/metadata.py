"""Which HTTP fields become call metadata and which stay behind: one rule for every protocol (semantics of gRPC's
custom metadata, RFC 9110 section 7.6.1 for the hop-by-hop ones)."""

from __future__ import annotations

from collections.abc import Iterable

from protogw.wire.http import HOP_BY_HOP, Header, connection_named

RESERVED = HOP_BY_HOP | frozenset(
    (
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"accept-encoding",
        b"accept",
        b"expect",
        b"date",
        b"server",
        b"x-http-method-override",
        b"connect-protocol-version",
        b"connect-timeout-ms",
        b"connect-content-encoding",
        b"connect-accept-encoding",
        b"x-server-timeout",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-real-ip",
    )
)
"""Names that describe one hop, one protocol's framing, or the caller's address; the gateway writes its own."""


def forwardable(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The fields that travel on as metadata.

    Reserved names, `grpc-*`, `trailer-*` (Connect's) and whatever Connection lists are dropped, as are plain values
    outside 0x20-0x7E. A `-bin` field that joins several values with commas is split, and padding is removed.
    """
    kept: list[Header] = []
    connection: list[bytes] = []
    for pair in headers:
        name, value = pair
        if name in RESERVED:
            if name == b"connection":
                connection.append(value)
            continue
        if name.startswith((b"grpc-", b"trailer-")):
            continue
        if name.endswith(b"-bin"):
            kept.extend((name, one) for part in value.split(b",") if (one := part.strip().rstrip(b"=")))
        elif value.isascii() and (value.decode("latin-1").isprintable() or not value):
            kept.append(pair)
    if connection:
        named = connection_named(connection)
        if named - {b"close", b"keep-alive"}:
            kept = [pair for pair in kept if pair[0] not in named]
    return tuple(kept)
