"""What a route's `to` says when it names several upstreams, made into the target that its calls go to.

The weights are a route's own and are kept from one schema to the next; an operator changes them on the admin address.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from protogw.config import Route
from protogw.delivery.bridge import Bridge, counterpart, one_call
from protogw.delivery.split import Member, Override, Split
from protogw.delivery.weights import Weights
from protogw.descriptors.model import Method, Schema
from protogw.policies.base import Target

log = logging.getLogger("protogw")


class Delivery:
    """One route of the config that has several upstreams, and what it makes targets of."""

    def __init__(self, name: str, route: Route, targets: Mapping[str, Target]) -> None:
        self.name = route.name or name
        self._place = name
        self._route = route
        self._targets = targets
        self.weights = Weights(route.to)
        written = route.override
        self._override = Override(written.header, written.cookie) if written is not None else None

    def opaque(self) -> Target:
        """Where plain HTTP requests go."""
        return self._split([self._member(name, self._targets[name]) for name in self._route.to])

    def target(self, method: Method, schemas: Mapping[str, Schema], faults: list[str]) -> Target | None:
        """Where calls of the method go; None when none of the upstreams has it."""
        members: list[Member] = []
        lacking: list[str] = []
        for name in self._route.to:
            schema = schemas.get(name)
            if schema is None:
                continue  # it has not described itself yet
            other = counterpart(method, schema, self._route.methods)
            if other is None:
                lacking.append(name)
                continue
            pool = self._targets[name]
            members.append(self._member(name, pool if one_call(method, other) else Bridge(pool, method, other)))
        if not members:
            return None
        for name in lacking:
            faults.append(
                f"{self._place}.to.{name}: has no {method.full_name} of its shape: those calls go to "
                f"{' and '.join(member.name for member in members)} alone"
            )
        return self._split(members)

    def _member(self, name: str, target: Target) -> Member:
        return Member(self.weights.sides[name], target, self._targets[name])

    def _split(self, members: list[Member]) -> Target:
        return Split(members, self.weights, self._route.sticky_by, self._override)

    def steer(self, weights: Mapping[str, int]) -> None:
        """Have these weights from the next call on; raises ValueError when they cannot be."""
        self.weights.set(weights)
        log.info("%s: an operator has set the weights to %s", self._place, self.weights)

    def shown(self) -> dict[str, Any]:
        """What the admin address says of it."""
        return {
            "route": self._place,
            "upstreams": {
                name: {"weight": side.weight, "calls": side.calls, "fallbacks": side.fallbacks}
                for name, side in self.weights.sides.items()
            },
        }
