"""How a request ended, in the one vocabulary of all protocols: for whoever records requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogw.errors import Code
from protogw.wire.http_status import code_of_status

if TYPE_CHECKING:
    from protogw.errors import GatewayError
    from protogw.frontends.base import Recorded


def of_status(status: int) -> Code:
    """The Code that an HTTP status means; 0, none sent, is a client that went away."""
    if status >= 400:
        return code_of_status(status)
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
