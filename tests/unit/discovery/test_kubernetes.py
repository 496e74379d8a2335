"""Ready pods out of Kubernetes' EndpointSlices, by list and watch (of a server written from its API reference)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.kubernetes import Kubernetes, KubernetesSource
from protogw.discovery.settings import DiscoverySettings
from tests.support.registries import FakeKubernetes, pod, served


@asynccontextmanager
async def watching(
    service: str = "kubernetes://shop/orders:grpc", **settings: Any
) -> AsyncIterator[tuple[KubernetesSource, FakeKubernetes]]:
    fake = FakeKubernetes()
    async with served(fake.app) as (host, port):
        made = DiscoverySettings.model_validate({"server": f"http://{host}:{port}", "token": "secret", **settings})
        source = Kubernetes.parse(service).open(made)
        try:
            yield source, fake
        finally:
            await source.close()


def hosts(found: Any) -> list[str]:
    return [one.host for one in found]


async def changed(source: KubernetesSource, change: Any) -> list[str]:
    waiting = asyncio.get_running_loop().create_task(source.next())
    await asyncio.sleep(0)
    await change
    return hosts(await asyncio.wait_for(waiting, 5))


async def test_ready_pods_of_all_slices_of_a_service() -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.2", zone="eu"), pod("10.0.0.3", ready=False), pod("10.0.0.1", ready=None))
        await fake.put("b", pod("10.0.0.4"))
        await fake.put("c", pod("10.0.0.9"), service="other")
        assert await source.next() == [
            Address(host="10.0.0.1", port=50051),
            Address(host="10.0.0.2", port=50051, zone="eu"),
            Address(host="10.0.0.4", port=50051),
        ]
        assert fake.tokens == ["Bearer secret"]


async def test_pods_come_and_go() -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await source.next()
        assert await changed(source, fake.put("a", pod("10.0.0.1"), pod("10.0.0.2"))) == ["10.0.0.1", "10.0.0.2"]
        assert await changed(source, fake.put("b", pod("10.0.0.3"))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        assert await changed(source, fake.delete("a")) == ["10.0.0.3"]
        assert (fake.lists, fake.watches) == (1, 1)


async def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await source.next()
        waiting = asyncio.get_running_loop().create_task(source.next())
        while not fake.watches:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await fake.cut()
        await fake.put("a", pod("10.0.0.2"))
        assert hosts(await asyncio.wait_for(waiting, 5)) == ["10.0.0.2"]
        assert (fake.lists, fake.watches) == (1, 2)


async def test_a_place_that_is_no_longer_kept_lists_anew() -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await fake.put("b", pod("10.0.0.2"))
        await source.next()
        waiting = asyncio.get_running_loop().create_task(source.next())
        while not fake.watches:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        del fake.slices["b"]  # of which no watch will ever tell
        await fake.cut(forget=True)
        assert hosts(await asyncio.wait_for(waiting, 5)) == ["10.0.0.1"]
        assert fake.lists == 2


@pytest.mark.parametrize(
    "said",
    [
        ("ERROR", {"kind": "Status", "code": 500, "message": "etcd event received with PrevKv=nil"}),
        ("ERROR", {"kind": "Status"}),
        ("", {"kind": "EndpointSliceList"}),
    ],
)
async def test_a_watch_that_fails_lists_anew(said: tuple[str, dict[str, Any]]) -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await source.next()
        fake.say = said
        with pytest.raises(DiscoveryError):
            await source.next()
        await fake.put("b", pod("10.0.0.2"))
        assert hosts(await source.next()) == ["10.0.0.1", "10.0.0.2"]
        assert fake.lists == 2


async def test_long_lists_come_in_pages() -> None:
    async with watching() as (source, fake):
        fake.page = 2
        for number in range(5):
            await fake.put(f"s{number}", pod(f"10.0.0.{number}"))
        assert len(await source.next()) == 5
        assert fake.lists == 3


async def test_where_no_pod_is_ready_those_that_end_serve_on() -> None:
    async with watching() as (source, fake):
        ending = pod("10.0.0.1", ready=False, terminating=True)
        await fake.put("a", ending, pod("10.0.0.2"))
        assert hosts(await source.next()) == ["10.0.0.2"]
        gone = pod("10.0.0.2", ready=False, serving=False, terminating=True)
        assert await changed(source, fake.put("a", ending, gone)) == ["10.0.0.1"]


async def test_a_service_with_two_families_has_each_pod_once() -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await fake.put("b", pod("2001:db8::1"), addressType="IPv6")
        assert hosts(await source.next()) == ["10.0.0.1"]
    async with watching(family="ipv6") as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        await fake.put("b", pod("2001:db8::1"), addressType="IPv6")
        assert hosts(await source.next()) == ["2001:db8::1"]


async def test_a_port_by_its_number_or_one_that_is_not_there() -> None:
    async with watching("kubernetes://shop/orders:8080") as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        assert [one.port for one in await source.next()] == [8080]
    async with watching("kubernetes://shop/orders:http") as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        assert await source.next() == []


@pytest.mark.parametrize(("status", "said"), [(401, "does not let"), (403, "does not let"), (500, "status 500")])
async def test_an_api_that_refuses_is_an_error(status: int, said: str) -> None:
    async with watching() as (source, fake):
        await fake.put("a", pod("10.0.0.1"))
        fake.status = status
        with pytest.raises(DiscoveryError, match=said) as error:
            await source.next()
        assert "secret" not in str(error.value)
        fake.status = 200
        assert hosts(await source.next()) == ["10.0.0.1"]


@pytest.mark.parametrize(
    "item", [{"endpoints": [None, 5, {"addresses": None}, {"addresses": [7]}]}, {"endpoints": {}}, {"ports": [1, {}]}]
)
async def test_slices_of_another_shape_have_no_addresses(item: dict[str, Any]) -> None:
    async with watching() as (source, fake):
        await fake.put("a", **item)
        assert await source.next() == []


async def test_a_pod_finds_the_api_and_its_account_by_itself(tmp_path: Path) -> None:
    fake = FakeKubernetes()
    await fake.put("a", pod("10.0.0.1"))
    (tmp_path / "token").write_text("of the pod\n")
    async with served(fake.app) as (host, port):
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        source = KubernetesSource(
            Kubernetes("shop", "orders", "grpc"), DiscoverySettings(), account=tmp_path, environment=environment
        )
        with pytest.raises(DiscoveryError, match=r"no usable answer|cannot|No such file"):
            await source.next()  # it asks over TLS, with the authority of the account, which is not there
        await source.close()
        assert await source._headers() == {"authorization": "Bearer of the pod"}


async def test_outside_of_a_cluster_its_address_must_be_written() -> None:
    source = KubernetesSource(Kubernetes("shop", "orders", "grpc"), DiscoverySettings(), environment={})
    with pytest.raises(DiscoveryError, match=r"discovery\.server"):
        await source.next()


def test_how_it_is_called() -> None:
    assert Kubernetes.parse("kubernetes://shop/orders:grpc").authority == "orders.shop.svc"


@pytest.mark.parametrize(
    "text",
    [
        "kubernetes:shop/orders:grpc",
        "kubernetes://shop/orders",
        "kubernetes://shop:grpc",
        "kubernetes://Shop/orders:grpc",
        "kubernetes://shop/orders:0",
        "kubernetes://shop/orders:not_a_port",
        "kubernetes://shop/orders/more:grpc",
        "kubernetes://../orders:grpc",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        Kubernetes.parse(text)
