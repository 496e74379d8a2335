"""What a route says of several upstreams, made into the targets that its calls go to.

Weights, counts and what was compared are a route's own, and are kept from one schema to the next.

    Split ─┬─ Measured ─ Mirror ─ Shadow ─ pool          one branch a side; each layer only where the route asks for it
           └─ Measured ─ Mirror ─ Shadow ─ Bridge ─ pool
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from protogw.config import Route
from protogw.config.delivery import Canary as CanaryConfig
from protogw.config.delivery import Mirror as MirrorConfig
from protogw.config.delivery import Shadow as ShadowConfig
from protogw.counting import Counts as CountsOfAll
from protogw.delivery.bridge import Bridge, counterpart, one_call
from protogw.delivery.canary import Canary, Plan
from protogw.delivery.compare import Rules, path_of
from protogw.delivery.copies import OUTCOMES, Bounds, Copies, Counts, Own
from protogw.delivery.measured import Measured, Window
from protogw.delivery.mirror import Mirror
from protogw.delivery.shadow import Differences, Shadow
from protogw.delivery.shadow_streams import StreamShadow
from protogw.delivery.split import Member, Override, Split
from protogw.delivery.teed import Room
from protogw.delivery.weights import Weights
from protogw.descriptors.model import Method, Schema
from protogw.policies.base import Target
from protogw.values import format_duration

log = logging.getLogger("protogw")


def delivers(route: Route) -> bool:
    """Whether a route says anything of this."""
    return len(route.to) > 1 or route.mirror is not None or route.shadow is not None


class Delivery:
    """One route of the config that shares, mirrors or compares its calls, and what it makes targets of."""

    def __init__(self, name: str, route: Route, targets: Mapping[str, Target], own: Own) -> None:
        """`own` keeps a task until it ends or the gateway does."""
        self.name = route.name or name
        self.place = name
        """Where the config has it: `routes[N]`."""
        self._route = route
        self._targets = targets
        self._own = own
        self.weights = Weights(route.to)
        written = route.override
        self._override: Override | None = None
        if written is not None:
            self._override = Override(
                written.header,
                written.cookie,
                query=written.query,
                media_type=written.media_type,
                names=written.names,
            )
        self._mirrored = Counts()
        self._shadowed = Counts()
        shadow = route.shadow
        self.differences = Differences(shadow.samples, shadow.values) if shadow is not None else None
        self._rules = _rules(shadow) if shadow is not None else Rules()
        self._windows = {side: Window() for side in route.to} if route.canary is not None else {}
        self.canary: Canary | None = None
        if route.canary is not None:
            plan = _plan(route.canary, tuple(route.to))
            self.canary = Canary(name, self.weights, plan, self._windows, self.differences)

    def count_in(self, counts: CountsOfAll) -> None:
        """Have what is counted here told among the gateway's metrics."""
        route = {"route": self.name}
        if len(self._route.to) > 1:
            for name, side in self.weights.sides.items():
                labels = {**route, "upstream": name}
                counts.gauge("route_weight", "An upstream's weight now.", partial(getattr, side, "weight"), labels)
                counts.total("route_calls", "Calls that an upstream was sent.", partial(getattr, side, "calls"), labels)
                counts.total(
                    "route_fallbacks",
                    "Calls that went to another upstream: none of this one's addresses could be reached.",
                    partial(getattr, side, "fallbacks"),
                    labels,
                )
        for kind, copies in (("mirror", self._mirrored), ("shadow", self._shadowed)):
            if getattr(self._route, kind) is None:
                continue
            for outcome in OUTCOMES:
                labels = {**route, "kind": kind, "outcome": outcome}
                counts.total(
                    "copies", "Copies of calls, by what became of them.", partial(getattr, copies, outcome), labels
                )
        found = self.differences
        if found is not None:
            for outcome in ("compared", "different", "partial", "unsaid"):
                labels = {**route, "outcome": outcome}
                counts.total(
                    "shadow_answers",
                    "Answers of a shadow, by what was found.",
                    partial(getattr, found, outcome),
                    labels,
                )

            counts.total(
                "shadow_messages",
                "Replies of streams that were compared.",
                partial(getattr, found, "messages"),
                route,
            )

    def opaque(self) -> Target:
        """Where plain HTTP requests go."""
        mirror = self._route.mirror
        members: list[Member] = []
        for name in self._route.to:
            target = self._targets[name]
            if mirror is not None and mirror.to != name:
                copies = self._copies("mirror", mirror, self._targets[mirror.to], self._mirrored)
                target = Mirror(target, copies, _room(mirror))
            members.append(self._member(name, target))
        return self._split(members)

    def target(self, method: Method, owner: Target, schemas: Mapping[str, Schema], faults: list[str]) -> Target | None:
        """Where calls of the method go, which are the owner's where the route says nothing else; None when none of the
        route's upstreams has the method."""
        if not self._route.to:
            return self._watched(owner, owner.name, method, schemas, faults)
        members: list[Member] = []
        lacking: list[str] = []
        for name in self._route.to:
            if name not in schemas:
                continue  # it has not described itself yet
            target = self._spoken(name, method, schemas)
            if target is None:
                lacking.append(name)
            else:
                members.append(self._member(name, self._watched(target, name, method, schemas, faults)))
        if not members:
            return None
        for name in lacking:
            faults.append(
                f"{self.place}.to.{name}: has no {method.full_name} of its shape: those calls go to "
                f"{' and '.join(member.name for member in members)} alone"
            )
        return self._split(members)

    def _spoken(self, name: str, method: Method, schemas: Mapping[str, Schema]) -> Target | None:
        """The pool of this upstream, for calls of a method that it may call otherwise; None when it has none such."""
        schema = schemas.get(name)
        # The first upstream is the one whose names are offered.
        names = self._route.methods if name != self._route.upstream else {}
        other = counterpart(method, schema, names) if schema is not None else None
        if other is None:
            return None
        pool = self._targets[name]
        return pool if one_call(method, other) else Bridge(pool, method, other)

    def _watched(
        self, target: Target, name: str, method: Method, schemas: Mapping[str, Schema], faults: list[str]
    ) -> Target:
        """The target of one side, with the shadow and the mirror that the route wants, unless it is that itself."""
        shadow = self._route.shadow
        if shadow is not None and shadow.to != name and shadow.to in schemas:
            other = counterpart(method, schemas[shadow.to], self._route.methods)
            if other is None:
                faults.append(f"{self.place}.shadow.to: {shadow.to} has no {method.full_name} of its shape")
            else:
                assert self.differences is not None
                copies = self._copies("shadow", shadow, self._reached(shadow.to, method, other), self._shadowed)
                if method.unary:
                    target = Shadow(target, copies, other, self._rules, self.differences)
                else:
                    both = (method, other)
                    target = StreamShadow(target, copies, both, self._rules, self.differences, _room(shadow))
        mirror = self._route.mirror
        if mirror is not None and mirror.to != name and mirror.to in schemas:
            other = counterpart(method, schemas[mirror.to], self._route.methods)
            if other is None:
                faults.append(f"{self.place}.mirror.to: {mirror.to} has no {method.full_name} of its shape")
            else:
                copies = self._copies("mirror", mirror, self._reached(mirror.to, method, other), self._mirrored)
                target = Mirror(target, copies, _room(mirror))
        return target

    def _reached(self, name: str, method: Method, other: Method) -> Target:
        """Where copies are sent: over a bridge that does not tell the answer in the first one's words."""
        pool = self._targets[name]
        return pool if one_call(method, other) else Bridge(pool, method, other, answers=False)

    def _copies(self, what: str, written: MirrorConfig, to: Target, counts: Counts) -> Copies:
        bounds = Bounds(share=written.share / 100, in_flight=written.in_flight, timeout_s=written.timeout)
        return Copies(f"{self.place}.{what}", to, bounds, self._own, counts)

    def _member(self, name: str, target: Target) -> Member:
        apart = target
        if self._windows:
            target = Measured(target, self._windows[name])
        return Member(self.weights.sides[name], target, self._targets[name], apart)

    def _split(self, members: list[Member]) -> Target:
        if len(self._route.to) == 1:
            return members[0].target
        return Split(members, self.weights, self._route.sticky_by, self._override)

    # --- what operators see and do ------------------------------------------------------------------------------------

    def told(self) -> list[str]:
        """What the route says of its calls, one line each."""
        route = self._route
        found = [f"shares: {self.weights}"] if len(route.to) > 1 else []
        if route.sticky_by is not None:
            found[0] += f", by {route.sticky_by.text}"
        if route.canary is not None:
            steps = ", ".join(f"{step:g}" for step in route.canary.steps)
            new = route.canary.upstream or list(route.to)[-1]
            found.append(f"canary: {new} gets {steps} %, each for {format_duration(route.canary.every)} at the least")
        for kind, what in (("mirror", "copied"), ("shadow", "asked and compared")):
            written: MirrorConfig | None = getattr(route, kind)
            if written is not None:
                found.append(f"{kind}: {written.share:g} % are {what} at {written.to}")
        return found

    def steer(self, weights: Mapping[str, int]) -> None:
        """Have these weights from the next call on, and no canary any more; raises ValueError when they cannot be."""
        if len(self._route.to) < 2:
            raise ValueError("this route has one upstream: there are no weights")
        self.weights.set(weights)
        if self.canary is not None:
            self.canary.stop()
        log.info("%s: an operator has set the weights to %s", self.place, self.weights)

    def shown(self) -> dict[str, Any]:
        """What the admin address says of it."""
        found: dict[str, Any] = {"route": self.place, "name": self._route.name}
        if len(self._route.to) > 1:
            found["upstreams"] = {
                name: {"weight": side.weight, "calls": side.calls, "fallbacks": side.fallbacks}
                for name, side in self.weights.sides.items()
            }
        if self.canary is not None:
            found["canary"] = self.canary.shown()
        if self._route.mirror is not None:
            found["mirror"] = {"to": self._route.mirror.to, **self._mirrored.shown()}
        if (shadow := self.shadow()) is not None:
            found["shadow"] = {key: value for key, value in shadow.items() if key != "samples"}
        return found

    def shadow(self) -> dict[str, Any] | None:
        """What the shadow has found; None without one."""
        written = self._route.shadow
        if written is None or self.differences is None:
            return None
        return {"to": written.to, **self._shadowed.shown(), **self.differences.shown()}


def _room(written: MirrorConfig) -> Room:
    return Room(messages=written.kept_messages, bytes=written.kept_bytes)


def _rules(written: ShadowConfig) -> Rules:
    lists = written.unordered if isinstance(written.unordered, tuple) else ()
    return Rules(
        ignore=frozenset(map(path_of, written.ignore)),
        unordered=frozenset(map(path_of, lists)),
        any_order=written.unordered is True,
        tolerance=written.tolerance,
        moments_s=written.moments,
    )


def _plan(written: CanaryConfig, sides: tuple[str, ...]) -> Plan:
    rollback = written.rollback
    return Plan(
        upstream=written.upstream or sides[-1],
        steps=written.steps,
        every_s=written.every,
        errors=None if rollback.errors is None else rollback.errors / 100,
        latency=rollback.latency,
        diff=None if rollback.diff is None else rollback.diff / 100,
        least=rollback.least,
    )
