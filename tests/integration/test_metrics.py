"""The metrics of a running gateway: the same labels whatever protocol a call comes by, read by Prometheus itself."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import ConnectJson, Driver, Grpc, GrpcWeb, Rest
from tests.support.gateway import config_of, serving
from tests.support.graphql_driver import Graphql
from tests.support.processes import Program, free_port, require_tool, until
from tests.support.raw import Http1
from tests.support.websocket_driver import SocketJson

KEY = "a-canary-that-no-metric-may-say"


@pytest.fixture(scope="module")
def served(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The public and the admin port of a gateway before the kit service."""
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    admin = free_port()
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}},
        policies={"fair": {"rate_limit": {"rate": "100000/s"}}, "keys": {"api_key": {"keys": [_entry()]}}},
        use=["fair"],
        routes=[{"match": {"call": f"{kit.SERVICE}/Look"}, "use": ["keys"]}],
    )
    config["admin"] = f"127.0.0.1:{admin}"
    with serving(config, folder) as running:
        yield running.port, admin


def _entry() -> dict[str, str]:
    return {"consumer": "shop", "key": KEY}


def scrape(admin: int, accept: str = "text/plain") -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{admin}/metrics", headers={"accept": accept})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def counted(admin: int, name: str, **labels: str) -> float:
    """The sum of a metric over all its series with these labels."""
    found = samples(scrape(admin)).get(name, [])
    return sum(value for has, value in found if labels.items() <= has.items())


@pytest.mark.parametrize("driver", [Rest, Grpc, GrpcWeb, ConnectJson, Graphql, SocketJson], ids=lambda one: one.kind)
def test_every_front_end_counts_calls_under_the_same_labels(served: tuple[int, int], driver: type[Driver]) -> None:
    port, admin = served
    # gRPC-Web is the gRPC front end's too.
    labels = {"frontend": driver.kind, "upstream": "kit", "service": kit.SERVICE, "method": "Unary", "code": "OK"}
    before = counted(admin, "protogw_requests_total", **labels)
    client = driver(port)
    assert client.call("Unary", kit.message("x")).code == 0
    client.close()
    # A line is written once the answer has left, which the client may see first.
    until(lambda: counted(admin, "protogw_requests_total", **labels) == before + 1, what="the count")
    assert counted(admin, "protogw_request_duration_seconds_count", **labels) == before + 1


def test_the_messages_of_a_stream_are_counted(served: tuple[int, int]) -> None:
    port, admin = served
    labels = {"upstream": "kit", "service": kit.SERVICE, "method": "Chat"}
    client = Grpc(port)
    client.call("Chat", kit.message("a"), kit.message("b"), kit.message("c"))
    client.close()
    until(lambda: counted(admin, "protogw_stream_messages_received_total", **labels) == 3, what="messages received")
    assert counted(admin, "protogw_stream_messages_sent_total", **labels) > 0


def test_random_paths_and_methods_add_no_series(served: tuple[int, int]) -> None:
    port, admin = served

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"GET /nothing/%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % number)
            while client.recv(65536):
                pass

    ask(0)
    labels = {"service": "unknown", "method": "unknown"}
    until(lambda: counted(admin, "protogw_requests_total", **labels) > 0, what="the first")
    before = len(samples(scrape(admin))["protogw_requests_total"])
    for number in range(1, 101):
        ask(number)
    until(lambda: counted(admin, "protogw_requests_total", **labels) > 100, what="all of them")
    assert len(samples(scrape(admin))["protogw_requests_total"]) == before


def test_limits_pools_and_listeners_are_told(served: tuple[int, int]) -> None:
    port, admin = served
    client = Grpc(port)
    client.call("Unary", kit.message("x"))
    client.close()
    assert counted(admin, "protogw_rate_limit_decisions_total", policy="fair", outcome="allowed") > 0
    assert counted(admin, "protogw_endpoint_state", upstream="kit", state="ready") == 1
    assert counted(admin, "protogw_upstream_described", upstream="kit") == 1
    assert counted(admin, "protogw_listener_accepted_total", listener="public", outcome="http2") > 0


def test_a_secret_is_in_no_metric(served: tuple[int, int]) -> None:
    port, admin = served
    fields = [("x-api-key", KEY + "-wrong"), ("content-type", "application/json"), ("connect-protocol-version", "1")]
    client = Http1(port)
    assert client.request("POST", f"/{kit.SERVICE}/Look", fields, b"{}").head() == 401
    client.close()
    until(lambda: counted(admin, "protogw_auth_failures_total", policy="keys") > 0, what="the refusal")
    assert KEY not in scrape(admin)
    assert KEY not in scrape(admin, "application/openmetrics-text; version=1.0.0")


def test_promtool_finds_nothing_to_say_against_the_text(served: tuple[int, int]) -> None:
    tool = require_tool("promtool")
    done = subprocess.run(
        [tool, "check", "metrics"], input=scrape(served[1]).encode(), capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_prometheus_scrapes_it(served: tuple[int, int], tmp_path: Path) -> None:
    _, admin = served
    prometheus = require_tool("prometheus")
    port = free_port()
    scraped: dict[str, Any] = {"job_name": "gw", "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}
    config = {"global": {"scrape_interval": "100ms", "scrape_timeout": "100ms"}, "scrape_configs": [scraped]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    program = Program(
        [
            prometheus,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    )

    def up() -> bool:
        asked = f"http://127.0.0.1:{port}/api/v1/query?query=protogw_info"
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return bool(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError:
            return False  # it listens before it is ready

    try:
        program.wait_for_port(port)
        until(up, timeout=20, what="the metrics in Prometheus")
    finally:
        program.stop()
