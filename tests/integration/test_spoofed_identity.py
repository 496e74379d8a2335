"""Plain HTTP, sockets through it and client certificates: no spelling, trick or trailer lets a client say who it is,
and a tunnel ends with its caller's credential."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from protogw.policies import authentication
from tests.support.certificates import Authority
from tests.support.gateway import Running, config_of, gateway
from tests.support.plain import Plain, serving
from tests.support.processes import require_tool, run
from tests.support.raw import Http1, Http2
from tests.support.tokens import SECRET, forged

EXPIRES = int(time.time()) + 3600
TOKEN = forged({"alg": "HS256"}, {"sub": "ann", "exp": EXPIRES}, SECRET.encode()).decode()


class Echo(Plain):
    """Answers with the fields that it was sent, as a list of pairs."""

    def do_GET(self) -> None:
        if self.headers.get("transfer-encoding"):
            while int(self.rfile.readline(), 16):
                self.rfile.readline()
        self.answer(json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode())


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    with serving(Echo) as port:
        yield port


@pytest.fixture(scope="module")
def sockets() -> Iterator[int]:
    """Says the fields of its handshake, then nothing until it is closed."""

    def say(connection: ServerConnection) -> None:
        assert connection.request is not None
        connection.send(json.dumps([[name.lower(), value] for name, value in connection.request.headers.raw_items()]))
        with pytest.raises(ConnectionClosed):
            connection.recv()

    server: Server = serve(say, "127.0.0.1", 0, compression=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.socket.getsockname()[1]
    server.shutdown()
    thread.join()


POLICIES: dict[str, Any] = {"login": {"jwt": {"secret": SECRET, "headers": {"X-User": "sub"}}}}


def config(port: int, use: list[str], **more: Any) -> dict[str, Any]:
    routes = [{"match": {"path": "/**"}, "to": "legacy"}]
    upstreams = {"legacy": {"http": [f"http://127.0.0.1:{port}"]}}
    return config_of(upstreams, policies=POLICIES, use=use, routes=routes, **more)


SPOOFED = [("x-user", "eve"), ("x_user", "eve"), ("X-User", "eve"), ("X_uSeR", "eve")]


def users(pairs: list[list[str]]) -> list[str]:
    """What a service could take for the caller's name, whichever spelling it reads."""
    return [value for name, value in pairs if name.replace("_", "-") == "x-user"]


@pytest.mark.parametrize("version", [Http1, Http2])
@pytest.mark.parametrize("use", [[], ["login"]], ids=["without the policy", "with it"])
def test_a_client_does_not_say_who_it_is(version: Any, use: list[str], echo: int, tmp_path: Path) -> None:
    with gateway(config(echo, use), tmp_path) as running:
        client = version(running.port)
        spoofed = SPOOFED if version is Http1 else SPOOFED[:2]
        exchange = client.request("GET", "/x", [*spoofed, ("authorization", f"Bearer {TOKEN}")], b"")
        assert exchange.head() == 200
        assert users(json.loads(exchange.body())) == (["ann"] if use else [])
        client.close()


def test_the_connection_field_takes_nothing_away_that_the_gateway_says(echo: int, tmp_path: Path) -> None:
    with gateway(config(echo, ["login"]), tmp_path) as running:
        client = Http1(running.port)
        fields = [("connection", "keep-alive, x-user, authorization"), ("x-user", "eve")]
        exchange = client.request("GET", "/x", [*fields, ("authorization", f"Bearer {TOKEN}")])
        status = exchange.head()
        found = exchange.body()
        # Whoever calls its own credential a matter of the connection has none.
        assert status == 401 or users(json.loads(found)) == ["ann"]
        exchange = client.request("GET", "/x", [("connection", "x-user"), ("authorization", f"Bearer {TOKEN}")])
        assert exchange.head() == 200
        assert users(json.loads(exchange.body())) == ["ann"]
        client.close()


def test_trailers_say_nothing(echo: int, tmp_path: Path) -> None:
    with (
        gateway(config(echo, []), tmp_path) as running,
        socket.create_connection(("127.0.0.1", running.port)) as client,
    ):
        client.settimeout(20)
        head = b"GET /x HTTP/1.1\r\nhost: gw.test\r\ntransfer-encoding: chunked\r\ntrailer: x-user\r\n\r\n"
        client.sendall(head + b"4\r\nbody\r\n0\r\nx-user: eve\r\n\r\n")
        answer = HTTPResponse(client)
        answer.begin()
        assert answer.status == 200
        assert users(json.loads(answer.read())) == []


def test_a_socket_through_the_proxy_does_not_say_who_it_is_and_ends_with_its_credential(
    sockets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "time", SimpleNamespace(time=lambda: EXPIRES - 0.5))
    with gateway(config(sockets, ["login"]), tmp_path) as running:
        fields = {"authorization": f"Bearer {TOKEN}", "x-user": "eve", "x_user": "eve"}
        uri = f"ws://127.0.0.1:{running.port}/x"
        with connect(uri, additional_headers=fields, proxy=None, compression=None, legacy=True) as opened:
            assert users(json.loads(opened.recv(timeout=10))) == ["ann"]
            with pytest.raises(ConnectionClosed):
                opened.recv(timeout=10)


def test_a_client_certificate_says_who_calls(echo: int, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = authority.issue("gateway", names=["localhost", "127.0.0.1"])
    clients = {
        "web": authority.issue("web", names=["web.internal"]),
        "other": authority.issue("other", names=["web.elsewhere"]),
    }
    tls = {"cert": str(server.cert), "key": str(server.key), "client_ca": str(authority.path)}
    made = config(echo, ["certs"])
    made["listeners"]["public"]["tls"] = tls
    made["policies"] = {"certs": {"mtls": {"allow": "dns:*.internal", "headers": {"x-user": "subject"}}}}
    assert stranger.path != authority.path
    with gateway(made, tmp_path) as running:
        assert _curl(running, authority, clients["web"]) == (200, ["dns:web.internal"])
        assert _curl(running, authority, clients["other"])[0] == 401
    tls["client_cert"] = "optional"
    made["policies"] |= {
        "guest": {"anonymous": {"headers": {"x-user": "subject"}}},
        "who": {"any_of": ["certs", "guest"]},
    }
    made["use"] = ["who"]
    with gateway(made, tmp_path) as running:
        assert _curl(running, authority, clients["web"]) == (200, ["dns:web.internal"])
        assert _curl(running, authority, None) == (200, ["anonymous"])
        assert _curl(running, authority, clients["other"])[0] == 401


def _curl(running: Running, authority: Authority, pair: Any) -> tuple[int, list[str]]:
    argv = [require_tool("curl"), "-sS", "--max-time", "20", "--cacert", str(authority.path)]
    argv += ["--cert", str(pair.cert), "--key", str(pair.key)] if pair is not None else []
    argv += ["-H", "x-user: dns:eve.internal", "-w", "\n%{http_code}"]
    body, _, status = run([*argv, f"https://127.0.0.1:{running.port}/x"]).decode().rpartition("\n")
    found = json.loads(body)
    return int(status), users(found) if isinstance(found, list) else []
