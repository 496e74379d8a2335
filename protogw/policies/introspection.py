"""Opaque tokens whose issuer is asked what they are worth (OAuth 2.0 Token Introspection, RFC 7662).

Answers are remembered for a short while, each token's by its digest. While the issuer cannot be asked, calls whose
token is not remembered are refused as UNAVAILABLE: nobody gets in because nobody could say no.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

import orjson
from cachebox import LRUCache
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call
from protogw.errors import GatewayError, Overloaded, UpstreamError
from protogw.fetching import Fetcher, FetchError
from protogw.identity import Identity
from protogw.paths import ReadableFile
from protogw.policies.base import PolicySettings, Tools
from protogw.policies.bearer import Bearer, BearerSettings
from protogw.policies.claims import ClaimPath, ClaimPathOrOff, Naming, WebAddress, check_audience, lasts_until
from protogw.policies.seldom import Seldom
from protogw.policies.tokens.compact import TokenFault
from protogw.values import LISTED, Positive, refuse

if TYPE_CHECKING:
    from ssl import SSLContext

log = logging.getLogger("protogw")

MOST_ASKED: Final = 256
"""Tokens that are asked about at once; for more the call is refused as UNAVAILABLE."""
_REFUSED_S: Final = 5.0
"""How long a token that is worth nothing need not be asked about again."""


def _visible(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        refuse("has characters that no client identifier or secret has")
    return value


Visible = Annotated[str, AfterValidator(_visible), Field(min_length=1, max_length=1024)]


class IntrospectionSettings(BearerSettings):
    """Who is asked, as whom, and what the answer must say."""

    url: WebAddress
    """The issuer's introspection endpoint."""
    client_id: Visible | None = None
    """Who the gateway is to the issuer."""
    client_secret: Visible | None = Field(None, repr=False)
    """Its secret there, best as `${NAME}` or `file:PATH`."""
    client_auth: Literal["basic", "post"] = "basic"
    """Where these are sent: in the Authorization field, or in the form."""
    ca: ReadableFile | None = None
    """Who vouches for the issuer's server, in PEM. Default: the system's authorities."""
    issuer: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What the answer's `iss` must be."""
    audience: Annotated[tuple[str, ...], LISTED] = ()
    """Of these, at least one must be in the answer's `aud`."""
    subject: ClaimPath = "sub"
    """What of the answer names the caller."""
    consumer: ClaimPathOrOff = "client_id"
    """What of the answer names the consumer; `off` for nothing."""
    groups: ClaimPath = "groups"
    """What of the answer has the caller's groups, a list or one."""
    remember: Annotated[Positive, Field(ge=1, le=3600)] = 60.0
    """How long an answer holds, and so how late a token's revocation is noticed; never beyond its expiry."""
    cache: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Answers that are remembered."""

    @model_validator(mode="after")
    def _somebodys(self) -> Self:
        if self.client_secret is not None and self.client_id is None:
            raise PydanticCustomError("client", "{reason}", {"reason": "has a client_secret and no client_id"})
        return self


class Introspection(Bearer):
    """Takes calls that carry a token which its issuer, when asked, calls active; the answer says who calls."""

    kind: ClassVar[str] = "introspection"
    Settings: ClassVar[type[PolicySettings]] = IntrospectionSettings

    def __init__(self, settings: IntrospectionSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._audience = frozenset(settings.audience)
        self._naming = Naming(self.kind, subject=settings.subject, consumer=settings.consumer, groups=settings.groups)
        self._tls: SSLContext | None = None
        self._headers, self._form = _client(settings)
        self._good: LRUCache[bytes, tuple[Identity, float]] = LRUCache(settings.cache)
        """By the token's digest, with the loop time until which the answer holds."""
        self._bad: LRUCache[bytes, tuple[str, float]] = LRUCache(1024)
        self._bad_s = min(_REFUSED_S, settings.remember)
        self._asking: dict[bytes, asyncio.Task[Identity]] = {}
        self._fetcher: Fetcher | None = None
        self._telling = Seldom()

    def equip(self, tools: Tools) -> None:
        super().equip(tools)
        self._fetcher = tools.fetcher
        self._tls = tools.tls(self._settings.ca) if self._settings.ca is not None else None

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        return frozenset(((self.kind, self._settings.issuer or ""),))

    async def authenticate(self, call: Call) -> Identity | None:
        token = self._places.take(call)
        if token is None:
            return None
        digest = hashlib.sha256(token).digest()
        now = asyncio.get_running_loop().time()
        known = self._good.get(digest)
        if known is not None and known[1] > now and not _over(known[0]):
            return known[0]
        bad = self._bad.get(digest)
        if bad is not None and bad[1] > now:
            raise self._refused(bad[0])
        try:
            return await self._ask(digest, token)
        except TokenFault as fault:
            self._bad[digest] = (str(fault), now + self._bad_s)
            raise self._refused(str(fault)) from fault

    async def _ask(self, digest: bytes, token: bytes) -> Identity:
        """Who the issuer says that it is: once for all who ask at the same time. Raises TokenFault, GatewayError."""
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= MOST_ASKED:
                raise Overloaded("too many tokens wait to be checked")
            loop = asyncio.get_running_loop()
            task = self._asking[digest] = loop.create_task(self._work(digest, token), name=f"token of {self.name}")
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _work(self, digest: bytes, token: bytes) -> Identity:
        """Owned by `_asking`; ends within the fetcher's own limit of time."""
        try:
            identity = self._identity(await self._answer(token))
            self._good[digest] = (identity, asyncio.get_running_loop().time() + self._settings.remember)
            return identity
        finally:
            del self._asking[digest]

    async def _answer(self, token: bytes) -> Mapping[str, Any]:
        assert self._fetcher is not None
        if not token.isascii():
            raise TokenFault("the token is not active")
        form = {"token": token.decode(), "token_type_hint": "access_token", **self._form}
        try:
            answer = await self._fetcher.fetch(
                self._settings.url,
                method="POST",
                headers=self._headers,
                body=urlencode(form).encode(),
                tls=self._tls,
            )
            if answer.status != 200:
                raise FetchError(f"{self._settings.url}: HTTP {answer.status}")
            found = orjson.loads(answer.body)
        except (FetchError, ValueError) as error:
            raise self._unable(str(error) if isinstance(error, FetchError) else "the answer is not JSON") from error
        if not isinstance(found, dict):
            raise self._unable("the answer is no JSON object")
        return found

    def _unable(self, why: str) -> GatewayError:
        if self._telling.due():
            log.warning("policies.%s: tokens cannot be checked, calls are refused: %s", self.name, why)
        return UpstreamError("tokens cannot be checked now")

    def _identity(self, said: Mapping[str, Any]) -> Identity:
        """Who an answer names; raises TokenFault when the token is worth nothing here and now."""
        if said.get("active") is not True:
            raise TokenFault("the token is not active")
        expires_at = lasts_until(said)
        if self._settings.issuer is not None and said.get("iss") != self._settings.issuer:
            raise TokenFault("the token's issuer is not trusted")
        check_audience(said, self._audience)
        return self._naming.identity(said, expires_at)

    async def run(self) -> None:
        """Give up what is being asked at the gateway's end."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in tuple(self._asking.values()):
                task.cancel()


def _seen(task: asyncio.Task[Identity]) -> None:
    """All who asked may have gone by now: then nobody else learns of an error."""
    if not task.cancelled():
        task.exception()


def _over(identity: Identity) -> bool:
    return identity.expires_at is not None and identity.expires_at <= time.time()


def _client(settings: IntrospectionSettings) -> tuple[dict[str, str], dict[str, str]]:
    """The fields and the part of the form that say who asks (RFC 6749 section 2.3.1)."""
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    name, secret = settings.client_id, settings.client_secret
    if name is None:
        return headers, {}
    if settings.client_auth == "post":
        return headers, {"client_id": name, **({"client_secret": secret} if secret is not None else {})}
    pair = f"{quote(name, safe='')}:{quote(secret or '', safe='')}"
    return {**headers, "authorization": "Basic " + base64.b64encode(pair.encode()).decode()}, {}
