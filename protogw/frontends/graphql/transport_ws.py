"""GraphQL over WebSocket: the graphql-transport-ws protocol (graphql-ws's PROTOCOL.md) on an open socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from protogw.call import Metadata
from protogw.frontends.graphql.execute import Origin, Response
from protogw.frontends.graphql.operations import Operations, perform
from protogw.frontends.graphql.refusals import Refused
from protogw.frontends.graphql.request import params_of
from protogw.frontends.graphql.served import Served
from protogw.frontends.graphql.settings import GraphqlSettings
from protogw.websocket import SocketClosed, WebSocket
from protogw.wire.http import Header
from protogw.wire.metadata import forwardable

SUBPROTOCOL = "graphql-transport-ws"

NOT_ACCEPTABLE = 4406
BAD_MESSAGE, UNAUTHORIZED, FORBIDDEN, INIT_TIMEOUT, ID_TAKEN, TOO_MANY_INITS = 4400, 4401, 4403, 4408, 4409, 4429

_CREDENTIALS = frozenset((b"authorization",))
_ACK = b'{"type":"connection_ack"}'
_TOO_MANY = {"message": "too many operations are under way", "extensions": {"code": "RESOURCE_EXHAUSTED"}}


class _Fault(Exception):
    """The client breaks the protocol: the socket is closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Session:
    """One socket: its initialisation, then its operations."""

    def __init__(
        self,
        socket: WebSocket,
        settings: GraphqlSettings,
        served: Callable[[], Awaitable[Served]],
        origin: Callable[[Metadata], Origin],
        metadata: Metadata,
    ) -> None:
        """`origin` makes what the calls of one operation come from, of the metadata; `metadata` is the handshake's."""
        self._socket = socket
        self._settings = settings
        self._served = served
        self._origin = origin
        self._metadata = metadata
        self._told: frozenset[bytes] = _CREDENTIALS
        """The names of metadata that a ping may bring anew."""
        self._operations = Operations(settings.limits.subscriptions)
        self._ready = False

    async def run(self) -> None:
        """Serve the socket until it is closed."""
        try:
            try:
                async with asyncio.timeout(self._settings.init_timeout):
                    while not self._ready:
                        await self._message(await self._socket.receive())
            except TimeoutError:
                raise _Fault(INIT_TIMEOUT, "Connection initialisation timeout") from None
            while True:
                await self._message(await self._socket.receive())
        except SocketClosed:
            pass
        except _Fault as fault:
            await self._operations.end()
            await self._socket.close(fault.code, fault.reason)
        finally:
            await self._operations.end()

    async def _message(self, data: str | bytes) -> None:
        try:
            message: Any = orjson.loads(data) if isinstance(data, str) else None
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise _Fault(BAD_MESSAGE, "Invalid message received")
        kind = message.get("type")
        if kind == "subscribe":
            await self._subscribe(message)
        elif kind == "complete":
            self._operations.cancel(_id(message))
        elif kind == "ping":
            await self._ping(message.get("payload"))
        elif kind == "connection_init":
            await self._init(message.get("payload"))
        elif kind != "pong":
            raise _Fault(BAD_MESSAGE, "Invalid message received")

    async def _init(self, payload: Any) -> None:
        if self._ready:
            raise _Fault(TOO_MANY_INITS, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Fault(BAD_MESSAGE, "connection_init: the payload is not an object")
        if payload:
            said = _fields(payload)
            if said is None:
                raise _Fault(FORBIDDEN, "Forbidden")
            self._take(said)
            self._told = self._told.union(name for name, _ in said)
        self._ready = True
        await self._socket.send_text(_ACK)

    def _take(self, said: tuple[Header, ...]) -> None:
        """Have this in place of what is known under the same names."""
        self._metadata = Metadata((*self._metadata.without(name for name, _ in said).pairs, *said))

    async def _ping(self, payload: Any) -> None:
        """Answer with what came, but for what says anew who the client is: there can be no second connection_init."""
        answer: dict[str, Any] = {"type": "pong"}
        if isinstance(payload, dict):
            renewed = {name: value for name, value in payload.items() if self._ready and self._renews(name, value)}
            if renewed:
                said = _fields(renewed)
                if said is None:
                    raise _Fault(FORBIDDEN, "Forbidden")
                self._take(said)
            if len(renewed) < len(payload) or not payload:
                answer["payload"] = {name: value for name, value in payload.items() if name not in renewed}
        await self._socket.send_text(orjson.dumps(answer))

    def _renews(self, name: str, value: Any) -> bool:
        return isinstance(value, str) and name.lower().encode("utf-8", "replace") in self._told

    async def _subscribe(self, message: Mapping[str, Any]) -> None:
        if not self._ready:
            raise _Fault(UNAUTHORIZED, "Unauthorized")
        name = _id(message)
        try:
            params = params_of(message.get("payload"))
        except Refused as refusal:
            raise _Fault(BAD_MESSAGE, "subscribe: the payload is no GraphQL request") from refusal
        if name in self._operations:
            raise _Fault(ID_TAKEN, f"Subscriber for {name[:60]} already exists")
        if self._operations.full:
            await self._send("error", name, [_TOO_MANY])
            return

        # Of what was said before it: a ping may follow at once.
        origin = self._origin(self._metadata)
        origin.renewed = lambda: self._metadata

        async def send(response: Response) -> None:
            await self._send("next", name, response)

        async def work() -> None:
            try:
                try:
                    await perform(await self._served(), params, origin, send)
                except Refused as refusal:
                    await self._send("error", name, list(refusal.errors))
                else:
                    await self._socket.send_text(orjson.dumps({"id": name, "type": "complete"}))
            except SocketClosed:
                return  # whoever receives learns of it

        self._operations.start(name, work())

    async def _send(self, kind: str, name: str, payload: Any) -> None:
        await self._socket.send_text(orjson.dumps({"id": name, "type": kind, "payload": payload}))


def _id(message: Mapping[str, Any]) -> str:
    name = message.get("id")
    if not isinstance(name, str) or not name or len(name) > 256:
        raise _Fault(BAD_MESSAGE, "Invalid message received")
    return name


def _fields(payload: Mapping[str, Any]) -> tuple[Header, ...] | None:
    """The texts of a connection_init's payload as metadata, which a page cannot send in its handshake; None when one
    of them could not have come as a header field either."""
    found: list[Header] = []
    for name, value in payload.items():
        if not isinstance(value, str):
            continue
        key = name.lower()
        if not key.isascii() or not key.replace("-", "").replace("_", "").isalnum():
            continue
        if not value.isascii() or not value.isprintable():
            return None
        found.append((key.encode(), value.encode()))
    return forwardable(found)
