"""A raw listener in the test's own loop, with the services behind it and what it recorded."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from protogw.balancers.round_robin import RoundRobin
from protogw.discovery.base import Address
from protogw.net.sources import Network, Sources
from protogw.passthrough.base import Carried
from protogw.passthrough.endpoints import Endpoints
from protogw.passthrough.service import Service
from protogw.passthrough.tcp import Tcp
from protogw.values import parse_network
from tests.support.tcp import Deaf, Origin, connect


def networks(*written: str) -> tuple[Network, ...]:
    return tuple(map(parse_network, written))


class Recorded:
    """Keeps what was carried, and wakes who waits for it."""

    def __init__(self) -> None:
        self.lines: list[Carried] = []
        self._changed = asyncio.Event()

    def carried(self, what: Carried) -> None:
        self.lines.append(what)
        self._changed.set()

    async def last(self, count: int = 1) -> Carried:
        """The line of the connection that ended as the `count`th."""
        async with asyncio.timeout(5):
            while len(self.lines) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.lines[count - 1]


class Passing:
    """A `Tcp` listener on a free port; `services` maps names to what is behind them."""

    def __init__(
        self,
        settings: Any,
        services: Mapping[str, Sequence[Origin | Deaf]],
        *,
        sources: Sources | None = None,
        tls: ssl.SSLContext | None = None,
        **service: Any,
    ) -> None:
        self.recorded = Recorded()
        self._clients: list[socket.socket] = []
        self.services = {
            name: Service(endpoints=Endpoints(name, "tcp", [_where(one) for one in origins], RoundRobin()), **service)
            for name, origins in services.items()
        }
        self.tcp = Tcp(
            "raw",
            "127.0.0.1",
            0,
            Tcp.Settings.model_validate(settings),
            self.services,
            sources=sources or Sources(),
            tls=tls,
            recorder=self.recorded,
        )

    async def __aenter__(self) -> Passing:
        await self.tcp.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for sock in self._clients:
            sock.close()
        await self.tcp.drain(0)
        assert self.tcp.connections == 0
        assert len(self.tcp.per_source) == 0
        for service in self.services.values():
            assert not any(endpoint.active for endpoint in service.endpoints.endpoints)

    @property
    def port(self) -> int:
        return self.tcp.address[1]

    async def connect(self) -> socket.socket:
        """A client's end, closed with the listener at the latest."""
        sock = connect(self.port)
        self._clients.append(sock)
        return sock


def _where(one: Origin | Deaf) -> Address:
    return Address(host="127.0.0.1", port=one.port)
