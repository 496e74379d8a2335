"""Signed tokens (JWT, RFC 7519): a token that a trusted issuer has signed says who calls.

The algorithm is the key's, never the token's to choose; keys come from where the config says, never from where a token
says. What is checked follows RFC 8725, what clients are told RFC 6750. Verified tokens are remembered by their digest,
until they expire or the keys change.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cachebox import LRUCache

from protogw.call import Call
from protogw.errors import Overloaded
from protogw.identity import Identity
from protogw.policies.authentication import claim
from protogw.policies.base import PolicySettings, Tools
from protogw.policies.bearer import Bearer
from protogw.policies.claims import Naming, check_audience, lasts_until
from protogw.policies.jwt_settings import JwtSettings, TrustedIssuer
from protogw.policies.tokens.compact import Compact, TokenFault, instant
from protogw.policies.tokens.keys import KeyFault, KeyRing, UnknownKey, key_of_pem, key_of_secret
from protogw.policies.tokens.sources import DiscoveredKeys, Fetched, FileKeys, FixedKeys, KeySource, UrlKeys


class _Trusted:
    """One issuer, ready to be asked."""

    __slots__ = ("audience", "issuer", "naming", "source")

    def __init__(self, settings: TrustedIssuer, source: KeySource, naming: Naming) -> None:
        self.issuer = settings.issuer
        self.audience = frozenset(settings.audience)
        self.source = source
        self.naming = naming


class Jwt(Bearer):
    """Takes calls that carry a token of a trusted issuer; the token says who calls."""

    kind: ClassVar[str] = "jwt"
    Settings: ClassVar[type[PolicySettings]] = JwtSettings

    def __init__(self, settings: JwtSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._required = [path.split(".") for path in settings.require]
        self._typ = settings.typ.lower().removeprefix("application/") if settings.typ is not None else None
        self._trusted: tuple[_Trusted, ...] = ()
        self.several_issuers = len(settings.issuers) > 1
        self._cache: LRUCache[bytes, Identity] = LRUCache(max(1, settings.cache))

    @property
    def lacks(self) -> str | None:
        """What stands between this policy and its work, for readiness."""
        without = [one for one in self._trusted if one.source.ring is None]
        return f"keys of {without[0].issuer or self.name}" if without else None

    def equip(self, tools: Tools) -> None:
        super().equip(tools)
        written = self._settings.issuers or (self._settings,)
        self._trusted = tuple(_Trusted(one, self._source(one, tools), self._naming(one)) for one in written)
        tools.gauge("token_keys", "Keys that verify tokens, of all issuers.", self._keys)
        fetched = [one.source for one in self._trusted if isinstance(one.source, Fetched)]
        if fetched:
            what = "Key sets of token issuers that were asked for without success since the start."
            tools.gauge("token_key_failures", what, lambda: float(sum(source.failures for source in fetched)))
        for one in self._trusted:
            one.source.arrived = tools.changed
            one.source.changed = self._cache.clear

    def _keys(self) -> float:
        return float(sum(len(one.source.ring or ()) for one in self._trusted))

    def _consumer(self, written: TrustedIssuer) -> str | None:
        """The claim of its tokens that names the consumer."""
        return written.consumer if "consumer" in written.model_fields_set else self._settings.consumer

    def _naming(self, written: TrustedIssuer) -> Naming:
        return Naming(
            self.kind,
            subject=self._settings.subject,
            consumer=self._consumer(written),
            groups=self._settings.groups,
            several_issuers=self.several_issuers,
        )

    def _source(self, written: TrustedIssuer, tools: Tools) -> KeySource:
        """Where its keys come from; raises ValueError naming the key of the config that is at fault."""
        where = f"policies.{self.name}" + (f": {written.issuer}" if written.issuer else "")
        algorithms = written.algorithms
        try:
            if written.secret is not None:
                return FixedKeys(where, KeyRing((key_of_secret(written.secret, algorithms),)))
            if written.key is not None:
                return FixedKeys(where, KeyRing((key_of_pem(written.key, algorithms),)))
            if isinstance(written.jwks, Path):
                return FileKeys(where, written.jwks, algorithms)
        except KeyFault as fault:
            what = "secret" if written.secret is not None else "key" if written.key is not None else "jwks"
            raise ValueError(f"{what}: {fault}") from fault
        fetched: dict[str, Any] = {
            "fetcher": tools.fetcher,
            "tls": tools.tls(written.ca) if written.ca is not None else None,
            "refresh_s": self._settings.refresh,
            "again_s": self._settings.refresh_unknown,
        }
        if written.jwks is not None:
            return UrlKeys(where, written.jwks, algorithms, **fetched)
        assert written.issuer is not None
        return DiscoveredKeys(where, written.issuer, algorithms, written.jwks_hosts, **fetched)

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        return frozenset((self.kind, one.issuer or "") for one in self._settings.issuers or (self._settings,))

    def cautions(self) -> list[str]:
        """What `protogw check` warns of."""
        settings = self._settings
        taken = "not written, so tokens that were made for other services are taken too (RFC 8725 section 3.9)"
        issuers = {f"issuers[{index}].": one for index, one in enumerate(settings.issuers)} or {"": settings}
        found = [f"{place}audience: {taken}" for place, one in issuers.items() if not one.audience]
        naming = [one for one in settings.issuers if self._consumer(one) is not None]
        if len(naming) > 1 and any("consumer" not in one.model_fields_set for one in naming):
            found.append(
                "consumer: tokens of each issuer may name the consumers that are another's clients: "
                "write consumer beside the issuers that may name any, and consumer: off beside the others"
            )
        if self.several_issuers and "issuer" not in settings.headers.values():
            unsaid = (
                "issuers may have equal subjects, and the service is not told whose this is: let a field say issuer"
            )
            found += [f"headers.{name}: {unsaid}" for name, what in settings.headers.items() if what == "subject"]
        return found

    async def authenticate(self, call: Call) -> Identity | None:
        token = self._places.take(call)
        if token is None:
            return None
        digest = hashlib.sha256(token).digest()
        identity = self._cache.get(digest)
        if identity is None:
            try:
                identity = await self._verified(token)
            except TokenFault as fault:
                raise self._refused(str(fault)) from fault
            if self._settings.cache:
                self._cache[digest] = identity
        elif identity.expires_at is not None and identity.expires_at <= time.time():
            raise self._refused("the token has expired")
        return identity

    async def _verified(self, token: bytes) -> Identity:
        """Whose token it is; raises TokenFault, or Overloaded while the keys are not there."""
        compact = Compact(token)
        trusted = self._issuer_of(compact.claims)
        ring = await trusted.source.ready()
        if ring is None:
            raise Overloaded("tokens cannot be verified now")
        try:
            ring.verify(compact)
        except UnknownKey:
            ring = await trusted.source.renewed()
            if ring is None:
                raise
            ring.verify(compact)
        return self._identity(compact, trusted)

    def _issuer_of(self, claims: Mapping[str, Any]) -> _Trusted:
        """Who is said to have issued it, which its signature will have to prove."""
        said = claims.get("iss")
        for one in self._trusted:
            if one.issuer is None or one.issuer == said:
                return one
        raise TokenFault("the token's issuer is not trusted")

    def _identity(self, compact: Compact, trusted: _Trusted) -> Identity:
        """What a token with a good signature says; raises TokenFault where that is not good now, or not for us."""
        claims = compact.claims
        expires_at = lasts_until(claims, self._settings.leeway)
        instant(claims, "iat")
        if expires_at is None and self._settings.require_exp:
            raise TokenFault("the token never expires")
        check_audience(claims, trusted.audience)
        if self._typ is not None and compact.typ != self._typ:
            raise TokenFault("the token is of another type")
        for path in self._required:
            if claim(claims, path) is None:
                raise TokenFault(f"the token has no {'.'.join(path)}")
        return trusted.naming.identity(claims, expires_at)

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self._trusted:
                group.create_task(one.source.run(), name=f"keys of {one.source.where}")

    @property
    def fetches(self) -> int:
        """How often keys were asked for."""
        return sum(one.source.fetches for one in self._trusted if isinstance(one.source, Fetched))
