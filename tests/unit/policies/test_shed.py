"""Load shedding: what is refused, in what order, and that delay settles where it should."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Reply
from protogw.errors import Code, Overloaded
from protogw.policies import pressure
from protogw.policies import shed as shedding
from protogw.policies.pressure import Valve
from protogw.policies.shed import Shed, ShedSettings
from tests.support.policies import Gated, call, forward, turns


def shed(chance: float = 0.5, **written: Any) -> Shed:
    return Shed(ShedSettings.model_validate({"hold": "0s", **written}), chance=lambda: chance)


async def passes(policy: Shed, one: Call) -> bool:
    try:
        await policy(one, forward)
    except Overloaded:
        return False
    return True


def ranked(priority: str) -> Call:
    return call(fields=((b"x-priority", priority.encode()),))


@pytest.mark.parametrize("load", [1.2, 1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("refusing_costs", [0.0, 0.05, 0.1, 0.2])
def test_delay_stays_near_its_bound_however_much_comes(load: float, refusing_costs: float) -> None:
    """One worker who needs 1 ms for a call, and a part of that to refuse one."""
    valve, chance = Valve(0.05), random.Random(7)
    # Beyond this the worker has too much to do with refusals alone.
    load = min(load, 0.8 / (0.05 + 0.95 * refusing_costs))
    backlog, look, delays, done = 0.0, 0.05, [], 0
    for step in range(800):
        for _ in range(int(load * look * 1000)):
            if valve.admits(0, 1, chance.random()):
                backlog += 0.001
                done += step >= 200
            else:
                backlog += 0.001 * refusing_costs
        backlog = max(0.0, backlog - look)
        valve.look(backlog)
        if step >= 200:
            delays.append(backlog)
    delays.sort()
    assert delays[len(delays) // 2] < 0.15
    assert delays[int(len(delays) * 0.99)] < 0.6
    if refusing_costs < 0.05:
        assert done > 0.7 * 1000 * 30, "refusing must not leave the worker idle"


def test_nothing_is_refused_while_there_is_no_delay() -> None:
    valve = Valve(0.05)
    for delay in (0.0, 0.01, 0.05):
        assert valve.look(delay) == 0.0
    assert valve.admits(0, 3, 0.0)


def test_a_burst_that_passes_by_itself_is_no_reason_to_refuse() -> None:
    valve = Valve(0.05)
    for delay in (0.3, 0.2, 0.0, 0.4, 0.04, 0.5, 0.5):
        assert valve.look(delay) == 0.0
    assert valve.look(0.5) > 0.0


def test_it_opens_again_within_seconds() -> None:
    valve = Valve(0.05)
    for _ in range(100):
        valve.look(10.0)
    assert valve.part == 0.95
    looks = 0
    while valve.look(0.0):
        looks += 1
    assert looks < 60


async def test_the_least_important_calls_are_refused_first() -> None:
    policy = shed(priority="header.x-priority", chance=0.5)
    assert policy._valve is not None
    order = []
    for part in (0.1, 0.3, 0.6, 0.9):
        policy._valve.part = part
        order.append([await passes(policy, ranked(one)) for one in ("low", "normal", "high")])
    assert order == [[True] * 3, [False, True, True], [False, False, True], [False] * 3]
    policy._valve.part = 0.4
    assert await passes(policy, ranked("")), "what says nothing is normal"


async def test_a_refusal_says_when_to_come_back() -> None:
    policy = shed()
    policy.look(10.0)
    for _ in range(20):
        policy.look(10.0)
    with pytest.raises(Overloaded, match="too much to do") as caught:
        await policy(call(), forward)
    assert caught.value.status.code is Code.UNAVAILABLE
    assert (b"retry-after", b"1") in caught.value.headers


class Slept:
    """Notes how long is slept, and sleeps until told."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.over.wait()


def holding(slept: Slept, chance: float = 0.5, **written: Any) -> Shed:
    policy = Shed(
        ShedSettings.model_validate({"priority": "header.x-priority", **written}), chance=lambda: chance, sleep=slept
    )
    assert policy._valve is not None
    policy._valve.part = 0.95
    return policy


async def test_a_refusal_waits_so_that_nobody_comes_back_at_once() -> None:
    slept = Slept()
    policy = holding(slept, chance=0.25, hold="2s")
    task = asyncio.ensure_future(passes(policy, ranked("low")))
    await turns()
    assert (slept.asked, policy.held, task.done()) == ([1.5], 1, False)
    slept.over.set()
    assert await task is False
    assert policy.held == 0


async def test_only_so_many_refusals_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shedding, "MOST_HELD", 2)
    slept = Slept()
    policy = holding(slept)
    tasks = [asyncio.ensure_future(passes(policy, ranked("low"))) for _ in range(2)]
    await turns()
    assert await passes(policy, ranked("low")) is False
    assert len(slept.asked) == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert policy.held == 0


async def test_no_refusal_waits_until_the_call_has_no_time_left() -> None:
    slept = Slept()
    slept.over.set()
    policy = holding(slept, chance=1.0, hold="10s")
    one = ranked("low")
    one.deadline = asyncio.get_running_loop().time() + 3
    assert await passes(policy, one) is False
    assert 1.4 < slept.asked[0] <= 1.5
    one.deadline = asyncio.get_running_loop().time() - 1
    assert await passes(policy, one) is False
    assert len(slept.asked) == 1


async def test_calls_in_flight_are_limited_and_the_important_ones_have_room_left() -> None:
    policy, service = shed(in_flight=10, lag=None, priority="header.x-priority"), Gated()
    tasks = [asyncio.ensure_future(policy(ranked("low"), service)) for _ in range(8)]
    await turns()
    assert not await passes(policy, ranked("low"))
    tasks.append(asyncio.ensure_future(policy(ranked("normal"), service)))
    await turns()
    assert not await passes(policy, ranked("normal"))
    tasks.append(asyncio.ensure_future(policy(ranked("high"), service)))
    await turns()
    assert not await passes(policy, ranked("high"))
    for waiting in service.waiting:
        waiting.set_result(Reply())
    await asyncio.gather(*tasks)
    assert policy.running == 0
    assert await passes(policy, ranked("low"))


@pytest.mark.parametrize("what", ["memory", "file descriptors"])
async def test_with_hardly_any_memory_or_descriptors_left_everything_is_refused(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    share = {"value": 0.99}
    monkeypatch.setattr(shedding, "memory_limit", lambda: 1000)
    monkeypatch.setattr(shedding, "memory_used", lambda: share["value"] * 1000 if what == "memory" else 0)
    monkeypatch.setattr(shedding, "descriptors_used", lambda: share["value"] if what != "memory" else 0.0)
    policy = shed(priority="header.x-priority")
    policy.look_around()
    assert not await passes(policy, ranked("high"))
    share["value"] = 0.5
    policy.look_around()
    assert await passes(policy, ranked("low"))
    assert f"hardly any {what} left" in caplog.text
    assert f"enough {what} again" in caplog.text


async def test_the_loop_is_looked_at_in_the_background() -> None:
    policy = shed(lag="1h")
    task = asyncio.ensure_future(policy.run())
    await asyncio.sleep(0.12)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert policy.lag_s >= 0.0


def test_the_readings_are_of_this_process() -> None:
    assert pressure.memory_limit() > pressure.memory_used() > 1 << 20
    assert 0.0 <= pressure.descriptors_used() < 0.9


def test_a_policy_that_watches_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="watches nothing"):
        ShedSettings.model_validate({"lag": None, "memory": None, "descriptors": None})
