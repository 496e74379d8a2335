"""A Redis server of a test's own, which can be killed and started again on the same port."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.support.processes import Program, free_port, require_tool


class RedisServer:
    """Runs until stopped; keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._binary = require_tool("redis-server")
        self._folder = folder
        self.port = free_port()
        self._program: Program | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        argv = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._program = Program(argv, cwd=self._folder)
        self._program.wait_for_port(self.port)

    def kill(self) -> None:
        if self._program is not None:
            self._program.signal(signal.SIGKILL)
            self._program.stop()
            self._program = None

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
