"""Which calls may be sent a second time, which answers call for it, and when: what retries and hedges share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NoReturn

from pydantic import Field, PlainValidator, WithJsonSchema

from protogw.call import Call, Metadata, Payload, Reply
from protogw.descriptors.model import Idempotency
from protogw.errors import RETRY_INFO, Code, Detail, Source, Status
from protogw.errors import GatewayError as Fault
from protogw.policies.budget import Budget
from protogw.values import LISTED, refuse
from protogw.wire.protowire import fields

ATTEMPT = b"x-attempt-count"
"""The field that tells a service which try of a call it has got, from the second on."""

BUDGET_FLOOR = 3

_IDEMPOTENT_VERBS = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"))
_IDEMPOTENT_RULES = frozenset(("GET", "HEAD", "PUT", "DELETE"))


def may_repeat(call: Call) -> bool:
    """Whether sending the call twice has the effect of once: as its schema says, else by its HTTP verb (RFC 9110
    section 9.2.2); never by its name."""
    method = call.method
    if method is None:
        return call.head is not None and call.head.method in _IDEMPOTENT_VERBS and not call.head.upgrade
    if method.idempotency is not Idempotency.UNKNOWN:
        return True
    return any(rule.verb in _IDEMPOTENT_RULES for rule in method.annotated)


def _trigger(value: object) -> Code | int:
    if isinstance(value, str) and value.upper() in Code.__members__ and value.upper() != "OK":
        return Code[value.upper()]
    if isinstance(value, int) and not isinstance(value, Code | bool) and 400 <= value <= 599:
        return value
    if isinstance(value, Code):
        return value
    _refuse_trigger()


def _refuse_trigger() -> NoReturn:
    refuse("is neither a code nor an HTTP status: write unavailable, deadline_exceeded, …, or 502")


_CODES = [code.name.lower() for code in Code if code is not Code.OK]
Trigger = Annotated[
    Code | int,
    PlainValidator(_trigger),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": _CODES}, {"type": "integer", "minimum": 400, "maximum": 599}]}
    ),
]
Triggers = Annotated[tuple[Trigger, ...], LISTED, Field(min_length=1, max_length=32)]

_STATUSES: Mapping[Code, tuple[int, ...]] = {Code.UNAVAILABLE: (502, 503), Code.DEADLINE_EXCEEDED: (504,)}
"""What these codes are where there is only an HTTP status."""


class Answers:
    """Which answers call for another try: `on` holds codes, and HTTP statuses of plain HTTP."""

    __slots__ = ("codes", "statuses")

    def __init__(self, on: tuple[Code | int, ...]) -> None:
        self.codes = frozenset(one for one in on if isinstance(one, Code))
        statuses = {one for one in on if not isinstance(one, Code)}
        for code in self.codes:
            statuses.update(_STATUSES.get(code, ()))
        self.statuses = frozenset(statuses)

    def bad(self, reply: Reply) -> bool:
        """Whether this reply does; only one of which nothing has gone to the caller, and that holds no message."""
        head = reply.head
        if head is not None:
            return head.status in self.statuses
        return reply.status.code in self.codes and reply.payloads is None and reply.payload is None

    def fault(self, error: Fault) -> bool:
        """Whether this failure does: one of the service, not of the client or the gateway."""
        return error.source is Source.UPSTREAM and error.status.code in self.codes


class Before:
    """A call as it was before its first try: policies that follow may change it."""

    __slots__ = ("_attributes", "_gzip", "_identity", "_metadata", "_payload", "_payloads")

    def __init__(self, call: Call) -> None:
        self._metadata = call.metadata
        self._payload: Payload | None = call.payload
        self._payloads = call.payloads
        self._attributes: dict[str, Any] | None = call.attributes
        self._identity: Any = call.identity
        self._gzip = call.gzip

    def restore(self, call: Call, number: int) -> None:
        """Make the call what it was, but for the field that says which try this is."""
        call.metadata = Metadata(self._metadata.pairs).setting(ATTEMPT, b"%d" % number)
        call.payload = self._payload
        call.payloads = self._payloads
        call.attributes = self._attributes
        call.identity = self._identity
        call.gzip = self._gzip


class Budgets:
    """A budget for each target."""

    __slots__ = ("_budgets", "_share")

    def __init__(self, percent: float) -> None:
        self._share = percent / 100
        self._budgets: dict[str, Budget] = {}

    def of(self, call: Call) -> Budget:
        """The budget of where the call goes."""
        route = call.route
        target: str = route.target.name if route is not None else ""
        found = self._budgets.get(target)
        if found is None:
            found = self._budgets[target] = Budget(self._share, BUDGET_FLOOR)
        return found


def wait_of(outcome: Reply | Fault) -> float | None:
    """The seconds that the service itself asks to wait before another try, less than 0 for never, None when it says
    nothing: gRPC's pushback, google.rpc.RetryInfo, Retry-After."""
    status = outcome.status
    if status.pushback_s is not None:
        return status.pushback_s
    found = _retry_info(status)
    if found is None and isinstance(outcome, Reply) and outcome.head is not None:
        found = _retry_after(outcome.head.get(b"retry-after"))
    return found


def _retry_info(status: Status) -> float | None:
    for detail in status.details:
        if detail.type_url.rpartition("/")[2] == RETRY_INFO.rpartition("/")[2]:
            return _delay(detail)
    return None


def _delay(detail: Detail) -> float | None:
    """RetryInfo.retry_delay (1), a Duration of seconds (1) and nanos (2)."""
    try:
        for number, value in fields(detail.value):
            if number == 1 and isinstance(value, bytes):
                parts = {at: part for at, part in fields(value) if isinstance(part, int)}
                seconds = parts.get(1, 0) + parts.get(2, 0) / 1e9
                return seconds if seconds < 1e9 else None
    except ValueError:
        return None
    return 0.0


def _retry_after(value: bytes | None) -> float | None:
    """Retry-After in seconds or as a date (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    if value.isdigit():
        return float(value) if len(value) < 10 else -1.0
    try:
        return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


async def discard(reply: Reply) -> None:
    """Let go of a reply that nobody will get."""
    if isinstance(reply.payloads, AsyncGenerator):
        await reply.payloads.aclose()
    if reply.tunnel is not None:
        reply.tunnel.abort()
