"""Calls at once: who has a place, who waits for one, and that every place comes back."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Reply
from protogw.errors import Code, GatewayError, LimitReached, Overloaded, UpstreamReset
from protogw.policies.concurrency import Concurrency, ConcurrencySettings
from tests.support.policies import Gated, Stream, call, turns


def limit(**settings: Any) -> Concurrency:
    return Concurrency(ConcurrencySettings.model_validate({"limit": 1, **settings}))


async def started(policy: Concurrency, service: Gated, *calls: Call) -> list[asyncio.Task[Reply]]:
    tasks = [asyncio.ensure_future(policy(one, service)) for one in calls]
    await turns()
    return tasks


async def test_a_call_more_than_may_run_is_refused_at_once() -> None:
    policy, service = limit(limit=2), Gated()
    running = await started(policy, service, call(), call())
    with pytest.raises(LimitReached) as caught:
        await policy(call(), service)
    assert caught.value.status.code is Code.RESOURCE_EXHAUSTED
    for waiting in service.waiting:
        waiting.set_result(Reply())
    await asyncio.gather(*running)
    assert policy.running == 0
    assert not policy._rooms


async def test_the_answer_may_be_that_the_gateway_is_busy() -> None:
    policy, service = limit(answer="unavailable"), Gated()
    running = await started(policy, service, call())
    with pytest.raises(Overloaded):
        await policy(call(), service)
    running[0].cancel()
    await asyncio.wait(running)


async def test_each_value_of_the_key_has_its_own_places() -> None:
    policy, service = limit(by="header.x-user"), Gated()
    tasks = await started(policy, service, *(call(fields=((b"x-user", user),)) for user in (b"a", b"b", b"a")))
    assert [task.done() for task in tasks] == [False, False, True]
    assert isinstance(tasks[2].exception(), LimitReached)
    for waiting in service.waiting:
        waiting.set_result(Reply())
    await asyncio.gather(*tasks[:2])


async def test_calls_wait_for_a_place_in_their_order() -> None:
    policy, service = limit(pending=2, wait="1h"), Gated()
    tasks = await started(policy, service, call(), call(), call())
    with pytest.raises(LimitReached):
        await policy(call(), service)
    for number in range(3):
        assert len(service.waiting) == number + 1
        service.waiting[number].set_result(Reply())
        await turns()
        assert tasks[number].done()
    assert policy.running == 0


async def test_a_call_does_not_wait_for_ever() -> None:
    policy, service = limit(pending=1, wait="10ms"), Gated()
    tasks = await started(policy, service, call())
    with pytest.raises(LimitReached):
        await asyncio.wait_for(policy(call(), service), 10)
    service.waiting[0].set_result(Reply())
    await tasks[0]
    assert policy.running == 0


async def test_a_stream_has_its_place_until_it_ends_however_it_does() -> None:
    policy = limit()

    async def ended(stream: Stream, reply: Reply) -> None:
        stream.end()
        assert reply.payloads is not None
        async for _ in reply.payloads:
            pass

    async def failed(stream: Stream, reply: Reply) -> None:
        stream.end(UpstreamReset("gone"))
        assert reply.payloads is not None
        with pytest.raises(UpstreamReset):
            await anext(reply.payloads)

    async def left(stream: Stream, reply: Reply) -> None:
        await reply.payloads.aclose()  # type: ignore[union-attr]

    async def dropped(stream: Stream, reply: Reply) -> None:
        reply.payloads = None
        gc.collect()

    for ending in (ended, failed, left, dropped):
        stream = Stream()

        async def streaming(_: Call, stream: Stream = stream) -> Reply:
            return Reply(payloads=stream.messages())

        reply = await policy(call(), streaming)
        assert policy.running == 1, ending
        await ending(stream, reply)
        assert policy.running == 0, ending


async def test_a_failure_and_a_client_that_goes_away_give_the_place_back() -> None:
    policy, service = limit(), Gated()
    tasks = await started(policy, service, call())
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert policy.running == 0
    tasks = await started(policy, service, call())
    service.waiting[-1].set_exception(UpstreamReset("gone"))
    await asyncio.wait(tasks)
    assert isinstance(tasks[0].exception(), UpstreamReset)
    assert policy.running == 0


@given(
    st.lists(st.sampled_from(["call", "reply", "fail", "cancel"]), max_size=60), st.integers(1, 3), st.integers(0, 2)
)
async def test_never_more_run_than_may_and_nothing_is_left(steps: list[str], most: int, pending: int) -> None:
    policy, service = limit(limit=most, pending=pending, wait="1h"), Gated()
    tasks: list[asyncio.Task[Reply]] = []
    for step in steps:
        open_ones = [future for future in service.waiting if not future.done()]
        if step == "call":
            tasks.append(asyncio.ensure_future(policy(call(), service)))
        elif step == "reply" and open_ones:
            open_ones[0].set_result(Reply())
        elif step == "fail" and open_ones:
            open_ones[-1].set_exception(UpstreamReset("gone"))
        elif step == "cancel" and tasks:
            tasks[len(tasks) // 2].cancel()
        await turns(4)
        running = sum(not future.done() for future in service.waiting)
        assert running == policy.running <= most
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, Reply | GatewayError | asyncio.CancelledError)
    assert policy.running == 0
    assert not policy._rooms
