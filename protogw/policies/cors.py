"""CORS: which web pages may call (WHATWG Fetch, section 3.2).

An origin is granted only by the list; `*` never goes together with credentials; "null" is never granted. Every answer
carries `Vary: Origin`, denied ones too, so that no cache serves one origin's answer to another.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.policies.base import PolicySettings
from protogw.wire.http import Header, RequestHead

_ORIGIN = re.compile(
    r"\*|[a-z][a-z0-9+.-]*://(?:\*\.)?[A-Za-z0-9_.-]+(?::[0-9]{1,5})?\Z|[a-z]+://\[[0-9a-f:]+\](?::\d+)?\Z"
)
_TOKENS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*\Z")

EXPOSED = (
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "connect-content-encoding",
    "retry-after",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _origin(value: str) -> str:
    if value == "null":
        raise PydanticCustomError("origin", "{reason}", {"reason": "is never granted: any sandboxed page sends it"})
    if not _ORIGIN.match(value):
        raise PydanticCustomError(
            "origin", "{reason}", {"reason": "is not an origin: write https://app.example, https://*.app.example or *"}
        )
    return value.lower()


Origin = Annotated[str, AfterValidator(_origin)]


class CorsSettings(PolicySettings):
    """Which web pages may call, and what they may send and read."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1)]
    """Origins such as `https://app.example`, `https://*.app.example` for all below it, or `*` for every page."""
    methods: tuple[str, ...] = METHODS
    """HTTP methods that pages may use."""
    headers: tuple[str, ...] = ("*",)
    """Header fields that pages may send; `*` grants whatever a preflight asks for."""
    expose: tuple[str, ...] = EXPOSED
    """Reply fields that pages may read; `*` for all."""
    credentials: bool = False
    """Let pages send cookies and client certificates."""
    max_age: Annotated[int, Field(ge=0, le=86400)] = 7200
    """Seconds for which a browser may remember a preflight's answer."""

    @model_validator(mode="after")
    def _no_wildcard_with_credentials(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise PydanticCustomError(
                "cors",
                "{reason}",
                {"reason": "origins * and credentials together would let every page act as the user"},
            )
        return self


class Cors:
    """Answers preflights and marks answers for the web pages that may read them."""

    kind: ClassVar[str] = "cors"
    Settings: ClassVar[type[PolicySettings]] = CorsSettings

    def __init__(self, settings: CorsSettings) -> None:
        self._any = "*" in settings.origins
        self._exact = frozenset(origin.encode() for origin in settings.origins if "*" not in origin)
        self._below = tuple(
            (scheme.encode() + b"://", b"." + rest.encode())
            for scheme, _, rest in (origin.partition("://*.") for origin in settings.origins)
            if rest
        )
        self._credentials: tuple[Header, ...] = (
            ((b"access-control-allow-credentials", b"true"),) if settings.credentials else ()
        )
        self._expose = (b"access-control-expose-headers", ", ".join(settings.expose).encode())
        self._methods = (b"access-control-allow-methods", ", ".join(settings.methods).encode())
        self._headers = None if "*" in settings.headers else ", ".join(settings.headers).encode()
        self._max_age = (b"access-control-max-age", str(settings.max_age).encode())

    def _granted(self, origin: bytes) -> Header | None:
        if origin == b"null":
            return None
        if self._any:
            return (b"access-control-allow-origin", b"*")
        low = origin.lower()
        if low in self._exact or any(
            low.startswith(scheme) and low.endswith(rest) and len(low) > len(scheme) + len(rest)
            for scheme, rest in self._below
        ):
            return (b"access-control-allow-origin", origin)
        return None

    def grant(self, head: RequestHead, origin: bytes) -> tuple[Header, ...]:
        """What every answer to this page carries."""
        allowed = self._granted(origin)
        if allowed is None:
            return (_VARY,)
        return (allowed, *self._credentials, self._expose, _VARY)

    def preflight(self, head: RequestHead, origin: bytes) -> tuple[Header, ...] | None:
        """The answer's fields when the request is a preflight, else None."""
        if head.method != b"OPTIONS" or head.get(b"access-control-request-method") is None:
            return None
        allowed = self._granted(origin)
        if allowed is None:
            return (_VARY_PREFLIGHT,)
        fields: list[Header] = [allowed, *self._credentials, self._methods, self._max_age, _VARY_PREFLIGHT]
        asked = head.get(b"access-control-request-headers")
        if asked is not None and _TOKENS.match(asked):
            fields.append((b"access-control-allow-headers", asked if self._headers is None else self._headers))
        return tuple(fields)


_VARY: Header = (b"vary", b"Origin")
_VARY_PREFLIGHT: Header = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
