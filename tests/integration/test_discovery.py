"""Addresses out of DNS (dnsmasq) and files, before real gRPC servers: followed as they change, under load."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protogw.descriptors.from_proto import load_descriptor_set
from tests.support import kit
from tests.support.dns import Names, names
from tests.support.gateway import Running, config_of, gateway
from tests.support.instance import instances
from tests.support.processes import free_port, until

SCHEMAS = {"kit": load_descriptor_set(kit.DESCRIPTOR_SET)}
A, B, C = "127.0.9.1", "127.0.9.2", "127.0.9.3"


class Load:
    """Calls without a pause, from threads of its own, and who answered them."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._unary = self._channel.unary_unary(
            f"/{kit.SERVICE}/Unary",
            request_serializer=kit.Message.SerializeToString,
            response_deserializer=kit.Message.FromString,
        )
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        request = kit.message("x", plan=kit.Plan(delay_ms=2))
        while not self._stop.is_set():
            try:
                answer = self._unary(request, timeout=20).text
            except grpc.RpcError as error:
                with self._lock:
                    self.failures.append(f"{error.code()}: {error.details()}")
                time.sleep(0.01)
                continue
            with self._lock:
                self.answers[answer] += 1

    def only(self, *hosts: str) -> bool:
        """Fifty answers came from exactly these, since the last time of asking."""
        with self._lock:
            if self.answers.total() < 50:
                return False
            found, self.answers = self.answers, Counter()
        return set(found) == set(hosts)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._channel.close()


@contextlib.contextmanager
def loaded(port: int) -> Iterator[Load]:
    load = Load(port)
    try:
        yield load
    finally:
        load.stop()


@pytest.fixture
def dns(tmp_path: Path) -> Iterator[Names]:
    with names(tmp_path) as made:
        yield made


def found(server: Names, **more: Any) -> dict[str, Any]:
    return {"resolvers": server.resolver, "refuse": [], "max_ttl": "1s", "min_ttl": "50ms", "timeout": "2s", **more}


def pool(running: Running) -> list[str]:
    return running.do(lambda: sorted(one.label for one in running.gateway.pools["kit"].endpoints))


def test_addresses_of_a_name_come_and_go_without_a_failed_call(dns: Names, tmp_path: Path) -> None:
    with instances(A, B, C) as (port, programs):
        dns.say({"kit.test": [A, B]})
        upstream = {"grpc": f"dns:kit.test:{port}", "schema": str(kit.PROTO), "discovery": found(dns)}
        with (
            gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running,
            loaded(running.port) as load,
        ):
            until(lambda: load.only(A, B), 20, "calls to A and B")
            dns.say({"kit.test": [B, C]})
            until(lambda: load.only(B, C), 20, "calls to B and C")
            programs[A].stop()
            dns.say({"kit.test": [C]})
            until(lambda: load.only(C), 20, "calls to C")
            programs[B].stop()
            until(lambda: load.only(C), 20)
            load.stop()
            assert load.failures == []


def test_a_name_that_is_gone_and_a_server_that_is_dead_take_nothing_away(dns: Names, tmp_path: Path) -> None:
    with instances(A) as (port, _):
        dns.say({"kit.test": [A]})
        upstream = {"grpc": f"dns:kit.test:{port}", "schema": str(kit.PROTO), "discovery": found(dns, timeout="300ms")}
        with (
            gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running,
            loaded(running.port) as load,
        ):
            part = running.gateway.followings["kit"].parts[0]
            until(lambda: load.only(A), 20)
            dns.say({})
            until(lambda: "no name kit.test" in part.error or "no address" in part.error, 20, "the name's end")
            assert load.only(A) or not load.failures
            dns.kill()
            before = part.failures
            until(lambda: part.failures > before + 1 and "no name" not in part.error, 20, "a failed look-up")
            until(lambda: load.only(A), 20)
            dns.start()
            dns.say({"kit.test": [A, B]})
            until(lambda: len(pool(running)) == 2, 20, "the new address")
            load.stop()
            assert [failure for failure in load.failures if B not in failure] == []


def test_a_service_has_ports_weights_and_priorities(tmp_path: Path) -> None:
    with instances(A, B, C) as (port, programs):
        records = [
            f"_grpc._tcp.kit.test,a.test,{port},10,3",
            f"_grpc._tcp.kit.test,b.test,{port},10,1",
            f"_grpc._tcp.kit.test,c.test,{port},20,1",
        ]
        with names(tmp_path, *records) as server:
            server.say({"a.test": [A], "b.test": [B], "c.test": [C]})
            upstream = {"grpc": "srv:_grpc._tcp.kit.test", "schema": str(kit.PROTO), "discovery": found(server)}
            with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
                until(lambda: load.answers.total() >= 200, 20)
                load.stop()
                assert set(load.answers) == {A, B}
                assert 2.5 < load.answers[A] / load.answers[B] < 3.5
                assert load.failures == []
                programs[A].stop()
                programs[B].stop()
            with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
                until(lambda: load.only(C), 20, "calls to the second priority")


def test_a_service_that_is_not_there_yet_is_found_later(dns: Names, tmp_path: Path) -> None:
    with instances(A) as (port, _):
        upstream = {"grpc": f"dns:kit.test:{port}", "schema": str(kit.PROTO), "discovery": found(dns)}
        with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
            until(lambda: bool(load.failures), 20)
            assert "no address is known yet" in load.failures[0]
            assert "UNAVAILABLE" in load.failures[0]
            dns.say({"kit.test": [A]})
            until(lambda: load.only(A), 20)


def test_an_answer_that_leads_back_to_this_machine_is_refused(dns: Names, tmp_path: Path) -> None:
    dns.say({"kit.test": [A, "169.254.169.254"]})
    discovery = {name: value for name, value in found(dns).items() if name != "refuse"}
    upstream = {"grpc": "dns:kit.test:80", "schema": str(kit.PROTO), "discovery": discovery}
    with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running:
        part = running.gateway.followings["kit"].parts[0]
        assert "none of the 2 addresses may be used" in part.error
        assert pool(running) == []


def test_addresses_of_a_file_come_and_go_without_a_failed_call(tmp_path: Path) -> None:
    with instances(A, B) as (port, _):
        file = tmp_path / "endpoints.yaml"
        file.write_text(f"- {A}:{port}\n")
        upstream = {"grpc": "file:endpoints.yaml", "schema": str(kit.PROTO)}
        with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
            until(lambda: load.only(A), 20)
            file.write_text(f"- {A}:{port}\n- {{ address: {B}:{port}, weight: 2 }}\n")
            until(lambda: load.only(A, B), 20)
            file.write_text(f"- {B}:{port}\n")
            until(lambda: load.only(B), 20)
            load.stop()
            assert load.failures == []


def test_raw_connections_follow_a_name(dns: Names, tmp_path: Path) -> None:
    port = free_port()

    def said() -> bytes:
        with socket.create_connection(("127.0.0.1", running.port), 5) as connection:
            connection.settimeout(5)
            try:
                return connection.recv(100)
            except OSError:
                return b""

    with echo(A, port), echo(B, port):
        dns.say({"pg.test": [A]})
        upstreams = {"pg": {"tcp": f"dns:pg.test:{port}", "discovery": found(dns)}}
        with gateway(config_of(upstreams, listener={"tcp": "pg"}), tmp_path) as running:
            assert said() == A.encode()
            dns.say({"pg.test": [B]})
            until(lambda: said() == B.encode(), 20)


@contextlib.contextmanager
def echo(host: str, port: int) -> Iterator[None]:
    """Says where it listens, to everybody who connects."""
    with socket.create_server((host, port)) as listening:
        stop = threading.Event()
        listening.settimeout(0.05)

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(host.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def test_the_servers_of_a_config_are_asked_one_after_the_other(dns: Names, tmp_path: Path) -> None:
    dns.say({"kit.test": [A]})
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with silent:
        resolvers = [f"127.0.0.1:{silent.getsockname()[1]}", dns.resolver]
        upstream = {"grpc": "dns:kit.test:80", "schema": str(kit.PROTO), "discovery": found(dns, resolvers=resolvers)}
        with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running:
            until(lambda: pool(running) == [f"{A}:80"], 20)
