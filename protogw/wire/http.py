"""HTTP heads, as both sides of both HTTP versions see them. Sans-I/O; knows no protocol above HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Header: TypeAlias = tuple[bytes, bytes]
"""A field: lower-case name, value without surrounding white space. Pseudo-headers never appear as one."""


class ByteStream(Protocol):
    """Both directions of a connection, or of an HTTP/2 stream, that has left HTTP (RFC 9110 section 7.8, RFC 8441)."""

    async def read(self) -> bytes:
        """The next bytes, b"" once the peer has ended its direction; raises GatewayError when it broke off. Reading is
        what lets the peer send more."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer leaves no room. Raises GatewayError when it is gone."""
        ...

    def end(self) -> None:
        """Nothing more will be written (half-close). Harmless when repeated."""
        ...

    def abort(self) -> None:
        """Give up both directions at once (reset). Harmless after the end."""
        ...


HTTP_1_0, HTTP_1_1, HTTP_2 = 10, 11, 20

is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
"""Matches what may be a method, a field's name or a protocol's (RFC 9110 section 5.6.2)."""

UPGRADES = frozenset((b"websocket",))
"""What a client may ask to go on with. Anything else that it asks for is ignored: an upgrade to another version of HTTP
would carry requests past everything that looks at them."""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
"""Fields about one connection, never forwarded (RFC 9110 section 7.6.1)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a downstream connection."""

    host: str
    port: int
    tls: bool = False
    identity: str = ""
    """Who a verified client certificate names (`uri:…`, `dns:…`, `email:…`, else its subject), or empty."""
    forwarded: tuple[Header, ...] = ()
    """Who asks as trusted proxies before the gateway have it, added to, for services behind; empty without such. `host`
    is then the client's address as they name it."""


class RequestHead:
    """One request's head, checked by the transport: well-formed names and values, one authority, one framing.

    `path` is the raw path (still percent-encoded, starts with "/" or is "*"), `query` is without its "?".
    HTTP/2 connections share one object between requests whose header block is the same bytes, so it is never
    changed; what a front end derives from nothing but the head, it may keep in `memo`. In `taken` and `routed` is which
    front end and which route it led to, and in what state of what is offered.
    """

    __slots__ = (
        "authority",
        "content_type",
        "first",
        "headers",
        "memo",
        "method",
        "path",
        "query",
        "routed",
        "scheme",
        "taken",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        authority: bytes,
        headers: tuple[Header, ...],
        version: int,
        scheme: bytes = b"http",
        content_type: bytes = b"",
        upgrade: bytes = b"",
        *,
        first: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.authority = authority
        self.headers = headers
        self.first = dict(reversed(headers)) if first is None else first
        """The first value of each field."""
        self.version = version
        self.scheme = scheme
        self.content_type = content_type
        self.upgrade = upgrade
        """The protocol that the client asks to go on with, lower case (Upgrade, or :protocol of HTTP/2), else empty."""
        self.memo: object | None = None
        self.taken: tuple[object, Any] | None = None
        self.routed: tuple[object, Any] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case), or None."""
        return self.first.get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def __repr__(self) -> str:
        # For logs: what a query says may be secret.
        target = self.path.decode("ascii", "backslashreplace") + ("?…" if self.query else "")
        return f"<RequestHead {self.method.decode('ascii', 'backslashreplace')} {target}>"


class ResponseHead:
    """A response's head as an upstream sent it; shared and kept like RequestHead, with a `memo` of its own."""

    __slots__ = ("headers", "memo", "status")

    def __init__(self, status: int, headers: tuple[Header, ...]) -> None:
        self.status = status
        self.headers = headers
        self.memo: object | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


class Answer:
    """A whole response: its head, the complete body, the trailers."""

    __slots__ = ("body", "head", "trailers")

    def __init__(self, head: ResponseHead, body: bytes, trailers: tuple[Header, ...]) -> None:
        self.head = head
        self.body = body
        self.trailers = trailers


def connection_named(values: Iterable[bytes]) -> frozenset[bytes]:
    """The field names that a request's Connection fields list, lower case (RFC 9110 section 7.6.1)."""
    return frozenset(name.strip().lower() for value in values for name in value.split(b",") if name.strip())


def field_bytes(fields: Iterable[Header]) -> int:
    """The size of fields as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 section 6.5.2)."""
    return sum([len(name) + len(value) + 32 for name, value in fields])
