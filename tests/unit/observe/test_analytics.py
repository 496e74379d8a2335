"""Analytics: what is counted of whom, that it adds up and is bounded, and that the disk's troubles are no call's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import NO_METADATA, Call, Composite, Reply
from protogw.errors import Code, GatewayError, Status
from protogw.identity import Identity
from protogw.observe import analytics as module
from protogw.observe.analytics import Analytics
from protogw.observe.analytics_store import BOUNDS_S, Batch, Store, StoreFault, percentile
from tests.support.rpc import LOOK, UNARY, Exchange, head

NOW = 1_764_035_422.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "analytics.db")
    yield made
    made.close()


def exchange(who: str = "shop", method: Any = UNARY, code: Code = Code.OK) -> Exchange:
    made = Exchange(head("/v1/x", method="GET"))
    made.status, made.bytes_in, made.bytes_out = 200, 10, 200
    made.call = Call(method, NO_METADATA, front_end="rest", peer=made.peer, started=0.0, head=made.head)
    made.call.reply = Reply(status=Status(code))
    if who:
        made.call.identity = Identity(subject="someone", consumer=who, scheme="api_key")
    return made


def counted(store: Store, clock: Clock | None = None) -> Analytics:
    return Analytics(store, clock=clock or Clock())


async def test_half_a_character_in_a_name_is_not_kept_and_costs_nothing_else(store: Store) -> None:
    analytics = counted(store)
    for who in "a\ud800", "a\udfff", "b":
        analytics.record(exchange(who), 0.01, None, "rest")
    both, other = await analytics.report("consumer", 3600, 10)
    assert (both.name, both.calls, other.name, other.calls) == ("a?", 2, "b", 1)


async def test_calls_are_told_by_consumer_and_by_method(store: Store) -> None:
    analytics = counted(store)
    for seconds in (0.010, 0.012, 0.500):
        analytics.record(exchange(), seconds, None, "rest")
    analytics.record(exchange(method=LOOK, code=Code.NOT_FOUND), 0.001, None, "grpc")
    analytics.record(exchange(who=""), 0.001, GatewayError("no", code=Code.UNAUTHENTICATED), "grpc")
    shop, nobody = await analytics.report("consumer", 3600, 10)
    assert (shop.name, shop.calls, shop.errors, shop.bytes_in, shop.bytes_out) == ("shop", 4, 1, 40, 800)
    assert (nobody.name, nobody.calls, nobody.errors) == ("", 1, 1)
    unary, look = await analytics.report("method", 3600, 10)
    assert (unary.name, unary.calls, look.name, look.calls) == ("kit.v1.Echo/Unary", 4, "kit.v1.Echo/Look", 1)
    assert unary.p50_ms == pytest.approx(11, rel=0.2)
    assert unary.p99_ms == pytest.approx(500, rel=0.2)
    assert shop.mean_ms == pytest.approx(523 / 4, rel=0.01)


async def test_what_is_written_again_in_the_same_minute_adds_up(store: Store) -> None:
    analytics = counted(store)
    for _ in range(3):
        analytics.record(exchange(), 0.01, None, "rest")
        await analytics.flush()
    (row,) = await analytics.report("method", 60, 10)
    assert row.calls == 3
    with sqlite3.connect(store._path) as db:
        assert db.execute("SELECT COUNT(*) FROM calls").fetchone() == (1,)


async def test_only_what_lies_within_the_time_is_told(store: Store) -> None:
    clock = Clock()
    analytics = counted(store, clock)
    analytics.record(exchange(), 0.01, None, "rest")
    await analytics.flush()
    clock.now += 7200
    analytics.record(exchange(), 0.01, None, "rest")
    assert [row.calls for row in await analytics.report("method", 3600, 10)] == [1]
    assert [row.calls for row in await analytics.report("method", 10_000, 10)] == [2]


async def test_what_is_older_than_it_is_kept_is_forgotten(store: Store) -> None:
    clock = Clock()
    analytics = Analytics(store, keep_s=86400, clock=clock)
    analytics.record(exchange(), 0.01, None, "rest")
    await analytics.flush()
    clock.now += 2 * 86400
    await analytics.flush()
    assert await analytics.report("method", 10 * 86400, 10) == []


async def test_a_graphql_request_counts_its_calls_and_its_fields(store: Store) -> None:
    class Asked:
        def names(self) -> frozenset[str]:
            return frozenset(("Query.shelf", "Shelf.name"))

    analytics = counted(store)
    asked = Asked()
    for _ in range(2):
        made = exchange()
        first = made.call
        assert first is not None
        made.call = whole = Composite(first, "query", "", asked)
        whole.part_ended(first, Status())
        whole.identity = first.identity
        analytics.called(first, 0.01, None)
        analytics.called(first, 0.02, GatewayError("no", code=Code.NOT_FOUND))
        analytics.record(made, 0.03, None, "graphql")
    (row,) = await analytics.report("consumer", 3600, 10)
    assert (row.calls, row.errors, row.bytes_out) == (4, 2, 400)
    fields = await analytics.report("field", 3600, 10)
    assert [(row.name, row.calls) for row in fields] == [("Query.shelf", 2), ("Shelf.name", 2)]


async def test_more_consumers_than_there_may_be_share_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEYS", 5)
    analytics = counted(store)
    for number in range(20):
        analytics.record(exchange(f"c{number}"), 0.01, None, "rest")
    rows = {row.name: row.calls for row in await analytics.report("consumer", 3600, 100)}
    assert len(rows) == 6
    assert rows["overflow"] == 15


async def test_a_file_that_cannot_be_written_loses_counts_and_no_calls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    analytics = counted(Store(folder / "analytics.db"))
    for _ in range(2):
        analytics.record(exchange(), 0.01, None, "rest")
        await analytics.flush()
    assert analytics.lost == 2
    assert len([line for line in caplog.messages if "analytics" in line]) == 1
    with pytest.raises(StoreFault):
        await analytics.report("method", 60, 10)
    folder.mkdir()
    analytics.record(exchange(), 0.01, None, "rest")
    assert [row.calls for row in await analytics.report("method", 60, 10)] == [1]


async def test_a_file_that_another_holds_locked_is_a_fault_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protogw.observe.analytics_store.BUSY_MS", 10)
    store.add(Batch(calls=[], latency=[], fields=[]))
    store.close()
    other = sqlite3.connect(store._path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    analytics = counted(store)
    analytics.record(exchange(), 0.01, None, "rest")
    await analytics.flush()
    assert analytics.lost == 1
    other.execute("ROLLBACK")
    other.close()
    analytics.record(exchange(), 0.01, None, "rest")
    assert [row.calls for row in await analytics.report("method", 60, 10)] == [1]


async def test_a_file_that_is_no_database_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database, but long enough to be read as one" * 50)
    analytics = counted(Store(tmp_path / "a.db"))
    analytics.record(exchange(), 0.01, None, "rest")
    await analytics.flush()
    assert analytics.lost == 1


def test_two_processes_may_write_one_file(store: Store, tmp_path: Path) -> None:
    other = Store(store._path)
    batch = Batch(calls=[(0, "a", "m", 1, 0, 0, 0, 0.1)], latency=[(0, "a", "m", 3, 1)], fields=[(0, "Q.f", 1)])
    for _ in range(5):
        store.add(batch)
        other.add(batch)
    other.close()
    assert [row.calls for row in store.report("consumer", 0, 10)] == [10]


@given(st.lists(st.floats(0.0002, 90.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_right_to_within_an_eighth(times: list[float], share: float) -> None:
    from bisect import bisect_left
    from collections import Counter
    from math import ceil

    buckets = sorted(Counter(bisect_left(BOUNDS_S, one) for one in times).items())
    exact = sorted(times)[ceil(len(times) * share) - 1] * 1e3
    found = percentile(buckets, share)
    assert found is not None
    assert abs(found - exact) <= exact * 0.13 + 0.001


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentile([], 0.5) is None
    assert percentile([(len(BOUNDS_S), 3)], 0.5) == pytest.approx(BOUNDS_S[-1] * 1e3)


def test_buckets_reach_from_the_tenth_of_a_millisecond_to_beyond_a_minute() -> None:
    assert BOUNDS_S[0] == 0.0001
    assert BOUNDS_S[-1] > 60
