"""Documents of what a gateway offers, out of its front ends: for `print-schema` and for the admin address."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from protogw.assembly import json_options
from protogw.commands.terminal import CommandFailed
from protogw.config import Config
from protogw.descriptors.about import About, Document, Documented
from protogw.gateway import Gateway
from protogw.wire.protojson import JsonOptions
from protogw.words import hint


def describe(
    gateway: Gateway,
    config: Config,
    kind: str,
    *,
    listener: str | None = None,
    services: Collection[str] = (),
    servers: tuple[str, ...] = (),
    title: str | None = None,
    version: str | None = None,
) -> Document:
    """The document of this kind of what a listener offers: by default the first that offers something of the kind.

    Without `services` it is about all but the gateway's own. Raises CommandFailed when there is no such document.
    """
    if listener is not None and listener not in gateway.doors:
        raise CommandFailed(f"{listener}: no such listener{hint(listener, gateway.doors)}")
    for name in [listener] if listener is not None else gateway.doors:
        for front_end in gateway.doors[name].front_ends:
            if isinstance(front_end, Documented) and front_end.documents == kind:
                chosen = selected(gateway, services)
                about = About(
                    title=title or _title(chosen),
                    version=version or _version(gateway, chosen),
                    servers=servers or _servers(config, name),
                    json=_options(gateway, config),
                    services=frozenset(chosen),
                )
                return front_end.document(about)
    where = f"listener {listener} offers" if listener is not None else "no listener offers"
    raise CommandFailed(f"{where} {'nothing' if listener is not None else 'anything'} that {kind} describes")


def selected(gateway: Gateway, services: Collection[str]) -> list[str]:
    """The services that are meant: those named, or all that some upstream describes."""
    offering = gateway.offering
    assert offering is not None
    known = gateway.catalog.services
    if not services:
        return [name for name in known if name in offering.owners]
    for name in services:
        if name not in known:
            raise CommandFailed(f"{name}: no such service{hint(name, known)}")
    return [name for name in known if name in services]


def _options(gateway: Gateway, config: Config) -> dict[str, JsonOptions]:
    offering = gateway.offering
    assert offering is not None
    return {service: json_options(config.upstreams[name]) for service, name in offering.owners.items()}


def _servers(config: Config, name: str) -> tuple[str, ...]:
    """Where the listener is; nothing when it listens everywhere or on a port that is not known yet."""
    listener = config.listeners[name]
    address = listener.address
    if address.wildcard or not address.port:
        return ()
    return (f"{'https' if listener.tls is not None else 'http'}://{address}",)


def _title(services: Collection[str]) -> str:
    names = [name.rpartition(".")[2] for name in services]
    return ", ".join(names) if 0 < len(names) <= 3 else "The gateway's services"


def _version(gateway: Gateway, services: Collection[str]) -> str:
    """Changes with what is described: the schemas, and the bindings that the config adds."""
    catalog = gateway.catalog
    said = [
        f"{catalog.schemas[name].digest} {method.full_name} {method.http}"
        for name in services
        for method in catalog.services[name].methods.values()
    ]
    return hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()[:12]
