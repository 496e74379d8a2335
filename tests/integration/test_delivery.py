"""Calls shared between versions of a service, as clients of every protocol see it."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import DRIVERS, Driver, Grpc
from tests.support.gateway import Running, config_of, gateway, serving
from tests.support.graphql_driver import Graphql
from tests.support.processes import free_port
from tests.support.raw import Http1
from tests.support.rest_backend import RestBackend, rest_backend

ROUTE: dict[str, Any] = {
    "match": {"call": "kit.v1.Echo/*"},
    "to": {"old": 50, "new": 50},
    "override": {"header": "x-version"},
}


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[RestBackend, Backend]]:
    """The same service as a REST service and as a gRPC one."""
    with rest_backend() as old, backend() as new:
        yield old, new


def upstreams(services: tuple[RestBackend, Backend]) -> dict[str, Any]:
    return {
        "old": {"rest": [f"http://127.0.0.1:{services[0].port}"], "schema": str(kit.PROTO)},
        "new": {"grpc": [f"127.0.0.1:{services[1].port}"], "schema": str(kit.PROTO)},
    }


@pytest.fixture(scope="module")
def split(services: tuple[RestBackend, Backend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(config_of(upstreams(services), routes=[ROUTE]), tmp_path_factory.mktemp("split")) as made:
        yield made


def calls(made: Running) -> dict[str, int]:
    offering = made.gateway.offering
    assert offering is not None
    return {name: side.calls for name, side in offering.deliveries[0].weights.sides.items()}


@pytest.mark.parametrize("kind", [*DRIVERS, Graphql], ids=lambda kind: kind.name)
def test_clients_of_every_protocol_are_shared_between_a_rest_and_a_grpc_service(
    split: Running, kind: type[Driver]
) -> None:
    before = calls(split)
    client = kind(split.port)
    for number in range(40):
        result = client.call("Unary", kit.message(f"hello {number}"))
        assert (result.code, [message.text for message in result.messages]) == (0, [f"hello {number}"])
    client.close()
    after = calls(split)
    shares = {name: after[name] - before[name] for name in after}
    assert sum(shares.values()) == 40
    assert min(shares.values()) > 0


def test_a_caller_reaches_the_version_that_it_names(split: Running, services: tuple[RestBackend, Backend]) -> None:
    before = calls(split)
    client = Http1(split.port)
    for _ in range(10):
        client.request("POST", "/v1/echo", [("x-version", "new"), ("content-type", "application/json")], b"{}")
        assert client.head() == 200
        client.body()
    client.close()
    assert calls(split) == {"old": before["old"], "new": before["new"] + 10}


@contextlib.contextmanager
def admin_of(services: tuple[RestBackend, Backend], folder: Path, **route: Any) -> Iterator[tuple[int, int]]:
    """A gateway with an admin address: both ports."""
    admin = free_port()
    config = config_of(upstreams(services), routes=[{**ROUTE, **route}])
    with serving({**config, "admin": f"127.0.0.1:{admin}"}, folder) as made:
        yield made.port, admin


def ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, fields)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def echo(port: int) -> int:
    client = Http1(port).request("POST", "/v1/echo", [("content-type", "application/json")], b'{"text": "x"}')
    status = client.head()
    client.body()
    client.close()
    return status


def test_blue_and_green_change_places_on_the_admin_address(
    services: tuple[RestBackend, Backend], tmp_path: Path
) -> None:
    with admin_of(services, tmp_path, to={"old": 100, "new": 0}, name="echo") as (port, admin):
        assert [echo(port) for _ in range(5)] == [200] * 5
        status, shown = ask(admin, "/routes/echo/weights", {"old": 0, "new": 100})
        assert (status, shown["upstreams"]["old"]) == (200, {"weight": 0, "calls": 5, "fallbacks": 0})
        assert [echo(port) for _ in range(5)] == [200] * 5
        assert ask(admin, "/routes")[1]["echo"]["upstreams"]["new"] == {"weight": 100, "calls": 5, "fallbacks": 0}
        shown = ask(admin, "/routes/echo")[1]
        assert (shown["route"], shown["name"]) == ("routes[0]", "echo")
        assert "/routes" in ask(admin, "/")[1]["paths"]


def test_weights_beyond_the_config_are_refused(services: tuple[RestBackend, Backend], tmp_path: Path) -> None:
    path = "/routes/echo/weights"
    with admin_of(services, tmp_path, name="echo") as (_, admin):
        for body in ({"old": 0, "new": 0}, {"other": 1}, {"old": -1}, {"old": "1"}, {}, [1], b"{", b'"x"'):
            assert ask(admin, path, body)[0] == 400, body
        assert ask(admin, path, {"old": 1}, content_type="text/plain")[0] == 415
        assert ask(admin, path, {"old": 1}, origin="http://evil.example")[0] == 403
        assert ask(admin, path, {"old": 1}, host="evil.example")[0] == 421
        assert ask(admin, path, {"old": 1}, sec_fetch_site="cross-site")[0] == 403
        assert ask(admin, "/routes/other/weights", {"old": 1})[0] == 404
        assert ask(admin, "/routes/echo", {"old": 1})[0] == 405
        assert ask(admin, "/config", {"old": 1})[0] == 405
        assert ask(admin, "/routes/echo")[1]["upstreams"]["old"]["weight"] == 50


def test_a_dead_version_falls_back_and_is_counted(tmp_path: Path) -> None:
    with backend() as old:
        route = {**ROUTE, "sticky_by": "header.x-user"}
        new = {"grpc": [f"127.0.0.1:{free_port()}"], "schema": str(kit.PROTO)}
        known = {"old": {"grpc": [f"127.0.0.1:{old.port}"], "schema": str(kit.PROTO)}, "new": new}
        with gateway(config_of(known, routes=[route]), tmp_path) as made:
            client = Http1(made.port)
            for number in range(40):
                fields = [("content-type", "application/json"), ("x-user", str(number))]
                client.request("POST", "/v1/echo", fields, b"{}")
                assert client.head() == 200
                client.body()
            client.close()
            offering = made.gateway.offering
            assert offering is not None
            sides = offering.deliveries[0].weights.sides
            assert sides["new"].fallbacks > 0
            assert sides["old"].calls == 40


def test_plain_http_is_shared_too(services: tuple[RestBackend, Backend], tmp_path: Path) -> None:
    with rest_backend() as other:
        ports = {"old": services[0].port, "new": other.port}
        known = {name: {"http": [f"http://127.0.0.1:{port}"]} for name, port in ports.items()}
        route = {"match": {"path": "/v1/**"}, "to": {"old": 50, "new": 50}, "override": {"cookie": "version"}}
        with gateway(config_of(known, routes=[route]), tmp_path) as made:
            assert [echo(made.port) for _ in range(40)] == [200] * 40
            assert min(calls(made).values()) > 0
            before = calls(made)
            fields = [("content-type", "application/json"), ("cookie", "version=new")]
            for _ in range(5):
                client = Http1(made.port).request("POST", "/v1/echo", fields, b"{}")
                assert client.head() == 200
                client.body()
                client.close()
            assert calls(made) == {"old": before["old"], "new": before["new"] + 5}


def status_of(port: int, path: str, *fields: tuple[str, str]) -> int:
    client = Http1(port).request("GET", path, list(fields))
    status = client.head()
    client.body()
    client.close()
    return status


def test_versions_are_chosen_by_query_and_media_type(services: tuple[RestBackend, Backend], tmp_path: Path) -> None:
    override = {"query": "version", "media_type": "version", "names": {"1": "old", "2": "new"}}
    route = {**ROUTE, "to": {"old": 100, "new": 0}, "override": override}
    with gateway(config_of(upstreams(services), routes=[route]), tmp_path) as made:
        asked = [
            ("/v1/echo/x", ()),
            ("/v1/echo/x?version=2", ()),
            ("/v1/echo/x?version=1", ()),
            ("/v1/echo/x", (("accept", "application/json; version=2"),)),
            ("/v1/echo/x", (("accept", "application/json;version=3"),)),
        ]
        assert [status_of(made.port, path, *fields) for path, fields in asked] == [200] * 5
        assert calls(made) == {"old": 3, "new": 2}


def test_a_deprecated_version_says_so_and_one_that_has_ended_is_gone(
    services: tuple[RestBackend, Backend], tmp_path: Path
) -> None:
    policies = {
        "aging": {"deprecated": {"since": "2020-01-01", "sunset": "2999-01-01"}},
        "ended": {"deprecated": {"since": "2020-01-01", "sunset": "2020-02-01", "refuse": True}},
    }
    routes = [
        {"match": {"call": "kit.v1.Echo/Look"}, "use": ["ended"]},
        {"match": {"call": "kit.v1.Echo/*"}, "use": ["aging"]},
    ]
    known = {"new": upstreams(services)["new"]}
    with gateway(config_of(known, routes=routes, policies=policies), tmp_path) as made:
        aging = Http1(made.port).request("GET", "/v1/echo/x", [])
        assert aging.head() == 200
        assert (aging.get("deprecation"), aging.get("sunset")) == ("@1577836800", "Tue, 01 Jan 2999 00:00:00 GMT")
        aging.body()
        aging.close()
        ended = Http1(made.port).request("GET", "/v1/look/x", [])
        assert ended.head() == 410
        assert ended.get("deprecation") == "@1577836800"
        ended.body()
        ended.close()
        client = Grpc(made.port)
        result = client.call("Unary", kit.message("x"))
        assert (result.code, result.lead["deprecation"]) == (0, "@1577836800")
        assert client.call("Look", kit.message("x")).code == 12
        client.close()


def test_a_client_comes_to_its_endpoint_again_by_its_cookie(tmp_path: Path) -> None:
    with rest_backend() as one, rest_backend() as other:
        http = {"http": [f"http://127.0.0.1:{one.port}", f"http://127.0.0.1:{other.port}"]}
        known = {"kit": {**http, "sticky": {"cookie": "sid", "secure": False}}}
        with gateway(config_of(known, routes=[{"match": {"path": "/v1/**"}, "to": "kit"}]), tmp_path) as made:
            first = Http1(made.port).request("GET", "/v1/look/x", [])
            assert first.head() == 200
            given = first.get("set-cookie")
            first.body()
            first.close()
            assert given is not None
            cookie = given.partition(";")[0]
            for _ in range(6):
                assert status_of(made.port, "/v1/look/x", ("cookie", cookie)) == 200
            assert sorted((one.counts.started, other.counts.started)) == [0, 7]
