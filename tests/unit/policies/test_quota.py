"""Quotas: plans, periods, what is told of them, and what is kept across a restart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Metadata, Reply
from protogw.errors import Forbidden, InvalidRequest, LimitReached, Overloaded
from protogw.identity import Identity
from protogw.policies.quota import Quota, QuotaSettings, calendar
from protogw.stores.base import StoreError
from protogw.stores.quotas import MOST_WAITING, SqliteQuotas
from protogw.wire.http import Peer
from tests.support.counted import Counted


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 15, tzinfo=ZoneInfo("UTC")).timestamp()

    def __call__(self) -> float:
        return self.now

    def at(self, text: str, zone: str = "UTC") -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@asynccontextmanager
async def quota(clock: Callable[[], float] | None = None, **settings: Any) -> AsyncIterator[Quota]:
    policy = Quota(QuotaSettings.model_validate({"store": ":memory:", **settings}), clock or Clock())
    task = asyncio.get_running_loop().create_task(policy.run())
    await asyncio.sleep(0)
    try:
        yield policy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def forward(_: Call) -> Reply:
    return Reply()


async def used(policy: Quota, consumer: str = "a", *groups: str, cost: str = "", refused: bool = False) -> Call:
    metadata = Metadata(((b"x-cost", cost.encode()),) if cost else ())
    call = Call(None, metadata, front_end="test", peer=Peer("127.0.0.1", 1), started=0.0)
    call.identity = Identity(subject=consumer, consumer=consumer, scheme="test", groups=frozenset(groups))
    if refused:
        with pytest.raises(LimitReached):
            await policy(call, forward)
    else:
        await policy(call, forward)
    return call


def field(told: Call, name: bytes) -> bytes | None:
    pairs = told.noted()
    return dict(pairs).get(name)


async def test_so_many_calls_a_day_for_each_consumer() -> None:
    async with quota(limit="2/day") as policy:
        first = await used(policy)
        assert (field(first, b"ratelimit-limit"), field(first, b"ratelimit-remaining")) == (b"2", b"1")
        assert field(first, b"ratelimit-reset") == b"%d" % (9 * 3600)
        await used(policy)
        with pytest.raises(LimitReached) as refused:
            await used(policy)
        assert refused.value.retry_after_s == pytest.approx(9 * 3600)
        assert field(await used(policy, refused=True), b"ratelimit-remaining") == b"0"
        await used(policy, "b")


async def test_half_a_character_in_a_name_is_counted_by_itself() -> None:
    async with quota(limit="1/day") as policy:
        for who in "\ud800", "\udfff" * 300, "?":
            await used(policy, who)
            await used(policy, who, refused=True)


async def test_the_day_begins_at_midnight_of_the_time_zone() -> None:
    clock = Clock()
    async with quota(clock, limit="1/day", timezone="Asia/Tokyo") as policy:
        clock.at("2026-03-10T23:59:59", "Asia/Tokyo")
        await used(policy)
        with pytest.raises(LimitReached):
            await used(policy)
        clock.at("2026-03-11T00:00:00", "Asia/Tokyo")
        await used(policy)


async def test_a_rolling_day_looks_back() -> None:
    clock = Clock()
    clock.at("2026-03-10T23:00:00")
    async with quota(clock, limit="10/day", period="rolling") as policy:
        for _ in range(10):
            await used(policy)
        clock.at("2026-03-11T12:00:00")
        for _ in range(5):
            await used(policy)
        with pytest.raises(LimitReached):
            await used(policy)


@pytest.mark.parametrize(
    ("uses", "at"),
    [
        # All ten at the beginning of a day count until the next one is a tenth old.
        ({"2026-03-10T00:00:00": 10}, "2026-03-10T06:00:00"),
        # All ten of yesterday, of which half count at noon: five more, and the sixth a little later.
        ({"2026-03-09T12:00:00": 10, "2026-03-10T12:00:00": 5}, "2026-03-10T12:00:00"),
        ({"2026-03-09T12:00:00": 3, "2026-03-10T12:00:00": 8}, "2026-03-10T12:30:00"),
    ],
)
async def test_who_comes_back_when_a_rolling_quota_says_is_let_in_and_not_before(uses: dict[str, int], at: str) -> None:
    clock = Clock()
    async with quota(clock, limit="10/day", period="rolling") as policy:
        for when, count in uses.items():
            clock.at(when)
            for _ in range(count):
                await used(policy)
        clock.at(at)
        with pytest.raises(LimitReached) as refused:
            await used(policy)
        assert refused.value.retry_after_s is not None
        clock.now += refused.value.retry_after_s - 60
        await used(policy, refused=True)
        clock.now += 61
        told = await used(policy)
        assert float(field(told, b"ratelimit-reset") or 0) > 86400


@pytest.mark.parametrize(("on_error", "outcome"), [("open", "unasked_open"), ("closed", "unasked_closed")])
async def test_what_it_decides_is_counted(tmp_path: Path, on_error: str, outcome: str) -> None:
    tools = Counted()
    async with quota(limit="2/day", on_error=on_error) as policy:
        policy.equip(tools)  # type: ignore[arg-type]
        await used(policy)
        await used(policy)
        await used(policy, refused=True)
        (tmp_path / "none.sqlite").write_bytes(b"x" * 4096)
        whole, policy._store = policy._store, SqliteQuotas(str(tmp_path / "none.sqlite"))
        if on_error == "open":
            await used(policy)
        else:
            with pytest.raises(Overloaded):
                await used(policy)
        await whole.close()
    assert tools.told("quota_decisions") == {("allowed",): 2, ("refused",): 1, (outcome,): 1}


@pytest.mark.parametrize(
    ("period", "zone", "now", "began", "ends"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00:00", "2026-03-29T00:00:00", "2026-03-30T00:00:00"),
        ("week", "UTC", "2026-03-15T12:00:00", "2026-03-09T00:00:00", "2026-03-16T00:00:00"),
        ("month", "UTC", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "UTC", "2028-02-29T00:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("hour", "Asia/Kolkata", "2026-03-15T12:34:56", "2026-03-15T12:00:00", "2026-03-15T13:00:00"),
    ],
)
def test_periods_of_the_calendar(period: str, zone: str, now: str, began: str, ends: str) -> None:
    def at(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()

    assert calendar(period, at(now), ZoneInfo(zone))[:2] == (at(began), at(ends))


@given(
    st.sampled_from(["hour", "day", "week", "month"]),
    st.floats(0, 4e9),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_every_moment_is_in_its_period_and_periods_follow_each_other(period: str, now: float, zone: str) -> None:
    began, ends, before = calendar(period, now, ZoneInfo(zone))
    assert before < began <= now < ends
    assert calendar(period, ends, ZoneInfo(zone))[0] == pytest.approx(ends, abs=1e-3)


async def test_each_plan_has_its_own() -> None:
    async with quota(plans={"gold": "3/day", "free": "1/day"}) as policy:
        for _ in range(3):
            await used(policy, "a", "free", "gold")
        with pytest.raises(LimitReached):
            await used(policy, "a", "gold")
        await used(policy, "b", "free")
        with pytest.raises(LimitReached):
            await used(policy, "b", "free")
        with pytest.raises(Forbidden, match="on no plan"):
            await used(policy, "c", "other")


async def test_who_is_on_no_plan_may_have_one_by_default() -> None:
    async with quota(plans={"gold": "3/day", "free": "1/day"}, default="free") as policy:
        await used(policy, "c")
        with pytest.raises(LimitReached):
            await used(policy, "c")


async def test_a_better_plan_goes_on_from_what_is_used() -> None:
    async with quota(plans={"gold": "3/day", "free": "1/day"}) as policy:
        await used(policy, "a", "free")
        assert field(await used(policy, "a", "gold"), b"ratelimit-remaining") == b"1"


async def test_a_call_may_cost_more_and_is_counted_whole_or_not_at_all() -> None:
    async with quota(limit="10/day", cost="header.x-cost") as policy:
        await used(policy, cost="7")
        with pytest.raises(LimitReached):
            await used(policy, cost="4")
        assert field(await used(policy, cost="3"), b"ratelimit-remaining") == b"0"
        with pytest.raises(InvalidRequest):
            await used(policy, cost="much")


async def test_calls_at_the_same_time_have_exactly_the_quota() -> None:
    async with quota(limit="20/day") as policy:
        outcomes = await asyncio.gather(*(used(policy) for _ in range(60)), return_exceptions=True)
        assert sum(isinstance(outcome, Call) for outcome in outcomes) == 20


async def test_what_is_used_outlives_a_restart_and_is_shared_by_processes(tmp_path: Path) -> None:
    store = str(tmp_path / "quotas.sqlite")
    async with quota(limit="3/day", store=store) as one, quota(limit="3/day", store=store) as two:
        await used(one)
        await used(two)
    async with quota(limit="3/day", store=store) as policy:
        await used(policy)
        with pytest.raises(LimitReached):
            await used(policy)


async def test_what_is_over_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteQuotas(str(tmp_path / "quotas.sqlite"))
    await store.spend("old 1", "", 0.0, 1, 10, 1.0)
    monkeypatch.setattr("protogw.stores.quotas._SWEEP_S", 0.0)
    await store.spend("new 1", "", 0.0, 1, 10, 9e9)
    assert store._db is not None
    assert store._db.execute("SELECT key FROM quota").fetchall() == [("new 1",)]
    await store.close()


async def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "quotas.sqlite"
    path.write_bytes(b"x" * 4096)
    store = SqliteQuotas(str(path))
    with pytest.raises(StoreError, match="not a database"):
        await store.spend("k 1", "", 0.0, 1, 10, 9e9)
    await store.close()
    async with quota(limit="1/day", store=str(path)) as policy:
        with pytest.raises(Overloaded):
            await used(policy)
    async with quota(limit="1/day", store=str(path), on_error="open") as policy:
        await used(policy)
        await used(policy)
        assert policy.failures == 2


async def test_the_admin_address_shows_who_has_used_how_much() -> None:
    async with quota(plans={"gold": "3/day"}) as policy:
        await used(policy, "a", "gold")
        shown = policy.shown()["consumers"]["a"]
        assert (shown["plan"], shown["used"], shown["limit"], shown["period"]) == ("gold", 1, 3, "day")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs either limit or plans"),
        ({"limit": "1/day", "plans": {"a": "1/day"}}, "needs either limit or plans"),
        ({"plans": {"a": "1/day"}, "default": "b"}, "names none of its plans"),
        ({"limit": "1/year"}, "is not a quota"),
        ({"limit": "-1/day"}, "is not a quota"),
        ({"limit": "1/day", "timezone": "Mars/Olympus"}, "is not a time zone"),
        ({"limit": "1/day", "timezone": "../../etc/passwd"}, "is not a time zone"),
        ({"limit": "1/day", "store": "/nowhere/at/all.sqlite"}, "is not where a file can be"),
    ],
)
def test_what_does_not_fit_is_a_fault(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        QuotaSettings.model_validate({"store": ":memory:", **settings})


async def test_uses_that_were_given_up_wait_within_the_bound_too() -> None:
    """A client that opens calls and resets them at once filled the file's queue without an end."""
    store, held = SqliteQuotas(":memory:"), threading.Event()
    store._thread.submit(held.wait)
    uses = [asyncio.ensure_future(store.spend("a 1", "a 0", 0.0, 1, 5000, 1e12)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    for one in uses:
        one.cancel()
    await asyncio.gather(*uses, return_exceptions=True)
    one_more = asyncio.ensure_future(store.spend("a 1", "a 0", 0.0, 1, 5000, 1e12))
    await asyncio.sleep(0)
    held.set()
    with pytest.raises(StoreError, match="uses wait"):
        await one_more
    while store._waiting:  # noqa: ASYNC110 — the thread's work comes to an end by itself
        await asyncio.sleep(0.01)
    spent = await store.spend("a 1", "a 0", 0.0, 1, 5000, 1e12)
    assert (spent.allowed, spent.current) == (True, MOST_WAITING + 1)
    await store.close()
