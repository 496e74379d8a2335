"""A token's compact form (RFC 7515 section 7.1), read strictly: one way to write each token, and nothing said twice.

Decides nothing about whether it holds: that takes a key. What its header says of keys (`jku`, `x5u`, `jwk`, `x5c`) is
not looked at.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import orjson

MAX_TOKEN: Final = 16 << 10
MAX_NUMBER: Final = 253402300799
"""The last second of the year 9999: no time of a token is later."""

_FORM = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenFault(Exception):
    """A token that does not hold; the message says why and repeats nothing of it."""


class Compact:
    """A token taken apart. `algorithm` and `kid` are what its header claims, which nothing has confirmed yet."""

    __slots__ = ("algorithm", "claims", "header", "kid", "signature", "signed")

    def __init__(self, token: bytes) -> None:
        """Raises TokenFault."""
        if len(token) > MAX_TOKEN:
            raise TokenFault(f"the token is longer than {MAX_TOKEN} bytes")
        if _FORM.fullmatch(token) is None:
            raise TokenFault("the token has not the form of one")
        head, body, mark = token.split(b".")
        self.signed = head + b"." + body
        self.signature = _bytes(mark)
        self.header = _object(_bytes(head), "header")
        if "crit" in self.header:
            # RFC 7515 section 4.1.11: what is not understood must not be ignored, and no extension is understood.
            raise TokenFault("the token needs an extension that is not known")
        algorithm, kid, kind = self.header.get("alg"), self.header.get("kid"), self.header.get("typ")
        if not isinstance(algorithm, str):
            raise TokenFault("the token names no algorithm")
        if not isinstance(kid, str | None) or not isinstance(kind, str | None):
            raise TokenFault("the token's header is malformed")
        self.algorithm: str = algorithm
        self.kid: str | None = kid
        self.claims = _object(_bytes(body), "claims")

    @property
    def typ(self) -> str:
        """Its media type, without `application/` and in lower case (RFC 7515 section 4.1.9)."""
        return str(self.header.get("typ") or "").lower().removeprefix("application/")


def _bytes(segment: bytes) -> bytes:
    """What the text stands for; raises TokenFault unless it is the one way to write that."""
    try:
        found = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except (binascii.Error, ValueError):
        raise TokenFault("the token has not the form of one") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=") != segment:
        raise TokenFault("the token has not the form of one")
    return found


def _object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object none of whose members is there twice; raises TokenFault."""
    try:
        if b"\\u" in data:
            orjson.loads(data)  # refuses what is half a character, which could not be written again
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_none, parse_float=_finite)
    except (ValueError, RecursionError):
        raise TokenFault(f"the token's {what} cannot be read") from None
    if not isinstance(found, dict):
        raise TokenFault(f"the token's {what} cannot be read")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _none(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def instant(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a time (NumericDate), None without it; raises TokenFault when it is none."""
    value = claims.get(name)
    if value is None:
        if name in claims:
            raise TokenFault(f"the token's {name} is no time")
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_NUMBER:
        raise TokenFault(f"the token's {name} is no time")
    return float(value)
