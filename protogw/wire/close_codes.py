"""WebSocket close codes ⇄ Code: how the end of a call, or of a socket, is told and read (RFC 6455 section 7.4, IANA).

A call's own status is 4000 + its code, so that a page can tell NOT_FOUND (4005) from UNAVAILABLE (4014); but who the
caller is and what it may do are 4401 and 4403, as HTTP's statuses with 4000 added, which clients know (docs/adr/0033).
What is wrong with the socket itself has the codes of the RFC and of IANA's registry. A service's are read in all of
these ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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

NORMAL, GOING_AWAY, WRONG_TYPE, NO_STATUS, ABNORMAL, INVALID = 1000, 1001, 1003, 1005, 1006, 1007
POLICY, TOO_BIG, INTERNAL, TRY_LATER = 1008, 1009, 1011, 1013
APPLICATION = 4000
"""Codes from here on are the applications' own; this and a Code's number is that Code."""
UNAUTHORIZED, FORBIDDEN = 4401, 4403

MAX_REASON = 123
"""Bytes of UTF-8 that a close frame has room for beside its code."""

CLOSE_OF_CODE: Mapping[Code, int] = MappingProxyType(
    {code: APPLICATION + code for code in Code}
    | {Code.OK: NORMAL, Code.UNAUTHENTICATED: UNAUTHORIZED, Code.PERMISSION_DENIED: FORBIDDEN}
)
"""The close code that tells each Code."""

CODE_OF_CLOSE: Mapping[int, Code] = MappingProxyType(
    {
        GOING_AWAY: Code.UNAVAILABLE,
        1002: Code.INTERNAL,  # a fault of ours, says the service
        WRONG_TYPE: Code.INVALID_ARGUMENT,
        NO_STATUS: Code.OK,
        ABNORMAL: Code.UNAVAILABLE,
        INVALID: Code.INVALID_ARGUMENT,
        POLICY: Code.PERMISSION_DENIED,
        TOO_BIG: Code.RESOURCE_EXHAUSTED,
        1010: Code.INTERNAL,
        INTERNAL: Code.INTERNAL,
        1012: Code.UNAVAILABLE,
        TRY_LATER: Code.UNAVAILABLE,
        1014: Code.UNAVAILABLE,
        1015: Code.UNAVAILABLE,
        3000: Code.UNAUTHENTICATED,
        3003: Code.PERMISSION_DENIED,
        3008: Code.DEADLINE_EXCEEDED,
        **{APPLICATION + code: code for code in Code},
        4400: Code.INVALID_ARGUMENT,
        4404: Code.NOT_FOUND,
        4408: Code.DEADLINE_EXCEEDED,
        4409: Code.ABORTED,
        4412: Code.FAILED_PRECONDITION,
        4413: Code.RESOURCE_EXHAUSTED,
        4422: Code.INVALID_ARGUMENT,
        4429: Code.RESOURCE_EXHAUSTED,
        4499: Code.CANCELLED,
        4500: Code.INTERNAL,
        4501: Code.UNIMPLEMENTED,
        4502: Code.UNAVAILABLE,
        4503: Code.UNAVAILABLE,
        4504: Code.DEADLINE_EXCEEDED,
        **{close: code for code, close in CLOSE_OF_CODE.items()},
    }
)
"""What each close code of a service says. 4400 to 4599 are HTTP statuses with 4000 added, a habit of many services."""


class SocketPolicy(InvalidRequest):
    """The client breaks a rule of this socket that is no fault of a message: too much, too early, too late."""

    code = Code.FAILED_PRECONDITION


_FAULTS: tuple[tuple[type[GatewayError], int], ...] = (
    (SocketPolicy, POLICY),
    (UnsupportedMedia, WRONG_TYPE),
    (BodyTooLarge, TOO_BIG),
    (InvalidRequest, INVALID),
    (Overloaded, TRY_LATER),
    (InternalError, INTERNAL),
)
"""The gateway's own refusals that have a close code of their own, the special ones first."""


def code_of_close(close: int) -> Code:
    """What a close code means as a Code; one that nobody has given a meaning is UNKNOWN."""
    return CODE_OF_CLOSE.get(close, Code.UNKNOWN)


def close_of_status(status: Status) -> int:
    """The close code that tells a call's status."""
    return CLOSE_OF_CODE[status.code]


def close_of_error(error: GatewayError) -> int:
    """The close code that tells why a call or socket could not go on."""
    for fault, close in _FAULTS:
        if isinstance(error, fault):
            return close
    return close_of_status(error.status)


def reason(text: str) -> str:
    """As much of a text as a close frame has room for, whole characters only."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_REASON:
        return data.decode()
    return data[: MAX_REASON - 3].decode("utf-8", "ignore") + "…"
