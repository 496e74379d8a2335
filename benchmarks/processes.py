"""Programs under measurement: started, waited for, their CPU time read, stopped by their own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NGINX_USER = "user root;" if os.geteuid() == 0 else ""
"""Started by root, nginx's workers would else be another user, who cannot read the run's folder."""

ROOT = Path(__file__).resolve().parents[1]
SOURCES = os.pathsep.join((str(ROOT), str(ROOT / "translators")))
"""So that a Python program runs this checkout, installed or not."""


class Missing(RuntimeError):
    """A program that the run needs is not installed."""


def tool(name: str) -> str:
    """The path of a program, also beside the running Python and in /usr/sbin."""
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin", str(Path(sys.executable).parent))
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A running program and the processes that it started."""

    def __init__(self, argv: Sequence[str], folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": SOURCES},
            )
        self.pid = self._process.pid

    def wait_for_port(self, port: int, timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise Missing(f"{self.name} does not listen on {port}:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.02)

    def cpu_s(self) -> float:
        """User and system time so far, of the program and its children, in seconds."""
        return sum(_cpu_s(pid) for pid in _family(self.pid))

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Programs:
    """Several programs that are one peer."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = tuple(programs)

    def cpu_s(self) -> float:
        return sum(program.cpu_s() for program in self._programs)

    def stop(self) -> None:
        for program in self._programs:
            program.stop()


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(map(int, children.read_text().split()))
    return found


def _cpu_s(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) gives for a process: nanoseconds, where /proc has ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)
