"""Forward auth: another service decides whether a call goes on, and who calls.

Asked over HTTP (as nginx's auth_request and Traefik's forwardAuth ask) or over gRPC (as Envoy's external
authorization). A service that is slow, broken or gone lets nobody through unless the config says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Metadata, Reply
from protogw.counting import Count
from protogw.errors import Overloaded, Unauthenticated
from protogw.identity import Identity
from protogw.paths import ReadableFile
from protogw.policies.authentication import Authentication, AuthenticationSettings, claim, texts
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.forward_auth_http import HttpJudge
from protogw.policies.identity_headers import FieldName, twinless
from protogw.policies.seldom import Seldom
from protogw.policies.verdicts import UNANSWERED, Judge, Unanswered, Vouched
from protogw.values import LISTED, Bytes, Positive, refuse

_ADDRESS: Final = r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$"


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        refuse("is not an address: write http://auth:9000/verify")
    return value


def _source(value: str) -> str:
    kind, dot, name = value.partition(".")
    if kind not in ("header", "metadata") or not dot or not name:
        refuse("says not where it is: write header.NAME or metadata.PATH")
    return value


Url = Annotated[str, AfterValidator(_url)]
"""An http or https address of a service's."""
Source = Annotated[str, AfterValidator(_source)]
HeaderName = Annotated[
    str,
    StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$", to_lower=True),
]


class ForwardAuthSettings(AuthenticationSettings):
    """Which service decides, what it is told, and what of its answer counts."""

    http: Url | None = None
    """The address that is asked over HTTP: a 2xx lets the call through."""
    grpc: Annotated[tuple[Annotated[str, StringConstraints(pattern=_ADDRESS)], ...], LISTED, Field(max_length=64)] = ()
    """`host:port` of a service that speaks envoy.service.auth.v3.Authorization, or a list of equal ones."""
    tls: bool = False
    """Speak TLS to `grpc`; its certificate is verified. An https address says so itself."""
    ca: ReadableFile | None = None
    """The authorities that may have signed its certificate, PEM. Default: the system's."""
    timeout: Positive = 1.0
    """How long an answer may take."""
    send: Annotated[tuple[HeaderName, ...], LISTED] | None = None
    """The client's fields that the service gets to see. Default: all."""
    take: Annotated[tuple[FieldName, ...], LISTED, Field(max_length=64)] = ()
    """Fields of its answer that go on to the service behind. Clients' own fields of these names are removed
    everywhere."""
    tell: Annotated[tuple[HeaderName, ...], LISTED, Field(max_length=64)] = (
        "www-authenticate",
        "location",
        "set-cookie",
        "retry-after",
    )
    """Fields of a refusal that the client gets."""
    subject: Source | None = None
    """Where its answer names the caller: `header.NAME`, or over gRPC `metadata.PATH` (its dynamic metadata)."""
    groups: Source | None = None
    """Where the caller's groups are, a list or text with commas."""
    scopes: Source | None = None
    """Where the caller's scopes are, a list or text with blanks."""
    context: Annotated[Mapping[str, str], Field(max_length=64)] = {}
    """Further `context_extensions` for a gRPC service."""
    body: Bytes = 0
    """Show a gRPC service messages up to this size, as JSON; larger ones and streams are never shown."""
    on_error: Literal["closed", "open"] = "closed"
    """What becomes of calls without a verdict: refused as UNAVAILABLE, or let through as nobody's (and logged)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.http is None) == (not self.grpc):
            raise PydanticCustomError("service", "{reason}", {"reason": "needs either http or grpc"})
        if self.http is not None and (self.tls or self.context or self.body):
            raise PydanticCustomError("service", "{reason}", {"reason": "tls, context and body are for grpc"})
        if self.ca is not None and not (self.tls or (self.http or "").startswith("https:")):
            raise PydanticCustomError("service", "{reason}", {"reason": "ca is for TLS: set tls, or write https"})
        named = (self.subject, self.groups, self.scopes)
        if self.http is not None and any(one is not None and one.startswith("metadata.") for one in named):
            raise PydanticCustomError("service", "{reason}", {"reason": "only gRPC services answer with metadata"})
        if self.subject is None and self.headers:
            raise PydanticCustomError("headers", "{reason}", {"reason": "headers need subject: who calls is not known"})
        return self


class ForwardAuth(Authentication):
    """Asks another service whether a call goes on, and who calls; over HTTP or as Envoy's external authorization."""

    kind: ClassVar[str] = "forward_auth"
    Settings: ClassVar[type[PolicySettings]] = ForwardAuthSettings

    def __init__(self, settings: ForwardAuthSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._taken = frozenset(twinless(name.encode()) for name in settings.take)
        self.written_headers = self.written_headers | self._taken
        self._judge: Judge
        self._telling = Seldom()
        self._unanswered = Count()

    def equip(self, tools: Tools) -> None:
        super().equip(tools)
        self._unanswered = tools.count("authorization_unanswered", UNANSWERED)
        settings = self._settings
        sent = None if settings.send is None else frozenset(name.encode() for name in settings.send)
        told = frozenset(name.encode() for name in settings.tell)
        if settings.http is not None:
            tls = tools.tls(settings.ca) if settings.ca is not None else None
            self._judge = HttpJudge(
                tools.fetcher, settings.http, sent=sent, told=told, timeout_s=settings.timeout, tls=tls
            )
            return
        from protogw.policies.forward_auth_grpc import GrpcJudge  # its messages, which few configs need

        addresses = [_split(address) for address in settings.grpc]
        target = tools.pool("grpc", addresses, tls=settings.tls, ca=settings.ca)
        self._judge = GrpcJudge(
            target, sent=sent, told=told, timeout_s=settings.timeout, context=settings.context, body=settings.body
        )

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("the authorization service does not know the caller")

    async def authenticate(self, call: Call) -> Identity | None:
        if self._settings.body and call.payload is not None:
            call.payload = call.payload.settled()
        try:
            verdict = await self._judge.ask(call)
        except Unanswered as error:
            self._unanswered.value += 1
            let_through = self._settings.on_error == "open"
            self._telling.unasked(self.name, "there is no verdict", error, let_through=let_through)
            if let_through:
                return None
            raise Overloaded("the authorization service cannot be asked") from error
        settings = self._settings
        if settings.subject is None:
            return verdict
        subject = _found(verdict, settings.subject)
        if not isinstance(subject, str) or not subject:
            raise Unauthenticated("the authorization service names no caller")
        return Vouched(
            subject=subject,
            scheme=self.kind,
            groups=_listed(_found(verdict, settings.groups), ","),
            scopes=_listed(_found(verdict, settings.scopes), None),
            claims=verdict.claims,
            fields=verdict.fields,
            removed=verdict.removed,
            told=verdict.told,
        )

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        return super().namespaces if self._settings.subject is not None else frozenset()

    @property
    def of_head(self) -> bool:
        return not self._settings.body

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        try:
            identity = await self.authenticate(call)
        except Unauthenticated:
            self._not_taken.value += 1
            raise
        if identity is None:
            return await forward(call)
        self.admit(call, identity)
        reply = await forward(call)
        if isinstance(identity, Vouched) and identity.told:
            reply.metadata = reply.metadata.adding(*identity.told)
        return reply

    def admit(self, call: Call, identity: Identity) -> None:
        if self._settings.subject is not None or call.identity is None:
            super().admit(call, identity)
        if isinstance(identity, Vouched):
            self._apply(call, identity)

    def _apply(self, call: Call, verdict: Vouched) -> None:
        """Write and remove the fields that the service says."""
        fields = [field for field in verdict.fields if twinless(field[0]) in self._taken]
        if not fields and not verdict.removed:
            return
        gone = verdict.removed | {name for name, _, added in fields if not added}
        kept = tuple(pair for pair in call.metadata.pairs if pair[0] not in gone)
        call.metadata = Metadata(kept + tuple((name, value) for name, value, _ in fields))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _found(verdict: Vouched, source: str | None) -> Any:
    """What the verdict says there; None without."""
    if source is None:
        return None
    kind, _, name = source.partition(".")
    if kind == "metadata":
        return claim(verdict.claims, name.split("."))
    wanted = name.lower().encode()
    return next((value.decode("utf-8", "replace") for key, value, _ in verdict.fields if key == wanted), None)


def _listed(value: Any, separator: str | None) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(part.strip() for part in value.split(separator) if part.strip())
    return texts(value)
