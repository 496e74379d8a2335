"""The JavaScript clients that browsers and Node services use: Connect, gRPC-Web and gRPC, from three families."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.processes import NODE, require_node

CLIENTS = [
    "connect-node",
    "connect-node-json",
    "connect-node-http1",
    "connect-node-gzip",
    "connect-node-grpc",
    "connect-node-grpc-web",
    "connect-node-grpc-web-http1",
    "connect-web",
    "connect-web-grpc-web",
    "grpc-js",
    "grpc-web-text",
    "grpc-web-binary",
]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_check_of_the_client_passes(client: str, port: int, service: Backend, tmp_path: Path) -> None:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    argv = [require_node(), str(NODE / "clients.mjs"), client, f"http://127.0.0.1:{port}", str(tmp_path / "kit.pb")]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [f"{check['name']}: {check['error']}" for check in checks if not check["ok"]]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(checks) >= 3
