"""What the settings of `jwt` say: whose tokens are taken, and what they must say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.paths import ReadableFile, parse_file
from protogw.policies.bearer import BearerSettings
from protogw.policies.claims import ClaimPath, ClaimPathOrOff, web_address
from protogw.policies.tokens.keys import ALGORITHMS
from protogw.values import LISTED, Positive, Seconds

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "EdDSA", "Ed25519", "Ed448", "HS256", "HS384", "HS512",
]  # fmt: skip
assert set(Algorithm.__args__) == set(ALGORITHMS)  # type: ignore[attr-defined]

MOST_LEEWAY_S: Final = 60.0


def _set(value: object) -> str | Path:
    """An address or a file."""
    if isinstance(value, str) and "://" in value:
        return web_address(value)
    return parse_file(value)


KeySet = Annotated[
    str | Path, PlainValidator(_set), WithJsonSchema({"type": "string", "examples": ["https://idp.example/jwks.json"]})
]


class TrustedIssuer(BaseModel):
    """One issuer: whose tokens, for whom, and the keys that verify them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    issuer: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What a token's `iss` must be. An address without any key beside it is asked for its keys (OpenID Connect
    discovery)."""
    audience: Annotated[tuple[str, ...], LISTED] = ()
    """Of these, at least one must be in a token's `aud`. Without it tokens for other services are taken too."""
    jwks: KeySet | None = None
    """The keys, as a JSON Web Key Set: an address, or a file, which is read again when it changes."""
    jwks_hosts: Annotated[tuple[str, ...], LISTED] = ()
    """Hosts, beside the issuer's own, at which it may say that its keys are."""
    key: Annotated[str, Field(max_length=16 << 10)] | None = None
    """A public key or certificate in PEM instead, best as `file:PATH`."""
    secret: Annotated[str, Field(max_length=4096)] | None = Field(None, repr=False)
    """A secret that the issuer shares with the gateway instead, at least 32 bytes (HS256), best as `${NAME}`."""
    algorithms: Annotated[tuple[Algorithm, ...], LISTED] = ()
    """The only algorithms wanted. Default: what each key is for."""
    consumer: ClaimPathOrOff = None
    """The claim that names the consumer: `azp`, `client_id`. Beside one of `issuers`: of its tokens alone, `off` when
    they name none."""
    ca: ReadableFile | None = None
    """Who vouches for the servers that keys are fetched from, in PEM. Default: the system's authorities."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        found = [name for name in ("jwks", "key", "secret") if getattr(self, name) is not None]
        if len(found) > 1:
            raise PydanticCustomError("issuer", "{reason}", {"reason": f"has both {found[0]} and {found[1]}"})
        if not found and self.issuer is not None:
            try:
                web_address(self.issuer)
            except PydanticCustomError:
                reason = "has neither jwks, key nor secret, and issuer is no address to ask for them"
                raise PydanticCustomError("issuer", "{reason}", {"reason": reason}) from None
        return self

    @property
    def given(self) -> bool:
        """Whether it says anything."""
        return bool(self.issuer or self.jwks or self.key or self.secret)


class JwtSettings(BearerSettings, TrustedIssuer):
    """Whose tokens are taken, what they must say, and who their bearers are."""

    issuers: Annotated[tuple[TrustedIssuer, ...], Field(max_length=32)] = ()
    """Several issuers, each with an `issuer`, instead of the one that is written here."""
    leeway: Annotated[Seconds, Field(ge=0, le=MOST_LEEWAY_S)] = 0.0
    """How far clocks may differ, at most 60s."""
    require_exp: bool = True
    """Refuse tokens that never expire."""
    require: Annotated[tuple[ClaimPath, ...], LISTED] = ()
    """Further claims that a token must have, whatever they say."""
    typ: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What a token's `typ` must be: `at+jwt` takes access tokens alone (RFC 9068)."""
    subject: ClaimPath = "sub"
    """The claim that names the caller, which a token must have."""
    groups: ClaimPath = "groups"
    """The claim with the caller's groups, a list or one: `realm_access.roles`."""
    cache: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    """Verified tokens that are remembered."""
    refresh: Annotated[Positive, Field(ge=1)] = 600.0
    """How often keys at an address are fetched again."""
    refresh_unknown: Annotated[Positive, Field(ge=1)] = 30.0
    """How often, at the most, they are fetched for a token whose key is not known."""

    @model_validator(mode="after")
    def _whose(self) -> Self:
        reason = None
        if self.issuers and self.given:
            reason = "says one issuer by itself, and has issuers too: write it as one of them"
        elif not self.issuers and not self.given:
            reason = "says nothing of whose tokens are taken: issuer, jwks, key or secret"
        elif any(one.issuer is None for one in self.issuers):
            reason = "each of issuers needs an issuer, which is how a token's own is found"
        elif len({one.issuer for one in self.issuers}) < len(self.issuers):
            reason = "has the same issuer twice"
        if reason is not None:
            raise PydanticCustomError("jwt", "{reason}", {"reason": reason})
        return self
