"""What a config says, typed: the models are the file's schema, its reference page and what assembly reads.

Kinds (what a listener offers, what an upstream speaks, what a policy is) come from tables that are handed in, so this
module names no protocol: `configured` builds the models whose keys are those kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    create_model,
)

from protogw.config.kinds import Kinds, field_name, has_options, options_key, settings_of, summary
from protogw.config.observing import AccessLog, Analytics, Metrics, Tracing
from protogw.config.routes import Route
from protogw.config.strict import LISTED, Strict
from protogw.config.tls import ListenerTls
from protogw.config.units import Address, AdminAddress, ListenAddress, Name, one_of
from protogw.config.upstreams import Endpoint, Health, Upstream
from protogw.consumers import ConsumersOrFile
from protogw.descriptors.numbers import LOCK
from protogw.frontends.base import Bounds
from protogw.net.limits import Limits
from protogw.values import Bytes, Network, Positive, Seconds

T = TypeVar("T", bound=BaseModel)


class ListenerLimits(Strict):
    """The bounds of a listener's connections and requests."""

    header_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 20)] = 64 << 10
    """A request's whole header section."""
    header_count: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Fields in a request's header section."""
    target_bytes: Annotated[Bytes, Field(ge=256, le=1 << 20)] = 16 << 10
    """A request's path and query."""
    body: Annotated[Bytes, Field(ge=1, le=1 << 40)] = 64 << 20
    """A whole request body where it must be held at once, and one message of a stream."""
    concurrent_streams: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Requests in flight on one HTTP/2 connection."""
    connections: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Connections open at once."""
    idle: Positive = 300.0
    """A connection without a request, or a stream without progress, ends after this."""
    header_timeout: Positive = 10.0
    """From a request's first byte to the end of its header section."""
    handshake_timeout: Positive = 10.0
    """A TLS handshake that takes longer is given up."""
    min_rate: Annotated[Bytes, Field(ge=0, le=1 << 30)] = 100
    """Bytes a second below which an unfinished request body counts as stalled."""
    stream_window: Annotated[Bytes, Field(ge=16 << 10, le=(1 << 31) - 1)] = 256 << 10
    """Request bytes buffered for one stream before its client must wait."""
    connection_window: Annotated[Bytes, Field(ge=64 << 10, le=(1 << 31) - 1)] = 1 << 20
    """Request bytes buffered for one connection before its client must wait."""
    write_buffer: Annotated[Bytes, Field(ge=16 << 10, le=1 << 30)] = 256 << 10
    """Answer bytes buffered for one connection before the writer must wait."""

    @property
    def net(self) -> Limits:
        """The same, as the network layer takes them."""
        return Limits(
            header_bytes=self.header_bytes,
            header_count=self.header_count,
            target_bytes=self.target_bytes,
            concurrent_streams=self.concurrent_streams,
            connections=self.connections,
            idle_s=self.idle,
            header_timeout_s=self.header_timeout,
            handshake_timeout_s=self.handshake_timeout,
            min_rate=self.min_rate,
            stream_window=self.stream_window,
            connection_window=self.connection_window,
            write_buffer=self.write_buffer,
        )

    @property
    def bounds(self) -> Bounds:
        """The same, as front ends take them."""
        return Bounds(body=self.body)


class Listener(Strict):
    """One address that clients connect to; every protocol that it offers shares it."""

    front_ends: ClassVar[Mapping[str, type[Any]]] = {}
    passthroughs: ClassVar[Mapping[str, type[Any]]] = {}

    address: ListenAddress
    """Where to listen. Port 0 lets the system choose a free one."""
    offer: tuple[str, ...] = ()
    """What is offered, in the order in which a request's protocol is tried. Default: everything there is."""
    tls: ListenerTls | None = None
    """Serve TLS; without it the listener speaks clear text."""
    trusted_proxies: Annotated[tuple[Network, ...], LISTED] = ()
    """Addresses of proxies before the gateway, as ranges: what they say in X-Forwarded-*, Forwarded or X-Real-IP of who
    asks is believed and added to. What anyone else says of itself there is replaced."""
    proxy_protocol: bool = False
    """Every connection begins with a PROXY header (version 1 or 2) that tells where it really comes from. Those of
    `trusted_proxies` are believed, connections from elsewhere are closed."""
    allow: Annotated[tuple[Network, ...], LISTED] = ()
    """The addresses that may connect, `10.0.0.0/8`. Default: all."""
    deny: Annotated[tuple[Network, ...], LISTED] = ()
    """Addresses that may not connect, whatever `allow` says."""
    limits: ListenerLimits = ListenerLimits()
    """Bounds that keep one client from harming others."""

    @property
    def raw(self) -> tuple[str, Any] | None:
        """The kind of passthrough that it is, with its settings; None when protocols are spoken."""
        for kind in self.passthroughs:
            settings = getattr(self, field_name(kind))
            if settings is not None:
                return kind, settings
        return None

    @property
    def offered(self) -> tuple[str, ...]:
        """The kinds of front end, in order."""
        return self.offer or tuple(self.front_ends)

    @property
    def settings(self) -> dict[str, BaseModel]:
        """Each offered front end's settings, written or default, in the order of the offer."""
        found: dict[str, BaseModel] = {}
        for kind in self.offered:
            written: BaseModel | None = getattr(self, field_name(kind))
            found[kind] = written if written is not None else settings_of(self.front_ends[kind])()
        return found


class Policy(Strict):
    """One step around a call, under the key that says which."""

    policies: ClassVar[Mapping[str, type[Any]]] = {}

    @property
    def kind(self) -> str:
        return next(kind for kind in self.policies if self._written(kind) is not None)

    @property
    def settings(self) -> BaseModel:
        found = self._written(self.kind)
        assert found is not None
        return found

    def _written(self, kind: str) -> BaseModel | None:
        found: BaseModel | None = getattr(self, field_name(kind))
        return found


class Config(Strict):
    """A gateway: where it listens, what is behind it, and the exceptions to what the schemas say."""

    listeners: Annotated[Mapping[Name, Listener], Field(min_length=1)]
    """Addresses that clients connect to, by name."""
    upstreams: Annotated[Mapping[Name, Upstream], Field(min_length=1)]
    """The services behind, by name. What their schemas describe is offered without further words."""
    policies: Mapping[Name, Policy] = {}
    """Steps around calls, by name; `use` attaches them."""
    consumers: ConsumersOrFile | None = None
    """Callers whom the gateway knows by name, whatever credential they show; or a YAML file of them, read again when it
    changes."""
    use: Annotated[tuple[str, ...], LISTED] = ()
    """The policies of every route that names none itself, outermost first."""
    routes: tuple[Route, ...] = ()
    """Exceptions to what the schemas say, and plain HTTP; of equal matches the first wins."""
    access_log: AccessLog = AccessLog()
    """One line per call."""
    metrics: Metrics = Metrics()
    """What is counted, served as `/metrics` on the admin address; `off` for nothing."""
    tracing: Tracing | None = None
    """Traces of calls, sent to an OpenTelemetry collector. Default: none."""
    analytics: Analytics | None = None
    """Calls by consumer and method, kept on the node. Default: none."""
    admin: AdminAddress = Address("127.0.0.1", 9901)
    """Where health, readiness and the state of the gateway are served; `off` for nowhere.
    Default: `127.0.0.1:9901`."""
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = 1
    """How many processes serve; `auto` for one for each processor. See workers.md for what they share."""
    drain: Seconds = 30.0
    """How long calls in flight may take to finish when the gateway is told to stop."""
    include: Annotated[tuple[str, ...], LISTED] = ()
    """Further files: their entries join this file's, their routes follow it."""

    _lock: Path | None = PrivateAttr(None)

    @property
    def lock(self) -> Path | None:
        """The file beside the config that keeps the field numbers of services without a proto."""
        return self._lock

    def lies_in(self, folder: Path) -> None:
        """The config was read from a file in this folder."""
        self._lock = folder / LOCK


def configured(kinds: Kinds) -> type[Config]:
    """The Config model whose keys are these kinds."""
    ends: dict[str, Any] = {
        kind: (settings_of(part) | None, Field(None, alias=kind, description=summary(part)))
        for kind, part in kinds.front_ends.items()
    }
    offered: Any = one_of(tuple(kinds.front_ends), "offered")
    ends["offer"] = _narrowed(Listener, "offer", Annotated[tuple[offered, ...], LISTED])
    listener: Any = _extended(Listener, ends | _raw(kinds, settings_of))
    listener.front_ends = kinds.front_ends
    listener.passthroughs = kinds.passthroughs

    spoken: dict[str, Any] = {
        kind: (_ENDPOINTS | None, Field(None, alias=kind, description=summary(part)))
        for kind, part in kinds.translators.items()
    }
    spoken |= {
        options_key(kind): (
            settings_of(part) | None,
            Field(None, alias=options_key(kind), description=f"How an upstream that speaks {kind} is spoken to."),
        )
        for kind, part in kinds.translators.items()
        if has_options(part)
    }
    health: Any = _extended(
        Health,
        {
            kind: (settings_of(part) | None, Field(None, alias=kind, description=summary(part)))
            for kind, part in kinds.probes.items()
        },
    )
    health.probes = kinds.probes
    spoken["health"] = (health, Field(health(), description=Upstream.model_fields["health"].description))
    spoken["balance"] = _narrowed(Upstream, "balance", one_of(tuple(kinds.balancers), "a balancer"))
    upstream: Any = _extended(Upstream, spoken | _raw(kinds, lambda _: _ENDPOINTS))
    upstream.translators = kinds.translators
    upstream.passthroughs = kinds.passthroughs

    steps: dict[str, Any] = {
        kind: (settings_of(part) | None, Field(None, alias=kind, description=summary(part)))
        for kind, part in kinds.policies.items()
    }
    policy: Any = _extended(Policy, steps)
    policy.policies = kinds.policies

    offers: dict[str, Any] = {
        kind: (part.RouteSettings | None, Field(None, alias=kind, description=summary(part.RouteSettings)))
        for kind, part in kinds.front_ends.items()
        if hasattr(part, "RouteSettings")
    }
    route: Any = _extended(Route, offers)
    route.front_ends = tuple(offers)

    return _extended(
        Config,
        {
            "routes": _narrowed(Config, "routes", tuple[route, ...]),
            "listeners": _narrowed(Config, "listeners", Mapping[Name, listener]),
            "upstreams": _narrowed(Config, "upstreams", Mapping[Name, upstream]),
            "policies": _narrowed(Config, "policies", Mapping[Name, policy]),
        },
    )


def _raw(kinds: Kinds, annotation: Callable[[type[Any]], Any]) -> dict[str, Any]:
    """A field for each passthrough."""
    return {
        kind: (annotation(part) | None, Field(None, alias=kind, description=summary(part)))
        for kind, part in kinds.passthroughs.items()
    }


_ENDPOINTS: Any = Annotated[tuple[Endpoint, ...], LISTED, Field(min_length=1)]


def _narrowed(model: type[BaseModel], name: str, annotation: Any) -> Any:
    """A field of the base model with another type."""
    known = model.model_fields[name]
    changed = copy(known)
    changed.annotation = annotation
    return (annotation, changed)


def _extended(model: type[T], fields: Mapping[str, Any]) -> type[T]:
    """The base model with further fields, under the base's own name; a kind's field is `kind_` and the kind."""
    named: dict[str, Any] = {
        name if name in model.model_fields else field_name(name): definition for name, definition in fields.items()
    }
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **named)
