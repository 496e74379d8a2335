"""The supervisor: starts the workers, starts anew those that die, and ends them all when it is told to.

A worker that dies costs its own calls only: the others' sockets go on taking connections. Whoever dies again and again
is waited for longer and longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogw import __version__
from protogw.assembly import AssemblyError, build
from protogw.commands.terminal import CommandFailed, colours
from protogw.config import Config
from protogw.descriptors.model import SchemaError
from protogw.workers.channel import Channel
from protogw.workers.counting import Counting
from protogw.workers.orders import Orders, send_orders
from protogw.workers.placing import Placing
from protogw.workers.ports import Ports, with_ports

if TYPE_CHECKING:
    from protogw.control.admin import Admin

log = logging.getLogger("protogw")

RESTART_FIRST_S, RESTART_FACTOR, RESTART_MOST_S = 0.1, 2.0, 30.0
LIVED_S = 10.0
"""A worker that served for so long died of something new."""
START_S = 120.0
"""How long a worker may take until it serves."""
GRACE_S = 5.0
"""Beyond the config's `drain`, until a worker that does not end is made to."""


@dataclass(slots=True)
class Worker:
    """One of the processes, whichever it is now."""

    index: int
    admin: str
    process: subprocess.Popen[bytes] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0
    """Unix time of its start."""
    restarts: int = 0
    failed: str = ""
    """What it said in giving up before it served."""

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def shown(self) -> dict[str, Any]:
        state = "down" if self.process is None else "ready" if self.ready.is_set() else "starting"
        return {"worker": self.index, "pid": self.pid, "state": state, "since": self.since, "restarts": self.restarts}


class Supervisor:
    """One run of several workers."""

    def __init__(
        self,
        config: Config,
        data: Mapping[str, Any],
        folder: Path,
        count: int,
        *,
        views: Mapping[str, Callable[[], Any]],
        log_json: bool,
        level: int,
    ) -> None:
        """`data` is the config as it was read, which the workers get; it lies in `folder`."""
        self.workers: list[Worker] = []
        self.draining = False
        self.counting = Counting()
        self.placing = Placing()
        self._config = config
        self._data = data
        self._folder = folder
        self._count = count
        self._views = views
        self._log_json = log_json
        self._level = level
        self._ports = Ports(config)
        self._own = ""
        """A folder of our own: sockets, and the lock of the access log."""
        self._told = asyncio.Event()
        self._admin: Admin | None = None

    async def run(self) -> None:
        """Start, watch over, end. Raises CommandFailed with one line when nothing can be served."""
        self._check()
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="protogw-") as own:
            self._own = own
            Path(own, "log").touch()  # noqa: ASYNC240 (before anything runs)
            tasks: list[asyncio.Task[None]] = []
            try:
                try:
                    await self._ports.hold()
                except OSError as error:
                    raise CommandFailed(error.strerror or str(error)) from error
                self.workers = [Worker(index, f"{own}/{index}.sock") for index in range(self._count)]
                self._admin = await self._start_admin()
                self._install(loop)
                tasks = [loop.create_task(self._keep(worker), name=f"worker {worker.index}") for worker in self.workers]
                if await self._started():
                    self._ports.let_datagrams_go()
                    self._tell()
                    await self._told.wait()
                await self._drain(tasks)
            finally:
                self.draining = True
                for worker in self.workers:
                    if worker.process is not None:
                        worker.process.kill()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for worker in self.workers:
                    if worker.process is not None:
                        await asyncio.to_thread(worker.process.wait)
                self._remove(loop)
                self._ports.release()
                if self._admin is not None:
                    await self._admin.stop()

    def _check(self) -> None:
        """What is wrong with the config is told once, before anything is started."""
        try:
            build(self._config).stop()
        except (AssemblyError, SchemaError) as error:
            raise CommandFailed("\n".join(error.faults)) from error

    async def _start_admin(self) -> Admin | None:
        address = self._config.admin
        if address is None:
            return None
        from protogw.control.admin import Admin
        from protogw.control.workers import WorkerViews

        shown = WorkerViews(lambda: {worker.index: worker.admin for worker in self.workers if worker.ready.is_set()})
        views = {"workers": lambda: {"workers": [worker.shown() for worker in self.workers]}, **self._views}
        admin = Admin(address.host, address.port, self.readiness, views, more=[shown])
        try:
            await admin.start()
        except OSError as error:
            raise CommandFailed(error.strerror or str(error)) from error
        return admin

    def readiness(self) -> dict[str, Any]:
        """Ready with the first worker that is; what each waits for, it says itself."""
        ready = sum(worker.ready.is_set() for worker in self.workers)
        return {"ready": ready > 0 and not self.draining, "draining": self.draining, "workers_ready": ready}

    def _tell(self) -> None:
        log.info("protogw %s: %d workers", __version__, self._count)
        for name, listener in self._config.listeners.items():
            host, port = listener.address.host, self._ports.chosen[name]
            where = f"[{host}]" if ":" in host else host
            raw = listener.raw
            what = f"{raw[0]}://" if raw is not None else "https://" if listener.tls is not None else "http://"
            log.info("listening on %s%s:%d (%s)", what, where, port, name)
        if self._admin is not None:
            host, port = self._admin.address
            log.info("admin on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    # --- the workers --------------------------------------------------------------------------------------------------

    async def _started(self) -> bool:
        """Every worker serves. False when we are told to stop first; raises CommandFailed when one gives up."""
        waiting = [asyncio.ensure_future(worker.ready.wait()) for worker in self.workers]
        told = asyncio.ensure_future(self._told.wait())
        everybody = asyncio.gather(*waiting)
        try:
            end = time.monotonic() + START_S
            while not everybody.done() and not told.done():
                await asyncio.wait((everybody, told), timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                for worker in self.workers:
                    if worker.failed:
                        raise CommandFailed(worker.failed)
                    if worker.restarts and not worker.ready.is_set():
                        raise CommandFailed(f"worker {worker.index} ended before it served")
                if time.monotonic() > end:
                    raise CommandFailed(f"not every worker serves after {START_S:g} s")
            return not told.done()
        finally:
            told.cancel()
            everybody.cancel()
            await asyncio.gather(told, everybody, return_exceptions=True)

    async def _keep(self, worker: Worker) -> None:
        """Have this worker running until we drain."""
        pause = RESTART_FIRST_S
        while not self.draining:
            began = time.monotonic()
            status = await self._run(worker)
            if self.draining:
                return
            if time.monotonic() - began >= LIVED_S:
                pause = RESTART_FIRST_S
            worker.restarts += 1
            why = f"{_said(status)}: {worker.failed}" if worker.failed else _said(status)
            worker.failed = ""
            log.error("worker %d ended (%s): started again in %g s", worker.index, why, pause)
            await asyncio.sleep(pause)
            pause = min(pause * RESTART_FACTOR, RESTART_MOST_S)

    async def _run(self, worker: Worker) -> int:
        """One life of a worker; its exit status."""
        ours, theirs = socket.socketpair()
        with theirs:
            # A new process and no fork of this one: nothing of a running loop, its threads and locks goes with it.
            # In a group of its own, so that the terminal's interrupt comes to the supervisor alone.
            worker.process = process = subprocess.Popen(  # noqa: ASYNC220 (it returns once the program runs)
                [sys.executable, "-m", "protogw.workers.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        worker.since = time.time()
        channel: Channel | None = None
        try:
            try:
                ours.settimeout(START_S)
                await asyncio.to_thread(send_orders, ours, self._orders(worker))
                channel = await Channel.over(ours)
                async for message in channel.messages():
                    self._heard(worker, channel, message)
            except OSError as error:
                log.warning("worker %d does not listen: %s", worker.index, error.strerror or error)
            worker.ready.clear()
            # Its end of the socket is closed: it has ended, or is about to.
            try:
                return await asyncio.wait_for(asyncio.to_thread(process.wait, GRACE_S), GRACE_S + 1)
            except (subprocess.TimeoutExpired, TimeoutError):
                process.kill()
                return await asyncio.to_thread(process.wait)
        finally:
            worker.ready.clear()
            if channel is not None:
                self.placing.gone(channel)
                channel.close()
            else:
                ours.close()
            if process.poll() is not None:
                worker.process = None

    def _heard(self, worker: Worker, channel: Channel, message: Mapping[str, Any]) -> None:
        if "take" in message:
            channel.send(self.counting.answer(message))
        elif self.placing.heard(channel, message):
            pass
        elif "ready" in message:
            worker.ready.set()
        elif "failed" in message:
            worker.failed = str(message["failed"])

    def _orders(self, worker: Worker) -> Orders:
        return Orders(
            index=worker.index,
            workers=self._count,
            data=with_ports(self._data, self._ports.chosen),
            folder=self._folder,
            admin=worker.admin,
            log_lock=f"{self._own}/log",
            log_json=self._log_json,
            log_colour=colours(sys.stderr),
            level=self._level,
        )

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _drain(self, tasks: list[asyncio.Task[None]]) -> None:
        self.draining = True
        self._told.clear()
        seconds = self._config.drain
        log.info("stopping: calls in flight have %g s to finish; a second signal ends them now", seconds)
        self._signal(signal.SIGTERM)
        ended = asyncio.gather(*tasks, return_exceptions=True)
        forced = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait((ended, forced), timeout=seconds + GRACE_S, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                log.warning("stopped before every call had finished")
                self._signal(signal.SIGTERM)
                await asyncio.wait((ended,), timeout=GRACE_S)
        finally:
            forced.cancel()
            await asyncio.gather(forced, return_exceptions=True)
        log.info("stopped")

    def _signal(self, number: int) -> None:
        for worker in self.workers:
            if worker.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    def _install(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)
        for number in (signal.SIGUSR1, signal.SIGHUP):
            loop.add_signal_handler(number, self._signal, number)

    def _remove(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _said(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
