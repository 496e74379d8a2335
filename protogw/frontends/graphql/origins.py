"""Which web pages may open a WebSocket: a browser lets any page try, with the user's cookies."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from protogw.frontends.graphql.refusals import refused

if TYPE_CHECKING:
    from protogw.wire.http import RequestHead


class Origins:
    """The pages that may, beside those of the same host and port."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().encode() for origin in allowed)

    def check(self, head: RequestHead) -> None:
        """Raises Refused for the page of another origin. What is no page sends no Origin."""
        origin = head.get(b"origin")
        if origin is None or self._any or origin.lower() in self._allowed:
            return
        if origin.partition(b"://")[2].lower() != head.authority.lower():
            raise refused("FORBIDDEN", "origin: pages of other origins may not open a WebSocket here", http=403)
