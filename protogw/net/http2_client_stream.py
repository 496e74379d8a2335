"""One request in flight on an HTTP/2 connection to an endpoint: the HttpStream of protogw.translator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protogw.errors import BodyTooLarge, GatewayError, NotOffered, UpstreamReset
from protogw.net.http2_stream import Stream
from protogw.wire.http import Answer, Header, ResponseHead
from protogw.wire.http2 import ErrorCode

if TYPE_CHECKING:
    from protogw.net.http2_client import Http2ClientConnection
    from protogw.wire.http2_heads import Http2ResponseHead


class ClientStream(Stream):
    """An HttpStream. Fails once, with `error`, and then every method that waits raises it."""

    __slots__ = ("answer", "error", "headless", "informed", "limit", "response", "switched_head", "trailers")

    connection: Http2ClientConnection

    def __init__(self, connection: Http2ClientConnection, id: int) -> None:
        super().__init__(connection, id)
        self.response: Http2ResponseHead | None = None
        self.trailers: tuple[Header, ...] = ()
        self.error: GatewayError | None = None
        self.answer: asyncio.Future[Answer] | None = None
        self.limit = 0
        self.informed = 0
        self.headless = False
        self.switched_head: ResponseHead | None = None

    # --- the reply ----------------------------------------------------------------------------------------------------

    def whole(self, limit: int) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = self.connection.loop.create_future()
        if self.error is not None:
            answer.set_exception(self.error)
            return answer
        self.answer = answer
        self.limit = limit
        if self.chunks:
            self.consumed(sum(map(len, self.chunks)))
        self.greedy = True
        if self.bytes_in > limit or self.declared > limit:
            self.on_too_large()
        elif self.remote_closed:
            self.on_arrival()
        return answer

    async def head(self) -> Http2ResponseHead:
        while self.response is None:
            if self.error is not None:
                raise self.error
            await self.arrival()
        return self.response

    async def switched(self, protocol: bytes) -> Http2ResponseHead:
        raise NotOffered(f"{protocol.decode()}: endpoints are asked for it over HTTP/1.1 only")

    async def read(self) -> bytes:
        while not self.chunks:
            if self.error is not None:
                raise self.error
            if self.remote_closed:
                return b""
            await self.arrival()
        return self.take()

    def buffered(self) -> bytes | None:
        return self.take() if self.remote_closed and self.error is None else None

    def on_data(self, piece: bytes, end: int, size: int) -> None:
        if self.response is None:
            self.connection.consumed(size)
            self.connection.refuse(self, ErrorCode.PROTOCOL_ERROR, "DATA before the head")
            return
        super().on_data(piece, end, size)
        if not self.closed and (end or (self.greedy and self.bytes_in > self.limit)):
            self.on_arrival()

    def on_arrival(self) -> None:
        answer = self.answer
        if answer is None:
            super().on_arrival()
        elif self.bytes_in > self.limit:
            self.on_too_large()
            return
        elif self.remote_closed:
            self.answer = None
            if not answer.done():
                chunks = self.chunks
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                assert self.response is not None
                answer.set_result(Answer(self.response, body, self.trailers))
        if self.remote_closed and not self.closed:
            self.connection.on_replied(self)

    def on_too_large(self) -> None:
        """The body is, or says that it will be, over the limit of `whole`."""
        error = BodyTooLarge(f"the reply's body is larger than {self.limit} bytes")
        if self.closed:
            self.chunks.clear()
            self.fail(error)
        else:
            self.connection.give_up(self, ErrorCode.CANCEL, error)

    # --- the request --------------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        if self.closed:
            if self.error is not None:
                raise self.error
            await asyncio.sleep(0)  # the reply is whole, so nobody wants the rest
            return
        if self.local_closed or self.tail is not None:
            return
        self.send(data, None)
        if self.queued or self.connection.paused:
            await self.room()
            if self.error is not None:
                raise self.error

    def end(self) -> None:
        if not self.closed and not self.local_closed and self.tail is None:
            self.send(b"", b"")

    def cancel(self) -> None:
        if not self.closed:
            self.connection.give_up(self, ErrorCode.CANCEL, UpstreamReset("the request was cancelled"))

    def on_sent(self) -> None:
        self.local_closed = True
        if self.remote_closed:
            self.connection.on_over(self)

    # --- failure ------------------------------------------------------------------------------------------------------

    def fail(self, error: GatewayError | None) -> None:
        """The stream is closed before the reply was whole; without an error because its owner gave it up."""
        if self.error is None:
            self.error = error
        error = self.error
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            if error is None:
                answer.cancel()
            else:
                answer.set_exception(error)
                answer.exception()  # its owner may be gone
        elif self.reader is not None:
            reader, self.reader = self.reader, None
            if not reader.done():
                reader.set_result(None)

    def __repr__(self) -> str:
        return f"<ClientStream {self.id} of {self.connection!r}>"
