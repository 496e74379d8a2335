"""One burst of load on one port, from h2load, or from our own client where no two requests may be alike."""

from __future__ import annotations

import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import h2.connection
import h2.events

from benchmarks.processes import tool

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m)")
_REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent, and how many at once."""

    path: str = ""
    http2: bool = False
    connections: int = 32
    streams: int = 1
    """Requests in flight on each connection (HTTP/2)."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    varied: bool = False
    """Every request has its own path and header values, and ten more headers."""
    message: int = 0
    """Not requests but WebSocket messages of this many bytes, each of which is echoed."""
    write: int = 0
    """Not requests but writes of this many bytes, on raw connections to a service that counts what arrives."""
    content: str = ""
    """Text that a correct answer's body holds; asked once before measuring."""


@dataclass(slots=True, kw_only=True)
class Burst:
    """What came of it. Latencies are in seconds."""

    requests: int
    failed: int
    wall_s: float
    latencies: list[float] = field(repr=False)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    @property
    def p50(self) -> float:
        return statistics.median(self.latencies) if self.latencies else 0.0

    @property
    def p99(self) -> float:
        return self.percentile(0.99)


def send(load: Load, port: int, requests: int, folder: Path) -> Burst:
    """Send that many requests and wait for their answers."""
    if load.message or load.varied or load.write:
        return _ours(load, port, requests, folder)
    return _h2load(load, port, requests, folder)


def probe(load: Load, port: int) -> str:
    """What is wrong with the answer to one request, or nothing."""
    if load.message or load.write:
        return ""  # the load itself looks at what comes back
    status, body = (_ask_http2 if load.http2 else _ask_http1)(load, port)
    return "" if status == 200 and load.content.encode() in body else f"HTTP {status} {body[:200]!r}"


def _ask_http1(load: Load, port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST" if load.body else "GET", load.path, load.body or None, dict(load.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _ask_http2(load: Load, port: int) -> tuple[int, bytes]:
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    pseudo = [(":method", "POST" if load.body else "GET"), (":scheme", "http"), (":path", load.path)]
    fields = [*pseudo, (":authority", f"127.0.0.1:{port}"), *load.headers]
    connection.send_headers(1, fields, end_stream=not load.body)
    if load.body:
        connection.send_data(1, load.body, end_stream=True)
    status, body = 0, b""
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(connection.data_to_send())
        while data := peer.recv(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return status, body
            peer.sendall(connection.data_to_send())
    return status, body


def _h2load(load: Load, port: int, requests: int, folder: Path) -> Burst:
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    connections = min(load.connections, requests)
    argv = [tool("h2load"), "-n", str(requests), "-c", str(connections), "-m", str(load.streams), f"--log-file={log}"]
    if not load.http2:
        argv.append("--h1")
    for name, value in load.headers:
        argv += ["-H", f"{name}: {value}"]
    if load.body:
        (folder / "body").write_bytes(load.body)
        argv += ["-d", str(folder / "body")]
    done = subprocess.run(
        [*argv, f"http://127.0.0.1:{port}{load.path}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    took, counts = _FINISHED.search(done.stdout), _REQUESTS.search(done.stdout)
    if took is None or counts is None:
        raise RuntimeError(f"h2load: {done.stdout[-500:]}{done.stderr[-500:]}")
    lines = (line.split() for line in log.read_text().splitlines())
    return Burst(
        requests=int(counts[2]),
        failed=int(counts[1]) - int(counts[2]),
        wall_s=float(took[1]) * _UNITS[took[2]],
        latencies=[int(fields[2]) / 1e6 for fields in lines if fields[1].startswith("2")],
    )


def _ours(load: Load, port: int, requests: int, folder: Path) -> Burst:
    """Load from a client of our own, in a process of its own."""
    client = "benchmarks.sockets" if load.message else "benchmarks.streams" if load.write else "benchmarks.varied"
    order = folder / "order.json"
    order.write_text(
        json.dumps(
            {
                "port": port,
                "requests": requests,
                "path": load.path,
                "http2": load.http2,
                "connections": load.connections,
                "streams": load.streams,
                "headers": load.headers,
                "body": load.body.hex(),
                "message": load.message,
                "write": load.write,
            }
        )
    )
    result = folder / "burst.json"
    argv = [sys.executable, "-m", client, str(order), str(result)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{client} failed:\n{done.stderr[-2000:]}")
    return Burst(**json.loads(result.read_text()))
