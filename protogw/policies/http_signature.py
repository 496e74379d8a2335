"""Signed requests (RFC 9421): what a client signed of its request is what was asked for, and it is not asked for twice.

A signature is over HTTP, and is verified against the request as it came in, whatever policies or translation make of it
after. The body is bound by Content-Digest (RFC 9530), which is compared with the message as it came; where a protocol
carries that in a frame of its own, no digest ever fits, and such a call is refused.
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import ASKED_BY, Call, Encoding, Payload
from protogw.errors import BodyTooLarge, Overloaded, Unauthenticated
from protogw.identity import Identity
from protogw.paths import ReadableFile
from protogw.policies.authentication import Authentication, AuthenticationSettings
from protogw.policies.base import PolicySettings, Tools
from protogw.policies.signature_keys import SignatureKey, read, table
from protogw.stores.base import CounterStore, StoreError, Window
from protogw.stores.memory import MemoryCounters
from protogw.values import LISTED, Bytes, Positive, Seconds, StoreUrl
from protogw.watching import changes, stamp_of

if TYPE_CHECKING:
    from cachebox import TTLCache

    from protogw.wire.http import RequestHead

log = logging.getLogger("protogw")

WATCH_S: Final = 2.0
"""How often a file of keys is looked at for changes."""

_IN_TARGET: Final = frozenset(("@authority", "@path", "@query", "@scheme", "@request-target"))
"""What @target-uri covers, too."""

_COVERED: Final = ("@method", "@authority", "@path", "@query")

_ELSEWHERE: Final = object()
"""Who has used a nonce that was shown to another worker or gateway: no request of this one."""

_BODILESS: Final = frozenset((b"GET", b"HEAD"))

_DERIVED: Final = "@method|@target-uri|@authority|@scheme|@request-target|@path|@query"

Component = Annotated[str, StringConstraints(pattern=rf"^({_DERIVED}|[a-z0-9-]{{1,100}})$")]


class HttpSignatureSettings(AuthenticationSettings):
    """Whose signatures count, and what they must cover."""

    keys: tuple[SignatureKey, ...] = ()
    """The keys, each with its consumer."""
    file: ReadableFile | None = None
    """A YAML file with a list of more of them, read again when it changes."""
    covers: Annotated[tuple[Component, ...], LISTED, Field(max_length=64)] = _COVERED
    """What every signature must cover: derived components and field names. `@target-uri` covers authority, path and
    query."""
    body: bool = True
    """A request with a body must cover `content-digest`, and the digest must be that of its body."""
    body_limit: Annotated[Bytes, Field(ge=0, le=1 << 30)] = 1 << 20
    """The largest body of plain HTTP that is held until its digest is known."""
    max_age: Positive = 300.0
    """How old a signature may be by its `created`, which it must have."""
    leeway: Annotated[Seconds, Field(le=300)] = 5.0
    """How far clocks may differ."""
    nonce: bool = False
    """Signatures must have a nonce. One that is there counts once, whether or not it must be."""
    nonces: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Nonces that are remembered, for as long as their signatures are young enough; beyond these, the oldest is not."""
    store: StoreUrl = ""
    """`redis://host:6379/0`, so that a nonce counts once for all gateways. Default: once for this node, whose workers
    ask each other. A nonce that cannot be asked for is refused as UNAVAILABLE."""
    tag: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """The `tag` of signatures that are meant for this gateway; needed where requests carry several."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.keys and self.file is None:
            raise PydanticCustomError("keys", "{reason}", {"reason": "has neither keys nor a file of them"})
        return self


class HttpSignature(Authentication):
    """Takes calls whose HTTP request is signed with a known key; the key says which consumer calls (RFC 9421)."""

    kind: ClassVar[str] = "http_signature"
    Settings: ClassVar[type[PolicySettings]] = HttpSignatureSettings

    def __init__(self, settings: HttpSignatureSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._stamp = stamp_of(settings.file) if settings.file is not None else None
        self._known = table((*settings.keys, *(read(settings.file) if settings.file is not None else ())))
        from cachebox import TTLCache  # beside the verifier, what only some configs need

        from protogw.policies.signature_verifier import Verifier

        self._verifier = Verifier(max_age_s=settings.max_age, leeway_s=settings.leeway, tag=settings.tag)
        kept_s = settings.max_age + 2 * settings.leeway + 1
        self._nonces: TTLCache[tuple[str, str], object] = TTLCache(settings.nonces, kept_s)
        self._once = (Window(amount=1, per_s=kept_s, burst=1),)
        self._others: CounterStore | None = None
        """Whom a nonce may have been shown to as well: other workers, or other gateways."""
        self._asking: dict[tuple[str, str], asyncio.Task[bool | None]] = {}
        """Nonces that they are asked for right now."""

    def equip(self, tools: Tools) -> None:
        super().equip(tools)
        store = tools.counters(self._settings.store)
        self._others = None if isinstance(store, MemoryCounters) else store

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("a signature is needed", "Signature")

    @property
    def of_head(self) -> bool:
        return False  # what is signed may be the body

    async def authenticate(self, call: Call) -> Identity | None:
        head = call.head
        if head is None or head.get(b"signature-input") is None:
            return None
        body = await self._body(call, head)
        found = self._verifier.verified(head, secure=call.peer.tls, keys=self._known, body=body)
        if isinstance(found, str):
            log.debug("policies.%s: %s", self.name, found)
            raise Unauthenticated("the signature does not hold", "Signature")
        for name in self._settings.covers:
            if name not in found.covered and not (name in _IN_TARGET and "@target-uri" in found.covered):
                raise Unauthenticated(f"the signature does not cover {name}", "Signature")
        await self._use(call, found.key, found.nonce)
        return found.identity

    async def _use(self, call: Call, key: str, nonce: str | None) -> None:
        """Remember that this nonce has been used; raises Unauthenticated when it was before, here or elsewhere."""
        if nonce is None:
            if self._settings.nonce:
                raise Unauthenticated("the signature has no nonce", "Signature")
            return
        # The calls of one socket all come with the request that opened it, and so do the fields of a GraphQL query.
        attributes = call.attributes or {}
        request = attributes.get("connection") or attributes.get(ASKED_BY)
        shown = (key, nonce)
        used = self._nonces.get(shown)
        if used is None:
            self._nonces[shown] = request or True
            if self._others is not None:
                asking = asyncio.get_running_loop().create_task(self._first(self._others, shown), name="a nonce")
                self._asking[shown] = asking
        elif request is None or used != request:
            raise Unauthenticated("the signature's nonce was used before", "Signature")
        if self._asking and (known := self._asking.get(shown)) is not None:
            # Shielded: the calls of one request wait for the same answer, and one may be given up.
            first = await asyncio.shield(known)
            if first is None:
                raise Overloaded("the signature's nonce cannot be looked up")
            if not first:
                raise Unauthenticated("the signature's nonce was used before", "Signature")

    async def _first(self, others: CounterStore, shown: tuple[str, str]) -> bool | None:
        """Whether nobody else has been shown this nonce; None when that cannot be told."""
        name = sha256("\0".join(shown).encode()).hexdigest()
        try:
            taken = await others.take(f"{self.name} nonce {name}", 1, self._once)
        except StoreError:
            self._nonces.pop(shown, None)
            return None
        finally:
            del self._asking[shown]
        if not taken[0].allowed:
            self._nonces[shown] = _ELSEWHERE
        return taken[0].allowed

    async def _body(self, call: Call, head: RequestHead) -> bytes | None:
        """The body to compare a digest with; None when none is looked at. Raises BodyTooLarge, Unauthenticated."""
        if not self._settings.body:
            return None
        if call.method is not None:
            if head.method in _BODILESS:
                return b""
            if call.payloads is not None or call.payload is None:
                raise Unauthenticated("the digest of a stream cannot be verified", "Signature")
            return call.payload.data
        if call.payloads is None:
            return call.payload.data if call.payload is not None else b""
        pieces: list[bytes] = []
        left = self._settings.body_limit
        async for piece in call.payloads:
            left -= len(piece.data)
            if left < 0:
                raise BodyTooLarge(f"the body is over the {self._settings.body_limit} bytes whose digest is verified")
            pieces.append(piece.data)
        whole = b"".join(pieces)
        call.payload, call.payloads = Payload(whole, Encoding.RAW), None
        return whole

    async def run(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        file = self._settings.file
        if file is None:
            return
        async for _ in changes(file, self._stamp, WATCH_S):
            try:
                self._known = table((*self._settings.keys, *await asyncio.to_thread(read, file)))
            except ValueError as error:
                log.warning("policies.%s: %s; the keys stay as they were", self.name, error)
                continue
            log.info("policies.%s: %s: %d keys", self.name, file, len(self._known))
