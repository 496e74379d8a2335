"""Requests over HTTP/2 that are answered before their body has come, by clients that we did not write: the answer is
read every time, and never lost to the reset that tells the client to stop (RFC 9113 section 8.1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support import kit
from tests.support.backend import backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.plain import Plain, serving
from tests.support.processes import require_tool, run

LARGE = 3_000_000  # far more than the window of a stream
TIMES = 5
REFUSALS = {"/key/x": "401", "/address/x": "403", "/size/x": "413", "/nowhere": "404"}


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    policies = {
        "key": {"api_key": {"keys": [{"consumer": "ann", "key": "k" * 32}]}},
        "address": {"ip_filter": {"deny": ["127.0.0.0/8"]}},
        "size": {"size": {"request": "1KiB"}},
    }
    with serving(Plain) as plain, backend() as made:
        upstreams = {
            "kit": {"grpc": f"127.0.0.1:{made.port}", "schema": str(kit.PROTO)},
            "plain": {"http": [f"http://127.0.0.1:{plain}"]},
        }
        routes = [
            *({"match": {"path": f"/{name}/**"}, "to": "plain", "use": [name]} for name in policies),
            {"match": {"call": f"{kit.SERVICE}/*"}, "to": "kit", "use": ["key"]},
        ]
        config = config_of(upstreams, policies=policies, routes=routes)
        with gateway(config, tmp_path_factory.mktemp("early")) as running:
            yield running


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(b"x" * LARGE)
    return path


@pytest.mark.parametrize(("path", "status"), REFUSALS.items())
def test_curl_reads_every_refusal(path: str, status: str, early: Running, body: Path) -> None:
    argv = [require_tool("curl"), "-sS", "--http2-prior-knowledge", "--max-time", "20", "-o", "/dev/null"]
    argv += ["-w", "%{http_code}", "--data-binary", f"@{body}", f"http://127.0.0.1:{early.port}{path}"]
    assert [run(argv).decode() for _ in range(TIMES)] == [status] * TIMES


def test_nghttp_reads_every_refusal(early: Running, body: Path) -> None:
    argv = [require_tool("nghttp"), "-ns", "-d", str(body), f"http://127.0.0.1:{early.port}/key/x"]
    for _ in range(TIMES):
        assert b" 401 " in run(argv)


def test_grpcio_reads_every_refusal(early: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{early.port}") as channel:
        call = channel.stream_unary(f"/{kit.SERVICE}/Up")
        for _ in range(TIMES):
            with pytest.raises(grpc.RpcError) as caught:
                call(iter([b"x" * 100_000] * 30), timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
