"""The kit service as a GraphQL service, executed by graphql-core on aiohttp: the same plans, the same counts.

Subscriptions over graphql-transport-ws and as server-sent events. `schema` is kit.proto's with the bindings to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import graphql
from aiohttp import WSMsgType, web
from google.protobuf import json_format

from protogw.descriptors.from_proto import load
from protogw.descriptors.graphql_binding import Argument, Composite, GraphqlBinding, Leaf, Ref, Selectable
from protogw.descriptors.model import Schema, Service
from protogw.errors import Code
from tests.support import kit
from tests.support.backend import Counts

LEAD = (("x-lead", "a"), ("x-lead", "b"), ("x-lead-bin", "AP8"))
_TYPES = {
    "text": "String",
    "number": "Long",
    "data": "Bytes",
    "tags": "[String!]",
    "seen": "Json",
    "index": "Int",
    "at": "Time",
}
_ARGUMENTS = {**_TYPES, "plan": "Plan"}
_GIVEN = ", ".join(f"{name}: {kind}" for name, kind in _ARGUMENTS.items())

SDL = f"""
scalar Long scalar Bytes scalar Json scalar Time
type Message {{ {" ".join(f"{name}: {kind}" for name, kind in _TYPES.items())} }}
input Plan {{ delayMs: Int count: Int size: Int failCode: Int failMessage: String hang: Boolean }}
type Query {{ look(text: String): Message! other: Int }}
type Mutation {{ unary({_GIVEN}): Message! }}
type Subscription {{ down({_GIVEN}): Message! }}
"""

_LEAVES = {"String": Leaf.STRING, "Long": Leaf.STRING, "Bytes": Leaf.STRING, "Time": Leaf.STRING}
_FIELDS = tuple(
    Selectable(name, Ref(item=Ref("String", required=True)) if kind[0] == "[" else Ref(kind))
    for name, kind in _TYPES.items()
)


def schema() -> Schema:
    """kit.proto's schema, whose methods are the root fields of the backend; `Absent` it does not have."""
    made = load([kit.PROTO])
    service = made.services[kit.SERVICE]
    methods = dict(service.methods)
    for name, operation in (("Unary", "mutation"), ("Look", "query"), ("Down", "subscription"), ("Absent", "query")):
        arguments = _ARGUMENTS if name in ("Unary", "Down") else {}
        binding = GraphqlBinding(
            operation=operation,
            field=name.lower(),
            arguments=tuple(
                Argument(one, field.type if (field := _FIELD.get(one)) is not None else Ref("Plan"))
                for one in arguments
            ),
            type=Ref("Message", required=True),
            bare=True,
            composites={"Message": Composite(name="Message", fields=_FIELDS)},
            leaves={**_LEAVES, "Int": Leaf.INT, "Json": Leaf.ANY},
        )
        methods[name] = replace(methods[name], binding=binding)
    services = {kit.SERVICE: Service(name=kit.SERVICE, methods=methods)}
    return replace(made, services=services)


_FIELD = {one.name: one for one in _FIELDS}


class GraphqlBackend:
    """A running service; knows the port once started."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.port = 0
        self._schema = graphql.build_schema(SDL)
        for kind, name, resolver in (
            ("Mutation", "unary", self._unary),
            ("Query", "look", self._unary),
            ("Subscription", "down", self._event),
        ):
            self._schema.type_map[kind].fields[name].resolve = resolver  # type: ignore[attr-defined]
        self._schema.type_map["Subscription"].fields["down"].subscribe = self._down  # type: ignore[attr-defined]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="graphql-kit")
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
        app.router.add_post("/graphql", self._post)
        app.router.add_get("/graphql", self._socket)
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

    # ---- what the fields do

    def _message(self, arguments: dict[str, Any]) -> Any:
        self.counts.add(received=1)
        return json_format.ParseDict(arguments, kit.Message())

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
    def _check(plan: Any) -> None:
        if plan.fail_code:
            violation = {"field": "plan.fail_code", "description": "as you wished"}
            detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
            status = {"code": plan.fail_code, "details": [detail]}
            extensions = {"code": Code(plan.fail_code).name, "status": status}
            raise graphql.GraphQLError(plan.fail_message, extensions=extensions)

    async def _unary(self, root: object, info: Any, **arguments: Any) -> dict[str, Any]:
        message = self._message(arguments)
        await self._pause(message.plan)
        self._check(message.plan)
        return self._answer(info.context, message)

    async def _down(self, root: object, info: Any, **arguments: Any) -> AsyncIterator[Any]:
        message = self._message(arguments)
        plan = message.plan
        for index in range(plan.count):
            if index:
                await self._pause(plan)
            yield self._answer(info.context, message, index)
        if plan.hang:
            await self._pause(plan)
        if plan.fail_code:
            yield plan

    def _event(self, event: Any, info: Any, **arguments: Any) -> Any:
        if not isinstance(event, dict):
            self._check(event)
        return event

    # ---- the protocols

    async def _results(self, request: web.Request, said: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The one result of a query or mutation, or all of a subscription."""
        document = graphql.parse(said["query"])
        invalid = graphql.validate(self._schema, document)
        if invalid:
            errors = [{**error.formatted, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}} for error in invalid]
            yield {"errors": errors}
            return
        given = {"variable_values": said.get("variables"), "operation_name": said.get("operationName")}
        operation = graphql.get_operation_ast(document, said.get("operationName"))
        if operation is not None and operation.operation is graphql.OperationType.SUBSCRIPTION:
            found = graphql.subscribe(self._schema, document, context_value=request, **given)
        else:
            found = graphql.execute(self._schema, document, context_value=request, **given)  # type: ignore[assignment]
        if asyncio.iscoroutine(found) or isinstance(found, asyncio.Future):
            found = await found
        if isinstance(found, graphql.ExecutionResult):
            yield dict(found.formatted)
            return
        async with contextlib.aclosing(found) as results:  # type: ignore[type-var]
            async for result in results:  # type: ignore[attr-defined]
                yield dict(result.formatted)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        with self._counted():
            said = await request.json()
            results = self._results(request, said)
            if "text/event-stream" not in request.headers["accept"]:
                async with contextlib.aclosing(results):  # type: ignore[type-var]
                    result = await anext(results)
                status = 200 if "data" in result else 400
                made = web.json_response(
                    result, status=status, headers=LEAD, content_type="application/graphql-response+json"
                )
                return made
            response = web.StreamResponse(headers=LEAD)
            response.content_type = "text/event-stream"
            await response.prepare(request)
            async for result in results:
                await response.write(b"event: next\ndata: " + json.dumps(result).encode() + b"\n\n")
            await response.write(b"event: complete\ndata:\n\n")
            return response

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("graphql-transport-ws",), max_msg_size=64 << 20)
        await socket.prepare(request)
        running: dict[str, asyncio.Task[None]] = {}
        try:
            async for frame in socket:
                assert frame.type is WSMsgType.TEXT
                message = json.loads(frame.data)
                if message["type"] == "connection_init":
                    await socket.send_json({"type": "connection_ack"})
                elif message["type"] == "subscribe":
                    task = asyncio.ensure_future(self._subscribed(request, socket, message))
                    running[message["id"]] = task
                elif message["type"] == "complete":
                    running[message["id"]].cancel()
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
        return socket

    async def _subscribed(self, request: web.Request, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        with self._counted():
            async for result in self._results(request, message["payload"]):
                kind, payload = ("next", result) if "data" in result else ("error", result["errors"])
                await socket.send_json({"id": message["id"], "type": kind, "payload": payload})
                if kind == "error":
                    return
            await socket.send_json({"id": message["id"], "type": "complete"})


@contextlib.contextmanager
def graphql_backend() -> Iterator[GraphqlBackend]:
    made = GraphqlBackend()
    try:
        yield made
    finally:
        made.stop()
