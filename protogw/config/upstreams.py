"""What a config says of a service: its addresses, its schema, and how its addresses are balanced and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from protogw.call import PATIENCE_S
from protogw.config.kinds import default_schema, field_name, has_options, options_key, settings_of
from protogw.config.sources import LIVE, SchemaSource
from protogw.config.strict import LISTED, TRUTH, Strict
from protogw.config.tls import UpstreamTls
from protogw.config.units import Address, TargetAddress
from protogw.discovery.base import Reference
from protogw.discovery.settings import DiscoverySettings
from protogw.expressions import ExpressionText
from protogw.paths import Folder
from protogw.pools.settings import BreakerSettings, OutlierSettings, PoolLimits, StickySettings
from protogw.values import Percent, Positive, Seconds


class Endpoint(Strict):
    """One address of an upstream: written as text, or as a mapping when it has a weight."""

    target: Annotated[TargetAddress, Field(alias="address")]
    """`host:port`, or `http://host:port`, `https://host:port`, with a path where the kind takes one. Or what finds
    addresses: `dns:host:port`, `srv:_grpc._tcp.domain`, `file:endpoints.yaml`, `consul://host:8500/service`,
    `kubernetes://namespace/service:port`."""
    weight: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Its share beside the other addresses'."""
    priority: Annotated[int, Field(ge=0, le=100)] = 0
    """Addresses of a higher number are used when too few of the lower ones are ready."""
    zone: Annotated[str, Field(max_length=100)] = ""
    """Where it is; see the upstream's `zone`."""

    @property
    def address(self) -> Address:
        return self.target.address

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"address": value} if isinstance(value, (str, int)) and not isinstance(value, bool) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string", "examples": ["127.0.0.1:50051"]}, written]}


class JsonOptions(Strict):
    """How this upstream's messages are written as JSON, and read from it."""

    unknown_fields: Literal["reject", "ignore"] = "reject"
    """What a JSON request with a field that the message does not have gets."""
    emit_defaults: bool = False
    """Write fields that have their default value."""
    enums: Literal["name", "number"] = "name"
    """Write enum values by name or by number; both are read."""
    names: Literal["json", "proto"] = "json"
    """Write fields as lowerCamelCase or as in the proto file; both are read."""


class Health(Strict):
    """How endpoints that are not well are found and left out."""

    probes: ClassVar[Mapping[str, type[Any]]] = {}

    outlier: Annotated[OutlierSettings | None, TRUTH] = None
    """Take endpoints out for a while whose calls fail; `true` for the defaults."""
    panic: Percent = 50.0
    """With fewer endpoints well than this share, all that take connections are used: the check is likelier wrong."""

    @property
    def probe(self) -> tuple[str, BaseModel] | None:
        """The kind of the check, if there is one, and its settings."""
        for kind in self.probes:
            written: BaseModel | None = getattr(self, field_name(kind))
            if written is not None:
                return kind, written
        return None


class Upstream(Strict):
    """A service and its equal addresses, under the key that says what it speaks."""

    translators: ClassVar[Mapping[str, type[Any]]] = {}
    passthroughs: ClassVar[Mapping[str, type[Any]]] = {}

    schema_written: Annotated[tuple[SchemaSource, ...] | None, LISTED, Field(alias="schema")] = None
    """Where its services are described: `reflection` or `introspection`, a `.proto` file, a folder, a descriptor set,
    an OpenAPI document, or a list."""
    offer: bool = True
    """Offer what its schema describes; `false` for a version that only routes lead to (`to`, `mirror`, `shadow`)."""
    include: Annotated[tuple[Folder, ...], LISTED] = ()
    """Folders in which a `.proto` file's imports are looked up, besides its own."""
    tls: Annotated[UpstreamTls | None, TRUTH] = None
    """Speak TLS to it; `true` for the system's authorities. An `https://` address does so by itself."""
    balance: str = "round_robin"
    """How an address is chosen for each call."""
    affinity: ExpressionText | None = None
    """What calls of the same address have in common, for balancers that go by a key: `header.x-user`."""
    sticky: StickySettings | None = None
    """Give each client a cookie for its address, so that it comes to that again."""
    health: Health = Health()
    """How addresses that are not well are found and left out."""
    breaker: Annotated[BreakerSettings | None, TRUTH] = None
    """Send an address no calls of a method for a while once they fail there; `true` for the defaults."""
    limits: PoolLimits = PoolLimits()
    """What it is given at once; more is refused."""
    slow_start: Seconds = 0.0
    """An address that is new or back works up to its whole share within this time."""
    zone: Annotated[str, Field(max_length=100)] = ""
    """Where this gateway is: addresses of the same zone serve alone while at least half of them are ready."""
    connection_max_age: Seconds = 0.0
    """Connections close after this, once their calls have ended, so that load spreads anew; 0 for never."""
    patience: Seconds = PATIENCE_S
    """A client's own deadline speaks against an address, when it passes, only if it left it this long: or one client's
    millisecond would take it from all others."""
    json_options: Annotated[JsonOptions, Field(alias="json")] = JsonOptions()
    """How its messages are written as JSON."""
    discovery: DiscoverySettings = DiscoverySettings()
    """How addresses are found that are not listed."""
    connect_timeout: Positive = 5.0
    """How long one connection may take to be ready, TLS included."""
    proxy_protocol: Literal["v1", "v2"] | None = None
    """Tell it where a raw connection comes from, in a PROXY header of this version."""
    authority: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:\[\]-]+$")] | None = None
    """The host that the service is told; the address itself by default."""

    @property
    def kind(self) -> str:
        """What it speaks."""
        kinds = (*self.translators, *self.passthroughs)
        return next(kind for kind in kinds if self._written(kind) is not None)

    @property
    def raw(self) -> bool:
        """Connections are passed through to it; it has no part in calls."""
        return self.kind in self.passthroughs

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._written(self.kind) or ()

    @property
    def found_by(self) -> Reference | None:
        """What finds its addresses, the first of such; None where all are listed."""
        return next((one.target.found_by for one in self.endpoints if one.target.found_by is not None), None)

    @property
    def called(self) -> str:
        """The host that the service is told."""
        if self.authority is not None:
            return self.authority
        first = self.endpoints[0].target
        return str(first.address) if first.found_by is None else first.found_by.authority

    @property
    def server_name(self) -> str | None:
        """The name that its certificate must have; None for the host that is connected to."""
        if self.secure is None:
            return None
        if self.secure.server_name is not None or self.found_by is None:
            return self.secure.server_name
        return self.found_by.server_name

    @property
    def path(self) -> str:
        """The path of its addresses, as it is written."""
        return self.endpoints[0].target.path

    @property
    def options(self) -> BaseModel | None:
        """Its kind's settings, written or default; None for a kind that has none."""
        part = self.translators[self.kind]
        if not has_options(part):
            return None
        written: BaseModel | None = getattr(self, field_name(options_key(self.kind)))
        return written if written is not None else settings_of(part)()

    @property
    def secure(self) -> UpstreamTls | None:
        """The TLS settings to connect with, or None for clear text."""
        if self.tls is not None:
            return self.tls
        return UpstreamTls() if any(endpoint.target.secure for endpoint in self.endpoints) else None

    @property
    def schemas(self) -> tuple[SchemaSource, ...]:
        """Where its services are described; empty for an upstream that has no schema."""
        if self.schema_written is not None:
            return self.schema_written
        if self.raw:
            return ()
        live = LIVE.get(default_schema(self.translators[self.kind]))
        return () if live is None else (live,)

    @property
    def live(self) -> SchemaSource | None:
        """How the service is asked to describe itself, if it is."""
        return next((source for source in self.schemas if source.path is None), None)

    def _written(self, kind: str) -> tuple[Endpoint, ...] | None:
        found: tuple[Endpoint, ...] | None = getattr(self, field_name(kind))
        return found
