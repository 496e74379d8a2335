"""The cache after an answer was fresh: what is given meanwhile, and how it is asked for anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import VALIDATORS, Encoding, Metadata, Payload, Reply, Unchanged
from protogw.errors import BadUpstream, Code, Forbidden, GatewayError, Status, Unreachable
from protogw.wire.http import ResponseHead
from tests.support import rpc
from tests.support.caching import Kept, call, fields, get, pieces, text

FRESH = ("cache-control", "max-age=60")


async def behind(kept: Kept) -> None:
    await asyncio.gather(*kept.policy._behind.values())


async def test_a_stale_answer_is_given_while_a_new_one_is_fetched() -> None:
    kept = Kept(FRESH, stale_while_revalidate="30s")
    await kept.ask(call())
    kept.clock.now += 70
    reply = await kept.ask(call())
    assert (text(reply), fields(reply)[b"x-cache"], fields(reply)[b"age"]) == ("1", b"stale", b"70")
    await behind(kept)
    reply = await kept.ask(call())
    assert (text(reply), fields(reply)[b"x-cache"]) == ("2", b"hit")
    kept.clock.now += 91
    assert await kept.texts([call()]) == ["3"]


async def test_the_service_may_say_that_itself_or_forbid_it() -> None:
    said = Kept(("cache-control", "max-age=1, stale-while-revalidate=100"))
    forbidden = Kept(("cache-control", "max-age=1, must-revalidate"), stale_while_revalidate="1h", stale_if_error="1h")
    for kept in (said, forbidden):
        await kept.ask(call())
        kept.clock.now += 50
    assert await said.texts([call()]) == ["1"]
    assert await forbidden.texts([call()]) == ["2"]
    await behind(said)


async def test_many_who_get_the_stale_answer_are_one_fetch() -> None:
    kept = Kept(FRESH, stale_while_revalidate="30s")
    await kept.ask(call())
    kept.clock.now += 70
    kept.service.gate = asyncio.Event()
    assert await kept.texts([call() for _ in range(20)]) == ["1"] * 20
    kept.service.gate.set()
    await behind(kept)
    assert kept.service.count == 2


async def test_who_is_refused_while_a_public_answer_is_fetched_anew_takes_it_from_nobody() -> None:
    kept = Kept(FRESH, stale_while_revalidate="30s", public=True)
    await kept.ask(get())
    kept.clock.now += 70
    kept.service.answer = lambda: Reply(head=ResponseHead(401, ()), payload=Payload(b"", Encoding.RAW))
    assert await kept.texts([get("/page", ("authorization", "Bearer x"))]) == ["body 1"]
    await behind(kept)
    kept.service.answer = None
    assert await kept.texts([get()]) == ["body 1"]
    await behind(kept)
    assert await kept.texts([get()]) == ["body 3"]


async def test_a_service_that_says_that_time_is_up_has_failed() -> None:
    kept = Kept(FRESH, stale_if_error="30s")
    await kept.ask(call())
    kept.clock.now += 70
    kept.service.answer = lambda: Reply(status=Status(Code.DEADLINE_EXCEEDED, "too late"))
    assert await kept.texts([call()]) == ["1"]


async def test_a_head_that_finds_a_stale_answer_does_not_empty_it() -> None:
    kept = Kept(FRESH, stale_while_revalidate="30s")
    await kept.ask(get())
    kept.clock.now += 70
    kept.service.answer = lambda: Reply(head=ResponseHead(200, ()), payload=Payload(b"", Encoding.RAW))
    assert await kept.texts([get(verb="HEAD")]) == ["body 1"]
    await behind(kept)
    assert kept.service.count == 1
    assert await kept.texts([get()]) == ["body 1"]
    await behind(kept)


async def test_fetches_in_the_background_end_with_the_gateway() -> None:
    kept = Kept(FRESH, stale_while_revalidate="30s")
    await kept.ask(call())
    kept.clock.now += 70
    kept.service.gate = asyncio.Event()
    running = asyncio.ensure_future(kept.policy.run())
    await kept.ask(call())
    (task,) = kept.policy._behind.values()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert task.cancelled()


@pytest.mark.parametrize(
    "failure",
    [
        Unreachable("gone"),
        BadUpstream("nonsense"),
        lambda: Reply(status=Status(Code.UNAVAILABLE)),
        lambda: Reply(head=ResponseHead(503, ()), payloads=pieces([b"sorry"])),
    ],
    ids=["unreachable", "bad", "unavailable", "503"],
)
async def test_a_stale_answer_stands_in_when_the_service_fails(failure: Any) -> None:
    kept = Kept(FRESH, stale_if_error="1h")
    ask = get if callable(failure) and failure().head is not None else call
    first = text(await kept.ask(ask()))
    kept.clock.now += 100
    kept.service.answer = failure
    reply = await kept.ask(ask())
    assert (text(reply), fields(reply)[b"x-cache"]) == (first, b"stale")
    kept.clock.now += 4000
    if isinstance(failure, Exception):
        with pytest.raises(GatewayError):
            await kept.ask(ask())
    else:
        reply = await kept.ask(ask())
        assert reply.status.code is not Code.OK or reply.head is not None


async def test_a_refusal_is_not_replaced_by_an_old_answer() -> None:
    kept = Kept(FRESH, stale_if_error="1h")
    await kept.ask(call())
    kept.clock.now += 100
    kept.service.answer = Forbidden("no more")
    with pytest.raises(Forbidden):
        await kept.ask(call())


async def test_an_old_answer_is_asked_about_before_it_is_fetched_again() -> None:
    kept = Kept(FRESH, ("etag", '"v1"'), ("x-old", "1"))
    await kept.ask(get())
    kept.clock.now += 100
    fresh = rpc.headers([("cache-control", "max-age=5"), ("x-old", "2")])
    kept.service.answer = lambda: Reply(head=ResponseHead(304, fresh), payload=Payload(b"", Encoding.RAW))
    reply = await kept.ask(get())
    assert kept.service.asked[1][0].get(b"if-none-match") == b'"v1"'
    assert (text(reply), fields(reply)[b"x-cache"], fields(reply)[b"x-old"]) == ("body 1", b"revalidated", b"2")
    assert text(await kept.ask(get())) == "body 1"
    assert kept.service.count == 2
    kept.clock.now += 6
    await kept.ask(get())
    assert kept.service.count == 3


async def test_a_methods_service_is_asked_too_where_it_gave_something_to_ask_by() -> None:
    kept = Kept(FRESH, ("etag", '"v1"'))
    await kept.ask(call())
    kept.clock.now += 100
    seen: list[Any] = []

    async def unchanged(made: Any) -> Reply:
        seen.append(made.attributes)
        return Unchanged(Metadata(rpc.headers([("cache-control", "max-age=5")])))

    made = call()
    reply = await kept.policy(made, unchanged)
    assert seen == [{VALIDATORS: ((b"if-none-match", b'"v1"'),)}]
    assert made.attributes is None
    assert (text(reply), fields(reply)[b"x-cache"], fields(reply)[b"etag"]) == ("1", b"revalidated", b'"v1"')
    assert await kept.texts([call()]) == ["1"]
    assert not isinstance(reply, Unchanged)


async def test_what_still_holds_and_is_not_to_be_kept_any_longer_is_given_once() -> None:
    kept = Kept(FRESH, ("etag", '"v1"'))
    await kept.ask(get())
    kept.clock.now += 100
    private = rpc.headers([("cache-control", "private")])
    kept.service.answer = lambda: Reply(head=ResponseHead(304, private), payload=Payload(b"", Encoding.RAW))
    reply = await kept.ask(get())
    assert reply.head is not None
    assert (text(reply), reply.head.status) == ("body 1", 200)


async def test_what_must_be_asked_about_each_time_is() -> None:
    kept = Kept(("cache-control", "no-cache"), ("etag", '"v1"'))
    await kept.ask(get())
    kept.service.answer = lambda: Reply(
        head=ResponseHead(304, rpc.headers([("cache-control", "no-cache")])), payload=Payload(b"", Encoding.RAW)
    )
    assert [text(await kept.ask(get())) for _ in range(2)] == ["body 1"] * 2
    assert kept.service.count == 3


async def test_an_answer_of_the_future_is_not_given_when_the_clock_was_put_back() -> None:
    kept = Kept(FRESH)
    assert text(await kept.ask(call())) == "1"
    kept.clock.now -= 30  # another gateway's clock may be as far off
    assert text(await kept.ask(call())) == "1"
    kept.clock.now -= 3600
    assert text(await kept.ask(call())) == "2"
    assert text(await kept.ask(call())) == "2"
