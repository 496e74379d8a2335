"""An extended CONNECT on an HTTP/2 connection (RFC 8441): a request that asks to go on as another protocol.

Until it is switched it is an Exchange whose body is empty, since its DATA is not one; then it is its own ByteStream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogw.errors import Code, InvalidRequest
from protogw.net.http2_server_stream import ServerStream, date
from protogw.wire.http2 import ErrorCode

if TYPE_CHECKING:
    from protogw.net.http2_server import Http2ServerConnection
    from protogw.wire.http import Header, Peer
    from protogw.wire.http2_heads import Http2RequestHead


class SwitchableStream(ServerStream):
    """A ServerStream that may be switched, once."""

    __slots__ = ("left", "switched")

    def __init__(self, connection: Http2ServerConnection, id: int, head: Http2RequestHead, peer: Peer) -> None:
        super().__init__(connection, id, head, peer)
        self.switched = False
        self.left = False

    # --- the exchange -------------------------------------------------------------------------------------------------

    def buffered(self) -> bytes | None:
        return b""

    async def whole(self, limit: int) -> bytes:
        return b""

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        if status < 300:  # a success would say that the stream is switched
            status, headers, body, trailers = 501, (), b"", ()
        super().respond(status, headers, body, trailers)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        if status < 300:
            super().start(501, ())
            self.bodiless = True
        else:
            super().start(status, headers)

    def switch(self, headers: Sequence[Header]) -> SwitchableStream:
        if self.started:
            raise RuntimeError("the answer has started already")
        self.switched = self.started = True
        self.status = 200
        if not self.closed:
            block = self.answer_block(200, headers) + date()
            self.connection.put(self.connection.headers(self.id, 0, block))
        return self

    # --- the stream of bytes ------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        if not self.switched:
            return b""
        while not self.chunks:
            if self.remote_closed:
                if self.local_closed and not self.closed:
                    self.connection.on_answered(self)
                return b""
            if self.closed:
                raise _gone()
            await self.arrival()
        return self.take()

    async def write(self, data: bytes) -> None:
        if self.switched:
            if self.closed:
                raise _gone()
            if self.local_closed or self.tail is not None:
                raise RuntimeError("a write after the end")
        await super().write(data)

    async def room(self) -> None:
        # Several may write: messages, and answers to what is read.
        while self.crowded():
            if self.writer is None:
                self.writer = self.connection.loop.create_future()
            await asyncio.shield(self.writer)
        if self.switched and self.closed:
            raise _gone()

    def release(self) -> None:
        super().release()
        self.on_arrival()
        self.on_room()

    def abort(self) -> None:
        if self.switched and not self.closed:
            self.connection.cut(self, ErrorCode.CANCEL)
        else:
            super().abort()

    def end(self) -> None:
        """Nothing more will be written."""
        if not self.local_closed:
            self.finish()

    def on_sent(self) -> None:
        self.local_closed = True
        if not self.switched or self.left or (self.remote_closed and not self.chunks):
            self.connection.on_answered(self)

    def leave(self) -> None:
        self.left = True
        if self.switched and self.local_closed and not self.closed:
            self.connection.on_answered(self)
        else:
            super().leave()


def _gone() -> InvalidRequest:
    return InvalidRequest("the client has reset the stream", code=Code.CANCELLED)
