"""The gateway's own gRPC services: server reflection and health, for everything in the catalog.

It is called like a pool, so every front end, policy and route serves it as it does any other service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.descriptors.grpc_services import HEALTH, REFLECTION_V1, REFLECTION_V1ALPHA, grpc_services
from protogw.descriptors.model import Method, Schema
from protogw.descriptors.reflection import Reflection
from protogw.errors import Code, InvalidRequest, NotOffered, Status

_Health = health_pb2.HealthCheckResponse


class Builtin:
    """Answers reflection and health calls in-process.

    `healthy` is asked for the health of an offered service, or of the gateway as a whole with the empty name; without
    it everything offered is healthy. Call `changed` when its answers may have changed.
    """

    def __init__(self, healthy: Callable[[str], bool] | None = None) -> None:
        self.schema: Schema = grpc_services()
        self.name = "gateway"
        self.kind = "builtin"
        self.healthy = healthy
        self._catalog = EMPTY
        self._reflection = Reflection(EMPTY)
        self._watchers: set[asyncio.Event] = set()

    def offer(self, catalog: Catalog) -> None:
        """Describe this catalog from now on; open streams do so with their next answer."""
        self._catalog = catalog
        self._reflection = Reflection(catalog, self._reflection)
        self.changed()

    def changed(self) -> None:
        """Tell those who watch a service's health to look again."""
        for watcher in self._watchers:
            watcher.set()

    async def send(self, call: Call) -> Reply:
        """Answer one call, as a pool does; raises InvalidRequest, NotOffered."""
        method = call.method
        assert method is not None
        if method.service in (REFLECTION_V1, REFLECTION_V1ALPHA):
            assert call.payloads is not None
            return Reply(payloads=self._reflect(method, call.payloads))
        if method.service != HEALTH:
            raise NotOffered(f"{method.full_name}: no such method")
        assert call.payload is not None
        if method.name == "Check":
            return self._check(method, call.payload)
        if method.name == "List":
            return self._list(method)
        return Reply(payloads=self._watch(method, _parse(health_pb2.HealthCheckRequest(), call.payload).service))

    async def _reflect(self, method: Method, questions: AsyncIterator[Payload]) -> AsyncIterator[Payload]:
        schema: Schema | None = None
        async for question in questions:
            answer, schema = self._reflection.answer(question.proto(), schema)
            yield Payload(answer, Encoding.PROTO, method.output.codec)

    # --- health (grpc/doc/health-checking.md) ---------------------------------------------------------------------

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service and service not in self._catalog.services:
            return _Health.SERVICE_UNKNOWN
        if self.healthy is None or self.healthy(service):
            return _Health.SERVING
        return _Health.NOT_SERVING

    def _check(self, method: Method, payload: Payload) -> Reply:
        service = _parse(health_pb2.HealthCheckRequest(), payload).service
        status = self._status(service)
        if status == _Health.SERVICE_UNKNOWN:
            return Reply(status=Status(Code.NOT_FOUND, f"no service {service!r} is offered"))
        return Reply(payload=_payload(method, _Health(status=status)))

    def _list(self, method: Method) -> Reply:
        statuses = {name: _Health(status=self._status(name)) for name in ("", *self._catalog.services)}
        return Reply(payload=_payload(method, health_pb2.HealthListResponse(statuses=statuses)))

    async def _watch(self, method: Method, service: str) -> AsyncIterator[Payload]:
        """The service's health now and whenever it changes, until the client goes away."""
        look = asyncio.Event()
        self._watchers.add(look)
        told: int | None = None
        try:
            while True:
                look.clear()
                status = self._status(service)
                if status != told:
                    told = status
                    yield _payload(method, _Health(status=status))
                await look.wait()
        finally:
            self._watchers.discard(look)

    def __repr__(self) -> str:
        return f"<Builtin {len(self._catalog.services)} services, {len(self._watchers)} watching>"


def _payload(method: Method, message: Message) -> Payload:
    return Payload(message.SerializeToString(), Encoding.PROTO, method.output.codec)


def _parse(message: health_pb2.HealthCheckRequest, payload: Payload) -> health_pb2.HealthCheckRequest:
    try:
        message.ParseFromString(payload.proto())
    except DecodeError as error:
        raise InvalidRequest("grpc.health.v1.HealthCheckRequest: not valid protobuf") from error
    return message
