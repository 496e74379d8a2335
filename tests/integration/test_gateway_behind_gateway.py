"""A gateway whose service is another gateway, over the subprotocols that both know: nothing of a call is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import Driver, Grpc
from tests.support.gateway import Running, config_of, gateway


@pytest.fixture(params=["json", "proto"])
def behind(request: pytest.FixtureRequest, running: Running, tmp_path: Path) -> Iterator[Driver]:
    """A gRPC client of a gateway before the one that has the kit service."""
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    options = {"encoding": request.param, "subprotocols": [f"protogw.{request.param}"]}
    upstream = {"websocket": [f"127.0.0.1:{running.port}"], "schema": "kit.pb", "websocket_options": options}
    with gateway(config_of({"kit": upstream}), tmp_path) as made:
        driver = Grpc(made.port)
        yield driver
        driver.close()


def test_metadata_and_trailers_come_through(behind: Driver, service: Backend) -> None:
    result = behind.call("Unary", kit.message("hello", number=7))
    assert (result.code, result.messages[0].text, result.messages[0].number) == (0, "hello", 7)
    assert result.messages[0].seen["x-call"] == "v"
    assert result.lead["x-lead"] == "a, b"
    assert result.trail["x-trail"] == "t"
    assert result.trail["x-trail-bin"].rstrip("=") == "/wA"


def test_every_shape_comes_through(behind: Driver, service: Backend) -> None:
    assert len(behind.call("Down", kit.message(count=30)).messages) == 30
    assert behind.call("Up", *(kit.message(number=n) for n in range(10))).messages[0].number == sum(range(10))
    chat = behind.call("Chat", *(kit.message(f"{n}") for n in range(5)))
    assert [message.text for message in chat.messages] == ["0", "1", "2", "3", "4"]
    assert chat.trail["x-trail"] == "t"


@pytest.mark.parametrize("method", ["Unary", "Down", "Up"])
def test_errors_keep_their_details_and_long_messages(behind: Driver, service: Backend, method: str) -> None:
    text = "not here: " + "ä" * 300
    result = behind.call(method, kit.message(fail_code=5, fail_message=text))
    assert (result.code, result.message, result.details) == (5, text, ["google.rpc.BadRequest"])
