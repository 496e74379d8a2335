"""The cache in the running gateway: one entry for every front end, plain HTTP, and a Redis that dies and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import Connect, ConnectJson, Driver, Grpc, GrpcWeb, GrpcWebText
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_driver import Graphql
from tests.support.plain import Plain, serving
from tests.support.raw import Http1, Http2
from tests.support.redis import RedisServer

DRIVERS: tuple[type[Driver], ...] = (Grpc, GrpcWeb, GrpcWebText, Connect, ConnectJson, Graphql)
CALLER = [("x-call", "v"), ("x-call-bin", "AAE")]
"""What all drivers send: metadata is part of the key."""


@pytest.fixture
def cached(service: Backend, tmp_path: Path) -> Iterator[Running]:
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        policies={"kept": {"cache": {"ttl": "1h"}}},
        use=["kept"],
    )
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with gateway(config, tmp_path) as running:
        yield running


def test_all_front_ends_share_one_entry(service: Backend, cached: Running) -> None:
    asked = kit.message("shared", number=7)
    first = Grpc(cached.port)
    said = first.call("Look", asked)
    first.close()
    assert (said.code, said.lead["x-cache"]) == (0, "miss")
    assert said.lead["x-lead"] == "a, b"
    for driver in DRIVERS:
        client = driver(cached.port)
        found = client.call("Look", asked)
        assert (found.code, found.messages[0].text, found.messages[0].number) == (0, "shared", 7), driver.name
        assert found.lead["x-cache"] == "hit", driver.name
        if driver is not Graphql:
            assert found.messages == said.messages
            assert found.trail.get("x-trail") == "t", driver.name
        client.close()
    rest = Http1(cached.port).request("GET", "/v1/look/shared?number=7", CALLER)
    assert (rest.head(), rest.get("x-cache")) == (200, "hit")
    assert json.loads(rest.body())["number"] == "7"
    rest.close()
    assert service.counts.started == 1


def connect_get(port: int, message: Any, *fields: tuple[str, str]) -> Http1:
    query = f"connect=v1&encoding=json&message={quote(json.dumps(message))}"
    return Http1(port).request("GET", f"/{kit.SERVICE}/Look?{query}", [*CALLER, *fields])


def test_rest_and_connect_clients_are_told_that_they_hold_it(service: Backend, cached: Running) -> None:
    first = connect_get(cached.port, {"text": "held"})
    assert first.head() == 200
    etag = first.get("etag")
    first.body()
    first.close()
    assert etag is not None
    condition = ("if-none-match", etag)
    for client in (
        connect_get(cached.port, {"text": "held"}, condition),
        Http1(cached.port).request("GET", "/v1/look/held", [*CALLER, condition]),
    ):
        assert (client.head(), client.body(), client.get("etag")) == (304, b"", etag)
        client.close()
    multiplexed = Http2(cached.port)
    stream = multiplexed.request("GET", "/v1/look/held", [*CALLER, condition], b"")
    assert (stream.head(), stream.body(), stream.get("etag")) == (304, b"", etag)
    multiplexed.close()
    grpc = Grpc(cached.port)
    assert grpc.call("Look", kit.message("held")).messages[0].text == "held"
    grpc.close()
    assert service.counts.started == 1


def test_what_changes_something_and_streams_are_not_cached(service: Backend, cached: Running) -> None:
    client = Grpc(cached.port)
    for _ in range(2):
        assert client.call("Unary", kit.message("x")).code == 0
        assert len(client.call("Down", kit.message("x", count=2)).messages) == 2
    client.close()
    assert service.counts.started == 4


def test_many_who_ask_at_once_are_one_call(service: Backend, cached: Running) -> None:
    def ask(number: int) -> str:
        client = DRIVERS[number % len(DRIVERS)](cached.port)
        found = client.call("Look", kit.message("slow", delay_ms=300))
        client.close()
        return str(found.messages[0].text)

    with ThreadPoolExecutor(24) as threads:
        assert set(threads.map(ask, range(24))) == {"slow"}
    assert service.counts.started == 1


def test_a_client_that_goes_away_leaves_the_others_their_answer(service: Backend, cached: Running) -> None:
    client = Grpc(cached.port)
    leader = client.started("Look", [kit.message("left", delay_ms=200)])
    service.counts.wait(lambda counts: counts.started == 1)
    other = client.started("Look", [kit.message("left", delay_ms=200)])
    leader.abandon()
    service.counts.wait(lambda counts: counts.cancelled == 1)
    assert other.head() == 200
    other.body()
    client.close()
    assert service.counts.started == 2


def test_a_method_that_there_is_not_is_told_when_the_schema_is_known(tmp_path: Path) -> None:
    config = config_of(
        {"kit": {"grpc": ["127.0.0.1:1"], "schema": "kit.pb"}},
        policies={"kept": {"cache": {"calls": {"kit.v1.Echo/Lok": "1m"}}}},
        use=["kept"],
    )
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with gateway(config, tmp_path) as running:
        offering = running.gateway.offering
        assert offering is not None
        faults = running.do(lambda: offering.compose()[2])
    said = "policies.kept.cache.calls.kit.v1.Echo/Lok: there is no such method where this policy is used"
    assert f'{said}; did you mean "kit.v1.Echo/Look"?' in faults


# ---- plain HTTP


class Site(Plain):
    count: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).count += 1
        body = f"{self.path} {self.count}".encode()
        status = 304 if self.headers["if-none-match"] == '"v1"' and "tagged" in self.path else 200
        self.send_response(status)
        if "tagged" in self.path:
            self.send_header("etag", '"v1"')
        self.send_header("cache-control", "no-cache" if "tagged" in self.path else "max-age=60")
        if "chunked" in self.path:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            return
        self.send_header("content-length", "0" if status == 304 else str(len(body)))
        self.end_headers()
        if status == 200:
            self.wfile.write(body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Running]:
    Site.count = 0
    with serving(Site) as port:
        config = config_of(
            {"site": {"http": [f"http://127.0.0.1:{port}"]}},
            policies={"kept": {"cache": {}}},
            use=["kept"],
            routes=[{"match": {"path": "/**"}, "to": "site"}],
        )
        with gateway(config, tmp_path) as running:
            yield running


def ask(port: int, target: str, *fields: tuple[str, str], verb: str = "GET") -> tuple[int, bytes, str | None]:
    client = Http1(port)
    try:
        found = client.request(verb, target, fields)
        return found.head(), found.body(), found.get("x-cache")
    finally:
        client.close()


@pytest.mark.parametrize("target", ["/plain", "/chunked?a=1;b=2"])
def test_pages_are_kept_whole(site: Running, target: str) -> None:
    first = ask(site.port, target)
    assert first == (200, f"{target} 1".encode(), "miss")
    assert ask(site.port, target) == (200, first[1], "hit")
    assert ask(site.port, target, verb="HEAD") == (200, b"", "hit")
    client = Http2(site.port)
    stream = client.request("GET", target, [], b"")
    assert (stream.head(), stream.body() != b"") == (200, True)
    client.close()


def test_a_page_is_asked_about_before_it_is_given_again(site: Running) -> None:
    first = ask(site.port, "/tagged")
    assert first[0] == 200
    assert ask(site.port, "/tagged") == (200, first[1], "revalidated")
    assert Site.count == 2
    assert ask(site.port, "/tagged", ("if-none-match", 'W/"v1"')) == (304, b"", "revalidated")


class Shelf(Plain):
    """A REST service that says whether what was asked for has changed."""

    conditions: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        condition = self.headers["if-none-match"]
        self.conditions.append(condition)
        body = b'{"text":"rest"}' if condition != '"v1"' else b""
        fields = {"etag": '"v1"', "cache_control": "no-cache", "content_type": "application/json"}
        self.answer(body, 200 if body else 304, **fields)


def test_a_rest_service_is_asked_whether_its_answer_still_holds(tmp_path: Path) -> None:
    Shelf.conditions.clear()
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with serving(Shelf) as port, gateway(shelf(port), tmp_path) as running:
        client = Grpc(running.port)
        found = [client.call("Look", kit.message("a")) for _ in range(2)]
        client.close()
        assert [(one.code, one.messages[0].text, one.lead["x-cache"]) for one in found] == [
            (0, "rest", "miss"),
            (0, "rest", "revalidated"),
        ]
        held = ask(running.port, "/v1/look/a", *CALLER, ("if-none-match", '"v1"'))
    assert (held[0], held[1]) == (304, b"")
    assert Shelf.conditions == [None, '"v1"', '"v1"']


def shelf(port: int) -> dict[str, Any]:
    upstreams = {"kit": {"rest": [f"http://127.0.0.1:{port}"], "schema": "kit.pb"}}
    return config_of(upstreams, policies={"kept": {"cache": {}}}, use=["kept"])


# ---- shared through Redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def forgive(running: Running) -> None:
    """Have the gateway's store asked again now."""

    def forget() -> None:
        policy: Any = running.gateway.caches["kept"]
        policy._store._down_until = 0.0

    running.do(forget)


def test_gateways_share_answers_and_outlive_the_store(service: Backend, redis: RedisServer, tmp_path: Path) -> None:
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}},
        policies={"kept": {"cache": {"ttl": "1h", "store": redis.url}}},
        use=["kept"],
    )
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with gateway(config, folders[0]) as one, gateway(config, folders[1]) as two:
        clients = [Grpc(one.port), Connect(two.port)]
        for client in clients:
            client.host = "gw.test"

        def looks(text: str) -> list[tuple[int | None, str]]:
            found = [client.call("Look", kit.message(text)) for client in clients for _ in range(2)]
            return [(result.code, result.lead["x-cache"]) for result in found]

        assert looks("a") == [(0, "miss"), (0, "hit"), (0, "hit"), (0, "hit")]
        redis.kill()
        assert looks("a") == [(0, "miss")] * 4
        redis.start()
        # Each gateway would look again a second after its store last failed.
        for running in (one, two):
            forgive(running)
        assert looks("b") == [(0, "miss"), (0, "hit"), (0, "hit"), (0, "hit")]
        for client in clients:
            client.close()
