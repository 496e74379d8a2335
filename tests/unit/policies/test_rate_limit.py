"""Rate limits: who shares what, what counts, and what a refusal says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, InvalidRequest, LimitReached, Overloaded
from protogw.policies.rate_limit import RateLimit, RateLimitSettings
from protogw.stores.base import CounterStore, StoreError, Taken, Window
from protogw.stores.memory import MemoryCounters
from protogw.wire.http import Peer
from tests.support import rpc
from tests.support.counted import Counted


class Tools(Counted):
    name = "fair"

    def __init__(self, store: CounterStore | None = None) -> None:
        super().__init__()
        self.store = store or MemoryCounters(clock=lambda: 1000.0)

    def counters(self, url: str) -> CounterStore:
        return self.store


def limit(store: CounterStore | None = None, **settings: Any) -> RateLimit:
    made = RateLimit(RateLimitSettings.model_validate({"rate": "3/minute", **settings}))
    made.equip(Tools(store))
    return made


def call(user: str = "", text: str = "x", number: int = 0, messages: int | None = None) -> Call:
    codec = rpc.UNARY.input.codec
    payload = Payload(b'{"text":"%b","number":"%d"}' % (text.encode(), number), Encoding.JSON, codec)

    async def many(count: int) -> AsyncIterator[Payload]:
        for _ in range(count):
            yield payload

    return Call(
        rpc.UNARY if messages is None else rpc.UP,
        Metadata(((b"x-user", user.encode()),)),
        front_end="rest",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payload=payload if messages is None else None,
        payloads=many(messages) if messages is not None else None,
    )


async def forward(call: Call) -> Reply:
    if call.payloads is not None:
        async for _ in call.payloads:
            pass
    return Reply()


async def admitted(policy: RateLimit, calls: Sequence[Call]) -> list[bool]:
    found = []
    for one in calls:
        try:
            await policy(one, forward)
            found.append(True)
        except LimitReached:
            found.append(False)
    return found


async def test_calls_beyond_the_rate_are_refused() -> None:
    assert await admitted(limit(), [call() for _ in range(5)]) == [True] * 3 + [False] * 2


async def test_each_value_of_the_key_has_its_own() -> None:
    policy = limit(by="header.x-user")
    assert await admitted(policy, [call("a"), call("a"), call("a"), call("a"), call("b")]) == [True] * 3 + [False, True]


async def test_a_refusal_says_when_to_come_back() -> None:
    policy = limit()
    await admitted(policy, [call() for _ in range(3)])
    refused = call()
    with pytest.raises(LimitReached) as caught:
        await policy(refused, forward)
    error = caught.value
    assert error.status.code is Code.RESOURCE_EXHAUSTED
    assert (b"retry-after", b"20") in error.headers
    assert (b"ratelimit-remaining", b"0") in refused.noted()
    assert error.status.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
    assert error.status.details[0].value[:4] == b"\x0a\x02\x08\x14"
    assert "fair" in error.message


async def test_an_answer_says_what_is_left() -> None:
    asked = call()
    await limit()(asked, forward)
    fields = ((b"ratelimit-limit", b"3"), (b"ratelimit-remaining", b"2"), (b"ratelimit-reset", b"20"))
    assert asked.noted() == fields


async def test_of_several_limits_the_one_that_leaves_least_is_told() -> None:
    wide, narrow = limit(rate="100/minute"), limit()
    for outer, inner in ((wide, narrow), (narrow, wide)):
        asked = call()
        await outer(asked, lambda one, inner=inner: inner(one, forward))  # type: ignore[misc]
        assert (b"ratelimit-limit", b"3") in asked.noted()
        assert len(asked.noted()) == 3


async def test_a_refusal_is_told_of_the_limit_that_refuses_alone() -> None:
    wide, narrow = limit(rate="100/minute"), limit(rate="1/minute")
    await narrow(call(), forward)
    asked = call()
    with pytest.raises(LimitReached):
        await wide(asked, lambda one: narrow(one, forward))
    assert asked.noted()[:2] == ((b"ratelimit-limit", b"1"), (b"ratelimit-remaining", b"0"))


async def test_without_headers_an_answer_says_nothing() -> None:
    asked = call()
    await limit(headers=False)(asked, forward)
    assert not asked.noted()


async def test_of_several_rates_the_one_that_leaves_least_is_told() -> None:
    policy = limit(rate=["3/minute", "5/hour"])
    first = call()
    await policy(first, forward)
    assert first.noted()[:2] == ((b"ratelimit-limit", b"3"), (b"ratelimit-remaining", b"2"))
    policy = limit(rate=["9/minute", "2/hour"])
    first = call()
    await policy(first, forward)
    assert first.noted()[:2] == ((b"ratelimit-limit", b"2"), (b"ratelimit-remaining", b"1"))


async def test_several_rates_must_all_admit() -> None:
    policy = limit(rate=["10/second", "2/hour"])
    assert await admitted(policy, [call() for _ in range(3)]) == [True, True, False]


async def test_what_a_call_costs_may_be_an_expression() -> None:
    policy = limit(rate="10/minute", cost="message.number")
    assert await admitted(policy, [call(number=4), call(number=4), call(number=4), call(number=2)]) == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("cost", ["message.text", "message.absent", "message.number > 1 ? 2000000 : 2000001"])
async def test_a_cost_that_is_no_number_is_refused_and_not_free(cost: str) -> None:
    with pytest.raises(InvalidRequest, match="cost"):
        await limit(cost=cost)(call(), forward)


async def test_messages_of_a_stream_are_counted_one_by_one() -> None:
    policy = limit(per="message")
    await policy(call(messages=2), forward)
    with pytest.raises(LimitReached):
        await policy(call(messages=2), forward)


@pytest.mark.parametrize(("cost", "encoding"), [("int(message.number)", Encoding.PROTO), (1, Encoding.JSON)])
async def test_messages_of_a_stream_go_on_as_their_cost_was_read(cost: str | int, encoding: Encoding) -> None:
    async def reading(one: Call) -> Reply:
        assert one.payloads is not None
        assert [payload.encoding async for payload in one.payloads] == [encoding]
        return Reply()

    await limit(per="message", cost=cost)(call(number=2, messages=1), reading)


async def test_bytes_are_counted() -> None:
    size = len(b'{"text":"x","number":"0"}')
    policy = limit(rate=f"{2 * size}/minute", per="byte")
    assert await admitted(policy, [call() for _ in range(3)]) == [True, True, False]


class Tunnel:
    def __init__(self) -> None:
        self.written = b""
        self.ended = self.aborted = False

    async def read(self) -> bytes:
        return b"from the service"

    async def write(self, data: bytes) -> None:
        self.written += data

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True


def opaque(*pieces: bytes) -> Call:
    """A request of plain HTTP, with a body in these pieces if there are any."""

    async def body() -> AsyncIterator[Payload]:
        for piece in pieces:
            yield Payload(piece, Encoding.RAW)

    return Call(
        None,
        Metadata(),
        front_end="http",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payload=None if pieces else Payload(b"", Encoding.RAW),
        payloads=body() if pieces else None,
    )


@pytest.mark.parametrize(
    ("settings", "passes", "refused"),
    [
        # The request that opens a socket is one message itself, of one byte at the least.
        ({"rate": "3/minute", "per": "message"}, (b"\x81\x02", b"hi\x82\x01x"), b"\x81\x01y"),
        ({"rate": "9/minute", "per": "byte"}, (b"12345", b"678"), b"9"),
    ],
    ids=["messages", "bytes"],
)
async def test_what_passes_through_a_socket_is_counted(
    settings: dict[str, Any], passes: tuple[bytes, ...], refused: bytes
) -> None:
    tunnel = Tunnel()

    async def switching(_: Call) -> Reply:
        return Reply(tunnel=tunnel)

    reply = await limit(**settings)(opaque(), switching)
    assert reply.tunnel is not None
    for piece in passes:
        await reply.tunnel.write(piece)
    with pytest.raises(LimitReached):
        await reply.tunnel.write(refused)
    assert tunnel.written == b"".join(passes)
    assert await reply.tunnel.read() == b"from the service"
    reply.tunnel.end()
    reply.tunnel.abort()
    assert (tunnel.ended, tunnel.aborted) == (True, True)


async def test_a_limit_of_calls_leaves_sockets_alone() -> None:
    tunnel = Tunnel()

    async def switching(_: Call) -> Reply:
        return Reply(tunnel=tunnel)

    assert (await limit()(opaque(), switching)).tunnel is tunnel


async def test_a_body_in_pieces_is_one_message() -> None:
    async def reading(one: Call) -> Reply:
        assert one.payloads is not None
        assert b"".join([piece.data async for piece in one.payloads]) == b"abcd"
        return Reply()

    policy = limit(rate="2/minute", per="message")
    for _ in range(2):
        await policy(opaque(b"a", b"b", b"c", b"d"), reading)
    with pytest.raises(LimitReached):
        await policy(opaque(b"a"), reading)


class Gone:
    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        raise StoreError("no answer within 0.25 s")

    async def close(self) -> None:
        pass


async def test_a_store_that_is_gone_lets_calls_through_where_the_config_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = limit(Gone(), on_error="open")
    assert await admitted(policy, [call() for _ in range(5)]) == [True] * 5
    assert policy.failures == 5
    assert len(caplog.records) == 1
    assert "policies.fair" in caplog.text


async def test_a_store_that_is_gone_refuses_calls_by_default() -> None:
    with pytest.raises(Overloaded) as caught:
        await limit(Gone())(call(), forward)
    assert caught.value.status.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    "settings",
    [
        {"rate": "0/minute"},
        {"rate": "fast"},
        {"rate": []},
        {"rate": ["1/s", "2/m"], "burst": 3},
        {"burst": 3, "algorithm": "sliding_window"},
        {"by": "identiti.subject"},
        {"store": "http://cache:80"},
        {"cost": 0},
        {"on_error": "ajar"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RateLimitSettings.model_validate({"rate": "3/minute", **settings})


class Down(MemoryCounters):
    """A store that does not answer. Not the memory's own way of asking: that never fails."""

    def take_now(self, key: str, cost: int, windows: Sequence[Window]) -> list[Taken]:
        raise StoreError("down")


@pytest.mark.parametrize(("on_error", "outcome"), [("open", "unasked_open"), ("closed", "unasked_closed")])
async def test_what_it_decides_is_counted(on_error: str, outcome: str) -> None:
    async def forward(call: Call) -> Reply:
        return Reply()

    tools = Tools()
    made = RateLimit(RateLimitSettings.model_validate({"rate": "2/hour", "on_error": on_error}))
    made.equip(tools)  # type: ignore[arg-type]
    for _ in range(2):
        await made(call(), forward)
    with pytest.raises(LimitReached):
        await made(call(), forward)
    made._memory, made._bucket, made._store = None, None, Down()
    if on_error == "open":
        await made(call(), forward)
    else:
        with pytest.raises(Overloaded):
            await made(call(), forward)
    assert tools.told("rate_limit_decisions") == {("allowed",): 2, ("refused",): 1, (outcome,): 1}
