"""Sends who comes with an endpoint's token to that endpoint; who comes with none goes by another balancer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from protogw.balancers.base import Balancer, C, Candidate, Observer


class Tokens:
    """What stands for an endpoint outside: a keyed hash of its address, which tells nothing of that without the key."""

    def __init__(self, secret: bytes) -> None:
        """`secret` has up to 64 bytes."""
        self._secret = secret
        self.of = lru_cache(maxsize=10_000)(self._made)
        """The token of an endpoint's label."""

    def _made(self, label: str) -> bytes:
        return hashlib.blake2b(label.encode(), key=self._secret, digest_size=12).hexdigest().encode()


class Sticky:
    """By token, the key; else by the balancer that it stands before."""

    kind: ClassVar[str] = "sticky"

    def __init__(self, tokens: Tokens, balancer: Balancer) -> None:
        self._tokens = tokens
        self._balancer = balancer
        self._ready: Sequence[object] = ()
        self._index: dict[bytes, int] = {}

    def pick(self, ready: Sequence[C], key: bytes) -> C:
        """The one that `key` stands for, if it is ready."""
        if key:
            if ready is not self._ready:
                self._ready = ready
                self._index = {self._tokens.of(endpoint.label): index for index, endpoint in enumerate(ready)}
            index = self._index.get(key)
            if index is not None:
                return ready[index]
        return self._balancer.pick(ready, b"")


class StickyObserver(Sticky):
    """The same before a balancer that learns from how calls went."""

    def __init__(self, tokens: Tokens, balancer: Balancer, observer: Observer) -> None:
        super().__init__(tokens, balancer)
        self._observer = observer

    def observe(self, endpoint: Candidate, seconds: float, now: float) -> None:
        self._observer.observe(endpoint, seconds, now)


def sticky(tokens: Tokens, balancer: Balancer) -> Sticky:
    """The balancer with tokens before it."""
    return StickyObserver(tokens, balancer, balancer) if isinstance(balancer, Observer) else Sticky(tokens, balancer)
