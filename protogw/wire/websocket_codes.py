"""How the end of a call, or of a socket, is told in a WebSocket close frame (RFC 6455 section 7.4).

A call's own status is 4000 + its code, so that a page can tell NOT_FOUND (4005) from UNAVAILABLE (4014). What is wrong
with the socket itself has the codes of the RFC and of IANA's registry.
"""

from __future__ import annotations

from protogw.errors import (
    BodyTooLarge,
    Code,
    GatewayError,
    InternalError,
    InvalidRequest,
    Overloaded,
    Status,
    UnsupportedMedia,
)

NORMAL = 1000
GOING_AWAY = 1001
"""The gateway stops, or takes another configuration: connect again."""
WRONG_TYPE = 1003
INVALID = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL = 1011
TRY_LATER = 1013
TYPED = 4000

MAX_REASON = 123
"""Bytes of UTF-8 that a close frame has room for beside its code."""

_FAULTS: tuple[tuple[type[GatewayError], int], ...] = (
    (UnsupportedMedia, WRONG_TYPE),
    (BodyTooLarge, TOO_BIG),
    (InvalidRequest, INVALID),
    (Overloaded, TRY_LATER),
    (InternalError, INTERNAL),
)
"""The gateway's own refusals that have a close code of their own, the special ones first."""


class SocketPolicy(InvalidRequest):
    """The client breaks a rule of this socket that is no fault of a message: too much, too early, too late."""

    code = Code.FAILED_PRECONDITION


def close_code(status: Status) -> int:
    """The code that tells a call's status."""
    return NORMAL if status.code == Code.OK else TYPED + status.code


def close_code_of(error: GatewayError) -> int:
    """The code that tells why a call or socket could not go on."""
    if isinstance(error, SocketPolicy):
        return POLICY
    for fault, code in _FAULTS:
        if isinstance(error, fault):
            return code
    return close_code(error.status)


def reason(text: str) -> str:
    """As much of a text as a close frame has room for, whole characters only."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_REASON:
        return data.decode()
    return data[: MAX_REASON - 3].decode("utf-8", "ignore") + "…"
