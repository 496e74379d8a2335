"""An authorization service on grpcio before every protocol: what it sees, beside what Envoy tells it, and its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.check_server import CheckServer, allowed, check_server, denied
from tests.support.drivers import DRIVERS, Driver, Grpc
from tests.support.gateway import Running, config_of, gateway
from tests.support.graphql_driver import Graphql
from tests.support.processes import free_port, require_tool, running
from tests.support.raw import Fields, Http1

EVERY = (*DRIVERS, Graphql)


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def checks() -> Iterator[CheckServer]:
    with check_server() as made:
        yield made


def config(service: Backend, folder: Path, port: int, **settings: Any) -> dict[str, Any]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    auth = {"grpc": f"127.0.0.1:{port}", "take": ["x-user"], "subject": "header.x-user", "timeout": "5s", **settings}
    return config_of(
        {
            "kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"},
            "www": {"http": ["http://127.0.0.1:1"]},
        },
        policies={"outside": {"forward_auth": auth}},
        use=["outside"],
        routes=[{"match": {"call": "kit.v1.Echo/Look"}, "use": []}, {"match": {"path": "/www/**"}, "to": "www"}],
    )


@pytest.fixture(scope="module")
def guarded(service: Backend, checks: CheckServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guarded")
    with gateway(config(service, folder, checks.port), folder) as made:
        yield made


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_its_verdict_counts_in_every_protocol(
    kind: type[Driver], guarded: Running, checks: CheckServer, service: Backend
) -> None:
    client = kind(guarded.port)
    checks.answer = lambda request: allowed(x_user="ann")
    result = client.call("Unary", kit.message("x"))
    assert (result.code, result.messages[0].seen["x-user"]) == (0, "ann")
    assert checks.asked[-1].attributes.context_extensions["method"] == "kit.v1.Echo/Unary"
    before = service.counts.started
    for status, code in ((401, 16), (403, 7)):
        checks.answer = lambda request, status=status: denied(status, "not you")  # type: ignore[misc]
        result = client.call("Unary", kit.message("x"))
        assert (result.code, result.message) == (code, "not you")
    assert client.call("Down", kit.message("x", count=2)).code == 7
    assert service.counts.started == before
    client.close()


def ask(port: int, verb: str, target: str, fields: Fields = (), body: bytes = b"") -> Http1:
    """One request on a connection of its own, its answer read whole."""
    with closing(Http1(port)) as client:
        client.request(verb, target, [*fields, ("connection", "close")], body)
        client.head()
        client.text = client.body()  # type: ignore[attr-defined]
        return client


@pytest.mark.parametrize("name", ["x-user", "X-User", "x_user"])
def test_what_the_service_writes_cannot_be_forged_with_or_without_it(
    guarded: Running, checks: CheckServer, name: str
) -> None:
    checks.answer = lambda request: allowed(x_user="ann")
    for verb, target, seen in (("GET", "/v1/look/x", ""), ("GET", "/v1/echo/x", "ann")):
        answer = ask(guarded.port, verb, target, [(name, "root"), ("connection", "close, x-user")])
        assert answer.status == 200
        found = json.loads(answer.text)["seen"]  # type: ignore[attr-defined]
        assert found.get("x-user", "") == seen
        assert "root" not in found.values()


def test_a_login_page_is_told_to_browsers(guarded: Running, checks: CheckServer) -> None:
    checks.answer = lambda request: denied(302, "log in", location="https://login.test/", x_debug="1")
    for target in ("/v1/echo/x", "/www/index.html"):
        answer = ask(guarded.port, "GET", target)
        assert (answer.status, answer.get("location"), answer.get("x-debug")) == (302, "https://login.test/", None)


def test_a_call_whose_client_goes_is_not_asked_about_any_longer(guarded: Running, checks: CheckServer) -> None:
    checks.hang.set()
    try:
        client = Grpc(guarded.port)
        client.started("Unary", [kit.message("x")], timeout=10)
        assert checks.arrived.wait(10)
        client.close()
        assert checks.cancelled.wait(10)
    finally:
        checks.hang.clear()


def test_a_service_that_hangs_or_is_gone_lets_nobody_through(service: Backend, tmp_path: Path) -> None:
    before = service.counts.started
    with check_server() as checks:
        checks.hang.set()
        with gateway(config(service, tmp_path, checks.port, timeout="200ms"), tmp_path) as running:
            client = Grpc(running.port)
            assert client.call("Unary", kit.message("x")).code == 14
            assert ask(running.port, "GET", "/v1/echo/x").status == 503
            checks.stop()
            assert client.call("Unary", kit.message("x")).code == 14
            client.close()
    assert service.counts.started == before


def envoy(checks: int, port: int, folder: Path) -> list[str]:
    """Envoy with the same service before everything."""
    filters = "type.googleapis.com/envoy.extensions.filters."
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    written = {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "http",
                                    "typed_config": {
                                        "@type": filters + "network.http_connection_manager.v3.HttpConnectionManager",
                                        "stat_prefix": "in",
                                        "route_config": {
                                            "virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]
                                        },
                                        "http_filters": [
                                            {
                                                "name": "auth",
                                                "typed_config": {
                                                    "@type": filters + "http.ext_authz.v3.ExtAuthz",
                                                    "transport_api_version": "V3",
                                                    "grpc_service": {
                                                        "envoy_grpc": {"cluster_name": "auth"},
                                                        "timeout": "5s",
                                                    },
                                                },
                                            },
                                            {
                                                "name": "router",
                                                "typed_config": {"@type": filters + "http.router.v3.Router"},
                                            },
                                        ],
                                    },
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "auth",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            **http2,
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "auth",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {
                                        "endpoint": {
                                            "address": {
                                                "socket_address": {"address": "127.0.0.1", "port_value": checks}
                                            }
                                        }
                                    }
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(written))
    return [require_tool("envoy"), "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def told(request: Any) -> dict[str, Any]:
    """What a check says of a request, without what each gateway says of itself."""
    attributes = request.attributes
    http = attributes.request.http
    return {
        "method": http.method,
        "path": http.path,
        "host": http.host.partition(":")[0],
        "scheme": http.scheme,
        "protocol": http.protocol,
        "size": http.size,
        "from": attributes.source.address.socket_address.address,
        "timed": attributes.request.time.seconds > 0,
        "headers": {
            name: value
            for name, value in http.headers.items()
            if not name.startswith((":", "x-envoy-", "x-forwarded-")) and name not in ("x-request-id", "host")
        },
    }


def test_it_is_told_and_understood_as_by_envoy(guarded: Running, checks: CheckServer, tmp_path: Path) -> None:
    port = free_port()
    asked: list[dict[str, Any]] = []
    answers: list[tuple[int, str | None, str | None]] = []
    fields = [("authorization", "Bearer x"), ("cookie", "a=1; b=2"), ("x-many", "1"), ("x-many", "2")]
    with running(envoy(checks.port, port, tmp_path), port=port):
        for one in (port, guarded.port):
            checks.answer = lambda request: denied(
                401, "not you", www_authenticate="Bearer realm=x", set_cookie="a=b; Secure"
            )
            answer = ask(one, "GET", "/www/a%20b?x=1&y=%2F", fields)
            answers.append((answer.status, answer.get("www-authenticate"), answer.get("set-cookie")))
            assert b"not you" in answer.text  # type: ignore[attr-defined]
            asked.append(told(checks.asked[-1]))
    assert asked[0] == asked[1]
    assert answers[0] == answers[1] == (401, "Bearer realm=x", "a=b; Secure")
