"""Healthy instances out of Consul, by blocking queries (against a server written from Consul's API reference)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from protogw.discovery import consul as module
from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.consul import Consul, ConsulSource, _addresses
from protogw.discovery.settings import DiscoverySettings
from tests.support.registries import FakeConsul, instance, served


@asynccontextmanager
async def asking(query: str = "", **settings: Any) -> AsyncIterator[tuple[ConsulSource, FakeConsul]]:
    fake = FakeConsul()
    async with served(fake.app) as (host, port):
        source = Consul.parse(f"consul://{host}:{port}/orders{query}").open(DiscoverySettings.model_validate(settings))
        try:
            yield source, fake
        finally:
            await source.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    monkeypatch.setattr(module, "WAIT_S", 5)


async def test_instances_whose_checks_pass_with_their_weights() -> None:
    async with asking() as (source, fake):
        await fake.put("orders", instance("10.0.0.1", 80, weight=3), instance("", 81, node="10.0.0.2"))
        assert await source.next() == [
            Address(host="10.0.0.1", port=80, weight=3, zone="eu"),
            Address(host="10.0.0.2", port=81, zone="eu"),
        ]
        assert fake.asked == [{"passing": "true"}]


async def test_the_next_question_waits_for_a_change() -> None:
    async with asking() as (source, fake):
        await fake.put("orders", instance("10.0.0.1", 80))
        await source.next()
        waiting = asyncio.get_running_loop().create_task(source.next())
        await fake.put("other", instance("10.0.0.9", 80))  # the index is the server's, and no change of ours
        while len(fake.asked) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert not waiting.done()
        await fake.put("orders", instance("10.0.0.2", 80))
        assert [one.host for one in await waiting] == ["10.0.0.2"]
        assert fake.asked[1]["index"] == "11"
        assert fake.asked[1]["wait"] == "5s"


async def test_tags_a_datacenter_and_a_token_are_told() -> None:
    async with asking("?tag=blue&dc=dc2", token="secret") as (source, fake):
        await fake.put("orders", instance("10.0.0.1", 80), instance("10.0.0.2", 80, tags=("blue",)))
        assert [one.host for one in await source.next()] == ["10.0.0.2"]
        assert fake.asked == [{"passing": "true", "tag": "blue", "dc": "dc2"}]
        assert fake.tokens == ["secret"]


async def test_an_index_that_goes_back_starts_anew() -> None:
    async with asking() as (source, fake):
        await fake.put("orders", instance("10.0.0.1", 80), index=500)
        await source.next()
        waiting = asyncio.get_running_loop().create_task(source.next())
        while len(fake.asked) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await fake.put("orders", instance("10.0.0.2", 80), index=3)
        assert [one.host for one in await waiting] == ["10.0.0.2"]
        await asyncio.wait_for(source.next(), 5)
        assert "index" not in fake.asked[2]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(403, None, "status 403"), (500, None, "status 500"), (200, b"{", "not JSON"), (200, b"{}", "not a list")],
)
async def test_an_answer_of_no_use_is_an_error(status: int, body: bytes | None, said: str) -> None:
    async with asking(token="secret") as (source, fake):
        fake.status, fake.body = status, body
        with pytest.raises(DiscoveryError, match=said) as error:
            await source.next()
        assert "secret" not in str(error.value)
        fake.status, fake.body = 200, None
        await fake.put("orders", instance("10.0.0.1", 80))
        assert len(await source.next()) == 1


async def test_an_answer_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.discovery.api.MOST_BYTES", 1000)
    async with asking() as (source, fake):
        await fake.put("orders", *(instance("10.0.0.1", port) for port in range(1, 50)))
        with pytest.raises(DiscoveryError, match="larger"):
            await source.next()


async def test_a_server_that_is_not_there_is_an_error() -> None:
    source = Consul.parse("consul://127.0.0.1:1/orders").open(DiscoverySettings())
    with pytest.raises(DiscoveryError, match=r"http://127\.0\.0\.1:1: "):
        await source.next()
    await source.close()


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["Node", "Service", "Address", "Port", "Weights", "Meta"]), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(_JSON)
def test_any_answer_is_addresses_or_refused(value: Any) -> None:
    try:
        found = _addresses(value)
    except DiscoveryError:
        return
    assert all(isinstance(one.host, str) and isinstance(one.port, int) for one in found)


def test_where_it_is() -> None:
    assert Consul.parse("consul://consul.internal/orders") == Consul("http://consul.internal:8500", "orders")
    assert Consul.parse("consul://[::1]:8501/orders?tls=true").base == "https://[::1]:8501"
    assert Consul.parse("consul://c/orders?tag=a&tag=b").query == (("tag", "a"), ("tag", "b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("consul:orders", "is not the address of a service"),
        ("consul://host:8500", "is not the address of a service"),
        ("consul://host:8500/a/b", "is not the address of a service"),
        ("consul://host:0/a", "has a bad port|is not the address"),
        ("consul://u:p@host/a", "carries a user name"),
        ("consul://host/a?tagg=x", "asks for tagg"),
        ("consul://host/a?tls=yes", "neither true nor false"),
        ("consul://ho st/a", "has a bad host name"),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    with pytest.raises(PydanticCustomError, match=said):
        Consul.parse(text)
