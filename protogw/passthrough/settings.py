"""What a raw listener's settings say; a mere upstream's name stands for the mapping with everything else by default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from protogw.values import Bytes, OrText, Positive, refuse

_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\Z")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def parse_server_name(value: object) -> str:
    """A host name as TLS clients send it, or `*.` and the end of one."""
    if not isinstance(value, str):
        refuse("is not a host name: write a.example or *.a.example")
    name = value.lower()
    if name == "*":
        refuse("is not a host name: `default` names the upstream of all others")
    if len(name) > 253 or not _NAME.match(name):
        refuse("is not a host name: write a.example or *.a.example (names outside ASCII in their xn-- form)")
    return name


ServerName = Annotated[str, BeforeValidator(parse_server_name), WithJsonSchema({"type": "string"})]
UpstreamName = Annotated[str, Field(min_length=1, max_length=100)]


class TcpLimits(_Settings):
    """The bounds of a raw listener's connections."""

    connections: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Connections open at once."""
    connections_per_source: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Connections open at once from one address."""
    idle: Positive = 3600.0
    """A connection on which nothing moves ends after this."""
    lifetime: Positive | None = None
    """A connection ends after this, whatever moves on it. Default: none."""
    handshake: Positive = 10.0
    """What comes first (a PROXY header, the name in a ClientHello, a TLS handshake) may take this long in all."""


class TcpSettings(OrText, _Settings):
    """Where connections go: `to` one upstream, or by the name in `sni`."""

    text_for = "to"

    to: UpstreamName | None = None
    """The upstream of every connection."""
    sni: Annotated[Mapping[ServerName, UpstreamName], Field(min_length=1)] | None = None
    """Upstreams by the name that TLS clients ask for: exact, or `*.` and its end. TLS is not terminated."""
    default: UpstreamName | None = None
    """With `sni`: the upstream of clients that ask for another name or none, or speak no TLS. Default: none, they are
    refused."""
    limits: TcpLimits = TcpLimits()
    """Bounds that keep one client from harming others."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.to is None) == (self.sni is None):
            reason = "names no upstream: write to or sni" if self.to is None else "has to and sni: one of them"
            raise PydanticCustomError("tcp", "{reason}", {"reason": reason})
        if self.default is not None and self.sni is None:
            raise PydanticCustomError("tcp", "default goes with sni: without it every connection goes to one upstream")
        return self


class UdpLimits(_Settings):
    """The bounds of a raw listener's sessions."""

    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Sessions at once; a datagram that would begin one more is dropped."""
    sessions_per_source: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Sessions at once from one address."""
    idle: Positive = 60.0
    """A session without a datagram in either direction ends after this."""
    datagram: Annotated[Bytes, Field(ge=1, le=65_507)] = 65_507
    """A datagram's bytes, in either direction; a larger one is dropped."""


class UdpSettings(OrText, _Settings):
    """Where datagrams go: those of one client address and port to one endpoint, as long as the session lasts."""

    text_for = "to"

    to: UpstreamName
    """The upstream of every session."""
    limits: UdpLimits = UdpLimits()
    """Bounds that keep one client from harming others."""
