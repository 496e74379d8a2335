"""The messages of streamed replies, read from a socket of the call's own or from its inbox on a shared one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protogw.call import MESSAGES_A_TURN, Payload, PayloadStream, Reply
from protogw.errors import BadUpstream, Code, GatewayError, Status, UpstreamReset
from protogw.websocket import SocketClosed, WebSocket
from protogw.wire.close_codes import ABNORMAL, TOO_BIG, code_of_close
from protogw_translators.request_pump import RequestPump
from protogw_translators.to_websocket_ends import TELLING
from protogw_translators.to_websocket_messages import Found, Frame, Replies

if TYPE_CHECKING:
    from protogw_translators.to_websocket_inbox import Inbox
    from protogw_translators.to_websocket_shared import SharedSocket


def ended(closed: SocketClosed) -> Status:
    """How a socket that was closed ended its call; raises UpstreamError where that is no answer of the service's."""
    if closed.ours:
        code = Code.RESOURCE_EXHAUSTED if closed.code == TOO_BIG else None
        raise BadUpstream(f"the upstream's message: {closed.reason}", code=code)
    code = code_of_close(closed.code)
    said = closed.reason or f"the upstream closed its socket with {closed.code}"
    if closed.code == ABNORMAL:
        raise UpstreamReset(f"the upstream's socket broke off: {said}")
    return Status(code, "" if code is Code.OK else said)


async def next_found(socket: OwnSocket, replies: Replies) -> Found:
    """What the socket says next that is for its call; how it is closed is its last word. Raises UpstreamError."""
    turn = MESSAGES_A_TURN
    while True:
        try:
            message = await socket.wire.receive()
        except SocketClosed as closed:
            return Found(None, ended(closed))
        if message.__class__ is str:
            data, text = message.encode(), True
            if socket.tells:
                if socket.over:
                    return replies.ended(data)
                if not data:
                    socket.over = True
                    continue
        else:
            data, text = message, False  # type: ignore[assignment]
        found = replies.found(data, replies.parse(data, text))
        if found is not None:
            return found
        turn -= 1
        if not turn:
            turn = MESSAGES_A_TURN
            await asyncio.sleep(0)


class _Stream(PayloadStream):
    """Messages, each read when it is asked for; at their end the reply has its status."""

    __slots__ = ("_ended", "_final", "_reply", "_turn")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._final: Status | None = None
        self._ended = False
        self._turn = MESSAGES_A_TURN

    async def __anext__(self) -> Payload:
        try:
            self._turn -= 1
            if not self._turn:
                self._turn = MESSAGES_A_TURN
                await asyncio.sleep(0)
            while not self._ended:
                if self._final is not None:
                    self._reply.status = self._final
                    self._ended = True
                    await self._finish()
                    break
                found = await self._next()
                self._final = found.final
                if found.end is not None:
                    self._reply.trailers = found.end.trailers
                if found.payload is not None:
                    return found.payload
        except GatewayError as error:
            await self.aclose()
            raise self._blame(error) from error
        raise StopAsyncIteration

    async def _next(self) -> Found:
        raise NotImplementedError

    async def _finish(self) -> None:
        """The stream has ended well."""
        raise NotImplementedError

    async def _give_up(self) -> None:
        """Nobody wants the rest, or it cannot be had."""
        raise NotImplementedError

    def _blame(self, error: GatewayError) -> GatewayError:
        return error

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            await self._give_up()


class OwnStream(_Stream):
    """The messages of a socket that is the call's own."""

    __slots__ = ("_pump", "_replies", "_socket")

    def __init__(self, reply: Reply, socket: OwnSocket, replies: Replies, pump: RequestPump | None) -> None:
        super().__init__(reply)
        self._socket = socket
        self._replies = replies
        self._pump = pump

    async def _next(self) -> Found:
        return await next_found(self._socket, self._replies)

    async def _finish(self) -> None:
        if self._pump is not None:
            await self._pump.stop()
        self._socket.close()

    async def _give_up(self) -> None:
        self._socket.cancel()
        if self._pump is not None:
            await self._pump.stop()

    def _blame(self, error: GatewayError) -> GatewayError:
        return self._pump.blame(error) if self._pump is not None else error


class SharedStream(_Stream):
    """What comes for one call on a shared socket."""

    __slots__ = ("_cancel", "_inbox", "_own", "_replies", "_socket")

    def __init__(self, reply: Reply, socket: SharedSocket, inbox: Inbox, own: str, cancel: str | None) -> None:
        super().__init__(reply)
        self._socket = socket
        self._inbox = inbox
        self._own = own
        self._cancel = cancel

    async def _next(self) -> Found:
        found = await self._inbox.get()
        if self._own and found.payload is not None:
            return Found(self._inbox.replies.restored(found.payload, self._own), found.final)
        return found

    async def _finish(self) -> None:
        self._socket.leave(self._inbox)

    async def _give_up(self) -> None:
        self._socket.leave(self._inbox, cancel=self._cancel)


class OwnSocket:
    """A socket for one call, as its request is written to it (request_pump.py)."""

    __slots__ = ("_closes", "_closing", "over", "tells", "wire")

    def __init__(self, wire: WebSocket, closing: set[asyncio.Task[None]], *, closes: bool = False) -> None:
        """`closing` holds the sockets that are on their way to being closed; with `closes`, the end of the request's
        messages closes this one."""
        self.wire = wire
        self.tells = wire.subprotocol in TELLING
        """The service tells the call's end by a record."""
        self.over = False
        """The record is what comes next."""
        self._closing = closing
        self._closes = closes

    async def write(self, frame: Frame) -> None:
        try:
            if frame.text:
                await self.wire.send_text(frame.data)
            else:
                await self.wire.send(frame.data)
        except SocketClosed as closed:
            raise UpstreamReset(f"the upstream closed its socket with {closed.code}") from None

    def end(self) -> None:
        """The request's messages have ended; where that is said by a message, it was the last of them."""
        if self._closes:
            self.close()

    def cancel(self) -> None:
        """Give up: the service sees the connection break."""
        self.wire.abort()

    def close(self) -> None:
        """Close in good order, which nobody waits for."""
        task = asyncio.get_running_loop().create_task(self._say_goodbye())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _say_goodbye(self) -> None:
        await self.wire.close()
