"""Streams told to a copy too: within bounds, whole, and never waited for; and mirrors of calls that stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Payload, Reply
from protogw.delivery.copies import Bounds, Copies, Counts
from protogw.delivery.mirror import Mirror
from protogw.delivery.teed import Feed, Room
from protogw.errors import UpstreamReset
from tests.support.streamed import SUM, TALK, Side, call, item, items, read, until


def raw(size: int) -> Payload:
    return Payload(bytes(size), Encoding.RAW)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 10), st.integers(1, 100))
async def test_a_feed_keeps_no_more_than_its_room_and_gives_what_it_took_in_order(
    sizes: list[int], messages: int, most: int
) -> None:
    feed = Feed(Room(messages=messages, bytes=most))
    taken = [payload for size in sizes if feed.put(payload := raw(size))]
    assert len(taken) <= messages
    assert sum(len(one.data) for one in taken) <= max(most, 50)
    feed.end()
    assert [payload async for payload in feed] == taken
    assert feed.empty


async def test_one_message_fits_whatever_its_size() -> None:
    feed = Feed(Room(messages=10, bytes=10))
    assert feed.put(raw(1000))
    assert not feed.put(raw(0 + 1))
    await anext(feed)
    assert feed.put(raw(1))


async def test_a_reader_waits_for_what_comes() -> None:
    feed = Feed(Room())
    reader = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    feed.put(raw(1))
    assert len((await reader).data) == 1
    ended = asyncio.ensure_future(anext(feed, None))
    await asyncio.sleep(0)
    feed.end()
    assert await ended is None


async def test_a_closed_feed_keeps_nothing_and_is_never_full() -> None:
    feed = Feed(Room(messages=1))
    feed.put(raw(1))
    await feed.aclose()
    assert feed.empty
    assert all(feed.put(raw(1)) for _ in range(10))
    assert feed.empty
    assert [payload async for payload in feed] == []


class Beside:
    """A pool, and its mirror."""

    def __init__(self, first: Side, second: Side, room: Room | None = None) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.second = second
        copies = Copies("routes[0].mirror", second, Bounds(timeout_s=10), self.tasks.add, self.counts)
        self.mirror = Mirror(first, copies, room or Room())

    async def over(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_mirror_gets_the_messages_of_a_request_that_streams() -> None:
    for method, first in ((SUM, Side("old", item(price=3))), (TALK, Side("old", echo=True))):
        beside = Beside(first, Side("new", *items(9)))
        said = await read(await beside.mirror.send(call(method, *items(1, 2))))
        await beside.over()
        assert said == ([{"price": "3"}] if method is SUM else [{"price": "1"}, {"price": "2"}])
        assert beside.second.asked == [{"price": "1"}, {"price": "2"}]
        assert (beside.counts.sent, beside.counts.in_flight, beside.counts.failed) == (1, 0, 0)


async def test_a_mirror_that_reads_no_further_is_ended_at_the_bound() -> None:
    beside = Beside(
        Side("old", item(price=3)), Side("new", asyncio.Event(), reads=False), Room(messages=3, bytes=1 << 20)
    )
    assert await read(await beside.mirror.send(call(SUM, *items(1, 2, 3, 4, 5)))) == [{"price": "3"}]
    await beside.over()
    assert (beside.counts.behind, beside.counts.failed, beside.counts.in_flight) == (1, 0, 0)


@pytest.mark.parametrize("broken", [False, True], ids=["the client goes", "the request breaks off"])
async def test_a_request_that_comes_to_no_end_ends_the_mirror(broken: bool) -> None:
    beside = Beside(Side("old", echo=True), Side("new"))
    end = UpstreamReset("broken") if broken else asyncio.Event()
    reply = await beside.mirror.send(call(TALK, *items(1), end))
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    await until(lambda: len(beside.second.asked) == 1)
    if broken:
        with pytest.raises(UpstreamReset):
            await anext(reply.payloads)
    else:
        await reply.payloads.aclose()
    await beside.over()
    assert (beside.counts.cancelled, beside.counts.failed) == (1, 0)
    assert not beside.second.done.is_set()
    assert beside.second.closed.is_set()


async def test_what_a_mirror_answers_is_read_on_while_the_request_streams() -> None:
    go_on = asyncio.Event()
    chatty = Side("new", *[item(id="x" * 60_000)] * 40)
    beside = Beside(Side("old", echo=True), chatty)
    reply = await beside.mirror.send(call(TALK, *items(1), go_on, *items(2)))
    assert isinstance(reply.payloads, AsyncGenerator)
    await anext(reply.payloads)
    go_on.set()
    await read(reply)
    await beside.over()
    assert chatty.asked == [{"price": "1"}, {"price": "2"}]
    assert beside.counts.failed == 0


@pytest.mark.parametrize("read_first", [False, True], ids=["at once", "in the middle"])
async def test_a_call_that_fails_before_its_request_has_ended_ends_the_mirror(read_first: bool) -> None:
    """Ended well, half an upload would be a whole one to the other version."""

    class Failing(Side):
        async def send(self, call: Call) -> Reply:
            assert call.payloads is not None
            if read_first:
                await anext(call.payloads)
                await until(lambda: len(beside.second.asked) == 1)
            raise UpstreamReset("broken")

    beside = Beside(Failing("old"), Side("new", item(price=1)))
    with pytest.raises(UpstreamReset):
        await beside.mirror.send(call(SUM, *items(1, 2)))
    await beside.over()
    assert (beside.counts.cancelled, beside.counts.failed) == (1, 0)
    assert not beside.second.done.is_set()


async def test_a_reply_that_breaks_off_before_the_request_has_ended_ends_the_mirror() -> None:
    first = Side("old", *items(9), UpstreamReset("broken"), reads=False)
    beside = Beside(first, Side("new"))
    with pytest.raises(UpstreamReset):
        await read(await beside.mirror.send(call(TALK, *items(1), asyncio.Event())))
    await beside.over()
    assert (beside.counts.cancelled, beside.counts.failed) == (1, 0)
    assert not beside.second.done.is_set()
