"""What settings of policies that read tokens share, and what the claims of tokens mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from protogw.policies.authentication import claim_path, texts
from protogw.values import refuse

_SCOPES = ("scope", "scp")

ClaimPath = Annotated[str, AfterValidator(claim_path)]
"""The path of a claim as a setting."""


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
