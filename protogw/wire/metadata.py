"""Which HTTP fields become call metadata and which stay behind: one rule for every protocol (semantics of gRPC's
custom metadata, RFC 9110 section 7.6.1 for the hop-by-hop ones)."""

from __future__ import annotations

from collections.abc import Iterable

from protogw.wire.http import HOP_BY_HOP, Header, connection_named
from protogw.wire.recurring import ByName

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
        b"x-connection-id",
    )
)
"""Names that describe one hop, one protocol's framing, or the caller's address; the gateway writes its own."""

_PLAIN, _DROPPED, _BINARY, _CONNECTION = range(4)
_PRINTABLE = bytes(range(0x20, 0x7F))


def _verdict(name: bytes) -> int:
    """What becomes of fields of this name."""
    if name == b"connection":
        return _CONNECTION
    # Some servers read "_" as "-": a field must not come in again under its other spelling.
    if name.replace(b"_", b"-") in RESERVED or name.startswith((b"grpc-", b"trailer-", b"sec-websocket-")):
        return _DROPPED
    return _BINARY if name.endswith(b"-bin") else _PLAIN


_verdicts = ByName(_verdict)


def forwardable(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The fields that travel on as metadata.

    Reserved names (also with "_" for "-"), `grpc-*`, `trailer-*` (Connect's), `sec-websocket-*` and whatever Connection
    lists are dropped, as are plain values outside 0x20-0x7E. A `-bin` field that joins several values with commas is
    split, and padding is removed.
    """
    kept: list[Header] = []
    connection: list[bytes] = []
    verdicts = _verdicts
    for pair in headers:
        # Names recur, values do not: what a name means is worked out once.
        verdict = verdicts[pair[0]]
        if verdict == _PLAIN:
            kept.append(pair)
        elif verdict == _BINARY:
            name, value = pair
            kept.extend((name, one) for part in value.split(b",") if (one := part.strip().rstrip(b"=")))
        elif verdict == _CONNECTION:
            connection.append(pair[1])
    # Nearly always all values are as they should be: one look at all of them together.
    if b"".join([value for _, value in kept]).translate(None, _PRINTABLE):
        kept = [pair for pair in kept if pair[0].endswith(b"-bin") or not pair[1].translate(None, _PRINTABLE)]
    if connection:
        named = connection_named(connection)
        if named - {b"close", b"keep-alive"}:
            kept = [pair for pair in kept if pair[0] not in named]
    return tuple(kept)
