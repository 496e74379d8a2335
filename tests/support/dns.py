"""dnsmasq as the DNS server of a test: its names change while it runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.processes import Program, free_port, require_tool


class Names:
    """A running dnsmasq. Answers have a time to live of one second."""

    def __init__(self, folder: Path, services: Sequence[str] = ()) -> None:
        """`services` are SRV records as dnsmasq takes them: `_grpc._tcp.a.test,host,port,priority,weight`."""
        self._binary = require_tool("dnsmasq")
        self._folder = folder
        self._services = services
        self._hosts = folder / "hosts"
        self._hosts.write_text("")
        self.port = free_port()
        self.program: Program | None = None
        self.start()

    @property
    def resolver(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [self._binary, "--no-daemon", f"--port={self.port}", "--no-resolv", "--no-hosts", "--conf-file="]
        argv += ["--listen-address=127.0.0.1", "--bind-interfaces", "--user=", "--group=", "--local-ttl=1"]
        argv += [f"--addn-hosts={self._hosts}", "--local=/test/", *(f"--srv-host={one}" for one in self._services)]
        self.program = Program(argv, cwd=self._folder)
        self.program.wait_for_port(self.port)

    def kill(self) -> None:
        if self.program is not None:
            self.program.signal(signal.SIGKILL)
            self.program.stop()
            self.program = None

    def say(self, names: Mapping[str, Sequence[str]]) -> None:
        """Have these names with these addresses from now on, and no others."""
        lines = [f"{address} {name}\n" for name, addresses in names.items() for address in addresses]
        self._hosts.write_text("".join(lines))
        assert self.program is not None
        self.program.signal(signal.SIGHUP)


@contextlib.contextmanager
def names(folder: Path, *services: str) -> Iterator[Names]:
    made = Names(folder, services)
    try:
        yield made
    finally:
        made.kill()
