"""What an authorization service outside the gateway says of a call, in whatever way it was asked.

A verdict is an identity with what comes along, or a GatewayError. Services that answer nothing of use give neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from protogw.call import Call
from protogw.errors import Code, Forbidden, GatewayError, LimitReached, Unauthenticated
from protogw.identity import Identity
from protogw.wire.http import HOP_BY_HOP, Header

MOST_TEXT: Final = 1000
"""Characters of a service's own words that a client is told."""

UNANSWERED: Final = "Calls that the authorization service gave no usable answer on."
"""What the metric of such calls says."""

_STATUS_CODES: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    412: Code.FAILED_PRECONDITION,
}
"""Refusals that are about the call and not about who makes it; any other is PERMISSION_DENIED."""

_UNTOLD: Final = HOP_BY_HOP | {b"content-length", b"content-type", b"content-encoding", b"date", b"server", b"host"}
"""Fields of a service's answer that are about that answer itself."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,200}")
_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]{0,8192}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched(Identity):
    """Who a service says that calls, and what it says to do with the call."""

    fields: tuple[tuple[bytes, bytes, bool], ...] = ()
    """Fields for the service behind, and whether they are added to those that there are."""
    removed: frozenset[bytes] = frozenset()
    """Fields of the client's that go no further."""
    told: tuple[Header, ...] = ()
    """Fields for the client, with the reply."""


class Unanswered(Exception):
    """The service gave no verdict; the message says why, for the log."""


class Judge(Protocol):
    """A way of asking."""

    async def ask(self, call: Call) -> Vouched:
        """The service's word on this call; raises what it is refused with, or Unanswered."""
        ...


def clean(name: str, value: str | bytes) -> Header | None:
    """A field that a service wrote, None when it is none or about its own answer."""
    key = name.lower().encode("utf-8", "replace")
    data = value if isinstance(value, bytes) else value.encode()
    if key in _UNTOLD or _NAME.fullmatch(key) is None or _VALUE.fullmatch(data) is None:
        return None
    return key, data


def refusal(status: int, fields: Sequence[Header], text: str) -> GatewayError:
    """What a call is refused with of which a service says this HTTP status, these fields and these words.

    Raises Unanswered for a status that is none of a refusal.
    """
    words = " ".join(text.split())
    if not words or len(words) > MOST_TEXT or not words.isprintable():
        words = "refused by the authorization service"
    if status == 401:
        error: GatewayError = Unauthenticated(words)
        if any(name == b"www-authenticate" for name, _ in fields):
            error.headers = ()
        error.headers = (*error.headers, *fields)
        return error
    if status == 429:
        after = next((value for name, value in fields if name == b"retry-after"), b"")
        rest = tuple(pair for pair in fields if pair[0] != b"retry-after")
        return LimitReached(words, float(after) if after.isdigit() and len(after) < 8 else 1.0, headers=rest)
    if status == 403:
        return Forbidden(words, headers=tuple(fields))
    if 300 <= status < 400 and any(name == b"location" for name, _ in fields):
        # A page to log in at: who can follow it is told, others that nobody vouches for them.
        return GatewayError(words, code=Code.UNAUTHENTICATED, http_status=status, headers=tuple(fields))
    if 400 <= status < 500:
        code = _STATUS_CODES.get(status, Code.PERMISSION_DENIED)
        return Forbidden(words, code=code, http_status=status, headers=tuple(fields))
    raise Unanswered(f"answered HTTP {status}")
