"""Decisions of an Open Policy Agent (openpolicyagent.org), asked over its REST API: POST /v1/data/PATH with an `input`.

The input is the neutral call, so that one Rego rule holds in every protocol. What is undefined there is a refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import orjson
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Metadata, Reply
from protogw.counting import Count
from protogw.errors import Forbidden, GatewayError, Overloaded, Unauthenticated
from protogw.expressions import identity_as_data
from protogw.fetching import Fetcher, FetchError
from protogw.paths import ReadableFile
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.forward_auth import HeaderName, Url
from protogw.policies.identity_headers import FieldName, twinless
from protogw.policies.seldom import Seldom
from protogw.policies.verdicts import MOST_TEXT, UNANSWERED, Unanswered, clean
from protogw.values import LISTED, Positive, Seconds
from protogw.wire.http import Header
from protogw.wire.spelling import host_of, path_of, segments_of

if TYPE_CHECKING:
    from ssl import SSLContext

    from cachebox import TTLCache


Token = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[\x21-\x7e]+$")]


class OpaSettings(PolicySettings):
    """Which agent decides, on what, and for how long."""

    url: Url
    """The document that is the decision: `http://127.0.0.1:8181/v1/data/gateway/allow`. It is true or false, or an
    object `{allow, headers, reason}`."""
    ca: ReadableFile | None = None
    """The authorities that may have signed its certificate, PEM. Default: the system's."""
    token: Token | None = Field(None, repr=False)
    """A bearer token that the agent asks for: best as `${NAME}` or `file:PATH`."""
    timeout: Positive = 0.5
    """How long an answer may take."""
    send: Annotated[tuple[HeaderName, ...], LISTED, Field(max_length=256)] = ()
    """The client's fields that are part of the input. Default: none."""
    message: bool = False
    """Make the request's message part of the input, as JSON. Streams of requests have none."""
    take: Annotated[tuple[FieldName, ...], LISTED, Field(max_length=64)] = ()
    """Fields of the decision's `headers` that go on to the service behind. Clients' own fields of these names are
    removed everywhere."""
    cache: Seconds = 0.0
    """How long a decision counts for equal inputs. Default: it is asked for every call."""
    cache_size: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Decisions that are kept at the most."""
    on_error: Literal["closed", "open"] = "closed"
    """What becomes of calls without a decision: refused as UNAVAILABLE, or let through (and logged)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ca is not None and not self.url.startswith("https:"):
            raise PydanticCustomError("service", "{reason}", {"reason": "ca is for an https address"})
        return self


class _Decision:
    """What was decided."""

    __slots__ = ("allow", "fields", "reason")

    def __init__(self, *, allow: bool, fields: tuple[Header, ...] = (), reason: str = "") -> None:
        self.allow = allow
        self.fields = fields
        self.reason = reason


class Opa:
    """Lets calls through that an Open Policy Agent allows."""

    kind: ClassVar[str] = "opa"
    Settings: ClassVar[type[PolicySettings]] = OpaSettings

    def __init__(self, settings: OpaSettings) -> None:
        self._settings = settings
        self._name = self.kind
        self._sent = frozenset(name.encode() for name in settings.send)
        self.written_headers = frozenset(twinless(name.encode()) for name in settings.take)
        self._headers = {"content-type": "application/json"}
        if settings.token is not None:
            self._headers["authorization"] = f"Bearer {settings.token}"
        self._fetcher: Fetcher
        self._tls: SSLContext | None = None
        self._cache: TTLCache[bytes, _Decision] | None = None
        if settings.cache:
            from cachebox import TTLCache

            self._cache = TTLCache(settings.cache_size, settings.cache)
        self._telling = Seldom()
        self._unanswered = Count()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        self._fetcher = tools.fetcher
        self._unanswered = tools.count("authorization_unanswered", UNANSWERED)
        if self._settings.ca is not None:
            self._tls = tools.tls(self._settings.ca)

    @property
    def of_head(self) -> bool:
        return not self._settings.message

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if self._settings.message and call.payload is not None:
            call.payload = call.payload.settled()
        asked = orjson.dumps({"input": self._input(call)}, option=orjson.OPT_SORT_KEYS)
        try:
            decision = await self._decide(asked)
        except Unanswered as error:
            self._unanswered.value += 1
            let_through = self._settings.on_error == "open"
            self._telling.unasked(self._name, "there is no decision", error, let_through=let_through)
            if let_through:
                return await forward(call)
            raise Overloaded("the decision on this call cannot be asked for") from error
        if not decision.allow:
            raise _refusal(call, decision.reason)
        if decision.fields:
            names = {name for name, _ in decision.fields}
            kept = tuple(pair for pair in call.metadata.pairs if pair[0] not in names)
            call.metadata = Metadata(kept + decision.fields)
        return await forward(call)

    async def _decide(self, asked: bytes) -> _Decision:
        """The decision on this input; raises Unanswered. Only decisions are kept, never failures."""
        cache = self._cache
        if cache is None:
            return await self._ask(asked)
        key = hashlib.blake2b(asked, digest_size=20).digest()
        known: _Decision | None = cache.get(key)
        if known is None:
            known = await self._ask(asked)
            cache[key] = known
        return known

    async def _ask(self, asked: bytes) -> _Decision:
        settings = self._settings
        try:
            answer = await self._fetcher.fetch(
                settings.url,
                method="POST",
                headers=self._headers,
                body=asked,
                timeout_s=settings.timeout,
                tls=self._tls,
            )
        except FetchError as error:
            raise Unanswered(str(error)) from error
        if answer.status != 200:
            raise Unanswered(f"answered HTTP {answer.status}")
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise Unanswered("answered what is no JSON") from error
        if not isinstance(document, dict):
            raise Unanswered("answered what is no decision")
        if "result" not in document:
            return _Decision(allow=False, reason="nothing allows it")
        return self._read(document["result"])

    def _read(self, result: Any) -> _Decision:
        if isinstance(result, bool):
            return _Decision(allow=result)
        if not isinstance(result, Mapping) or not isinstance(result.get("allow", False), bool):
            raise Unanswered("the decision is neither true nor false nor an object with `allow`")
        reason, written = result.get("reason", ""), result.get("headers", {})
        if not isinstance(written, Mapping):
            raise Unanswered("the decision's headers are no object")
        fields: list[Header] = []
        for name, value in written.items():
            for one in value if isinstance(value, list) else [value]:
                field = clean(name, one) if isinstance(one, str) else None
                if field is None:
                    raise Unanswered("the decision's headers are no fields")
                if twinless(field[0]) in self.written_headers:
                    fields.append(field)
        return _Decision(
            allow=result.get("allow", False), fields=tuple(fields), reason=reason if isinstance(reason, str) else ""
        )

    def _input(self, call: Call) -> dict[str, Any]:
        """The call as a Rego rule sees it."""
        method, head, peer = call.method, call.head, call.peer
        headers: dict[str, list[str]] = {}
        for name, value in call.metadata.pairs:
            if name in self._sent:
                headers.setdefault(name.decode("latin-1"), []).append(value.decode("utf-8", "replace"))
        found: dict[str, Any] = {
            "method": method.full_name if method is not None else "",
            "service": method.service if method is not None else "",
            "name": method.name if method is not None else "",
            "front_end": call.front_end,
            "identity": identity_as_data(call.identity) if call.identity is not None else None,
            "peer": {"address": peer.host, "identity": peer.identity, "tls": peer.tls},
            "headers": headers,
        }
        if head is not None:
            found["http"] = {
                "method": head.method.decode("latin-1"),
                "path": path_of(head.path),
                "segments": segments_of(head.path),
                "host": host_of(head.authority).decode("latin-1"),
            }
        payload = call.payload
        if self._settings.message and payload is not None and payload.codec is not None:
            found["message"] = orjson.Fragment(payload.codec.canonical.to_json(payload.proto()))
        return found


def _refusal(call: Call, reason: str) -> GatewayError:
    words = " ".join(reason.split())
    if not words or len(words) > MOST_TEXT or not words.isprintable():
        words = "not allowed"
    return Unauthenticated(words) if call.identity is None else Forbidden(words)
