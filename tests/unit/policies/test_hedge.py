"""Hedging: when the second try is sent, whose reply is taken, and that the other one is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import Call, Reply
from protogw.errors import Code, DeadlineExceeded, GatewayError, InvalidRequest, Status, UpstreamReset
from protogw.policies.hedge import Hedge, HedgeSettings
from protogw.wire.http import ResponseHead
from tests.support import rpc
from tests.support.policies import Gated, Stream, call, forward, turns


def hedge(**settings: Any) -> Hedge:
    return Hedge(HedgeSettings.model_validate({"delay": "1ms", "budget": "100%", **settings}))


async def raced(service: Gated, policy: Hedge, one: Call, tries: int = 2) -> asyncio.Task[Reply]:
    """The call, once the service has so many tries of it."""
    task = asyncio.ensure_future(policy(one, service))
    async with asyncio.timeout(10):
        while len(service.waiting) < tries:  # noqa: ASYNC110 (the timer of the second try)
            await asyncio.sleep(0.001)
    return task


async def test_a_reply_that_comes_in_time_is_the_only_one_asked_for() -> None:
    policy = hedge(delay="1h")
    assert (await policy(call(), forward)).status.code is Code.OK
    assert policy.hedges.value == 0


async def test_the_second_try_wins_when_it_answers_first_and_the_first_is_cancelled() -> None:
    service, policy, one = Gated(), hedge(), call()
    task = await raced(service, policy, one)
    better = Reply()
    service.waiting[1].set_result(better)
    assert await task is better
    assert service.cancelled == 1
    assert one.upstream == "127.0.0.1:2"
    assert (policy.hedges.value, policy.won.value) == (1, 1)


async def test_the_first_try_wins_when_it_answers_first_and_the_second_is_cancelled() -> None:
    service, policy, one = Gated(), hedge(), call()
    task = await raced(service, policy, one)
    first = Reply()
    service.waiting[0].set_result(first)
    assert await task is first
    assert service.cancelled == 1
    assert one.upstream == "127.0.0.1:1"


async def test_the_second_try_goes_elsewhere_and_says_what_it_is() -> None:
    service, policy = Gated(), hedge()
    task = await raced(service, policy, call())
    twin = service.seen[1]
    assert twin.tries is not None
    assert twin.tries.tried == {"127.0.0.1:1"}
    assert twin.metadata.get(b"x-attempt-count") == b"2"
    assert service.seen[0].metadata.get(b"x-attempt-count") is None
    service.waiting[0].set_result(Reply())
    await task


BAD = Reply(status=Status(Code.UNAVAILABLE))


@pytest.mark.parametrize("failing", [BAD, UpstreamReset("gone")], ids=["status", "error"])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_failure_waits_for_the_other_try(failing: Reply | GatewayError, which: int) -> None:
    service = Gated()
    task = await raced(service, hedge(), call())
    if isinstance(failing, Reply):
        service.waiting[which].set_result(failing)
    else:
        service.waiting[which].set_exception(failing)
    await turns()
    assert not task.done()
    good = Reply()
    service.waiting[1 - which].set_result(good)
    assert await task is good


async def test_when_both_fail_the_first_ones_failure_is_the_answer() -> None:
    service = Gated()
    task = await raced(service, hedge(), call())
    service.waiting[1].set_exception(UpstreamReset("second"))
    service.waiting[0].set_exception(UpstreamReset("first"))
    with pytest.raises(UpstreamReset, match="first"):
        await task


async def test_an_answer_that_is_the_clients_fault_is_an_answer() -> None:
    service = Gated()
    task = await raced(service, hedge(), call())
    service.waiting[0].set_exception(InvalidRequest("yours"))
    with pytest.raises(InvalidRequest):
        await task
    assert service.cancelled == 1


async def test_a_bad_answers_body_is_let_go_when_the_other_try_is_good() -> None:
    service, loser = Gated(), Stream()
    task = await raced(service, hedge(), call(verb=b"GET"))
    body = loser.messages()
    loser.give(b"x")
    await anext(body)
    service.waiting[0].set_result(Reply(head=ResponseHead(503, ()), payloads=body))
    await turns()
    good = Reply(head=ResponseHead(200, ()))
    service.waiting[1].set_result(good)
    assert await task is good
    assert loser.closed


async def test_a_client_that_goes_away_ends_both_tries() -> None:
    service = Gated()
    task = await raced(service, hedge(), call())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.cancelled == 2


async def test_the_deadline_ends_both_tries() -> None:
    service, one = Gated(), call()

    async def run() -> None:
        one.arm(asyncio.get_running_loop(), 0.05)
        await hedge()(one, service)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.ensure_future(run()), 10)
    assert one.expired
    assert service.cancelled == len(service.seen)


@pytest.mark.parametrize("one", [{"method": rpc.CHAT}, {"verb": b"POST"}])
async def test_what_must_not_be_repeated_is_sent_once(one: dict[str, Any]) -> None:
    async def slow(_: Call) -> Reply:
        await asyncio.sleep(0.03)
        return Reply()

    policy = hedge()
    await policy(call(**one), slow)
    assert policy.hedges.value == 0


async def test_second_tries_have_a_budget() -> None:
    policy = hedge(budget="0%")

    async def slow(_: Call) -> Reply:
        await asyncio.sleep(0.02)
        return Reply()

    for _ in range(5):
        await policy(call(), slow)
    assert policy.hedges.value == 3


async def test_without_a_delay_a_method_is_late_when_it_takes_longer_than_most_of_its_replies() -> None:
    policy = Hedge(HedgeSettings(percentile=90))
    for _ in range(64):
        await policy(call(), forward)
    assert policy.hedges.value == 0
    (seen,) = policy._seen.values()
    assert seen.late is not None
    seen.late = 0.001
    service = Gated()
    task = await raced(service, policy, call())
    service.waiting[0].set_exception(DeadlineExceeded())
    with pytest.raises(DeadlineExceeded):
        await task
