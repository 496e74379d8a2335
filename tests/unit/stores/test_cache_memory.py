"""Entries as values, as bytes, and in memory: bounded, the least recently used first to go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.stores.cache_memory import MemoryCache
from protogw.stores.entries import ASKED_S, OVERHEAD, Entry, Wanted, dumped, loaded


def entry(body: bytes = b"", name: str = "a", **said: object) -> Entry:
    return replace(Entry(name=name, body=body, encoding="proto", made_s=1000.0, fresh_s=60.0), **said)  # type: ignore[arg-type]


PAIRS = st.lists(st.tuples(st.binary(), st.binary())).map(tuple)
LINES = st.binary().map(lambda text: text.translate(None, b"\r\n\0"))
FIELDS = st.lists(st.tuples(LINES, LINES)).map(tuple)


@given(
    body=st.binary(),
    name=st.text(),
    message=st.text(),
    fields=FIELDS,
    details=PAIRS,
    tags=st.lists(st.text()).map(tuple),
    fresh=st.floats(0, 1e9),
)
def test_an_entry_is_the_same_after_it_was_bytes(
    body: bytes, name: str, message: str, fields: object, details: object, tags: object, fresh: float
) -> None:
    made = entry(body, name, message=message, fields=fields, details=details, tags=tags, etag=b'W/"x"', fresh_s=fresh)
    assert loaded(dumped(made)) == made


@given(st.binary())
def test_bytes_that_are_no_entry_are_none(data: bytes) -> None:
    assert loaded(data) is None
    assert loaded(data + b"\n") is None
    assert loaded(b"{" + data + b"}\n") is None


@pytest.mark.parametrize("line", [b'{"v":2}', b"[]", b"1", b'{"v":1}', b'{"v":1,"times":[1,2,3]}'])
def test_lines_that_say_something_else_are_no_entry(line: bytes) -> None:
    assert loaded(line + b"\nbody") is None


def test_the_least_recently_used_go_first() -> None:
    store = MemoryCache(10 * (OVERHEAD + 101), clock=lambda: 1000.0)
    for number in range(10):
        store.put_now(b"%d" % number, entry(b"x" * 100))
    assert store.get_now(b"0") is not None
    store.put_now(b"n", entry(b"x" * 100))
    assert store.get_now(b"1") is None
    assert store.get_now(b"0") is not None
    assert store.size <= 10 * (OVERHEAD + 101)


def test_an_entry_too_large_takes_no_others_place() -> None:
    store = MemoryCache(8 * OVERHEAD, clock=lambda: 1000.0)
    store.put_now(b"a", entry())
    store.put_now(b"b", entry(b"x" * 2 * OVERHEAD))
    assert (store.get_now(b"a") is not None, store.get_now(b"b")) == (True, None)
    store.put_now(b"a", entry(b"x" * 2 * OVERHEAD))
    assert (store.get_now(b"a"), store.size) == (None, 0)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4000))))
def test_no_more_is_taken_than_there_is_room_for(puts: list[tuple[int, int]]) -> None:
    store = MemoryCache(20_000, clock=lambda: 1000.0)
    for key, size in puts:
        store.put_now(b"%d" % key, entry(b"x" * size))
        assert store.size <= 20_000
        assert store.size == sum(one.size + len(key) for key, (one, _) in store._entries.items())


def test_what_is_of_no_use_goes_with_the_next_one() -> None:
    now = 1000.0
    store = MemoryCache(1 << 20, clock=lambda: now)
    store.put_now(b"a", entry())
    store.put_now(b"asked", entry(status=200, fields=((b"etag", b'"1"'),)))
    now += 61
    store.put_now(b"b", entry(made_s=now))
    assert (store.get_now(b"a"), store.get_now(b"asked") is None) == (None, False)
    assert entry(status=200, fields=((b"etag", b'"1"'),)).keep_s == 60.0 + ASKED_S


async def test_purging_takes_what_is_meant() -> None:
    store = MemoryCache(1 << 22, clock=lambda: 1000.0)
    for number in range(2500):
        store.put_now(b"%d" % number, entry(name=f"s/M{number % 5}", tags=("even",) if number % 2 == 0 else ()))
    assert await store.purge(Wanted(name="s/M1")) == 500
    assert await store.purge(Wanted(name="s/*", tag="even")) == 1000
    await store.remove(b"3")
    assert await store.purge(Wanted()) == 999
    assert (len(store), store.size) == (0, 0)
