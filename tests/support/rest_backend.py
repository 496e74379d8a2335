"""The kit service as a REST service, as kit.proto's annotations say, on aiohttp: the same plans, the same counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from google.protobuf import json_format

from tests.support import kit
from tests.support.backend import Counts

HTTP_OF = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 12: 501, 13: 500, 14: 503, 16: 401}
LEAD = (("x-lead", "a"), ("x-lead", "b"), ("x-lead-bin", "AP8"))


class RestBackend:
    """A running service; knows the port once started."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="rest-kit")
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/echo", self._unary)
        app.router.add_get("/v1/look/{text}", self._look)
        app.router.add_post("/v1/down", self._down)
        app.router.add_post("/v1/up", self._up)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.counts.add(started=1)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.counts.add(cancelled=1)
            raise
        finally:
            self.counts.add(ended=1)

    def _answer(self, request: web.Request, message: Any, index: int = 0) -> dict[str, Any]:
        self.counts.add(sent=1)
        made = kit.Message()
        made.CopyFrom(message)
        made.ClearField("plan")
        made.index = index
        if message.plan.size:
            made.data = bytes(message.plan.size)
        for name, value in request.headers.items():
            name = name.lower()
            made.seen[name] = f"{made.seen[name]}, {value}" if name in made.seen else value
        answer: dict[str, Any] = json_format.MessageToDict(made)
        return answer

    @staticmethod
    async def _pause(plan: Any) -> None:
        if plan.hang:
            await asyncio.sleep(60)
        if plan.delay_ms:
            await asyncio.sleep(plan.delay_ms / 1000)

    @staticmethod
    def _status(plan: Any) -> dict[str, Any]:
        violation = {"field": "plan.fail_code", "description": "as you wished"}
        detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
        return {"code": plan.fail_code, "message": plan.fail_message, "details": [detail]}

    def _reply(self, request: web.Request, message: Any) -> web.Response:
        plan = message.plan
        if plan.fail_code:
            return web.json_response(self._status(plan), status=HTTP_OF.get(plan.fail_code, 500), headers=LEAD)
        return web.json_response(self._answer(request, message), headers=LEAD)

    async def _message(self, request: web.Request) -> Any:
        self.counts.add(received=1)
        return json_format.Parse(await request.read(), kit.Message())

    async def _unary(self, request: web.Request) -> web.Response:
        with self._counted():
            message = await self._message(request)
            await self._pause(message.plan)
            return self._reply(request, message)

    async def _look(self, request: web.Request) -> web.Response:
        with self._counted():
            return self._reply(request, kit.message(request.match_info["text"]))

    async def _down(self, request: web.Request) -> web.StreamResponse:
        with self._counted():
            message = await self._message(request)
            plan = message.plan
            if plan.fail_code and not plan.count:
                return self._reply(request, message)
            response = web.StreamResponse(headers=LEAD)
            response.content_type = "application/x-ndjson"
            await response.prepare(request)
            for index in range(plan.count):
                if index:
                    await self._pause(plan)
                await response.write(json.dumps(self._answer(request, message, index)).encode() + b"\n")
            if plan.hang:
                await self._pause(plan)
            if plan.fail_code:
                await response.write(json.dumps({"error": self._status(plan)}).encode() + b"\n")
            await response.write_eof()
            return response

    async def _up(self, request: web.Request) -> web.Response:
        with self._counted():
            total, last, texts = 0, kit.Message(), []
            async for line in request.content:
                last = json_format.Parse(line, kit.Message())
                self.counts.add(received=1)
                total += last.number
                texts.append(last.text)
                if last.plan.fail_code:
                    break
            await self._pause(last.plan)
            last.number = total
            last.tags[:] = texts
            return self._reply(request, last)


@contextlib.contextmanager
def rest_backend() -> Iterator[RestBackend]:
    made = RestBackend()
    try:
        yield made
    finally:
        made.stop()
