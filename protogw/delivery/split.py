"""Shares the calls of a route between upstreams: canary and blue-green, by weight, by key, or as the caller asks."""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Mapping, Sequence

from protogw.call import Call, Reply
from protogw.delivery.weights import Side, Weights, chosen
from protogw.errors import GatewayError
from protogw.expressions import Expression
from protogw.policies.base import Reachable, Target


class Member:
    """One side of a split: where its calls are sent, and the pool that says whether anything there can be reached.

    `apart` is where those calls are sent whose callers chose this side: they are not judged by.
    """

    __slots__ = ("_pool", "apart", "kind", "name", "seed", "side", "target")

    def __init__(self, side: Side, target: Target, pool: Target, apart: Target | None = None) -> None:
        self.name = side.name
        self.kind = pool.kind
        self.side = side
        self.seed = side.seed
        self.target = target
        self.apart = apart or target
        self._pool = pool if isinstance(pool, Reachable) else None

    @property
    def weight(self) -> int:
        return self.side.weight

    @property
    def reachable(self) -> bool:
        return self._pool is None or self._pool.reachable


class Override:
    """Where a caller names the upstream, or version, that it wants: the first of these that it uses.

    `names` are the words for it, each with its upstream; without any they are the upstreams' own names.
    """

    __slots__ = ("_cookie", "_header", "_media", "_names", "query")

    def __init__(
        self,
        header: str | None = None,
        cookie: str | None = None,
        *,
        query: str | None = None,
        media_type: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._header = header.lower().encode() if header is not None else None
        self._cookie = cookie.encode() if cookie is not None else None
        self._media = media_type.lower().encode() if media_type is not None else None
        self._names = dict(names or {})
        self.query = query.encode() if query is not None else None
        """The parameter of the query, which is no field of a message then."""

    def named(self, call: Call) -> str | None:
        """The upstream that the call names, if it names any."""
        found = call.metadata.get(self._header) if self._header is not None else None
        head = call.head
        if found is None and head is not None:
            if self.query is not None and head.query:
                found = _parameter(head.query.split(b"&"), self.query)
            if found is None and self._media is not None:
                found = _of_media(head.get_all(b"accept"), self._media)
        if found is None and self._cookie is not None:
            found = call.metadata.cookie(self._cookie)
        if found is None:
            return None
        word = found.decode("latin-1")
        return self._names.get(word) if self._names else word


def _parameter(pairs: Sequence[bytes], name: bytes) -> bytes | None:
    for pair in pairs:
        known, _, value = pair.partition(b"=")
        if known == name:
            return value
    return None


def _of_media(fields: Sequence[bytes], name: bytes) -> bytes | None:
    """The first value of a parameter of the media types that Accept lists (RFC 9110 section 12.5.1)."""
    for field in fields:
        for media in field.split(b","):
            for parameter in media.split(b";")[1:]:
                known, _, value = parameter.partition(b"=")
                if known.strip().lower() == name:
                    return value.strip().strip(b'"')
    return None


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
        self.between = tuple(members)
        self.weights = weights
        self._by_name = {member.name: member for member in members}
        self._sticky_by = sticky_by
        self._override = override
        self._version: object = None
        self._shared: tuple[Member, ...] = ()
        self._sums: list[int] = []

    @property
    def reachable(self) -> bool:
        return any(member.reachable for member in self.between if member.weight)

    async def send(self, call: Call) -> Reply:
        """Send the call to one of the upstreams; to another one where nothing of that can be reached."""
        named = self._named(call) if self._override is not None else None
        member = named or self._choose(call)
        if not member.reachable and (other := self._instead(call, member)) is not None:
            member = other
        member.side.calls += 1
        try:
            return await (member.target if named is None else member.apart).send(call)
        except GatewayError as error:
            if not error.retryable:
                raise
            other = self._instead(call, member)
            if other is None:
                raise
        other.side.calls += 1
        return await (other.target if named is None else other.apart).send(call)

    def _named(self, call: Call) -> Member | None:
        """The side that the caller names."""
        assert self._override is not None
        word = self._override.named(call)
        return self._by_name.get(word) if word is not None else None

    def _choose(self, call: Call) -> Member:
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
        self._shared = tuple(member for member in self.between if member.weight) or self.between[:1]
        self._sums = list(itertools.accumulate(member.weight for member in self._shared))

    def _instead(self, call: Call, member: Member) -> Member | None:
        """Who carries a call of a side that cannot be reached; None when nobody can."""
        others = tuple(one for one in self.between if one is not member and one.weight and one.reachable)
        if not others:
            return None
        member.side.fallbacks += 1
        key = self._sticky_by.key(call) if self._sticky_by is not None else ""
        return chosen((key or str(random.random())).encode(), others)

    def __repr__(self) -> str:
        return f"<Split {' + '.join(f'{member.name} {member.weight}' for member in self.between)}>"
