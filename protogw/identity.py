"""Who calls, as an authentication policy found out: what `Call.identity` holds. Pure data; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One caller.

    `subject` names them within their issuer, `consumer` is the entry of the gateway's own that they are, if any.
    `scheme` is the kind of the policy that vouches for them, and `expires_at` (Unix seconds) when it ceases to.
    """

    subject: str
    scheme: str
    consumer: str = ""
    issuer: str = ""
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    metadata: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """What the config says of the consumer."""
    expires_at: float | None = None
    anonymous: bool = False
    """Nobody in particular: many callers may have this identity at once."""

    @property
    def key(self) -> str:
        """What tells this caller from every other: the consumer where there is one, else issuer and subject."""
        return f"consumer {self.consumer}" if self.consumer else f"{self.scheme} {self.issuer} {self.subject}"
