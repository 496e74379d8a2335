"""zstd against programs that are not ours: what the zstd command writes is read, and what is written it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import require_tool, run

PATH = "/v1/shelves/2/books"


def posted(port: int, tmp_path: Path, body: bytes) -> tuple[int, dict[str, object]]:
    """POST this as zstd; the status and what is answered."""
    (tmp_path / "body").write_bytes(body)
    argv = [require_tool("curl"), "-sS", "--max-time", "20", "-w", "\n%{http_code}", "-H", "content-encoding: zstd"]
    sent = ("-H", "content-type: application/json", "--data-binary", f"@{tmp_path / 'body'}")
    said, _, status = run([*argv, *sent, f"http://127.0.0.1:{port}{PATH}"]).decode().rpartition("\n")
    return int(status), json.loads(said)


def squeezed(plain: bytes, *arguments: str) -> bytes:
    return run([require_tool("zstd"), "-q", "-c", *arguments], stdin=plain)


def book(title: str) -> bytes:
    return json.dumps({"title": title, "pages": 3, "genre": "SCIENCE"}).encode()


@pytest.mark.parametrize("arguments", [("-1",), ("-19", "--check"), ("--no-check", "--content-size"), ("--fast=5",)])
def test_what_the_zstd_command_writes_is_read(port: int, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    status, made = posted(port, tmp_path, squeezed(book("Opticks" * 1000), *arguments))
    run([require_tool("curl"), "-sS", "-X", "DELETE", f"http://127.0.0.1:{port}/v1/{made['name']}"])
    assert (status, made["title"]) == (200, "Opticks" * 1000)


def test_files_of_it_one_after_another_are_one_body(port: int, tmp_path: Path) -> None:
    plain = book("Opticks")
    status, made = posted(port, tmp_path, squeezed(plain[:10]) + squeezed(plain[10:]))
    run([require_tool("curl"), "-sS", "-X", "DELETE", f"http://127.0.0.1:{port}/v1/{made['name']}"])
    assert (status, made["title"]) == (200, "Opticks")


@pytest.mark.parametrize("body", ["long window", "cut short", "garbage behind"])
def test_what_is_no_content_coding_is_400(port: int, tmp_path: Path, body: str) -> None:
    small = squeezed(book("Opticks"))
    sent = {
        "long window": squeezed(book("Opticks"), "--ultra", "-22", "--long=27"),
        "cut short": small[:-3],
        "garbage behind": small + b"garbage",
    }[body]
    status, said = posted(port, tmp_path, sent)
    assert status == 400
    assert "zstd" in str(said["message"])


def test_a_bomb_is_413(port: int, tmp_path: Path) -> None:
    assert posted(port, tmp_path, squeezed(bytes(200 << 20)))[0] == 413


def test_the_zstd_command_and_curl_read_what_is_written(port: int, tmp_path: Path) -> None:
    _, made = posted(port, tmp_path, squeezed(book("Opticks" * 1000)))
    url = f"http://127.0.0.1:{port}/v1/{made['name']}"
    curl = [require_tool("curl"), "-sS", "--max-time", "20"]
    try:
        head = tmp_path / "head"
        body = run([*curl, "-D", str(head), "-H", "accept-encoding: zstd", url])
        assert "content-encoding: zstd" in head.read_text().lower()
        assert json.loads(run([require_tool("zstd"), "-q", "-d", "-c"], stdin=body))["title"] == "Opticks" * 1000
        assert json.loads(run([*curl, "--compressed", "-D", str(head), url]))["title"] == "Opticks" * 1000
        assert "content-encoding: zstd" in head.read_text().lower()
    finally:
        run([*curl, "-X", "DELETE", url])
