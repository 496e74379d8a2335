"""Memory stays flat, however large the body, however long the stream, however slow the reader.

Scaled down so that it takes seconds: what would grow with a gigabyte shows with 64 MiB.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.backend import backend
from tests.support.gateway import Serving, config_of, serving
from tests.support.processes import until
from tests.support.raw import Http1, Http2
from tests.support.scripted import Opaque

MOST_GROWTH = 32 << 20
BIG = 96 << 20


@pytest.fixture(scope="module")
def opaque() -> Iterator[Opaque]:
    with Opaque() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(opaque: Opaque, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("memory")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    with backend() as service:
        upstreams = {
            "kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"},
            "opaque": {"http": [f"http://127.0.0.1:{opaque.port}"]},
        }
        routes = [{"match": {"path": "/raw/**"}, "to": "opaque"}]
        limits = {"limits": {"body": "1GiB"}}
        with serving(config_of(upstreams, listener=limits, routes=routes), folder) as made:
            warm_up(made.port)
            yield made


def warm_up(port: int) -> None:
    client = Http1(port)
    for _ in range(200):
        client.request("GET", "/v1/look/x").head()
        client.body()
    client.close()


class Watched:
    """How far a process's memory rose above where it was."""

    def __init__(self, program: Serving) -> None:
        self._program = program
        self._base = program.rss()
        self._most = self._base

    def look(self) -> None:
        self._most = max(self._most, self._program.rss())

    @property
    def growth(self) -> int:
        self.look()
        return self._most - self._base


@pytest.mark.parametrize("version", [1, 2])
def test_a_large_upload_passes_through_at_flat_memory(gateway: Serving, opaque: Opaque, version: int) -> None:
    watched = Watched(gateway)
    piece = bytes(1 << 20)
    opaque.received = 0
    client = Http1(gateway.port) if version == 1 else Http2(gateway.port)
    exchange = client.request("POST", "/raw/sink")
    for _ in range(BIG >> 20):
        exchange.send(piece)
        watched.look()
    exchange.send(b"", end=True)
    assert exchange.head() == 200
    assert (exchange.body(), opaque.received) == (b"done", BIG)
    client.close()
    assert watched.growth < MOST_GROWTH


@pytest.mark.parametrize("version", [1, 2])
def test_a_large_download_passes_through_at_flat_memory(gateway: Serving, version: int) -> None:
    watched = Watched(gateway)
    client = Http1(gateway.port) if version == 1 else Http2(gateway.port)
    exchange = client.request("GET", f"/raw/source/{BIG}", (), b"")
    assert exchange.head() == 200
    size = 0
    for number, piece in enumerate(exchange.pieces()):
        size += len(piece)
        if number % 256 == 0:
            watched.look()
    client.close()
    assert size == BIG
    assert watched.growth < MOST_GROWTH


@pytest.mark.parametrize("version", [1, 2])
def test_a_reader_that_stops_stops_the_writer(gateway: Serving, opaque: Opaque, version: int) -> None:
    """The service could write only what the buffers on the way hold, and goes on once the client reads again."""
    watched = Watched(gateway)
    opaque.sent = 0
    client = Http1(gateway.port) if version == 1 else Http2(gateway.port, window=65535)
    if version == 1:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    exchange = client.request("GET", f"/raw/source/{BIG}", (), b"")
    assert exchange.head() == 200
    stalled = settled(lambda: opaque.sent)
    # The kernel's own buffers on the way take some 20 MiB.
    assert stalled < BIG // 2, "the service could write far more than anybody has read"
    assert watched.growth < MOST_GROWTH
    assert sum(map(len, exchange.pieces())) == BIG
    client.close()


def test_a_socket_whose_client_stops_reading_stops_the_service(gateway: Serving, opaque: Opaque) -> None:
    watched = Watched(gateway)
    opaque.sent = 0
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        asked = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n"
        client.sendall(b"GET /raw/source/%d HTTP/1.1\r\nhost: a\r\n%b" % (BIG, asked))
        assert client.recv(12) == b"HTTP/1.1 101"
        assert settled(lambda: opaque.sent) < BIG // 2
        assert watched.growth < MOST_GROWTH
        size = 12
        while size < BIG:
            size += len(client.recv(1 << 20))
    assert watched.growth < MOST_GROWTH


def settled(value: object) -> int:
    """A value once it has not changed for a while."""
    assert callable(value)
    quiet = threading.Event()
    last, same = -1, 0
    while same < 5:
        now = value()
        same, last = (same + 1, last) if now == last else (0, now)
        quiet.wait(0.1)
    return last


def test_a_long_stream_with_a_slow_reader_stays_flat(gateway: Serving) -> None:
    """gRPC to NDJSON: messages are translated one by one and none is kept."""
    watched = Watched(gateway)
    count = 20_000
    body = json.dumps({"text": "x" * 500, "plan": {"count": count}}).encode()
    fields = [("content-type", "application/json"), ("accept", "application/x-ndjson")]
    client = Http1(gateway.port)
    client.request("POST", "/v1/down", fields, body)
    assert client.head() == 200
    pause = threading.Event()
    lines = 0
    for number, piece in enumerate(client.pieces()):
        lines += piece.count(b"\n")
        if number % 200 == 0:
            pause.wait(0.01)
            watched.look()
    client.close()
    assert lines == count
    assert watched.growth < MOST_GROWTH


def test_many_clients_that_leave_leave_nothing_behind(gateway: Serving, tmp_path: Path) -> None:
    descriptors = Path(f"/proc/{gateway.pid}/fd")
    before = len(list(descriptors.iterdir()))
    watched = Watched(gateway)
    for _ in range(300):
        client = Http1(gateway.port)
        client.request("POST", "/v1/echo", [("content-type", "application/json")], b'{"plan": {"hang": true}}')
        client.abandon()
    until(lambda: len(list(descriptors.iterdir())) <= before + 4, 10, "the connections' descriptors are closed")
    assert watched.growth < MOST_GROWTH
