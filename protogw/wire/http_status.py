"""Code → HTTP status, as google.rpc.Code documents it and every transcoder since has answered.

The other direction depends on who is asked: a REST service's own answer maps by meaning, a broken intermediary's by
gRPC's table; those live beside the protocols that need them.
"""

from __future__ import annotations

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
