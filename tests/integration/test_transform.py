"""Transformation in the running gateway: one rule, every front end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import DRIVERS, Driver
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_driver import Graphql


@pytest.fixture(scope="module")
def changing(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("changing")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    change = {
        "request": {
            "metadata": {"set": {"x-text": {"from": "message.text"}}},
            "message": {"set": {"number": 7}, "remove": ["data"]},
        },
        "reply": {"metadata": {"remove": ["x-lead-bin"]}, "message": {"set": {"tags": ["changed"]}}},
    }
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}},
        policies={"change": {"transform": change}},
        use=["change"],
    )
    with gateway(config, folder) as running:
        yield running


@pytest.mark.parametrize("front", [*DRIVERS, Graphql], ids=lambda front: front.name)
@pytest.mark.parametrize("method", ["Unary", "Down"])
def test_fields_are_changed_whatever_the_protocol(changing: Running, front: type[Driver], method: str) -> None:
    client = front(changing.port)
    found = client.call(method, kit.message("x", number=1, data=b"secret", count=2))
    client.close()
    assert (found.code, len(found.messages)) == (0, 2 if method == "Down" else 1)
    for message in found.messages:
        assert (message.number, message.data, list(message.tags)) == (7, b"", ["changed"])
        assert message.seen["x-text"] == "x"
    assert "x-lead-bin" not in found.lead
