"""How a request ended, in the one vocabulary of all protocols: for whoever records requests."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from protogw.errors import Code

if TYPE_CHECKING:
    from protogw.errors import GatewayError
    from protogw.frontends.base import Recorded

BY_STATUS: Final = MappingProxyType(
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
        412: Code.FAILED_PRECONDITION,
        413: Code.RESOURCE_EXHAUSTED,
        416: Code.OUT_OF_RANGE,
        429: Code.RESOURCE_EXHAUSTED,
        499: Code.CANCELLED,
        501: Code.UNIMPLEMENTED,
        502: Code.UNAVAILABLE,
        503: Code.UNAVAILABLE,
        504: Code.DEADLINE_EXCEEDED,
    }
)
"""What an HTTP answer that no Code was told of means."""


def of_status(status: int) -> Code:
    """The Code that an HTTP status means; 0, none sent, is a client that went away."""
    known = BY_STATUS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return Code.INTERNAL
    if status >= 400:
        return Code.FAILED_PRECONDITION
    return Code.OK if status else Code.CANCELLED


def outcome(exchange: Recorded, error: GatewayError | None) -> int:
    """The Code of a request that has ended: its error's, its reply's, or what its HTTP status means."""
    if error is not None:
        return error.status.code
    call = exchange.call
    if call is None or (call.method is None and call.reply is not None):
        return of_status(exchange.status)
    reply = call.reply
    if reply is None:
        return of_status(exchange.status)
    return reply.status.code
