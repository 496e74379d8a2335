"""Calls over WebSocket: to a service whose messages are JSON or protobuf, on sockets of their own or on shared ones.

A socket of its own carries any shape: the call's messages are the socket's, and how it is closed is the call's status.
On a shared one, unary calls and server streams find their replies by an id or a topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import OK, BadUpstream, Code, GatewayError, InvalidRequest, NotOffered, UpstreamReset
from protogw_translators.request_pump import RequestPump
from protogw_translators.to_websocket_ends import HALF_CLOSE
from protogw_translators.to_websocket_handshake import Handshakes
from protogw_translators.to_websocket_messages import Found, Frame
from protogw_translators.to_websocket_plan import Plan
from protogw_translators.to_websocket_settings import WebSocketOptions
from protogw_translators.to_websocket_shared import Lane, SharedSocket
from protogw_translators.to_websocket_stream import OwnSocket, OwnStream, SharedStream, next_found

if TYPE_CHECKING:
    from protogw.descriptors.model import Method, Schema
    from protogw.translator import HttpConnection
    from protogw.websocket import WebSocket

_DEFAULTS = WebSocketOptions()


class ToWebSocket:
    """The translator to WebSocket services behind one authority."""

    kind: ClassVar[str] = "websocket"
    gaps: ClassVar[Mapping[str, str]] = {
        "": "trailers, unless the service speaks protogw.json or protogw.proto; on shared sockets metadata too",
    }
    default_schema: ClassVar[str] = ""
    takes_path: ClassVar[bool] = True
    transport: ClassVar[str] = "http/1.1"
    Settings: ClassVar[type[WebSocketOptions]] = WebSocketOptions

    def __init__(
        self,
        authority: str,
        *,
        message_limit: int = 64 << 20,
        base_path: str = "",
        user_agent: str = "protogw",
        scheme: str = "http",
        settings: WebSocketOptions = _DEFAULTS,
    ) -> None:
        self._settings = settings
        self._base_path = base_path
        self._handshakes = Handshakes(authority, settings, message_limit=message_limit, user_agent=user_agent)
        # Keyed by path and not by method: a schema that is read again replaces what it had, and leaves nothing behind.
        self._plans: dict[bytes, Plan] = {}
        self._lanes: dict[object, Lane] = {}
        self._closing: set[asyncio.Task[None]] = set()
        """Sockets on their way to being closed."""

    def lane(self, call: Call) -> Lane | None:
        """The sockets that the call's method shares with others, None if it has one for each call."""
        assert call.method is not None
        plan = self._plan(call.method)
        key = plan.lane_key
        if key is None:
            return None
        found = self._lanes.get(key)
        if found is None:
            found = self._lanes[key] = Lane(plan, self._settings, self._open_shared)
        return found

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        assert call.method is not None
        plan = self._plan(call.method)
        if isinstance(connection, SharedSocket):
            return await self._shared(call, plan, connection)
        if call.method.client_streaming:
            return await self._streamed(call, plan, connection)
        payload = call.payload
        assert payload is not None
        frame = None if plan.silent else plan.requests.encode(payload)
        target, extra = plan.target(payload)
        wire, lead = await self._handshakes.open(connection, target, call, extra)
        socket = OwnSocket(wire, self._closing)
        try:
            if frame is not None:
                await socket.write(frame)
            return await self._answer(plan, socket, lead, None)
        except BaseException:
            socket.cancel()
            raise

    def faults(self, schema: Schema) -> list[str]:
        """Options that name no method, and methods that cannot be spoken to as the options say."""
        methods = {
            method.full_name: method for service in schema.services.values() for method in service.methods.values()
        }
        unknown = [name for name in self._settings.methods if name not in methods]
        found = [f"websocket_options.methods: there is no method {name}" for name in unknown]
        for method in methods.values():
            try:
                Plan(method, self._settings, self._base_path)
            except NotOffered as error:
                found.append(error.message)
        return found

    def _plan(self, method: Method) -> Plan:
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            plan = self._plans[method.path] = Plan(method, self._settings, self._base_path)
        return plan

    async def _open_shared(self, connection: HttpConnection, target: bytes) -> WebSocket:
        wire, _ = await self._handshakes.open(connection, target)
        return wire

    # --- a socket for each call ---------------------------------------------------------------------------------------

    async def _streamed(self, call: Call, plan: Plan, connection: HttpConnection) -> Reply:
        """A call whose request is a stream; where the address needs a field, the first message has it."""
        payloads = call.payloads
        assert payloads is not None
        first: Payload | None = None
        if not plan.fixed:
            first = await anext(payloads, None)
            if first is None:
                raise InvalidRequest(f"{plan.method.full_name}: at least one message is needed, for the address")
        try:
            target, extra = plan.target(first)
            wire, lead = await self._handshakes.open(connection, target, call, extra)
        except GatewayError as error:
            raise _final(error) if first is not None else error from error
        socket = OwnSocket(wire, self._closing, closes=plan.closes)
        pump = RequestPump(socket, _Messages(plan, payloads, first, socket.tells), consumed=first is not None)
        try:
            return await self._answer(plan, socket, lead, pump)
        except BaseException as error:
            socket.cancel()
            await pump.stop()
            if isinstance(error, GatewayError) and (cause := pump.blame(error)) is not error:
                raise cause from error
            raise

    async def _answer(self, plan: Plan, socket: OwnSocket, lead: Metadata, pump: RequestPump | None) -> Reply:
        method = plan.method
        reply = Reply(lead)
        if method.server_streaming:
            reply.payloads = OwnStream(reply, socket, plan.replies, pump)
            return reply
        if not plan.answered:
            return await self._delivered(plan, socket, reply, pump)
        found = await next_found(socket, plan.replies)
        if socket.tells and found.final is None:
            last = await next_found(socket, plan.replies)
            if last.payload is not None:
                raise BadUpstream(f"{method.full_name}: the upstream sent more than one reply")
            found = Found(found.payload, last.final, last.end)
        if found.end is not None:
            reply.metadata = lead.adding(*found.end.metadata)
            reply.trailers = found.end.trailers
        _only(plan, found, reply)
        if pump is not None:
            await pump.stop()
        socket.close()
        return reply

    @staticmethod
    async def _delivered(plan: Plan, socket: OwnSocket, reply: Reply, pump: RequestPump | None) -> Reply:
        """The reply to a call that gets none: once all is sent, and the service has closed as well."""
        if pump is not None:
            await pump.done()
        await socket.wire.close()
        while (found := await next_found(socket, plan.replies)).final is None:
            pass  # what came before it heard of the end is for nobody
        reply.status = found.final
        if found.final.code is Code.OK:
            reply.payload = Payload(b"", Encoding.PROTO, plan.method.output.codec)
        return reply

    # --- shared sockets -----------------------------------------------------------------------------------------------

    async def _shared(self, call: Call, plan: Plan, socket: SharedSocket) -> Reply:
        payload = call.payload
        assert payload is not None
        inbox, own = await socket.ask(plan, payload)
        reply = Reply()
        if not plan.answered:
            socket.leave(inbox)
            reply.payload = Payload(b"", Encoding.PROTO, plan.method.output.codec)
            return reply
        cancel = plan.settings.cancel
        if plan.method.server_streaming:
            reply.payloads = SharedStream(reply, socket, inbox, own, cancel)
            return reply
        done = False
        try:
            found = await inbox.get()
            done = True
        finally:
            socket.leave(inbox, cancel=None if done else cancel)
        if own and found.payload is not None:
            found = Found(plan.replies.restored(found.payload, own), found.final)
        _only(plan, found, reply)
        return reply


def _only(plan: Plan, found: Found, reply: Reply) -> None:
    """Put into the reply what is all of it."""
    reply.payload = found.payload
    status = found.final
    if found.payload is not None or (status is not None and status.code is not Code.OK):
        reply.status = status or OK
        return
    raise BadUpstream(f"{plan.method.full_name}: the upstream ended the call without a reply")


def _final(error: GatewayError) -> GatewayError:
    """The same without the promise that another try is safe: a message has been read."""
    return UpstreamReset(error.message) if error.retryable else error


class _Messages(AsyncIterator[Frame]):
    """A request's messages as they go to the service, and what says that they have ended."""

    __slots__ = ("_first", "_last", "_payloads", "_plan")

    def __init__(self, plan: Plan, payloads: AsyncIterator[Payload], first: Payload | None, tells: bool) -> None:
        self._plan = plan
        self._payloads = payloads
        self._first = None if plan.silent else first
        self._last = HALF_CLOSE if tells and plan.half_close is None else plan.half_close

    async def __anext__(self) -> Frame:
        payload = self._first
        self._first = None
        if payload is None:
            payload = await anext(self._payloads, None)
        if payload is not None:
            return self._plan.requests.encode(payload)
        last = self._last
        if last is None:
            raise StopAsyncIteration
        self._last = None
        return Frame(last.encode(), True)
