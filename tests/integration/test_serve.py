"""`protogw serve` as operators run it: starts with one clear line or none, drains on SIGTERM, loses nothing."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Serving, config_of, serving, written
from tests.support.processes import Program, free_port, running, until
from tests.support.raw import Cut, Http1, Http2

HANG = b'{"plan": {"delayMs": 700}}'
JSON = [("content-type", "application/json")]


@pytest.fixture
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


def config(service: Backend, folder: Path, **rest: Any) -> dict[str, Any]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}
    return config_of({"kit": upstream}, **rest)


@pytest.fixture
def gateway(service: Backend, tmp_path: Path) -> Iterator[Serving]:
    with serving(config(service, tmp_path), tmp_path) as made:
        yield made


def test_sigterm_lets_calls_in_flight_finish_and_takes_no_more(gateway: Serving, service: Backend) -> None:
    one, two = Http1(gateway.port), Http2(gateway.port)
    one.request("POST", "/v1/echo", JSON, HANG)
    stream = two.request("POST", "/v1/echo", JSON, HANG)
    service.counts.wait(lambda counts: counts.open == 2)
    gateway.signal(signal.SIGTERM)
    assert (one.head(), json.loads(one.body())["seen"] != {}) == (200, True)
    assert one.get("connection") == "close"
    assert (stream.head(), b"seen" in stream.body()) == (200, True)
    two.until_closed()
    assert two.goaways[-1] == stream.number
    one.close()
    two.close()
    assert gateway.wait(5) == 0
    with pytest.raises(OSError, match="refused"):
        Http1(gateway.port)


def test_a_stream_that_outlives_the_drain_is_ended(service: Backend, tmp_path: Path) -> None:
    with serving(config(service, tmp_path, drain="300ms"), tmp_path) as gateway:
        client = Http1(gateway.port).request("POST", "/v1/down", JSON, b'{"plan": {"count": 2, "hang": true}}')
        assert client.head() == 200
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(5) == 0
        try:
            ended = client.body()
        except (Cut, ConnectionResetError):
            ended = b""
        assert not ended.rstrip().endswith(b"}]") or b"error" in ended, "a cut stream must not look whole"
        client.close()
        service.counts.wait(lambda counts: counts.open == 0)


def test_no_call_is_lost_or_sent_twice_while_it_drains(gateway: Serving, service: Backend) -> None:
    """Under load: whatever was answered was done once, and whatever was not answered was refused cleanly."""
    done, lost = [0], [0]
    lock = threading.Lock()
    go = threading.Event()

    def client() -> None:
        connection = Http1(gateway.port)
        while True:
            try:
                connection.request("POST", "/v1/echo", JSON, b'{"text": "x"}')
                started = True
                ok = connection.head() == 200 and bool(connection.body())
            except (OSError, Cut):
                started = ok = False
            with lock:
                done[0] += ok
                lost[0] += started and not ok
                if done[0] > 200:
                    go.set()
            if not ok or connection.get("connection") == "close":
                connection.close()
                return

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert go.wait(10)
    gateway.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(10)
    assert gateway.wait(5) == 0
    assert lost[0] == 0
    assert service.counts.received >= done[0]
    assert service.counts.received - done[0] <= len(threads)


def test_a_second_signal_ends_it_now(gateway: Serving, service: Backend) -> None:
    client = Http1(gateway.port).request("POST", "/v1/echo", JSON, b'{"plan": {"hang": true}}')
    service.counts.wait(lambda counts: counts.open == 1)
    gateway.signal(signal.SIGTERM)
    until(lambda: "in flight" in gateway.output, what="it says that it stops")
    gateway.signal(signal.SIGTERM)
    gateway.wait(5)
    client.close()
    service.counts.wait(lambda counts: counts.open == 0)


def test_health_and_readiness_on_the_admin_address(service: Backend, tmp_path: Path) -> None:
    admin = free_port()
    with serving(config(service, tmp_path, admin=f"127.0.0.1:{admin}"), tmp_path) as gateway:
        for path in ("/healthz", "/readyz"):
            client = Http1(admin).request("GET", path)
            assert client.head() == 200
            client.close()
        probe = [sys.executable, "-m", "protogw", "healthcheck", f"http://127.0.0.1:{admin}"]
        assert gateway.running
        with running(probe) as program:
            assert program.wait() == 0, program.output


def test_a_service_that_is_down_at_start_is_found_when_it_answers(tmp_path: Path) -> None:
    later = free_port()
    upstream = {"grpc": [f"127.0.0.1:{later}"]}
    with serving(config_of({"kit": upstream}), tmp_path) as gateway:
        client = Http1(gateway.port)
        client.request("GET", "/v1/look/x")
        assert client.head() in (404, 503)
        client.body()
        with backend(later):

            def answers() -> bool:
                client.request("GET", "/v1/look/x")
                found = client.head() == 200
                client.body()
                return found

            until(answers, 15, "the service is offered")
            with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
                call = channel.unary_unary("/kit.v1.Echo/Unary", response_deserializer=kit.Message.FromString)
                assert call(b"\x0a\x01x", timeout=5).text == "x"
        client.close()


def ends(folder: Path, made: dict[str, Any]) -> tuple[int, str]:
    """How `serve` ends with a config that it cannot serve."""
    program = Program([sys.executable, "-m", "protogw", "serve", str(written(made, folder))])
    try:
        return program.wait(), program.output
    finally:
        program.stop()


def test_a_port_in_use_is_one_clear_line(gateway: Serving, service: Backend, tmp_path: Path) -> None:
    made = config(service, tmp_path, listener={"address": f"127.0.0.1:{gateway.port}"})
    status, output = ends(tmp_path, made)
    assert status == 1
    assert "Traceback" not in output
    assert str(gateway.port) in output
    assert "in use" in output


def test_a_bad_config_is_every_fault_at_once(service: Backend, tmp_path: Path) -> None:
    made = config(service, tmp_path)
    made["upstreams"]["kit"]["balence"] = "round_robin"
    made["listeners"]["public"]["offer"] = ["rest", "grcp"]
    status, output = ends(tmp_path, made)
    assert status == 1
    assert "Traceback" not in output
    assert 'did you mean "balance"' in output
    assert "grcp" in output
