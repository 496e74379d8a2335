"""Clients that begin a request and do not end it: what they are told, and that nobody else pays for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import envelope
from tests.support.gateway import config_of, gateway
from tests.support.plain import Plain, serving
from tests.support.raw import Http1


class Taking(Plain):
    """Answers once it has the whole body."""

    def do_POST(self) -> None:
        length = self.headers.get("content-length")
        if length is not None:
            self.rfile.read(int(length))
        else:
            while (line := self.rfile.readline()) not in (b"0\r\n", b""):
                self.rfile.read(int(line, 16) + 2)
            if not line or not self.rfile.readline():
                return  # broken off
        self.answer(b"{}")


JSON = b'{"text":"x"}'
WAYS = {
    "plain HTTP": ("/up", "text/plain", b"begun"),
    "REST": ("/v1/up", "application/json", JSON),
    "Connect": (f"/{kit.SERVICE}/Up", "application/connect+json", envelope(0, JSON)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_does_not_end_opens_no_breaker(service: Backend, tmp_path: Path, way: str) -> None:
    target, kind, begun = WAYS[way]
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    breaker = {"consecutive": 2, "open": "1m"}
    with serving(Taking) as port:
        config = config_of(
            {
                "kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb", "breaker": breaker},
                "plain": {"http": [f"http://127.0.0.1:{port}"], "breaker": breaker},
            },
            routes=[{"match": {"path": "/up"}, "to": "plain"}],
            policies={"brief": {"timeout": {"total": "3s"}}},
            use=["brief"],
        )
        with gateway(config, tmp_path) as running:
            fields = [("content-type", kind)]
            slow = [Http1(running.port).request("POST", target, fields) for _ in range(2)]
            for client in slow:
                client.send(begun)
            for client in slow:
                assert client.head() == 504 or b"deadline_exceeded" in client.body()
                client.close()
            client = Http1(running.port).request("POST", target, fields)
            client.send(begun, end=True)
            assert client.head() == 200
            assert b"unavailable" not in client.body()
            client.close()
