"""The REST front end under test: its schema, an exchange to ask it with, and services to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.errors import OK, GatewayError, Status
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support.rpc import Exchange as Whole

SCHEMA = load([Path(__file__).with_name("rest.proto")])
CATALOG = Catalog.merge([SCHEMA])
THING = SCHEMA.types["rest.v1.Thing"]


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.descriptor_set).file:
        pool.Add(file)
    return pool


def message(name: str, data: bytes = b"") -> Any:
    """A message of the schema, by Google's own library."""
    made: Message = message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))()
    made.ParseFromString(data)
    return made


def thing(data: bytes = b"", **fields: Any) -> Any:
    made = message("rest.v1.Thing", data)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def front(bounds: Bounds | None = None, **settings: Any) -> Rest:
    rest = Rest(RestSettings(**settings), bounds or Bounds())
    rest.offer(CATALOG)
    return rest


class Exchange(Whole):
    """As the network's, where the answer to HEAD has no body; a test may wait for what it is to become."""

    def __init__(self, head: RequestHead, body: bytes = b"", pieces: Iterable[bytes] | None = None) -> None:
        super().__init__(head, body, pieces)
        self._changed = asyncio.Event()

    def start(self, status: int, headers: Sequence[Header]) -> None:
        super().start(status, headers)
        self._changed.set()

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the answer has come so far."""
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        super().finish(b"" if self.head.method == b"HEAD" else data, trailers)


def request(
    line: str,
    body: bytes | Iterable[bytes] = b"",
    headers: dict[str, str] | Sequence[tuple[str, str]] = (),
    version: int = HTTP_1_1,
) -> Exchange:
    """An exchange for "VERB /path?query"; a body in pieces is one that has not all arrived."""
    verb, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    pairs = headers.items() if isinstance(headers, dict) else headers
    fields = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in pairs)
    content_type = next((value for name, value in fields if name == b"content-type"), b"")
    head = RequestHead(
        verb.encode(),
        path.encode("latin-1"),
        query.encode("latin-1"),
        b"api.test",
        fields,
        version,
        b"http",
        content_type,
    )
    exchange = Exchange(head, body) if isinstance(body, bytes) else Exchange(head, pieces=body)
    exchange.peer = Peer("192.0.2.7", 40000)
    return exchange


async def ask(rest: Rest, exchange: Exchange, handle: Callable[[Call], Any]) -> Exchange:
    """Serve one exchange as the gateway does."""
    if not rest.accepts(exchange.head):
        exchange.respond(404, ())
        return exchange
    try:
        await rest.serve(exchange, handle)
    except GatewayError as error:
        rest.fail(exchange, error)
    await asyncio.sleep(0)
    return exchange


class Service:
    """Keeps the calls it gets; answers unary ones with the request's own message, or with what it was given."""

    def __init__(
        self,
        answer: Reply | GatewayError | bytes | None = None,
        *,
        messages: Sequence[bytes | BaseException] | None = None,
        status: Status = OK,
        metadata: Metadata = NO_METADATA,
        trailers: Metadata = NO_METADATA,
    ) -> None:
        self.answer = answer
        self.messages = messages
        self.status = status
        self.metadata = metadata
        self.trailers = trailers
        self.calls: list[Call] = []
        self.received: list[bytes] = []
        self.closed = False

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        if call.payloads is not None:
            async for payload in call.payloads:
                self.received.append(payload.proto())
        elif call.payload is not None:
            self.received.append(call.payload.proto())
        if isinstance(self.answer, GatewayError):
            raise self.answer
        if isinstance(self.answer, Reply):
            return self.answer
        assert call.method is not None
        codec = call.method.output.codec
        reply = Reply(self.metadata, status=self.status, trailers=self.trailers)
        if self.messages is not None:
            reply.payloads = self._stream(reply, codec)
        elif self.status is OK:
            data = self.answer if self.answer is not None else self.received[-1] if self.received else b""
            reply.payload = Payload(data, Encoding.PROTO, codec)
        return reply

    async def _stream(self, reply: Reply, codec: Any) -> AsyncIterator[Payload]:
        assert self.messages is not None
        try:
            for one in self.messages:
                if isinstance(one, BaseException):
                    raise one
                await asyncio.sleep(0)
                yield Payload(one, Encoding.PROTO, codec)
        finally:
            self.closed = True

    @property
    def thing(self) -> Any:
        """The one message received, as a Thing."""
        assert len(self.received) == 1
        return thing(self.received[0])
