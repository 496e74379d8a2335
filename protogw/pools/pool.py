"""A set of equal endpoints: choose one, get a connection, send, and try elsewhere where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from protogw.balancers.base import Balancer
from protogw.call import Call, Reply
from protogw.errors import GatewayError
from protogw.pools.base import Connector, Laned
from protogw.pools.endpoint import Endpoint
from protogw.translator import Translator

ATTEMPTS = 3
"""Tries of one call at the most, beside the first connection failure on each endpoint."""


class Pool:
    """The endpoints of one upstream and the translator that speaks to them.

    A call is tried again only when nothing of it was processed (`error.retryable`): the endpoint could not be
    reached, or said that it refused the call. Every try draws on the call's one deadline.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[tuple[str, int, int]],
        translator: Translator,
        connector: Connector,
        balancer: Balancer,
        *,
        max_connections: int,
        shared: bool,
    ) -> None:
        """`addresses` are (host, port, weight)."""
        self.name = name
        self.kind = translator.kind
        self.on_connected: Callable[[], None] | None = None
        """Called when an endpoint has been connected to that was not connected before."""
        self.on_health: Callable[[], None] | None = None
        """Called when an endpoint has become unreachable or reachable again."""
        self._translator = translator
        self._lane = translator.lane if isinstance(translator, Laned) else None
        self._balancer = balancer
        self._endpoints = tuple(
            Endpoint(
                host,
                port,
                connector,
                weight=weight,
                max_connections=max_connections,
                shared=shared,
                on_reach=self._reach_changed,
            )
            for host, port, weight in addresses
        )
        self._ready = self._endpoints
        self._up = len(self._endpoints)
        self._revival: asyncio.TimerHandle | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    @property
    def ready(self) -> tuple[Endpoint, ...]:
        """The endpoints that calls go to: those not known to be down, or all when every one is."""
        return self._ready

    @property
    def reachable(self) -> bool:
        """At least one endpoint is not known to be down."""
        return self._up > 0

    async def send(self, call: Call) -> Reply:
        """Carry one call; raises GatewayError."""
        ready = self._ready
        endpoint = ready[0] if len(ready) == 1 else self._balancer.pick(ready, b"")
        call.upstream = endpoint.label
        try:
            way = endpoint if self._lane is None else self._way(endpoint, call)
            connection = way.available()
            if connection is None:
                connection = await way.acquire()
            return await self._translator.send(call, connection)
        except GatewayError as error:
            if not error.retryable:
                raise
            failed = error
        return await self._send_again(call, endpoint, failed)

    def _way(self, endpoint: Endpoint, call: Call) -> Endpoint:
        """Where at the endpoint this call finds its connections."""
        assert self._lane is not None
        lane = self._lane(call)
        return endpoint if lane is None else endpoint.lane(lane)

    async def _send_again(self, call: Call, first: Endpoint, error: GatewayError) -> Reply:
        tried = {first}
        attempts = max(ATTEMPTS, len(self._endpoints)) - 1
        for _ in range(attempts):
            ready = self._ready
            fresh = tuple(endpoint for endpoint in ready if endpoint not in tried)
            if not fresh:
                # The only endpoint refused this one call, not the connection: a second try there is worth it.
                if first.down_until or len(self._endpoints) > 1:
                    break
                fresh = ready
            endpoint = self._balancer.pick(fresh, b"")
            tried.add(endpoint)
            call.upstream = endpoint.label
            try:
                way = endpoint if self._lane is None else self._way(endpoint, call)
                connection = way.available() or await way.acquire()
                return await self._translator.send(call, connection)
            except GatewayError as again:
                if not again.retryable:
                    raise
                error = again
        raise error

    def _reach_changed(self, endpoint: Endpoint, reached: bool) -> None:
        if reached and endpoint.connections == 1 and self.on_connected is not None:
            self.on_connected()
        self._refresh()

    def _refresh(self) -> None:
        """Work out anew which endpoints are ready, and when the next one is to be tried again."""
        now = asyncio.get_running_loop().time()
        down = []
        for endpoint in self._endpoints:
            if endpoint.down_until:
                if endpoint.down_until <= now:
                    endpoint.down_until = 0.0
                else:
                    down.append(endpoint)
        ready = tuple(endpoint for endpoint in self._endpoints if not endpoint.down_until) or self._endpoints
        if ready != self._ready:
            self._ready = ready
        up = len(self._endpoints) - len(down)
        if up != self._up:
            self._up = up
            if self.on_health is not None:
                self.on_health()
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None
        if down:
            wait = min(endpoint.down_until for endpoint in down) - now
            self._revival = asyncio.get_running_loop().call_later(wait + 0.001, self._refresh)

    def drain(self) -> None:
        """Close connections as their last call ends."""
        for endpoint in self._endpoints:
            endpoint.drain()

    def close(self) -> None:
        """Close every connection now."""
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None
        for endpoint in self._endpoints:
            endpoint.close()

    def __repr__(self) -> str:
        up = sum(not endpoint.down_until for endpoint in self._endpoints)
        active = sum(endpoint.active for endpoint in self._endpoints)
        ready = f"{up}/{len(self._endpoints)} ready"
        return f"<Pool {self.name} {self.kind} {self._balancer.kind} {ready}, {active} in flight>"
