"""Config → what finds the addresses that it does not list. Part of the assembly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protogw.config import Config, Upstream
from protogw.config.upstreams import Endpoint
from protogw.discovery.base import Address
from protogw.discovery.following import Following, Part
from protogw.gateway import Gateway


def listed(upstream: Upstream) -> list[Address]:
    """The addresses that the config lists; none when all are found."""
    return [
        _address(endpoint, endpoint.address.host, endpoint.address.port)
        for endpoint in upstream.endpoints
        if endpoint.target.found_by is None
    ]


def follow(gateway: Gateway, config: Config) -> None:
    """Have the pools and raw endpoints follow what finds their addresses."""
    for name, upstream in config.upstreams.items():
        parts = [
            Part(f"upstreams.{name}: {endpoint.target}", found_by, _address(endpoint, "", 0), upstream.discovery)
            for endpoint in upstream.endpoints
            if (found_by := endpoint.target.found_by) is not None
        ]
        if not parts:
            continue
        update: Callable[[Sequence[Address]], None] = (
            gateway.endpoints[name].update if upstream.raw else gateway.pools[name].update
        )
        gateway.followings[name] = Following(name, listed(upstream), parts, update, upstream.discovery.timeout)


def _address(endpoint: Endpoint, host: str, port: int) -> Address:
    return Address(host=host, port=port, weight=endpoint.weight, priority=endpoint.priority, zone=endpoint.zone)
