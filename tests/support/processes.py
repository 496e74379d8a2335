"""Programs that a test starts: found or skipped, waited for by connecting, stopped by their own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = bool(os.environ.get("PROTOGW_REQUIRE_TOOLS"))
SOURCES = os.pathsep.join((str(ROOT), str(ROOT / "translators")))
"""So that a Python program runs this checkout, installed or not."""
NODE = ROOT / "tests" / "integration" / "node"


def missing(what: str) -> NoReturn:
    """Skip, or fail where every tool is required."""
    if REQUIRED:
        pytest.fail(f"{what}, and PROTOGW_REQUIRE_TOOLS is set")
    pytest.skip(what)


def require_tool(name: str) -> str:
    """The path of a program; skips the test when it is not installed, or fails it under PROTOGW_REQUIRE_TOOLS."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", str(beside))))
    if found is None:
        missing(f"{name} is not installed")
    return found


def require_node() -> str:
    """Node, with the client packages of tests/integration/node installed beside the scripts."""
    node = require_tool("node")
    if not (NODE / "node_modules" / "@connectrpc").is_dir():
        missing("the Node clients are not installed (npm install --prefix tests/integration/node)")
    return node


def free_port() -> int:
    """A port that nobody listens on now; for programs that cannot take port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A running program, its output, and its end."""

    def __init__(self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self.argv = list(argv)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 — lives as long as the program
        self._process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": SOURCES, **(env or {})},
            start_new_session=True,
        )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        """All that it has written so far, to either stream."""
        if self._log.closed:
            return self._last_output
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for_port(self, port: int, timeout: float = 20.0) -> None:
        """Until it accepts connections; fails with its output when it ends or takes too long."""
        end = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                return
            except OSError:
                if not self.running or time.monotonic() > end:
                    pytest.fail(f"{self.argv[0]} does not listen on {port}:\n{self.output}")
                time.sleep(0.01)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """Its exit status."""
        return self._process.wait(timeout)

    def stop(self, timeout: float = 10.0) -> int:
        """Ask it to end, and make it after `timeout` seconds; its exit status."""
        try:
            if self.running:
                self._process.send_signal(signal.SIGTERM)
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # its own session: whatever it left behind
            self._last_output = self.output
            self._log.close()

    def rss(self) -> int:
        """Its resident memory in bytes."""
        return resident(self.pid)


@contextlib.contextmanager
def running(argv: Sequence[str], *, port: int | None = None, **options: object) -> Iterator[Program]:
    """A program for the length of a block; waits until it listens on `port`."""
    program = Program(argv, **options)  # type: ignore[arg-type]
    try:
        if port is not None:
            program.wait_for_port(port)
        yield program
    finally:
        program.stop()


def resident(pid: int) -> int:
    """A process's resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)


def run(argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """A program's standard output; fails the test with both streams when its exit status is not 0."""
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, cwd=cwd, check=False)
    if done.returncode:
        text = (done.stdout + done.stderr).decode(errors="replace")
        pytest.fail(f"{' '.join(argv)}: exit {done.returncode}\n{text}")
    return done.stdout


def until(condition: object, timeout: float = 20.0, what: str = "the condition") -> None:
    """Wait for a condition that another process or thread brings about."""
    assert callable(condition)
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true in {timeout} s")
        time.sleep(0.005)
