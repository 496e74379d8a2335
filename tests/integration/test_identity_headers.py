"""Through the whole gateway, in every protocol: services are told who calls by the gateway alone, and a stream ends
when its caller's credential does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protogw.policies import authentication
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import DRIVERS, Driver
from tests.support.gateway import config_of, gateway

EXPIRES = time.time() + 3600
# Every driver sends `x-call: v`: that is its key here.
KEY = {"consumer": "shop", "hash": "sha256:" + hashlib.sha256(b"v").hexdigest(), "expires": EXPIRES}
UNAUTHENTICATED = 16


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


def config(service: Backend, folder: Path, policies: dict[str, Any], use: list[str]) -> dict[str, Any]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}
    return config_of({"kit": upstream}, policies=policies, use=use)


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: kind.name)
class TestEveryFrontEnd:
    def test_what_a_client_says_of_itself_is_removed_without_the_policy_too(
        self, kind: type[Driver], service: Backend, tmp_path: Path
    ) -> None:
        unused = {"keys": {"api_key": {"keys": [KEY], "headers": {"x-call": "consumer"}}}}
        with gateway(config(service, tmp_path, unused, []), tmp_path) as running:
            driver = kind(running.port)
            result = driver.call("Unary", kit.Message(text="a"))
            driver.close()
        assert result.code == 0
        assert "x-call" not in result.messages[0].seen
        assert result.messages[0].seen["x-call-bin"] == "0001"

    def test_the_service_is_told_who_calls(self, kind: type[Driver], service: Backend, tmp_path: Path) -> None:
        keys = {"in": "header.x-call", "keys": [KEY], "headers": {"x-user": "consumer"}}
        with gateway(config(service, tmp_path, {"keys": {"api_key": keys}}, ["keys"]), tmp_path) as running:
            driver = kind(running.port)
            result = driver.call("Unary", kit.Message(text="a"))
            driver.close()
        assert result.messages[0].seen["x-user"] == "shop"
        assert "x-call" not in result.messages[0].seen

    @pytest.mark.parametrize("method", ["Down", "Up", "Chat"])
    def test_a_stream_ends_with_its_callers_credential(
        self, method: str, kind: type[Driver], service: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Seen from where streams are watched, the key is about to expire.
        monkeypatch.setattr(authentication, "time", SimpleNamespace(time=lambda: EXPIRES - 0.3))
        keys = {"in": "header.x-call", "keys": [KEY]}
        with gateway(config(service, tmp_path, {"keys": {"api_key": keys}}, ["keys"]), tmp_path) as running:
            driver = kind(running.port)
            plan = kit.Plan(count=1, hang=True)
            result = driver.call(method, kit.Message(text="a", plan=plan))
            driver.close()
            service.counts.wait(lambda counts: counts.open == 0)
        assert (result.code, result.message) == (UNAUTHENTICATED, "the credential has expired")
