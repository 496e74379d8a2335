"""Clients that hold a body back until they are asked for it (RFC 9110 section 10.1.1): whom a policy refuses by the
head alone is never asked, in any protocol and version of HTTP; who may go on is asked once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from protogw.descriptors.from_proto import load_descriptor_set
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.plain import Plain, serving
from tests.support.processes import require_tool, run
from tests.support.raw import Cut, Http1, Http2

SCHEMAS = {"kit": load_descriptor_set(kit.DESCRIPTOR_SET)}
KEY = "k" * 32
JSON = b'{"text":"hi"}'
MESSAGE = kit.message("hi").SerializeToString()


def framed(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


class Front(NamedTuple):
    """How one protocol asks: where, under which content type, and with what body."""

    target: str
    content_type: str
    body: bytes
    more: tuple[tuple[str, str], ...] = ()


FRONTS = {
    "rest": Front("/v1/echo", "application/json", JSON),
    "rest stream": Front("/v1/down", "application/json", b'{"text":"hi","plan":{"count":2}}'),
    "connect": Front(f"/{kit.SERVICE}/Unary", "application/json", JSON, (("connect-protocol-version", "1"),)),
    "connect stream": Front(f"/{kit.SERVICE}/Down", "application/connect+json", framed(b'{"plan":{"count":2}}')),
    "grpc-web": Front(f"/{kit.SERVICE}/Unary", "application/grpc-web+proto", framed(MESSAGE)),
    "http": Front("/plain/x", "text/plain", b"hi"),
}
VERSIONS: list[Any] = [Http1, Http2]

REFUSING: dict[str, tuple[Any, int]] = {
    "api_key": ({"api_key": {"keys": [{"consumer": "ann", "key": KEY}]}}, 401),
    "jwt": ({"jwt": {"secret": "s" * 32}}, 401),
    "rate_limit": ({"rate_limit": {"rate": "1/hour"}}, 429),
    "ip_filter": ({"ip_filter": {"deny": ["127.0.0.0/8"]}}, 403),
}
GRPC_STATUS = {401: "16", 429: "8", 403: "7"}


class Service(Plain):
    """Plain HTTP: says what it was sent."""

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.answer(body)


class Services(NamedTuple):
    kit: Backend
    plain: int


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with serving(Service) as plain, backend() as made:
        yield Services(made, plain)


@contextlib.contextmanager
def guarded(services: Services, folder: Path, **policies: Any) -> Iterator[Running]:
    upstreams = {
        "kit": {"grpc": f"127.0.0.1:{services.kit.port}", "schema": str(kit.PROTO)},
        "plain": {"http": [f"http://127.0.0.1:{services.plain}"]},
    }
    routes = [{"match": {"path": "/plain/**"}, "to": "plain"}]
    config = config_of(upstreams, policies=policies, use=[*policies], routes=routes)
    with gateway(config, folder, SCHEMAS) as running:
        yield running


def ask(client: Any, front: Front, *fields: tuple[str, str]) -> Any:
    """A request whose head alone is sent."""
    pairs = [("content-type", front.content_type), ("expect", "100-continue"), *front.more, *fields]
    return client.request("POST", front.target, pairs)


@pytest.fixture(scope="module", params=REFUSING)
def refusing(
    request: pytest.FixtureRequest, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, int]]:
    settings, status = REFUSING[request.param]
    with guarded(services, tmp_path_factory.mktemp("refusing"), guard=settings) as running:
        if request.param == "rate_limit":
            client = Http1(running.port)
            assert client.request("POST", "/v1/echo", [], JSON).head() == 200  # the only one in this hour
            client.close()
        yield running, status


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS.keys())
def test_who_is_refused_is_not_asked_for_the_body(
    version: Any, front: Front, refusing: tuple[Running, int], services: Services
) -> None:
    running, expected = refusing
    before = services.kit.counts.started
    client = version(running.port)
    exchange = ask(client, front)
    status = exchange.head()
    body = list(exchange.pieces())
    if "grpc" in front.content_type:
        assert (status, exchange.get("grpc-status")) == (200, GRPC_STATUS[expected])
    elif "connect" in front.content_type:
        assert status == 200
        assert b'"error"' in b"".join(body)
    else:
        assert status == expected
    assert exchange.interim == []
    if version is Http1:
        assert exchange.get("connection") == "close"
        with pytest.raises(Cut):
            client.head()
    else:
        # Only the stream has ended.
        again = client.request("POST", "/v1/echo", [("content-type", "application/json")], JSON)
        assert again.head() == expected
    client.close()
    assert services.kit.counts.started == before


@pytest.fixture(scope="module")
def admitting(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    guards = {"login": REFUSING["api_key"][0], "fair": {"rate_limit": {"rate": "100000/second"}}}
    with guarded(services, tmp_path_factory.mktemp("admitting"), **guards) as running:
        yield running


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS.keys())
def test_who_may_go_on_is_asked_once(version: Any, front: Front, admitting: Running) -> None:
    client = version(admitting.port)
    exchange = ask(client, front, ("x-api-key", KEY))
    exchange.asked()
    exchange.send(front.body, end=True)
    assert exchange.head() == 200
    assert exchange.body()
    assert exchange.interim == [100]
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_that_comes_unasked_is_taken(version: Any, admitting: Running) -> None:
    client = version(admitting.port)
    exchange = ask(client, FRONTS["rest"], ("x-api-key", KEY))
    exchange.send(JSON, end=True)
    assert exchange.head() == 200
    assert b"hi" in exchange.body()
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_that_is_none_is_told_after_asking(version: Any, admitting: Running) -> None:
    client = version(admitting.port)
    exchange = ask(client, FRONTS["rest"], ("x-api-key", KEY))
    exchange.asked()
    exchange.send(b'{"text":', end=True)
    assert exchange.head() == 400
    client.close()


def test_a_policy_that_looks_at_messages_has_them_asked_for(services: Services, tmp_path: Path) -> None:
    guards = {"few": {"size": {"request": "1KiB"}}, "login": REFUSING["api_key"][0]}
    with guarded(services, tmp_path, **guards) as running:
        client = Http1(running.port)
        exchange = ask(client, FRONTS["rest"])
        exchange.asked()
        exchange.send(JSON, end=True)
        assert exchange.head() == 401
        client.close()


def test_a_client_that_never_sends_it_is_told_of_the_deadline(services: Services, tmp_path: Path) -> None:
    with guarded(services, tmp_path, bound={"timeout": {"total": "200ms"}}) as running:
        client = Http2(running.port)
        exchange = ask(client, FRONTS["rest"])
        exchange.asked()
        assert exchange.head() == 504
        client.close()


def test_curl_does_not_send_what_is_refused(admitting: Running, tmp_path: Path) -> None:
    curl = require_tool("curl")
    body = tmp_path / "body.json"
    body.write_bytes(b'{"text":"' + b"x" * 4_000_000 + b'"}')
    url = f"http://127.0.0.1:{admitting.port}/v1/echo"
    for version, fields, expected in (
        ("--http1.1", [], "401 0"),
        ("--http1.1", ["-H", f"x-api-key: {KEY}"], "200 4000011"),
        ("--http2-prior-knowledge", ["-H", f"x-api-key: {KEY}"], "200 4000011"),
    ):
        assert _curled(curl, url, body, version, *fields) == expected


def _curled(curl: str, url: str, body: Path, *more: str) -> str:
    """The status, and how much of the body was sent."""
    told = ["-s", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "--expect100-timeout", "30", *more]
    sent = ["-H", "expect: 100-continue", "-H", "content-type: application/json", "--data-binary", f"@{body}"]
    return run([curl, *told, *sent, url]).decode()


PLACES: dict[str, tuple[Any, int]] = {
    "concurrency": ({"concurrency": {"limit": 1}}, 429),
    "adaptive": ({"adaptive": {"min": 1, "initial": 1, "max": 1}}, 503),
}


@pytest.mark.parametrize(("place", "refused"), PLACES.values(), ids=PLACES.keys())
def test_who_finds_no_place_is_not_asked_and_who_sends_has_none_yet(
    place: Any, refused: int, services: Services, tmp_path: Path
) -> None:
    curl = require_tool("curl")
    body = tmp_path / "body.json"
    body.write_bytes(b'{"text":"' + b"x" * 4_000_000 + b'"}')
    with guarded(services, tmp_path, place=place) as running:
        url = f"http://127.0.0.1:{running.port}/v1/echo"
        slow = Http1(running.port)
        asked = ask(slow, FRONTS["rest"])
        asked.asked()
        for version in ("--http1.1", "--http2-prior-knowledge"):
            assert _curled(curl, url, body, version) == "200 4000011"
        before = services.kit.counts.started
        asked.send(b'{"plan":{"hang":true}}', end=True)
        services.kit.counts.wait(lambda counts: counts.started > before)
        assert _curled(curl, url, body, "--http1.1") == f"{refused} 0"
        other = Http2(running.port)  # curl before 8 takes an early answer over HTTP/2 for none
        exchange = ask(other, FRONTS["rest"])
        assert exchange.head() == refused
        assert exchange.interim == []
        other.close()
        slow.close()
