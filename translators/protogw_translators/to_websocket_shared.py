"""Sockets that many calls share: replies find their calls by an id or a topic (pools/base.py Lane, Connector,
PooledConnection).

When a socket breaks, the calls on it fail; the pool opens another one for those that come, by its own rules of backoff.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson

from protogw.errors import (
    BadUpstream,
    Code,
    GatewayError,
    InternalError,
    InvalidRequest,
    Overloaded,
    Unprocessed,
    Unreachable,
    UpstreamError,
    UpstreamReset,
)
from protogw.websocket import SocketClosed, WebSocket
from protogw.wire.close_codes import NORMAL
from protogw_translators.to_websocket_inbox import Calls, Inbox
from protogw_translators.to_websocket_messages import Frame
from protogw_translators.to_websocket_settings import WebSocketOptions

if TYPE_CHECKING:
    from protogw.call import Payload
    from protogw.pools.base import Connector, PooledConnection
    from protogw.translator import HttpConnection, HttpStream
    from protogw_translators.to_websocket_plan import Plan

log = logging.getLogger("protogw")


class Lane:
    """What calls have in common that may share sockets (pools/base.py Lane)."""

    def __init__(
        self,
        plan: Plan,
        settings: WebSocketOptions,
        opens: Callable[[HttpConnection, bytes], Coroutine[Any, Any, WebSocket]],
    ) -> None:
        self.plan = plan
        """Of any of its methods: they read ids alike."""
        self.settings = settings
        self.opens = opens
        self.target, _ = plan.target(None)

    @property
    def max_connections(self) -> int:
        return self.settings.sockets_per_endpoint

    def over(self, connector: Connector) -> SocketConnector:
        return SocketConnector(self, connector)


class SocketConnector:
    """Opens shared sockets over the connections of another connector."""

    def __init__(self, lane: Lane, connector: Connector) -> None:
        self._lane = lane
        self._connector = connector

    async def connect(self, host: str, port: int) -> SharedSocket:
        """A socket that the service has accepted; raises Unreachable."""
        line = await self._connector.connect(host, port)
        try:
            socket = await self._lane.opens(line, self._lane.target)
        except UpstreamError as error:
            line.close()
            raise Unreachable(error.status.message, code=error.status.code, where=f"{host}:{port}") from error
        except BaseException:
            line.close()
            raise
        return SharedSocket(line, socket, self._lane)


class SharedSocket:
    """One socket and the calls on it (pools/base.py PooledConnection)."""

    def __init__(self, line: PooledConnection, socket: WebSocket, lane: Lane) -> None:
        settings = lane.settings
        self.closed = False
        self.on_change: Callable[[PooledConnection], None] | None = None
        self._line = line
        self._socket = socket
        self._lane = lane
        self._most = settings.calls_per_socket
        self._slow = settings.slow
        self._idle = settings.idle
        self._calls = Calls()
        self._draining = False
        self._loop = asyncio.get_running_loop()
        self._quiet_since = self._loop.time()
        """When its last call ended. One timer looks at it now and then: calls come and go too often for one each."""
        self._quiet = self._loop.call_later(self._idle, self._look) if self._idle else None
        self._tasks = {self._loop.create_task(self._run())}

    @property
    def room(self) -> int:
        return 0 if self.closed or self._draining else self._most - len(self._calls)

    @property
    def active(self) -> int:
        return len(self._calls)

    @property
    def transport(self) -> Any:
        return self._line.transport  # type: ignore[attr-defined]

    def open(self, head: bytes, body: bytes | None) -> HttpStream:
        raise InternalError  # it has left HTTP

    # --- calls --------------------------------------------------------------------------------------------------------

    async def ask(self, plan: Plan, payload: Payload) -> tuple[Inbox, str]:
        """Send a request. Returns where its replies come in, and the id that the client itself had given it.

        `leave` must be called with that once no more is wanted. Raises GatewayError, retryable if nothing was sent.
        """
        if self.closed or self._draining:
            raise Unprocessed("the socket takes no more calls")
        settings = self._lane.settings
        requests = plan.requests
        member = requests.member
        assert member is not None
        own = ""
        if plan.settings.topic is not None:
            frame = requests.encode(payload)
            key = requests.key(frame)
            if not key:
                raise InvalidRequest(f"{member.name}: says what the call is about, and is not given")
        else:
            key = self._calls.new_key(number=member.number)
            frame, own = requests.keyed(payload, key)
        inbox = Inbox(plan.replies, messages=settings.queue, size=settings.queue_bytes)
        self._calls.add(inbox, key)
        try:
            await self._send(frame)
        except BaseException:
            self.leave(inbox)
            raise
        return inbox, own

    def leave(self, inbox: Inbox, *, cancel: str | None = None) -> None:
        """The call has ended; with `cancel`, the service is told so if no other call is known by the same."""
        calls = self._calls
        was_full = len(calls) >= self._most
        alone = calls.remove(inbox)
        inbox.leave()
        if self.closed:
            return
        if alone and cancel is not None:
            said = cancel.replace("{id}", orjson.dumps(inbox.key).decode())
            self._spawn(self._tell(Frame(said.encode(), True)))
        if not calls:
            if self._draining:
                self._shut()
                return
            self._quiet_since = self._loop.time()
        if was_full and self.on_change is not None:
            self.on_change(self)

    async def _send(self, frame: Frame) -> None:
        try:
            if frame.text:
                await self._socket.send_text(frame.data)
            else:
                await self._socket.send(frame.data)
        except SocketClosed as closed:
            raise _broken(closed) from None

    async def _tell(self, frame: Frame) -> None:
        try:
            await self._send(frame)
        except GatewayError:
            pass  # whoever reads the socket learns of it, and the calls by that

    # --- what comes ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Read the socket until it ends, and give each message to its calls."""
        fault: GatewayError
        try:
            while True:
                message = await self._socket.receive()
                if message.__class__ is str:
                    await self._deliver(message.encode(), True)
                else:
                    await self._deliver(message, False)  # type: ignore[arg-type]
        except SocketClosed as closed:
            fault = _broken(closed)
        except GatewayError as error:
            # What cannot be read may have been anyone's reply: nobody can be left waiting for it.
            fault = error
        self._end(fault)

    async def _deliver(self, data: bytes, text: bool) -> None:
        replies = self._lane.plan.replies
        tree = replies.parse(data, text)
        key = replies.key(data, tree)
        size = len(data)
        for inbox in self._calls.of(key):
            try:
                found = inbox.replies.found(data, tree)
            except BadUpstream as error:
                inbox.fail(error)
                continue
            if found is None:
                continue
            if inbox.full:
                if self._slow == "block":
                    await inbox.room()
                elif self._slow == "drop_oldest":
                    inbox.drop_oldest()
                else:
                    inbox.fail(_too_slow(), at_once=True)
            inbox.put(found, size)

    # --- its life -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Without a call, it is kept for a while."""
        left = self._idle if self._calls else self._quiet_since + self._idle - self._loop.time()
        if left <= 0:
            self.drain()
        else:
            self._quiet = self._loop.call_later(left, self._look)

    def _stir(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def drain(self) -> None:
        """Take no more calls; close once the last one in flight has ended."""
        self._draining = True
        if not self._calls:
            self._shut()
        elif self.on_change is not None:
            self.on_change(self)

    def _shut(self) -> None:
        """Close in good order; whoever reads it sees the end."""
        self._stir()
        if not self.closed:
            self._mark_closed()
            self._spawn(self._socket.close(NORMAL))

    def close(self) -> None:
        """Close now; calls in flight fail with UpstreamReset."""
        self._end(UpstreamReset("the socket was closed"))
        for task in self._tasks:
            task.cancel()

    def _end(self, fault: GatewayError) -> None:
        self._stir()
        self._socket.abort()
        for inbox in self._calls.everyone():
            inbox.fail(fault)
        self._mark_closed()

    def _mark_closed(self) -> None:
        if not self.closed:
            self.closed = True
            if self.on_change is not None:
                self.on_change(self)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self._draining else "open"
        return f"<SharedSocket {self._lane.target.decode()} {state}, {self.active} calls>"


def _broken(closed: SocketClosed) -> UpstreamError:
    if closed.ours:
        return BadUpstream(f"the upstream's message: {closed.reason}")
    said = f": {closed.reason}" if closed.reason else ""
    return UpstreamReset(f"the socket was closed with {closed.code}{said}")


def _too_slow() -> Overloaded:
    return Overloaded("the client is too slow for what the service sends", code=Code.RESOURCE_EXHAUSTED)
