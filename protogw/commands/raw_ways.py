"""What `routes` and `explain` say of listeners that pass connections through: read from the config alone."""

from __future__ import annotations

from typing import Any

from protogw.assembly import KINDS
from protogw.commands.terminal import CommandFailed
from protogw.config import Config
from protogw.config.kinds import summary
from protogw.config.model import Listener
from protogw.passthrough.names import Names
from protogw.values import format_duration
from protogw.words import hint


def raw_rows(config: Config) -> list[dict[str, Any]]:
    """A row for each way through a raw listener."""
    rows = []
    for name, listener in config.listeners.items():
        if listener.raw is None:
            continue
        kind, settings = listener.raw
        for what, upstream in KINDS.passthroughs[kind].ways(settings):
            rows.append(
                {
                    "method": None,
                    "shape": kind,
                    "rest": [],
                    "path": f"{listener.address} {what}".rstrip(),
                    "names": {},
                    "upstream": upstream,
                    "policies": [],
                    "route": f"listeners.{name}",
                }
            )
    return rows


def raw_way(config: Config, request: str) -> dict[str, Any] | None:
    """The way of `tcp LISTENER [SERVER NAME]`; None when the request is not of that form."""
    kind, _, rest = request.partition(" ")
    if kind not in KINDS.passthroughs:
        return None
    name, _, server_name = rest.strip().partition(" ")
    server_name = server_name.strip().lower()
    listeners = {name: one for name, one in config.listeners.items() if one.raw is not None and one.raw[0] == kind}
    listener = listeners.get(name)
    if listener is None:
        raise CommandFailed(f"no listener with the name {name!r} passes {kind} through{hint(name, listeners)}")
    assert listener.raw is not None
    settings = listener.raw[1]
    ways = dict(KINDS.passthroughs[kind].ways(settings))
    way: dict[str, Any] = {
        "request": request,
        "listener": f"{name} ({listener.address})",
        "passthrough": f"{kind}: {summary(KINDS.passthroughs[kind])}",
        "sources": _sources(listener),
        "first": _first(listener, None if "" in ways else server_name),
    }
    upstream = ways.get("") or Names({what: to for what, to in ways.items() if what}).find(server_name)
    upstream = upstream or ways.get("otherwise")
    if upstream is None:
        way["refused"] = f"nobody has the name {server_name}" if server_name else "the client names no server"
        return way
    found = config.upstreams[upstream]
    addresses = ", ".join(str(endpoint.target) for endpoint in found.endpoints)
    way["endpoints"] = f"{upstream}: {found.balance} over {addresses}"
    if found.secure is not None:
        way["towards it"] = "TLS is begun"
    if found.proxy_protocol is not None:
        way["told first"] = f"a PROXY header, {found.proxy_protocol}"
    limits = settings.limits
    way["ends"] = f"after {format_duration(limits.idle)} without a byte"
    if getattr(limits, "lifetime", None) is not None:
        way["ends"] += f", or {format_duration(limits.lifetime)} in all"
    return way


def _sources(listener: Listener) -> str:
    allowed = ", ".join(map(str, listener.allow)) or "everybody"
    denied = f" but {', '.join(map(str, listener.deny))}" if listener.deny else ""
    return allowed + denied


def _first(listener: Listener, server_name: str | None) -> str:
    """What is read before a connection is carried; no name is looked for when it is None."""
    steps = []
    if listener.proxy_protocol:
        steps.append(f"a PROXY header from {', '.join(map(str, listener.trusted_proxies))}")
    if listener.tls is not None:
        steps.append("TLS is ended")
    if server_name is not None:
        steps.append(f"a ClientHello that {f'asks for {server_name}' if server_name else 'names no server'}")
    return ", then ".join(steps) or "nothing"
