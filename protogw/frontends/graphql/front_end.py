"""The GraphQL front end: documents become plans, plans become calls, replies become one response or several."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import orjson

from protogw.aside import compressed, decompressed
from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.descriptors.model import Method, Spelling
from protogw.descriptors.to_graphql import offers_any, sdl
from protogw.errors import BodyTooLarge, GatewayError
from protogw.frontends.base import Bounds, FrontEndSettings
from protogw.frontends.facts import FactsCache
from protogw.frontends.graphql import persisted
from protogw.frontends.graphql.answers import as_events, as_parts, check_verb
from protogw.frontends.graphql.execute import Origin, Response
from protogw.frontends.graphql.page import ASSETS, Page
from protogw.frontends.graphql.refusals import BAD_REQUEST, Refused, RefusedRequest, of_whole, refused
from protogw.frontends.graphql.request import (
    EVENTS,
    JSON,
    RESPONSE_JSON,
    Facts,
    Params,
    posted,
    queried,
)
from protogw.frontends.graphql.reserved import Reservations
from protogw.frontends.graphql.served import Current, Served, Texts
from protogw.frontends.graphql.settings import GraphqlRoute, GraphqlSettings
from protogw.frontends.graphql.streams import Events, Increments, Parts
from protogw.frontends.graphql.told import Told
from protogw.frontends.graphql.transport_ws import NOT_ACCEPTABLE, SUBPROTOCOL, Session
from protogw.frontends.origins import Origins
from protogw.websocket import GOING_AWAY, SocketOptions, accept
from protogw.wire.http import Header
from protogw.wire.http_status import http_status
from protogw.wire.metadata import forwardable

if TYPE_CHECKING:
    from protogw.call import Call, Metadata
    from protogw.frontends.base import Exchange, Handler, Recorder
    from protogw.wire.http import RequestHead

_COMPRESS_FROM = 1024
_OF_ONE_REPLY = frozenset((b"etag", b"last-modified"))
_VERBS = b"GET, POST, OPTIONS"
_TEXT: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"),)
_HEADS: Mapping[bytes, tuple[Header, ...]] = {
    kind: ((b"content-type", kind + b"; charset=utf-8"),) for kind in (JSON, RESPONSE_JSON)
}


class Graphql:
    """GraphQL over HTTP, event streams and WebSocket: unary methods and server streams of any service."""

    kind: ClassVar[str] = "graphql"
    spelling: ClassVar[Spelling] = Spelling.JSON
    gaps: ClassVar[Mapping[str, str]] = {
        "": "trailers, to all",
        "client stream": "the method: GraphQL has no way to stream a request",
        "bidi": "the method: GraphQL has no way to stream a request",
    }
    documents: ClassVar[str] = "graphql"
    Settings: ClassVar[type[FrontEndSettings]] = GraphqlSettings
    RouteSettings: ClassVar[type[GraphqlRoute]] = GraphqlRoute

    def __init__(self, settings: GraphqlSettings, bounds: Bounds) -> None:
        self._settings = settings
        self._limit = bounds.body
        path = settings.path.encode()
        below = path.rstrip(b"/") + b"/"
        self._endpoints = frozenset((path, below + b"stream"))
        # What else is below the endpoint is not ours: a service may be there.
        assets = [below + name for name in ASSETS] if settings.graphiql else []
        self._paths = self._endpoints.union(assets)
        self._catalog = EMPTY
        self._any = False
        self._facts = FactsCache(Facts)
        known = persisted.read(settings.persisted) if settings.persisted is not None else {}
        self._current = Current(settings, Texts(settings, known))
        self._page = Page(settings.path, below.decode()) if settings.graphiql else None
        self._reservations = Reservations(settings)
        self._origins = Origins(settings.origins)
        self.recorder: Recorder | None = None

    def offer(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._any = offers_any(catalog)
        self._current.offer(catalog)

    @property
    def served(self) -> Served:
        """What is served now."""
        return self._current.at_once()

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of the present catalog that clash, and what of the config does not fit it."""
        return self.served.offer.faults if self._any else ()

    def offered_as(self, method: Method) -> str:
        """How a client asks for the method: the root type and the field; empty when there is none."""
        if not self._any:
            return ""
        found = self.served.offer.field_of(method.full_name)
        return f"{found.root} {found.name}" if found is not None else ""

    def document(self, about: About) -> Document:
        """The SDL of what is offered of these services."""
        services = {name: one for name, one in self._catalog.services.items() if name in about.services}
        made = self._current.of(replace(self._catalog, services=services))
        return Document(sdl(made.offer), tuple(made.offer.left_out.values()))

    def accepts(self, head: RequestHead) -> bool:
        return head.path in self._paths and self._any

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        started = asyncio.get_running_loop().time()
        facts = self._facts.of(exchange.head)
        exchange.state = facts
        try:
            await self._answer(exchange, handle, facts, started)
        except Refused as refusal:
            raise RefusedRequest(refusal) from None

    async def _answer(self, exchange: Exchange, handle: Handler, facts: Facts, started: float) -> None:
        head = exchange.head
        if facts.fault is not None:
            raise facts.fault
        verb = head.method
        if head.path not in self._endpoints and self._page is not None:
            self._page.asset(exchange)
            return
        if verb == b"GET" and facts.wants_page and self._page is not None:
            self._page.send(exchange)
            return
        if head.upgrade == b"websocket":
            await self._socket(exchange, handle, facts)
            return

        origin = Origin(
            self.kind, handle, head, exchange.peer, facts.metadata, started=started, timeout=facts.timeout, saw=_unseen
        )
        if self.recorder is not None:
            Told(exchange, origin, self.recorder)
        token = facts.token if facts.token is not None else _token(head)
        if token is not None and verb in (b"GET", b"POST", b"DELETE"):
            await self._reserved(exchange, facts, verb, token, origin)
            return
        if verb == b"POST":
            asked = posted(await self._body(exchange, facts), head.content_type, self._settings.limits.batch)
        elif verb == b"GET":
            asked = queried(head.query)
        elif verb == b"PUT":
            exchange.respond(201, _TEXT, self._reservations.reserve().encode())
            return
        elif verb == b"OPTIONS":
            exchange.respond(204, ((b"allow", _VERBS),))
            return
        else:
            raise refused(BAD_REQUEST, "only GET and POST are served", http=405, headers=((b"allow", _VERBS),))
        if isinstance(asked, list):
            self._needs_json(facts)
            responses = [await self._batched(one, origin) for one in asked]
            await self._send(exchange, facts, orjson.dumps(responses), [])
            return
        served = self._current.ready or await self._current.aside()
        if facts.stream is not None:
            if facts.stream == EVENTS:
                await as_events(exchange, served, asked, origin, self._settings.heartbeat)
                return
            if await as_parts(exchange, served, asked, origin, self._settings.heartbeat):
                return
        self._needs_json(facts)
        response, metadata = await self._run(served, asked, origin, verb)
        await self._send(exchange, facts, orjson.dumps(response), metadata)

    @staticmethod
    async def _run(served: Served, params: Params, origin: Origin, verb: bytes) -> tuple[Response, list[Header]]:
        """The one response of a query or mutation."""
        operation = origin.operation = served.operation(params)
        check_verb(operation, verb)
        if operation.root == "subscription":
            message = "a subscription needs text/event-stream, multipart/mixed or a WebSocket"
            raise refused(BAD_REQUEST, message, http=406)
        variables = operation.read(params.variables)
        return await served.executor.run(operation.plan(variables, defer=False), variables, origin)

    @staticmethod
    def _needs_json(facts: Facts) -> None:
        if facts.json is None:
            raise refused(BAD_REQUEST, "accept: application/graphql-response+json or application/json", http=406)

    async def _batched(self, params: Params, origin: Origin) -> Response:
        """One response of several; a refusal is its own."""
        try:
            response, _ = await self._run(await self._current.aside(), params, origin, b"POST")
        except Refused as refusal:
            return {"errors": list(refusal.errors)}
        return response

    async def _socket(self, exchange: Exchange, handle: Handler, facts: Facts) -> None:
        """Serve a WebSocket until it is closed."""
        head = exchange.head
        self._origins.check(head)
        socket = await accept(exchange, SocketOptions(message_bytes=self._limit), (SUBPROTOCOL,))
        if not socket.subprotocol:
            await socket.close(NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        loop = asyncio.get_running_loop()
        ended = self.recorder.called if self.recorder is not None else None
        request = object()

        def origin(metadata: Metadata) -> Origin:
            return Origin(
                self.kind,
                handle,
                head,
                exchange.peer,
                metadata,
                started=loop.time(),
                timeout=None,
                saw=_unseen,
                ended=ended,
                request=request,
            )

        leaving: set[asyncio.Task[None]] = set()
        exchange.when_draining(lambda: leaving.add(loop.create_task(socket.close(GOING_AWAY, "the gateway is going"))))
        try:
            await Session(socket, self._settings, self._current.aside, origin, facts.metadata).run()
        finally:
            socket.abort()
            await asyncio.gather(*leaving, return_exceptions=True)

    async def _reserved(self, exchange: Exchange, facts: Facts, verb: bytes, token: str, origin: Origin) -> None:
        """A request about an event stream that carries many operations."""
        if verb == b"GET":
            await self._reservations.open(token, exchange)
            return
        if verb == b"DELETE":
            name = parse_qs(exchange.head.query.decode("latin-1")).get("operationId", [""])[0]
            self._reservations.stop(token, name)
            exchange.respond(200, ())
            return
        params = posted(await self._body(exchange, facts), exchange.head.content_type, 0)
        assert isinstance(params, Params)
        self._reservations.start(token, params, await self._current.aside(), origin)
        exchange.respond(202, ())

    async def _body(self, exchange: Exchange, facts: Facts) -> bytes:
        body = exchange.buffered()
        if body is None:
            body = await exchange.whole(self._limit)
        elif len(body) > self._limit:
            raise BodyTooLarge(f"a request of {len(body)} bytes is over the limit of {self._limit}")
        if facts.content_encoding:
            body = await decompressed(body, facts.content_encoding, self._limit)
        return body

    async def _send(self, exchange: Exchange, facts: Facts, body: bytes, metadata: list[Header]) -> None:
        headers = _HEADS[facts.json or JSON]
        if metadata:
            # What the replies say of themselves is not true of the response that they are put together to.
            headers += forwardable([pair for pair in metadata if pair[0] not in _OF_ONE_REPLY])
        if len(body) >= _COMPRESS_FROM:
            headers += ((b"vary", b"accept-encoding"),)
            if facts.coding:
                headers += ((b"content-encoding", facts.coding),)
                body = await compressed(body, facts.coding)
        exchange.respond(200, headers, body)

    def _refuse(self, exchange: Exchange, facts: Facts, refusal: Refused) -> None:
        kind = facts.json or JSON
        status = refusal.http
        # Clients that take application/json alone look into the body of a 200 for what is wrong with their document.
        if status == 400 and kind == JSON and refusal.errors[0]["extensions"]["code"] != BAD_REQUEST:
            status = 200
        exchange.respond(status, _HEADS[kind] + refusal.headers, orjson.dumps({"errors": refusal.errors}))

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        state = exchange.state
        if exchange.started:
            if isinstance(state, (Events, Parts, Increments)):
                state.end([of_whole(error)])
            else:
                exchange.abort()
            return
        if isinstance(error, RefusedRequest):
            assert isinstance(state, Facts)
            self._refuse(exchange, state, error.refusal)
            return
        kind = state.json if isinstance(state, Facts) and state.json is not None else JSON
        status = error.http_status or http_status(error.status.code)
        exchange.respond(status, _HEADS[kind] + error.headers, orjson.dumps({"errors": [of_whole(error)]}))


def _token(head: RequestHead) -> str | None:
    """The event stream that the request is about, where its client cannot send the field that says so."""
    if b"token=" not in head.query:
        return None
    found = parse_qs(head.query.decode("latin-1"), max_num_fields=None).get("token")
    return found[0] if found else None


def _unseen(call: Call) -> None:
    """Nobody records the request, or it is a socket's, whose calls are not its own."""
