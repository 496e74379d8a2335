"""Ports that several processes share: bound once by the supervisor, so that a port that is taken is told once and one
that the system chooses is the same for all."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protogw.config import Config
from protogw.net.bound import bind, cannot_listen

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Ports:
    """The ports of a config's listeners, held while workers may come and go.

    A bound socket that does not listen gets no connection, and keeps others from the port. Datagrams would come to it,
    so that those of UDP are let go once the workers have theirs.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._held: list[socket.socket] = []
        self.chosen: dict[str, int] = {}
        """Each listener's port."""

    async def hold(self) -> None:
        """Bind every port; raises OSError with a text to show."""
        for name, listener in self._config.listeners.items():
            raw = listener.raw
            kind = _KINDS["tcp" if raw is None else listener.passthroughs[raw[0]].transport]
            host, port = listener.address
            try:
                if port:
                    # Alone first: another gateway's workers share with whoever asks to, and must not get us unasked.
                    for sock in await bind(host, port, kind):
                        sock.close()
                self._held += await bind(host, port, kind, reuse_port=True)
            except OSError as error:
                self.release()
                raise cannot_listen(name, host, port, error) from error
            self.chosen[name] = self._held[-1].getsockname()[1]

    def let_datagrams_go(self) -> None:
        """The workers have their sockets."""
        for sock in self._held:
            if sock.type == socket.SOCK_DGRAM:
                sock.close()
        self._held = [sock for sock in self._held if sock.fileno() >= 0]

    def release(self) -> None:
        for sock in self._held:
            sock.close()
        self._held = []


def with_ports(data: Mapping[str, Any], chosen: Mapping[str, int]) -> dict[str, Any]:
    """A config's data with the ports that were chosen."""
    listeners = dict(data["listeners"])
    for name, port in chosen.items():
        host = str(listeners[name]["address"]).rpartition(":")[0]
        listeners[name] = {**listeners[name], "address": f"{host}:{port}"}
    return {**data, "listeners": listeners}


def workers_for(written: int | str) -> int:
    """How many workers `auto` stands for: as many as there are processors for us."""
    if isinstance(written, int):
        return written
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota(Path("/sys/fs/cgroup/cpu.max")) or count))


def _quota(path: Path) -> int | None:
    """How many processors a container has by its quota (cgroup v2), None without one."""
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None
