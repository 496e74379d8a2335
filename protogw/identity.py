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

    several_issuers: bool = False
    """Whoever vouches does so for the subjects of several issuers, which may be alike."""

    @property
    def key(self) -> str:
        """What tells this caller from every other, also from those who are the same consumer: what is one's own (a
        cached reply, a stream) goes by it. Unambiguous, whatever is in issuer and subject."""
        return f"{self.scheme} {len(self.issuer)} {self.issuer} {self.subject}"

    @property
    def name(self) -> str:
        """What a service may know the caller by: the subject, with its issuer where that is needed to tell callers
        apart."""
        return f"{self.issuer} {self.subject}" if self.several_issuers else self.subject
