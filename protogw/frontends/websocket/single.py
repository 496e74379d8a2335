"""One call over one socket: its messages are the request, those of the service the reply, a close frame the status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from protogw.call import NO_METADATA, Call, Encoding, Payload, Reply
from protogw.errors import OK, GatewayError, Status, UnsupportedMedia
from protogw.frontends.enveloped import close
from protogw.frontends.websocket.forms import Form, Types, end_record
from protogw.frontends.websocket.handshake import Opening, authorized
from protogw.frontends.websocket.requests import Requests
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.frontends.websocket.socket import ClientGone, Draining, Socket
from protogw.frontends.websocket.table import Binding
from protogw.wire.close_codes import GOING_AWAY, SocketPolicy, close_of_error, close_of_status

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange, Handler

LINGER_S = 5.0
"""How long a call may go on whose client said all it had to and closed, so that the service still gets everything."""


class SingleCall:
    """Runs it. `bound` are the fields that path and query give."""

    def __init__(
        self,
        socket: Socket,
        exchange: Exchange,
        binding: Binding,
        opening: Opening,
        bound: bytes,
        settings: WebSocketSettings,
        types: Types,
    ) -> None:
        self._socket = socket
        self._exchange = exchange
        self._binding = binding
        self._opening = opening
        self._bound = bound
        self._settings = settings
        self._types = types
        self._form = Form(binding.method, opening.subprotocol, bound)
        self._requests = Requests(settings.in_flight)
        self._metadata = opening.metadata
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._token: asyncio.Future[str] | None = None
        """Waits for the first message, where that is the token."""
        self._reply: Reply | None = None
        self._fault: GatewayError | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._deaf: ClientGone | None = None
        """The client closed well, and reads no more."""
        self._draining = False
        self._ending = False

    async def run(self, handle: Handler) -> None:
        """Carry the call and close the socket; raises the error that it was closed with, for the log."""
        self._socket.owned(self.interrupt)
        if self._opening.token is None and "message" in self._settings.token:
            self._token = self._loop.create_future()
        reader = self._loop.create_task(self._read())
        failed: GatewayError | None = None
        status = OK
        try:
            status = await self._carry(handle)
        except GatewayError as error:
            failed = error
        except asyncio.CancelledError:
            failed = self._why()
            if failed is None:
                self._socket.abort()
                raise
        finally:
            self._ending = True
            reader.cancel()
            if self._patience is not None:
                self._patience.cancel()
        await self._end(failed, status)
        if failed is not None:
            raise failed

    def interrupt(self, error: GatewayError) -> None:
        """End the call with this error. Harmless once it is ending."""
        if not self._ending and self._fault is None and self._task is not None:
            self._fault = error
            self._task.cancel()

    def drain(self) -> None:
        """The gateway stops: streams are asked to end and get a moment for it, and what has not begun never will."""
        if self._draining:
            return
        self._draining = True
        if self._exchange.call is None:
            self.interrupt(Draining("the gateway is stopping"))
            return
        self._requests.end()
        if not self._binding.method.unary:
            self._let_go(self._settings.drain, Draining("the gateway is stopping"))

    def _let_go(self, seconds: float, error: GatewayError) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(seconds, self.interrupt, error)

    def _why(self) -> GatewayError | None:
        """What cancelled the call, if it was not whoever runs it."""
        call = self._exchange.call
        failed = self._fault
        if failed is None and call is not None:
            failed = call.cut
        if failed is not None and self._task is not None:
            self._task.uncancel()
        return failed

    # --- the client's messages ----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Owned by `run`."""
        try:
            while True:
                await self._take(await self._socket.receive())
        except ClientGone as error:
            self._left(error)
        except GatewayError as error:
            self.interrupt(error)

    async def _take(self, message: str | bytes) -> None:
        requests = self._requests
        token = self._token
        if token is not None and not token.done():
            token.set_result(token_of(message))
        elif self._form.ends(message):
            requests.end()
        elif not requests.ended:
            await requests.put(self._form.read(message))
            if not self._binding.streams:
                requests.end()
        elif not self._draining:
            raise SocketPolicy("a message after the end of the request")

    def _left(self, error: ClientGone) -> None:
        """The client closed: its call is given up, unless it may have said all it wanted to."""
        if error.well and self._binding.streams and self._exchange.call is not None:
            self._deaf = error
            self._requests.end()
            self._let_go(LINGER_S, error)
        else:
            self.interrupt(error)

    # --- the call -----------------------------------------------------------------------------------------------------

    async def _carry(self, handle: Handler) -> Status:
        """Make the call and send what it brings; returns its status."""
        binding = self._binding
        payload: Payload | None = None
        try:
            async with asyncio.timeout(self._settings.first_message):
                if self._token is not None:
                    self._metadata = authorized(self._metadata, await self._token)
                if binding.starts:
                    payload = Payload(self._bound, Encoding.PROTO, binding.method.input.codec)
                    self._requests.end()
                elif not binding.streams:
                    payload = await self._only()
        except TimeoutError:
            raise SocketPolicy("no message came in time") from None
        call = self._exchange.call = Call(
            binding.method,
            self._metadata,
            front_end="websocket",
            peer=self._exchange.peer,
            started=self._loop.time(),
            head=self._exchange.head,
            payload=payload,
            payloads=self._requests if payload is None else None,
            timeout=self._opening.timeout,
        )
        call.attributes = {"connection": self._socket.id, "bound": self._bound}
        self._socket.calls = 1
        reply = self._reply = await handle(call)
        if reply.payloads is not None:
            try:
                async for message in reply.payloads:
                    await self._send(message)
            finally:
                await close(reply.payloads)
        elif reply.payload is not None and reply.status.code is OK.code:
            await self._send(reply.payload)
        if self._deaf is not None:
            raise self._deaf
        return reply.status

    async def _only(self) -> Payload:
        """The one message of a call that takes one."""
        async for payload in self._requests:
            return payload
        raise SocketPolicy("the method takes one request message, and none was sent")

    async def _send(self, payload: Payload) -> None:
        message = self._form.write(payload)
        if self._deaf is None:
            try:
                await self._socket.send(message)
            except ClientGone as error:
                self._left(error)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _end(self, failed: GatewayError | None, status: Status) -> None:
        """Tell the client how it ended, and close."""
        if isinstance(failed, ClientGone):
            self._socket.abort()
            return
        if failed is not None:
            status = failed.status
            code = GOING_AWAY if isinstance(failed, Draining) else close_of_error(failed)
        else:
            code = GOING_AWAY if self._draining and status.code is OK.code else close_of_status(status)
        try:
            if self._form.tells_end:
                reply = self._reply
                lead, trailers = (reply.metadata, reply.trailers) if reply is not None else (NO_METADATA, NO_METADATA)
                if self._exchange.call is not None:
                    lead = lead.adding(*self._exchange.call.noted())
                await self._socket.send("")
                await self._socket.send(end_record(status, lead, trailers, self._types))
            await self._socket.close(code, status.message)
        except ClientGone:
            self._socket.abort()


def token_of(message: str | bytes) -> str:
    """The token of a first message, `{"access_token": "…"}`; raises SocketPolicy, UnsupportedMedia."""
    if isinstance(message, bytes):
        raise UnsupportedMedia("the first message is the token, which is text")
    try:
        found = orjson.loads(message)
    except orjson.JSONDecodeError:
        found = None
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str):
        raise SocketPolicy('the first message must be the token, {"access_token": "…"}')
    return token
