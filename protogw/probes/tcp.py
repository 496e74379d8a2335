"""Asks no more than whether an endpoint takes connections, TLS included where the upstream has it."""

from __future__ import annotations

from typing import ClassVar

from protogw.probes.base import Probed, ProbeSettings


class TcpProbe:
    """Opens a connection and closes it."""

    kind: ClassVar[str] = "tcp"
    Settings: ClassVar[type[ProbeSettings]] = ProbeSettings
    transports: ClassVar[tuple[str, ...]] = ("http/1.1", "http/2", "tcp")

    def __init__(self, settings: ProbeSettings, authority: str, scheme: str) -> None:
        pass

    async def ask(self, endpoint: Probed) -> str:
        await endpoint.dial()
        return ""
