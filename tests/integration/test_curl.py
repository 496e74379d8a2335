"""curl against the sample library: both versions of HTTP, clear and TLS, and what a command line shows of REST."""

from __future__ import annotations

import datetime
import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.backend import Backend
from tests.support.gateway import config_of, gateway
from tests.support.processes import require_tool, run

JSON = ("-H", "content-type: application/json")
VERSIONS = ["--http1.1", "--http2-prior-knowledge"]


class Curl:
    """curl with some arguments always there."""

    def __init__(self, port: int, *always: str, scheme: str = "http") -> None:
        self._argv = [require_tool("curl"), "-sS", "--max-time", "20", *always]
        self._base = f"{scheme}://127.0.0.1:{port}"

    def text(self, path: str, *arguments: str, stdin: bytes = b"") -> str:
        return run([*self._argv, *arguments, self._base + path], stdin=stdin).decode()

    def json(self, path: str, *arguments: str, stdin: bytes = b"") -> Any:
        return json.loads(self.text(path, *arguments, stdin=stdin))

    def status(self, path: str, *arguments: str) -> tuple[int, Any]:
        """The status and the JSON body."""
        body, _, status = self.text(path, "-w", "\n%{http_code}", *arguments).rpartition("\n")
        return int(status), json.loads(body)


@pytest.fixture(params=VERSIONS)
def curl(request: pytest.FixtureRequest, port: int) -> Curl:
    return Curl(port, request.param)


def test_the_version_asked_for_is_the_version_spoken(port: int) -> None:
    for version, spoken in zip(VERSIONS, ("1.1", "2"), strict=True):
        assert Curl(port, version).text("/v1/shelves", "-o", "/dev/null", "-w", "%{http_version}") == spoken


def test_get_with_paging_and_a_nested_filter(curl: Curl) -> None:
    query = "?pageSize=10&filter.genres=NOVEL&filter.published_after=1900-01-01T00:00:00Z"
    assert [book["title"] for book in curl.json(f"/v1/shelves/1/books{query}")["books"]] == ["Der Prozess"]
    assert curl.json("/v1/isbn/9780141439549")["isbn"] == "9780141439549"
    assert curl.json("/v1/genres") == ["NOVEL", "POETRY", "SCIENCE"]


def test_create_patch_move_delete(curl: Curl) -> None:
    made = curl.json("/v1/shelves/2/books", *JSON, "-d", '{"title": "Opticks", "pages": 300, "genre": "SCIENCE"}')
    try:
        changed = curl.json(f"/v1/{made['name']}", "-X", "PATCH", *JSON, "-d", '{"pages": 301}')
        assert (changed["title"], changed["pages"]) == ("Opticks", 301)
        assert changed["genre"] == "SCIENCE"
        made = curl.json(f"/v1/{made['name']}:move", *JSON, "-d", '{"to": "shelves/1"}')
        assert made["name"].startswith("shelves/1/")
    finally:
        assert curl.text(f"/v1/{made['name']}", "-X", "DELETE").strip() in ("", "{}")


def test_an_upload_and_its_download_keep_bytes_and_type(curl: Curl, tmp_path: Path) -> None:
    picture = bytes(range(256)) * 1000
    (tmp_path / "cover").write_bytes(picture)
    path = "/v1/shelves/2/books/1/cover"
    curl.json(path, "-X", "PUT", "-H", "content-type: image/x-test", "--data-binary", f"@{tmp_path / 'cover'}")
    kind = curl.text(path, "-o", str(tmp_path / "back"), "-w", "%{content_type}")
    assert (kind, (tmp_path / "back").read_bytes()) == ("image/x-test", picture)


def test_a_server_stream_in_each_framing(curl: Curl) -> None:
    path = "/v1/shelves/2/books:stream?repeat=2"
    assert len(curl.json(path)) == 4
    lines = curl.text(path, "-H", "accept: application/x-ndjson").splitlines()
    assert [json.loads(line)["title"] for line in lines][:2] == ["On the Origin of Species", "Notes by the Translator"]
    events = curl.text(path, "-H", "accept: text/event-stream")
    assert events.count("data:") >= 4


def test_a_client_stream_from_lines_and_from_an_array(curl: Curl) -> None:
    books = [{"parent": "shelves/2", "book": {"title": f"No. {number}"}} for number in range(3)]
    lines = "\n".join(map(json.dumps, books))
    for body, kind in ((lines, "application/x-ndjson"), (json.dumps(books), "application/json")):
        made = curl.json("/v1/books:import", "-H", f"content-type: {kind}", "-d", body)
        assert made["imported"] == 3
        for name in made["names"]:
            curl.text(f"/v1/{name}", "-X", "DELETE")


def test_errors_say_what_was_wrong(curl: Curl) -> None:
    status, error = curl.status("/v1/shelves/1/books/99")
    assert (status, error["code"]) == (404, 5)
    assert error["details"][0]["resourceName"] == "shelves/1/books/99"
    status, error = curl.status("/v1/shelves/1/books", *JSON, "-d", '{"title": 5}')
    assert (status, error["code"]) == (400, 3)
    assert "title" in error["message"]
    status, error = curl.status("/v1/shelves/1/books?page_size=many")
    assert (status, error["code"]) == (400, 3)
    assert "page_size" in error["message"]
    status, error = curl.status("/v1/shelves/1/books?colour=red")
    assert status == 400
    assert "colour" in error["message"]
    status, error = curl.status("/v1/nowhere")
    assert (status, error["code"]) == (404, 5)


def test_another_verb_is_told_which_are_allowed(curl: Curl) -> None:
    shown = curl.text("/v1/shelves/1", "-X", "PUT", "-i").lower()
    assert " 405" in shown.splitlines()[0]
    assert "allow:" in shown


def test_head_has_the_fields_of_get_and_no_body(curl: Curl) -> None:
    shown = curl.text("/v1/shelves/1", "-I").lower()
    assert " 200" in shown.splitlines()[0]
    assert "content-type: application/json" in shown


def test_a_reply_is_compressed_when_asked_for(curl: Curl) -> None:
    shown = curl.text("/v1/books", "-H", "accept-encoding: gzip", "-i", "--compressed").lower()
    assert "middlemarch" in shown
    assert "content-encoding: gzip" in shown


def test_connect_from_the_command_line(curl: Curl) -> None:
    fields = (*JSON, "-H", "connect-protocol-version: 1")
    assert curl.json("/library.v1.Library/GetShelf", *fields, "-d", '{"name": "shelves/1"}')["theme"] == "Novels"
    status, error = curl.status("/library.v1.Library/GetShelf", *fields, "-d", '{"name": "shelves/9"}')
    assert (status, error["code"]) == (404, "not_found")


def test_expect_100_continue(port: int) -> None:
    body = json.dumps({"title": "x" * 5000})
    made = Curl(port, "--http1.1").json("/v1/shelves/2/books", *JSON, "-H", "expect: 100-continue", "-d", body)
    assert len(made["title"]) == 5000
    Curl(port).text(f"/v1/{made['name']}", "-X", "DELETE")


def test_the_cleartext_upgrade_is_not_taken_but_the_request_is_served(port: int) -> None:
    answer = Curl(port, "--http2").text("/v1/shelves/1", "-w", " %{http_version}")
    assert "Novels" in answer
    assert answer.endswith(" 1.1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with server.pem and server.key for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture(scope="module")
def secure_port(certificate: Path, shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    tls = {"cert": str(certificate / "server.pem"), "key": str(certificate / "server.key")}
    upstreams = {"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"]}}
    with gateway(config_of(upstreams, listener={"tls": tls}), tmp_path_factory.mktemp("secure")) as made:
        made.wait_for("kit.v1.Echo")
        yield made.port


@pytest.mark.parametrize(("version", "spoken"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_tls_with_the_version_by_alpn(secure_port: int, certificate: Path, version: str, spoken: str) -> None:
    curl = Curl(secure_port, version, "--cacert", str(certificate / "server.pem"), scheme="https")
    answer = curl.text("/v1/look/hello", "-w", " %{http_version}")
    assert answer.endswith(f" {spoken}")
    assert json.loads(answer.rpartition(" ")[0])["text"] == "hello"


def test_clear_text_on_a_tls_port_harms_nobody(secure_port: int, certificate: Path) -> None:
    argv = [require_tool("curl"), "-sS", "--max-time", "5", f"http://127.0.0.1:{secure_port}/v1/look/x"]
    assert subprocess.run(argv, capture_output=True, timeout=20).returncode != 0
    curl = Curl(secure_port, "--cacert", str(certificate / "server.pem"), scheme="https")
    assert curl.json("/v1/look/hello")["text"] == "hello"
