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
    together: Recorder | None = None
    for one in reversed(found):
        together = one if together is None else _Both(one, together)
    return together


class _Both:
    """Tells one and then the other."""

    def __init__(self, one: Recorder, other: Recorder) -> None:
        self._record, self._then_record = one.record, other.record
        self._called, self._then_called = one.called, other.called
        self._carried, self._then_carried = one.carried, other.carried

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        self._record(exchange, elapsed_s, error, front_end)
        self._then_record(exchange, elapsed_s, error, front_end)

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        self._called(call, elapsed_s, error)
        self._then_called(call, elapsed_s, error)

    def carried(self, what: Carried) -> None:
        self._carried(what)
        self._then_carried(what)
