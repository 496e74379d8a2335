"""Which web pages may open a WebSocket: any page can try, and the browser sends its user's cookies along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from protogw.errors import Code, GatewayError
from protogw.values import refuse

if TYPE_CHECKING:
    from protogw.wire.http import RequestHead

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:\*\.)?[A-Za-z0-9_.-]+(?::[0-9]{1,5})?\Z|[a-z]+://\[[0-9a-f:]+\](?::\d+)?\Z"
)


def _origin(value: str) -> str:
    if value == "null":
        refuse("is never granted: any sandboxed page sends it")
    if value not in ("*", "same") and not _ORIGIN.match(value):
        refuse("is not an origin: write same, https://app.example, https://*.app.example or *")
    return value.lower()


Origin = Annotated[str, AfterValidator(_origin)]


class ForeignOrigin(GatewayError):
    """A page of another origin asks for a socket that it may not have."""

    code = Code.PERMISSION_DENIED
    http_status = 403


class Origins:
    """Which pages may connect (cross-site WebSocket hijacking: a socket is opened with the user's cookies)."""

    def __init__(self, written: Sequence[str]) -> None:
        self._any = "*" in written
        self._same = "same" in written
        self._exact = frozenset(one.encode() for one in written if "://" in one and "*" not in one)
        self._below = tuple(
            (scheme.encode() + b"://", b"." + rest.encode())
            for scheme, _, rest in (one.partition("://*.") for one in written)
            if rest
        )

    def check(self, head: RequestHead) -> None:
        """Raises ForeignOrigin."""
        if self._any:
            return
        origins = head.get_all(b"origin")
        if not origins:
            # Browsers always say where a page is from; what sends cookies without it hides something.
            if head.get(b"cookie") is not None:
                raise ForeignOrigin("origin: is missing, and cookies were sent")
            return
        if len(origins) > 1 or not self._granted(origins[0].lower(), head.authority.lower()):
            raise ForeignOrigin(f"origin: {origins[0][:100].decode('latin-1')} may not connect here")

    def _granted(self, origin: bytes, authority: bytes) -> bool:
        if origin in self._exact:
            return True
        if self._same and authority:
            scheme, separator, host = origin.partition(b"://")
            # Who ends TLS in front of the gateway changes its scheme, never the host and port that the page has.
            port = {b"http": b":80", b"https": b":443"}.get(scheme, b"")
            if separator and host.removesuffix(port) == authority.removesuffix(port):
                return True
        return any(
            origin.startswith(scheme) and origin.endswith(rest) and len(origin) > len(scheme) + len(rest)
            for scheme, rest in self._below
        )
