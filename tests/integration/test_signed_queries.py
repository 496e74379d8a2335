"""Signed GraphQL: one signature is for all that its request asks for, and for no other request."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.sync.client import connect

from tests.support import kit
from tests.support.backend import backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.signing import POLICY, signature

BOTH = '{a: look(text: "1") {text} b: look(text: "2") {text}}'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with backend() as service:
        upstreams = {"kit": {"grpc": f"127.0.0.1:{service.port}", "schema": str(kit.PROTO)}}
        with gateway(config_of(upstreams, policies={"signed": POLICY}, use=["signed"]), tmp_path) as made:
            yield made


def queried(port: int, nonce: str) -> Any:
    url = f"http://127.0.0.1:{port}/graphql?query={quote(BOTH)}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=signature(nonce)), timeout=10) as answer:
        return json.load(answer)


def test_a_signature_is_for_every_field_of_its_query_and_for_no_second_query(running: Running) -> None:
    assert queried(running.port, "n1") == {"data": {"a": {"text": "1"}, "b": {"text": "2"}}}
    again = queried(running.port, "n1")
    assert [error["extensions"]["code"] for error in again["errors"]] == ["UNAUTHENTICATED"] * 2
    assert "errors" not in queried(running.port, "n2")


def test_a_signed_handshake_is_for_every_operation_of_its_socket(running: Running) -> None:
    def opened(nonce: str) -> Any:
        url = f"ws://127.0.0.1:{running.port}/graphql"
        return connect(url, subprotocols=["graphql-transport-ws"], additional_headers=signature(nonce))  # type: ignore[list-item]

    def codes(socket: Any) -> list[Any]:
        socket.send('{"type": "connection_init"}')
        socket.recv(10)
        found = []
        for name in ("1", "2"):
            socket.send(json.dumps({"type": "subscribe", "id": name, "payload": {"query": BOTH}}))
            answer = json.loads(socket.recv(10))["payload"]
            found.append([error["extensions"]["code"] for error in answer.get("errors", ())])
            socket.recv(10)
        return found

    with opened("n1") as first:
        assert codes(first) == [[], []]
        with opened("n1") as second:
            assert codes(second) == [["UNAUTHENTICATED"] * 2] * 2
