"""The kit service over WebSocket, on the `websockets` library's own server: the same plans, the same counts.

A socket is one call of the method that its path names, its messages JSON in text frames; an empty one says that the
client's have ended. A failure is a message that holds `error` alone, and then a close with 4000 + its code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any

from google.protobuf import json_format
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support import kit
from tests.support.backend import Counts

LEAD = (("x-lead", "a"), ("x-lead", "b"), ("x-lead-bin", "AP8"))


class WebSocketBackend:
    """A running service; knows the port once started."""

    options: dict[str, Any] = {"half_close": ""}

    def __init__(self) -> None:
        self.counts = Counts()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="websocket-kit")
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._methods = {"Unary": self._unary, "Down": self._down, "Up": self._up, "Chat": self._chat}
        async with serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._known,
            process_response=self._leading,
            compression=None,
            max_size=None,
            close_timeout=0.5,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            server.close(code=1001)

    def _known(self, connection: ServerConnection, request: Request) -> Response | None:
        service, _, method = request.path.strip("/").partition("/")
        if service == kit.SERVICE and method in self._methods:
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, "no such method\n")

    @staticmethod
    def _leading(connection: ServerConnection, request: Request, response: Response) -> None:
        for name, value in LEAD:
            response.headers[name] = value

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.counts.add(started=1)
        work = asyncio.ensure_future(self._methods[socket.request.path.rpartition("/")[2]](socket))
        gone = asyncio.ensure_future(socket.wait_closed())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
            with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
                await work
                gone.cancel()
                return
            self.counts.add(cancelled=1)
        finally:
            self.counts.add(ended=1)

    async def _messages(self, socket: ServerConnection) -> AsyncIterator[Any]:
        """Until the client says that there are no more."""
        while text := await socket.recv():
            self.counts.add(received=1)
            yield json_format.Parse(text, kit.Message())

    async def _answer(self, socket: ServerConnection, message: Any, index: int = 0) -> None:
        made = kit.Message()
        made.CopyFrom(message)
        made.ClearField("plan")
        made.index = index
        if message.plan.size:
            made.data = bytes(message.plan.size)
        assert socket.request is not None
        for name, value in socket.request.headers.raw_items():
            name = name.lower()
            made.seen[name] = f"{made.seen[name]}, {value}" if name in made.seen else value
        await socket.send(json_format.MessageToJson(made, indent=None))
        self.counts.add(sent=1)

    @staticmethod
    async def _pause(plan: Any) -> None:
        if plan.hang:
            await asyncio.sleep(60)
        if plan.delay_ms:
            await asyncio.sleep(plan.delay_ms / 1000)

    @staticmethod
    async def _finish(socket: ServerConnection, plan: Any) -> None:
        """End as the plan says."""
        if not plan.fail_code:
            await socket.close()
            return
        violation = {"field": "plan.fail_code", "description": "as you wished"}
        detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
        status = {"code": plan.fail_code, "message": plan.fail_message, "details": [detail]}
        await socket.send(json.dumps({"error": status}))
        await socket.close(4000 + plan.fail_code)

    async def _unary(self, socket: ServerConnection) -> None:
        message = await anext(self._messages(socket))
        await self._pause(message.plan)
        if not message.plan.fail_code:
            await self._answer(socket, message)
        await self._finish(socket, message.plan)

    async def _down(self, socket: ServerConnection) -> None:
        message = await anext(self._messages(socket))
        plan = message.plan
        for index in range(plan.count):
            if index:
                await self._pause(plan)
            await self._answer(socket, message, index)
        if plan.hang:
            await self._pause(plan)
        await self._finish(socket, plan)

    async def _up(self, socket: ServerConnection) -> None:
        total, last, texts = 0, kit.Message(), []
        async for last in self._messages(socket):
            total += last.number
            texts.append(last.text)
            if last.plan.fail_code:
                break
        await self._pause(last.plan)
        last.number = total
        last.tags[:] = texts
        if not last.plan.fail_code:
            await self._answer(socket, last)
        await self._finish(socket, last.plan)

    async def _chat(self, socket: ServerConnection) -> None:
        last, index = kit.Message(), 0
        async for last in self._messages(socket):
            await self._pause(last.plan)
            if last.plan.fail_code:
                break
            await self._answer(socket, last, index)
            index += 1
        await self._finish(socket, last.plan)


@contextlib.contextmanager
def websocket_backend() -> Iterator[WebSocketBackend]:
    made = WebSocketBackend()
    try:
        yield made
    finally:
        made.stop()
