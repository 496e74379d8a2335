"""The commands against the sample service: what they print, where, and how they exit."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.assembly import KINDS
from protogw.cli import main
from protogw.config import load
from protogw.demo.service import start
from tests.support.processes import free_port

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def library() -> Iterator[int]:
    server, port = start()
    yield port
    server.stop(0).wait(5)


@pytest.fixture
def config(library: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A config in the working folder; the listener and the admin address take free ports."""
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text(
        f"""
listeners:
  public: {{ address: 127.0.0.1:0 }}
upstreams:
  library: {{ grpc: [127.0.0.1:{library}] }}
  pages: {{ http: [127.0.0.1:1] }}
access_log: json
admin: off
routes:
  - match: {{ call: library.v1.Library/GetShelf }}
    timeout: 2s
    rest: {{ get: "/shelf/{{name=**}}" }}
    websocket: "/sockets/{{name=shelves/*}}"
  - match: {{ path: "/pages/**" }}
    to: pages
"""
    )
    return "gateway.yaml"


def out_of(capsys: Captured, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(arguments) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


# --- check ---


def test_check_says_that_all_is_well(config: str, capsys: Captured) -> None:
    assert out_of(capsys, "check", config, "--connect") == ("gateway.yaml: ok (1 listener, 2 upstreams)\n", "")


def test_check_places_what_shows_only_with_the_schema(config: str, capsys: Captured) -> None:
    text = Path(config).read_text().replace("GetShelf", "GetShelff").replace("name=**", "nosuch=**")
    Path(config).write_text(text)
    _, told = out_of(capsys, "check", config, "--connect", code=1)
    said = "routes[0].match.call: library.v1.Library has no method GetShelff"
    assert told == f'error: gateway.yaml:10:14: {said}; did you mean "GetShelf"?\n'


def test_check_reports_hidden_routes_and_strict_fails_for_them(config: str, capsys: Captured) -> None:
    with Path(config).open("a") as file:
        file.write('  - match: { path: "/pages/**" }\n    to: pages\n')
    out, told = out_of(capsys, "check", config)
    assert "ok" in out
    assert "is hidden by route routes[1]" in told
    assert out_of(capsys, "check", config, "--strict", code=1)[1].endswith("fail a strict check\n")


def test_check_warns_of_keys_that_several_callers_share(config: str, capsys: Captured) -> None:
    with Path(config).open("a") as file:
        file.write(
            f"""policies:
  keys: {{ api_key: {{ keys: [{{ consumer: ann, key: {"k" * 32} }}] }} }}
  login: {{ jwt: {{ issuer: https://idp.example, audience: api, secret: {"s" * 32} }} }}
  who: {{ any_of: [login, keys] }}
  fair: {{ rate_limit: {{ rate: 1/second, by: identity.subject }} }}
use: [who, fair]
"""
        )
    out, told = out_of(capsys, "check", config)
    assert "ok" in out
    remedy = "identity.key"
    callers = 'callers of "https://idp.example" and api_key may have the same subject'
    assert told == f"warning: gateway.yaml:20:41: policies.fair.rate_limit.by: {callers}: write {remedy}\n"
    Path(config).write_text(Path(config).read_text().replace("identity.subject", f"'{remedy}'"))
    assert out_of(capsys, "check", config, "--strict")[1] == ""


def test_check_compiles_proto_files(config: str, capsys: Captured) -> None:
    Path("bad.proto").write_text('syntax = "proto3";\nmessage A { Nosuch x = 1; }\n')
    text = Path(config).read_text().replace("library: {", "library: { schema: bad.proto,")
    Path(config).write_text(text)
    _, told = out_of(capsys, "check", config, code=1)
    assert "gateway.yaml:5:14: upstreams.library.schema: " in told
    assert "bad.proto:2:13" in told
    assert '"Nosuch" is not defined' in told


def test_check_prints_faults_for_machines(config: str, capsys: Captured) -> None:
    Path(config).write_text(Path(config).read_text() + "drian: 1\n")
    out, told = out_of(capsys, "check", config, "--format", "json", code=1)
    assert told == ""
    assert json.loads(out) == [
        {
            "file": "gateway.yaml",
            "line": 16,
            "column": 1,
            "path": "drian",
            "message": 'unknown key; did you mean "drain"?',
        }
    ]


def test_check_tells_of_a_service_that_does_not_answer(config: str, library: int, capsys: Captured) -> None:
    Path(config).write_text(Path(config).read_text().replace(str(library), "1"))
    _, told = out_of(capsys, "check", config, "--connect", code=1)
    assert "gateway.yaml:5:3: upstreams.library: its schema is not known: " in told


# --- routes, explain ---


def test_routes_shows_what_is_reachable(config: str, capsys: Captured) -> None:
    out, told = out_of(capsys, "routes", config)
    assert told == ""
    shelf = next(line for line in out.splitlines() if "GetShelf" in line)
    assert shelf.split("  ")[0] == "library.v1.Library/GetShelf"
    assert "GET /v1/{name=shelves/*}, GET /shelf/{name=**}" in shelf
    assert shelf.endswith("routes[0]")
    assert "(plain HTTP)" in out
    assert "grpc.reflection" not in out
    assert "grpc.reflection.v1.ServerReflection" in out_of(capsys, "routes", config, "--all")[0]


def test_routes_prints_json(config: str, capsys: Captured) -> None:
    rows = json.loads(out_of(capsys, "routes", config, "--format", "json")[0])["routes"]
    assert {row["shape"] for row in rows if row["method"]} == {"unary", "server stream", "client stream", "bidi"}


def explained(capsys: Captured, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out_of(capsys, "explain", *arguments, "--format", "json")[0])["ways"][0]
    return found


def test_explain_follows_a_rest_request(config: str, capsys: Captured) -> None:
    way = explained(capsys, config, "GET /v1/shelves/1?x=1", "-H", "te: trailers")
    assert way["refused"].startswith("INVALID_ARGUMENT: x: unknown query parameter")
    way = explained(capsys, config, "GET /v1/shelves/1")
    assert way["front end"].startswith("rest: ")
    assert way["binding"] == "GET /v1/{name=shelves/*}, answered with 200"
    assert way["method"].startswith("library.v1.Library/GetShelf, unary")
    assert way["route"] == "routes[0] (gateway.yaml:10)"
    assert way["timeout"] == "2s"
    assert way["translator"].startswith("grpc: ")
    assert way["cannot carry"] == ["from rest: trailers, for clients that do not send TE: trailers"]


def test_routes_and_policies_are_told_by_their_names(capsys: Captured, tmp_path: Path) -> None:
    made = tmp_path / "gateway.yaml"
    made.write_text("""
listeners: { public: { address: "127.0.0.1:0" } }
upstreams: { pages: { http: ["127.0.0.1:1"] } }
policies: { fair: { rate_limit: { rate: 1/s } }, slow: { rate_limit: { rate: 9/h } } }
routes: [{ name: site, match: { path: "/pages/**" }, to: pages, use: [fair, slow] }]
""")
    way = explained(capsys, str(made), "GET /pages/x")
    assert (way["route"], way["policies"]) == (f"site ({made}:5)", "fair → slow")
    (row,) = json.loads(out_of(capsys, "routes", str(made), "--format", "json")[0])["routes"]
    assert (row["route"], row["policies"]) == ("site", ["fair", "slow"])


@pytest.mark.parametrize("name", ["library.v1.Library/Recommend", "Library/Recommend", "Recommend"])
def test_explain_takes_a_method_by_a_part_of_its_name(config: str, capsys: Captured, name: str) -> None:
    way = explained(capsys, config, name)
    assert way["method"].startswith("library.v1.Library/Recommend, bidi")
    assert "from connect: the stream, for clients on HTTP/1.1: they get 505" in way["cannot carry"]


def test_explain_follows_grpc_and_plain_http(config: str, capsys: Captured) -> None:
    way = explained(
        capsys, config, "POST /library.v1.Library/GetShelf", "-H", "content-type: application/grpc", "-d", "\0" * 5
    )
    assert way["front end"].startswith("grpc: ")
    way = explained(capsys, config, "GET http://localhost/pages/x")
    assert (way["front end"][:4], way["pool"]) == ("http", "pages: round_robin over 127.0.0.1:1")
    assert explained(capsys, config, "GET /nosuch")["refused"].startswith("HTTP 404")


def test_explain_follows_a_socket(config: str, capsys: Captured) -> None:
    way = explained(capsys, config, "GET /sockets/shelves/1", "-H", "upgrade: websocket")
    assert way["front end"].startswith("websocket: ")
    assert way["method"].startswith("library.v1.Library/GetShelf, unary")
    assert any(line.startswith("from websocket: metadata and trailers") for line in way["cannot carry"])
    page = ("-H", "upgrade: websocket", "-H", "origin: https://evil.example")
    refused = explained(capsys, config, "GET /sockets/shelves/1", *page)["refused"]
    assert refused.startswith("HTTP 403, PERMISSION_DENIED: origin")
    rows = json.loads(out_of(capsys, "routes", config, "--format", "json")[0])["routes"]
    (names,) = [row["names"] for row in rows if row["method"] == "library.v1.Library/GetShelf"]
    assert names["websocket"] == "/sockets/{name=shelves/*}"


def test_explain_prints_for_the_eye(config: str, capsys: Captured) -> None:
    out, _ = out_of(capsys, "explain", config, "DELETE /v1/shelves/1")
    assert out.splitlines()[0] == "DELETE /v1/shelves/1"
    assert "  method       library.v1.Library/DeleteShelf, unary" in out


# --- call ---


def test_call_prints_the_reply(config: str, capsys: Captured) -> None:
    out, told = out_of(capsys, "call", config, "Library/GetShelf", '{"name": "shelves/1"}')
    assert json.loads(out) == {"name": "shelves/1", "theme": "Novels"}
    assert told == ""


def test_call_tells_a_status_with_its_details(config: str, capsys: Captured) -> None:
    out, told = out_of(capsys, "call", config, "GetShelf", '{"name": "shelves/99"}', code=1)
    assert out == ""
    *details, last = told.splitlines()
    assert last == "error: NOT_FOUND (5): no shelf 'shelves/99'"
    assert any("google.rpc.ResourceInfo" in line for line in details)


def test_call_prints_a_stream_line_by_line(config: str, capsys: Captured) -> None:
    out, _ = out_of(capsys, "call", config, "StreamBooks", '{"parent": "shelves/1"}', "-v")
    assert len([json.loads(line) for line in out.splitlines()]) == 3


def test_call_reads_a_stream_from_stdin(config: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b'{"words": "a"}\n\n{"genre": "NOVEL"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    out, _ = out_of(capsys, "call", config, "Recommend")
    assert len(out.splitlines()) == 2


def test_call_takes_several_messages_as_an_argument(config: str, capsys: Captured) -> None:
    book = '{"parent": "shelves/1", "book": {"title": "%s", "authors": [{"name": "x"}]}}'
    out, _ = out_of(capsys, "call", config, "ImportBooks", f"{book % 'a'}\n{book % 'b'}")
    assert json.loads(out)["imported"] == 2


def test_call_names_the_field_that_is_wrong(config: str, capsys: Captured) -> None:
    _, told = out_of(capsys, "call", config, "GetShelf", '{"nme": 1}', code=1)
    assert told == (
        'error: INVALID_ARGUMENT (3): nme: no such field in library.v1.GetShelfRequest; did you mean "name"?\n'
    )


def test_call_keeps_its_deadline(config: str, capsys: Captured) -> None:
    _, told = out_of(capsys, "call", config, "WatchBooks", '{"parent": "shelves/1"}', "--timeout", "100ms", code=1)
    assert told == "error: DEADLINE_EXCEEDED (4): the deadline passed\n"


def test_call_knows_no_such_method(config: str, capsys: Captured) -> None:
    _, told = out_of(capsys, "call", config, "Library/GetShelff", "{}", code=1)
    assert told == 'error: Library/GetShelff: no such method; did you mean "Library/GetShelf"?\n'


def test_call_refuses_metadata_that_is_none(config: str, capsys: Captured) -> None:
    assert out_of(capsys, "call", config, "GetShelf", "{}", "-H", "x", code=2)[1].startswith("error: -H")


# --- init, print-schema ---


def test_init_writes_what_check_accepts(library: int, config: str, capsys: Captured) -> None:
    out, _ = out_of(capsys, "init", "new.yaml", "--grpc", f"127.0.0.1:{library}")
    assert out.startswith("wrote new.yaml\n")
    text = Path("new.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert "#   library.v1.Library/GetShelf: GET /v1/{name=shelves/*}" in text
    assert Path(text.splitlines()[0].partition("$schema=")[2]).is_file()
    out_of(capsys, "check", "new.yaml", "--connect")
    assert list(load("new.yaml", KINDS).upstreams) == ["library"]


def test_what_init_comments_out_is_right_when_uncommented(library: int, config: str, capsys: Captured) -> None:
    out_of(capsys, "init", "new.yaml", "--grpc", f"127.0.0.1:{library}")
    lines = Path("new.yaml").read_text().splitlines()
    kept = [line.removeprefix("# ") if line.startswith("# ") and ":" in line else line for line in lines[2:]]
    Path("new.yaml").write_text("\n".join(line.removeprefix("#") for line in kept) + "\n")
    out_of(capsys, "check", "new.yaml", "--connect")
    assert load("new.yaml", KINDS).use == ("browsers",)


def test_init_overwrites_only_when_told(config: str, capsys: Captured) -> None:
    _, told = out_of(capsys, "init", config, code=1)
    assert told == "error: gateway.yaml exists: name another file, or overwrite it with --force\n"
    out_of(capsys, "init", config, "--force")


def test_init_writes_the_file_although_the_service_is_down(config: str, capsys: Captured) -> None:
    _, told = out_of(capsys, "init", "new.yaml", "--grpc", "127.0.0.1:1")
    assert "did not describe itself" in told
    assert load("new.yaml", KINDS)


def test_print_schema_prints_proto_files(config: str, capsys: Captured) -> None:
    out, _ = out_of(capsys, "print-schema", "proto", config)
    assert "rpc GetShelf(GetShelfRequest) returns (Shelf) {" in out
    assert 'get: "/v1/{name=shelves/*}" additional_bindings { get: "/shelf/{name=**}" }' in out
    out_of(capsys, "print-schema", "proto", config, "-o", "protos")
    written = list(Path("protos").rglob("*.proto"))
    assert [path.read_text() for path in written] == [out]


def test_print_schema_prints_the_configs_own(config: str, capsys: Captured) -> None:
    assert json.loads(out_of(capsys, "print-schema", "config")[0])["title"] == "protogw configuration"


# --- serve ---


class Served:
    """`protogw serve` as a process, with what it wrote."""

    def __init__(self, folder: Path, text: str) -> None:
        (folder / "served.yaml").write_text(text)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "protogw", "serve", "served.yaml"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line.decode())
                self._said.notify_all()

    def wait_for(self, words: str) -> None:
        with self._said:
            found = self._said.wait_for(lambda: any(words in line for line in self.lines), 20)
        assert found, self.lines

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Its exit code and what it wrote to stdout."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        out = self.process.stdout.read().decode()
        code = self.process.wait(20)
        self._reader.join(5)
        self.process.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code, out


def fetched(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_serve_offers_logs_and_drains(library: int, tmp_path: Path, capsys: Captured) -> None:
    port, admin = free_port(), free_port()
    text = (
        f"listeners: {{ public: {{ address: 127.0.0.1:{port} }} }}\n"
        f"upstreams: {{ library: {{ grpc: [127.0.0.1:{library}] }} }}\n"
        f"admin: 127.0.0.1:{admin}\naccess_log: {{ format: json, path: access.log }}\n"
    )
    served = Served(tmp_path, text)
    try:
        served.wait_for("offers library.v1.Library")
        assert fetched(port, "/v1/shelves/1") == (200, b'{"name":"shelves/1","theme":"Novels"}')
        assert fetched(admin, "/healthz") == (200, b"ok\n")
        assert json.loads(fetched(admin, "/readyz")[1])["ready"] is True
        assert json.loads(fetched(admin, "/upstreams")[1])["library"]["reachable"] is True
        assert "GetShelf" in json.loads(fetched(admin, "/catalog")[1])["library.v1.Library"]
        assert json.loads(fetched(admin, "/listeners")[1])["public"]["port"] == port
        assert out_of(capsys, "healthcheck", f"127.0.0.1:{admin}") == ("ready\n", "")
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        served.process.send_signal(signal.SIGUSR1)
        # A stream that is under way when it is told to stop is finished, and no new connection is taken.
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            target = "/v1/shelves/1/books:stream?repeat=2&interval_ms=50"
            stream.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n\r\n".encode())
            reply = stream.recv(65536)
            served.process.send_signal(signal.SIGTERM)
            while piece := stream.recv(65536):
                reply += piece
        assert reply.count(b'"title"') >= 6
        assert reply.endswith(b"0\r\n\r\n")
        code, _ = served.end()
        assert code == 0
    finally:
        served.process.kill()
        served.process.wait()
    assert any("stopping: calls in flight have 30 s" in line for line in served.lines)
    lines = [
        json.loads(line)
        for name in ("access.log.1", "access.log")
        if (tmp_path / name).exists()
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert [line["method"] for line in lines] == ["library.v1.Library/GetShelf", "library.v1.Library/StreamBooks"]
    assert all(line["code"] == "OK" for line in lines)
    assert not any("Traceback" in line for line in served.lines)


def test_a_second_signal_ends_it_at_once(library: int, tmp_path: Path) -> None:
    port = free_port()
    served = Served(
        tmp_path,
        f"listeners: {{ public: {{ address: 127.0.0.1:{port} }} }}\n"
        f"upstreams: {{ library: {{ grpc: [127.0.0.1:{library}] }} }}\nadmin: off\naccess_log: off\n",
    )
    try:
        served.wait_for("offers library.v1.Library")
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            stream.sendall(b"GET /v1/shelves/1/books:watch HTTP/1.1\r\nhost: x\r\n\r\n")
            assert stream.recv(65536).startswith(b"HTTP/1.1 200")
            served.process.send_signal(signal.SIGINT)
            served.wait_for("stopping")
            code, _ = served.end(signal.SIGINT)
        assert code == 0
    finally:
        served.process.kill()
        served.process.wait()
    assert any("stopped before every call had finished" in line for line in served.lines)
    assert not any("Traceback" in line for line in served.lines)


@pytest.mark.parametrize("which", ["listener", "admin"])
def test_a_port_in_use_is_told_in_one_line(which: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address, admin = (f"127.0.0.1:{port}", "off") if which == "listener" else ("127.0.0.1:0", f"127.0.0.1:{port}")
        served = Served(
            tmp_path,
            f"listeners: {{ public: {{ address: {address} }} }}\nupstreams: {{ a: {{ http: [127.0.0.1:1] }} }}\n"
            f"admin: {admin}\n",
        )
        code, out = served.end()
    who = "listener public" if which == "listener" else "admin"
    assert (code, out) == (1, "")
    assert served.lines == [f"error: {who}: cannot listen on 127.0.0.1:{port}: Address already in use\n"]


def test_healthcheck_fails_when_nothing_answers(capsys: Captured) -> None:
    assert out_of(capsys, "healthcheck", f"127.0.0.1:{free_port()}", code=1)[1].startswith("error: 127.0.0.1")


# --- demo ---


def test_every_line_that_demo_prints_works(tmp_path: Path) -> None:
    """The curl lines, run as a user would paste them; the others need programs that may not be there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "protogw", "demo", "--port", str(free_port())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            if "Stop: Ctrl-C" in line:
                break
            lines.append(line.strip())
        asked = [line for line in lines if "curl " in line and not line.startswith(("grpcurl", "("))]
        assert len(asked) == 11
        for line in asked:
            done = subprocess.run(
                ["sh", "-c", line.replace("interval_ms=500", "interval_ms=1")],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert done.returncode == 0, line
            # The GraphQL lines ask for no more than they show.
            wanted = "shelves/" if "/graphql" not in line else "Novels" if "getShelf" in line else "Middlemarch"
            assert wanted in done.stdout, (line, done.stdout)
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == 0
        process.stdout.close()
