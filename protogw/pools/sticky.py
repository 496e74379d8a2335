"""Sessions by cookie: a client that was given an endpoint's cookie comes to that endpoint again while it is ready."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from protogw.balancers.base import Balancer
from protogw.balancers.sticky import Tokens, sticky
from protogw.call import Call, Payload, Reply
from protogw.discovery.base import Address
from protogw.pools.base import Connector
from protogw.pools.pool import Pool
from protogw.pools.settings import StickySettings
from protogw.translator import Translator


class CookieKey:
    """The affinity key of a call: its cookie."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def key(self, call: Call, payload: Payload | None = None) -> str:
        found = call.metadata.cookie(self._name)
        return found.decode("latin-1") if found is not None else ""


class StickyPool(Pool):
    """A pool that gives each client a cookie for the endpoint that answered it, whenever it came with another or none.

    Which endpoint a call is tried on, and tried again on, is the pool's matter as ever.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[Address],
        translator: Translator,
        connector: Connector,
        balancer: Balancer,
        *,
        sticky_by: StickySettings,
        **settings: Any,
    ) -> None:
        """`settings` are Pool's; its affinity is the cookie."""
        # Without a secret in the config each start has its own: clients are then given new cookies.
        secret = sticky_by.secret.encode() if sticky_by.secret is not None else secrets.token_bytes(32)
        self._tokens = Tokens(secret)
        self._cookie = sticky_by.cookie.encode()
        self._ending = _ending(sticky_by)
        settings["affinity"] = CookieKey(self._cookie)
        super().__init__(name, addresses, translator, connector, sticky(self._tokens, balancer), **settings)

    async def send(self, call: Call) -> Reply:
        came = call.metadata.cookie(self._cookie)
        reply = await super().send(call)
        token = self._tokens.of(call.upstream)
        if came != token:
            reply.metadata = reply.metadata.adding((b"set-cookie", b"%b=%b%b" % (self._cookie, token, self._ending)))
        return reply


def _ending(settings: StickySettings) -> bytes:
    """What of Set-Cookie is the same for all (RFC 6265 section 4.1, RFC 6265bis for SameSite)."""
    parts = [f"Path={settings.path}"]
    if settings.ttl:
        parts.append(f"Max-Age={max(1, int(settings.ttl))}")
    if settings.secure:
        parts.append("Secure")
    if settings.http_only:
        parts.append("HttpOnly")
    parts.append(f"SameSite={settings.same_site.capitalize()}")
    return "".join(f"; {part}" for part in parts).encode()
