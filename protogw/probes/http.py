"""Asks by a GET and looks at the status."""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar

from pydantic import Field

from protogw.probes.base import Probed, ProbeSettings
from protogw.wire.http1_chunked import encode_fields

_LIMIT = 64 << 10


class HttpProbeSettings(ProbeSettings):
    """What is asked for, and which statuses are good answers."""

    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$", max_length=1024)] = "/"
    """The path of the GET, with a query if there is one."""
    statuses: Annotated[tuple[Annotated[int, Field(ge=100, le=599)], ...], Field(min_length=1)] = (200, 204)
    """The statuses of an endpoint that is well."""
    host: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:\[\]-]+$")] | None = None
    """The host that is asked for; the upstream's own by default."""


class HttpProbe:
    """Sends a GET and looks at the reply's status."""

    kind: ClassVar[str] = "http"
    Settings: ClassVar[type[ProbeSettings]] = HttpProbeSettings
    transports: ClassVar[tuple[str, ...]] = ("http/1.1",)

    def __init__(self, settings: HttpProbeSettings, authority: str, scheme: str) -> None:
        host = (settings.host or authority).encode()
        fields = encode_fields([(b"user-agent", b"protogw-health"), (b"accept", b"*/*")])
        self._head = b"GET %b HTTP/1.1\r\nhost: %b\r\n%b" % (settings.path.encode(), host, fields)
        self._statuses = frozenset(settings.statuses)

    async def ask(self, endpoint: Probed) -> str:
        stream = (await endpoint.connection()).open(self._head, b"")
        try:
            answer = await stream.whole(_LIMIT)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        status = answer.head.status
        return "" if status in self._statuses else f"status {status}"
