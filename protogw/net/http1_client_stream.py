"""One request on an HTTP/1.1 client connection, and its reply, as a translator is handed them (translator.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from protogw.errors import BodyTooLarge, GatewayError, InternalError, UpstreamReset
from protogw.wire.http import Answer, Header, ResponseHead
from protogw.wire.http1 import CHUNKED
from protogw.wire.http1_chunked import LAST_CHUNK

if TYPE_CHECKING:
    from protogw.net.http1_client import Http1ClientConnection
    from protogw.net.tunnel import Tunnel

_JOINED_BYTES = 16 << 10
"""Up to this size, copying a piece next to its framing is cheaper than handing the kernel one buffer more."""


class Http1Stream:
    """One request in flight and its reply. Use either `whole`, or `head` and then `read`."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_fault",
        "_head",
        "_left",
        "_limit",
        "_pieces",
        "_size",
        "_waiter",
        "_whole",
        "asked",
        "bytes_in",
        "bytes_out",
        "done",
        "method",
        "replayable",
        "sent",
        "switched_head",
        "trailers",
        "tunnel",
    )

    def __init__(self, connection: Http1ClientConnection, method: bytes, replayable: bool) -> None:
        self.trailers: tuple[Header, ...] = ()
        self.method = method
        self.replayable = replayable
        """The caller still has all of the request to send again."""
        self.sent = replayable
        """The request is whole."""
        self.done = False
        """The reply is whole, or has failed."""
        self.asked = b""
        """The protocol that a 101 may switch to."""
        self.switched_head: ResponseHead | None = None
        self.tunnel: Tunnel | None = None
        self.bytes_in = self.bytes_out = 0
        self._connection = connection
        self._chunked = False
        self._left = -1
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._fault: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._whole: asyncio.Future[Answer] | None = None
        self._limit = 0

    # --- the request --------------------------------------------------------------------------------------------------

    def frame(self, length: int) -> None:
        """How the body to come is framed: by its length, or with CHUNKED in chunks."""
        self._chunked = length == CHUNKED
        self._left = length

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body; dropped once the reply has ended, since nobody reads it then."""
        if not data or self.done:
            return
        self.replayable = False
        connection = self._connection
        size = len(data)
        if not self._chunked:
            if size > self._left:
                self.cancel()
                raise InternalError
            self._left -= size
        if size <= _JOINED_BYTES:
            connection.put(b"%x\r\n%b\r\n" % (size, data) if self._chunked else data)
        else:
            connection.flush()
            if self._chunked:
                connection.transport.writelines((b"%x\r\n" % size, data, b"\r\n"))
            else:
                connection.transport.write(data)
        if connection.writing_held:
            await connection.writable()

    def end(self) -> None:
        """The request's body is complete."""
        if self.sent or self.done:
            return
        if self._chunked:
            self._connection.put(LAST_CHUNK)
        elif self._left:
            self.cancel()  # shorter than was said: the peer must not wait for the rest, or take the next request for it
            return
        self._connection.flush()
        self.sent = True

    def cancel(self) -> None:
        """Give up: the connection is closed unless the reply has ended. Harmless after the end."""
        if self.tunnel is not None:
            self.tunnel.abort()
        elif not self.done:
            self.done = True
            self._connection.give_up(self)
            self.on_fault(UpstreamReset("the request was cancelled"))

    # --- the reply, as it arrives -------------------------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if self._whole is None:
            self._wake()

    def on_switched(self, head: ResponseHead, tunnel: Tunnel) -> None:
        self.switched_head = head
        self.tunnel = tunnel
        self._wake()

    def on_answer(self, head: ResponseHead, body: bytes) -> None:
        """Head and body at once, which is how small replies come."""
        self.done = True
        whole = self._whole
        if whole is not None:
            self._whole = None
            if len(body) > self._limit:
                self._fault = _too_large(self._limit)
                if not whole.done():
                    whole.set_exception(self._fault)
            elif not whole.done():
                whole.set_result(Answer(head, body, self.trailers))
            return
        self._head = head
        if body:
            self._pieces.append(body)
            self._size = len(body)
        self._wake()

    def on_body(self, pieces: list[bytes]) -> None:
        size = 0
        for piece in pieces:
            size += len(piece)
        if self._pieces:
            self._pieces += pieces
        else:
            self._pieces = pieces
        self._size += size
        if self._whole is None:
            if self._size > self._connection.limits.stream_window:
                self._connection.hold_reading()
            self._wake()
        elif self._size > self._limit:
            self._connection.fail(_too_large(self._limit))

    def on_end(self) -> None:
        self.done = True
        whole = self._whole
        if whole is None:
            self._wake()
            return
        self._whole = None
        if not whole.done():
            assert self._head is not None
            whole.set_result(Answer(self._head, self._take(), self.trailers))

    def on_fault(self, fault: GatewayError) -> None:
        self.done = True
        self._fault = fault
        whole = self._whole
        if whole is None:
            self._wake()
            return
        self._whole = None
        if not whole.done():
            whole.set_exception(fault)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self._size = 0
        return data

    # --- the reply, as it is asked for --------------------------------------------------------------------------------

    def whole(self, limit: int) -> Awaitable[Answer]:
        """The whole reply; raises UpstreamReset, Unprocessed, BadUpstream, or BodyTooLarge over `limit` bytes."""
        future: asyncio.Future[Answer] = self._connection.loop.create_future()
        if self._fault is not None:
            future.set_exception(self._fault)
        elif self._size > limit:
            fault = _too_large(limit)
            future.set_exception(fault)
            self.cancel()
        elif self.done:
            if self._head is None:
                future.set_exception(UpstreamReset("the request was cancelled"))
            else:
                future.set_result(Answer(self._head, self._take(), self.trailers))
        else:
            self._whole = future
            self._limit = limit
            self._connection.release_reading()
        return future

    async def head(self) -> ResponseHead:
        """The final head; interim ones (1xx) are skipped."""
        while self._head is None:
            await self._more()
        return self._head

    async def switched(self, protocol: bytes) -> Tunnel | ResponseHead:
        """The connection as a stream of bytes once the endpoint has switched it to `protocol`, else its final head.

        Call it at once after a request whose fields ask for that; a 101 that nobody waits for fails the request.
        """
        self.asked = protocol
        while self.tunnel is None:
            if self._head is not None:
                return self._head
            await self._more()
        return self.tunnel

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end; raises when the reply breaks off."""
        while not self._pieces:
            if self._fault is None and self.done and self._head is not None:
                return b""
            await self._more()
        data = self._take()
        self._connection.release_reading()
        return data

    def buffered(self) -> bytes | None:
        """All that is left of the body if the reply has ended well, else None. Consumes it."""
        return self._take() if self.done and self._fault is None and self._head is not None else None

    async def _more(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self.done:
            raise UpstreamReset("the request was cancelled")
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"reply body: over the limit of {limit} bytes", http_status=502)
