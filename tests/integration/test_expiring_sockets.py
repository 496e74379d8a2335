"""Sockets that outlive a token: a session whose client sends a newer one goes on, every other ends within a second."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from protogw.policies import authentication
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.tokens import SECRET, forged

EXPIRES = int(time.time()) + 3600
LEFT_S = 0.6
"""How long, seen from where streams are watched, the first token has left."""
PAUSE_MS = 1500
"""Between a stream's two messages: the token expires meanwhile."""


def token(subject: str = "ann", expires: int = EXPIRES) -> str:
    return forged({"alg": "HS256"}, {"sub": subject, "exp": expires}, SECRET.encode()).decode()


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture
def running(service: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    begun: list[float] = []

    def now() -> float:
        """Begins, with the first call that is watched, shortly before the first token expires."""
        begun.append(time.monotonic())
        return EXPIRES - LEFT_S + begun[-1] - begun[0]

    monkeypatch.setattr(authentication, "time", SimpleNamespace(time=now))
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}
    login = {"secret": SECRET, "on_expiry": "reauthenticate"}
    with gateway(config_of({"kit": upstream}, policies={"login": {"jwt": login}}, use="login"), tmp_path) as made:
        yield made


def opened(running: Running, path: str, subprotocol: str, *, bearer: str | None = None) -> ClientConnection:
    fields = {"authorization": f"Bearer {bearer}"} if bearer is not None else {}
    return connect(
        f"ws://127.0.0.1:{running.port}{path}",
        additional_headers=fields,
        subprotocols=[Subprotocol(subprotocol)],
        proxy=None,
        legacy=True,
    )


REQUEST = {"text": "a", "plan": {"count": 2, "delayMs": PAUSE_MS}}


RENEWALS = pytest.mark.parametrize(
    ("newer", "code"),
    [(token("ann", EXPIRES + 3600), 0), (token("eve", EXPIRES + 3600), 16), (None, 16)],
    ids=["the same caller", "another caller", "no newer token"],
)


@RENEWALS
def test_a_session_goes_on_with_a_newer_token_of_the_same_caller(
    running: Running, newer: str | None, code: int
) -> None:
    with opened(running, "/protogw.calls.v1", "protogw.calls.v1", bearer=token()) as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "hello"
        head = {"type": "open", "id": 1, "method": f"{kit.SERVICE}/Down"}
        socket.send(json.dumps(head) + "\n" + json.dumps(REQUEST))
        if newer is not None:
            socket.send(json.dumps({"type": "token", "access_token": newer}))
        said: list[dict[str, Any]] = []
        while not said or said[-1]["type"] != "status":
            said.append(json.loads(str(socket.recv(timeout=10)).partition("\n")[0]))
        assert said[-1]["code"] == code, said
        assert sum(one["type"] == "message" for one in said) == (2 if code == 0 else 1)


def test_a_socket_that_is_one_call_is_closed(running: Running) -> None:
    with opened(running, f"/{kit.SERVICE}/Down", "protogw.json", bearer=token()) as socket:
        socket.send(json.dumps(REQUEST))
        # The first message, the end of the messages and the status; then the close frame.
        ended = [socket.recv(timeout=10) for _ in range(3)]
        assert json.loads(ended[-1])["code"] == 16
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4401


@RENEWALS
def test_a_subscription_goes_on_with_a_newer_token_in_a_ping(running: Running, newer: str | None, code: int) -> None:
    with opened(running, "/graphql", "graphql-transport-ws") as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token()}"}}))
        assert json.loads(socket.recv(timeout=10)) == {"type": "connection_ack"}
        query = 'subscription { down(text: "a", plan: { count: 2, delayMs: 1500 }) { text } }'
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
        if newer is not None:
            socket.send(json.dumps({"type": "ping", "payload": {"authorization": f"Bearer {newer}"}}))
        said: list[dict[str, Any]] = []
        while not said or said[-1]["type"] != "complete":
            said.append(json.loads(socket.recv(timeout=10)))
        payloads = [one["payload"] for one in said if one["type"] == "next"]
        errors = [error["extensions"]["code"] for payload in payloads for error in payload.get("errors", ())]
        assert (len(payloads), errors) == (2, [] if code == 0 else ["UNAUTHENTICATED"]), said


@RENEWALS
def test_a_json_rpc_session_goes_on_with_a_newer_token(running: Running, newer: str | None, code: int) -> None:
    with opened(running, "/protogw.calls.v1", "jsonrpc.2.0", bearer=token()) as socket:
        socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": f"{kit.SERVICE}/Down", "params": REQUEST}))
        if newer is not None:
            params = {"access_token": newer}
            socket.send(json.dumps({"jsonrpc": "2.0", "method": "$/token", "params": params}))
        said: list[dict[str, Any]] = []
        while not said or "id" not in said[-1]:
            said.append(json.loads(socket.recv(timeout=10)))
        assert len(said) == (3 if code == 0 else 2), said
        if code:
            assert said[-1]["error"]["data"]["code"] == code
        else:
            assert said[-1]["result"] is None
