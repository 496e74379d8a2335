"""Consul and Kubernetes as their documents describe them, for tests: no release of either can be had from the package
indexes that tests may use, so these are written from the API references that protogw/discovery names.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[tuple[str, int]]:
    server = TestServer(app)
    await server.start_server()
    try:
        assert server.port is not None
        yield server.host, server.port
    finally:
        await server.close()


@contextmanager
def apart(app: web.Application) -> Iterator[tuple[str, Callable[[Coroutine[Any, Any, Any]], Any]]]:
    """It on a thread of its own: its `host:port`, and what awaits something in its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="registry")
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    server = served(app)
    host, port = run(server.__aenter__())
    try:
        yield f"{host}:{port}", run
    finally:
        run(server.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class FakeConsul:
    """`/v1/health/service/NAME` with blocking queries: held until the index is another."""

    def __init__(self) -> None:
        self.index = 10
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[Mapping[str, str]] = []
        self.tokens: list[str | None] = []
        self.status = 200
        self.body: bytes | None = None
        self._changed = asyncio.Condition()
        self.app = web.Application()
        self.app.router.add_get("/v1/health/service/{name}", self._health)

    async def put(self, name: str, *instances: dict[str, Any], index: int | None = None) -> None:
        async with self._changed:
            self.services[name] = list(instances)
            self.index = self.index + 1 if index is None else index
            self._changed.notify_all()

    async def _health(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("X-Consul-Token"))
        index = int(request.query.get("index", "0"))
        if index and self.status == 200 and self.body is None:
            wait = float(request.query.get("wait", "300s").removesuffix("s"))
            async with self._changed:
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait_for(lambda: self.index != index)
                except TimeoutError:
                    pass
        headers = {"X-Consul-Index": str(self.index)}
        if self.body is not None:
            return web.Response(body=self.body, headers=headers)
        found = self.services.get(request.match_info["name"], [])
        tag = request.query.get("tag")
        found = [one for one in found if tag is None or tag in one["Service"].get("Tags", ())]
        return web.json_response(found, status=self.status, headers=headers)


def instance(host: str, port: int, *, node: str = "10.9.9.9", tags: tuple[str, ...] = (), weight: int = 1) -> Any:
    """One entry of Consul's answer, the parts that matter and some that do not."""
    return {
        "Node": {"ID": "n", "Node": "n", "Address": node, "Datacenter": "dc1", "Meta": {"zone": "eu"}},
        "Service": {
            "ID": f"{host}:{port}",
            "Service": "orders",
            "Tags": list(tags),
            "Address": host,
            "Port": port,
            "Weights": {"Passing": weight, "Warning": 1},
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
    }


class FakeKubernetes:
    """EndpointSlices of one namespace: lists in pages, and watches that tell of what came after a version."""

    def __init__(self) -> None:
        self.version = 100
        self.slices: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.oldest = 0
        """Watches from before this version are refused with 410."""
        self.lists = 0
        self.watches = 0
        self.tokens: list[str | None] = []
        self.status = 200
        self.page = 500
        self.say: tuple[str, dict[str, Any]] | None = None
        """An event that the next watch begins with, and ends."""
        self._changed = asyncio.Condition()
        self._cut = 0
        self.app = web.Application()
        self.app.router.add_get("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", self._slices)

    async def put(self, name: str, *endpoints: dict[str, Any], service: str = "orders", **more: Any) -> None:
        async with self._changed:
            self.version += 1
            kind = "MODIFIED" if name in self.slices else "ADDED"
            item = {
                "metadata": {
                    "name": name,
                    "resourceVersion": str(self.version),
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4",
                "endpoints": list(endpoints),
                "ports": [{"name": "grpc", "protocol": "TCP", "port": 50051}],
                **more,
            }
            self.slices[name] = item
            self.events.append((self.version, kind, item))
            self._changed.notify_all()

    async def delete(self, name: str) -> None:
        async with self._changed:
            self.version += 1
            item = self.slices.pop(name)
            item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
            self.events.append((self.version, "DELETED", item))
            self._changed.notify_all()

    async def cut(self, *, forget: bool = False) -> None:
        """End every watch; with `forget` they cannot go on where they were."""
        async with self._changed:
            self._cut += 1
            if forget:
                self.version += 5
                self.oldest = self.version
            self._changed.notify_all()

    async def _slices(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers.get("Authorization"))
        if self.status != 200:
            return web.json_response({"kind": "Status", "code": self.status}, status=self.status)
        label = request.query["labelSelector"].removeprefix("kubernetes.io/service-name=")
        if request.query.get("watch") == "true":  # as the API's own clients write it
            return await self._watch(request, label)
        self.lists += 1
        found = [
            one for one in self.slices.values() if one["metadata"]["labels"]["kubernetes.io/service-name"] == label
        ]
        start = int(request.query.get("continue") or 0)
        end = start + self.page
        about = {"resourceVersion": str(self.version), **({"continue": str(end)} if end < len(found) else {})}
        return web.json_response({"kind": "EndpointSliceList", "metadata": about, "items": found[start:end]})

    async def _watch(self, request: web.Request, label: str) -> web.StreamResponse:
        self.watches += 1
        cut = self._cut
        at = int(request.query["resourceVersion"])
        answer = web.StreamResponse()
        await answer.prepare(request)
        if self.say is not None:
            said, self.say = self.say, None
            await _event(answer, *said)
            return answer
        if at < self.oldest:
            await _event(answer, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
            return answer
        while True:
            for version, kind, item in list(self.events):
                if version > at and item["metadata"]["labels"]["kubernetes.io/service-name"] == label:
                    await _event(answer, kind, item)
                at = max(at, version)
            await _event(answer, "BOOKMARK", {"metadata": {"resourceVersion": str(at)}})
            async with self._changed:
                await self._changed.wait_for(lambda at=at: self._cut != cut or self.version > at)  # type: ignore[misc]
            if self._cut != cut:
                return answer


async def _event(answer: web.StreamResponse, kind: str, item: Any) -> None:
    await answer.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


def pod(
    host: str, *, ready: bool | None = True, serving: bool = True, terminating: bool = False, zone: str = ""
) -> Any:
    """One endpoint of a slice."""
    conditions: dict[str, Any] = {"serving": serving, "terminating": terminating}
    if ready is not None:
        conditions["ready"] = ready
    return {"addresses": [host], "conditions": conditions, **({"zone": zone} if zone else {})}
