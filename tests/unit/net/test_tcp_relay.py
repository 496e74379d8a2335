"""What one end says the other hears: all of it, in order, with its end or its reset; spliced and copied alike."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from protogw.net import tcp_relay
from protogw.net.tcp_relay import COPIED, SPLICES, PlainEnd, Relay
from tests.support.loops import on_both_loops
from tests.support.tcp import pair, receive, reset, send, until_reset

_BIG = random.Random(1).randbytes(12 << 20)


class Carried:
    """A relay with both outer ends."""

    def __init__(self, *, splice: bool) -> None:
        self.client, inner = pair()
        outer, self.service = pair()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.relay = Relay(PlainEnd(inner), PlainEnd(outer), self.ended.set_result, splice=splice)

    async def why(self) -> str:
        async with asyncio.timeout(5):
            return await self.ended

    def close(self) -> None:
        self.relay.end("the test is over", reset=True)
        self.client.close()
        self.service.close()


def carried_both_ways(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test with a relay that copies and with one that splices, on both event loops."""

    async def run(splice: bool, **others: Any) -> None:
        carried = Carried(splice=splice)
        try:
            await test(carried, **others)
        finally:
            carried.close()

    theirs = list(inspect.signature(test).parameters.values())[1:]
    own = inspect.Parameter("splice", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([own, *theirs])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    both = pytest.mark.parametrize("splice", [False, True] if SPLICES else [False], ids=["copied", "spliced"])
    return both(on_both_loops(run))


@carried_both_ways
async def test_a_question_and_its_answer_pass(carried: Carried) -> None:
    carried.relay.start()
    await send(carried.client, b"question")
    assert await receive(carried.service, 8) == b"question"
    await send(carried.service, b"answer")
    assert await receive(carried.client, 6) == b"answer"
    assert (carried.relay.up.bytes, carried.relay.down.bytes) == (8, 6)


@carried_both_ways
async def test_what_was_read_before_comes_first(carried: Carried) -> None:
    await send(carried.client, b" and then")
    carried.relay.start(b"first")
    assert await receive(carried.service, 14) == b"first and then"
    assert carried.relay.up.bytes == 14


@carried_both_ways
async def test_megabytes_pass_in_order_both_ways_at_once(carried: Carried) -> None:
    carried.relay.start()
    up, down, _, _ = await asyncio.gather(
        receive(carried.service),
        receive(carried.client),
        send(carried.client, _BIG, end=True),
        send(carried.service, _BIG[::-1], end=True),
    )
    assert up == _BIG
    assert down == _BIG[::-1]
    assert await carried.why() == "closed"
    assert (carried.relay.up.bytes, carried.relay.down.bytes) == (len(_BIG), len(_BIG))


@carried_both_ways
async def test_more_than_fits_was_read_before(carried: Carried) -> None:
    carried.relay.start(_BIG)
    carried.client.shutdown(socket.SHUT_WR)
    assert await receive(carried.service) == _BIG


@carried_both_ways
async def test_small_after_large_and_large_after_small_stay_in_order(carried: Carried) -> None:
    carried.relay.start()
    pieces = [_BIG[: 1 << 20], b"a", b"b" * 100, _BIG[: 300 << 10], b"c"]

    async def say() -> None:
        for piece in pieces:
            await send(carried.client, piece)
            assert await receive(carried.service, len(piece)) == piece

    await say()


@carried_both_ways
@pytest.mark.parametrize("way", ["up", "down"])
async def test_half_a_close_leaves_the_other_half_open(carried: Carried, way: str) -> None:
    carried.relay.start()
    first, second = (carried.client, carried.service) if way == "up" else (carried.service, carried.client)
    await send(first, b"that is all", end=True)
    assert await receive(second) == b"that is all"
    await send(second, _BIG[: 1 << 20], end=True)
    assert await receive(first) == _BIG[: 1 << 20]
    assert await carried.why() == "closed"


@carried_both_ways
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_reset_passes_as_a_reset(carried: Carried, way: str) -> None:
    carried.relay.start()
    first, second = (carried.client, carried.service) if way == "up" else (carried.service, carried.client)
    await send(first, b"x")
    assert await receive(second, 1) == b"x"
    reset(first)
    assert await until_reset(second) == b""
    assert await carried.why() == "reset"


@carried_both_ways
async def test_a_reset_of_the_reader_reaches_who_still_writes(carried: Carried) -> None:
    carried.relay.start()
    writing = asyncio.ensure_future(send(carried.client, _BIG * 4))
    assert len(await receive(carried.service, 1 << 20)) >= 1 << 20
    reset(carried.service)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await writing
    assert await carried.why() == "reset"


@carried_both_ways
async def test_a_slow_reader_holds_the_writer_up_and_gets_everything(carried: Carried) -> None:
    carried.service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    carried.relay.start()
    much = _BIG * 3  # the kernel alone holds some megabytes for each socket
    writing = asyncio.ensure_future(send(carried.client, much, end=True))
    await _stands_still(lambda: carried.relay.up.bytes)
    assert not writing.done()
    assert carried.relay.up.bytes < len(much)
    assert await receive(carried.service) == much
    await writing


async def _stands_still(value: Callable[[], int]) -> None:
    """Until it has not changed for a while."""
    last, same = -1, 0
    while same < 20:
        await asyncio.sleep(0.005)
        now = value()
        same = same + 1 if now == last else 0
        last = now


@carried_both_ways
async def test_idle_time_starts_anew_with_every_byte(carried: Carried) -> None:
    carried.relay.start()
    now = asyncio.get_running_loop().time()
    assert carried.relay.idle_s(now + 10) == pytest.approx(10, abs=0.5)
    await send(carried.client, b"x")
    assert await receive(carried.service, 1) == b"x"
    assert carried.relay.idle_s(now + 20) == 0
    assert carried.relay.idle_s(now + 25) == pytest.approx(5)


@carried_both_ways
async def test_ending_resets_both_ends_and_is_told_once(carried: Carried) -> None:
    carried.relay.start()
    carried.relay.end("lifetime", reset=True)
    carried.relay.end("again", reset=True)
    assert await carried.why() == "lifetime"
    assert await until_reset(carried.client) == b""
    assert await until_reset(carried.service) == b""


@carried_both_ways
async def test_no_descriptor_is_left_behind(carried: Carried) -> None:
    """A direction that ends while its pipe is full closes it."""
    before = len(os.listdir("/proc/self/fd"))
    others = [Carried(splice=SPLICES) for _ in range(4)]
    for other in others:
        other.relay.start()
        other.service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    writing = [asyncio.ensure_future(send(other.client, _BIG)) for other in others]
    await _stands_still(lambda: sum(other.relay.up.bytes for other in others))
    for other in others:
        other.relay.end("stopped", reset=True)
    await asyncio.gather(*writing, return_exceptions=True)
    for other in others:
        other.client.close()
        other.service.close()
    # Spare pipes are kept for the next, but no more than there were directions.
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * 4
    assert tcp_relay._PIPES._used == 0


@on_both_loops
@pytest.mark.skipif(not SPLICES, reason="no splice")
async def test_where_pipes_run_out_bytes_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_MOST_PIPES", 0)
    made = Carried(splice=True)
    made.relay.start()
    got, _ = await asyncio.gather(receive(made.service), send(made.client, _BIG, end=True))
    assert got == _BIG
    made.close()


@on_both_loops
async def test_one_buffer_serves_every_connection_without_mixing_them_up() -> None:
    made = [Carried(splice=False) for _ in range(8)]
    for one in made:
        one.relay.start()
    said = [bytes((65 + index,)) * (COPIED * 3 + index) for index in range(len(made))]
    results = await asyncio.gather(
        *(receive(one.service) for one in made),
        *(send(one.client, data, end=True) for one, data in zip(made, said, strict=True)),
    )
    assert list(results[: len(made)]) == said
    for one in made:
        one.close()
