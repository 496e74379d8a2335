"""Policies that raise, hang or answer nonsense: the call fails closed, the log names them, all else goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from protogw.call import Call, Reply
from protogw.policies.base import Handler
from protogw.policies.ip_filter import IpFilter
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import DRIVERS, Driver, Grpc
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_driver import Graphql


class Odd:
    """Does wrongly what it is told to; in place of a policy's own doing."""

    how = ""

    async def __call__(self, call: Call, forward: Handler) -> Any:
        if Odd.how == "raise":
            raise RuntimeError("a policy's own fault")
        if Odd.how == "hang":
            await asyncio.Event().wait()
        reply: Reply = await forward(call)
        return None if Odd.how == "nonsense" else reply


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture
def broken(service: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(IpFilter, "__call__", Odd.__call__)
    monkeypatch.setattr(Odd, "how", "")
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        policies={"fair": {"rate_limit": {"rate": "100000/s"}}, "odd": {"ip_filter": {"deny": "192.0.2.1"}}},
        use=["fair", "odd"],
        routes=[
            {"match": {"call": "kit.v1.Echo/Look"}, "timeout": "300ms"},
            {"match": {"call": "kit.v1.Echo/*"}},
        ],
    )
    with gateway(config, tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", [*DRIVERS, Graphql], ids=lambda kind: kind.name)
def test_a_policy_that_raises_is_named_and_harms_one_call(
    kind: type[Driver], broken: Running, service: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(kind(broken.port)) as client:
        before = service.counts.started
        with caplog.at_level(logging.ERROR, "protogw"):
            Odd.how = "raise"
            result = client.call("Unary", kit.message("x"))
        assert (result.code, result.message) == (13, "internal error")
        assert service.counts.started == before
        assert [line.partition(":")[0] for line in caplog.messages] == ["policies.odd"]
        Odd.how = ""
        assert client.call("Unary", kit.message("x")).code == 0


def test_a_policy_that_hangs_ends_with_the_calls_deadline(broken: Running, service: Backend) -> None:
    with closing(Grpc(broken.port)) as client:
        before = service.counts.started
        Odd.how = "hang"
        assert client.call("Look", kit.message("x")).code == 4
        assert client.call("Unary", kit.message("x"), timeout=0.1).code == 4
        assert service.counts.started == before
        Odd.how = ""
        assert client.call("Unary", kit.message("x")).code == 0


@pytest.mark.parametrize("kind", [*DRIVERS, Graphql], ids=lambda kind: kind.name)
def test_a_policy_that_answers_nonsense_fails_the_call(kind: type[Driver], broken: Running) -> None:
    with closing(kind(broken.port)) as client:
        Odd.how = "nonsense"
        assert client.call("Unary", kit.message("x")).code == 13
        Odd.how = ""
        assert client.call("Unary", kit.message("x")).code == 0
