"""Shares the calls of a route between upstreams: canary and blue-green, by weight, by key, or as the caller asks."""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Sequence

from protogw.call import Call, Reply
from protogw.delivery.weights import Side, Weights, chosen
from protogw.errors import GatewayError
from protogw.expressions import Expression
from protogw.policies.base import Reachable, Target


class Member:
    """One side of a split: where its calls are sent, and the pool that says whether anything there can be reached."""

    __slots__ = ("_pool", "kind", "name", "seed", "side", "target")

    def __init__(self, side: Side, target: Target, pool: Target) -> None:
        self.name = side.name
        self.kind = pool.kind
        self.side = side
        self.seed = side.seed
        self.target = target
        self._pool = pool if isinstance(pool, Reachable) else None

    @property
    def weight(self) -> int:
        return self.side.weight

    @property
    def reachable(self) -> bool:
        return self._pool is None or self._pool.reachable


class Override:
    """A header or cookie in which a caller names the upstream it wants."""

    __slots__ = ("_cookie", "_header")

    def __init__(self, header: str | None, cookie: str | None) -> None:
        self._header = header.lower().encode() if header is not None else None
        self._cookie = cookie.encode() if cookie is not None else None

    def named(self, call: Call) -> str | None:
        """What the call names: the header's word before the cookie's."""
        found = call.metadata.get(self._header) if self._header is not None else None
        if found is None and self._cookie is not None:
            found = call.metadata.cookie(self._cookie)
        return found.decode("latin-1") if found is not None else None


class Split:
    """A Target that is several. Its name is that of the first, whose schema is the one offered."""

    def __init__(
        self,
        members: Sequence[Member],
        weights: Weights,
        sticky_by: Expression | None = None,
        override: Override | None = None,
    ) -> None:
        self.name = members[0].name
        self.kind = members[0].kind
        self.members = tuple(members)
        self.weights = weights
        self._by_name = {member.name: member for member in members}
        self._sticky_by = sticky_by
        self._override = override
        self._version: object = None
        self._shared: tuple[Member, ...] = ()
        self._sums: list[int] = []

    @property
    def reachable(self) -> bool:
        return any(member.reachable for member in self.members if member.weight)

    async def send(self, call: Call) -> Reply:
        """Send the call to one of the upstreams; to another one where nothing of that can be reached."""
        member = self._choose(call)
        if not member.reachable and (other := self._instead(call, member)) is not None:
            member = other
        member.side.calls += 1
        try:
            return await member.target.send(call)
        except GatewayError as error:
            if not error.retryable:
                raise
            other = self._instead(call, member)
            if other is None:
                raise
        other.side.calls += 1
        return await other.target.send(call)

    def _choose(self, call: Call) -> Member:
        if self._override is not None and (named := self._override.named(call)) is not None:
            wanted = self._by_name.get(named)
            if wanted is not None:
                return wanted
        if self.weights.version is not self._version:
            self._learn()
        if len(self._shared) == 1:
            return self._shared[0]
        key = self._sticky_by.key(call) if self._sticky_by is not None else ""
        if key:
            return chosen(key.encode(), self._shared)
        # Without a key all callers would be one, and go all to one side.
        return self._shared[bisect(self._sums, random.random() * self._sums[-1])]

    def _learn(self) -> None:
        """Take over the weights as they are now."""
        self._version = self.weights.version
        # A method that only sides without a share have is carried all the same.
        self._shared = tuple(member for member in self.members if member.weight) or self.members[:1]
        self._sums = list(itertools.accumulate(member.weight for member in self._shared))

    def _instead(self, call: Call, member: Member) -> Member | None:
        """Who carries a call of a side that cannot be reached; None when nobody can."""
        others = tuple(one for one in self.members if one is not member and one.weight and one.reachable)
        if not others:
            return None
        member.side.fallbacks += 1
        key = self._sticky_by.key(call) if self._sticky_by is not None else ""
        return chosen((key or str(random.random())).encode(), others)

    def __repr__(self) -> str:
        return f"<Split {' + '.join(f'{member.name} {member.weight}' for member in self.members)}>"
