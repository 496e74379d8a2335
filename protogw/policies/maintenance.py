"""Maintenance: calls are answered by a fixed reply that says when to come back, but for those who may pass."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from protogw.call import Call, Encoding, Payload, Reply
from protogw.counting import Count
from protogw.errors import Overloaded
from protogw.expressions import Expression, ExpressionError, ExpressionText, of_head
from protogw.paths import PlainPath
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.values import LISTED, Network, Positive
from protogw.wire.http import ResponseHead

_LOOK_S = 1.0
"""How often the file is looked for."""


class MaintenanceSettings(PolicySettings):
    """What callers are told, and for whom and when that holds."""

    message: Annotated[str, Field(min_length=1, max_length=1000)] = "down for maintenance"
    """What calls are told, with UNAVAILABLE."""
    retry_after: Positive = 300.0
    """When it is worth coming back: Retry-After over HTTP, RetryInfo elsewhere."""
    status: Annotated[int, Field(ge=400, le=599)] = 503
    """The HTTP status, where there is one."""
    body: Annotated[str, Field(max_length=65536)] | None = None
    """The body that requests of plain HTTP get: a page. `file:PATH` reads it. Default: the message, as JSON."""
    content_type: Annotated[str, Field(max_length=200, pattern=r"^[ -~]+$")] = "text/html; charset=utf-8"
    """What that body is."""
    when: ExpressionText | None = None
    """Only calls for which this is true."""
    file: PlainPath | None = None
    """Only while this file exists; it is looked for once a second."""
    bypass: Annotated[tuple[Network, ...], LISTED, Field(max_length=1000)] = ()
    """Addresses that pass nonetheless."""
    unless: ExpressionText | None = None
    """Calls for which this is true pass nonetheless."""


class Maintenance:
    """Answers calls with a fixed reply while there is work to be done."""

    kind: ClassVar[str] = "maintenance"
    Settings: ClassVar[type[PolicySettings]] = MaintenanceSettings

    def __init__(self, settings: MaintenanceSettings) -> None:
        self._settings = settings
        self._networks = settings.bypass
        self._looked = float("-inf")
        self._there = False
        fields = ((b"retry-after", b"%d" % max(1, round(settings.retry_after))),)
        self._head = ResponseHead(settings.status, ((b"content-type", settings.content_type.encode()), *fields))
        self._body = settings.body.encode() if settings.body is not None else None
        self._answered = Count()

    def equip(self, tools: Tools) -> None:
        self._answered = tools.count("maintenance_replies", "Calls that were told of maintenance.")

    @property
    def of_head(self) -> bool:
        return of_head(self._settings.when, self._settings.unless)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if not self._holds(call):
            return await forward(call)
        self._answered.value += 1
        if call.method is None and self._body is not None:
            return Reply(head=self._head, payload=Payload(self._body, Encoding.RAW))
        settings = self._settings
        raise Overloaded(settings.message, retry_after_s=settings.retry_after, http_status=settings.status)

    def _holds(self, call: Call) -> bool:
        settings = self._settings
        if settings.file is not None and not self._exists(settings.file, call.started):
            return False
        # What cannot be told closes the door, and opens no way past it.
        if settings.when is not None and not _true(settings.when, call, otherwise=True):
            return False
        if settings.unless is not None and _true(settings.unless, call, otherwise=False):
            return False
        return not (self._networks and self._passes(call.peer.host))

    def _exists(self, path: Path, now: float) -> bool:
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._there = path.exists()
        return self._there

    def _passes(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def _true(expression: Expression, call: Call, *, otherwise: bool) -> bool:
    try:
        return expression.holds(call)
    except ExpressionError:
        return otherwise
