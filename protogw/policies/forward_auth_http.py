"""Asking an authorization service over HTTP: the call's head goes there, a 2xx lets the call through.

The request is as nginx's auth_request and Traefik's forwardAuth make it: no body, the client's fields, and what was
asked for in X-Forwarded-Method, -Proto, -Host, -Uri, -For.
"""

from __future__ import annotations

from collections.abc import Collection
from ssl import SSLContext
from typing import Final

from protogw.call import Call
from protogw.fetching import Fetcher, FetchError
from protogw.policies.verdicts import Unanswered, Vouched, clean, refusal
from protogw.wire.http import HOP_BY_HOP

_BEHIND: Final = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"accept-encoding",
    b"expect",
    b"forwarded",
    b"x-real-ip",
    b"range",
}
"""Fields of a request that say nothing of who makes it, or are the gateway's own to write here."""

_JOINS: Final = {b"cookie": "; "}

METHOD_FIELD: Final = "x-forwarded-call"
"""`package.Service/Method`, beside the path that stands for it in one protocol only."""


class HttpJudge:
    """Asks one address."""

    def __init__(
        self,
        fetcher: Fetcher,
        url: str,
        *,
        sent: Collection[bytes] | None,
        told: Collection[bytes],
        timeout_s: float,
        tls: SSLContext | None,
    ) -> None:
        """`sent` are the client's fields that it gets (None for all), `told` those of a refusal that clients get."""
        self._fetcher = fetcher
        self._url = url
        self._sent = sent
        self._told = told
        self._timeout_s = timeout_s
        self._tls = tls

    async def ask(self, call: Call) -> Vouched:
        try:
            answer = await self._fetcher.fetch(
                self._url, headers=self._fields(call), timeout_s=self._timeout_s, tls=self._tls
            )
        except FetchError as error:
            raise Unanswered(str(error)) from error
        fields = tuple(pair for name, value in answer.headers.items() if (pair := clean(name, value)) is not None)
        if 200 <= answer.status < 300:
            return Vouched(
                subject="",
                scheme="forward_auth",
                fields=tuple((name, value, False) for name, value in fields),
            )
        text = answer.body[:4096].decode("utf-8", "replace") if _is_text(answer.headers.get("content-type", "")) else ""
        raise refusal(answer.status, tuple(pair for pair in fields if pair[0] in self._told), text)

    def _fields(self, call: Call) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in call.metadata.pairs:
            if name in _BEHIND or name.startswith(b"x-forwarded-"):
                continue
            if self._sent is None or name in self._sent:
                # What is no UTF-8 is not kept from who decides: the service behind gets it too.
                key, text = name.decode(), value.decode("utf-8", "replace").replace("\ufffd", "!")
                found[key] = f"{found[key]}{_JOINS.get(name, ', ')}{text}" if key in found else text
        head = call.head
        found["x-forwarded-for"] = call.peer.host
        found["x-forwarded-proto"] = "https" if call.peer.tls else "http"
        if head is not None:
            target = head.path + (b"?" + head.query if head.query else b"")
            found["x-forwarded-method"] = head.method.decode("latin-1")
            found["x-forwarded-host"] = head.authority.decode("latin-1")
            found["x-forwarded-uri"] = target.decode("latin-1")
        if call.method is not None:
            found[METHOD_FIELD] = call.method.full_name
        return found


def _is_text(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in ("", "text/plain")
