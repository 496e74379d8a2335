"""What a config may say of how an upstream's addresses are found."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.paths import ReadableFile
from protogw.values import LISTED, Network, Positive, parse_network, refuse

Resolver = tuple[str, int]


def parse_resolver(value: object) -> Resolver:
    """The address of a DNS server: `10.0.0.53`, `10.0.0.53:5353`, `[::1]:53`."""
    if not isinstance(value, str):
        refuse("is not the address of a DNS server: write 10.0.0.53 or 10.0.0.53:5353")
    host, port = value, "53"
    if value.startswith("[") and "]" in value:
        host, _, rest = value[1:].partition("]")
        port = rest.removeprefix(":") if rest else "53"
    elif value.count(":") == 1:
        host, _, port = value.partition(":")
    network = parse_network(host)
    if network.num_addresses != 1 or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        refuse("is not the address of a DNS server: write 10.0.0.53 or 10.0.0.53:5353")
    return str(network.network_address), int(port)


class DiscoverySettings(BaseModel):
    """How the addresses of `dns:`, `srv:`, `file:`, `consul:` and `kubernetes:` are found, and which are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    resolvers: Annotated[
        tuple[
            Annotated[
                Resolver,
                PlainValidator(parse_resolver),
                WithJsonSchema({"type": "string", "examples": ["10.0.0.53", "10.0.0.53:5353"]}),
            ],
            ...,
        ],
        LISTED,
        Field(max_length=8),
    ] = ()
    """The DNS servers to ask. Default: those of /etc/resolv.conf."""
    family: Literal["any", "ipv4", "ipv6"] = "any"
    """Which addresses DNS is asked for."""
    min_ttl: Positive = 1.0
    """DNS answers are kept at least this long, whatever they say."""
    max_ttl: Positive = 300.0
    """DNS answers are kept no longer than this, whatever they say."""
    timeout: Positive = 5.0
    """How long one look-up may take; the start waits no longer than this for the first."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """The most addresses that are taken, the first in their order."""
    refuse: Annotated[tuple[Network, ...], LISTED] | None = None
    """Addresses that are never taken, whoever names them. Default: loopback, link-local and multicast addresses, but
    for those that a file names."""
    token: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """What Consul or Kubernetes is shown: best as `${NAME}` or `file:PATH`. Default for Kubernetes: that of the pod."""
    ca: ReadableFile | None = None
    """The authority whose certificates Consul or Kubernetes has. Default: the system's; for Kubernetes that of the
    pod."""
    server: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9_.:\[\]-]+$", max_length=300)] | None = None
    """The address of Kubernetes' API, `https://10.0.0.1:6443`. Default: where a pod finds it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_ttl > self.max_ttl:
            raise PydanticCustomError("ttl", "{reason}", {"reason": "min_ttl is longer than max_ttl"})
        return self
