"""Small tables of kinds for tests of the configuration, which knows no protocol itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from protogw.config import Kinds
from protogw.passthrough import PASSTHROUGHS
from protogw.values import Seconds


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RestSettings(Settings):
    errors: Literal["google", "aip193", "problem"] = "google"
    """The form of an error's body."""
    unknown_query: Literal["error", "ignore"] = "error"


class ToRestSettings(Settings):
    names: Literal["json", "proto"] = "json"
    """How query parameters are written."""


class CorsSettings(Settings):
    origins: tuple[str, ...]
    credentials: bool = False


class Rest:
    """HTTP and JSON by annotations."""

    kind = "rest"
    Settings = RestSettings


class Grpc:
    """gRPC and gRPC-Web."""

    kind = "grpc"
    Settings = Settings


class ToGrpc:
    """gRPC services."""

    kind = "grpc"
    default_schema: ClassVar[str] = "reflection"
    transport: ClassVar[str] = "http/2"


class ToRest:
    """REST services."""

    kind = "rest"
    default_schema: ClassVar[str] = ""
    transport: ClassVar[str] = "http/1.1"
    takes_path: ClassVar[bool] = True
    Settings = ToRestSettings


class ToHttp:
    """Plain HTTP."""

    kind = "http"
    default_schema: ClassVar[str] = "none"
    transport: ClassVar[str] = "http/1.1"


class Cors:
    """Cross-origin requests of browsers."""

    kind = "cors"
    Settings = CorsSettings


class RoundRobin:
    """Each in turn."""

    kind = "round_robin"


class LeastRequest:
    """The one with the fewest requests in flight."""

    kind = "least_request"


class LeastConnections:
    """The one with the fewest connections."""

    kind = "least_connections"


class RingHash:
    """By the affinity key."""

    kind = "ring_hash"
    keyed = True


class ProbeSettings(Settings):
    interval: Seconds = 10.0
    """From one question to the next."""


class GrpcProbe:
    """Asks by grpc.health.v1."""

    kind = "grpc"
    Settings = ProbeSettings
    transports = ("http/2",)


class HttpProbe:
    """Asks by a GET."""

    kind = "http"
    Settings = ProbeSettings
    transports = ("http/1.1",)


class TcpProbe:
    """Connects."""

    kind = "tcp"
    Settings = ProbeSettings
    transports = ("http/1.1", "http/2")


KINDS = Kinds(
    front_ends={"rest": Rest, "grpc": Grpc},
    translators={"grpc": ToGrpc, "rest": ToRest, "http": ToHttp},
    passthroughs=PASSTHROUGHS,
    policies={"cors": Cors},
    balancers={
        "round_robin": RoundRobin,
        "least_request": LeastRequest,
        "least_connections": LeastConnections,
        "ring_hash": RingHash,
    },
    probes={"grpc": GrpcProbe, "http": HttpProbe, "tcp": TcpProbe},
)
