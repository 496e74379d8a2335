"""Plain HTTP: any request, carried opaque. The last in a listener's order, since it takes what no other does.

A request's path goes upstream as it came or not at all (wire/path_safety.py). Fields about one connection stay behind
(RFC 9110 section 7.6.1); everything else passes in its order, and bodies pass piece by piece. When the service switches
to another protocol that the client asked for, its bytes pass as they are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import orjson
from pydantic import Field

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import BodyTooLarge, Code, GatewayError, InvalidRequest, NotOffered, Status
from protogw.frontends.base import Bounds, FrontEndSettings
from protogw.frontends.origins import Origin, Origins
from protogw.frontends.relay import relay
from protogw.wire.http import HOP_BY_HOP, Header, RequestHead, ResponseHead, connection_named
from protogw.wire.http_status import http_status
from protogw.wire.path_safety import check_path
from protogw.wire.protojson_details import detail_to_json

if TYPE_CHECKING:
    from protogw.descriptors.catalog import Catalog
    from protogw.descriptors.model import Type
    from protogw.frontends.base import Exchange, Handler
    from protogw.wire.http import ByteStream

_REFUSED = frozenset((b"CONNECT", b"TRACE"))
"""Methods that are about the way to a server and not about what is there."""

_BEHIND = HOP_BY_HOP | frozenset((b"host", b"content-length", b"expect"))
"""Fields of a request that each hop writes itself."""

_QUERY = re.compile(rb"[\x21-\x7e]*")

_JSON: Header = (b"content-type", b"application/json")


class HttpSettings(FrontEndSettings):
    """Whose sockets are passed on."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1)] = ("same",)
    """Pages that may open a WebSocket to a plain HTTP service: `same` for the gateway's own host, origins such as
    `https://app.example` or `https://*.app.example`, or `*` for every page. Clients that are no pages send no origin
    and may always."""


class _Target:
    """What a request's head says, kept in its memo."""

    __slots__ = ("length", "metadata")

    def __init__(self, head: RequestHead, origins: Origins) -> None:
        """Raises GatewayError for what is not passed on."""
        if head.method in _REFUSED:
            name = head.method.decode("latin-1")
            raise NotOffered(f"{name} is not offered", http_status=405, headers=((b"allow", _OFFERED),))
        check_path(head.path)
        if head.upgrade and head.get(b"origin") is not None:
            # A page's socket has the user's cookies, and no preflight asks before it (cross-site WebSocket hijacking).
            origins.check(head)
        if _QUERY.fullmatch(head.query) is None or b"#" in head.query:
            raise InvalidRequest("query: an illegal byte")
        length = head.get(b"content-length")
        self.length = int(length) if length is not None and length.isdigit() else 0
        # Most requests have nothing to leave behind.
        pairs = head.headers if _BEHIND.isdisjoint(head.first) else end_to_end(head.headers, _BEHIND)
        self.metadata = Metadata(pairs)


_OFFERED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class _Fields:
    """The fields of an upstream's reply that go on to the client, kept in its head's memo."""

    __slots__ = ("pairs",)

    def __init__(self, head: ResponseHead) -> None:
        self.pairs = end_to_end(head.headers, HOP_BY_HOP)


def end_to_end(headers: Sequence[Header], behind: frozenset[bytes]) -> tuple[Header, ...]:
    """The fields without those named in `behind`, and those that Connection names."""
    kept = [pair for pair in headers if pair[0] not in behind]
    if len(kept) < len(headers):
        connection = [value for name, value in headers if name == b"connection"]
        if connection:
            named = connection_named(connection)
            kept = [pair for pair in kept if pair[0] not in named]
    return tuple(kept)


class Http:
    """Any request as it is, for upstreams that speak plain HTTP."""

    kind: ClassVar[str] = "http"
    Settings: ClassVar[type[FrontEndSettings]] = HttpSettings

    def __init__(self, settings: FrontEndSettings, bounds: Bounds) -> None:
        assert isinstance(settings, HttpSettings)
        self._limit = bounds.body
        self._origins = Origins(settings.origins)

    def offer(self, catalog: Catalog) -> None:
        """What is described is the other front ends'."""

    def accepts(self, head: RequestHead) -> bool:
        return True

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        head = exchange.head
        target = head.memo
        if target.__class__ is not _Target:
            target = head.memo = _Target(head, self._origins)
        assert isinstance(target, _Target)
        payload: Payload | None = None
        payloads: AsyncIterator[Payload] | None = None
        body = exchange.buffered()
        if body is None:
            if target.length > self._limit:
                raise BodyTooLarge(f"content-length: {target.length} bytes are over the limit of {self._limit}")
            payloads = RequestBody(exchange, self._limit)
        elif len(body) > self._limit:
            raise BodyTooLarge(f"the body of {len(body)} bytes is over the limit of {self._limit}")
        else:
            payload = Payload(body, Encoding.RAW)
        call = exchange.call = Call(
            None,
            target.metadata,
            front_end=self.kind,
            peer=exchange.peer,
            started=asyncio.get_running_loop().time(),
            head=head,
            payload=payload,
            payloads=payloads,
        )
        reply = await handle(call)
        answer = reply.head
        if answer is None:
            self._answer(exchange, reply)
            return
        fields = answer.memo
        if fields.__class__ is not _Fields:
            fields = answer.memo = _Fields(answer)
        assert isinstance(fields, _Fields)
        # What policies add to an opaque reply is in its metadata; the upstream's own fields are in its head.
        pairs = fields.pairs + reply.metadata.pairs if reply.metadata.pairs else fields.pairs
        if reply.tunnel is not None:
            await self._switch(exchange, reply.tunnel, pairs)
        elif reply.payload is not None:
            exchange.respond(answer.status, pairs, reply.payload.data, reply.trailers.pairs)
        else:
            await self._stream(exchange, reply, answer.status, pairs)

    @staticmethod
    async def _switch(exchange: Exchange, service: ByteStream, pairs: tuple[Header, ...]) -> None:
        """What the service has switched to is between it and the client."""
        try:
            client = exchange.switch(pairs)
        except BaseException:  # nobody would end the service's side
            service.abort()
            raise
        await relay(client, service)

    @staticmethod
    async def _stream(exchange: Exchange, reply: Reply, status: int, pairs: tuple[Header, ...]) -> None:
        payloads = reply.payloads
        assert payloads is not None
        try:
            exchange.start(status, pairs)
            async for payload in payloads:
                await exchange.write(payload.data)
        finally:
            if isinstance(payloads, AsyncGenerator):
                await payloads.aclose()
        exchange.finish(b"", reply.trailers.pairs)

    def _answer(self, exchange: Exchange, reply: Reply) -> None:
        """A reply that no HTTP upstream made: a policy's, or the gateway's own."""
        if reply.status.code is Code.OK:
            data = reply.payload.data if reply.payload is not None else b""
            exchange.respond(200, reply.metadata.pairs, data)
        else:
            fields = (_JSON, *reply.metadata.pairs)
            exchange.respond(http_status(reply.status.code), fields, error_body(reply.status))

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """A JSON error while nothing was answered, else a cut that the client sees."""
        if exchange.started:
            exchange.abort()
            return
        status = error.http_status if error.http_status is not None else http_status(error.status.code)
        exchange.respond(status, (_JSON, *error.headers), error_body(error.status))


class RequestBody:
    """A request's body in the pieces that it comes in, each read from the client when it is asked for."""

    __slots__ = ("_exchange", "_left", "waiting")

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._left = limit
        self.waiting = False

    def __aiter__(self) -> RequestBody:
        return self

    async def __anext__(self) -> Payload:
        self.waiting = True
        data = await self._exchange.read()
        self.waiting = False
        if not data:
            raise StopAsyncIteration
        self._left -= len(data)
        if self._left < 0:
            raise BodyTooLarge("the body is over the limit")
        return Payload(data, Encoding.RAW)


def error_body(status: Status) -> bytes:
    """google.rpc.Status as JSON."""
    details = b",".join([detail_to_json(detail, _unknown) for detail in status.details])
    message = orjson.dumps(status.message.encode("utf-8", "replace").decode())
    return b'{"code":%d,"message":%b,"details":[%b]}' % (status.code, message, details)


def _unknown(name: str) -> Type | None:
    return None
