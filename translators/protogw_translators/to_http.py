"""Opaque HTTP to a service that speaks HTTP/1.1: an ordinary reverse proxy.

Host stays the client's unless the route or the upstream says otherwise. What clients claim of where they come from
(X-Forwarded-*, Forwarded, X-Real-IP) is replaced by what the gateway knows. An Upgrade is not passed on: the request
goes as plain HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import BadUpstream, GatewayError, InvalidRequest
from protogw.wire.forwarded import forwarded
from protogw.wire.http import HOP_BY_HOP
from protogw.wire.http1_chunked import encode_fields
from protogw.wire.recurring import ByName
from protogw_translators.request_pump import RequestPump

if TYPE_CHECKING:
    from protogw.translator import HttpConnection, HttpStream
    from protogw.wire.http import Header, Peer, RequestHead

_ORIGINS_KEPT = 1024

HEAD_TIMEOUT_S = 15.0
"""How long the service may take to begin its reply once it has the whole request, if no deadline says otherwise."""

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} /[\x21-\x22\x24-\x7e]*")
_HOST = re.compile(rb"[0-9A-Za-z\-._~\[\]:%]*")

_CLAIMED = frozenset((b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"x-cluster-client-ip"))
_FRAMING = HOP_BY_HOP | frozenset((b"host", b"content-length", b"expect"))


def _passes(name: bytes) -> bool:
    """Whether a field of the request goes upstream.

    Services that read fields from their environment take "_" for "-" (RFC 3875 section 4.1.18), so a twin that is
    spelt with "_" must not get past where the real name does not.
    """
    plain = name.replace(b"_", b"-") if b"_" in name else name
    # HTTP/1.1 knows one Cookie field only; HTTP/2 clients split it (RFC 9113 section 8.2.3).
    return not (plain in _FRAMING or plain in _CLAIMED or plain == b"cookie" or plain.startswith(b"x-forwarded-"))


_passing = ByName(_passes)
"""What `_passes` said of names seen before."""


class ToHttp:
    """The translator to services that are carried opaque: any method, path and body, with no schema."""

    kind: ClassVar[str] = "http"
    default_schema: ClassVar[str] = "none"
    transport: ClassVar[str] = "http/1.1"

    def __init__(
        self,
        authority: str,
        *,
        message_limit: int = 64 << 20,
        scheme: str = "http",
        host: Literal["client", "upstream"] = "client",
        head_timeout_s: float = HEAD_TIMEOUT_S,
    ) -> None:
        self._authority = authority.encode()
        self._keep_host = host == "client"
        self._head_timeout_s = head_timeout_s
        self._origins: dict[tuple[str, bool, bytes], bytes] = {}

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        payload = call.payload
        if payload is None:
            return await self._upload(call, connection)
        stream = connection.open(self._head(call), payload.data)
        try:
            if call.deadline is None:
                # A reply may go on for ever, but not take for ever to begin.
                loop = asyncio.get_running_loop()
                call.arm(loop, self._head_timeout_s + loop.time() - call.started)
                try:
                    head = await stream.head()
                finally:
                    call.disarm()
                    call.deadline = None
            else:
                head = await stream.head()
        except asyncio.CancelledError:
            stream.cancel()
            raise
        if head.status < 200:
            stream.cancel()
            raise BadUpstream(f"the upstream answered HTTP {head.status}, which is no final answer")
        body = stream.buffered()
        if body is not None:
            reply = Reply(head=head, payload=Payload(body, Encoding.RAW))
            if stream.trailers:
                reply.trailers = Metadata(stream.trailers)
            return reply
        reply = Reply(head=head)
        reply.payloads = ReplyBody(stream, reply, None)
        return reply

    async def _upload(self, call: Call, connection: HttpConnection) -> Reply:
        """A request whose body is still on its way: it is sent on while the reply is awaited, and read."""
        assert call.payloads is not None
        head_block = self._head(call)
        length = call.head.get(b"content-length") if call.head is not None else None
        if length is not None and length.isdigit():
            head_block += b"content-length: %d\r\n" % int(length)
        stream = connection.open(head_block, None)
        pump = RequestPump(stream, _Pieces(call.payloads))
        try:
            head = await stream.head()
            if head.status < 200:
                raise BadUpstream(f"the upstream answered HTTP {head.status}, which is no final answer")
        except asyncio.CancelledError:
            stream.cancel()
            await pump.stop()
            raise
        except GatewayError as error:
            stream.cancel()
            await pump.stop()
            raise pump.blame(error) from error
        reply = Reply(head=head)
        reply.payloads = ReplyBody(stream, reply, pump)
        return reply

    # --- heads --------------------------------------------------------------------------------------------------------

    def _head(self, call: Call) -> bytes:
        """The request line and the fields. Made once for requests that share their head."""
        head, metadata, peer = call.head, call.metadata, call.peer
        assert head is not None
        if call.attributes is not None:
            made = self._made(call, head)
        else:
            # Kept with the fields, and so no longer than they are: what no request repeats is gone with its request. By
            # the head's parts, since holding the head, which holds the fields, would leave both to the collector.
            parts = (head.method, head.path, head.query, head.authority)
            known = metadata.made
            if known is not None and known[0] is self and known[1] == parts:
                made = known[2]
            else:
                made = self._made(call, head)
                metadata.made = (self, parts, made)
        key = (peer.host, peer.tls, head.authority)
        origin = self._origins.get(key)
        return made + (self._origin(peer, key) if origin is None else origin)

    def _made(self, call: Call, head: RequestHead) -> bytes:
        """All of it but who asked."""
        attributes = call.attributes or {}
        path: bytes = attributes.get("path") or head.path
        host: bytes | None = attributes.get("host")
        if host is None:
            host = (head.authority if self._keep_host else b"") or self._authority
        line = head.method + b" " + path + (b"?" + head.query if head.query else b"")
        # The transports have checked all this; a second look costs little.
        if _REQUEST_LINE.fullmatch(line) is None:
            raise InvalidRequest("the request's method, path or query holds what none may")
        if _HOST.fullmatch(host) is None:
            raise InvalidRequest("host: malformed")
        passing = _passing
        pairs = call.metadata.pairs
        fields: list[Header] = [pair for pair in pairs if passing[pair[0]]]
        if len(fields) < len(pairs):
            cookies = [value for name, value in pairs if name == b"cookie"]
            if cookies:
                fields.append((b"cookie", b"; ".join(cookies)))
        return b"%b HTTP/1.1\r\nhost: %b\r\n%b" % (line, host, encode_fields(fields))

    def _origin(self, peer: Peer, key: tuple[str, bool, bytes]) -> bytes:
        """Who asked, encoded. Apart from the rest of the head, which clients with equal fields share."""
        if len(self._origins) >= _ORIGINS_KEPT:
            self._origins.clear()
        block = self._origins[key] = encode_fields(forwarded(peer, key[2]))
        return block


class _Pieces(AsyncIterator[bytes]):
    """The bytes of raw payloads."""

    __slots__ = ("_payloads",)

    def __init__(self, payloads: AsyncIterator[Payload]) -> None:
        self._payloads = payloads

    async def __anext__(self) -> bytes:
        return (await self._payloads.__anext__()).data


class ReplyBody(AsyncGenerator[Payload, None]):
    """A reply's body in the pieces that it comes in; at its end the reply has its trailers.

    Not a generator function: closing it cancels the upstream stream even when nothing was read from it yet.
    """

    __slots__ = ("_ended", "_pump", "_reply", "_stream")

    def __init__(self, stream: HttpStream, reply: Reply, pump: RequestPump | None) -> None:
        self._stream = stream
        self._reply = reply
        self._pump = pump
        self._ended = False

    async def __anext__(self) -> Payload:
        if self._ended:
            raise StopAsyncIteration
        try:
            data = await self._stream.read()
        except GatewayError as error:
            await self.aclose()
            if self._pump is not None:
                raise self._pump.blame(error) from error
            raise
        if data:
            return Payload(data, Encoding.RAW)
        self._ended = True
        if self._stream.trailers:
            self._reply.trailers = Metadata(self._stream.trailers)
        if self._pump is not None:
            await self._pump.stop()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._stream.cancel()
            if self._pump is not None:
                await self._pump.stop()

    async def asend(self, value: None) -> Payload:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> Payload:
        await self.aclose()
        raise error[0]
