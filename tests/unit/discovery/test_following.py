"""What becomes of found addresses: taken, bounded, refused, kept while nothing is found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from protogw.discovery import following
from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.following import Following, Part
from protogw.discovery.settings import DiscoverySettings


class Scripted:
    """A reference and a source in one: gives what it is told to, in order, then nothing more."""

    kind = "scripted"
    trusted = False
    authority = server_name = "scripted"

    def __init__(self, *outcomes: Sequence[Address] | Exception) -> None:
        self.outcomes = list(outcomes)
        self.more = asyncio.Event()
        self.closed = False

    def open(self, _: DiscoverySettings) -> Scripted:
        return self

    def add(self, outcome: Sequence[Address] | Exception) -> None:
        self.outcomes.append(outcome)
        self.more.set()

    async def next(self) -> Sequence[Address]:
        while not self.outcomes:
            self.more.clear()
            await self.more.wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        self.closed = True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def at(*hosts: str, **more: Any) -> list[Address]:
    return [Address(host=host, port=80, **more) for host in hosts]


@asynccontextmanager
async def followed(
    *sources: Scripted, fixed: Sequence[Address] = (), entry: Address | None = None, **settings: Any
) -> AsyncIterator[tuple[Following, list[list[Address]]]]:
    sets: list[list[Address]] = []
    tasks: list[asyncio.Task[None]] = []
    made = DiscoverySettings.model_validate({"timeout": "5s", **settings})
    entry = entry or Address(host="", port=0)
    parts = [Part(f"upstreams.a: scripted:{n}", source, entry, made) for n, source in enumerate(sources)]  # type: ignore[arg-type]
    one = Following("a", fixed, parts, lambda found: sets.append(list(found)), made.timeout)
    await one.begin(lambda work, name: tasks.append(asyncio.get_running_loop().create_task(work, name=name)))
    try:
        yield one, sets
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(source.closed for source in sources)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(following, "RETRY_MOST_S", 0.001)


async def test_the_start_waits_for_the_first_addresses() -> None:
    async with followed(Scripted(at("10.0.0.1"))) as (one, sets):
        assert sets == [at("10.0.0.1")]
        assert not one.awaited


async def test_the_start_does_not_wait_for_a_service_that_is_not_found() -> None:
    async with followed(Scripted(DiscoveryError("no such name"))) as (one, sets):
        assert one.awaited
        assert sets == []
        assert one.parts[0].error == "no such name"


async def test_a_failure_keeps_what_was_found_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    source = Scripted(at("10.0.0.1"), *[DiscoveryError("SERVFAIL")] * 5)
    with caplog.at_level(logging.INFO, "protogw"):
        async with followed(source) as (one, sets):
            await until(lambda: one.parts[0].failures == 5)
            source.add(at("10.0.0.2"))
            await until(lambda: len(sets) == 2)
    assert sets == [at("10.0.0.1"), at("10.0.0.2")]
    assert one.parts[0].error == ""
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "upstreams.a: scripted:0: SERVFAIL; the addresses stay as they were",
        "upstreams.a: scripted:0: found again: 1 addresses",
    ]


async def test_no_addresses_are_a_failure() -> None:
    source = Scripted(at("10.0.0.1"), [])
    async with followed(source) as (one, sets):
        await until(lambda: one.parts[0].failures == 1)
        assert sets == [at("10.0.0.1")]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::ffff:127.0.0.1"],
)
async def test_what_stands_beside_the_gateway_is_not_taken_from_others(host: str) -> None:
    async with followed(Scripted(at(host, "10.0.0.1"))) as (one, sets):
        assert sets == [at("10.0.0.1")]
        assert one.parts[0].dropped == 1


async def test_it_is_taken_where_the_config_refuses_nothing() -> None:
    async with followed(Scripted(at("127.0.0.1")), refuse=[]) as (_, sets):
        assert sets == [at("127.0.0.1")]


async def test_ranges_may_be_refused() -> None:
    async with followed(Scripted(at("10.0.0.1", "192.0.2.1", "2001:db8::1")), refuse=["10.0.0.0/8"]) as (_, sets):
        assert sets == [at("192.0.2.1", "2001:db8::1")]


async def test_a_huge_set_is_cut_and_the_cut_is_always_the_same() -> None:
    many = at(*(f"10.0.{n // 250}.{n % 250}" for n in range(5000)))
    async with followed(Scripted(many, many[::-1]), limit=100) as (one, sets):
        await until(lambda: len(sets) == 2)
        assert len(sets[0]) == 100
        assert sets[0] == sets[1]
        assert one.parts[0].dropped == 4900


async def test_garbage_is_left_out() -> None:
    bad = [
        Address(host="", port=80),
        Address(host="a b", port=80),
        Address(host="x" * 300, port=80),
        Address(host="a\r\nb", port=80),
        Address(host="10.0.0.9", port=0),
        Address(host="10.0.0.9", port=70000),
        Address(host="10.0.0.9", port=80, weight=0),
    ]
    async with followed(Scripted([*bad, *at("10.0.0.1")])) as (_, sets):
        assert sets == [at("10.0.0.1")]
    async with followed(Scripted(bad)) as (one, sets):
        assert sets == []
        assert "none of the 7 addresses" in one.parts[0].error


async def test_an_entry_weighs_and_ranks_all_that_it_finds() -> None:
    entry = Address(host="", port=0, weight=3, priority=2, zone="eu")
    found = [*at("10.0.0.1", weight=2, priority=1, zone="us"), *at("10.0.0.2", weight=9000)]
    async with followed(Scripted(found), entry=entry) as (_, sets):
        assert sorted((one.host, one.weight, one.priority, one.zone) for one in sets[0]) == [
            ("10.0.0.1", 6, 3, "us"),
            ("10.0.0.2", 10_000, 2, "eu"),
        ]


async def test_addresses_that_are_written_stand_beside_those_that_are_found() -> None:
    second = Scripted(DiscoveryError("not yet"))
    async with followed(Scripted(at("10.0.0.1")), second, fixed=at("10.0.0.9")) as (one, sets):
        assert sets[-1] == at("10.0.0.9", "10.0.0.1")
        assert not one.awaited
        second.add(at("10.0.0.2"))
        await until(lambda: sets[-1] == at("10.0.0.9", "10.0.0.1", "10.0.0.2"))


async def test_a_source_with_a_fault_of_its_own_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async with followed(Scripted(ZeroDivisionError(), at("10.0.0.1"))) as (one, sets):
        await until(lambda: bool(sets))
        assert one.parts[0].failures == 1
    assert "a fault in what finds its addresses" in caplog.text
