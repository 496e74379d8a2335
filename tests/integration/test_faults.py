"""Services that die, hang, reset and fail, each a program of its own: what callers of the gateway notice."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.wire.content import decompress
from tests.support import kit
from tests.support.backend import Backend
from tests.support.drivers import Grpc
from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import Program, free_port, require_tool, until

Answered = tuple[int, bytes]


class Faulty(Program):
    """A service that goes wrong on demand (benchmarks/faulty.py)."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__([sys.executable, "-m", "benchmarks.faulty", str(self.port)])
        self.wait_for_port(self.port)

    def mode(self, name: str) -> None:
        ask(self.port, "GET", f"/mode/{name}")

    @property
    def count(self) -> int:
        return int(ask(self.port, "GET", "/count")[1])


def ask(port: int, verb: str, path: str = "/x") -> Answered:
    """Status and body; the status is 0 when the answer was cut."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(verb, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (http.client.HTTPException, ConnectionError):
        return 0, b""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def programs() -> Iterator[tuple[Faulty, Faulty]]:
    made = (Faulty(), Faulty())
    yield made
    for program in made:
        program.stop()


@pytest.fixture
def services(programs: tuple[Faulty, Faulty]) -> tuple[Faulty, Faulty]:
    for program in programs:
        program.mode("well")
    return programs


def before(services: tuple[Faulty, ...], *, upstream: Any = None, **rest: Any) -> dict[str, Any]:
    """A config with these services behind."""
    made = {"http": [f"127.0.0.1:{one.port}" for one in services], **(upstream or {})}
    route = {"match": {"path": "/**"}, "to": "service", **rest.pop("route", {})}
    return config_of({"service": made}, routes=[route], **rest)


RETRY = {"policies": {"safe": {"retry": {"attempts": 2, "per_try": "1s", "budget": "100%"}}}, "use": ["safe"]}
OUTLIER = {"health": {"outlier": {"consecutive_errors": 2, "max_percent": "50%", "ejection": "5m"}}}


def in_flight(running: Running) -> list[int]:
    return running.do(lambda: [one.active for one in running.gateway.pools["service"].endpoints])


def states(running: Running) -> list[str]:
    pool = running.gateway.pools["service"]
    return running.do(lambda: [pool.state(one) for one in pool.endpoints])


def test_a_service_that_is_killed_costs_the_calls_in_flight_on_it_and_no_other(tmp_path: Path) -> None:
    services = (Faulty(), Faulty())
    try:
        with gateway(before(services), tmp_path) as running:
            services[0].mode("hangs")
            found: list[Answered] = []
            asking = [threading.Thread(target=lambda: found.append(ask(running.port, "POST"))) for _ in range(4)]
            for thread in asking:
                thread.start()
            until(lambda: in_flight(running) == [2, 0], what="two calls that hang")
            os.kill(services[0].pid, signal.SIGKILL)
            for thread in asking:
                thread.join(20)
            assert sorted(status for status, _ in found) == [200, 200, 502, 502]
            assert [ask(running.port, "POST")[0] for _ in range(10)] == [200] * 10
            assert states(running) == ["unreachable", "ready"]
    finally:
        for one in services:
            one.stop()


def test_a_service_that_hangs_is_passed_over_by_the_second_try(services: tuple[Faulty, Faulty], tmp_path: Path) -> None:
    services[0].mode("hangs")
    with gateway(before(services, upstream=OUTLIER, **RETRY), tmp_path) as running:
        assert [ask(running.port, "GET")[0] for _ in range(6)] == [200] * 6
        assert states(running) == ["ejected", "ready"]


def test_a_service_that_resets_in_mid_reply_is_ejected(services: tuple[Faulty, Faulty], tmp_path: Path) -> None:
    services[0].mode("resets")
    with gateway(before(services, upstream=OUTLIER), tmp_path) as running:
        found = [ask(running.port, "POST")[0] for _ in range(10)]
        assert found.count(200) == 8, found
        assert found[4:] == [200] * 6
        assert states(running) == ["ejected", "ready"]


def test_a_slow_service_is_outrun_by_a_second_try(services: tuple[Faulty, Faulty], tmp_path: Path) -> None:
    services[0].mode("hangs")
    hedged = {"policies": {"again": {"hedge": {"delay": "20ms", "budget": "100%"}}}, "use": ["again"]}
    with gateway(before(services, **hedged), tmp_path) as running:
        assert [ask(running.port, "GET")[0] for _ in range(4)] == [200] * 4
        until(lambda: in_flight(running) == [0, 0], what="the tries that lost are given up")


def test_an_open_breaker_answers_for_services_that_fail_and_leaves_them_alone(
    services: tuple[Faulty, Faulty], tmp_path: Path
) -> None:
    for one in services:
        one.mode("fails")
    breaker = {"breaker": {"consecutive": 2, "open": "1h", "max_open": "1h"}}
    with gateway(before(services, upstream=breaker), tmp_path) as running:
        seen = sum(one.count for one in services)
        found = [ask(running.port, "GET") for _ in range(10)]
        assert [status for status, _ in found] == [503] * 10
        assert sum(one.count for one in services) - seen == 4
        assert b"calls fail" in found[-1][1]
        assert states(running) == ["breaker open", "breaker open"]


def test_a_service_that_fails_everything_gets_no_more_than_the_budget_allows(
    services: tuple[Faulty, Faulty], tmp_path: Path
) -> None:
    for one in services:
        one.mode("fails")
    policies = {"safe": {"retry": {"attempts": 5, "budget": "20%"}}}
    with gateway(before(services, policies=policies, use=["safe"]), tmp_path) as running:
        seen = sum(one.count for one in services)
        assert {ask(running.port, "GET")[0] for _ in range(60)} == {503}
        assert 60 < sum(one.count for one in services) - seen <= 75


def test_a_grpc_status_is_tried_again_and_the_service_is_told(service: Backend, tmp_path: Path) -> None:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstreams = {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}}
    policies = {"safe": {"retry": {"attempts": 3, "backoff": "1ms", "budget": "100%"}}}
    with gateway(config_of(upstreams, policies=policies, use=["safe"]), tmp_path) as running:
        client = Grpc(running.port)
        started = service.counts.started
        assert client.call("Look", kit.message("x", fail_code=14)).code == 14
        assert service.counts.started - started == 3
        started = service.counts.started
        assert client.call("Look", kit.message("x", fail_code=3)).code == 3
        assert service.counts.started - started == 1
        client.close()


def test_a_service_that_is_full_refuses_at_once_and_harms_no_other(
    services: tuple[Faulty, Faulty], tmp_path: Path
) -> None:
    services[0].mode("hangs")
    upstreams = {
        "service": {"http": [f"127.0.0.1:{services[0].port}"], "limits": {"requests": 3}},
        "other": {"http": [f"127.0.0.1:{services[1].port}"]},
    }
    routes = [
        {"match": {"path": "/other"}, "to": "other"},
        {"match": {"path": "/**"}, "to": "service", "timeout": "30s"},
    ]
    with gateway(config_of(upstreams, routes=routes), tmp_path) as running:
        asking = [threading.Thread(target=ask, args=(running.port, "POST")) for _ in range(3)]
        for thread in asking:
            thread.start()
        until(lambda: in_flight(running) == [3], what="three calls that hang")
        assert [ask(running.port, "GET")[0] for _ in range(5)] == [503] * 5
        assert [ask(running.port, "GET", "/other")[0] for _ in range(5)] == [200] * 5
        services[0].mode("well")
        running.do(lambda: [one.close() for one in running.gateway.pools["service"].endpoints])
        for thread in asking:
            thread.join(20)


@pytest.mark.parametrize(
    ("accepted", "coding"), [("br, gzip", "br"), ("zstd, gzip", "zstd"), ("gzip", "gzip"), ("identity", "")]
)
def test_curl_reads_what_is_compressed_for_it(
    services: tuple[Faulty, Faulty], tmp_path: Path, accepted: str, coding: str
) -> None:
    curl = require_tool("curl")
    policies = {"small": {"compress": {"min_bytes": 100}}}
    with gateway(before(services, policies=policies, use=["small"]), tmp_path) as running:
        url = f"http://127.0.0.1:{running.port}/x"
        head = tmp_path / "head"
        asked = [curl, "-s", "-D", str(head), "-H", f"accept-encoding: {accepted}", "-o", str(tmp_path / "body")]
        subprocess.run([*asked, url], check=True, timeout=20)
        body = (tmp_path / "body").read_bytes()
        fields = head.read_text().lower()
        assert "vary: accept-encoding" in fields
        assert (f"content-encoding: {coding}" in fields) is bool(coding)
        assert decompress(body, coding.encode(), 1 << 20) == b"x" * 512
        # curl's own words for what it reads, and its own decoders.
        subprocess.run([curl, "-s", "--compressed", "-o", str(tmp_path / "body"), url], check=True, timeout=20)
        assert (tmp_path / "body").read_bytes() == b"x" * 512
