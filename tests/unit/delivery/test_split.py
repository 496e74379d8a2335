"""Calls shared between upstreams: by weight, by key, as the caller asks, and what becomes of those of a dead one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Metadata, Reply
from protogw.delivery.measured import Measured, Window
from protogw.delivery.split import Member, Override, Split
from protogw.delivery.weights import Weights
from protogw.errors import InvalidRequest, Unreachable, UpstreamReset
from protogw.expressions import Expression
from protogw.wire.http import RequestHead
from tests.support.versions import Pool, answering, call

ANSWER = answering(id="1")


def split(
    weights: Weights, *, sticky_by: str | None = None, override: Override | None = None
) -> tuple[Split, dict[str, Pool]]:
    pools = {name: Pool(name, ANSWER) for name in weights.sides}
    members = [Member(side, pools[name], pools[name]) for name, side in weights.sides.items()]
    return Split(members, weights, Expression(sticky_by) if sticky_by else None, override), pools


async def send(made: Split, *headers: tuple[bytes, bytes]) -> str:
    sent = call(None, *headers)
    await made.send(sent)
    return sent.upstream


async def users(made: Split, many: int) -> list[str]:
    return [await send(made, (b"x-user", b"user-%d" % number)) for number in range(many)]


async def test_callers_keep_their_side() -> None:
    made, _ = split(Weights({"stable": 95, "canary": 5}), sticky_by="header.x-user")
    first = await users(made, 2000)
    assert 60 <= first.count("canary") <= 140
    assert await users(made, 2000) == first
    anew, _ = split(Weights({"stable": 95, "canary": 5}), sticky_by="header.x-user")
    assert await users(anew, 2000) == first


async def test_without_a_key_chance_decides_by_call() -> None:
    made, pools = split(Weights({"stable": 50, "canary": 50}))
    for _ in range(400):
        await send(made)
    assert min(len(pool.calls) for pool in pools.values()) > 100


async def test_callers_without_the_key_are_not_one_caller() -> None:
    made, pools = split(Weights({"stable": 50, "canary": 50}), sticky_by="header.x-user")
    for _ in range(400):
        await send(made)
    assert min(len(pool.calls) for pool in pools.values()) > 100


@pytest.mark.parametrize("sticky_by", [None, "header.x-user"])
async def test_none_go_to_a_side_without_a_share(sticky_by: str | None) -> None:
    made, pools = split(Weights({"stable": 100, "canary": 0}), sticky_by=sticky_by)
    await users(made, 1000)
    assert pools["canary"].calls == []


async def test_new_weights_hold_from_the_next_call_on() -> None:
    weights = Weights({"blue": 100, "green": 0})
    made, _ = split(weights, sticky_by="header.x-user")
    assert set(await users(made, 50)) == {"blue"}
    weights.set({"blue": 0, "green": 100})
    assert set(await users(made, 50)) == {"green"}
    assert {name: side.calls for name, side in weights.sides.items()} == {"blue": 50, "green": 50}


async def test_a_caller_may_name_its_side() -> None:
    override = Override("X-Version", "version")
    made, _ = split(Weights({"stable": 100, "canary": 0}), override=override)
    assert await send(made, (b"x-version", b"canary")) == "canary"
    assert await send(made, (b"cookie", b"a=b; version=canary")) == "canary"
    assert await send(made, (b"cookie", b'version="canary"')) == "canary"
    assert await send(made, (b"x-version", b"stable"), (b"cookie", b"version=canary")) == "stable"


HEAD = RequestHead(
    b"GET", b"/", b"a=1&v=2", b"gateway.test", ((b"accept", b'text/plain, application/vnd.shop+json; Version="2"'),), 11
)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        (Override(query="v", names={"2": "canary"}), "canary"),
        (Override(query="v", names={"3": "canary"}), "stable"),
        (Override(query="v"), "stable"),
        (Override(media_type="version", names={"1": "stable", "2": "canary"}), "canary"),
        (Override(media_type="profile", names={"2": "canary"}), "stable"),
        (Override("x-version", query="v", names={"2": "canary", "1": "stable"}), "stable"),
    ],
)
async def test_a_version_is_named_in_the_query_or_the_media_type(override: Override, wanted: str) -> None:
    made, _ = split(Weights({"stable": 100, "canary": 0}), override=override)
    asked = call(None, (b"x-version", b"1"))
    asked.head = HEAD
    await made.send(asked)
    assert asked.upstream == wanted


@given(st.lists(st.binary(max_size=60), max_size=3), st.binary(max_size=60))
def test_whatever_is_written_there_a_word_or_none_comes_out(accept: list[bytes], query: bytes) -> None:
    override = Override("x-version", "version", query="v", media_type="version")
    asked = call(None, (b"cookie", query))
    asked.head = RequestHead(b"GET", b"/", query, b"a", tuple((b"accept", value) for value in accept), 11)
    assert override.named(asked) is None or isinstance(override.named(asked), str)


@pytest.mark.parametrize("value", [b"", b"admin", b"Canary", b"canary,stable", b"\xff", b"127.0.0.1:1"])
async def test_other_words_than_the_routes_upstreams_mean_nothing(value: bytes) -> None:
    made, _ = split(Weights({"stable": 100, "canary": 0}), override=Override("x-version", None))
    assert await send(made, (b"x-version", value)) == "stable"


async def test_calls_whose_callers_chose_the_version_are_not_judged_by() -> None:
    """One caller, who knows what fails, could roll a canary back for all, or drown its failures in what works."""
    weights = Weights({"stable": 50, "canary": 50})
    pool, window = Pool("canary", ANSWER), Window()
    members = [
        Member(weights.sides["stable"], Pool("stable", ANSWER), Pool("stable", ANSWER)),
        Member(weights.sides["canary"], Measured(pool, window), pool, pool),
    ]
    made = Split(members, weights, None, Override("x-version", None))
    for _ in range(100):
        await send(made, (b"x-version", b"canary"))
    assert (len(pool.calls), window.calls) == (100, 0)
    for _ in range(100):
        await send(made)
    assert window.calls == len(pool.calls) - 100 > 0


async def test_a_dead_canary_falls_back_and_is_counted() -> None:
    weights = Weights({"stable": 50, "canary": 50})
    made, pools = split(weights, sticky_by="header.x-user")
    before = await users(made, 200)
    pools["canary"].reachable = False
    pools["canary"].calls.clear()
    assert set(await users(made, 200)) == {"stable"}
    assert pools["canary"].calls == []
    assert weights.sides["canary"].fallbacks == before.count("canary")
    pools["canary"].reachable = True
    assert await users(made, 200) == before


async def test_a_call_that_found_nobody_goes_to_another_side() -> None:
    weights = Weights({"canary": 100, "stable": 1})
    made, pools = split(weights, override=Override("x-version", None))

    async def nobody(_: Call) -> Reply:
        raise Unreachable("canary: no connection")

    pools["canary"].answer = nobody
    assert await send(made, (b"x-version", b"canary")) == "stable"
    assert weights.sides["canary"].fallbacks == 1


@pytest.mark.parametrize("error", [UpstreamReset("gone"), InvalidRequest("bad")])
async def test_a_call_that_may_have_been_carried_is_not_sent_twice(error: Exception) -> None:
    made, pools = split(Weights({"canary": 100, "stable": 1}), override=Override("x-version", None))

    async def failing(_: Call) -> Reply:
        raise error

    pools["canary"].answer = failing
    with pytest.raises(type(error)):
        await send(made, (b"x-version", b"canary"))
    assert pools["stable"].calls == []


async def test_nothing_falls_back_on_a_side_without_a_share() -> None:
    made, pools = split(Weights({"blue": 100, "green": 0}))

    async def nobody(_: Call) -> Reply:
        raise Unreachable("blue: no connection")

    pools["blue"].answer = nobody
    with pytest.raises(Unreachable):
        await send(made)
    assert pools["green"].calls == []
    assert made.reachable
    pools["blue"].reachable = False
    assert not made.reachable


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"a=1; b=2", b"2"), (b"b=", b""), (b'b="x y"', b"x y"), (b"bb=3", None), (b"b", None), (b";;=;b=2;b=3", b"2")],
)
def test_a_cookie_is_found_by_its_name(field: bytes, value: bytes | None) -> None:
    assert Metadata(((b"cookie", field),)).cookie(b"b") == value
