"""Places of workers: asked of the supervisor, given back whatever happens to the call, and without a supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from protogw.stores.base import StoreError
from protogw.workers import placing
from protogw.workers.placing import Entering, Placing


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about how quickly this machine answers."""
    monkeypatch.setattr(placing, "TIMEOUT_S", 60.0)


class Wire:
    """Both ends of a channel: what a worker says is heard at once, and its answers reach it in a later turn."""

    def __init__(self, placing_side: Placing, share: int = 2) -> None:
        self.said: list[Mapping[str, Any]] = []
        self.silent = False
        self._placing = placing_side
        self.end = Answers(self)
        self.entering = Entering(self, share)  # type: ignore[arg-type]

    def send(self, message: Mapping[str, Any]) -> None:
        self.said.append(message)
        if not self.silent:
            self._placing.heard(self.end, message)  # type: ignore[arg-type]


class Answers:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def send(self, message: Mapping[str, Any]) -> None:
        asyncio.get_running_loop().call_soon(self._wire.entering.answered, message)


async def test_two_workers_have_the_places_of_one() -> None:
    node = Placing()
    one, two = Wire(node), Wire(node)
    found = [await wire.entering.enter("k", 3, 0, 0.0) for wire in (one, two, one, two)]
    assert found == [True, True, True, False]
    one.entering.leave("k")
    assert await two.entering.enter("k", 3, 0, 0.0)


async def test_a_call_waits_for_a_place_of_the_other_worker() -> None:
    node = Placing()
    one, two = Wire(node), Wire(node)
    assert await one.entering.enter("k", 1, 1, 5.0)
    waiting = asyncio.ensure_future(two.entering.enter("k", 1, 1, 5.0))
    await asyncio.sleep(0)
    one.entering.leave("k")
    assert await waiting


async def test_who_waits_no_more_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "TIMEOUT_S", 0.0)
    node = Placing()
    one, two = Wire(node), Wire(node)
    assert await one.entering.enter("k", 1, 1, 5.0)
    assert not await two.entering.enter("k", 1, 1, 0.01)
    waiting = asyncio.ensure_future(two.entering.enter("k", 1, 1, 5.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    one.entering.leave("k")
    assert len(node.rooms) == 0


async def test_a_place_that_comes_for_a_call_that_has_gone_is_given_back() -> None:
    node = Placing()
    wire = Wire(node)
    for turns in range(4):
        asked = asyncio.ensure_future(wire.entering.enter("k", 1, 0, 0.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        if not asked.cancelled() and asked.result():
            wire.entering.leave("k")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(node.rooms) == 0, turns


async def test_a_supervisor_that_does_not_answer_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "TIMEOUT_S", 0.01)
    wire = Wire(Placing())
    wire.silent = True
    with pytest.raises(StoreError, match="no answer"):
        await wire.entering.enter("k", 1, 0, 0.0)


async def test_without_a_supervisor_each_worker_has_its_share() -> None:
    node = Placing()
    wire = Wire(node)
    assert await wire.entering.enter("k", 4, 0, 0.0)
    wire.silent = True
    waiting = asyncio.ensure_future(wire.entering.enter("k", 4, 0, 0.0))
    await asyncio.sleep(0)
    wire.entering.gone()
    assert await waiting  # the second of two
    assert not await wire.entering.enter("k", 4, 0, 0.0)
    wire.entering.leave("k")
    assert await wire.entering.enter("k", 4, 0, 0.0)


async def test_the_places_of_a_worker_that_ends_are_free() -> None:
    node = Placing()
    one, two = Wire(node), Wire(node)
    assert await one.entering.enter("k", 1, 0, 0.0)
    node.gone(one.end)  # type: ignore[arg-type]
    assert await two.entering.enter("k", 1, 0, 0.0)
