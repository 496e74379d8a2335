"""Copies: sent beside the call, bounded, marked, and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from protogw.call import Call, Encoding, Payload, Reply, Tries
from protogw.delivery.copies import MARK, Bounds, Copies, Counts
from protogw.delivery.mirror import Mirror
from protogw.delivery.teed import Room
from protogw.errors import Unreachable
from protogw.policies.repeating import Before
from protogw.wire.http import RequestHead
from tests.support.versions import GET, Pool, answering, call, told


class Beside:
    """A pool, its mirror, and the tasks that they own."""

    def __init__(self, **bounds: float) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.first = Pool("first", answering(id="1"))
        self.second = Pool("second", answering(id="2"))
        made = Bounds(**bounds)  # type: ignore[arg-type]
        copies = Copies("routes[0].mirror", self.second, made, self._own, self.counts)
        self.mirror = Mirror(self.first, copies, Room())

    def _own(self, task: asyncio.Task[None]) -> None:
        self.tasks.add(task)

    async def done(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_the_other_upstream_gets_a_marked_copy_and_the_client_the_first_answer() -> None:
    beside = Beside()
    asked = call(GET, (b"x-user", b"ann"), id="7")
    asked.deadline = 1e12
    reply = await beside.mirror.send(asked)
    assert told(reply.payload) == {"id": "1"}
    await beside.done()
    (copy,) = beside.second.calls
    assert copy.metadata.get(MARK) == b"routes[0].mirror"
    assert copy.metadata.get(b"x-user") == b"ann"
    assert copy.deadline is not None
    assert copy.deadline < 1e12
    assert asked.metadata.get(MARK) is None
    assert asked.upstream == "first"
    nothing = dict.fromkeys(("in_flight", "dropped", "skipped", "behind", "cancelled", "failed"), 0)
    assert beside.counts.shown() == {"sent": 1, **nothing}


async def test_a_mirror_that_hangs_delays_nobody_and_is_bounded() -> None:
    beside = Beside(in_flight=2, timeout_s=0.01)
    stuck = asyncio.Event()

    async def hanging(_: Call) -> Reply:
        await stuck.wait()
        return Reply()

    beside.second.answer = hanging
    for _ in range(5):
        assert told((await beside.mirror.send(call(id="7"))).payload) == {"id": "1"}
    assert (beside.counts.in_flight, beside.counts.dropped) == (2, 3)
    await beside.done()
    assert (beside.counts.in_flight, beside.counts.failed) == (0, 2)


@pytest.mark.parametrize("error", [Unreachable("nobody"), RuntimeError("a fault")])
async def test_a_mirror_that_fails_harms_nobody(error: Exception) -> None:
    beside = Beside()

    async def failing(_: Call) -> Reply:
        raise error

    beside.second.answer = failing
    assert told((await beside.mirror.send(call(id="7"))).payload) == {"id": "1"}
    await beside.done()
    assert beside.counts.failed == 1


async def test_a_share_of_the_calls_is_copied() -> None:
    beside = Beside(share=0.25, in_flight=10_000)
    for _ in range(1000):
        await beside.mirror.send(call(id="7"))
    assert 150 < beside.counts.sent < 350
    await beside.done()


async def test_a_call_is_copied_once_however_often_it_is_tried() -> None:
    beside = Beside()
    asked = call(id="7")
    before = Before(asked)
    await beside.mirror.send(asked)
    before.restore(asked, 2)
    asked.tries = Tries()
    asked.tries.number = 2
    await beside.mirror.send(asked)
    await beside.done()
    assert (len(beside.first.calls), len(beside.second.calls)) == (2, 1)


async def test_a_call_that_goes_to_another_side_is_not_copied_again() -> None:
    beside = Beside()
    asked = call(id="7")
    await beside.mirror.send(asked)
    await beside.mirror.send(asked)
    await beside.done()
    assert (len(beside.first.calls), len(beside.second.calls)) == (2, 1)


async def test_requests_that_switch_protocols_are_not_copied() -> None:
    beside = Beside()
    socket = call(None)
    socket.head = RequestHead(b"GET", b"/", b"", b"a", (), 11, upgrade=b"websocket")
    await beside.mirror.send(socket)
    assert (beside.counts.skipped, beside.counts.sent) == (1, 0)


async def test_an_answer_that_streams_for_ever_is_let_go() -> None:
    beside = Beside()
    closed = asyncio.Event()

    async def for_ever() -> AsyncIterator[Payload]:
        try:
            while True:
                yield Payload(b"x" * 65536, Encoding.RAW)
        finally:
            closed.set()

    async def answer(_: Call) -> Reply:
        return Reply(payloads=for_ever())

    beside.second.answer = answer
    await beside.mirror.send(call(id="7"))
    await beside.done()
    assert closed.is_set()
    assert beside.counts.failed == 0
