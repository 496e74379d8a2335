"""A gateway of the RPC front ends before one gRPC backend, on a thread of its own so that any client can call it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import uvloop
from protogw_translators.to_grpc import ToGrpc

from protogw.balancers.round_robin import RoundRobin
from protogw.descriptors.catalog import Catalog
from protogw.frontends.base import Bounds
from protogw.frontends.connect import Connect, ConnectSettings
from protogw.frontends.grpc import Grpc, GrpcSettings, GrpcWeb
from protogw.gateway import Door, Gateway
from protogw.net.http2_client import Http2ClientConnection, Http2Connector
from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.pools.pool import Address, Pool
from protogw.routing.route import Route
from protogw.routing.router import Router
from tests.support import rpc

T = TypeVar("T")


class _Connector(Http2Connector):
    """Remembers its connections."""

    def __init__(self) -> None:
        super().__init__(Limits())
        self.made: list[Http2ClientConnection] = []

    async def connect(self, host: str, port: int) -> Http2ClientConnection:
        connection = await super().connect(host, port)
        self.made.append(connection)
        return connection


class Gate:
    """Listens on `port` once started."""

    def __init__(self, backend_port: int, body: int, compression: str, catalog: Catalog) -> None:
        self.port = 0
        self._backend_port = backend_port
        self._body = body
        self._compression = compression
        self._catalog = catalog
        self._ready = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._faults: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="gate")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)
        if self._faults:
            raise self._faults[0]

    def stop(self) -> None:
        """Raises if anything of the gateway is left when every call has ended."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._faults:
            raise self._faults[0]

    def ask(self, question: Callable[[], T]) -> T:
        """Run a function on the gateway's loop."""

        async def run() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def idle(self) -> bool:
        """No call is in flight on either side, and no task of one is left."""
        pools = self._gateway.pools.values()
        active = sum(endpoint.active for pool in pools for endpoint in pool.endpoints)
        return not active and not self._listener.active and len(asyncio.all_tasks()) <= self._tasks + 1

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as fault:  # noqa: BLE001 - handed to the test, whose thread raises it
            self._faults.append(fault)
        finally:
            self._ready.set()
            self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        translator = ToGrpc("backend.test", message_limit=self._body)
        connector = _Connector()
        pool = Pool(
            "backend",
            [Address(host="127.0.0.1", port=self._backend_port)],
            translator,
            connector,
            RoundRobin(),
            max_connections=4,
            shared=True,
        )
        gateway = self._gateway = Gateway({"backend": pool})
        bounds = Bounds(body=self._body)
        settings = {"compression": self._compression}
        fronts = (
            Grpc(GrpcSettings.model_validate(settings), bounds),
            GrpcWeb(GrpcSettings.model_validate(settings), bounds),
            Connect(ConnectSettings.model_validate({**settings, "plain_json": True}), bounds),
        )
        door = Door(gateway, fronts)
        listener = self._listener = Listener("test", "127.0.0.1", 0, door.serve, Limits())
        gateway.doors["test"] = door
        gateway.listeners["test"] = listener
        route = Route("all", pool)
        gateway.install(self._catalog, Router({method.full_name: [route] for method in self._catalog.methods.values()}))
        await gateway.start()
        self.port = listener.address[1]
        self._tasks = len(asyncio.all_tasks())
        self._ready.set()
        await self._stop.wait()
        await gateway.drain(5)
        while not all(connection.transport.is_closing() for connection in connector.made):  # noqa: ASYNC110 - no event
            # They linger until the service has closed its side.
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)


@contextlib.contextmanager
def gate(
    backend_port: int, *, body: int = 8 << 20, compression: str = "mirror", catalog: Catalog = rpc.CATALOG
) -> Iterator[Gate]:
    made = Gate(backend_port, body, compression, catalog)
    made.start()
    try:
        yield made
    finally:
        made.stop()
