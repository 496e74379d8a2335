"""Config → what is passed through: the raw upstreams, and the listeners in front of them. Part of the assembly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from protogw.assembly_discovery import listed
from protogw.balancers import BALANCERS
from protogw.config import Config, Upstream
from protogw.config.model import Listener as ConfigListener
from protogw.gateway import Gateway
from protogw.net.sources import Sources
from protogw.net.tls import client_context, server_context
from protogw.passthrough import PASSTHROUGHS
from protogw.passthrough.base import Recorder
from protogw.passthrough.endpoints import Endpoints
from protogw.passthrough.service import Introduction, Service
from protogw.wire.proxy_protocol import write_v1, write_v2

_INTRODUCTIONS: Mapping[str, Introduction] = {
    "v1": lambda source, destination, _: write_v1(source, destination),
    "v2": lambda source, destination, name: write_v2(source, destination, authority=name),
}


def build_raw(gateway: Gateway, config: Config, recorder: Recorder | None, *, reuse_port: bool) -> None:
    """Add the raw upstreams and listeners to the gateway."""
    services = {name: _service(name, upstream) for name, upstream in config.upstreams.items() if upstream.raw}
    gateway.endpoints = {name: service.endpoints for name, service in services.items()}
    for name, listener in config.listeners.items():
        raw = listener.raw
        if raw is None:
            continue
        kind, settings = raw
        part: Any = PASSTHROUGHS[kind]
        if listener.tls is not None:
            tls = listener.tls
            context = server_context(
                tls.cert, tls.key, tls.client_ca, tls.min_version, transport="raw", client_cert=tls.client_cert
            )
            part = partial(part, tls=context)
        made = part(
            name,
            listener.address.host,
            listener.address.port,
            settings,
            services,
            sources=sources_of(listener),
            recorder=recorder,
            reuse_port=reuse_port,
        )
        gateway.listeners[name] = gateway.passthroughs[name] = made


def sources_of(listener: ConfigListener) -> Sources:
    """Who may connect to a listener."""
    return Sources(listener.allow, listener.deny, listener.trusted_proxies if listener.proxy_protocol else ())


def _service(name: str, upstream: Upstream) -> Service:
    secure = upstream.secure
    return Service(
        endpoints=Endpoints(name, upstream.kind, listed(upstream), BALANCERS[upstream.balance]()),
        connect_timeout_s=upstream.connect_timeout,
        tls=client_context(secure.ca, secure.cert, secure.key, verify=secure.verify, transport="raw")
        if secure is not None
        else None,
        server_name=upstream.server_name,
        introduction=_INTRODUCTIONS[upstream.proxy_protocol] if upstream.proxy_protocol is not None else None,
    )
