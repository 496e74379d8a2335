"""How policies become one chain: the first is the outermost, and each is called in its own way."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar

from protogw.call import NO_METADATA, Call, Reply
from protogw.policies.base import Folding, Handler, PolicySettings, chain
from protogw.wire.http import Peer


class Marking:
    kind: ClassVar[str] = "marking"
    Settings: ClassVar[type[PolicySettings]] = PolicySettings

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self.said = said

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        self.said.append(self.name)
        return await forward(call)


class Folded(Folding):
    kind: ClassVar[str] = "folded"
    Settings: ClassVar[type[PolicySettings]] = PolicySettings

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self.said = said

    def around(self, forward: Handler) -> Handler:
        self.said.append(f"{self.name} folded")

        def run(call: Call) -> Awaitable[Reply]:
            self.said.append(self.name)
            return forward(call)

        return run


class Stricter(Folded):
    """Of its own mind, though what it is made from folds itself."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        self.said.append(f"{self.name} first")
        return await self.around(forward)(call)


async def end(call: Call) -> Reply:
    return Reply()


def a_call() -> Call:
    return Call(None, NO_METADATA, front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)


async def test_policies_come_in_their_order_whichever_way_they_are_called() -> None:
    said: list[str] = []
    handler = chain([Marking("a", said), Folded("b", said), Marking("c", said), Folded("d", said)], end)  # type: ignore[list-item]
    assert said == ["d folded", "b folded"]
    said.clear()
    await handler(a_call())
    await handler(a_call())
    assert said == ["a", "b", "c", "d"] * 2


async def test_a_folding_policy_can_be_called_by_itself() -> None:
    said: list[str] = []
    await Folded("a", said)(a_call(), end)
    assert said == ["a folded", "a"]


async def test_a_subclass_with_a_way_of_its_own_is_called_in_that_way() -> None:
    said: list[str] = []
    await chain([Stricter("a", said)], end)(a_call())  # type: ignore[list-item]
    assert said == ["a first", "a folded", "a"]
