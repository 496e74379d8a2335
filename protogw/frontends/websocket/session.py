"""Many calls over one socket: each runs in a task of its own, and none waits for, or fails with, another.

The session reads; a call's task writes what its service says. A call that nobody takes messages of waits for credit,
a call that is sent more than it has room for is refused, and only a client that reads nothing at all holds up its own
socket. Knows no syntax: that is the dialect's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from protogw.call import NO_METADATA, RENEWED, Call, Encoding, Metadata, Payload
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Method, Type
from protogw.errors import OK, Code, GatewayError, InternalError, NotOffered, Overloaded, Status
from protogw.frontends.enveloped import close
from protogw.frontends.websocket.dialect import (
    Action,
    Cancel,
    Credit,
    Dialect,
    Id,
    Key,
    Message,
    Open,
    Say,
    Send,
    Token,
)
from protogw.frontends.websocket.forms import Types
from protogw.frontends.websocket.handshake import Opening, authorized
from protogw.frontends.websocket.requests import Requests
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.frontends.websocket.single import token_of
from protogw.frontends.websocket.socket import ClientGone, Draining, Socket
from protogw.wire.close_codes import GOING_AWAY, SocketPolicy, close_of_error

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange, Handler

log = logging.getLogger("protogw")


class TooMuch(Overloaded):
    """More was asked of a session, or sent to a call, than it takes at once."""

    code = Code.RESOURCE_EXHAUSTED


class Session:
    """Runs until the client closes, breaks the rules, or the gateway stops and the last call has ended."""

    def __init__(
        self,
        socket: Socket,
        exchange: Exchange,
        dialect: Dialect,
        opening: Opening,
        settings: WebSocketSettings,
        catalog: Callable[[], Catalog],
        record: Callable[[Call, float, GatewayError | None], None],
    ) -> None:
        """`catalog` is asked for what is offered now; `record` is told of each call once it has ended."""
        self.socket = socket
        self.dialect = dialect
        self.exchange = exchange
        self.settings = settings
        self.record = record
        self._opening = opening
        self._catalog = catalog
        self._metadata = opening.metadata
        self._calls: dict[Id, SessionCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._task = asyncio.current_task()
        self._fault: GatewayError | None = None
        self.draining = False
        self._ending = False
        self._loop = asyncio.get_running_loop()
        self._patience: asyncio.TimerHandle | None = None

    async def run(self, handle: Handler) -> None:
        """Serve the session and close the socket; raises the error that it was closed with, for the log."""
        self.socket.owned(self.interrupt, self.dialect.pushed)
        failed: GatewayError | None = None
        try:
            await self._serve(handle)
        except GatewayError as error:
            failed = error
        except asyncio.CancelledError:
            failed = self._fault
            if failed is None or self._task is None:
                self.socket.abort()
                raise
            self._task.uncancel()
        finally:
            self._ending = True
            if self._patience is not None:
                self._patience.cancel()
            await self._end_calls()
        assert failed is not None
        if isinstance(failed, ClientGone):
            self.socket.abort()
        else:
            code = GOING_AWAY if isinstance(failed, Draining) else close_of_error(failed)
            await self.socket.close(code, failed.status.message)
        if not (isinstance(failed, Draining) or (isinstance(failed, ClientGone) and failed.well)):
            raise failed

    def interrupt(self, error: GatewayError) -> None:
        """End the session, and every call of it, with this error. Harmless once it is ending."""
        if not self._ending and self._fault is None and self._task is not None:
            self._fault = error
            self._task.cancel()

    def drain(self) -> None:
        """The gateway stops: nothing new is begun, streams are asked to end, and with the last call the socket ends."""
        if self.draining:
            return
        self.draining = True
        for call in self._calls.values():
            call.drain()
        if not self._calls:
            self.interrupt(Draining("the gateway is stopping"))
            return
        self._own(self._loop.create_task(self._say_leaving()))
        self._patience = self._loop.call_later(self.settings.drain, self._lose_patience)

    async def _say_leaving(self) -> None:
        try:
            await self.say(self.dialect.leaving())
        except ClientGone:
            pass  # whoever reads learns of it

    def _lose_patience(self) -> None:
        for call in self._calls.values():
            if not call.method.unary:
                call.interrupt(Draining("the gateway is stopping"))

    async def _end_calls(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what the client says -----------------------------------------------------------------------------------------

    async def _serve(self, handle: Handler) -> None:
        socket, dialect = self.socket, self.dialect
        if self._opening.token is None and "message" in self.settings.token:
            try:
                async with asyncio.timeout(self.settings.first_message):
                    self._metadata = authorized(self._metadata, token_of(await socket.receive()))
            except TimeoutError:
                raise SocketPolicy("no token came in time") from None
        await self.say(dialect.hello(socket.id, self.settings.calls, self.settings.in_flight))
        while True:
            for action in dialect.read(await socket.receive()):
                await self._act(action, handle)

    async def _act(self, action: Action, handle: Handler) -> None:
        if isinstance(action, Open):
            await self._open(action, handle)
        elif isinstance(action, Token):
            self._metadata = authorized(self._metadata, action.token)
        elif isinstance(action, Say):
            await self.say((action.message,))
        else:
            # A call that has just ended is still spoken of by a client that does not know yet.
            call = self._calls.get(action.id)
            if call is not None:
                self._pass(call, action)

    @staticmethod
    def _pass(call: SessionCall, action: Send | Cancel | Credit) -> None:
        if isinstance(action, Credit):
            call.grant(action.messages)
        elif isinstance(action, Cancel):
            call.interrupt(GatewayError("the client cancelled the call", code=Code.CANCELLED))
        else:
            if action.message is not None:
                call.take(action.message, action.encoding)
            if action.end:
                call.end()

    async def _open(self, action: Open, handle: Handler) -> None:
        key = action.key
        if key.id in self._calls:
            raise SocketPolicy(f"id {str(key.id)[:64]}: a call of this id is under way")
        catalog = self._catalog()
        method = catalog.methods.get(b"/" + action.method.removeprefix("/").encode("utf-8", "replace"))
        refused: GatewayError | None = None
        if method is None:
            refused = NotOffered(f"{action.method[:200]}: no such method")
        elif len(self._calls) >= self.settings.calls:
            refused = TooMuch(f"{self.settings.calls} calls are under way already")
        elif self.draining:
            refused = Draining("the gateway is stopping")
        if method is None or refused is not None:
            assert refused is not None
            await self.say(self.dialect.status(key, refused.status, NO_METADATA, _no_types))
            return
        key.unary = not method.server_streaming
        self.socket.calls += 1
        call = self._calls[key.id] = SessionCall(self, action, method, catalog)
        metadata = self._metadata
        if action.metadata:
            # What the socket was opened with holds for all its calls; a call's own fields take the place of theirs.
            metadata = metadata.without(name for name, _ in action.metadata if name not in _KEPT).adding(
                *(pair for pair in action.metadata if pair[0] not in _KEPT)
            )
        task = self._loop.create_task(call.run(handle, metadata, action.timeout))
        call.task = task
        self._own(task)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what calls say -----------------------------------------------------------------------------------------------

    async def say(self, messages: Iterable[Message]) -> None:
        """Send what the dialect wrote; raises ClientGone."""
        for message in messages:
            await self.socket.send(message)

    def renewed(self) -> Metadata:
        """What a call would be made with now: the client may have said anew who it is."""
        return self._metadata

    @property
    def now(self) -> float:
        return self._loop.time()

    def over(self, call: SessionCall) -> None:
        """A call has ended, and its status was sent."""
        self._calls.pop(call.key.id, None)
        if self.draining and not self._calls:
            self.interrupt(Draining("the gateway is stopping"))


_KEPT = frozenset((b"authorization",))
"""Fields that a call cannot have of its own: who the client is, it says once for the session."""


class SessionCall:
    """One call of a session."""

    def __init__(self, session: Session, action: Open, method: Method, catalog: Catalog) -> None:
        self.key: Key = action.key
        self.method = method
        self.task: asyncio.Task[None] | None = None
        self._session = session
        self._types: Types = catalog.schemas[method.service].types.get
        self._window = session.settings.in_flight
        self._requests = Requests(self._window)
        self._granted = self._window
        """Messages that the client may send now."""
        self._taken = 0
        """Messages that the service took and the client does not know of yet."""
        self._credit = action.credit
        self._lacking: asyncio.Future[None] | None = None
        self._fault: GatewayError | None = None
        self._begun = False
        self._ended = False
        if action.message is not None or not method.client_streaming:
            data = action.message if action.message is not None else b""
            encoding = action.encoding if data else Encoding.PROTO
            self._requests.add(Payload(data, encoding, method.input.codec))
        if action.end or not method.client_streaming:
            self._requests.end()

    # --- from the client ----------------------------------------------------------------------------------------------

    def take(self, data: bytes, encoding: Encoding) -> None:
        """A further message; one too many ends the call, not the session."""
        if not self.method.client_streaming:
            self.interrupt(SocketPolicy("the method takes one request message, and more were sent"))
        elif self._requests.ended:
            if not self._session.draining:
                self.interrupt(SocketPolicy("a message after the end of the request"))
        elif self._granted <= 0 or self._requests.full:
            self.interrupt(TooMuch(f"more than {self._window} messages wait for the service"))
        else:
            if self._session.dialect.grants:
                self._granted -= 1
            self._requests.add(Payload(data, encoding if data else Encoding.PROTO, self.method.input.codec))

    def end(self) -> None:
        self._requests.end()

    def grant(self, messages: int) -> None:
        """The client takes more."""
        if self._credit is not None:
            self._credit += messages
            if self._lacking is not None and not self._lacking.done():
                self._lacking.set_result(None)

    def drain(self) -> None:
        self._requests.end()

    def interrupt(self, error: GatewayError) -> None:
        """End the call with this error. Harmless once it has ended."""
        if not self._ended and self._fault is None and self.task is not None:
            self._fault = error
            # A task that is cancelled before its first step never takes one, and could not say how the call ended.
            if self._begun:
                self.task.cancel()

    # --- the call -----------------------------------------------------------------------------------------------------

    async def run(self, handle: Handler, metadata: Metadata, timeout_s: float | None) -> None:
        """Carry it and say how it ended. Owned by the session, which alone cancels it without a word."""
        session = self._session
        started = session.now
        payload = await anext(self._requests) if not self.method.client_streaming else None
        call = Call(
            self.method,
            metadata,
            front_end="websocket",
            peer=session.exchange.peer,
            started=started,
            head=session.exchange.head,
            payload=payload,
            payloads=self if payload is None else None,
            timeout=timeout_s,
        )
        call.attributes = {"connection": session.socket.id, RENEWED: session.renewed}
        failed: GatewayError | None = None
        status, trailers = OK, NO_METADATA
        self._begun = True
        try:
            if self._fault is not None:
                raise self._fault
            status, trailers = await self._carry(call, handle)
        except GatewayError as error:
            failed = error
        except asyncio.CancelledError:
            failed = self._why(call)
            if failed is None:
                session.record(call, session.now - started, GatewayError("the session ended", code=Code.CANCELLED))
                raise
        except Exception:  # a fault of ours in one call must not harm the session's others
            log.exception("a fault of the gateway's own in %r", call)
            failed = InternalError()
        finally:
            self._ended = True
            call.ended()
        session.record(call, session.now - started, failed)
        if failed is not None:
            status = failed.status
        try:
            await session.say(session.dialect.status(self.key, status, trailers, self._types))
        except ClientGone:
            pass  # the session learns of it where it reads
        finally:
            session.over(self)

    def _why(self, call: Call) -> GatewayError | None:
        failed = self._fault
        if failed is None:
            failed = call.cut
        if failed is not None and self.task is not None:
            self.task.uncancel()
        return failed

    async def _carry(self, call: Call, handle: Handler) -> tuple[Status, Metadata]:
        session, dialect, key = self._session, self._session.dialect, self.key
        reply = await handle(call)
        await session.say(dialect.lead(key, reply.metadata.adding(*call.noted()) if call.notes else reply.metadata))
        if reply.payloads is not None:
            try:
                async for payload in reply.payloads:
                    await self._send(payload)
            finally:
                await close(reply.payloads)
        elif reply.payload is not None and reply.status.code == Code.OK:
            await self._send(reply.payload)
        return reply.status, reply.trailers

    async def _send(self, payload: Payload) -> None:
        if self._credit is not None:
            while self._credit <= 0:
                self._lacking = asyncio.get_running_loop().create_future()
                try:
                    await self._lacking
                finally:
                    self._lacking = None
            self._credit -= 1
        await self._session.say(self._session.dialect.message(self.key, payload))

    # --- the request's messages, as the service takes them ------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """It is the client's turn."""
        return self._requests.waiting

    def __aiter__(self) -> SessionCall:
        return self

    async def __anext__(self) -> Payload:
        payload = await anext(self._requests)
        self._taken += 1
        if self._taken * 2 >= self._window and self._session.dialect.grants and not self._requests.ended:
            taken, self._taken = self._taken, 0
            self._granted += taken
            await self._session.say(self._session.dialect.credit(self.key, taken))
        return payload


def _no_types(name: str) -> Type | None:
    return None
