"""The equal addresses of one upstream that is passed through to: which are up, and which is next."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

from protogw.balancers.base import Balancer
from protogw.discovery.base import Address

BACKOFF_FIRST_S, BACKOFF_FACTOR, BACKOFF_MOST_S = 1.0, 1.6, 30.0
"""How long an endpoint that cannot be reached is left alone, as in pools."""


class Endpoint:
    """One address."""

    __slots__ = ("active", "backoff_s", "down_until", "host", "label", "port", "priority", "trying", "weight")

    def __init__(self, host: str, port: int, weight: int = 1, priority: int = 0) -> None:
        self.host = host
        self.port = port
        self.weight = weight
        self.priority = priority
        self.label = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.active = 0
        """Connections or sessions open, those still being made among them."""
        self.down_until = 0.0
        """Before this time it is left alone; 0.0 when it is up."""
        self.backoff_s = BACKOFF_FIRST_S
        self.trying = False
        """It is down, and one connection is finding out whether it still is."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.label} {'down' if self.down_until else 'up'}, {self.active} open>"


class Endpoints:
    """The endpoints of one upstream, and the balancer that chooses among those that are up."""

    def __init__(
        self,
        name: str,
        kind: str,
        addresses: Sequence[Address],
        balancer: Balancer,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name = name
        self.kind = kind
        self.endpoints: tuple[Endpoint, ...] = ()
        self._balancer = balancer
        self._clock = clock
        self._ready: tuple[Endpoint, ...] = ()
        self.update(addresses)

    def update(self, addresses: Sequence[Address]) -> None:
        """Have these endpoints from now on; connections to those that go run to their end. An empty sequence changes
        nothing, as in pools."""
        if not addresses:
            return
        known = {(endpoint.host, endpoint.port): endpoint for endpoint in self.endpoints}
        endpoints: dict[tuple[str, int], Endpoint] = {}
        for address in addresses:
            where = (address.host, address.port)
            endpoint = endpoints[where] = known.get(where) or Endpoint(address.host, address.port)
            endpoint.weight, endpoint.priority = address.weight, address.priority
        self.endpoints = tuple(endpoints.values())
        # Another object, whatever has changed: by that, balancers know.
        self._ready = tuple(self._serving())

    @property
    def reachable(self) -> bool:
        """At least one endpoint is not known to be down."""
        return any(not endpoint.down_until for endpoint in self.endpoints)

    def pick(self, tried: Collection[Endpoint], key: bytes) -> Endpoint | None:
        """The endpoint for a new connection, None when there is none left to try.

        One that is down is tried by one connection at a time, and only when no other is left: while a service is away,
        everybody else learns it at once.
        """
        if any(endpoint.down_until for endpoint in self.endpoints):
            self._revive()
        ready: Sequence[Endpoint] = self._ready
        if tried:
            ready = tuple(endpoint for endpoint in ready if endpoint not in tried)
        if ready:
            return ready[0] if len(ready) == 1 else self._balancer.pick(ready, key)
        for endpoint in self.endpoints:
            if endpoint.down_until and not endpoint.trying and endpoint not in tried:
                endpoint.trying = True
                return endpoint
        return None

    def any(self, key: bytes) -> Endpoint | None:
        """The endpoint for datagrams, of which nobody waits to hear that they were lost: of all when none is up. None
        while none is known."""
        if not self.endpoints:
            return None
        if any(endpoint.down_until for endpoint in self.endpoints):
            self._revive()
        ready = self._ready or self.endpoints
        return ready[0] if len(ready) == 1 else self._balancer.pick(ready, key)

    def reached(self, endpoint: Endpoint) -> None:
        """It took a connection."""
        endpoint.trying = False
        if endpoint.down_until:
            endpoint.down_until = 0.0
            self._refresh()
        endpoint.backoff_s = BACKOFF_FIRST_S

    def failed(self, endpoint: Endpoint) -> None:
        """It could not be reached."""
        endpoint.trying = False
        # Jitter, so that many gateways do not return to a recovering service in step.
        endpoint.down_until = self._clock() + endpoint.backoff_s * (0.8 + 0.4 * random.random())
        endpoint.backoff_s = min(endpoint.backoff_s * BACKOFF_FACTOR, BACKOFF_MOST_S)
        self._refresh()

    def given_up(self, endpoint: Endpoint) -> None:
        """Whoever was trying it went away before it was known."""
        endpoint.trying = False

    def shown(self) -> dict[str, Any]:
        """What the admin address shows of it, in the words of pools."""
        return {
            "kind": self.kind,
            "reachable": self.reachable,
            "endpoints": [
                {
                    "address": endpoint.label,
                    "up": not endpoint.down_until,
                    "state": "unreachable" if endpoint.down_until else "ready",
                    "weight": endpoint.weight,
                    "connections": endpoint.active,
                }
                for endpoint in self.endpoints
            ],
        }

    def _revive(self) -> None:
        now = self._clock()
        for endpoint in self.endpoints:
            if endpoint.down_until and endpoint.down_until <= now:
                endpoint.down_until = 0.0
                self._refresh()

    def _serving(self) -> Sequence[Endpoint]:
        """Those of the first priority of which any is up."""
        up = [endpoint for endpoint in self.endpoints if not endpoint.down_until]
        first = min((endpoint.priority for endpoint in up), default=0)
        return [endpoint for endpoint in up if endpoint.priority == first]

    def _refresh(self) -> None:
        ready = tuple(self._serving())
        if ready != self._ready:
            self._ready = ready

    def __repr__(self) -> str:
        up = sum(not endpoint.down_until for endpoint in self.endpoints)
        active = sum(endpoint.active for endpoint in self.endpoints)
        ready = f"{up}/{len(self.endpoints)} ready"
        return f"<Endpoints {self.name} {self.kind} {self._balancer.kind} {ready}, {active} open>"
