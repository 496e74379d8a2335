"""Calls at once where others share the places: asked for, given back, and what happens when that cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Encoding, Payload, Reply
from protogw.errors import LimitReached, Overloaded
from protogw.policies.concurrency import Concurrency, ConcurrencySettings
from protogw.stores.base import StoreError
from tests.support.counted import Counted
from tests.support.policies import Gated, call, turns


class Elsewhere:
    """Places that somebody else counts."""

    def __init__(self, room: int = 1) -> None:
        self.room = room
        self.asked: list[tuple[str, int, int, float]] = []
        self.down = False

    @property
    def places(self) -> Elsewhere:
        return self

    async def enter(self, key: str, limit: int, pending: int, wait_s: float) -> bool:
        self.asked.append((key, limit, pending, wait_s))
        if self.down:
            raise StoreError("down")
        if not self.room:
            return False
        self.room -= 1
        return True

    def leave(self, key: str) -> None:
        self.room += 1


class Tools(Counted):
    name = "few"

    def __init__(self, store: Elsewhere) -> None:
        super().__init__()
        self.store = store

    def counters(self, url: str) -> Elsewhere:
        assert url == "redis://x"
        return self.store


def limit(store: Elsewhere, **settings: Any) -> Concurrency:
    made = Concurrency(ConcurrencySettings.model_validate({"limit": 1, "store": "redis://x", **settings}))
    made.equip(Tools(store))  # type: ignore[arg-type]
    return made


async def test_a_call_has_a_place_as_long_as_it_runs() -> None:
    store, service = Elsewhere(), Gated()
    policy = limit(store, by="header.x-user", pending=3, wait="2s")
    running = asyncio.ensure_future(policy(call(fields=((b"x-user", b"ann"),)), service))
    await turns()
    assert (store.asked, store.room, policy.running) == ([("few ann", 1, 3, 2.0)], 0, 1)
    with pytest.raises(LimitReached):
        await policy(call(), service)
    service.waiting[0].set_result(Reply())
    await running
    assert (store.room, policy.running) == (1, 0)


async def test_a_stream_has_one_until_it_ends_and_a_call_that_fails_gives_it_back() -> None:
    store = Elsewhere()
    policy = limit(store)

    async def messages() -> AsyncIterator[Payload]:
        yield Payload(b"", Encoding.RAW)

    async def streams(_: object) -> Reply:
        return Reply(payloads=messages())

    reply = await policy(call(), streams)
    assert store.room == 0
    assert reply.payloads is not None
    async for _ in reply.payloads:
        pass
    assert store.room == 1

    async def fails(_: object) -> Reply:
        raise KeyError

    with pytest.raises(KeyError):
        await policy(call(), fails)
    assert (store.room, policy.running) == (1, 0)


@pytest.mark.parametrize("on_error", ["open", "closed"])
async def test_what_cannot_be_asked_is_as_the_settings_say(on_error: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Elsewhere()
    store.down = True
    policy = limit(store, on_error=on_error)

    async def service(_: object) -> Reply:
        return Reply()

    if on_error == "open":
        await policy(call(), service)
    else:
        with pytest.raises(Overloaded):
            await policy(call(), service)
    assert policy.running == 0
    assert "policies.few: the store cannot be asked" in caplog.text
