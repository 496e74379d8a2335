"""Client certificates: what the certificate of the connection names is who calls.

The listener has verified it (`tls: { client_ca: … }`), so there is nothing to take out of the call: who speaks for the
gateway's clients at a proxy before it is that proxy, not they.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from protogw.call import Call
from protogw.errors import Unauthenticated
from protogw.identity import Identity
from protogw.policies.authentication import Authentication, AuthenticationSettings
from protogw.policies.base import PolicySettings
from protogw.values import LISTED

_KEPT: Final = 4096
_WILD = re.compile(r"\*\*|\*")


class MtlsSettings(AuthenticationSettings):
    """Whose certificates are taken."""

    allow: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], LISTED] = ("**",)
    """Names, as `uri:spiffe://prod/ns/*/sa/web`, `dns:*.internal`, `email:…`, or a subject `CN=web,O=Acme`: `*` stands
    for anything without a `/`, `**` for anything. Default: every certificate that the listener has verified."""
    consumers: Mapping[str, Annotated[str, Field(min_length=1, max_length=255)]] = {}
    """Which consumer a name is, by the whole name."""


class Mtls(Authentication):
    """Takes calls over connections with a client certificate; the certificate says who calls."""

    kind: ClassVar[str] = "mtls"
    Settings: ClassVar[type[PolicySettings]] = MtlsSettings

    def __init__(self, settings: MtlsSettings) -> None:
        super().__init__(settings)
        self._allow = re.compile("|".join(map(_pattern, settings.allow)))
        self._consumers_of = dict(settings.consumers)
        self._known: dict[str, Identity] = {}

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("a client certificate is needed", "ClientCertificate")

    async def authenticate(self, call: Call) -> Identity | None:
        name = call.peer.identity
        if not name:
            return None
        identity = self._known.get(name)
        if identity is None:
            if self._allow.fullmatch(_folded(name)) is None:
                raise Unauthenticated("the client certificate is another's", "ClientCertificate")
            consumer = self._consumers_of.get(name, "")
            identity = Identity(subject=name, scheme=self.kind, consumer=consumer)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[name] = identity
        return identity


def _folded(name: str) -> str:
    """Host names are the same in either case (RFC 4343)."""
    return name.lower() if name.startswith("dns:") else name


def _pattern(written: str) -> str:
    """What a name must be, as a regular expression without anything to try twice."""
    parts = _WILD.split(_folded(written))
    wild = _WILD.findall(written)
    made = re.escape(parts[0])
    for mark, part in zip(wild, parts[1:], strict=True):
        made += (".*" if mark == "**" else "[^/]*") + re.escape(part)
    return made
