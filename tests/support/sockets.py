"""The WebSocket front end under test: a schema, services in a line or two, and clients over a pipe in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import SocketRule
from protogw.descriptors.sockets import with_sockets
from protogw.errors import GatewayError
from protogw.frontends.base import Bounds
from protogw.frontends.websocket import WebSockets
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.websocket import SocketClosed, SocketOptions, WebSocket, connected, request_fields
from protogw.wire.http import HTTP_1_1, Header, RequestHead, ResponseHead
from tests.support.pipe import End, pipe
from tests.support.rpc import Exchange

SCHEMA = load([Path(__file__).with_name("chat.proto")])
TALK, ASK, WATCH, NOTE, RAW = SCHEMA.services["chat.v1.Chat"].methods.values()

_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.descriptor_set).file:
    _pool.Add(_file)


def message(name: str, data: bytes = b"", **fields: Any) -> Any:
    """A message of the schema, by Google's own library."""
    made: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"chat.v1.{name}"))()
    made.ParseFromString(data)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(made, field).extend(value)
        else:
            setattr(made, field, value)
    return made


def heard(**fields: Any) -> Payload:
    return Payload(message("Heard", **fields).SerializeToString(), Encoding.PROTO, TALK.output.codec)


def catalog(**rules: Sequence[SocketRule]) -> Catalog:
    """The schema with its methods under further paths: `Talk=[SocketRule(...)]`."""
    return Catalog.merge([with_sockets(SCHEMA, {f"chat.v1.Chat/{name}": found for name, found in rules.items()})])


def front(offered: Catalog | None = None, bounds: Bounds | None = None, **settings: Any) -> WebSockets:
    made = WebSockets(WebSocketSettings(**settings), bounds or Bounds())
    made.offer(offered or catalog())
    return made


class SwitchedExchange(Exchange):
    """An exchange that lets go of HTTP for one end of a pipe."""

    def __init__(self, head: RequestHead) -> None:
        super().__init__(head)
        self.fields: tuple[Header, ...] = ()
        self.stream: End | None = None
        self.switched = asyncio.Event()
        self._tell: Callable[[], None] | None = None
        self._draining = False

    def switch(self, headers: Sequence[Header]) -> End:
        self.started = True
        self.status = 101
        self.fields = tuple(headers)
        ours, self.stream = pipe()
        self.switched.set()
        return ours

    def when_draining(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        if self._draining:
            tell()

    def drain(self) -> None:
        self._draining = True
        if self._tell is not None:
            self._tell()


class Opened:
    """A client's side of a socket, and what serves it."""

    def __init__(self, exchange: SwitchedExchange, socket: WebSocket, task: asyncio.Task[None]) -> None:
        self.exchange = exchange
        self.socket = socket
        self.task = task

    async def send(self, *messages: str | bytes) -> None:
        for one in messages:
            await self.socket.send(one)

    async def receive(self) -> str | bytes:
        async with asyncio.timeout(5):
            return await self.socket.receive()

    async def rest(self) -> tuple[list[str | bytes], int, str]:
        """What still comes, and how the socket was closed; waits until the front end is through with it."""
        found: list[str | bytes] = []
        try:
            while True:
                found.append(await self.receive())
        except SocketClosed as closed:
            await self.error()
            return found, closed.code, closed.reason

    async def error(self) -> GatewayError | None:
        """What the front end ended with."""
        async with asyncio.timeout(5):
            try:
                await self.task
            except GatewayError as error:
                return error
        return None


def opening(path: str, subprotocols: Sequence[str] = (), *fields: tuple[str, str]) -> RequestHead:
    """The head of a request that opens a socket."""
    where, _, query = path.partition("?")
    asked = (
        *request_fields(SocketOptions(deflate=False), subprotocols),
        *((name.encode(), value.encode()) for name, value in fields),
    )
    return RequestHead(b"GET", where.encode(), query.encode(), b"gw.test", asked, HTTP_1_1, upgrade=b"websocket")


Handle = Callable[[Call], Awaitable[Reply]]


async def opened(
    front: WebSockets, handle: Handle, path: str, subprotocols: Sequence[str] = (), *fields: tuple[str, str]
) -> Opened:
    """Open a socket; raises what it is refused with."""
    head = opening(path, subprotocols, *fields)
    assert front.accepts(head), f"{path} is not the front end's"
    exchange = SwitchedExchange(head)
    task = asyncio.get_running_loop().create_task(front.serve(exchange, handle))  # type: ignore[arg-type,func-returns-value]
    switched = asyncio.get_running_loop().create_task(exchange.switched.wait())
    await asyncio.wait((task, switched), return_when=asyncio.FIRST_COMPLETED)
    switched.cancel()
    if exchange.stream is None:
        await task
        raise AssertionError("neither a socket nor an error")
    answer = ResponseHead(101, ((b"upgrade", b"websocket"), (b"connection", b"Upgrade"), *exchange.fields))
    socket = connected(exchange.stream, answer, head.headers, SocketOptions(deflate=False))
    return Opened(exchange, socket, task)


# --- services ---------------------------------------------------------------------------------------------------------


class Service:
    """Does what `work` says and keeps the calls."""

    def __init__(self, work: Callable[[Call], AsyncIterator[Payload]] | None = None) -> None:
        self.calls: list[Call] = []
        self._work = work or echo

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        assert call.method is not None
        payloads = self._work(call)
        if call.method.server_streaming or call.payloads is not None:
            return Reply(payloads=payloads)
        found = [one async for one in payloads]
        return Reply(payload=found[0])


async def echo(call: Call) -> AsyncIterator[Payload]:
    """Says back what it hears, and whom it is by."""
    if call.payload is not None:
        said = message("Say", call.payload.proto())
        yield heard(text=said.text, by=said.who.key, room=said.room)
    if call.payloads is not None:
        async for payload in call.payloads:
            said = message("Say", payload.proto())
            yield heard(text=said.text, by=said.who.key, room=said.room)


async def raw(call: Call) -> AsyncIterator[Payload]:
    """Gives back every message as it came."""
    assert call.payloads is not None
    async for payload in call.payloads:
        yield payload
