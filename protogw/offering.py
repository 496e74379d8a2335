"""What is offered: the schemas of all upstreams, the config's bindings, and the routes that follow from both.

Whenever a schema comes or changes, catalog and router are made anew and swapped into the gateway whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from protogw.config import Config
from protogw.config import Route as ConfigRoute
from protogw.delivering import Delivery, delivers
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import with_offers, with_rules
from protogw.descriptors.model import HttpRule, Method, Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.read import Fetch, Send
from protogw.descriptors.sockets import with_sockets
from protogw.errors import GatewayError
from protogw.expression_fields import misread, read
from protogw.gateway import Gateway
from protogw.policies.base import Fitted, Lacking, OriginPolicy, Policy, Target, Withholding
from protogw.policies.identity_headers import Stripped
from protogw.routing.route import Conditions, Rewrite, Route
from protogw.routing.router import HttpRoute, Router
from protogw.sharing import Sharing
from protogw.wire.path_template import parse
from protogw.words import hint

log = logging.getLogger("protogw")

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 15.0
"""How soon, and how seldom at the most, a service that did not describe itself is asked again."""

REFRESH_S = 300.0
"""How often a service that has described itself is asked again, beside every reconnect."""


class AssemblyError(Exception):
    """The config is well-formed but does not fit together; `faults` say where, one line each."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Offering:
    """Holds each upstream's schema, and makes catalog and router out of them by the config."""

    def __init__(
        self,
        gateway: Gateway,
        config: Config,
        policies: Mapping[str, object],
        targets: Mapping[str, Target],
        own: Target,
        own_schema: Schema,
        numbers: Numbers,
        stripped: Stripped | None = None,
    ) -> None:
        """`targets` are the pools by upstream; `own` answers the services of `own_schema`, the gateway's; `numbers` are
        those of the schemas without a proto; `stripped` cleans calls of fields that only the gateway writes."""
        self.numbers = numbers
        self.learned: Callable[[], None] | None = None
        """Told when a service has described itself anew."""
        self._gateway = gateway
        self._config = config
        self._targets = targets
        self._own = own
        self._own_schema = own_schema
        self._policies = policies
        self._withholds = any(isinstance(policy, Withholding) for policy in policies.values())
        self._lacking = [(name, policy) for name, policy in policies.items() if isinstance(policy, Lacking)]
        self._stripped = stripped if stripped is not None and stripped.names else None
        self._schemas: dict[str, Schema] = {}
        self._awaited: set[str] = set()
        self._owners: Mapping[str, str] = {}
        self._use = self._chain(config.use, "use")
        self._routes = tuple(
            _Compiled(
                self, index, route, self._use if route.use is None else self._chain(route.use, f"routes[{index}].use")
            )
            for index, route in enumerate(config.routes)
        )
        self._sockets = {
            route.match.call: [replace(binding.rule, many=route.fan_in is not None) for binding in route.websocket]
            for route in config.routes
            if route.match.call is not None and route.websocket
        }
        several = [route.to for route in config.routes if len(route.to) > 1]
        self._together = {(first, name) for to in several for first in to for name in to}
        beside = [one.to for route in config.routes for one in (route.mirror, route.shadow) if one is not None]
        self._aside = frozenset(beside)
        # Of upstreams that share calls, the first named is the one whose schema is offered.
        later = {name: index for to in several for index, name in enumerate(to)}
        later |= {name: len(targets) for name in beside}
        self._order = sorted(targets, key=lambda name: later.get(name, 0))
        self._sharing = Sharing(gateway.own)
        self._told: set[str] = set()

    def _compiled(self, index: int, route: ConfigRoute) -> _Compiled:
        policies = self._use if route.use is None else self._chain(route.use, f"routes[{index}].use")
        return _Compiled(self, index, route, policies)

    @property
    def awaited(self) -> frozenset[str]:
        """The upstreams that have not described themselves yet."""
        return frozenset(self._awaited)

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """The routes that share, mirror or compare their calls."""
        return tuple(compiled.delivery for compiled in self._routes if compiled.delivery is not None)

    @property
    def lacking(self) -> dict[str, str]:
        """What policies wait for that cannot work yet, by policy."""
        return {name: lack for name, policy in self._lacking if (lack := policy.lacks) is not None}

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """The schemas that there are, by upstream."""
        return self._schemas

    @property
    def owners(self) -> Mapping[str, str]:
        """The upstream of every service that is offered, by the service; the gateway's own are nobody's."""
        return self._owners

    def _chain(self, names: Iterable[str], where: str) -> tuple[Policy, ...]:
        found: list[Policy] = []
        for name in names:
            policy = self._policies[name]
            if isinstance(policy, OriginPolicy):
                if name not in self._config.use:
                    raise AssemblyError(
                        f"{where}: {name} is {policy.kind}, which concerns whole listeners: "
                        "name it in the top-level `use`"
                    )
                continue
            assert isinstance(policy, Policy)
            found.append(policy)
        return tuple(found)

    def expect(self, upstream: str) -> None:
        """This upstream will describe itself later."""
        self._awaited.add(upstream)

    def healthy(self, service: str) -> bool:
        """Whether calls of this service, or with the empty name any calls at all, can be carried now."""
        if not service:
            return not self._gateway.draining and not self._awaited and not self.lacking
        owner = self._owners.get(service)
        if owner is None or self._gateway.pools[owner].reachable:
            return True
        # Calls of an upstream that is down go to those that share them.
        return any(self._gateway.pools[other].reachable for first, other in self._together if first == owner)

    def learn(self, upstream: str, schema: Schema, *, install: bool = True) -> None:
        """Take an upstream's schema, and offer what follows; the faults of bindings that do not fit it are logged."""
        self._schemas[upstream] = schema
        self._awaited.discard(upstream)
        if install:
            self.install()
            if self.learned is not None:
                self.learned()

    def install(self) -> None:
        """Make catalog and router anew, and swap them into the gateway."""
        catalog, router, faults = self.compose()
        for fault in faults:
            if fault not in self._told:
                self._told.add(fault)
                log.warning("%s", fault)
        self._gateway.install(catalog, router)

    def compose(self) -> tuple[Catalog, Router, list[str]]:
        """The catalog and router of what is known now, and what of the config or the schemas does not fit."""
        faults: list[str] = []
        schemas: dict[str, Schema] = {}
        owners: dict[str, str] = {}
        for upstream in self._order:
            schema = self._schemas.get(upstream)
            if schema is None:
                continue
            offered = self._config.upstreams[upstream].offer
            for service in schema.services if offered else ():
                if service in owners:
                    if upstream in self._aside or (owners[service], upstream) in self._together:
                        continue  # a route sends its calls to both
                    faults.append(
                        f"upstreams.{upstream}: {service} is described by {owners[service]} too, "
                        "which is the one offered"
                    )
                else:
                    owners[service] = upstream
            if offered:
                schemas[upstream] = self._bound(schema, faults)
            pool = self._gateway.pools.get(upstream)
            if pool is not None:
                faults.extend(f"upstreams.{upstream}: {fault}" for fault in pool.faults(schema))
        self._owners = owners
        catalog = Catalog.merge([*schemas.values(), self._own_schema])
        if not self._awaited:
            faults.extend(self._unknown_calls(catalog))
        methods: dict[str, list[Route]] = {}
        for method in catalog.methods.values():
            owner = owners.get(method.service)
            target = self._own if owner is None else self._targets[owner]
            candidates = [
                route
                for compiled in self._routes
                if (route := compiled.for_method(method, target, self._schemas, self._sharing, faults)) is not None
            ]
            methods[method.full_name] = [*candidates, Route("default", target, self._use, stripped=self._stripped)]
        self._fit(catalog, methods, faults)
        if self._withholds:
            catalog = replace(catalog, withheld=self._withheld(catalog, methods))
        http = [found for compiled in self._routes if (found := compiled.http) is not None]
        router = Router(methods, http)
        faults.extend(router.shadowed)
        return catalog, router, faults

    def _fit(self, catalog: Catalog, routes: Mapping[str, Sequence[Route]], faults: list[str]) -> None:
        """Tell the policies whose settings name methods, or fields, which methods those are that they are around."""
        for name, policy in self._policies.items():
            named = read(self._config.policies[name].settings)
            if not isinstance(policy, Policy) or not (named or isinstance(policy, Fitted)):
                continue
            around = [
                method
                for method in catalog.methods.values()
                if any(policy in route.policies for route in routes[method.full_name])
            ]
            found = policy.fit(around, not self._awaited) if isinstance(policy, Fitted) else []
            if not self._awaited:
                found += misread(named, around)
            faults.extend(f"policies.{name}.{policy.kind}.{fault}" for fault in found)

    def _withheld(self, catalog: Catalog, routes: Mapping[str, Sequence[Route]]) -> frozenset[str]:
        """The fields that policies on the way of any method take out of its replies."""
        return frozenset(
            name
            for method in catalog.methods.values()
            for policy in {policy for route in routes[method.full_name] for policy in route.policies}
            if isinstance(policy, Withholding)
            for name in policy.withholds(method)
        )

    def _bound(self, schema: Schema, faults: list[str]) -> Schema:
        """The schema with the bindings that the config adds or puts in place of its own."""
        for index, route in enumerate(self._config.routes):
            call = route.match.call
            if call is None or not (route.rest or route.offered):
                continue
            service, _, name = call.partition("/")
            if service not in schema.services or name not in schema.services[service].methods:
                continue
            if route.offered:
                schema = with_offers(schema, {call: route.offered})
            if not route.rest:
                continue
            rules: Sequence[HttpRule] = [binding.rule for binding in route.rest]
            replace = any(binding.replace for binding in route.rest)
            try:
                schema = with_rules(schema, {call: rules}, replace=replace)
            except SchemaError as error:
                faults.append(f"routes[{index}].rest: {error}")
        return with_sockets(schema, self._sockets)

    def _unknown_calls(self, catalog: Catalog) -> list[str]:
        faults = []
        for index, route in enumerate(self._config.routes):
            call = route.match.call
            if call is None:
                continue
            service, _, name = call.partition("/")
            known = catalog.services.get(service)
            if known is None:
                near = hint(service, catalog.services)
                faults.append(f"routes[{index}].match.call: no upstream describes a service {service}{near}")
            elif name not in ("*", *known.methods):
                near = hint(name, known.methods)
                faults.append(f"routes[{index}].match.call: {service} has no method {name}{near}")
        return faults

    async def keep(
        self,
        upstream: str,
        fetch: Fetch,
        send: Send,
        reconnected: asyncio.Event,
    ) -> None:
        """Ask a service to describe itself until it does, and again whenever it may have changed. Never returns."""
        wait = RETRY_FIRST_S
        said = ""
        while True:
            try:
                schema = await fetch(send, known=self._schemas.get(upstream))
            except (GatewayError, SchemaError) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("upstreams.%s: its schema is not known yet: %s", upstream, said)
                await _first(reconnected, wait)
                wait = min(wait * 2, RETRY_MOST_S)
                continue
            said = ""
            wait = RETRY_FIRST_S
            known = self._schemas.get(upstream)
            if known is None or known.digest != schema.digest:
                self.learn(upstream, schema)
                names = ", ".join(schema.services) or "no services"
                log.info("upstreams.%s: %s %s", upstream, "offers" if known is None else "now offers", names)
            # The question itself may have connected: only what happens after the answer is news.
            reconnected.clear()
            await _first(reconnected, REFRESH_S)


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, but not longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()


class _Compiled:
    """One route of the config, ready to be bound to methods."""

    def __init__(self, offering: Offering, index: int, route: ConfigRoute, policies: tuple[Policy, ...]) -> None:
        self._route = route
        self._policies = policies
        self._name = f"routes[{index}]"
        self._stripped = offering._stripped
        self._target = offering._targets[route.upstream] if route.upstream is not None else None
        self._described = bool(route.upstream and offering._config.upstreams[route.upstream].schemas)
        self.delivery: Delivery | None = None
        if delivers(route):
            self.delivery = Delivery(self._name, route, offering._targets, offering._gateway.own)
            self.delivery.count_in(offering._gateway.counts)
            if self.delivery.canary is not None:
                offering._gateway.when_started(self.delivery.canary.run, f"canary of {self._name}")
        match = route.match
        self.http: HttpRoute | None = None
        if match.call is None and self._target is not None and not self._described:
            template = parse(match.path or "/**")
            conditions = Conditions(host=match.host, headers=match.headers)
            verbs = tuple(verb.encode() for verb in match.method)
            target = self.delivery.opaque() if self.delivery is not None else self._target
            self.http = HttpRoute(template=template, verbs=verbs, route=self._made(target, conditions, template.text))
        else:
            self._conditions = Conditions(host=match.host, headers=match.headers, path=match.path, verbs=match.method)

    def for_method(
        self, method: Method, target: Target, schemas: Mapping[str, Schema], sharing: Sharing, faults: list[str]
    ) -> Route | None:
        """This route for the method, or None when it is not for it."""
        if self.http is not None:
            return None
        call = self._route.match.call
        if call is not None:
            service, _, name = call.partition("/")
            if service != method.service or name not in ("*", method.name):
                return None
        upstream = self._route.upstream
        if self.delivery is not None:
            shared = self.delivery.target(method, target, schemas, faults)
            return self._made(shared, self._conditions) if shared is not None else None
        if upstream is not None and self._described:
            schema = schemas.get(upstream)
            if schema is None or method.service not in schema.services:
                return None
        target = sharing.target(self._name, self._route, method, self._target or target, faults)
        return self._made(target, self._conditions)

    def _made(self, target: Target, conditions: Conditions, path: str = "") -> Route:
        rewrite = None
        written = self._route.rewrite
        if written is not None:
            try:
                rewrite = Rewrite(written.path, written.host, parse(self._route.match.path or "/**"))
            except ValueError as error:
                raise AssemblyError(f"{self._name}.rewrite.path: {error}") from error
        return Route(
            self._name,
            target,
            self._policies,
            conditions=conditions,
            timeout=self._route.timeout,
            max_timeout=self._route.max_timeout,
            rewrite=rewrite,
            stripped=self._stripped,
            title=self._route.name,
            path=path,
        )
