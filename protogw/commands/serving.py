"""Runs a gateway until it is told to stop: `protogw serve`, and `protogw demo` with a service of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogw import __version__
from protogw.assembly import AssemblyError, build
from protogw.commands.configured import loaded, run
from protogw.commands.terminal import CommandFailed, colours, note
from protogw.commands.watching import Watching
from protogw.config import Config
from protogw.config.redact import redacted
from protogw.descriptors import numbers as lock
from protogw.descriptors.model import SchemaError
from protogw.frontends.connections import Connection, HoldsConnections
from protogw.gateway import Gateway
from protogw.observe import program_log
from protogw.stores.base import CounterStore
from protogw.workers.ports import workers_for

if TYPE_CHECKING:
    from protogw.control.admin import Admin
    from protogw.pools.endpoint import Endpoint
    from protogw.pools.pool import Pool

log = logging.getLogger("protogw")


def serve(path: Path, *, log_json: bool | None, verbose: bool) -> None:
    """Serve a config file until SIGTERM or SIGINT."""
    program_log.set_up(
        json=not sys.stderr.isatty() if log_json is None else log_json,
        colour=colours(sys.stderr),
        level=logging.DEBUG if verbose else logging.INFO,
    )
    config, document = loaded(path)
    views = {"config": lambda: redacted(document)}
    count = workers_for(config.workers)
    if count == 1:
        run(Serving(config, views=views).run)
        return
    from protogw.workers.supervisor import Supervisor

    supervisor = Supervisor(
        config,
        document.data,
        path.absolute().parent,
        count,
        views=views,
        log_json=not sys.stderr.isatty() if log_json is None else log_json,
        level=logging.DEBUG if verbose else logging.INFO,
    )
    run(supervisor.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is different in a gateway that is one of several workers."""

    index: int
    admin: str
    """The path of the socket that its admin address is on."""
    log_lock: str
    """The file that is locked while lines of the access log are written."""
    counters: CounterStore
    """What counts for all workers."""


@dataclass(slots=True)
class Serving:
    """One run of a gateway. `started` is told once it serves, `views` are shown on the admin address beside its own."""

    config: Config
    views: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    started: Callable[[Gateway], Awaitable[None]] | None = None
    part: Part | None = None
    gateway: Gateway | None = None
    admin: Admin | None = None
    watching: Watching | None = None
    _stop: _Stop | None = None

    def stop(self) -> None:
        """Drain and end, as a signal would have it."""
        if self._stop is not None:
            self._stop.tell()

    async def run(self) -> None:
        """Start, serve, drain. Raises CommandFailed with one line when it cannot start."""
        stop = self._stop = _Stop()
        part = self.part
        watching = self.watching = Watching(self.config, part.log_lock if part is not None else "")
        try:
            try:
                self.gateway = gateway = build(
                    self.config,
                    recorder=watching.recorder,
                    around=watching.around,
                    over=watching.over,
                    counters=part.counters if part is not None else None,
                    reuse_port=part is not None,
                )
                if part is None or part.index == 0:
                    self._keep_numbers(gateway)
                self.admin = await self._start_admin(gateway, watching)
                await gateway.start()
            except (AssemblyError, SchemaError) as error:
                raise CommandFailed("\n".join(error.faults)) from error
            except OSError as error:
                raise CommandFailed(error.strerror or str(error)) from error
            stop.install(watching.reopen)
            if part is None:
                self._tell(gateway)
            if self.started is not None:
                await self.started(gateway)
            # What exists now lives until the end: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            # Calls leave next to no cycles behind: looking at every 700th new object for some is time lost.
            gc.set_threshold(20_000, 20, 50)
            await stop.wait()
            await self._drain(gateway, stop)
        finally:
            stop.remove()
            if self.gateway is not None:
                self.gateway.stop()
            if self.admin is not None:
                await self.admin.stop()
            watching.close()

    async def _start_admin(self, gateway: Gateway, watching: Watching) -> Admin | None:
        texts = watching.see(gateway)
        address = self.config.admin
        if address is None:
            return None
        part = self.part
        from protogw.commands.served_documents import ServedDocuments
        from protogw.control.admin import Admin, Views
        from protogw.control.analytics import AnalyticsViews
        from protogw.control.caches import CacheViews

        def ready() -> dict[str, Any]:
            return readiness(gateway)

        views = {
            "upstreams": lambda: upstreams(gateway),
            "catalog": lambda: catalog(gateway),
            "listeners": lambda: listeners(gateway),
            **self.views,
        }
        if gateway.shown:
            views["policies"] = lambda: {name: shown() for name, shown in gateway.shown.items()}
        held = connections(gateway)
        documents = ServedDocuments(gateway, self.config)
        offering = gateway.offering
        steered = (lambda: offering.deliveries) if offering is not None and offering.deliveries else None
        if offering is not None and any(one.differences is not None for one in offering.deliveries):
            views["shadows"] = lambda: {one.name: found for one in offering.deliveries if (found := one.shadow())}
        more: list[Views] = [CacheViews(gateway.caches)] if gateway.caches else []
        if watching.analytics is not None:
            more.append(AnalyticsViews(watching.analytics.report))
        path = part.admin if part is not None else ""
        admin = Admin(address.host, address.port, ready, views, documents, held, steered, more, texts, path=path)
        await admin.start()
        return admin

    def _keep_numbers(self, gateway: Gateway) -> None:
        """Write the field numbers of schemas without a proto beside the config, now and when one of them changes."""
        path, offering = self.config.lock, gateway.offering
        assert offering is not None
        if path is None:
            return
        numbers = offering.numbers

        def keep() -> None:
            try:
                if not numbers.is_empty and lock.save(numbers, path):
                    log.info("wrote %s", path)
            except OSError as error:
                # A folder that cannot be written to is a way to run: the numbers then come from what is there.
                log.warning(
                    "%s: cannot be written: %s; `protogw check --write-lock` does elsewhere", path, error.strerror
                )

        offering.learned = keep
        keep()

    def _tell(self, gateway: Gateway) -> None:
        log.info("protogw %s", __version__)
        for name, listener in self.config.listeners.items():
            host, port = gateway.listeners[name].address
            where = f"[{host}]" if ":" in host else host
            raw = listener.raw
            if raw is not None:
                secure = " with TLS" if listener.tls is not None else ""
                log.info("listening on %s://%s:%d (%s): passed through%s", raw[0], where, port, name, secure)
                continue
            scheme = "https" if listener.tls is not None else "http"
            log.info("listening on %s://%s:%d (%s): %s", scheme, where, port, name, ", ".join(listener.offered))
        if self.admin is not None:
            host, port = self.admin.address
            log.info("admin on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        offering = gateway.offering
        assert offering is not None
        for name, schema in offering.schemas.items():
            methods = [method for service in schema.services.values() for method in service.methods.values()]
            bindings = sum(len(method.http) for method in methods)
            services = ", ".join(schema.services) or "no services"
            log.info("upstreams.%s: %s: %d methods, %d REST bindings", name, services, len(methods), bindings)
        for name in sorted(offering.awaited):
            log.info("upstreams.%s: waiting for it to describe itself", name)
        for name, upstream in self.config.upstreams.items():
            if upstream.secure is not None and not upstream.secure.verify:
                log.warning("upstreams.%s: its certificate is not verified (tls.verify: false)", name)

    async def _drain(self, gateway: Gateway, stop: _Stop) -> None:
        seconds = self.config.drain
        log.info("stopping: calls in flight have %g s to finish; a second signal ends them now", seconds)
        draining = asyncio.get_running_loop().create_task(gateway.drain(seconds), name="drain")
        forced = asyncio.get_running_loop().create_task(stop.wait(), name="forced")
        try:
            await asyncio.wait((draining, forced), return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                log.warning("stopped before every call had finished")
                gateway.stop()
        finally:
            for task in (draining, forced):
                task.cancel()
            await asyncio.gather(draining, forced, return_exceptions=True)
        log.info("stopped")


class _Stop:
    """Signals, counted: SIGTERM and SIGINT stop, SIGUSR1 and SIGHUP open the log file anew."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._installed: list[int] = []

    def install(self, reopen: Callable[[], None]) -> None:
        for number, action in (
            (signal.SIGTERM, self._told.set),
            (signal.SIGINT, self._told.set),
            (signal.SIGUSR1, reopen),
            (signal.SIGHUP, reopen),
        ):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # not on this platform, or not in this thread
                self._loop.add_signal_handler(number, action)
                self._installed.append(number)

    def tell(self) -> None:
        """As a signal to stop would."""
        self._told.set()

    def remove(self) -> None:
        for number in self._installed:
            self._loop.remove_signal_handler(number)
        self._installed.clear()

    async def wait(self) -> None:
        """Until the next signal to stop."""
        await self._told.wait()
        self._told.clear()


def connections(gateway: Gateway) -> Callable[[], Mapping[str, Connection]] | None:
    """The open connections that operators may see and end; None where no listener gives them into their hands."""
    holding = [
        front_end
        for door in gateway.doors.values()
        for front_end in door.front_ends
        if isinstance(front_end, HoldsConnections) and front_end.shows_connections
    ]
    if not holding:
        return None
    return lambda: {id: one for front_end in holding for id, one in front_end.connections.items()}


def readiness(gateway: Gateway) -> dict[str, Any]:
    """What `/readyz` says."""
    offering = gateway.offering
    waiting = sorted(offering.awaited) if offering is not None else []
    unknown = sorted(name for name, following in gateway.followings.items() if following.awaited)
    lacking = offering.lacking if offering is not None else {}
    found = {
        "ready": not (gateway.draining or waiting or unknown or lacking),
        "draining": gateway.draining,
        "waiting_for_schema": waiting,
        "waiting_for_addresses": unknown,
    }
    return {**found, "waiting_for_policies": lacking} if lacking else found


def upstreams(gateway: Gateway) -> dict[str, Any]:
    """Each pool and its endpoints, as they are now."""
    raw = {name: endpoints.shown() for name, endpoints in gateway.endpoints.items()}
    shown = raw | {
        name: {
            "kind": pool.kind,
            "reachable": pool.reachable,
            "endpoints": [
                {
                    "address": endpoint.label,
                    "up": not endpoint.down_until,
                    "state": pool.state(endpoint),
                    "weight": endpoint.weight,
                    "connections": endpoint.connections,
                    "in_flight": endpoint.active,
                    **_breakers(pool, endpoint),
                }
                for endpoint in pool.endpoints
            ],
        }
        for name, pool in gateway.pools.items()
    }
    for name, following in gateway.followings.items():
        shown[name]["discovery"] = following.shown()
    return shown


def _breakers(pool: Pool, endpoint: Endpoint) -> dict[str, Any]:
    """The methods that an endpoint gets no calls of, or only probes; nothing where there is no breaker."""
    breaker = pool.breaker
    if breaker is None:
        return {}
    now = asyncio.get_running_loop().time()
    return {
        "breakers": [
            {"method": method, "state": state.value, "for_s": round(left_s, 3)}
            for method, state, left_s in breaker.of(endpoint, now)
        ]
    }


def catalog(gateway: Gateway) -> dict[str, Any]:
    """Every offered service and its methods."""
    return {
        name: {
            method.name: {
                "shape": method.shape,
                "input": method.input.name,
                "output": method.output.name,
                "rest": [f"{rule.verb} {rule.template}" for rule in method.http],
            }
            for method in service.methods.values()
        }
        for name, service in gateway.catalog.services.items()
    }


def listeners(gateway: Gateway) -> dict[str, Any]:
    """Each listener, where it is bound and what it offers."""
    found: dict[str, Any] = {}
    for name, listener in gateway.listeners.items():
        host, port = listener.address
        raw = gateway.passthroughs.get(name)
        if raw is not None:
            found[name] = {"host": host, "port": port, **raw.state()}
            continue
        offered = [front_end.kind for front_end in gateway.doors[name].front_ends]
        found[name] = {"host": host, "port": port, "offer": offered}
    return found


__all__ = ["Serving", "note", "serve"]
