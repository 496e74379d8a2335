"""WebSocket close codes → Code: how a service that closes its socket ended the call (RFC 6455 section 7.4, IANA).

4000 + n is Code n; 4400 to 4599 are HTTP statuses with 4000 added, a habit of many services (4401, 4403, 4429).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from protogw.errors import Code

NORMAL, GOING_AWAY, NO_STATUS, ABNORMAL, POLICY, TOO_BIG = 1000, 1001, 1005, 1006, 1008, 1009
APPLICATION = 4000
"""Codes from here on are the applications' own; this and a Code's number is that Code."""

CODE_OF_CLOSE: Mapping[int, Code] = MappingProxyType(
    {
        NORMAL: Code.OK,
        GOING_AWAY: Code.UNAVAILABLE,
        1002: Code.INTERNAL,  # a fault of ours, says the service
        1003: Code.INVALID_ARGUMENT,
        NO_STATUS: Code.OK,
        ABNORMAL: Code.UNAVAILABLE,
        1007: Code.INVALID_ARGUMENT,
        POLICY: Code.PERMISSION_DENIED,
        TOO_BIG: Code.RESOURCE_EXHAUSTED,
        1010: Code.INTERNAL,
        1011: Code.INTERNAL,
        1012: Code.UNAVAILABLE,
        1013: Code.UNAVAILABLE,
        1014: Code.UNAVAILABLE,
        1015: Code.UNAVAILABLE,
        3000: Code.UNAUTHENTICATED,
        3003: Code.PERMISSION_DENIED,
        3008: Code.DEADLINE_EXCEEDED,
        4400: Code.INVALID_ARGUMENT,
        4401: Code.UNAUTHENTICATED,
        4403: Code.PERMISSION_DENIED,
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
        **{APPLICATION + code: code for code in Code},
    }
)


def code_of_close(close: int) -> Code:
    """What a close code means as a Code; one that nobody has given a meaning is UNKNOWN."""
    return CODE_OF_CLOSE.get(close, Code.UNKNOWN)
