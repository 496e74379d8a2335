"""What the gateway asks of a translator, and what a translator is given to speak through.

Owned by their caller, the pool; implemented in protogw_translators (Translator) and in net/ (HttpConnection).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from protogw.call import Call, Reply
    from protogw.descriptors.model import Schema
    from protogw.wire.http import Answer, ByteStream, Header, ResponseHead


class HttpStream(Protocol):
    """One request in flight on an upstream connection. Use either `whole`, or `head` and then `read` or `buffered`."""

    trailers: tuple[Header, ...]
    """The reply's trailers; final once the body has ended."""

    switched_head: ResponseHead | None
    """The head that the endpoint switched with."""

    def whole(self, limit: int) -> Awaitable[Answer]:
        """The whole reply; raises UpstreamReset, Unprocessed, BadUpstream, or BodyTooLarge over `limit` bytes."""
        ...

    async def head(self) -> ResponseHead:
        """The final head (1xx are skipped)."""
        ...

    async def switched(self, protocol: bytes) -> ByteStream | ResponseHead:
        """Both directions once the endpoint has switched to `protocol`, else its final head, then read as ever.

        For a whole request whose fields ask for that, and to be called at once: a 101 that nobody waits for is
        BadUpstream. Only HTTP/1.1 connections switch; others raise NotOffered.
        """
        ...

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Reading is what lets the peer send more."""
        ...

    def buffered(self) -> bytes | None:
        """All that is left of the body if the reply has ended well, else None. Consumes it."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body; waits while the peer leaves no room."""
        ...

    def end(self) -> None:
        """The request's body is complete (half-close)."""
        ...

    def cancel(self) -> None:
        """Give up: the peer is told at once, and whoever waits here is raised UpstreamReset. Harmless after the end."""
        ...


class HttpConnection(Protocol):
    """A connection to one endpoint."""

    def open(self, head: bytes, body: bytes | None) -> HttpStream:
        """Send a request; with `body` None it stays open for `write` and `end`.

        `head` is already in this connection's own wire form: for HTTP/2 a complete header block that uses neither
        Huffman coding nor the dynamic table (wire.hpack.encode); for HTTP/1.1 the request line and fields, each
        ending in CRLF, without the blank line and without framing fields, which the connection adds.
        Raises Unprocessed when the connection takes no more requests.
        """
        ...


class Translator(Protocol):
    """Re-encodes calls for one upstream protocol and decodes its replies. One instance serves one pool.

    A class with `takes_path = True` lets addresses have a path and is given it as `base_path`, if there is one; a class
    with `Settings` is given `settings`.
    """

    kind: ClassVar[str]
    """The key that an upstream uses in the config: grpc, rest, http."""

    default_schema: ClassVar[str]
    """What an upstream without `schema` gets: "reflection", "" (it must be written) or "none" (it takes none)."""

    transport: ClassVar[str]
    """What its connections speak: "http/2" or "http/1.1"."""

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        """Carry one call; on CancelledError the upstream stream is cancelled before it propagates.

        Raises GatewayError. Retryable errors are raised only while no request payload was consumed from
        `call.payloads`, so that the pool may try again elsewhere.
        """
        ...


@runtime_checkable
class Guarding(Protocol):
    """A translator that writes header fields of what messages say."""

    def guard(self, names: frozenset[bytes]) -> None:
        """These names (in lower case, with "-" for "_") are only the gateway's to write: no message sets them."""
        ...


@runtime_checkable
class Judging(Protocol):
    """A translator that finds out at load what of its settings does not fit the schema."""

    def faults(self, schema: Schema) -> list[str]:
        """What does not fit, one line each, naming the setting or the method."""
        ...
