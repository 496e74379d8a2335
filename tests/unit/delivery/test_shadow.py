"""Shadow diff: a REST service's answers beside those of the gRPC service that is to follow it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import Call, Encoding, Payload, Reply
from protogw.delivery.bridge import Bridge
from protogw.delivery.compare import Rules, path_of
from protogw.delivery.copies import Bounds, Copies, Counts
from protogw.delivery.shadow import MOST_BYTES, MOST_PATHS, STATUS, Differences, Shadow
from protogw.errors import Code, Status, Unreachable
from tests.support.versions import GET, NEW_GET, Answer, Pool, answering, call, told


class Beside:
    """The old service, the new one in its shadow, and what was found."""

    def __init__(self, first: Answer, second: Answer, rules: Rules | None = None, *, values: bool = False) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.found = Differences(3, values)
        self.old, self.new = Pool("old", first), Pool("new", second, "grpc")
        reached = Bridge(self.new, GET, NEW_GET, answers=False)
        copies = Copies("routes[0].shadow", reached, Bounds(timeout_s=2.0), self.tasks.add, self.counts)
        self.shadow = Shadow(self.old, copies, NEW_GET, rules or Rules(), self.found)

    async def ask(self, many: int = 1) -> Reply:
        for _ in range(many):
            reply = await self.shadow.send(call(id="7"))
        await asyncio.gather(*self.tasks)
        return reply


async def test_answers_that_say_the_same_in_two_protocols_do_not_differ() -> None:
    beside = Beside(
        answering(id="7", price="12", tags=["a"], weight=0.0, old=""), answering(id="7", price="12", tags=["a"])
    )
    reply = await beside.ask()
    assert told(reply.payload)["price"] == "12"
    assert (beside.found.compared, beside.found.different, beside.found.rate) == (1, 0, 0.0)
    assert beside.new.calls[0].method is NEW_GET
    assert told(beside.new.calls[0].payload) == {"id": "7"}


async def test_fields_that_differ_are_counted_and_shown_without_their_values() -> None:
    beside = Beside(answering(id="7", price="12", tags=["secret"]), answering(id="7", price="13", tags=["other"]))
    await beside.ask(4)
    shown = beside.found.shown()
    assert (shown["compared"], shown["different"], shown["rate"]) == (4, 4, 1.0)
    assert shown["fields"] == {"price": 4, "tags": 4}
    assert [sample["fields"] for sample in shown["samples"]] == [["price", "tags"]] * 3
    assert "secret" not in str(shown)
    assert shown["latency"]["first"].keys() == {"p50_ms", "p95_ms", "p99_ms"}


async def test_values_are_kept_where_the_config_says_so() -> None:
    beside = Beside(answering(price="12"), answering(price="13"), values=True)
    await beside.ask()
    assert beside.found.shown()["samples"][0]["fields"] == {"price": ["12", "13"]}


async def test_rules_hold() -> None:
    rules = Rules(ignore=frozenset((path_of("price"),)), any_order=True)
    beside = Beside(answering(price="12", tags=["a", "b"]), answering(price="13", tags=["b", "a"]), rules)
    await beside.ask()
    assert beside.found.different == 0


@pytest.mark.parametrize(
    ("first", "second", "paths"),
    [
        (answering(id="7"), answering(Status(Code.NOT_FOUND)), {STATUS: 1}),
        (answering(Status(Code.NOT_FOUND)), answering(id="7"), {STATUS: 1}),
        (answering(Status(Code.NOT_FOUND, "here")), answering(Status(Code.NOT_FOUND, "there")), {}),
    ],
)
async def test_how_the_calls_end_is_compared(first: Answer, second: Answer, paths: dict[str, int]) -> None:
    beside = Beside(first, second)
    await beside.ask()
    assert dict(beside.found.by_path) == paths
    assert beside.found.compared == 1


async def test_a_shadow_that_cannot_be_reached_is_no_difference() -> None:
    async def nobody(_: Call) -> Reply:
        raise Unreachable("nobody")

    beside = Beside(answering(id="7"), nobody)
    await beside.ask()
    assert (beside.counts.failed, beside.found.compared) == (1, 0)


async def test_a_first_answer_that_fails_is_compared_and_raised() -> None:
    async def nobody(_: Call) -> Reply:
        raise Unreachable("nobody")

    beside = Beside(nobody, answering(id="7"))
    with pytest.raises(Unreachable):
        await beside.ask()
    await asyncio.gather(*beside.tasks)
    assert dict(beside.found.by_path) == {STATUS: 1}


async def test_a_client_that_goes_away_leaves_nothing_to_compare() -> None:
    async def hanging(_: Call) -> Reply:
        await asyncio.Event().wait()
        return Reply()

    beside = Beside(hanging, answering(id="7"))
    task = asyncio.ensure_future(beside.shadow.send(call(id="7")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*beside.tasks)
    assert (beside.found.compared, beside.counts.failed) == (0, 0)


@pytest.mark.parametrize("data", [b"\xff\xff", b"x" * (MOST_BYTES + 1)], ids=["no message", "too large"])
async def test_an_answer_that_cannot_be_read_is_not_compared(data: bytes) -> None:
    async def odd(_: Call) -> Reply:
        return Reply(payload=Payload(data, Encoding.PROTO, NEW_GET.output.codec))

    beside = Beside(answering(id="7"), odd)
    await beside.ask()
    assert (beside.found.unsaid, beside.found.compared) == (1, 0)


def test_a_service_that_makes_up_fields_does_not_fill_the_memory() -> None:
    from protogw.delivery.compare import Difference

    found = Differences(5, values=True)
    for number in range(1000):
        found.add(GET, [Difference(f"made_up_{number}", None, "x" * 10_000)])
    assert len(found.by_path) == MOST_PATHS + 1
    assert len(found.samples) == 5
    sample: dict[str, Any] = found.samples[-1]
    assert all(len(str(value)) < 500 for value in sample["fields"].values())
