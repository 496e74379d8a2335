"""Subscriptions over WebSocket, one socket a subscription (graphql-ws, PROTOCOL.md, subprotocol graphql-transport-ws).

A socket carries what one caller may see, so callers do not share them. It is not read while nobody takes its results.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from protogw.call import NO_METADATA, Call, Payload, PayloadStream, Reply
from protogw.errors import BadUpstream, Code, GatewayError, Status, UpstreamReset
from protogw.websocket import NORMAL, SocketClosed, SocketOptions, WebSocket, connected, request_fields
from protogw.wire.close_codes import code_of_close
from protogw.wire.http import ResponseHead
from protogw.wire.http1_chunked import encode_fields
from protogw_translators.error_records import bounded
from protogw_translators.to_graphql_result import error_status, outcome_of

if TYPE_CHECKING:
    from protogw.translator import HttpConnection, HttpStream
    from protogw_translators.to_graphql import Plan

SUBPROTOCOL = "graphql-transport-ws"
ACK_S = 10.0
"""How long the service may take to acknowledge the connection."""
CLOSE_S = 1.0
"""How long a goodbye may take: the caller has its answer, or is gone."""

_ID = "1"
_APPLICATIONS = 3000
"""Close codes from here on are applications' own."""


class Refused(Exception):
    """The service answered the handshake as plain HTTP: `head`, and the rest of `stream`."""

    def __init__(self, head: ResponseHead, stream: HttpStream) -> None:
        super().__init__()
        self.head = head
        self.stream = stream


async def subscribe(
    call: Call, plan: Plan, head: bytes, request: bytes, connection: HttpConnection, limit: int, told: tuple[bytes, ...]
) -> Reply:
    """The reply of a subscription that is asked with this request line and fields; `told` names the metadata that goes
    into the first message too, since pages cannot send fields and services look for it there. Raises Refused."""
    socket = await _connected(head, connection, limit)
    try:
        pairs = {name.decode(): value.decode() for name, value in call.metadata if name in told}
        await socket.send_text(orjson.dumps({"type": "connection_init", **({"payload": pairs} if pairs else {})}))
        async with asyncio.timeout(ACK_S):
            while (message := await _message(socket))["type"] != "connection_ack":
                raise BadUpstream(
                    f"the upstream sent {str(message['type'])[:100]!r} before acknowledging the connection"
                )
        await socket.send_text(b'{"id":"%b","type":"subscribe","payload":%b}' % (_ID.encode(), request))
    except SocketClosed as closed:
        return Reply(status=_status_of(closed))
    except TimeoutError as error:
        socket.abort()
        raise BadUpstream(f"the upstream did not acknowledge the connection in {ACK_S:g} s") from error
    except (GatewayError, asyncio.CancelledError):
        socket.abort()
        raise
    reply = Reply(NO_METADATA)
    reply.payloads = Results(socket, plan, reply)
    return reply


async def _connected(head: bytes, connection: HttpConnection, limit: int) -> WebSocket:
    options = SocketOptions(message_bytes=limit, close_timeout_s=CLOSE_S)
    fields = request_fields(options, (SUBPROTOCOL,))
    stream = connection.open(head + encode_fields(fields), b"")
    try:
        found = await stream.switched(b"websocket")
    except (GatewayError, asyncio.CancelledError):
        stream.cancel()
        raise
    if isinstance(found, ResponseHead):
        raise Refused(found, stream)
    assert stream.switched_head is not None
    socket = connected(found, stream.switched_head, fields, options)
    if socket.subprotocol != SUBPROTOCOL:
        socket.abort()
        raise BadUpstream(f"the upstream's socket does not speak {SUBPROTOCOL}")
    return socket


async def _message(socket: WebSocket) -> dict[str, Any]:
    """The next message that is about the subscription; pings are answered. Raises SocketClosed, BadUpstream."""
    while True:
        data = await socket.receive()
        if isinstance(data, bytes):
            raise BadUpstream("the upstream sent a binary message")
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadUpstream("the upstream sent a message that is not JSON") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise BadUpstream("the upstream sent a message without a type")
        if message["type"] == "ping":
            await socket.send_text(b'{"type":"pong"}')
        elif message["type"] != "pong":
            return message


def _status_of(closed: SocketClosed) -> Status:
    """How a socket that the service closed ended the call; raises UpstreamReset when it says nothing of that."""
    code = code_of_close(closed.code)
    if code in (Code.OK, Code.UNAVAILABLE):
        raise UpstreamReset(f"the upstream ended the subscription before it was complete: {closed}") from closed
    if closed.code < _APPLICATIONS and code is Code.INVALID_ARGUMENT:
        code = Code.INTERNAL  # frames that break the protocol, whoever says so: nothing that the caller sent
    return Status(code, bounded(closed.reason) or f"the upstream closed the subscription: {closed}")


class Results(PayloadStream):
    """A subscription's results. At their end the reply has its status; an error ends them."""

    __slots__ = ("_ended", "_plan", "_reply", "_socket")

    def __init__(self, socket: WebSocket, plan: Plan, reply: Reply) -> None:
        self._socket = socket
        self._plan = plan
        self._reply = reply
        self._ended = False

    async def __anext__(self) -> Payload:
        if self._ended:
            raise StopAsyncIteration
        try:
            payload = self._taken(await _message(self._socket))
        except SocketClosed as closed:
            self._ended = True
            self._reply.status = _status_of(closed)
            raise StopAsyncIteration from None
        except GatewayError:
            self._ended = True
            self._socket.abort()
            raise
        if payload is None:
            await self._goodbye()
            raise StopAsyncIteration
        return payload

    def _taken(self, message: dict[str, Any]) -> Payload | None:
        """The payload of a message; None when the subscription ends with it."""
        kind, said = message["type"], message.get("payload")
        if kind not in ("next", "error", "complete") or message.get("id") != _ID:
            raise BadUpstream(f"the upstream sent a message that was not asked for: {kind[:100]!r}")
        if kind == "complete":
            return None
        if kind == "error":
            self._reply.status = error_status(
                said if isinstance(said, list) else [said], 200, self._plan.method.output.types
            )
            return None
        if not isinstance(said, dict):
            raise BadUpstream("the upstream sent a result that is not an object")
        plan = self._plan
        found = outcome_of(said, b"", plan.document, plan.method.output)
        if found.partial:
            self._reply.trailers = found.partial
        if found.payload is None:
            self._reply.status = found.status
        return found.payload

    async def _goodbye(self, *, told: bool = True) -> None:
        """End the subscription, if the service has not done so, and the socket."""
        self._ended = True
        try:
            async with asyncio.timeout(CLOSE_S):
                if not told:
                    await self._socket.send_text(b'{"id":"%b","type":"complete"}' % _ID.encode())
                await self._socket.close(NORMAL)
        except (SocketClosed, TimeoutError):
            pass
        finally:
            self._socket.abort()

    async def aclose(self) -> None:
        if not self._ended:
            await self._goodbye(told=False)
