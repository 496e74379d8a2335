"""The examples run as their READMEs say, and the demo's lines do what they promise."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import grpc
import pytest

from tests.support.processes import ROOT, Program, free_port, require_tool, run, running, until
from tests.support.raw import Http1

LIBRARY = ROOT / "examples" / "library"


@pytest.fixture(scope="module")
def example() -> Iterator[int]:
    """The library example's public port."""
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "LIBRARY_PORT": str(behind)}
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=LIBRARY),
        running(
            [sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=LIBRARY, env=environment
        ) as gateway,
    ):
        # Paths are there once the schema is, which a file gives at once.
        assert gateway.running
        yield port


def test_the_readme_lines_of_the_library_example_work(example: int) -> None:
    lines = re.findall(r"^curl (?:.|\\\n)*?$(?<!\\)", (LIBRARY / "README.md").read_text(), re.MULTILINE)
    commands = [
        line.replace("localhost:8080", f"127.0.0.1:{example}").replace("curl", require_tool("curl")) for line in lines
    ]
    shown = [run(["sh", "-c", f"{command} -sS --max-time 2"]).decode() for command in commands if "-N" not in command]
    assert [book["title"] for book in json.loads(shown[0])["books"]][:2] == ["Middlemarch", "Der Prozess"]
    assert [book["title"] for book in json.loads(shown[1])["books"]] == ["Der Prozess"]
    assert " 201" in shown[2].splitlines()[0]
    assert json.loads(shown[3])["isbn"] == "9780141439549"


def test_a_watcher_of_the_example_sees_a_new_book(example: int) -> None:
    watch = Http1(example).request("GET", "/v1/shelves/7/books:watch", [("accept", "application/x-ndjson")])
    assert watch.head() == 200
    made = Http1(example).request(
        "POST", "/v1/shelves/7/books", [("content-type", "application/json")], b'{"title": "Opticks"}'
    )
    assert made.head() == 201
    assert json.loads(next(watch.pieces()))["title"] == "Opticks"
    watch.close()
    made.close()


def test_grpc_reaches_the_example(example: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{example}") as channel:
        ask = channel.unary_unary("/example.library.v1.Library/GetBook")
        # field 1, "shelves/1/books/1"
        assert b"Middlemarch" in ask(b"\x0a\x11shelves/1/books/1", timeout=10)


@pytest.fixture(scope="module")
def demo() -> Iterator[Program]:
    require_tool("curl")
    with running([sys.executable, "-m", "protogw", "demo", "--port", "0"]) as program:
        until(lambda: "Stop:" in program.output or not program.running, 20, "the demo's page")
        assert program.running, program.output
        yield program


def test_every_line_that_the_demo_prints_works(demo: Program) -> None:
    lines = [line.strip() for line in demo.output.splitlines() if line.strip().startswith(("curl", "printf"))]
    assert len(lines) >= 8
    for line in lines:
        # A stream with pauses is long enough for a test after its first second.
        shown = run(["bash", "-c", line.replace("interval_ms=500", "interval_ms=1")], timeout=20).decode()
        assert re.search(r"shelves|Novels|Middlemarch|Travel", shown), f"{line}\n{shown}"
