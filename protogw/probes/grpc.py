"""Asks by grpc.health.v1.Health/Check (grpc/doc health-checking.md)."""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar

from pydantic import Field

from protogw.errors import Code
from protogw.probes.base import Probed, ProbeSettings
from protogw.wire.envelope import envelope, only_message
from protogw.wire.grpc import read_status
from protogw.wire.hpack import encode
from protogw.wire.protowire import delimited

_LIMIT = 64 << 10
_SERVING = b"\x08\x01"
_STATES = {b"": "UNKNOWN", b"\x08\x00": "UNKNOWN", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


class GrpcProbeSettings(ProbeSettings):
    """Which service is asked for."""

    service: Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9_.]*$")] = ""
    """The full name of a service; the server as a whole by default."""


class GrpcProbe:
    """Calls grpc.health.v1.Health/Check."""

    kind: ClassVar[str] = "grpc"
    Settings: ClassVar[type[ProbeSettings]] = GrpcProbeSettings
    transports: ClassVar[tuple[str, ...]] = ("http/2",)

    def __init__(self, settings: GrpcProbeSettings, authority: str, scheme: str) -> None:
        self._head = encode(
            [
                (b":method", b"POST"),
                (b":scheme", scheme.encode()),
                (b":path", b"/grpc.health.v1.Health/Check"),
                (b":authority", authority.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc+proto"),
                (b"user-agent", b"protogw-health"),
            ]
        )
        self._body = envelope(delimited(1, settings.service.encode()) if settings.service else b"")

    async def ask(self, endpoint: Probed) -> str:
        stream = (await endpoint.connection()).open(self._head, self._body)
        try:
            answer = await stream.whole(_LIMIT)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        if answer.head.status != 200:
            return f"HTTP status {answer.head.status}"
        status = read_status(answer.trailers or answer.head.headers)
        if status is None:
            return "no grpc-status"
        if status.code is Code.UNIMPLEMENTED:
            return ""  # It answers, and does not know of health: nothing speaks against it.
        if status.code is not Code.OK:
            return f"{status.code.name}: {status.message}"
        said = only_message(answer.body)
        return "" if said == _SERVING else _STATES.get(said or b"", "not a health reply")
