"""What policies that find out who calls have in common: they vouch for a caller, and admit the call in that name.

The two are apart so that such policies can be put together: `any_of` asks one after the other who vouches, and lets the
one that does admit the call. What a stream does whose caller's credential expires is here too.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable
from urllib.parse import quote

from pydantic import Field

from protogw.call import RENEWED, Call, Metadata, Reply
from protogw.consumers import Consumers
from protogw.counting import Count
from protogw.errors import GatewayError, Unauthenticated
from protogw.identity import Identity
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.credentials import Places
from protogw.policies.identity_headers import FieldName, twinless
from protogw.values import refuse

AGAIN_S = 0.9
"""How long a caller may take to be vouched for anew once a credential has expired."""
_KEPT = 4096
_MOST_BYTES = 4096


class AuthenticationSettings(PolicySettings):
    """What every policy that finds out who calls may say beside how."""

    headers: Annotated[Mapping[FieldName, str], Field(max_length=32)] = {}
    """Fields that tell the service who calls, `x-user: subject`: each with one of `subject`, `consumer`, `issuer`,
    `scheme`, `groups`, `scopes`, `metadata.NAME`, or the path of a claim. Clients' own fields of these names are
    removed everywhere."""
    on_expiry: Literal["end", "reauthenticate", "ignore"] = "end"
    """What becomes of a stream whose caller's credential expires: it ends as UNAUTHENTICATED; or it goes on if the
    client has sent a newer credential by then over the connection that carries it; or it goes on in any case."""


@runtime_checkable
class Vouching(Protocol):
    """A policy that finds out who calls, as others may ask it."""

    needs_credential: ClassVar[bool]
    """False for one that vouches for whoever shows none."""

    async def authenticate(self, call: Call) -> Identity | None:
        """Who calls, None without any credential of this kind in the call.

        Raises Unauthenticated for one that does not hold, another GatewayError when that cannot be told now.
        """
        ...

    def admit(self, call: Call, identity: Identity) -> None:
        """Let the call go on as this caller's."""
        ...

    def wanted(self) -> Unauthenticated:
        """What a call without a credential is refused with."""
        ...


class Authentication(ABC):
    """Base of the policies that find out who calls."""

    needs_credential: ClassVar[bool] = True
    several_issuers = False
    """Subjects of one issuer are to be told from those of another."""

    def __init__(self, settings: AuthenticationSettings) -> None:
        self.name = str(getattr(self, "kind", "authentication"))
        self._told = tuple((name.encode(), _reader(path)) for name, path in settings.headers.items())
        self.written_headers = frozenset(twinless(name) for name, _ in self._told)
        """The names of these fields."""
        self._expires = settings.on_expiry != "ignore"
        self._again = settings.on_expiry == "reauthenticate"
        self._consumers: Consumers | None = None
        # By identity: both are held here, so their ids stay their own.
        self._memo: dict[tuple[int, int], tuple[Metadata, Identity, Metadata]] = {}
        self._none_shown, self._not_taken = Count(), Count()

    def equip(self, tools: Tools) -> None:
        self.name = tools.name
        self._consumers = tools.consumers
        self._none_shown, self._not_taken = failures(tools)

    @property
    def of_head(self) -> bool:
        return True

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        """Whose subjects it finds, each as scheme and issuer: equal ones of two are not the same caller. Empty when it
        names nobody in particular, or leaves who calls as it is."""
        return frozenset(((str(getattr(self, "kind", "authentication")), ""),))

    @abstractmethod
    async def authenticate(self, call: Call) -> Identity | None: ...

    @abstractmethod
    def wanted(self) -> Unauthenticated: ...

    def __call__(self, call: Call, forward: Handler) -> Awaitable[Reply]:
        return self._asked(call, forward)

    async def _asked(self, call: Call, forward: Handler) -> Reply:
        try:
            identity = await self.authenticate(call)
        except Unauthenticated:
            self._not_taken.value += 1
            raise
        self.let_in(call, identity)
        return await forward(call)

    def let_in(self, call: Call, identity: Identity | None) -> None:
        """Admit whom `authenticate` found; raises Unauthenticated where that is nobody."""
        if identity is None:
            self._none_shown.value += 1
            raise self.wanted()
        self.admit(call, identity)

    def admit(self, call: Call, identity: Identity) -> None:
        if self._consumers is not None:
            identity = self._consumers.known(self.name, identity, several_issuers=self.several_issuers)
        call.identity = identity
        if self._told:
            self._tell(call, identity)
        if identity.expires_at is not None and self._expires:
            method = call.method
            if method is None or call.payloads is not None or not method.unary:
                self._watch(call, identity.expires_at)

    # --- what the service is told -------------------------------------------------------------------------------------

    def _tell(self, call: Call, identity: Identity) -> None:
        key = (id(call.metadata), id(identity))
        known = self._memo.get(key)
        if known is None:
            kept = [pair for pair in call.metadata.pairs if twinless(pair[0]) not in self.written_headers]
            kept += [(name, text) for name, read in self._told if (text := _text(read(identity)))]
            known = (call.metadata, identity, Metadata(tuple(kept)))
            if len(self._memo) >= _KEPT:
                self._memo.clear()
            self._memo[key] = known
        call.metadata = known[2]

    # --- streams that outlive their credential ------------------------------------------------------------------------

    def _watch(self, call: Call, expires_at: float) -> None:
        """Have the call ended when its caller is no longer vouched for."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, expires_at - time.time())
        if call.deadline is not None and call.deadline < at:
            return
        earlier = call.watched
        if earlier is not None:
            if isinstance(earlier, asyncio.Task) or earlier.when() <= at:
                return
            earlier.cancel()
        call.watched = loop.call_at(at, self._expired, call, task)

    def _expired(self, call: Call, task: asyncio.Task[Any]) -> None:
        call.watched = None
        renewed = call.attributes.get(RENEWED) if self._again and call.attributes is not None else None
        if renewed is None:
            call.end(self._over(), task)
        else:
            call.watched = asyncio.get_running_loop().create_task(self._renew(call, task, renewed), name="renewal")

    def _over(self) -> Unauthenticated:
        challenges = [value.decode() for name, value in self.wanted().headers if name == b"www-authenticate"]
        return Unauthenticated("the credential has expired", *challenges)

    async def _renew(self, call: Call, task: asyncio.Task[Any], renewed: Callable[[], Metadata]) -> None:
        """Let the call go on if its client says by now that it is the same caller still. The call owns the task that
        runs this."""
        before: Identity = call.identity
        asked = Call(
            call.method,
            renewed(),
            front_end=call.front_end,
            peer=call.peer,
            started=asyncio.get_running_loop().time(),
            head=call.head,
        )
        try:
            async with asyncio.timeout(AGAIN_S):
                identity = await self.authenticate(asked)
        except (GatewayError, TimeoutError):
            identity = None
        if identity is not None and self._consumers is not None:
            identity = self._consumers.known(self.name, identity, several_issuers=self.several_issuers)
        call.watched = None
        if identity is None or identity.key != before.key or (identity.expires_at or 0) <= time.time():
            call.end(self._over(), task)
            return
        call.identity = identity
        assert identity.expires_at is not None
        loop = asyncio.get_running_loop()
        at = loop.time() + identity.expires_at - time.time()
        call.watched = loop.call_at(at, self._expired, call, task)


def failures(tools: Tools) -> tuple[Count, Count]:
    """What a policy counts its refusals by: of calls without a credential, and of those with one that does not hold."""
    what = "Calls that nobody vouched for: without a credential, or with one that was refused."
    missing = tools.count("auth_failures", what, reason="missing")
    return missing, tools.count("auth_failures", what, reason="refused")


class PlacedAuthentication(Authentication):
    """Base of those whose credential has places of its own in a call."""

    _places: Places
    """Set by the subclass."""

    def withhold(self, call: Call) -> None:
        """Take credentials of this kind out of what goes on: another policy has vouched for the call."""
        self._places.withhold(call)

    @property
    def query_names(self) -> frozenset[bytes]:
        return self._places.query_names

    @property
    def credential_headers(self) -> frozenset[bytes]:
        return self._places.header_names


_PARTS: Mapping[str, Callable[[Identity], Any]] = {
    "subject": lambda who: who.subject,
    "consumer": lambda who: who.consumer,
    "issuer": lambda who: who.issuer,
    "scheme": lambda who: who.scheme,
    "groups": lambda who: sorted(who.groups),
    "scopes": lambda who: sorted(who.scopes),
}


def _reader(path: str) -> Callable[[Identity], Any]:
    """What reads this part of an identity, or this claim."""
    part = _PARTS.get(path)
    if part is not None:
        return part
    root, _, name = path.partition(".")
    if root == "metadata" and name:
        return lambda who: who.metadata.get(name)
    names = path.removeprefix("claims.").split(".")
    return lambda who: claim(who.claims, names)


def claim(claims: Mapping[str, Any], names: list[str]) -> Any:
    """The claim of this path, None without one. A claim's own name may have dots (`https://example/roles`)."""
    whole = ".".join(names)
    if whole in claims:
        return claims[whole]
    found: Any = claims
    for name in names:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def texts(value: Any) -> frozenset[str]:
    """The texts of a claim that is a list of them, or one."""
    if isinstance(value, str):
        return frozenset((value,)) if value else frozenset()
    return frozenset(one for one in value if isinstance(one, str)) if isinstance(value, list) else frozenset()


def _text(value: Any) -> bytes:
    """A value as a header field's: what has no place there is percent-encoded, lists are joined with commas."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return str(value).encode()
    if isinstance(value, str):
        written = quote(value, _SAFE, errors="replace")
    elif isinstance(value, list):
        said = [str(one) for one in value if isinstance(one, (str, int, float))]
        written = ",".join([quote(one, _SAFE_IN_LIST, errors="replace") for one in said])
    else:
        return b""
    return written.encode() if len(written) <= _MOST_BYTES else b""


_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "
_SAFE_IN_LIST = _SAFE.replace(",", "")


def claim_path(value: str) -> str:
    """A claim's path as a setting."""
    if not value or len(value) > 200 or not value.isprintable():
        refuse("is not the path of a claim: write realm_access.roles")
    return value
