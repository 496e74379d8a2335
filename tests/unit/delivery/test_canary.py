"""A canary goes on, back, or waits, by what both sides did in the same time; the clock is the test's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Call, Encoding, Payload, Reply
from protogw.delivery.canary import PROMOTED, ROLLED_BACK, RUNNING, STOPPED, Canary, Plan
from protogw.delivery.compare import Difference
from protogw.delivery.measured import Measured, Window
from protogw.delivery.shadow import Differences
from protogw.delivery.weights import Weights
from protogw.errors import Code, DeadlineExceeded, Forbidden, Status, Unreachable
from tests.support.versions import GET, Pool, answering, call


class Rollout:
    def __init__(self, written: dict[str, int] | None = None, **plan: Any) -> None:
        self.weights = Weights(written or {"old": 95, "new": 5})
        self.windows = {name: Window() for name in self.weights.sides}
        self.found = Differences(5, values=False)
        made = Plan(**{"upstream": "new", "steps": (5, 25, 50, 100), "every_s": 60.0, "least": 100, **plan})
        self.canary = Canary("routes[0]", self.weights, made, self.windows, self.found)
        self.canary.begin(0.0)

    def calls(self, side: str, many: int, *, failed: int = 0, seconds: float = 0.01) -> None:
        for number in range(many):
            self.windows[side].add(number < failed, seconds)

    def both(self, many: int = 200) -> None:
        self.calls("old", many)
        self.calls("new", many)

    @property
    def share(self) -> float:
        now = self.weights.now
        return now["new"] / sum(now.values())


def test_a_good_version_is_promoted_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rollout = Rollout()
    shares = [rollout.share]
    for step in range(1, 5):
        rollout.both()
        rollout.canary.look(60.0 * step)
        shares.append(rollout.share)
    assert shares == [0.05, 0.25, 0.5, 1.0, 1.0]
    assert rollout.canary.state == PROMOTED
    said = [record.message for record in caplog.records]
    assert said[0] == "routes[0]: new has 5 % of the calls"
    assert said[-1] == "routes[0]: new is promoted: it has old 0, new 10000"


def test_a_step_lasts_its_time_and_until_there_are_calls_to_judge() -> None:
    rollout = Rollout()
    rollout.both()
    rollout.canary.look(59.0)
    assert rollout.share == 0.05
    rollout.canary.look(60.0)
    assert rollout.share == 0.25
    rollout.calls("new", 99)
    rollout.canary.look(1000.0)
    assert rollout.share == 0.25
    rollout.calls("new", 1)
    rollout.canary.look(1001.0)
    assert rollout.share == 0.5


def test_a_version_that_fails_more_than_the_other_is_rolled_back_at_once(caplog: pytest.LogCaptureFixture) -> None:
    rollout = Rollout()
    rollout.calls("old", 1000, failed=10)
    rollout.calls("new", 100, failed=4)
    rollout.canary.look(1.0)
    assert (rollout.canary.state, rollout.share) == (ROLLED_BACK, 0.0)
    assert rollout.canary.why == "4.0% of its calls fail, of the others' 1.0%"
    assert "routes[0]: new is rolled back: 4.0% of its calls fail" in caplog.text
    rollout.both()
    rollout.canary.look(10_000.0)
    assert rollout.share == 0.0


def test_failures_that_both_have_speak_against_neither() -> None:
    rollout = Rollout()
    rollout.calls("old", 1000, failed=500)
    rollout.calls("new", 100, failed=50)
    rollout.canary.look(60.0)
    assert rollout.share == 0.25


def test_a_few_failures_are_not_judged() -> None:
    rollout = Rollout()
    rollout.calls("old", 1000)
    rollout.calls("new", 99, failed=99)
    rollout.canary.look(60.0)
    assert rollout.canary.state == RUNNING


@pytest.mark.parametrize(("seconds", "state"), [(0.014, RUNNING), (0.016, ROLLED_BACK)])
def test_a_slow_version_is_rolled_back(seconds: float, state: str) -> None:
    rollout = Rollout(latency=1.5)
    rollout.calls("old", 100, seconds=0.01)
    rollout.calls("new", 100, seconds=seconds)
    rollout.canary.look(1.0)
    assert rollout.canary.state == state


@pytest.mark.parametrize(("different", "state"), [(1, RUNNING), (2, ROLLED_BACK)])
def test_a_version_that_answers_otherwise_is_rolled_back(different: int, state: str) -> None:
    rollout = Rollout(diff=0.01)
    rollout.both()
    for number in range(100):
        rollout.found.add(GET, [Difference("price", 1, 2)] if number < different else [])
    rollout.canary.look(1.0)
    assert rollout.canary.state == state


def test_differences_of_an_earlier_step_are_not_counted_again() -> None:
    rollout = Rollout(diff=0.5)
    for number in range(100):
        rollout.found.add(GET, [Difference("price", 1, 2)] if number < 40 else [])
    rollout.both()
    rollout.canary.look(60.0)
    for number in range(100):
        rollout.found.add(GET, [Difference("price", 1, 2)] if number < 60 else [])
    rollout.both()
    rollout.canary.look(61.0)
    assert rollout.canary.why == "60.0% of its answers differ"


def test_the_others_keep_their_shares_of_what_is_left() -> None:
    rollout = Rollout({"a": 60, "b": 30, "new": 10})
    assert rollout.weights.now == {"a": 6333, "b": 3167, "new": 500}


def test_an_operator_who_takes_over_stops_it() -> None:
    rollout = Rollout()
    rollout.canary.stop()
    rollout.both()
    rollout.canary.look(100.0)
    assert (rollout.canary.state, rollout.share) == (STOPPED, 0.05)
    assert rollout.canary.shown()["state"] == "stopped by hand"


async def test_the_background_work_ends_once_it_is_decided() -> None:
    rollout = Rollout(every_s=0.004, steps=(100,), least=1)
    begin = rollout.canary.begin

    def begun(now: float) -> None:
        begin(now)
        rollout.both()

    rollout.canary.begin = begun  # type: ignore[method-assign]
    await rollout.canary.run()
    assert rollout.canary.state == PROMOTED


@pytest.mark.parametrize(
    ("status", "failed"),
    [(Status(), 0), (Status(Code.NOT_FOUND), 0), (Status(Code.INTERNAL), 1), (Status(Code.UNIMPLEMENTED), 1)],
)
async def test_calls_are_measured_by_how_they_end(status: Status, failed: int) -> None:
    window = Window()
    await Measured(Pool("new", answering(status)), window).send(call(id="7"))
    assert (window.calls, window.failed) == (1, failed)


@pytest.mark.parametrize(("error", "failed"), [(Unreachable("nobody"), 1), (Forbidden("no"), 0)])
async def test_errors_of_the_way_there_are_measured(error: Exception, failed: int) -> None:
    async def failing(_: Call) -> Reply:
        raise error

    window = Window()
    with pytest.raises(type(error)):
        await Measured(Pool("new", failing), window).send(call(id="7"))
    assert (window.calls, window.failed) == (1, failed)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("wanted", "failed"), [(0.001, []), (None, [1])])
async def test_a_clients_own_short_deadline_speaks_against_no_version(
    told: bool, wanted: float | None, failed: list[int]
) -> None:
    async def late(one: Call) -> Reply:
        if told:
            return Reply(status=Status(Code.DEADLINE_EXCEEDED))
        one.cut = DeadlineExceeded()
        raise asyncio.CancelledError

    window = Window()
    made = call(id="7")
    made.timeout, made.deadline = wanted, made.started + 0.001
    with contextlib.suppress(asyncio.CancelledError):
        await Measured(Pool("new", late), window).send(made)
    assert [window.failed] * window.calls == failed


@pytest.mark.parametrize(("data", "failed"), [(b"\xff\xff", []), (b"", [1])])
async def test_bytes_that_are_no_message_speak_against_no_version(data: bytes, failed: list[int]) -> None:
    window = Window()
    made = call(id="7")
    assert made.payload is not None
    made.payload = Payload(data, Encoding.PROTO, made.payload.codec)
    await Measured(Pool("new", answering(Status(Code.INTERNAL))), window).send(made)
    assert [window.failed] * window.calls == failed


async def test_a_stream_is_measured_by_its_end() -> None:
    async def broken() -> AsyncIterator[Payload]:
        raise Unreachable("gone")
        yield

    async def answer(_: Call) -> Reply:
        return Reply(payloads=broken())

    window = Window()
    reply = await Measured(Pool("new", answer), window).send(call(id="7"))
    assert reply.payloads is not None
    assert window.calls == 0
    with pytest.raises(Unreachable):
        async for _ in reply.payloads:
            pass
    assert (window.calls, window.failed) == (1, 1)
