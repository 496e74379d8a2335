"""The WebSocket front end: opens sockets for methods and for sessions of many calls, and knows which are open.

A socket for a method is one call of it; at the path for sessions, a socket carries any number of calls. What is wrong
with the request that opens a socket is answered in HTTP, everything after it by a close frame.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.descriptors.model import Method, Spelling, Type
from protogw.errors import Code, GatewayError, NotOffered, Overloaded
from protogw.frontends.base import Bounds, FrontEndSettings
from protogw.frontends.connections import Connection
from protogw.frontends.origins import Origins
from protogw.frontends.websocket.calls import Calls
from protogw.frontends.websocket.document import document
from protogw.frontends.websocket.forms import status_json
from protogw.frontends.websocket.handshake import CALLS, JSON, JSON_RPC, PROTO, Opening
from protogw.frontends.websocket.jsonrpc import JsonRpc
from protogw.frontends.websocket.session import Session
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.frontends.websocket.single import SingleCall
from protogw.frontends.websocket.socket import Socket
from protogw.frontends.websocket.table import Prepared, Table, refuse_query
from protogw.websocket import SocketOptions, accept
from protogw.wire.http import Header
from protogw.wire.http_status import http_status
from protogw.wire.path_safety import check_path

if TYPE_CHECKING:
    from protogw.call import Call
    from protogw.frontends.base import Exchange, Handler, Recorder
    from protogw.wire.http import RequestHead

_ONE_CALL = (JSON, PROTO)
_MANY_CALLS = (CALLS, *JSON_RPC)
_ERROR: Header = (b"content-type", b"application/json")


class WebSockets:
    """Calls over WebSocket: one for each socket, or many in a session."""

    kind: ClassVar[str] = "websocket"
    spelling: ClassVar[Spelling] = Spelling.OWN
    gaps: ClassVar[Mapping[str, str]] = {
        "": "metadata and trailers, for clients that name no subprotocol: they get messages and a close code",
    }
    Settings: ClassVar[type[FrontEndSettings]] = WebSocketSettings
    documents: ClassVar[str] = "asyncapi"

    def __init__(self, settings: WebSocketSettings, bounds: Bounds) -> None:
        self._settings = settings
        self._origins = Origins(settings.origins)
        self._options = SocketOptions(
            message_bytes=settings.message if settings.message is not None else bounds.body,
            deflate=settings.compression,
            ping_interval_s=settings.ping,
            pong_timeout_s=settings.pong,
            idle_s=settings.idle,
        )
        self._sockets: dict[str, Socket] = {}
        self.recorder: Recorder | None = None
        self._table = Table(EMPTY, settings.sessions)

    @property
    def faults(self) -> tuple[str, ...]:
        """Rules of the present catalog that cannot be served or never match, each with the reason."""
        return tuple(self._table.faults)

    @property
    def shows_connections(self) -> bool:
        return self._settings.admin

    @property
    def connections(self) -> Mapping[str, Connection]:
        return self._sockets

    def offered_as(self, method: Method) -> str:
        """The paths of its sockets, where they are not its own."""
        return ", ".join(rule.template for rule in method.sockets)

    def leads_to(self, head: RequestHead) -> Method | None:
        """The method that a request for a socket is a call of; None for a session. Raises what it is refused with."""
        prepared = self._prepared(head)
        binding = prepared.binding
        opening = Opening(head, self._settings, self._origins, _ONE_CALL if binding else _MANY_CALLS, "")
        if binding is None:
            refuse_query(opening.query)
            return None
        binding.bound(prepared.values, opening.query)
        return binding.method

    def offer(self, catalog: Catalog) -> None:
        self._table = Table(catalog, self._settings.sessions)

    def document(self, about: About) -> Document:
        """The AsyncAPI document of the paths at which sockets are opened."""
        return document(self._table.catalog, self._table.bindings, self._settings.sessions, about)

    def accepts(self, head: RequestHead) -> bool:
        if head.upgrade != b"websocket":
            return False
        memo = head.memo
        if not isinstance(memo, Prepared) or memo.table is not self._table:
            memo = self._table.find(head.path)
            if memo is None:
                return False
            head.memo = memo
        return True

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        prepared = self._prepared(exchange.head)
        if len(self._sockets) >= self._settings.sockets:
            raise Overloaded(f"there are {self._settings.sockets} sockets open already")
        id = secrets.token_urlsafe(16)
        binding = prepared.binding
        known = _ONE_CALL if binding is not None else _MANY_CALLS
        opening = Opening(exchange.head, self._settings, self._origins, known, id)
        bound = b""
        if binding is not None:
            bound = binding.bound(prepared.values, opening.query)
        else:
            refuse_query(opening.query)
        wire = await accept(exchange, self._options, (opening.answer,) if opening.answer else ())
        socket = self._sockets[id] = Socket(id, wire, exchange)
        try:
            served: SingleCall | Session
            if binding is not None:
                types = prepared.table.catalog.schemas[binding.method.service].types.get
                served = SingleCall(socket, exchange, binding, opening, bound, self._settings, types)
            else:
                dialect = JsonRpc() if opening.subprotocol in JSON_RPC else Calls()
                record = partial(self._record, exchange)
                served = Session(socket, exchange, dialect, opening, self._settings, self._catalog, record)
            exchange.when_draining(served.drain)
            await served.run(handle)
        finally:
            del self._sockets[id]

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """A JSON error while there is no socket; one that there is was closed with what it is closed for."""
        if exchange.started:
            exchange.abort()
            return
        status = error.http_status if error.http_status is not None else http_status(error.status.code)
        body = status_json(error.status, _no_types) + b"}"
        exchange.respond(status, (_ERROR, *error.headers), body)

    def _prepared(self, head: RequestHead) -> Prepared:
        """What the request's path has found; raises NotOffered, InvalidRequest."""
        prepared = head.memo
        if not isinstance(prepared, Prepared) or prepared.table is not self._table:
            prepared = self._table.find(head.path)
        if prepared is None:
            raise NotOffered("nothing is offered to sockets here", code=Code.NOT_FOUND, http_status=404)
        check_path(head.path, forwarded=False)
        return prepared

    def _catalog(self) -> Catalog:
        return self._table.catalog

    def _record(self, exchange: Exchange, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        if self.recorder is not None:
            self.recorder.record(_Recorded(exchange, call), elapsed_s, error, self.kind)


class _Recorded:
    """One call of a session, for the log: its bytes are the socket's, which has a line of its own."""

    __slots__ = ("bytes_in", "bytes_out", "call", "head", "peer", "status")

    def __init__(self, exchange: Exchange, call: Call) -> None:
        self.head = exchange.head
        self.peer = exchange.peer
        self.call = call
        self.status = exchange.status
        self.bytes_in = self.bytes_out = 0


def _no_types(name: str) -> Type | None:
    return None
