"""One open socket: what has passed, who may write when, and what an operator may do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from protogw.errors import Code, GatewayError
from protogw.websocket import SocketClosed
from protogw.wire.close_codes import NORMAL, reason

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange
    from protogw.websocket import WebSocket


class ClientGone(GatewayError):
    """The client closed its socket, or is not there any more; `well` when it said that all was done."""

    code = Code.CANCELLED

    def __init__(self, closed: SocketClosed) -> None:
        said = f": {closed.reason}" if closed.reason else ""
        super().__init__(f"the socket ended with {closed.code}{said}")
        self.well = closed.code == NORMAL


class Draining(GatewayError):
    """The gateway stops before the call could begin, or before its end was in sight: connect again."""

    code = Code.UNAVAILABLE


class Dismissed(GatewayError):
    """An operator ended the socket."""

    code = Code.PERMISSION_DENIED


class Socket:
    """Sends whole messages one after the other, whoever they come from."""

    __slots__ = (
        "_frame",
        "_interrupt",
        "_opened",
        "_peer",
        "_wire",
        "calls",
        "id",
        "path",
        "received",
        "sent",
    )

    def __init__(self, id: str, wire: WebSocket, exchange: Exchange) -> None:
        self.id = id
        self.path = exchange.head.path.decode("latin-1")
        self.received = 0
        self.sent = 0
        self.calls = 0
        """Calls that were made over it."""
        self._wire = wire
        self._peer = exchange.peer
        self._opened = asyncio.get_running_loop().time()
        self._interrupt: Callable[[GatewayError], None] | None = None
        self._frame: Callable[[str | bytes], str | bytes] = _as_it_is

    def owned(
        self, interrupt: Callable[[GatewayError], None], frame: Callable[[str | bytes], str | bytes] | None = None
    ) -> None:
        """`interrupt` ends what runs over it with an error; `frame` writes what is pushed from outside."""
        self._interrupt = interrupt
        self._frame = frame or _as_it_is

    async def receive(self) -> str | bytes:
        """The next message; raises ClientGone."""
        try:
            message = await self._wire.receive()
        except SocketClosed as closed:
            raise ClientGone(closed) from None
        self.received += 1
        return message

    async def send(self, message: str | bytes) -> None:
        """Send; waits while the client leaves no room. Raises ClientGone."""
        try:
            await self._wire.send(message)
        except SocketClosed as closed:
            raise ClientGone(closed) from None
        self.sent += 1

    async def close(self, code: int, text: str) -> None:
        """Say goodbye and wait for the client to do so too, as long as the socket's options allow."""
        await self._wire.close(code, reason(text))

    def abort(self) -> None:
        self._wire.abort()

    # --- for operators ------------------------------------------------------------------------------------------------

    def describe(self) -> Mapping[str, Any]:
        return {
            "id": self.id,
            "client": f"{self._peer.host}:{self._peer.port}",
            "path": self.path,
            "subprotocol": self._wire.subprotocol or None,
            "open_s": round(asyncio.get_running_loop().time() - self._opened, 3),
            "messages_in": self.received,
            "messages_out": self.sent,
            "calls": self.calls,
        }

    async def push(self, message: str | bytes) -> None:
        """Send what no call has brought; raises GatewayError."""
        await self.send(self._frame(message))

    def dismiss(self) -> None:
        if self._interrupt is not None:
            self._interrupt(Dismissed("the gateway's operator closed the socket"))

    def __repr__(self) -> str:
        return f"<Socket {self.path} {self.received} in, {self.sent} out>"


def _as_it_is(message: str | bytes) -> str | bytes:
    return message
