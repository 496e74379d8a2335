"""The product, running: on a thread of this process, or as the program that users start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from protogw.assembly import KINDS, build
from protogw.config import load
from protogw.descriptors.model import Schema
from protogw.gateway import Gateway
from tests.support.processes import Program, free_port

T = TypeVar("T")


def config_of(upstreams: dict[str, Any], *, listener: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """A config with one listener on a free port, no admin address and no access log."""
    return {
        "listeners": {"public": {"address": "127.0.0.1:0", **(listener or {})}},
        "upstreams": upstreams,
        "access_log": "off",
        "admin": "off",
        **rest,
    }


def written(config: dict[str, Any], folder: Path) -> Path:
    """The config as a file (JSON is YAML)."""
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))
    return path


class Running:
    """A gateway on a thread of its own; `do` runs something in its loop."""

    def __init__(self, config: Path, schemas: Mapping[str, Schema] | None = None) -> None:
        self._config = config
        self._schemas = schemas
        self._loop = uvloop.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._fault: BaseException | None = None
        self.gateway: Gateway
        self._thread = threading.Thread(target=self._run, name="gateway")
        self._thread.start()
        self._ready.wait(20)
        if self._fault is not None:
            self._thread.join()
            raise self._fault

    @property
    def port(self) -> int:
        return self.gateway.listeners["public"].address[1]

    def do(self, work: Callable[[], T]) -> T:
        """Call something in the gateway's loop and return what it returns."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something in the gateway's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def wait_for(self, service: str, timeout: float = 10.0) -> None:
        """Until the service is offered: reflection may take a moment."""
        end = threading.Event()
        for _ in range(int(timeout / 0.01)):
            if self.do(lambda: service in self.gateway.catalog.services):
                return
            end.wait(0.01)
        raise AssertionError(f"{service} is not offered after {timeout} s")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gateway does not stop"

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:  # noqa: BLE001 — handed to the thread that waits
            self._fault = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _main(self) -> None:
        self.gateway = build(load(self._config, KINDS), schemas=self._schemas)
        await self.gateway.start()
        self._ready.set()
        await self._stop.wait()
        pools = self.gateway.pools.values()
        endpoints = [endpoint for pool in pools for endpoint in pool.endpoints]
        endpoints += [lane for endpoint in endpoints for lane in endpoint._lanes.values()]
        kept = [one for endpoint in endpoints for one in endpoint._connections]
        await self.gateway.drain(0.2)
        while not all(one.transport.is_closing() for one in kept):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # they linger until the service has closed its side; nothing tells when
        await asyncio.sleep(0)


@contextlib.contextmanager
def gateway(config: dict[str, Any], folder: Path, schemas: Mapping[str, Schema] | None = None) -> Iterator[Running]:
    """A gateway of this config on a thread; `schemas` stand in place of what the config says, by upstream."""
    made = Running(written(config, folder), schemas)
    try:
        yield made
    finally:
        made.stop()


class Serving(Program):
    """`protogw serve` as a process of its own, with its public port."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.port = free_port()
        listeners = {**config["listeners"]}
        listeners["public"] = {**listeners["public"], "address": f"127.0.0.1:{self.port}"}
        path = written({**config, "listeners": listeners}, folder)
        super().__init__([sys.executable, "-m", "protogw", "serve", str(path)], cwd=folder)


@contextlib.contextmanager
def serving(config: dict[str, Any], folder: Path) -> Iterator[Serving]:
    """A gateway of this config as a process."""
    made = Serving(config, folder)
    try:
        made.wait_for_port(made.port)
        yield made
    finally:
        made.stop()
