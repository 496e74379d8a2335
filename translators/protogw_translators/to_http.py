"""Opaque HTTP to a service that speaks HTTP/1.1: an ordinary reverse proxy.

Host stays the client's unless the route or the upstream says otherwise. What clients claim of where they come from
(X-Forwarded-*, Forwarded, X-Real-IP) is replaced by what the gateway knows. A request to go on as another protocol is
passed on where the transport has taken it for one (RequestHead.upgrade); every other Upgrade stays behind.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from protogw.call import Call, Encoding, Metadata, Payload, PayloadStream, Reply
from protogw.errors import BadUpstream, GatewayError, InvalidRequest
from protogw.wire.forwarded import forwarded
from protogw.wire.http import HOP_BY_HOP, HTTP_2, ResponseHead, is_token
from protogw.wire.http1 import CheckedHead
from protogw.wire.http1_chunked import encode_fields
from protogw.wire.recurring import ByName
from protogw.wire.websocket_handshake import ACCEPT, KEY, WEBSOCKET, accept_of, new_key
from protogw_translators.request_pump import RequestPump

if TYPE_CHECKING:
    from protogw.translator import HttpConnection, HttpStream
    from protogw.wire.http import Header, Peer, RequestHead

T = TypeVar("T")

_Origin: TypeAlias = "tuple[str, bool, tuple[Header, ...], bytes]"
_ORIGINS_KEPT = 1024

HEAD_TIMEOUT_S = 15.0
"""How long the service may take to begin its reply once it has the whole request, if no deadline says otherwise."""

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} /[\x21-\x22\x24-\x7e]*")
_HOST = re.compile(rb"[0-9A-Za-z\-._~\[\]:%]*")

_REWRITTEN = frozenset(("path", "query", "host"))
"""What a call's attributes may have in place of its head's."""

_CLAIMED = frozenset((b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"x-cluster-client-ip"))
_FRAMING = HOP_BY_HOP | frozenset((b"host", b"content-length", b"expect"))


def _passes(name: bytes) -> bool:
    """Whether a field of the request goes upstream.

    Services that read fields from their environment take "_" for "-" (RFC 3875 section 4.1.18), so a twin that is
    spelt with "_" must not get past where the real name does not. Nor does what is no name at all.
    """
    plain = name.lower().replace(b"_", b"-")
    # HTTP/1.1 knows one Cookie field only; HTTP/2 clients split it (RFC 9113 section 8.2.3).
    if plain in _FRAMING or plain in _CLAIMED or plain == b"cookie" or plain.startswith(b"x-forwarded-"):
        return False
    return is_token(name) is not None


_passing = ByName(_passes)
"""What `_passes` said of names seen before."""


class HttpUpstreamSettings(BaseModel):
    """What a service that is carried opaque is told."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: Literal["client", "upstream"] = "client"
    """The host that it is told: the one that the client asked for, or its own (`authority`, or its first address). A
    route's `rewrite.host` goes before both."""


class ToHttp:
    """The translator to services that are carried opaque: any method, path and body, with no schema."""

    kind: ClassVar[str] = "http"
    default_schema: ClassVar[str] = "none"
    transport: ClassVar[str] = "http/1.1"
    Settings: ClassVar[type[BaseModel]] = HttpUpstreamSettings

    def __init__(
        self,
        authority: str,
        *,
        message_limit: int = 64 << 20,
        scheme: str = "http",
        settings: HttpUpstreamSettings | None = None,
        head_timeout_s: float = HEAD_TIMEOUT_S,
    ) -> None:
        self._authority = authority.encode()
        self._keep_host = settings is None or settings.host == "client"
        self._head_timeout_s = head_timeout_s
        self._origins: dict[_Origin, bytes] = {}

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        payload = call.payload
        if payload is None:
            return await self._upload(call, connection)
        if call.head is not None and call.head.upgrade:
            return await self._switched(call, call.head, connection)
        stream = connection.open(self._head(call), payload.data)
        return self._replied(stream, await self._begun(call, stream, stream.head()))

    async def _begun(self, call: Call, stream: HttpStream, beginning: Awaitable[T]) -> T:
        """The beginning of the reply. A reply may go on for ever, but not take for ever to begin."""
        bounded = call.deadline is not None
        if not bounded:
            loop = asyncio.get_running_loop()
            call.arm(loop, self._head_timeout_s + loop.time() - call.started)
        try:
            return await beginning
        except asyncio.CancelledError:
            stream.cancel()
            raise
        finally:
            if not bounded:
                call.disarm()
                call.deadline = None

    @staticmethod
    def _replied(stream: HttpStream, head: ResponseHead) -> Reply:
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

    async def _switched(self, call: Call, head: RequestHead, connection: HttpConnection) -> Reply:
        """Ask the service to go on as the client wants to; it may answer in HTTP as well."""
        block = self._head(call) + b"connection: Upgrade\r\nupgrade: %b\r\n" % head.upgrade
        key = b""
        if head.version == HTTP_2 and head.upgrade == WEBSOCKET and call.metadata.get(KEY) is None:
            # Over HTTP/2 clients need no key (RFC 8441 section 5): the handshake with the service is ours.
            key = new_key()
            block += b"%b: %b\r\n" % (KEY, key)
        stream = connection.open(block, b"")
        found = await self._begun(call, stream, stream.switched(head.upgrade))
        if isinstance(found, ResponseHead):
            return self._replied(stream, found)
        # What is agreed on has no deadline; its idle limit is the listener's.
        call.disarm()
        call.deadline = None
        answer = stream.switched_head
        assert answer is not None
        if key:
            if answer.get(ACCEPT) != accept_of(key):
                found.abort()
                raise BadUpstream("the upstream switched to something that is no WebSocket")
            answer = ResponseHead(answer.status, tuple([pair for pair in answer.headers if pair[0] != ACCEPT]))
        return Reply(head=answer, tunnel=found)

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
        key = (peer.host, peer.tls, peer.forwarded, head.authority)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origin(peer, key)
        if call.attributes is not None and not _REWRITTEN.isdisjoint(call.attributes):
            made = self._made(call, head)
        else:
            # Kept with the fields, and so no longer than they are: what no request repeats is gone with its request. By
            # the head's parts, since holding the head, which holds the fields, would leave both to the collector.
            parts = (head.method, head.path, head.query, head.authority)
            known = metadata.made
            if known is not None and known[0] is self and known[1] == parts:
                return known[2] + origin  # the connection knows it too, which costs less than to vouch for it
            made = self._made(call, head)
            metadata.made = (self, parts, made)
        # Line and host are checked, names are tokens and none of framing, encode_fields keeps values in their lines.
        return CheckedHead(made + origin)

    def _made(self, call: Call, head: RequestHead) -> bytes:
        """All of it but who asked."""
        attributes = call.attributes or {}
        path: bytes = attributes.get("path") or head.path
        host: bytes | None = attributes.get("host")
        if host is None:
            host = (head.authority if self._keep_host else b"") or self._authority
        query: bytes = attributes.get("query", head.query)
        line = head.method + b" " + path + (b"?" + query if query else b"")
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

    def _origin(self, peer: Peer, key: _Origin) -> bytes:
        """Who asked, encoded. Apart from the rest of the head, which clients with equal fields share."""
        if len(self._origins) >= _ORIGINS_KEPT:
            self._origins.clear()
        block = self._origins[key] = encode_fields(forwarded(peer, key[3]))
        return block


class _Pieces(AsyncIterator[bytes]):
    """The bytes of raw payloads."""

    __slots__ = ("_payloads",)

    def __init__(self, payloads: AsyncIterator[Payload]) -> None:
        self._payloads = payloads

    async def __anext__(self) -> bytes:
        return (await self._payloads.__anext__()).data


class ReplyBody(PayloadStream):
    """A reply's body in the pieces that it comes in; at its end the reply has its trailers."""

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
