"""nghttp2's client and load generator: strict about every frame."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.processes import require_tool, run


def test_nghttp_gets_several_resources_on_one_connection(port: int) -> None:
    base = f"http://127.0.0.1:{port}/v1/shelves"
    shown = run([require_tool("nghttp"), "-v", base, f"{base}/1", f"{base}/2/books"]).decode()
    assert shown.count(":status: 200") == 3
    assert "PROTOCOL_ERROR" not in shown


def test_nghttp_posts_a_grpc_call_and_reads_trailers(port: int, tmp_path: Path, service: Backend) -> None:
    message = kit.message("hello").SerializeToString()
    (tmp_path / "body").write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    fields = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    argv = [require_tool("nghttp"), "-v", *fields, "-d", str(tmp_path / "body")]
    shown = run([*argv, f"http://127.0.0.1:{port}/kit.v1.Echo/Unary"]).decode(errors="replace")
    assert "grpc-status: 0" in shown
    assert "x-trail: t" in shown


@pytest.mark.parametrize(
    "arguments", [["--h1", "-c", "20"], ["-c", "4", "-m", "20"], ["-c", "2", "-m", "5", "-w", "10"]]
)
def test_h2load_sees_no_failed_request(port: int, arguments: list[str]) -> None:
    shown = run([require_tool("h2load"), "-n", "1500", *arguments, f"http://127.0.0.1:{port}/v1/shelves/1"]).decode()
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", shown)
    assert found is not None
    assert found.groups() == ("1500", "0", "0")
    assert "1500 2xx" in shown
