"""Several workers behind one address: what they share, and what happens when one of them, or the supervisor, dies."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.gateway import config_of, written
from tests.support.processes import Program, free_port, until
from tests.support.signing import POLICY, signature

if sys.platform != "linux":
    pytest.skip("ports are shared as Linux shares them", allow_module_level=True)


class Workers(Program):
    """`protogw serve` with workers, and its admin address."""

    def __init__(self, config: dict[str, Any], folder: Path, *, workers: int = 2) -> None:
        self.port, self.admin = free_port(), free_port()
        listeners = {**config["listeners"]}
        listeners["public"] = {**listeners["public"], "address": f"127.0.0.1:{self.port}"}
        admin = f"127.0.0.1:{self.admin}"
        whole = {"drain": "5s", **config, "listeners": listeners, "workers": workers, "admin": admin}
        super().__init__([sys.executable, "-m", "protogw", "serve", str(written(whole, folder))], cwd=folder)

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def states(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/workers")["workers"]
        return found

    @property
    def pids(self) -> list[int]:
        return [one["pid"] for one in self.states() if one["state"] == "ready"]


@contextlib.contextmanager
def workers(config: dict[str, Any], folder: Path, count: int = 2) -> Iterator[Workers]:
    made = Workers(config, folder, workers=count)
    try:
        made.wait_for_port(made.admin, 60)
        until(lambda: not made.running or len(made.pids) == count, 60, "every worker's readiness")
        assert made.running, made.output
        yield made
    finally:
        made.stop(20)


def kits(service: Backend, **more: Any) -> dict[str, Any]:
    return config_of({"kit": {"grpc": f"127.0.0.1:{service.port}", "schema": str(kit.PROTO)}}, **more)


def call(port: int, text: str = "x", headers: dict[str, str] | None = None, timeout: float = 10) -> int:
    """The status of one call on a connection of its own."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/echo/{text}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class Load:
    """Calls without a pause, each on a connection of its own."""

    def __init__(self, port: int, threads: int = 3) -> None:
        self.statuses: list[int] = []
        self.failures: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(call(self._port))
            except OSError as error:
                self.failures.append(str(error))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def test_calls_go_to_every_worker_and_each_is_shown(service: Backend, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with workers(kits(service, access_log={"format": "json", "path": str(log)}), tmp_path) as running:
        load = Load(running.port, 4)
        until(lambda: len(load.statuses) > 200, 30)
        load.stop()
        assert set(load.statuses) == {200}
        assert load.failures == []
        shown = running.ask("/upstreams")["workers"]
        assert set(shown) == {"0", "1"}
        assert all(one["kit"]["endpoints"][0]["connections"] == 1 for one in shown.values())
        assert running.ask("/workers/1/upstreams") == shown["1"]
        assert running.ask("/readyz")["workers_ready"] == 2
        assert "kit.v1.Echo" in running.ask("/catalog")["workers"]["0"]
        assert running.ask("/schema")["paths"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            running.ask("/workers/7/upstreams")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            running.ask("/nothing")
        total = len(load.statuses)
        assert running.stop() == 0
    lines = log.read_bytes().splitlines()
    assert len(lines) == total
    assert all(json.loads(line)["status"] == 200 for line in lines)


def test_lines_of_all_workers_are_whole_in_a_pipe(service: Backend, tmp_path: Path) -> None:
    """The access log goes to stdout, a pipe, which takes 4 KiB in one piece; the lines here are longer together."""
    read, write = os.pipe()
    collected = bytearray()

    def collect() -> None:
        while piece := os.read(read, 65536):
            collected.extend(piece)

    thread = threading.Thread(target=collect)
    thread.start()
    port, admin = free_port(), free_port()
    config = kits(service, access_log="json")
    config["listeners"]["public"]["address"] = f"127.0.0.1:{port}"
    config |= {"workers": 2, "admin": f"127.0.0.1:{admin}", "drain": "5s"}
    process = subprocess.Popen(
        [sys.executable, "-m", "protogw", "serve", str(written(config, tmp_path))],
        stdout=write,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
        start_new_session=True,
    )
    os.close(write)
    try:
        until(lambda: _ready(admin), 60)
        long = "y" * 1500
        threads = [threading.Thread(target=lambda: [call(port, long) for _ in range(40)]) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
    finally:
        process.terminate()
        process.wait(20)
        thread.join(20)
        os.close(read)
    lines = bytes(collected).splitlines()
    assert len(lines) == 160
    assert all(json.loads(line)["status"] == 200 for line in lines)


def _ready(admin: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
            return bool(json.loads(answer.read())["workers_ready"] == 2)
    except (OSError, urllib.error.HTTPError):
        return False


def test_a_worker_that_is_killed_leaves_the_others_serving_and_comes_back(service: Backend, tmp_path: Path) -> None:
    with workers(kits(service), tmp_path) as running:
        before = running.pids
        load = Load(running.port)
        until(lambda: len(load.statuses) > 50, 30)
        os.kill(before[0], signal.SIGKILL)
        seen = len(load.statuses)
        until(lambda: len(load.statuses) > seen + 50, 30, "calls after a worker's end")
        until(lambda: len(running.pids) == 2, 60, "the worker's return")
        seen = len(load.statuses)
        failed = len(load.failures)
        until(lambda: len(load.statuses) > seen + 50, 30)
        load.stop()
        after = running.states()
        assert after[0]["pid"] != before[0]
        assert after[1]["pid"] == before[1]
        assert (after[0]["restarts"], after[1]["restarts"]) == (1, 0)
        # Only what was under way on it, or waited to be accepted by it; three clients have at most a few of those.
        assert failed <= 6, load.failures
        assert len(load.failures) == failed
        assert set(load.statuses) == {200}
        assert "worker 0 ended (SIGKILL)" in running.output


def test_a_nonce_counts_once_whichever_worker_it_is_shown_to(service: Backend, tmp_path: Path) -> None:
    with workers(kits(service, policies={"signed": POLICY}, use=["signed"]), tmp_path) as running:
        for number in range(4):
            headers = signature(f"n{number}")
            statuses = []
            for _ in range(8):  # each over a connection of its own, which is any worker's
                client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
                client.request("GET", "/v1/echo/x", headers=headers)
                statuses.append(client.getresponse().status)
                client.close()
            assert statuses == [200] + [401] * 7


def test_so_many_calls_run_at_once_whichever_worker_they_came_to(service: Backend, tmp_path: Path) -> None:
    few = {"concurrency": {"limit": 2, "by": "header.x-user"}}
    plan = json.dumps({"text": "x", "plan": {"hang": True}}).encode()
    with workers(kits(service, policies={"few": few}, use=["few"]), tmp_path) as running:
        held = [Held(running.port, plan) for _ in range(2)]
        until(lambda: service.counts.open == 2, 10, "two calls that run")
        for _ in range(8):  # each over a connection of its own, which is any worker's
            assert call(running.port, headers={"x-user": "ann"}) == 429
        assert call(running.port, headers={"x-user": "bob"}) == 200
        held[0].close()
        until(lambda: call(running.port, headers={"x-user": "ann"}) == 200, 10, "a place that is free")
        # What a worker had that is killed is free, too.
        before = running.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(running.pids) - set(before)) == 2, 60, "the workers' return")
        assert call(running.port, headers={"x-user": "ann"}) == 200
        held[1].close()


class Held:
    """A call that goes on until it is closed."""

    def __init__(self, port: int, body: bytes) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"content-type": "application/json", "x-user": "ann"}
        self._client.request("POST", "/v1/echo", body=body, headers=headers)

    def close(self) -> None:
        self._client.close()


def test_a_worker_that_finds_a_broken_file_says_so_and_comes_back_with_a_good_one(
    service: Backend, tmp_path: Path
) -> None:
    addresses = tmp_path / "addresses.yaml"
    good = f"- 127.0.0.1:{service.port}\n"
    addresses.write_text(good)
    upstreams = {"kit": {"grpc": f"file:{addresses}", "schema": str(kit.PROTO)}}
    with workers(config_of(upstreams), tmp_path) as running:
        addresses.write_text("- 127.0.0.1:{broken\n")
        os.kill(running.pids[0], signal.SIGKILL)
        until(lambda: running.states()[0]["restarts"] >= 2, 60, "a start with the broken file")
        assert call(running.port) == 200
        addresses.write_text(good)
        until(lambda: len(running.pids) == 2, 60, "the worker's return")
        assert "worker 0 ended (exit status 1: upstreams.kit" in running.output
        assert "Traceback" not in running.output


def test_calls_in_flight_end_and_then_all_workers_do(service: Backend, tmp_path: Path) -> None:
    with workers(kits(service), tmp_path) as running:
        statuses: list[int] = []
        body = json.dumps({"text": "x", "plan": {"delayMs": 1500}}).encode()

        def slow() -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{running.port}/v1/echo", data=body, headers={"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                statuses.append(answer.status)

        threads = [threading.Thread(target=slow) for _ in range(8)]
        for thread in threads:
            thread.start()
        service.counts.wait(lambda counts: counts.open == 8, 20)
        pids = running.pids
        running.signal(signal.SIGTERM)
        assert running.wait(20) == 0
        for thread in threads:
            thread.join(20)
        assert statuses == [200] * 8
        assert not any(_lives(pid) for pid in pids)


def test_a_second_signal_ends_them_at_once(service: Backend, tmp_path: Path) -> None:
    with workers(kits(service, drain="60s"), tmp_path) as running:
        hanging = socket.create_connection(("127.0.0.1", running.port), 5)
        body = json.dumps({"text": "x", "plan": {"hang": True}})
        hanging.sendall(
            f"POST /v1/echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        service.counts.wait(lambda counts: counts.open == 1, 20)
        running.signal(signal.SIGTERM)
        until(lambda: "stopping" in running.output, 20)
        began = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.wait(30) == 0
        assert time.monotonic() - began < 20
        hanging.close()


def test_without_a_supervisor_the_workers_end_and_the_port_is_free(service: Backend, tmp_path: Path) -> None:
    with workers(kits(service), tmp_path) as running:
        pids = running.pids
        running.signal(signal.SIGKILL)
        running.wait(10)
        until(lambda: not any(_lives(pid) for pid in pids), 20, "the workers' end")
        with socket.create_server(("127.0.0.1", running.port)):
            pass


def test_what_is_wrong_is_told_once(service: Backend, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = kits(service, workers=3)
        config["listeners"]["public"]["address"] = f"127.0.0.1:{port}"
        program = Program([sys.executable, "-m", "protogw", "serve", str(written(config, tmp_path))], cwd=tmp_path)
        assert program.wait(60) == 1
        assert program.output.count("cannot listen on") == 1, program.output
        program.stop()
    config = kits(service, workers=3, policies={"p": {"api_key": {"keys": [{"consumer": "a", "hash": "x"}]}}})
    program = Program([sys.executable, "-m", "protogw", "serve", str(written(config, tmp_path))], cwd=tmp_path)
    assert program.wait(60) == 1
    assert program.output.count("hash is not sha256") == 1, program.output
    program.stop()


def test_raw_listeners_are_shared_too(tmp_path: Path) -> None:
    said = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        said.settimeout(0.05)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = said.accept()
                connection.sendall(b"tcp")
                connection.close()

    def answer() -> None:
        datagrams.settimeout(0.05)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                data, where = datagrams.recvfrom(100)
                datagrams.sendto(b"udp " + data, where)

    threads = [threading.Thread(target=serve), threading.Thread(target=answer)]
    for thread in threads:
        thread.start()
    udp = free_port()
    config = config_of(
        {"t": {"tcp": f"127.0.0.1:{said.getsockname()[1]}"}, "u": {"udp": f"127.0.0.1:{datagrams.getsockname()[1]}"}},
        listener={"tcp": "t"},
    )
    config["listeners"]["dns"] = {"address": f"127.0.0.1:{udp}", "udp": "u"}
    try:
        with workers(config, tmp_path) as running:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", running.port), 5) as connection:
                    assert connection.recv(10) == b"tcp"
            for number in range(20):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(5)
                    client.sendto(b"%d" % number, ("127.0.0.1", udp))
                    assert client.recv(100) == b"udp %d" % number
            begun = [one["public"]["accepted"] for one in running.ask("/listeners")["workers"].values()]
            assert sum(begun) == 20
            assert min(begun) > 0
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
        said.close()
        datagrams.close()


@pytest.mark.parametrize(("rate", "algorithm"), [(40, "token_bucket"), (200, "token_bucket"), (40, "sliding_window")])
def test_two_workers_keep_one_limit_within_five_percent(
    service: Backend, tmp_path: Path, rate: int, algorithm: str
) -> None:
    """A whole hour's limit, so that time plays no part: what is admitted is the burst, whoever admits it."""
    limit = {"rate": f"{rate}/hour", "algorithm": algorithm, "by": "header.x-user"}
    config = kits(service, policies={"fair": {"rate_limit": limit}}, use=["fair"])
    with workers(config, tmp_path) as running:
        for user in ("a", "b"):
            statuses: list[int] = []

            def ask(user: str = user, statuses: list[int] = statuses) -> None:
                statuses.extend(call(running.port, headers={"x-user": user}) for _ in range(rate // 2))

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert set(statuses) == {200, 429}
            assert 0.95 * rate <= statuses.count(200) <= rate


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
