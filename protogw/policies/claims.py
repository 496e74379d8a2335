"""What settings of policies that read tokens share, and what the claims of tokens mean."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from protogw.identity import Identity
from protogw.policies.authentication import claim, claim_path, texts
from protogw.policies.tokens.compact import TokenFault, instant
from protogw.values import refuse

_SCOPES = ("scope", "scp")

ClaimPath = Annotated[str, AfterValidator(claim_path)]
"""The path of a claim as a setting."""


def _claim_or_none(value: object) -> object:
    return None if value is False or value == "off" else value


ClaimPathOrOff = Annotated[
    ClaimPath | None,
    BeforeValidator(_claim_or_none),
    WithJsonSchema({"anyOf": [{"const": "off"}, {"const": False}, {"type": "string"}]}),
]
"""The same, or `off`, which is None, for no claim at all."""


def web_address(value: str) -> str:
    """An address of the web without a user in it, as a setting."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("https", "http") and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good or not value.isascii() or not value.isprintable() or " " in value:
        refuse("is not an address: write https://host/path")
    return value


WebAddress = Annotated[str, AfterValidator(web_address)]


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes of a token: texts with spaces between (RFC 8693 section 4.2), or a list."""
    found: set[str] = set()
    for name in _SCOPES:
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        else:
            found |= texts(value)
    return frozenset(found)


def lasts_until(claims: Mapping[str, Any], leeway_s: float = 0.0) -> float | None:
    """When the token ends, Unix seconds, None when it never does; raises TokenFault unless it is good now."""
    expires, begins = instant(claims, "exp"), instant(claims, "nbf")
    now = time.time()
    if expires is not None and expires + leeway_s <= now:
        raise TokenFault("the token has expired")
    if begins is not None and begins - leeway_s > now:
        raise TokenFault("the token is not valid yet")
    return expires + leeway_s if expires is not None else None


def check_audience(claims: Mapping[str, Any], audience: frozenset[str]) -> None:
    """Raises TokenFault unless the token is for one of these, or there are none."""
    if audience and audience.isdisjoint(texts(claims.get("aud"))):
        raise TokenFault("the token is for another audience")


class Naming:
    """Reads who the bearer is out of claims, by the paths of those that say so."""

    def __init__(
        self, scheme: str, *, subject: str, consumer: str | None, groups: str, several_issuers: bool = False
    ) -> None:
        self._scheme = scheme
        self._subject = subject.split(".")
        self._consumer = consumer.split(".") if consumer is not None else None
        self._groups = groups.split(".")
        self._several_issuers = several_issuers

    def identity(self, claims: Mapping[str, Any], expires_at: float | None) -> Identity:
        """Raises TokenFault when they name nobody."""
        subject = claim(claims, self._subject)
        if not isinstance(subject, str) or not subject:
            raise TokenFault(f"the token has no {'.'.join(self._subject)}")
        consumer = claim(claims, self._consumer) if self._consumer is not None else ""
        issuer = claims.get("iss")
        return Identity(
            subject=subject,
            scheme=self._scheme,
            consumer=consumer if isinstance(consumer, str) else "",
            issuer=issuer if isinstance(issuer, str) else "",
            groups=texts(claim(claims, self._groups)),
            scopes=scopes_of(claims),
            claims=claims,
            expires_at=expires_at,
            several_issuers=self._several_issuers,
        )
