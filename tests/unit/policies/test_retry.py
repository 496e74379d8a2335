"""Retries: which calls are sent again, how often, when, and that a service in trouble is not given twice the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import (
    RETRY_INFO,
    BadUpstream,
    CircuitOpen,
    Code,
    DeadlineExceeded,
    Detail,
    GatewayError,
    InvalidRequest,
    LimitReached,
    Overloaded,
    Status,
    Unprocessed,
    Unreachable,
    UpstreamReset,
)
from protogw.policies.budget import Budget
from protogw.policies.retry import Retry, RetrySettings
from protogw.wire.http import HTTP_1_1, Peer, RequestHead, ResponseHead
from tests.support import rpc

PEER = Peer("192.0.2.1", 1)


class Slept:
    """Stands in for sleeping, and keeps for how long."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))


def retry(slept: Slept | None = None, chance: float = 1.0, **settings: Any) -> Retry:
    made = RetrySettings.model_validate({"budget": "100%", **settings})
    return Retry(made, chance=lambda: chance, sleep=slept or Slept())


class Service:
    """Does with each try what it is told; what there is no word for is OK."""

    def __init__(self, *acts: Code | int | GatewayError | Reply | None) -> None:
        self.acts = list(acts)
        self.seen: list[Call] = []
        self.attempts: list[bytes | None] = []

    async def __call__(self, call: Call) -> Reply:
        self.seen.append(call)
        self.attempts.append(call.metadata.get(b"x-attempt-count"))
        call.upstream = f"127.0.0.1:{len(self.seen)}"
        act = self.acts.pop(0) if self.acts else None
        if isinstance(act, GatewayError):
            raise act
        if isinstance(act, Reply):
            return act
        if isinstance(act, Code):
            return Reply(status=Status(act, "so it is"))
        if isinstance(act, int):
            return Reply(head=ResponseHead(act, ()))
        return Reply()

    @property
    def tries(self) -> int:
        return len(self.seen)


def call(method: Method | None = rpc.LOOK, verb: bytes = b"", started: float = 0.0, **rest: Any) -> Call:
    head = RequestHead(verb, b"/x", b"", b"h", (), HTTP_1_1) if verb else None
    payload = rest.pop("payload", Payload(b"", Encoding.RAW))
    metadata = Metadata(((b"x-own", b"1"),))
    made = None if verb else method
    return Call(made, metadata, front_end="t", peer=PEER, started=started, head=head, payload=payload, **rest)


async def test_a_call_that_fails_is_tried_again() -> None:
    service = Service(Code.UNAVAILABLE)
    assert (await retry()(call(), service)).status.code is Code.OK
    assert service.tries == 2


async def test_the_service_is_told_which_try_it_gets_and_the_pool_which_endpoints_had_it() -> None:
    service, one = Service(Code.UNAVAILABLE, Code.UNAVAILABLE), call()
    await retry(attempts=3)(one, service)
    assert service.attempts == [None, b"2", b"3"]
    assert one.tries is not None
    assert one.tries.tried == {"127.0.0.1:1", "127.0.0.1:2"}
    assert one.tries.number == 3


async def test_a_call_that_succeeds_leaves_no_trace() -> None:
    service, one = Service(), call()
    await retry()(one, service)
    assert one.tries is None
    assert service.attempts == [None]


async def test_the_last_failure_is_the_answer_once_the_tries_are_used_up() -> None:
    service = Service(Code.UNAVAILABLE, UpstreamReset("first"), UpstreamReset("last"))
    with pytest.raises(UpstreamReset, match="last"):
        await retry(attempts=3)(call(), service)
    assert service.tries == 3


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (Unreachable("no"), 2),
        (Unprocessed("no"), 2),
        (UpstreamReset("no"), 2),
        (BadUpstream("no"), 1),
        (InvalidRequest("no"), 1),
        (DeadlineExceeded(), 1),
        (Overloaded("no"), 1),
        (CircuitOpen("no", retry_after_s=0.0), 1),
        (LimitReached("no", 0.0), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_only_faults_of_the_service_that_are_named_are_tried_again(error: GatewayError, tries: int) -> None:
    service = Service(error, error)
    with pytest.raises(GatewayError) as caught:
        await retry()(call(), service)
    assert caught.value is error
    assert service.tries == tries


@pytest.mark.parametrize(("code", "tries"), [(Code.INTERNAL, 2), (Code.ABORTED, 2), (Code.UNAVAILABLE, 1)])
async def test_the_config_says_which_codes(code: Code, tries: int) -> None:
    service = Service(code)
    await retry(on=["internal", "aborted"])(call(), service)
    assert service.tries == tries


@pytest.mark.parametrize(
    ("on", "status", "tries"),
    [
        (["unavailable"], 503, 2),
        (["unavailable"], 502, 2),
        (["unavailable"], 500, 1),
        (["unavailable"], 429, 1),
        (["deadline_exceeded"], 504, 2),
        ([500], 500, 2),
        ([500], 503, 1),
    ],
)
async def test_plain_http_goes_by_its_status(on: list[Any], status: int, tries: int) -> None:
    service = Service(status)
    await retry(on=on)(call(verb=b"GET"), service)
    assert service.tries == tries


@pytest.mark.parametrize(
    ("one", "tries"),
    [
        (call(rpc.LOOK), 2),
        (call(rpc.UNARY), 2),
        (call(rpc.CHAT), 1),
        (call(verb=b"GET"), 2),
        (call(verb=b"PUT"), 2),
        (call(verb=b"DELETE"), 2),
        (call(verb=b"POST"), 1),
        (call(verb=b"PATCH"), 1),
    ],
    ids=["no side effects", "also bound to GET", "neither", "GET", "PUT", "DELETE", "POST", "PATCH"],
)
async def test_only_what_may_be_repeated_is(one: Call, tries: int) -> None:
    service = Service(UpstreamReset("gone"))
    try:
        await retry()(one, service)
    except UpstreamReset:
        assert tries == 1
    assert service.tries == tries


async def test_any_call_is_repeated_where_the_config_declares_it() -> None:
    service = Service(UpstreamReset("gone"))
    await retry(idempotent=True)(call(verb=b"POST"), service)
    assert service.tries == 2


async def test_a_call_that_nobody_has_processed_is_tried_again_whatever_it_is() -> None:
    service = Service(Unreachable("down"))
    await retry()(call(verb=b"POST"), service)
    assert service.tries == 2


async def test_a_request_that_streams_is_not_repeated() -> None:
    async def stream() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.RAW)

    service = Service(UpstreamReset("gone"))
    with pytest.raises(UpstreamReset):
        await retry(idempotent=True)(call(rpc.UP, payload=None, payloads=stream()), service)
    assert service.tries == 1


async def test_a_reply_that_has_begun_is_not_repeated() -> None:
    async def stream() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.RAW)

    begun = Reply(payloads=stream(), status=Status(Code.UNAVAILABLE))
    with_message = Reply(payload=Payload(b"", Encoding.RAW), status=Status(Code.UNAVAILABLE))
    for reply in (begun, with_message):
        service = Service(reply)
        assert await retry()(call(), service) is reply
        assert service.tries == 1


async def test_the_body_of_an_answer_that_is_thrown_away_is_let_go() -> None:
    closed = []

    async def stream() -> AsyncIterator[Payload]:
        try:
            while True:
                yield Payload(b"", Encoding.RAW)
        finally:
            closed.append(True)

    body = stream()
    await anext(body)
    service = Service(Reply(head=ResponseHead(503, ()), payloads=body))
    await retry()(call(verb=b"GET"), service)
    assert closed == [True]


async def test_each_try_begins_with_the_call_as_it_was() -> None:
    seen: list[tuple[Any, Any, Any]] = []

    async def changing(call: Call) -> Reply:
        seen.append((call.metadata.get(b"x-own"), call.payload, call.identity))
        call.metadata = Metadata()
        call.payload = None
        call.identity = "somebody"
        return Reply(status=Status(Code.UNAVAILABLE if len(seen) < 2 else Code.OK))

    one = call()
    payload = one.payload
    await retry()(one, changing)
    assert seen == [(b"1", payload, None)] * 2


# --- when


async def test_pauses_are_jittered_in_full_and_grow_to_ten_times_the_first() -> None:
    slept = Slept()
    policy, now = retry(slept, attempts=10, backoff="20ms"), asyncio.get_running_loop().time()
    for _ in range(20):
        await policy(call(started=now), Service())
    await policy(call(started=now), Service(*[Code.UNAVAILABLE] * 9))
    assert slept.pauses == [0.02, 0.04, 0.08, 0.16, 0.2, 0.2, 0.2, 0.2, 0.2]
    slept = Slept()
    await retry(slept, chance=0.25, backoff="20ms")(call(), Service(Code.UNAVAILABLE))
    assert slept.pauses == [0.005]


def _info(data: bytes) -> Reply:
    return Reply(status=Status(Code.UNAVAILABLE, "", (Detail(RETRY_INFO, data),)))


HALF_A_SECOND = b"\x0a\x06\x10\x80\xca\xb5\xee\x01"


@pytest.mark.parametrize(
    ("outcome", "pauses"),
    [
        (_info(HALF_A_SECOND), [0.5]),
        (_info(b"\x0a\x02\x08\x05"), []),
        (_info(b"\xff\xff"), [0.025]),
        (_info(b""), [0.025]),
        (Reply(status=Status(Code.UNAVAILABLE, pushback_s=0.3)), [0.3]),
        (Reply(status=Status(Code.UNAVAILABLE, pushback_s=-1.0)), []),
        (Reply(head=ResponseHead(503, ((b"retry-after", b"1"),))), [1.0]),
        (Reply(head=ResponseHead(503, ((b"retry-after", b"2"),))), []),
        (Reply(head=ResponseHead(503, ((b"retry-after", b"9" * 50),))), []),
        (Reply(head=ResponseHead(503, ((b"retry-after", b"Thu, 01 Jan 1970 00:00:00 GMT"),))), [0.025]),
        (Reply(head=ResponseHead(503, ((b"retry-after", b"soon"),))), [0.025]),
    ],
)
async def test_the_service_itself_says_when_and_whether(outcome: Reply, pauses: list[float]) -> None:
    slept = Slept()
    one = call(verb=b"GET") if outcome.head is not None else call()
    await retry(slept)(one, Service(outcome))
    assert slept.pauses == pauses


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_a_service_says_of_retries_harms_nobody(detail: bytes, field: bytes) -> None:
    async def run() -> None:
        await retry(Slept())(call(), Service(_info(detail)))
        reply = Reply(head=ResponseHead(503, ((b"retry-after", field),)))
        await retry(Slept())(call(verb=b"GET"), Service(reply))

    asyncio.run(run())


async def test_there_is_no_try_for_which_no_time_is_left() -> None:
    slept, service, one = Slept(), Service(Code.UNAVAILABLE), call()
    one.deadline = asyncio.get_running_loop().time() + 0.01
    reply = await retry(slept, backoff="1s")(one, service)
    assert reply.status.code is Code.UNAVAILABLE
    assert service.tries == 1
    assert slept.pauses == []


# --- a try that takes too long


def hanging(times: int) -> tuple[Callable[[Call], Any], list[Call]]:
    seen: list[Call] = []

    async def forward(call: Call) -> Reply:
        seen.append(call)
        if len(seen) <= times:
            await asyncio.get_running_loop().create_future()
        return Reply()

    return forward, seen


async def test_a_try_that_takes_too_long_is_given_up_for_another() -> None:
    forward, seen = hanging(1)
    reply = await asyncio.wait_for(retry(per_try="10ms")(call(), forward), 10)
    assert reply.status.code is Code.OK
    assert len(seen) == 2


async def test_the_last_try_that_takes_too_long_ends_the_call() -> None:
    forward, seen = hanging(2)
    with pytest.raises(DeadlineExceeded, match="in time"):
        await asyncio.wait_for(retry(per_try="10ms")(call(), forward), 10)
    assert len(seen) == 2


async def test_a_call_that_may_not_be_repeated_has_all_its_time_for_one_try() -> None:
    forward, _ = hanging(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(retry(per_try="1ms")(call(verb=b"POST"), forward), 0.1)


async def test_the_deadline_of_the_call_ends_it_in_the_middle_of_a_try() -> None:
    forward, seen = hanging(9)
    one = call(started=asyncio.get_running_loop().time())

    async def run() -> None:
        one.arm(asyncio.get_running_loop(), 0.02)
        await retry(attempts=3, per_try="1h")(one, forward)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(run())
    assert one.expired
    assert len(seen) == 1


async def test_a_client_that_goes_away_ends_all_tries() -> None:
    forward, seen = hanging(9)
    task = asyncio.ensure_future(retry(attempts=3, per_try="1h")(call(), forward))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(seen) == 1


# --- the budget


async def test_a_service_that_fails_everything_gets_at_most_a_quarter_more() -> None:
    policy = retry(budget="20%", attempts=5)
    sent = 0

    async def failing(_: Call) -> Reply:
        nonlocal sent
        sent += 1
        return Reply(status=Status(Code.UNAVAILABLE))

    now = asyncio.get_running_loop().time()
    for _ in range(1000):
        await policy(call(started=now), failing)
    assert 1100 <= sent <= 1250
    assert policy.over_budget.value


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.01, 0.3, 1.0, 30.0]), st.booleans()), max_size=400),
    st.sampled_from([0.0, 0.1, 0.2, 0.5]),
)
def test_retries_of_any_time_are_within_the_share_of_its_calls_and_what_was_saved(
    steps: list[tuple[float, bool]], share: float
) -> None:
    budget = Budget(share, 3)
    now = 1000.0
    calls: list[float] = []
    taken: list[float] = []
    for wait, again in steps:
        now += wait
        budget.called(now)
        calls.append(now)
        if again and budget.take(now):
            taken.append(now)
    busiest = max((sum(int(at) == second for at in calls) for second in {int(at) for at in calls}), default=0)
    saved = max(3, share * 0.5 * busiest)
    for start in calls[::20]:
        within = sum(at >= start for at in calls)
        by_time = 3 * (now - int(start) + 1) / 10
        assert sum(at >= start for at in taken) <= saved + share * within + by_time + 1e-6


def test_a_long_good_time_does_not_double_the_work_of_a_bad_one() -> None:
    budget = Budget(0.2, 3)
    for index in range(20_000):  # ten seconds of 2000 calls each, all good
        budget.called(1000 + index / 2000)
    taken = 0
    for index in range(2000):  # then all fail, and would be tried four times more
        now = 1010 + index / 2000
        budget.called(now)
        taken += sum(budget.take(now) for _ in range(4))
    assert 0.2 <= taken / 2000 <= 0.31


async def test_three_retries_are_let_through_however_few_calls_there_are() -> None:
    policy = retry(budget="0%")
    services = [Service(Code.UNAVAILABLE) for _ in range(5)]
    now = asyncio.get_running_loop().time()
    for service in services:
        await policy(call(started=now), service)
    assert [service.tries for service in services] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    "settings",
    [{"attempts": 1}, {"on": ["ok"]}, {"on": []}, {"on": ["nothing"]}, {"on": [200]}, {"budget": 20}, {"on": [True]}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RetrySettings.model_validate(settings)
