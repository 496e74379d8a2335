"""A WebSocket service, played on the server side of the `websockets` library without a network: a connection whose
requests are answered by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol
from websockets.server import ServerProtocol

from protogw.errors import Unprocessed, UpstreamReset
from protogw.wire.http import Header, ResponseHead
from tests.support.upstream import Stream

Script = Callable[["Service"], Awaitable[None]]


class Service:
    """The service's side of one socket, and the ByteStream that the gateway's side reads and writes."""

    def __init__(self, script: Script, fields: Sequence[tuple[str, str]] = (), subprotocol: str | None = None) -> None:
        self._script = script
        self._fields = fields
        self._subprotocol = subprotocol
        self._protocol = Protocol(SERVER, max_size=None)
        self._to_gateway: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._messages: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.aborted = asyncio.Event()
        """The gateway gave the socket up."""
        self.closed = asyncio.Event()
        """The gateway closed it in good order."""
        self.reads = 0
        self.request_head = b""

    # --- what a script does -------------------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """The gateway's next message; raises UpstreamReset once there is none."""
        frame = await self._messages.get()
        if frame is None:
            raise UpstreamReset("the gateway is gone")
        return bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data)

    async def receive_json(self) -> Any:
        return orjson.loads(await self.receive())

    def send(self, message: Any) -> None:
        """Text as it is, bytes as a binary message, anything else as JSON."""
        if isinstance(message, bytes):
            self._protocol.send_binary(message)
        else:
            text = message if isinstance(message, str) else orjson.dumps(message).decode()
            self._protocol.send_text(text.encode())
        self._flush()

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self._protocol.send_close(code, reason)
        self._flush()

    def raw(self, data: bytes) -> None:
        self._to_gateway.put_nowait(data)

    def cut(self) -> None:
        """Be gone without a word."""
        self._to_gateway.put_nowait(None)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._to_gateway.put_nowait(data if data else None)  # type: ignore[arg-type]

    # --- what the gateway does ----------------------------------------------------------------------------------------

    def opened(self, head: bytes) -> ResponseHead:
        self.request_head = head
        key = next(
            line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")
        )
        request = Request("/", _headers(key.decode()))
        server = ServerProtocol()
        response = server.accept(request)
        fields: list[Header] = [(name.lower().encode(), value.encode()) for name, value in response.headers.raw_items()]
        if self._subprotocol is not None:
            fields.append((b"sec-websocket-protocol", self._subprotocol.encode()))
        fields += [(name.encode(), value.encode()) for name, value in self._fields]
        self._task = asyncio.ensure_future(self._script(self))
        return ResponseHead(101, tuple(fields))

    async def read(self) -> bytes:
        self.reads += 1
        data = await self._to_gateway.get()
        if data is None:
            self._to_gateway.put_nowait(None)
            return b""
        return data

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._messages.put_nowait(event)
            elif event.opcode is Opcode.CLOSE:
                self.closed.set()
                self._messages.put_nowait(None)
        self._flush()

    def end(self) -> None:
        self.cut()

    def abort(self) -> None:
        self.aborted.set()
        self._messages.put_nowait(None)
        self._to_gateway.put_nowait(None)

    async def done(self) -> None:
        """Until the script has ended; raises what it raised."""
        assert self._task is not None
        await asyncio.wait_for(self._task, 5)


def _headers(key: str) -> Any:
    from websockets.datastructures import Headers

    return Headers(
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
        ]
    )


class Switching(Stream):
    """A request that a service answers by switching."""

    def __init__(self, service: Service) -> None:
        super().__init__(101)
        self._service = service
        self.switched_head: ResponseHead | None = None

    async def switched(self, protocol: bytes) -> Service:
        assert protocol == b"websocket"
        await asyncio.sleep(0)
        self.switched_head = self._service.opened(self.head_bytes)
        return self._service


class Refusing(Stream):
    """A request that a service answers with something else."""

    switched_head = None

    async def switched(self, protocol: bytes) -> ResponseHead:
        return await self.head()


class Line:
    """A connection that answers each request as it is told (pools/base.py PooledConnection)."""

    def __init__(self, *answers: Service | Stream) -> None:
        self._answers = list(answers)
        self.closed = False
        self.on_change: Callable[[Any], None] | None = None
        self.room, self.active = 1, 0
        self.opened: list[Stream] = []

    def open(self, head: bytes, body: bytes | None) -> Any:
        if not self._answers:
            raise Unprocessed("the connection takes no more requests")
        answer = self._answers.pop(0)
        stream: Any = Switching(answer) if isinstance(answer, Service) else answer
        stream.head_bytes = head
        stream.body = body
        self.opened.append(stream)
        return stream

    def drain(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
