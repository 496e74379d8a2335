"""A set of equal endpoints: choose one, get a connection, send, and try elsewhere where that is safe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from protogw.balancers.base import Balancer, Observer
from protogw.call import Call, Reply
from protogw.discovery.base import Address
from protogw.errors import CircuitOpen, GatewayError, Overloaded, Unreachable
from protogw.excused import excused
from protogw.pools.base import Connector, Laned
from protogw.pools.breaker import Breaker, Circuit, Trial
from protogw.pools.endpoint import RETRY_S, Endpoint
from protogw.pools.health import Health
from protogw.pools.membership import members
from protogw.pools.outlier import Outliers
from protogw.pools.settings import BalancingSettings, BreakerSettings, OutlierSettings, PoolLimits
from protogw.pools.watch import blames, watched
from protogw.probes.base import Probe, ProbeSettings
from protogw.translator import Guarding, Judging, Translator

if TYPE_CHECKING:
    from protogw.descriptors.model import Schema

log = logging.getLogger("protogw")

ATTEMPTS = 3
"""Tries of one call at the most, beside the first connection failure on each endpoint."""


SWEEP_S = 1.0
"""How often endpoints that start slowly, or are judged by their share of failures, are looked at."""

_SLOW_START_LEAST = 0.1
_FINE = 100
"""Weights are multiplied by this where slow start needs parts of them."""


class _Nobody:
    """Stands in for the balancer while no endpoint is known: the path of a call need not ask."""

    kind = "nobody"

    def __init__(self, name: str) -> None:
        self._name = name

    def pick(self, ready: Sequence[Endpoint], key: bytes) -> Endpoint:
        raise Unreachable(f"upstreams.{self._name}: no address is known yet")


class Affinity(Protocol):
    """What calls of one endpoint have in common."""

    def key(self, call: Call) -> str:
        """Equal for those calls; empty where there is none."""
        ...


class Pool:
    """The endpoints of one upstream and the translator that speaks to them.

    A call is tried again only when nothing of it was processed (`error.retryable`): the endpoint could not be
    reached, or said that it refused the call. Every try draws on the call's one deadline.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[Address],
        translator: Translator,
        connector: Connector,
        balancer: Balancer,
        *,
        max_connections: int,
        shared: bool,
        affinity: Affinity | None = None,
        settings: BalancingSettings = BalancingSettings(),  # noqa: B008 (frozen)
        outlier: OutlierSettings | None = None,
        breaker: BreakerSettings | None = None,
        limits: PoolLimits = PoolLimits(),  # noqa: B008 (frozen)
    ) -> None:
        self.name = name
        self.kind = translator.kind
        self.on_connected: Callable[[], None] | None = None
        """Called when an endpoint has been connected to that was not connected before."""
        self.on_health: Callable[[], None] | None = None
        """Called when an endpoint has become unreachable or reachable again."""
        self.health: Health | None = None
        """What active checks have found; None without any."""
        self._translator = translator
        self._lane = translator.lane if isinstance(translator, Laned) else None
        self._connector = connector
        self._balancer: Balancer | _Nobody = balancer if addresses else _Nobody(name)
        self._balancing = balancer
        self._affinity = affinity
        self._settings = settings
        self._patience = settings.patience
        self._max_connections = limits.connections or max_connections
        self._max_pending = limits.pending
        self._max_requests = limits.requests
        self._shared = shared
        self._observer = balancer if isinstance(balancer, Observer) else None
        self._outliers: Outliers[Endpoint] | None = Outliers(outlier) if outlier is not None else None
        self.breaker: Breaker[Endpoint] | None = Breaker(name, breaker) if breaker is not None else None
        """What keeps methods from endpoints that fail them; None without."""
        self._guarded = breaker is not None or limits.requests is not None
        self._watching = self._observer is not None or outlier is not None or breaker is not None
        self._endpoints = tuple(self._made(address) for address in addresses)
        self._ready = self._endpoints
        self._up = len(self._endpoints)
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        if self._settings.zone or len({address.priority for address in addresses}) > 1:
            self._refresh()

    def _made(self, address: Address) -> Endpoint:
        weight = address.weight * _FINE if self._settings.slow_start else address.weight
        return Endpoint(
            address.host,
            address.port,
            self._connector,
            weight=weight,
            priority=address.priority,
            zone=address.zone,
            max_connections=self._max_connections,
            max_pending=self._max_pending,
            max_age_s=self._settings.connection_max_age,
            shared=self._shared,
            on_reach=self._reach_changed,
        )

    def faults(self, schema: Schema) -> list[str]:
        """What of the translator's settings does not fit the schema of the service."""
        return self._translator.faults(schema) if isinstance(self._translator, Judging) else []

    def guard(self, names: frozenset[bytes]) -> None:
        """These header fields are only the gateway's to write."""
        if names and isinstance(self._translator, Guarding):
            self._translator.guard(names)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    @property
    def ready(self) -> tuple[Endpoint, ...]:
        """The endpoints that calls go to: those not known to be down, or all when most are."""
        return self._ready

    @property
    def reachable(self) -> bool:
        """At least one endpoint is not known to be down."""
        return self._up > 0

    def state(self, endpoint: Endpoint) -> str:
        """What is known of an endpoint: ready, unreachable, ejected, or what a check found wrong."""
        if endpoint.down_until:
            return "unreachable"
        if self.health is not None and (why := self.health.why(endpoint)):
            return f"unwell: {why}"
        if self._outliers is not None and self._outliers.is_out(endpoint, _now()):
            return "ejected"
        if self.breaker is not None and any(self.breaker.of(endpoint, _now())):
            return "breaker open"
        return "ready"

    async def check(self, probe: Probe, settings: ProbeSettings) -> None:
        """Have the endpoints asked whether they are well, from now on until the pool is closed."""
        self.health = Health(self.name, probe, settings, self._health_changed)
        self.health.keep(self._endpoints)

    def update(self, addresses: Sequence[Address]) -> None:
        """Have these endpoints from now on. Those that stay keep their connections and what is known of them; calls on
        those that go run to their end. An empty sequence changes nothing: a service without any address is likelier a
        fault of whoever says so."""
        if not addresses or self._closed:
            return
        known = {(endpoint.host, endpoint.port): endpoint for endpoint in self._endpoints}
        fine = _FINE if self._settings.slow_start else 1
        endpoints: dict[tuple[str, int], Endpoint] = {}
        for address in addresses:
            where = (address.host, address.port)
            endpoint = known.get(where)
            if endpoint is None:
                endpoint = self._made(address)
                endpoint.since = _now()
            else:
                endpoint.full_weight = endpoint.weight = address.weight * fine
                endpoint.priority, endpoint.zone = address.priority, address.zone
            endpoints[where] = endpoint
        for where, endpoint in known.items():
            if where not in endpoints:
                endpoint.drain()
        self._endpoints = tuple(endpoints.values())
        self._balancer = self._balancing
        if self._outliers is not None:
            self._outliers.keep(self._endpoints)
        if self.breaker is not None:
            self.breaker.keep(self._endpoints)
        if self.health is not None:
            self.health.keep(self._endpoints)
        self._ready = ()  # another object, also where only weights have changed: by that, balancers know
        self._refresh()

    # --- calls --------------------------------------------------------------------------------------------------------

    async def send(self, call: Call) -> Reply:
        """Carry one call; raises GatewayError."""
        if self._guarded or call.tries is not None:
            return await self._send_on(call, set())
        ready = self._ready
        endpoint = ready[0] if len(ready) == 1 else self._balancer.pick(ready, self._key(call))
        call.upstream = endpoint.label
        try:
            if self._watching:
                return await self._watched(call, endpoint, None)
            way = endpoint if self._lane is None else self._way(endpoint, call)
            connection = way.available()
            if connection is None:
                connection = await way.acquire()
            return await self._translator.send(call, connection)
        except GatewayError as error:
            if not error.retryable:
                raise
            failed = error
        return await self._send_on(call, {endpoint}, failed)

    def _key(self, call: Call) -> bytes:
        """The call's affinity key; empty without one."""
        affinity = self._affinity
        return b"" if affinity is None else affinity.key(call).encode()

    def _way(self, endpoint: Endpoint, call: Call) -> Endpoint:
        """Where at the endpoint this call finds its connections."""
        assert self._lane is not None
        lane = self._lane(call)
        return endpoint if lane is None else endpoint.lane(lane)

    async def _try(self, call: Call, endpoint: Endpoint) -> Reply:
        way = endpoint if self._lane is None else self._way(endpoint, call)
        return await self._translator.send(call, way.available() or await way.acquire())

    async def _watched(self, call: Call, endpoint: Endpoint, circuit: Circuit | Trial | None) -> Reply:
        """One try, of whose end the balancer, outlier ejection and the breaker learn."""
        started = _now()
        try:
            reply = await self._try(call, endpoint)
            return watched(call, reply, endpoint, _now() - started, self._patience, self._judge, circuit)
        except GatewayError as error:
            now = _now()
            bad = blames(error)
            says = not bad or not excused(call, error.status, now - started, self._patience)
            if says:
                self._judge(endpoint, bad, now - started)
            if circuit is not None:
                if bad and says:
                    circuit.ended(True, now)
                else:
                    circuit.left()
            raise
        except asyncio.CancelledError:
            now = _now()
            bad = call.expired and not call.hurried(now - started, self._patience)
            if bad or (call.tries is not None and call.tries.expired):
                self._judge(endpoint, True, now - started)
                if circuit is not None:
                    circuit.ended(True, now)
            elif circuit is not None:
                circuit.left()
            raise

    def _judge(self, endpoint: Endpoint, failed: bool, seconds: float) -> None:
        now = _now()
        if self._observer is not None:
            self._observer.observe(endpoint, seconds, now)
        outliers = self._outliers
        if outliers is None:
            return
        many = len(self._endpoints)
        out = [endpoint] if outliers.ended(endpoint, failed, many, now) else []
        out += outliers.sweep(many, now)
        if out:
            for one in out:
                log.warning("upstreams.%s: %s is ejected: its calls fail", self.name, one.label)
            self._refresh()

    async def _send_on(self, call: Call, tried: set[Endpoint], error: GatewayError | None = None) -> Reply:
        """Carry a call that needs more thought, or whose first try came to nothing: `error`, on the one in `tried`."""
        if self._max_requests is not None and error is None:
            self._make_sure_of_room(self._max_requests)
        for _ in range(max(ATTEMPTS, len(self._endpoints)) - len(tried)):
            ready = self._ready
            fresh = tuple(endpoint for endpoint in ready if endpoint not in tried) if tried else ready
            if not fresh and ready:
                # The only endpoint refused this one call, not the connection: a second try there is worth it.
                if ready[0].down_until or len(self._endpoints) > 1:
                    break
                fresh = ready
            if call.tries is not None and call.tries.tried:
                others = tuple(endpoint for endpoint in fresh if endpoint.label not in call.tries.tried)
                fresh = others or fresh
            circuit: Circuit | Trial | None = None
            if self.breaker is not None:
                method = _circuit_of(call)
                if self.breaker.tripped and fresh:
                    fresh = self._closed_of(self.breaker, fresh, method, error)
                endpoint = self._pick_of(fresh, call)
                circuit = self.breaker.circuit(endpoint, endpoint.label, method).enter()
            else:
                endpoint = self._pick_of(fresh, call)
            tried.add(endpoint)
            if call.trace is not None and error is not None:
                call.trace.note("tried elsewhere", endpoint=call.upstream, reason=error.message)
            call.upstream = endpoint.label
            try:
                if self._watching:
                    return await self._watched(call, endpoint, circuit)
                return await self._try(call, endpoint)
            except GatewayError as again:
                if not again.retryable:
                    raise
                error = again
        assert error is not None
        raise error

    def _pick_of(self, fit: tuple[Endpoint, ...], call: Call) -> Endpoint:
        """One of those that fit, of all that are ready. The balancer's choice where it does: balancers keep what they
        have worked out for those that are ready, and are not asked to do so anew for every call that needs others."""
        ready, key = self._ready, self._key(call)
        endpoint = self._balancer.pick(ready, key)
        if fit is ready or endpoint in fit:
            return endpoint
        if key:
            # Equal keys to the same one of the rest (rendezvous hashing).
            return max(fit, key=lambda one: crc32(one.label.encode(), crc32(key)))
        return min(fit, key=lambda one: (one.active + 1) / one.weight)

    def _make_sure_of_room(self, most: int) -> None:
        if sum(endpoint.active + endpoint.hoping for endpoint in self._endpoints) >= most:
            raise Overloaded(f"{self.name}: {most} calls are in flight", retry_after_s=RETRY_S)

    def _closed_of(
        self, breaker: Breaker[Endpoint], ready: tuple[Endpoint, ...], method: str, error: GatewayError | None
    ) -> tuple[Endpoint, ...]:
        """Those of the endpoints whose breaker lets a call of this method pass; raises `error`, or CircuitOpen."""
        now = _now()
        found = tuple(endpoint for endpoint in ready if breaker.admits(endpoint, method, now))
        if found:
            return found
        if error is not None:
            raise error
        wait = breaker.opens_in(ready, method, now)
        raise CircuitOpen(f"{self.name}: calls fail, so none are sent for now", retry_after_s=wait)

    # --- who is ready -------------------------------------------------------------------------------------------------

    def _reach_changed(self, endpoint: Endpoint, reached: bool) -> None:
        if reached and endpoint.connections == 1 and self.on_connected is not None:
            self.on_connected()
        self._refresh()

    def _health_changed(self, endpoint: Endpoint, well: bool) -> None:
        if well:
            endpoint.since = _now()
            if self._outliers is not None:
                self._outliers.pardon(endpoint)
        self._refresh()

    def _refresh(self) -> None:
        """Work out anew which endpoints are ready, with what weight, and when to look again."""
        if self._closed or not self._endpoints:
            return
        now = _now()
        waits: list[float] = []
        reached: list[Endpoint] = []
        ready: list[Endpoint] = []
        up = 0
        for endpoint in self._endpoints:
            if endpoint.down_until:
                if endpoint.down_until > now:
                    waits.append(endpoint.down_until - now)
                    continue
                endpoint.down_until = 0.0
                endpoint.since = now
            reached.append(endpoint)
            if self.health is not None and not self.health.is_well(endpoint):
                continue
            up += 1
            if self._outliers is None or not self._outliers.is_out(endpoint, now):
                ready.append(endpoint)
        if self._outliers is not None and (back := self._outliers.next_return(now)) is not None:
            waits.append(back - now)
        weighed = self._weigh(now)
        if weighed:
            waits.append(SWEEP_S)
        # Refusing connections is no matter of opinion: such an endpoint is not one that a check may be wrong about.
        found = members(reached or self._endpoints, ready, panic=self._settings.panic, zone=self._settings.zone)
        if found != self._ready or weighed:
            # Another object whenever a weight has changed, too: by that, balancers know.
            self._ready = tuple(found)
        if up != self._up:
            self._up = up
            if self.on_health is not None:
                self.on_health()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waits:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, min(waits)) + 0.001, self._refresh)

    def _weigh(self, now: float) -> bool:
        """Give endpoints that start slowly their weight of this moment; whether any does."""
        within = self._settings.slow_start
        if not within:
            return False
        any_of_them = False
        for endpoint in self._endpoints:
            share = (now - endpoint.since) / within if endpoint.since else 1.0
            weight = endpoint.full_weight
            if share < 1.0:
                any_of_them = True
                weight = max(1, int(weight * max(_SLOW_START_LEAST, share)))
            if weight != endpoint.weight:
                endpoint.weight = weight
                any_of_them = True
        return any_of_them

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close connections as their last call ends."""
        for endpoint in self._endpoints:
            endpoint.drain()

    def close(self) -> None:
        """Close every connection now."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.health is not None:
            self.health.close()
        for endpoint in self._endpoints:
            endpoint.close()

    def __repr__(self) -> str:
        up = sum(self.state(endpoint) == "ready" for endpoint in self._endpoints)
        active = sum(endpoint.active for endpoint in self._endpoints)
        ready = f"{up}/{len(self._endpoints)} ready"
        return f"<Pool {self.name} {self.kind} {self._balancing.kind} {ready}, {active} in flight>"


def _circuit_of(call: Call) -> str:
    """What a breaker judges apart from the rest: the method, or of plain HTTP the route."""
    if call.method is not None:
        return call.method.full_name
    title: str = call.route.title if call.route is not None else ""
    return title


def _now() -> float:
    return asyncio.get_running_loop().time()
