"""Fakes for the RPC front ends and translators: an exchange that keeps its answer, a connection that plays a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load_descriptor_set
from protogw.descriptors.model import Method
from protogw.errors import BodyTooLarge, GatewayError, Status, UpstreamReset
from protogw.frontends.base import FrontEnd
from protogw.wire.http import HTTP_2, Answer, Header, Peer, RequestHead, ResponseHead
from tests.support import kit
from tests.support.pipe import End, pipe

CATALOG = Catalog.merge([load_descriptor_set(kit.DESCRIPTOR_SET)])
UNARY = CATALOG.methods[b"/kit.v1.Echo/Unary"]
LOOK = CATALOG.methods[b"/kit.v1.Echo/Look"]
DOWN = CATALOG.methods[b"/kit.v1.Echo/Down"]
UP = CATALOG.methods[b"/kit.v1.Echo/Up"]
CHAT = CATALOG.methods[b"/kit.v1.Echo/Chat"]

Fields = Sequence[tuple[str, str]]


def headers(fields: Fields) -> tuple[Header, ...]:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in fields)


def head(
    path: str,
    content_type: str = "",
    *fields: tuple[str, str],
    method: str = "POST",
    version: int = HTTP_2,
) -> RequestHead:
    """A request's head; content types appear as a field too, as they do on the wire."""
    where, _, query = path.partition("?")
    sent = ((("content-type", content_type),) if content_type else ()) + fields
    return RequestHead(
        method.encode(),
        where.encode(),
        query.encode(),
        b"gw.test",
        headers(sent),
        version,
        b"http",
        content_type.encode(),
    )


class Exchange:
    """A request whose body is all there (`body`) or comes in `pieces`, and the answer to it."""

    def __init__(self, head: RequestHead, body: bytes = b"", pieces: Iterable[bytes] | None = None) -> None:
        self.head = head
        self.peer = Peer("127.0.0.1", 50000)
        self.extra: tuple[Header, ...] = ()
        self.call: Call | None = None
        self.state: object = None
        self.started = False
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.request_trailers: tuple[Header, ...] = ()
        self._body = body if pieces is None else None
        self._pieces = [] if pieces is None else list(pieces)
        self.headers: list[Header] = []
        self.written: list[bytes] = []
        self.trailers: tuple[Header, ...] = ()
        self.ended = False
        self.aborted = False
        self.fail_write: BaseException | None = None
        self.held_back = False

    def buffered(self) -> bytes | None:
        body, self._body = self._body, None
        return body

    async def whole(self, limit: int) -> bytes:
        body, self._body = self._body or b"", None
        body += b"".join(self._pieces)
        self._pieces.clear()
        if len(body) > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        return body

    async def read(self) -> bytes:
        if self._body:
            body, self._body = self._body, None
            return body
        await asyncio.sleep(0)
        return self._pieces.pop(0) if self._pieces else b""

    @property
    def unread(self) -> int:
        return len(self._pieces)

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        self.start(status, headers)
        self.finish(body, trailers)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        assert not self.started, "the answer was started twice"
        self.started = True
        self.status = status
        self.headers = list(headers)

    async def write(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        if self.fail_write is not None:
            raise self.fail_write
        self.written.append(data)
        await asyncio.sleep(0)

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        assert self.started
        assert not self.ended, "the answer was ended twice"
        if data:
            self.written.append(data)
        self.trailers = tuple(trailers)
        self.ended = True

    def switch(self, headers: Sequence[Header]) -> End:
        """The gateway's end; the client's is `client`."""
        assert not self.started, "the answer was started twice"
        self.started = True
        self.status = 101
        self.headers = list(headers)
        self.client, end = pipe()
        return end

    def when_draining(self, tell: Callable[[], None]) -> None:
        self.drain = tell

    def abort(self) -> None:
        self.aborted = True

    # What tests ask.

    @property
    def body(self) -> bytes:
        return b"".join(self.written)

    def get(self, name: str) -> str | None:
        """A field of the answer's head, values of one name joined."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name.encode()]
        return ", ".join(values) if values else None

    def trailer(self, name: str) -> str | None:
        values = [value.decode("latin-1") for key, value in self.trailers if key == name.encode()]
        return ", ".join(values) if values else None


class Service:
    """A handler that keeps the calls it got and answers with what it was given: a Reply, or an error to raise."""

    def __init__(self, answer: Reply | GatewayError | None = None) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.received: list[Payload] = []

    @property
    def call(self) -> Call:
        (call,) = self.calls
        return call

    @property
    def texts(self) -> list[str]:
        return [kit.Message.FromString(payload.proto()).text for payload in self.received]

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        if call.payload is not None:
            self.received.append(call.payload)
        if call.payloads is not None:
            async for payload in call.payloads:
                self.received.append(payload)
        if isinstance(self.answer, GatewayError):
            raise self.answer
        if self.answer is None:
            return one("answer")
        return self.answer


def payload(text: str = "", **fields: Any) -> Payload:
    return Payload(kit.message(text, **fields).SerializeToString(), Encoding.PROTO, UNARY.output.codec)


def one(text: str = "", metadata: Fields = (), trailers: Fields = (), **fields: Any) -> Reply:
    """A unary reply."""
    return Reply(Metadata(headers(metadata)), payload=payload(text, **fields), trailers=Metadata(headers(trailers)))


async def each(*payloads: Payload) -> AsyncIterator[Payload]:
    for payload in payloads:
        yield payload


def many(
    *texts: str,
    metadata: Fields = (),
    trailers: Fields = (),
    status: Status | None = None,
    error: GatewayError | None = None,
) -> Reply:
    """A streamed reply, which ends with `status` and `trailers`, or is cut by `error`."""
    reply = Reply(Metadata(headers(metadata)))

    async def messages() -> AsyncIterator[Payload]:
        for text in texts:
            yield payload(text)
        if error is not None:
            raise error
        reply.trailers = Metadata(headers(trailers))
        if status is not None:
            reply.status = status

    reply.payloads = messages()
    return reply


async def serve(front: FrontEnd, exchange: Exchange, service: Service | None = None) -> Exchange:
    """One request through a front end, errors rendered as the gateway would have it."""
    service = Service() if service is None else service
    assert front.accepts(exchange.head)
    try:
        await front.serve(exchange, service)
    except GatewayError as error:
        front.fail(exchange, error)
    return exchange


class Stream:
    """An upstream's reply, played: `pieces` of body, then trailers; `error` is raised in place of what would follow."""

    def __init__(
        self,
        status: int = 200,
        fields: Fields = (("content-type", "application/grpc"),),
        pieces: Sequence[bytes] = (),
        trailers: Fields = (),
        error: BaseException | None = None,
        hang: bool = False,
    ) -> None:
        self._head = ResponseHead(status, headers(fields))
        self._pieces = list(pieces)
        self._trailers = headers(trailers)
        self._error = error
        self.trailers: tuple[Header, ...] = ()
        self.hang = hang
        self.cancelled = asyncio.Event()
        self.ended = asyncio.Event()
        self.sent: list[bytes] = []
        self.block = b""

    async def whole(self, limit: int) -> Answer:
        await self._pause()
        if self._error is not None:
            raise self._error
        body = b"".join(self._pieces)
        if len(body) > limit:
            raise BodyTooLarge("the reply is over the limit")
        return Answer(self._head, body, self._trailers)

    async def head(self) -> ResponseHead:
        if self._error is not None and not self._pieces:
            raise self._error
        await self._pause()
        return self._head

    async def read(self) -> bytes:
        if self._pieces:
            await asyncio.sleep(0)
            return self._pieces.pop(0)
        await self._pause()
        if self._error is not None:
            raise self._error
        self.trailers = self._trailers
        return b""

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.sent.append(data)

    def end(self) -> None:
        self.ended.set()

    def cancel(self) -> None:
        self.cancelled.set()

    async def _pause(self) -> None:
        """While it hangs, only a cancellation ends the wait, as it does in a real connection."""
        if self.hang:
            await self.cancelled.wait()
            raise UpstreamReset("cancelled")


class Connection:
    """Plays one Stream for each request."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = list(streams)
        self.opened: list[Stream] = []

    def open(self, head: bytes, body: bytes | None) -> Stream:
        stream = self._streams.pop(0)
        stream.block = head
        if body is not None:
            stream.sent.append(body)
            stream.end()
        self.opened.append(stream)
        return stream


def call(
    method: Method,
    *texts: str,
    metadata: Fields = (),
    payloads: AsyncIterator[Payload] | None = None,
    deadline: float | None = None,
) -> Call:
    """A call with these request messages."""

    async def messages() -> AsyncIterator[Payload]:
        for text in texts:
            yield payload(text)

    made = Call(
        method,
        Metadata(headers(metadata)),
        front_end="test",
        peer=Peer("127.0.0.1", 50000),
        started=0.0,
        payload=None if method.client_streaming else payload(*texts),
        payloads=(payloads or messages()) if method.client_streaming else None,
    )
    made.deadline = deadline
    return made
