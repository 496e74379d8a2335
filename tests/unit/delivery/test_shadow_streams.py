"""Shadow diff of streams: compared one by one while they come, within bounds, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Encoding, Payload, Reply
from protogw.delivery.canary import ROLLED_BACK, RUNNING, Canary, Plan
from protogw.delivery.compare import MOST, Rules, path_of
from protogw.delivery.copies import Bounds, Copies, Counts
from protogw.delivery.measured import Window
from protogw.delivery.shadow import MOST_BYTES, STATUS, Differences
from protogw.delivery.shadow_streams import GOES_ON, LENGTH, StreamShadow
from protogw.delivery.teed import Room
from protogw.delivery.weights import Weights
from protogw.descriptors.model import Method
from protogw.errors import Code, Status, Unreachable, UpstreamReset
from tests.support.streamed import SUM, TALK, WATCH, Next, Side, call, item, items, read, until

NOT_FOUND = Status(Code.NOT_FOUND)


class Beside:
    """Two versions, the second in the shadow of the first, and what was found."""

    def __init__(
        self,
        method: Method,
        first: Side,
        second: Side,
        rules: Rules | None = None,
        room: Room | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.found = Differences(3, values=True)
        self.first, self.second, self.method = first, second, method
        bounds = Bounds(timeout_s=timeout_s)
        copies = Copies("routes[0].shadow", second, bounds, self.tasks.add, self.counts)
        self.shadow = StreamShadow(first, copies, (method, method), rules or Rules(), self.found, room or Room())

    async def ask(self, *steps: Next) -> Reply:
        return await self.shadow.send(call(self.method, *steps))

    async def told(self, *steps: Next) -> list[object]:
        """What the client is told, once both sides are done."""
        said = await read(await self.ask(*steps))
        await self.over()
        return said

    async def over(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def fields(self) -> dict[str, list[object]]:
        return self.found.samples[-1]["fields"] if self.found.samples else {}


async def test_streams_that_say_the_same_do_not_differ() -> None:
    beside = Beside(WATCH, Side("old", *items(1, 2, 0)), Side("new", *items(1, 2, 0)))
    assert await beside.told() == [{"price": "1"}, {"price": "2"}, {}]
    shown = beside.found.shown()
    assert (shown["compared"], shown["different"], shown["messages"], shown["unsaid"]) == (1, 0, 3, 0)
    assert shown["latency"]["second"]["p50_ms"] > 0


async def test_a_field_of_one_message_is_told_with_its_place_and_counted_without() -> None:
    beside = Beside(WATCH, Side("old", *items(1, 2, 3, 4)), Side("new", *items(1, 2, 3, 5)))
    await beside.told()
    assert beside.fields == {"[3].price": ["4", "5"]}
    assert dict(beside.found.by_path) == {"[].price": 1}
    assert beside.found.rate == 1.0


async def test_another_order_is_a_difference() -> None:
    beside = Beside(WATCH, Side("old", *items(1, 2, 3)), Side("new", *items(1, 3, 2)))
    await beside.told()
    assert beside.fields == {"[1].price": ["2", "3"], "[2].price": ["3", "2"]}


@pytest.mark.parametrize(
    ("first", "second", "told"), [((1, 2, 3), (1, 2), ["over 2", "2"]), ((1,), (1, 2, 3), ["1", "over 1"])]
)
async def test_another_length_is_a_difference(first: tuple[int, ...], second: tuple[int, ...], told: list[str]) -> None:
    beside = Beside(WATCH, Side("old", *items(*first)), Side("new", *items(*second)))
    await beside.told()
    assert beside.fields == {LENGTH: told}
    assert beside.second.closed.is_set()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Side("old", *items(1), status=NOT_FOUND), Side("new", *items(1)), ["NOT_FOUND", "OK"]),
        (Side("old", *items(1)), Side("new", *items(1), status=NOT_FOUND), ["OK", "NOT_FOUND"]),
        (Side("old", *items(1, 2)), Side("new", *items(1), status=NOT_FOUND), [GOES_ON, "NOT_FOUND"]),
        (Side("old", status=NOT_FOUND), Side("new", *items(1)), ["NOT_FOUND", GOES_ON]),
    ],
)
async def test_another_end_is_a_difference(first: Side, second: Side, told: list[str]) -> None:
    beside = Beside(WATCH, first, second)
    await beside.told()
    assert beside.fields == {STATUS: told}
    assert (beside.found.compared, beside.counts.failed) == (1, 0)


async def test_both_may_end_with_the_same_fault() -> None:
    beside = Beside(
        WATCH, Side("old", *items(1), status=Status(Code.NOT_FOUND, "a")), Side("new", *items(1), status=NOT_FOUND)
    )
    await beside.told()
    assert (beside.found.compared, beside.found.different) == (1, 0)


async def test_rules_are_of_each_message() -> None:
    rules = Rules(ignore=frozenset((path_of("price"),)), any_order=True)
    first, second = item(price=1, tags=["a", "b"]), item(price=2, tags=["b", "a"])
    beside = Beside(WATCH, Side("old", first, first), Side("new", second, second), rules)
    await beside.told()
    assert (beside.found.compared, beside.found.different, beside.found.messages) == (1, 0, 2)


async def test_the_second_gets_the_whole_of_a_client_stream_and_its_answer_is_compared() -> None:
    beside = Beside(SUM, Side("old", item(price=6)), Side("new", item(price=7)))
    assert await beside.told(*items(1, 2, 3)) == [{"price": "6"}]
    assert beside.first.asked == beside.second.asked == [{"price": "1"}, {"price": "2"}, {"price": "3"}]
    assert beside.fields == {"price": ["6", "7"]}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Side("old", item(price=6)), Side("new", status=NOT_FOUND), ["OK", "NOT_FOUND"]),
        (Side("old", status=NOT_FOUND), Side("new", item(price=6)), ["NOT_FOUND", "OK"]),
    ],
)
async def test_how_client_streams_end_is_compared(first: Side, second: Side, told: list[str]) -> None:
    first._steps = first._steps or (item(),)
    second._steps = second._steps or (item(),)
    beside = Beside(SUM, first, second)
    await beside.told(*items(1))
    assert beside.fields == {STATUS: told}


async def test_a_client_stream_whose_answer_is_the_same_does_not_differ() -> None:
    beside = Beside(SUM, Side("old", item(price=6)), Side("new", item(price=6)))
    await beside.told(*items(1, 2))
    assert (beside.found.compared, beside.found.different) == (1, 0)


async def test_a_talk_is_compared_while_it_goes_on() -> None:
    asked = asyncio.Event()
    beside = Beside(TALK, Side("old", echo=True), Side("new", echo=True))
    reply = await beside.ask(*items(1), asked, *items(2))
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    await until(lambda: beside.found.messages == 1)
    asked.set()
    assert await read(reply) == [{"price": "2"}]
    await beside.over()
    assert beside.second.asked == [{"price": "1"}, {"price": "2"}]
    assert (beside.found.compared, beside.found.different, beside.found.messages) == (1, 0, 2)


async def test_a_first_that_ends_without_reading_all_ends_the_seconds_request() -> None:
    first = Side("old", *items(9), reads=False)
    beside = Beside(TALK, first, Side("new", *items(9)))
    assert await beside.told(*items(1), asyncio.Event()) == [{"price": "9"}]
    assert beside.second.done.is_set()
    assert (beside.found.compared, beside.found.different) == (1, 0)


async def test_a_second_that_answers_no_further_never_holds_up_the_client() -> None:
    second = Side("new", asyncio.Event())
    beside = Beside(WATCH, Side("old", second.begun, *items(*range(100))), second, room=Room(messages=10))
    assert len(await read(await beside.ask())) == 100
    await beside.over()
    assert beside.counts.shown()["behind"] == 1
    assert (beside.found.compared, beside.counts.failed, beside.counts.in_flight) == (0, 0, 0)
    assert beside.second.closed.is_set()


async def test_a_second_that_reads_no_further_is_ended_at_the_bound() -> None:
    stuck = Side("new", asyncio.Event(), reads=False)
    beside = Beside(SUM, Side("old", item(price=1)), stuck, room=Room(messages=10))
    assert await beside.told(*items(*range(11))) == [{"price": "1"}]
    assert (beside.counts.behind, beside.found.compared) == (1, 0)
    beside = Beside(SUM, Side("old", item(price=1)), Side("new", asyncio.Event(), reads=False), room=Room(bytes=100))
    await beside.told(*[item(id="x" * 60)] * 2)
    assert (beside.counts.behind, beside.found.compared) == (1, 0)


async def test_a_client_that_goes_away_leaves_nothing_to_compare() -> None:
    beside = Beside(WATCH, Side("old", *items(1), asyncio.Event()), Side("new", *items(2), asyncio.Event()))
    reply = await beside.ask()
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    await until(lambda: beside.found.messages == 1)
    await reply.payloads.aclose()
    await beside.over()
    assert (beside.counts.cancelled, beside.found.compared, beside.counts.failed) == (1, 0, 0)
    assert beside.first.closed.is_set()
    assert beside.second.closed.is_set()


async def test_a_client_that_is_cancelled_while_it_waits_leaves_nothing_to_compare() -> None:
    beside = Beside(SUM, Side("old", item()), Side("new", item()))
    task = asyncio.ensure_future(beside.ask(*items(1), asyncio.Event()))
    await until(lambda: len(beside.second.asked) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await beside.over()
    assert (beside.counts.cancelled, beside.found.compared, beside.counts.in_flight) == (1, 0, 0)


async def test_a_call_that_is_cancelled_before_its_copy_began_leaves_no_count_behind() -> None:
    class Gone(Side):
        async def send(self, call: object) -> Reply:
            raise asyncio.CancelledError

    beside = Beside(WATCH, Gone("old"), Side("new", *items(1)))
    with pytest.raises(asyncio.CancelledError):
        await beside.ask()
    await beside.over()
    assert (beside.counts.sent, beside.counts.cancelled, beside.counts.in_flight) == (1, 1, 0)


async def test_a_request_that_breaks_off_is_not_compared() -> None:
    beside = Beside(SUM, Side("old", item()), Side("new", item()))
    with pytest.raises(UpstreamReset):
        await beside.ask(*items(1), UpstreamReset("broken"))
    await beside.over()
    assert (beside.counts.cancelled, beside.found.compared) == (1, 0)


@pytest.mark.parametrize("steps", [(), items(1)], ids=["at once", "in the middle"])
async def test_a_second_that_breaks_off_is_no_difference(steps: list[Payload]) -> None:
    beside = Beside(WATCH, Side("old", *items(1, 2)), Side("new", *steps, UpstreamReset("broken")))
    await beside.told()
    assert (beside.counts.failed, beside.found.compared) == (1, 0)


async def test_a_first_that_breaks_off_is_compared_and_raised() -> None:
    beside = Beside(WATCH, Side("old", *items(1), UpstreamReset("broken")), Side("new", *items(1, 2)))
    with pytest.raises(UpstreamReset):
        await beside.told()
    await beside.over()
    assert beside.fields == {STATUS: ["UNAVAILABLE", GOES_ON]}


async def test_a_first_that_cannot_be_reached_leaves_the_request_to_be_sent_elsewhere() -> None:
    class Away(Side):
        async def send(self, call: object) -> Reply:
            raise Unreachable("nobody")

    beside = Beside(SUM, Away("old"), Side("new", item()))
    asked = call(SUM, *items(1))
    payloads = asked.payloads
    with pytest.raises(Unreachable):
        await beside.shadow.send(asked)
    assert asked.payloads is payloads
    await beside.over()


async def test_a_stream_that_goes_on_counts_as_far_as_it_came() -> None:
    end, time = asyncio.Event(), asyncio.Event()
    beside = Beside(WATCH, Side("old", *items(1), end), Side("new", *items(1), time, TimeoutError()))
    reply = await beside.ask()
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    await until(lambda: beside.found.messages == 1)
    time.set()
    await beside.over()
    shown = beside.found.shown()
    assert (shown["compared"], shown["different"], shown["partial"], beside.counts.failed) == (1, 0, 1, 0)
    end.set()
    assert await read(reply) == []


async def test_a_second_that_is_silent_to_the_end_of_its_time_is_behind_or_has_failed() -> None:
    time = asyncio.Event()
    first = Side("old", *items(1, 2), asyncio.Event())
    beside = Beside(WATCH, first, Side("new", *items(1), time, TimeoutError()))
    reply = await beside.ask()
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    await anext(reply.payloads)
    await until(lambda: beside.found.messages == 1)
    time.set()
    await beside.over()
    assert (beside.counts.behind, beside.found.compared) == (1, 0)
    beside = Beside(WATCH, Side("old", *items(1)), Side("new", asyncio.Event()), timeout_s=0.05)
    await beside.told()
    assert (beside.counts.failed, beside.found.compared) == (1, 0)


@pytest.mark.parametrize("data", [b"\xff\xff", b"x" * (MOST_BYTES + 1)], ids=["no message", "too large"])
async def test_an_answer_that_cannot_be_read_ends_the_comparison(data: bytes) -> None:
    odd = Payload(data, Encoding.PROTO, WATCH.output.codec)
    beside = Beside(WATCH, Side("old", *items(1, 2, 3)), Side("new", *items(1), odd, asyncio.Event()))
    assert len(await beside.told()) == 3
    assert (beside.found.unsaid, beside.found.compared) == (1, 0)
    assert beside.second.closed.is_set()


async def test_where_everything_differs_the_second_is_let_go_early() -> None:
    beside = Beside(WATCH, Side("old", *items(*range(1, 200))), Side("new", *items(*range(2, 100)), asyncio.Event()))
    assert len(await beside.told()) == 199
    assert (beside.found.compared, beside.found.different, beside.found.messages) == (1, 1, MOST)
    assert beside.second.closed.is_set()


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
async def test_only_equal_streams_do_not_differ(first: list[int], second: list[int]) -> None:
    beside = Beside(WATCH, Side("old", *items(*first)), Side("new", *items(*second)))
    assert len(await beside.told()) == len(first)
    assert (beside.found.compared, beside.found.different) == (1, int(first != second))


async def test_a_canary_goes_back_by_what_streams_differ_in() -> None:
    weights = Weights({"old": 95, "new": 5})
    windows = {"old": Window(), "new": Window()}
    beside = Beside(WATCH, Side("old", *items(1)), Side("new", *items(2)))
    plan = Plan(upstream="new", steps=(5.0, 100.0), every_s=60.0, errors=None, diff=0.5, least=1)
    canary = Canary("routes[0]", weights, plan, windows, beside.found)
    canary.begin(0.0)
    windows["new"].add(False, 0.1)
    canary.look(1.0)
    assert canary.state == RUNNING
    await beside.told()
    canary.look(2.0)
    assert canary.state == ROLLED_BACK
    assert weights.sides["new"].weight == 0
