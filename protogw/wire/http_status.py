"""Code → HTTP status, as google.rpc.Code documents it and every transcoder since has answered.

The other direction depends on who is asked: a service's own answer maps by meaning, which is here too; a broken
intermediary's by gRPC's table, which lives beside gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from protogw.errors import Code

HTTP_STATUS = MappingProxyType(
    {
        Code.OK: 200,
        Code.CANCELLED: 499,
        Code.UNKNOWN: 500,
        Code.INVALID_ARGUMENT: 400,
        Code.DEADLINE_EXCEEDED: 504,
        Code.NOT_FOUND: 404,
        Code.ALREADY_EXISTS: 409,
        Code.PERMISSION_DENIED: 403,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.FAILED_PRECONDITION: 400,
        Code.ABORTED: 409,
        Code.OUT_OF_RANGE: 400,
        Code.UNIMPLEMENTED: 501,
        Code.INTERNAL: 500,
        Code.UNAVAILABLE: 503,
        Code.DATA_LOSS: 500,
        Code.UNAUTHENTICATED: 401,
    }
)
"""FAILED_PRECONDITION is deliberately not 412: that status answers a conditional request, which this is not."""


def http_status(code: int) -> int:
    """The HTTP status of a status code; one that is no Code (a service may send any number) is 500."""
    return HTTP_STATUS.get(code, 500)  # type: ignore[call-overload, no-any-return]


CODE_OF_STATUS: Mapping[int, Code] = MappingProxyType(
    {
        400: Code.INVALID_ARGUMENT,
        401: Code.UNAUTHENTICATED,
        403: Code.PERMISSION_DENIED,
        404: Code.NOT_FOUND,
        405: Code.UNIMPLEMENTED,
        406: Code.INVALID_ARGUMENT,
        408: Code.DEADLINE_EXCEEDED,
        409: Code.ABORTED,
        410: Code.NOT_FOUND,
        411: Code.INVALID_ARGUMENT,
        412: Code.FAILED_PRECONDITION,
        413: Code.RESOURCE_EXHAUSTED,
        414: Code.INVALID_ARGUMENT,
        415: Code.INVALID_ARGUMENT,
        416: Code.OUT_OF_RANGE,
        422: Code.INVALID_ARGUMENT,
        425: Code.UNAVAILABLE,
        429: Code.RESOURCE_EXHAUSTED,
        431: Code.RESOURCE_EXHAUSTED,
        451: Code.PERMISSION_DENIED,
        499: Code.CANCELLED,
        500: Code.INTERNAL,
        501: Code.UNIMPLEMENTED,
        502: Code.UNAVAILABLE,
        503: Code.UNAVAILABLE,
        504: Code.DEADLINE_EXCEEDED,
        507: Code.RESOURCE_EXHAUSTED,
        511: Code.UNAUTHENTICATED,
    }
)
"""What an HTTP error status means, where nothing else was said."""


def code_of_status(status: int) -> Code:
    """What the status of an HTTP answer that failed means as a Code."""
    found = CODE_OF_STATUS.get(status)
    if found is not None:
        return found
    return Code.FAILED_PRECONDITION if status < 500 else Code.INTERNAL
