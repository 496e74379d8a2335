"""Several recorders as one: the access log, metrics, traces and analytics all learn of each request from one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protogw.frontends.base import Recorder as RequestRecorder
from protogw.passthrough.base import Recorder as ConnectionRecorder

if TYPE_CHECKING:
    from protogw.call import Call
    from protogw.errors import GatewayError
    from protogw.frontends.base import Recorded
    from protogw.passthrough.base import Carried


class Recorder(RequestRecorder, ConnectionRecorder, Protocol):
    """Learns of requests and of connections that are passed through."""


def all_of(*recorders: Recorder | None) -> Recorder | None:
    """What tells all of these; the one itself when there is only one, None for none."""
    found = [one for one in recorders if one is not None]
    if len(found) < 2:
        return found[0] if found else None
    return _Several(found)


class _Several:
    """Tells each in turn."""

    def __init__(self, recorders: list[Recorder]) -> None:
        self._record = tuple(one.record for one in recorders)
        self._called = tuple(one.called for one in recorders)
        self._carried = tuple(one.carried for one in recorders)

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        for record in self._record:
            record(exchange, elapsed_s, error, front_end)

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        for called in self._called:
            called(call, elapsed_s, error)

    def carried(self, what: Carried) -> None:
        for carried in self._carried:
            carried(what)
