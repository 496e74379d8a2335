"""Config → Gateway: every choice that depends only on the config is made here. The only module that names the
translators' package."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any, cast

from protogw_translators import TRANSLATORS

from protogw.assembly_discovery import follow, listed
from protogw.assembly_raw import build_raw, sources_of
from protogw.balancers import BALANCERS
from protogw.builtin import Builtin
from protogw.config import Config, Kinds, Upstream
from protogw.config.kinds import takes_path
from protogw.consumers import Consumers
from protogw.descriptors import numbers as lock
from protogw.descriptors.model import Schema
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.read import LIVE, Fetch, read
from protogw.discovery.base import Address
from protogw.fetching import Fetcher
from protogw.frontends import FRONT_ENDS
from protogw.frontends.base import Handler, Spelled
from protogw.gateway import Door, Gateway
from protogw.net.http1_client import Http1Connector
from protogw.net.http2_client import Http2Connector
from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.net.tls import client_context, server_context
from protogw.observe.recorders import Recorder
from protogw.offering import AssemblyError, Offering
from protogw.passthrough import PASSTHROUGHS
from protogw.policies import POLICIES
from protogw.policies.base import Equipped, OriginPolicy, Purged, ReadsQuery, Shown, Started, Target
from protogw.policies.identity_headers import Stripped, clashes, written_by
from protogw.policies.tools import PolicyTools
from protogw.pools.base import Connector
from protogw.pools.pool import Pool
from protogw.pools.settings import BalancingSettings
from protogw.pools.sticky import StickyPool
from protogw.probes import PROBES
from protogw.probes.base import ProbeSettings
from protogw.stores.base import CounterStore
from protogw.stores.registry import Stores
from protogw.translator import Translator
from protogw.wire.forwarded import Proxies
from protogw.wire.protojson import JsonOptions
from protogw.words import hint, quoted

KINDS = Kinds(
    front_ends=FRONT_ENDS,
    translators=TRANSLATORS,
    passthroughs=PASSTHROUGHS,
    policies=POLICIES,
    balancers=BALANCERS,
    probes=PROBES,
)
"""What a config may name."""

_CONNECTORS: Mapping[str, tuple[type[Any], int, bool]] = {
    "http/2": (Http2Connector, 16, True),
    "http/1.1": (Http1Connector, 1024, False),
}
"""By a translator's transport: what connects, how many connections an endpoint has at most, and whether many calls
share one."""

_SPELLINGS = {kind: found.spelling for kind, found in FRONT_ENDS.items() if isinstance(found, Spelled)}
"""What clients call fields, by the kind of the front end."""

_PRIVATE_LIMIT = 1 << 20
"""The largest answer that a policy's own service may give."""

__all__ = ["KINDS", "AssemblyError", "asking", "build", "load_numbers", "load_schema"]


def load_numbers(config: Config) -> Numbers:
    """The field numbers that the file beside the config keeps; raises SchemaError when it cannot be read."""
    return lock.load(config.lock) if config.lock is not None else Numbers()


def load_schema(name: str, upstream: Upstream, numbers: Numbers) -> Schema | None:
    """The schema that the upstream's files describe; None when it describes itself, or has none.

    Raises SchemaError with every fault of the files.
    """
    paths: list[Path] = [source.path for source in upstream.schemas if source.path is not None]
    if not paths:
        return None
    options = json_options(upstream)
    return read(
        paths, includes=upstream.include, upstream=name, numbers=numbers, options=options, settings=upstream.options
    )


def asking(name: str, upstream: Upstream, numbers: Numbers) -> Fetch | None:
    """What asks the service to describe itself; None when its config says where it is described."""
    live = upstream.live
    return None if live is None else LIVE[live.kind.value](name, numbers, json_options(upstream), upstream.options)


def json_options(upstream: Upstream) -> JsonOptions:
    written = upstream.json_options
    return JsonOptions(
        unknown_fields="ignore" if written.unknown_fields == "ignore" else "error",
        emit_defaults=written.emit_defaults,
        enums=written.enums,
        names=written.names,
    )


def build(
    config: Config,
    *,
    recorder: Recorder | None = None,
    around: Callable[[Handler], Handler] | None = None,
    over: Callable[[Target], Target] | None = None,
    schemas: Mapping[str, Schema] | None = None,
    numbers: Numbers | None = None,
    played: Callable[[str], tuple[Translator, Connector]] | None = None,
    counters: CounterStore | None = None,
    reuse_port: bool = False,
) -> Gateway:
    """The gateway that this config describes, not yet started; call it inside the running loop that will run it.

    `recorder` learns of every request; `around` puts what watches calls around what handles them, `over` around the
    upstreams that they go to. `schemas` are those already read, by upstream, with these `numbers`; `played` says what
    stands for the connections of an upstream, in tests. With `reuse_port` other processes listen on the same addresses,
    and share these `counters`. Raises AssemblyError or SchemaError with every
    fault.
    """
    if numbers is None:
        numbers = load_numbers(config)
    pools = {
        name: _pool(name, upstream, config, played) for name, upstream in config.upstreams.items() if not upstream.raw
    }
    gateway = Gateway(pools)
    targets: dict[str, Target] = {name: over(pool) if over is not None else pool for name, pool in pools.items()}
    gateway.policies = policies = _policies(config)
    builtin = Builtin()
    _equip(gateway, policies, config, counters, targets, builtin.changed)
    if faults := clashes(policies):
        raise AssemblyError(*faults)
    names = written_by(policies.values())
    for pool in pools.values():
        pool.guard(names)
    offering = Offering(gateway, config, policies, targets, builtin, builtin.schema, numbers, Stripped(names))
    gateway.offering = offering
    origins = _origins(config.use, policies)
    hidden = frozenset(
        name for policy in policies.values() if isinstance(policy, ReadsQuery) for name in policy.query_names
    ).union(
        route.override.query.encode()
        for route in config.routes
        if route.override is not None and route.override.query is not None
    )
    build_raw(gateway, config, recorder, reuse_port=reuse_port)
    follow(gateway, config)
    handle = around(gateway.handle) if around is not None else gateway.handle
    for name, listener in config.listeners.items():
        if listener.raw is not None:
            continue
        bounds = replace(listener.limits.bounds, hidden_query=hidden)
        front_ends = [FRONT_ENDS[kind](settings, bounds) for kind, settings in listener.settings.items()]
        proxies = Proxies(listener.trusted_proxies) if listener.trusted_proxies else None
        door = Door(gateway, front_ends, origins, recorder, proxies, handle)
        gateway.doors[name] = door
        tls = listener.tls
        context = (
            server_context(tls.cert, tls.key, tls.client_ca, tls.min_version, client_cert=tls.client_cert)
            if tls is not None
            else None
        )
        gateway.listeners[name] = Listener(
            name,
            listener.address.host,
            listener.address.port,
            door.serve,
            listener.limits.net,
            context,
            sources=sources_of(listener),
            reuse_port=reuse_port,
        )
    _learn(gateway, offering, config, schemas or {})
    _check(gateway, config)
    gateway.watchers.append(builtin.offer)
    builtin.healthy = offering.healthy
    for pool in pools.values():
        pool.on_health = builtin.changed
    offering.install()
    return gateway


def _learn(gateway: Gateway, offering: Offering, config: Config, known: Mapping[str, Schema]) -> None:
    for name, upstream in config.upstreams.items():
        schema = known.get(name) or load_schema(name, upstream, offering.numbers)
        if schema is not None:
            offering.learn(name, schema, install=False)
        elif (ask := asking(name, upstream, offering.numbers)) is not None:
            offering.expect(name)
            pool = gateway.pools[name]
            reconnected = asyncio.Event()
            pool.on_connected = reconnected.set
            gateway.when_started(partial(offering.keep, name, ask, pool.send, reconnected), f"schema of {name}")


def _pool(
    name: str,
    upstream: Upstream,
    config: Config,
    played: Callable[[str], tuple[Translator, Connector]] | None = None,
) -> Pool:
    authority = upstream.called
    part = TRANSLATORS[upstream.kind]
    secure = upstream.secure
    message_limit = max(listener.limits.body for listener in config.listeners.values())
    chosen: dict[str, Any] = {}
    if upstream.path and takes_path(part):
        chosen["base_path"] = upstream.path
    if upstream.options is not None:
        chosen["settings"] = upstream.options
    translator: Any = part(authority, message_limit=message_limit, scheme="https" if secure else "http", **chosen)
    connects, most, shared = _CONNECTORS[part.transport]
    context = (
        client_context(secure.ca, secure.cert, secure.key, verify=secure.verify, transport=part.transport)
        if secure is not None
        else None
    )
    connector: Connector = connects(
        Limits(),
        tls=context,
        server_name=upstream.server_name,
        connect_timeout_s=upstream.connect_timeout,
    )
    if played is not None:
        translator, connector = played(name)
    make: Any = Pool if upstream.sticky is None else partial(StickyPool, sticky_by=upstream.sticky)
    pool: Pool = make(
        name,
        listed(upstream),
        translator,
        connector,
        BALANCERS[upstream.balance](),
        affinity=upstream.affinity,
        max_connections=most,
        shared=shared,
        settings=BalancingSettings(
            panic=upstream.health.panic,
            slow_start=upstream.slow_start,
            zone=upstream.zone,
            connection_max_age=upstream.connection_max_age,
            patience=upstream.patience,
        ),
        outlier=upstream.health.outlier,
        breaker=upstream.breaker,
        limits=upstream.limits,
    )
    return pool


def _fetching(ca: Path) -> SSLContext:
    return client_context(ca, transport="http/1.1")


def _private(
    gateway: Gateway, name: str, kind: str, addresses: Sequence[tuple[str, int]], tls: bool, ca: Path | None
) -> Pool:
    """A pool for a policy alone; the gateway closes it."""
    part = TRANSLATORS[kind]
    connects, most, shared = _CONNECTORS[part.transport]
    host, port = addresses[0]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    translator: Any = part(authority, message_limit=_PRIVATE_LIMIT, scheme="https" if tls else "http")
    pool = Pool(
        f"policies.{name}",
        [Address(host=host, port=port) for host, port in addresses],
        translator,
        connects(Limits(), tls=client_context(ca, transport=part.transport) if tls else None),
        BALANCERS["round_robin"](),
        max_connections=most,
        shared=shared,
    )
    gateway.private.append(pool)
    return pool


def _check(gateway: Gateway, config: Config) -> None:
    """Have the endpoints asked whether they are well, from the gateway's start on."""
    for name, upstream in config.upstreams.items():
        found = upstream.health.probe
        if found is None:
            continue
        kind, written = found
        settings = cast(ProbeSettings, written)
        probe = PROBES[kind](settings, upstream.called, "https" if upstream.secure else "http")
        gateway.when_started(partial(gateway.pools[name].check, probe, settings), f"health of {name}")


def _policies(config: Config) -> dict[str, object]:
    """The policies by name; raises AssemblyError for each whose files cannot be used."""
    made: dict[str, object] = {}
    faults: list[str] = []
    for name, policy in config.policies.items():
        try:
            made[name] = POLICIES[policy.kind](policy.settings)
        except ValueError as error:
            faults.append(f"policies.{name}: {error}")
    if faults:
        raise AssemblyError(*faults)
    return made


def _equip(
    gateway: Gateway,
    policies: Mapping[str, object],
    config: Config,
    counters: CounterStore | None,
    targets: Mapping[str, Target],
    changed: Callable[[], None],
) -> None:
    """Hand the policies their tools; raises AssemblyError for each that cannot work with them."""
    stores, fetcher = Stores(counters), Fetcher()
    consumers = _consumers(config)
    faults: list[str] = []
    for name, policy in policies.items():
        if isinstance(policy, Equipped):
            try:
                policy.equip(
                    PolicyTools(
                        name,
                        stores,
                        fetcher,
                        targets,
                        policies,
                        consumers,
                        gateway.counts,
                        partial(_private, gateway),
                        _fetching,
                        changed,
                        _SPELLINGS,
                    )
                )
            except ValueError as error:
                faults.append(f"policies.{name}: {error}")
        if isinstance(policy, Shown):
            gateway.shown[name] = policy.shown
        if isinstance(policy, Purged):
            gateway.caches[name] = policy
        if isinstance(policy, Started):
            gateway.when_started(policy.run, f"policy {name}")
    if faults:
        raise AssemblyError(*faults)
    if consumers is not None:
        gateway.when_started(consumers.run, "consumers")
    gateway.when_started(stores.run, "stores")
    gateway.when_started(fetcher.run, "fetcher")


def _consumers(config: Config) -> Consumers | None:
    """The callers that the config knows by name; raises AssemblyError when they do not fit together."""
    if config.consumers is None:
        return None
    try:
        made = Consumers(config.consumers)
    except ValueError as error:
        raise AssemblyError(f"consumers: {error}") from error
    unknown = sorted(made.policies.difference(config.policies))
    if unknown:
        said = (f"no policy has the name {quoted(name)}{hint(name, config.policies)}" for name in unknown)
        raise AssemblyError(*(f"consumers: subjects: {one}" for one in said))
    return made


def _origins(use: Sequence[str], policies: Mapping[str, object]) -> OriginPolicy | None:
    found = [policy for name in use if isinstance(policy := policies[name], OriginPolicy)]
    if len(found) > 1:
        raise AssemblyError(f"use: more than one {found[0].kind} policy; an answer can carry only one's fields")
    return found[0] if found else None
