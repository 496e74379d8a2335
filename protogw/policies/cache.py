"""Answers are kept and given again: to whoever asks the same, by whatever protocol.

Kept are whole replies to calls that change nothing; streams never. What is kept is the neutral reply, so a REST GET, a
Connect GET, a gRPC call and a GraphQL query of one message share one entry (cache_key.py says what "the same" is,
freshness.py how long an answer holds). Many who ask at once for what is not there are one call.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from protogw.call import VALIDATORS, Call, Reply
from protogw.descriptors.model import Idempotency, Method
from protogw.errors import Code, GatewayError, Source
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.cache_answers import FAILED, SAID, Answers
from protogw.policies.cache_flights import Flights, Landed
from protogw.policies.cache_key import Asked, Keys
from protogw.policies.called import CallName, meant, names
from protogw.policies.freshness import Rules, seconds
from protogw.policies.seldom import Seldom
from protogw.stores.base import StoreError
from protogw.stores.cache_memory import MemoryCache
from protogw.stores.entries import CacheStore, Clock, Entry, Wanted, wall
from protogw.values import LISTED, Bytes, Positive, Seconds, StoreUrl, refuse

log = logging.getLogger("protogw")

MOST_BEHIND = 64
"""Answers that are fetched anew in the background at once; beyond that, stale ones stay stale a little longer."""
BEHIND_S = 15.0
SKEW_S = 60.0
"""How far the clocks of gateways that share answers may differ."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def _field(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        refuse("is not the name of a field")
    return value.lower()


FieldName = Annotated[str, AfterValidator(_field)]


class CacheSettings(PolicySettings):
    """Which answers are kept, for how long, where, and what tells one from another."""

    ttl: Seconds = 0.0
    """How long an answer is fresh where its service does not say (Cache-Control, Expires); `0` keeps only those whose
    service says so. It holds for methods without side effects (`idempotency_level`, or bound to GET alone) and GET."""
    calls: Mapping[CallName, Seconds] = {}
    """Methods that may be cached whatever their schema says of them, and how long where the service does not say:
    `library.v1.Library/GetBook: 5m`, `library.v1.Library/*: 30s`."""
    public: bool = False
    """Answers do not depend on who asks: all callers share them, those with an Authorization or a cookie too. Without
    it each caller has their own, and a call with an Authorization that no policy has looked at is not cached at all."""
    vary: Annotated[tuple[FieldName, ...], LISTED, Field(max_length=32)] | None = None
    """The metadata that tells answers apart; a service that is asked for an answer to keep gets no other (but what
    names the caller, and marks for tracing). Default: all metadata, but what clients say of themselves."""
    client_directives: bool = False
    """Heed what clients say in Cache-Control (`no-cache`, `no-store`, `max-age`, `only-if-cached`)."""
    stale_while_revalidate: Seconds = 0.0
    """How long after it was fresh an answer is still given while a new one is fetched, if the service does not say."""
    stale_if_error: Seconds = 0.0
    """How long after it was fresh an answer is still given when the service fails, if the service does not say."""
    negative_ttl: Seconds = 0.0
    """How long it is remembered that something was not found. Default: not at all; other failures never are."""
    max_ttl: Positive = 86_400.0
    """No answer is fresh for longer than this, whatever the service says."""
    max_entry: Annotated[Bytes, Field(ge=1024, le=64 << 20)] = 1 << 20
    """The largest answer that is kept."""
    max_bytes: Annotated[Bytes, Field(ge=64 << 10, le=1 << 40)] = 64 << 20
    """How much memory the answers may take in this node; the least recently used go first. No answer may take more than
    a quarter of it."""
    store: StoreUrl = ""
    """`redis://host:6379/0` to share answers between gateways of the same config. Default: this node's memory. A server
    that cannot be asked is a cache that is empty."""
    wait: Positive = 5.0
    """How long a call waits for another that fetches the same answer before it fetches it itself."""
    etag: bool = True
    """Give answers to GET requests an ETag where the service gave none, so that a client may ask whether it still
    holds."""
    report: bool = True
    """Tell clients in `x-cache` whether an answer was kept: hit, stale, revalidated or miss."""
    tags: FieldName = "surrogate-key"
    """The field of a reply in which the service names tags, separated by spaces, by which answers can be purged.
    Clients do not get it."""


class Cache:
    """Keeps answers and gives them again to whoever asks the same, by whatever protocol."""

    kind: ClassVar[str] = "cache"
    Settings: ClassVar[type[PolicySettings]] = CacheSettings

    def __init__(self, settings: CacheSettings, clock: Clock = wall) -> None:
        self._settings = settings
        self._clock = clock
        self._name = "cache"
        vary = frozenset(name.encode() for name in settings.vary) if settings.vary is not None else None
        self._vary = vary
        self._keys = Keys(self._name, vary, public=settings.public)
        self._store: CacheStore = MemoryCache(settings.max_bytes, clock)
        self._answers = Answers(settings.tags.encode(), settings.max_entry, etag=settings.etag, report=settings.report)
        self._flights = Flights(settings.wait)
        self._plans: dict[bytes, tuple[Method, float | None, bool]] = {}
        self._purges = 0
        self._behind: dict[bytes, asyncio.Task[None]] = {}
        self._telling = Seldom()
        self.failures = 0
        """Questions that the store did not answer."""

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        settings = self._settings
        self._keys = Keys(tools.name, self._vary, public=settings.public)
        what = "Replies of calls that may be answered from the cache, by where they came from."
        for said in SAID:
            self._answers.counted[said] = tools.count("cache_replies", what, outcome=said.decode())
        self._store = tools.cache(settings.store, most_bytes=settings.max_bytes, most_entry=settings.max_entry)

    def fit(self, methods: Sequence[Method], complete: bool) -> list[str]:
        """The methods that this policy is around have come or changed."""
        self._plans.clear()
        faults = []
        for pattern in self._settings.calls:
            its = [method for method in methods if names(pattern, method)]
            if not its and complete:
                near = meant(pattern, methods)
                faults.append(f"calls.{pattern}: there is no such method where this policy is used{near}")
            faults += [
                f"calls.{pattern}: {method.full_name} is a {method.shape}, and streams are not cached"
                for method in its
                if not method.unary and not pattern.endswith("/*")
            ]
        return faults

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        asked = self._asked(call)
        if asked is None:
            return await forward(call)
        said = asked.fields.directives if self._settings.client_directives else None
        if said is not None and b"no-store" in said:
            return await forward(call)
        store = self._store
        entry = store.get_now(asked.key) if isinstance(store, MemoryCache) else await self._looked_up(asked)
        if entry is not None and entry.made_s > self._clock() + SKEW_S:
            entry = None  # this clock was put back: it would be fresh for as long as that
        if entry is not None:
            age = max(0.0, self._clock() - entry.made_s)
            if age < entry.fresh_s and not entry.asks_first and _will_take(said, age):
                return self._answers.given(call, asked, entry, b"hit", age)
            if said is None and age < entry.fresh_s + entry.stale_s:
                if not _heads(call):  # what a HEAD brings has no body to keep
                    self._fetch_behind(call, forward, asked, entry)
                return self._answers.given(call, asked, entry, b"stale", age)
        if said is not None and b"only-if-cached" in said:
            raise GatewayError("there is no kept answer", code=Code.FAILED_PRECONDITION, http_status=504)
        if _heads(call):
            return await forward(call)
        try:
            return await self._fetched(call, forward, asked, entry)
        except GatewayError as error:
            if entry is None or error.source is Source.CLIENT or error.status.code not in FAILED:
                raise
            if not self._helps(entry):
                raise
            return self._answers.given(call, asked, entry, b"stale", max(0.0, self._clock() - entry.made_s))

    def _helps(self, entry: Entry) -> bool:
        """Whether the entry may be given in place of a failure."""
        return self._clock() - entry.made_s < entry.fresh_s + entry.error_s

    def _asked(self, call: Call) -> Asked | None:
        """The call as the cache sees it; None when it has nothing to do with it."""
        method = call.method
        if method is not None:
            plan = self._plans.get(method.path)
            if plan is None or plan[0] is not method:
                plan = self._plans[method.path] = (method, *self._plan(method))
            return self._keys.of_method(call, method, plan[1]) if plan[2] else None
        head = call.head
        if head is None or head.method not in (b"GET", b"HEAD"):
            return None
        return self._keys.of_request(call, head, self._settings.ttl or None)

    def _plan(self, method: Method) -> tuple[float | None, bool]:
        """How long the method's answers are fresh where the service does not say, and whether they are kept at all."""
        if not method.unary:
            return None, False
        for pattern, ttl in sorted(self._settings.calls.items(), key=lambda one: one[0].endswith("/*")):
            if names(pattern, method):
                return ttl or None, True
        return self._settings.ttl or None, _is_safe(method)

    async def _looked_up(self, asked: Asked) -> Entry | None:
        try:
            entry = await self._store.get(asked.key)
        except StoreError as error:
            self._complain(error)
            return None
        if entry is not None and (entry.name != asked.name or bool(entry.status) is not (asked.payload is None)):
            return None  # another has written there
        return entry

    async def _kept(self, asked: Asked, entry: Entry, purges: int) -> None:
        """Keep an answer, unless something was purged meanwhile: it may be what was to go."""
        if purges != self._purges:
            return
        store = self._store
        if isinstance(store, MemoryCache):
            store.put_now(asked.key, entry)
            return
        try:
            await store.put(asked.key, entry)
        except StoreError as error:
            self._complain(error)

    # --- asking the service -------------------------------------------------------------------------------------------

    async def _fetched(self, call: Call, forward: Handler, asked: Asked, known: Entry | None) -> Reply:
        """The service's answer; of those who ask for the same at once, one asks for all."""
        flights = self._flights
        if flights.alone(asked.key):
            return await forward(call)
        landed = await flights.join(asked.key)
        if landed is None:
            return await self._lead(call, forward, asked, known)
        if landed.error is not None:
            raise landed.error.with_traceback(None)
        if landed.entry is not None:
            age = max(0.0, self._clock() - landed.entry.made_s)
            return self._answers.given(call, asked, landed.entry, b"hit", age)
        return await forward(call)

    async def _lead(self, call: Call, forward: Handler, asked: Asked, known: Entry | None) -> Reply:
        """Ask for all who wait; whatever comes of it, those are told."""
        landed: Landed | None = None
        try:
            reply, entry, said = await self._ask(call, forward, asked, known)
            if entry is not None or not self._ones_own(reply):
                landed = Landed(entry, None)
        except GatewayError as error:
            # Only what the service did is everybody's; that this caller may not call is not.
            landed = Landed(None, error if error.source is Source.UPSTREAM else None)
            raise
        finally:
            # None when this call was cancelled, or refused for what only it has: the next in line asks.
            self._flights.land(asked.key, landed)
        if entry is None:
            if known is not None and self._answers.still_holds(reply):
                # It is not to be kept any longer, and is what this client asked for.
                return self._answers.given(call, asked, known, b"revalidated", max(0.0, self._clock() - known.made_s))
            return await self._answers.passed(asked, reply)
        age = max(0.0, self._clock() - entry.made_s)
        return self._answers.given(call, asked, entry, said, age)

    async def _ask(
        self, call: Call, forward: Handler, asked: Asked, known: Entry | None
    ) -> tuple[Reply, Entry | None, bytes]:
        """The service's reply, the entry that was kept of it if any, and how that came about."""
        purges = self._purges
        metadata, payload, attributes = call.metadata, call.payload, call.attributes
        call.metadata = asked.fields.sent
        validators = self._answers.validators(known) if known is not None else ()
        if asked.payload is not None:
            call.payload = asked.payload
            if validators:
                call.attributes = {**(attributes or {}), VALIDATORS: validators}
        elif validators:
            call.metadata = call.metadata.adding(*validators)
        try:
            reply = await forward(call)
        finally:
            call.metadata, call.payload, call.attributes = metadata, payload, attributes
        now = self._clock()
        if known is not None and self._answers.failed(reply) and self._helps(known):
            await self._answers.dropped(reply)
            return reply, known, b"stale"
        rules = Rules(
            asked.ttl_s, self._settings.stale_while_revalidate, self._settings.stale_if_error, self._settings.max_ttl
        )
        if known is not None and self._answers.still_holds(reply):
            entry: Entry | None = self._answers.renewed(known, reply, rules, now)
            said = b"revalidated"
        else:
            entry = await self._answers.entry(call, asked, reply, rules, self._settings.negative_ttl, now)
            said = b"miss"
        if entry is not None:
            await self._kept(asked, entry, purges)
        elif not self._answers.failed(reply) and not self._ones_own(reply):
            self._flights.fly_alone(asked.key)
        return reply, entry, said

    def _ones_own(self, reply: Reply) -> bool:
        """Whether this says nothing to others who ask for the same: where answers are public, the service sees the
        credentials of whoever happens to ask for all, and may refuse them."""
        return self._settings.public and self._answers.refused(reply)

    def _fetch_behind(self, call: Call, forward: Handler, asked: Asked, known: Entry) -> None:
        """Ask for an answer anew while the old one is given."""
        if asked.key in self._behind or len(self._behind) >= MOST_BEHIND or self._flights.alone(asked.key):
            return
        task = asyncio.get_running_loop().create_task(
            self._behind_of(_again(call), forward, asked, known), name=f"policy {self._name} fetches anew"
        )
        self._behind[asked.key] = task
        task.add_done_callback(lambda _: self._behind.pop(asked.key, None))

    async def _behind_of(self, call: Call, forward: Handler, asked: Asked, known: Entry) -> None:
        try:
            async with asyncio.timeout(BEHIND_S):
                reply, entry, _ = await self._ask(call, forward, asked, known)
            if entry is None and not self._ones_own(reply):
                await self._store.remove(asked.key)
        except (TimeoutError, GatewayError, StoreError) as error:
            log.info("policies.%s: %s could not be fetched anew: %s", self._name, asked.name, error)

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def purge(self, wanted: Wanted) -> int:
        """Forget what is meant, and say how many that were; what is on its way is not kept. Raises StoreError."""
        self._purges += 1
        return await self._store.purge(wanted)

    def describe(self) -> dict[str, object]:
        """How it stands, for operators."""
        store = self._store
        held: dict[str, object] = {"store": "shared"}
        if isinstance(store, MemoryCache):
            held = {"store": "memory", "entries": len(store), "bytes": store.size, "of": self._settings.max_bytes}
        return {**held, "fetching": len(self._flights) + len(self._behind), "failures": self.failures}

    async def run(self) -> None:
        """Keep the fetches in the background until cancelled, then end them."""
        try:
            await asyncio.Event().wait()
        finally:
            tasks = tuple(self._behind.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _complain(self, error: StoreError) -> None:
        self.failures += 1
        if self._telling.due():
            log.warning("policies.%s: the store cannot be asked, calls are not cached: %s", self._name, error)


def _is_safe(method: Method) -> bool:
    """Whether the method's own schema says that calling it changes nothing."""
    if method.idempotency is not Idempotency.UNKNOWN:
        return method.idempotency is Idempotency.NO_SIDE_EFFECTS
    rules = method.annotated
    return bool(rules) and all(rule.verb in ("GET", "HEAD") for rule in rules)


def _heads(call: Call) -> bool:
    """Whether this is a HEAD of plain HTTP. Of a method it is a call like any other."""
    return call.method is None and call.head is not None and call.head.method == b"HEAD"


def _will_take(said: Mapping[bytes, bytes] | None, age: float) -> bool:
    """Whether a client that says this takes an answer of this age."""
    if said is None:
        return True
    most = seconds(said, b"max-age")
    return b"no-cache" not in said and (most is None or age <= most)


def _again(call: Call) -> Call:
    """The same call, which goes on when its client has its answer."""
    loop = asyncio.get_running_loop()
    made = Call(
        call.method,
        call.metadata,
        front_end=call.front_end,
        peer=call.peer,
        started=loop.time(),
        head=call.head,
        payload=call.payload,
        timeout=BEHIND_S,
    )
    made.deadline = loop.time() + BEHIND_S
    made.identity = call.identity
    made.route = call.route
    made.attributes = dict(call.attributes) if call.attributes is not None else None
    return made
