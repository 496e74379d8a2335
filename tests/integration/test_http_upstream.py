"""Plain HTTP through the running gateway: a raw client before it, a raw and often broken service behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.gateway import Running, config_of, gateway

LIMIT = 64 << 10
PIECE = b"x" * 8192


class Backend:
    """Reads a request's head and whole body, and answers with the bytes that stand under its last path segment."""

    OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: 1\r\n"

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="raw backend")]
        self._threads[0].start()
        self._open: list[socket.socket] = []

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while self._answer(connection, reader):
                    pass
            except (OSError, ValueError):
                pass

    def _answer(self, connection: socket.socket, reader: object) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()  # type: ignore[attr-defined]
            if not line:
                return False
            head += line
        body = b""
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name == b"content-length":
                body = reader.read(int(value))  # type: ignore[attr-defined]
            elif name == b"transfer-encoding":
                while size := int(reader.readline(), 16):  # type: ignore[attr-defined]
                    body += reader.read(size)  # type: ignore[attr-defined]
                    reader.readline()  # type: ignore[attr-defined]
                reader.readline()  # type: ignore[attr-defined]
        self.requests.append((head, body))
        name = head.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2].decode()
        return getattr(self, name, self.fine)(connection) is not False

    def fine(self, connection: socket.socket) -> None:
        head, _ = self.requests[-1]
        connection.sendall(self.OK + b"content-length: 2\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"ok"))

    def chunked(self, connection: socket.socket) -> None:
        connection.sendall(self.OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        connection.sendall(b"1\r\nc\r\n0\r\nx-t: 1\r\n\r\n")

    def unmodified(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 304 Not Modified\r\netag: e\r\ncontent-length: 5\r\n\r\n")

    def interim(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        self.fine(connection)

    def until_close(self, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nab")
        return False

    def closes(self, connection: socket.socket) -> bool:
        return False

    def switches(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")

    def garbage(self, connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")

    def two_lengths(self, connection: socket.socket) -> None:
        connection.sendall(self.OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nok")

    def cut_length(self, connection: socket.socket) -> bool:
        connection.sendall(self.OK + b"content-length: 10\r\n\r\nab")
        return False

    def cut_chunks(self, connection: socket.socket) -> bool:
        connection.sendall(self.OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab")
        return False

    def overrun(self, connection: socket.socket) -> None:
        connection.sendall(self.OK + b"content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad")


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def front(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = config_of(
        {"raw": {"http": f"127.0.0.1:{backend.port}"}, "down": {"http": "127.0.0.1:1"}},
        listener={"limits": {"body": LIMIT}},
        routes=[
            {"match": {"path": "/raw/**", "method": ["GET", "HEAD", "POST"]}, "to": "raw"},
            {"match": {"path": "/moved/{name}"}, "to": "raw", "rewrite": {"path": "/inner/{name}", "host": "inner"}},
            {"match": {"path": "/down/**"}, "to": "down"},
        ],
    )
    with gateway(config, tmp_path_factory.mktemp("http")) as made:
        yield made


def ask(front: Running, request: str, body: bytes = b"") -> bytes:
    """All that comes back for one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", front.port), 10) as client:
        head = request.replace("\n", "\r\n") + "\r\nhost: gw.test\r\nconnection: close\r\n\r\n"
        client.sendall(head.encode() + body)
        answer = b""
        while data := client.recv(65536):
            answer += data
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_request_and_its_reply_pass_as_they_are(front: Running, backend: Backend) -> None:
    answer = ask(front, "POST /raw/fine?a=%20b HTTP/1.1\nx-b: 1\nX-A: 2\ncontent-length: 4", b"body")
    head, body = backend.requests[-1]
    assert head.split(b"\r\n")[:4] == [b"POST /raw/fine?a=%20b HTTP/1.1", b"host: gw.test", b"x-b: 1", b"x-a: 2"]
    assert (body, status(answer)) == (b"body", 200)
    assert answer.endswith(b"\r\n\r\nok")
    assert b"x-a: 1\r\n" in answer


def test_a_body_in_chunks_stays_one(front: Running, backend: Backend) -> None:
    ask(front, "POST /raw/fine HTTP/1.1\ntransfer-encoding: chunked", b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert backend.requests[-1][1] == b"abc"


def test_a_large_body_is_streamed(front: Running, backend: Backend) -> None:
    answer = ask(front, f"POST /raw/fine HTTP/1.1\ncontent-length: {LIMIT}", b"x" * LIMIT)
    assert (status(answer), backend.requests[-1][1]) == (200, b"x" * LIMIT)


def test_a_body_over_the_limit_is_refused(front: Running, backend: Backend) -> None:
    count = len(backend.requests)
    assert status(ask(front, f"POST /raw/fine HTTP/1.1\ncontent-length: {LIMIT + 1}")) == 413
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) for _ in range(9)) + b"0\r\n\r\n"
    assert status(ask(front, "POST /raw/fine HTTP/1.1\ntransfer-encoding: chunked", chunks)) == 413
    assert len(backend.requests) == count


def test_an_upgrade_to_another_http_goes_as_plain_http(front: Running, backend: Backend) -> None:
    with socket.create_connection(("127.0.0.1", front.port), 10) as client:
        client.sendall(b"GET /raw/fine HTTP/1.1\r\nhost: gw.test\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert b"upgrade" not in backend.requests[-1][0].lower()


@pytest.mark.parametrize(
    ("name", "code", "end"),
    [
        ("chunked", 200, b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        ("unmodified", 304, b"\r\n\r\n"),
        ("interim", 200, b"\r\n\r\nok"),
        ("until_close", 200, b"0\r\n\r\n"),
        ("overrun", 200, b"\r\n\r\nok"),
    ],
)
def test_good_replies_of_every_framing_pass(front: Running, name: str, code: int, end: bytes) -> None:
    answer = ask(front, f"GET /raw/{name} HTTP/1.1")
    if name != "chunked":
        assert (status(answer), answer.endswith(end)) == (code, True)
    else:
        pieces = answer.split(b"\r\n\r\n", 1)[1]
        assert pieces in (end.removeprefix(b"\r\n\r\n"), b"3\r\nabc\r\n0\r\n\r\n")


def test_a_head_reply_tells_the_length_and_sends_nothing(front: Running) -> None:
    answer = ask(front, "HEAD /raw/fine HTTP/1.1")
    assert b"content-length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("name", ["closes", "switches", "garbage", "two_lengths"])
def test_a_reply_that_is_none_is_a_bad_gateway(front: Running, name: str) -> None:
    assert status(ask(front, f"GET /raw/{name} HTTP/1.1")) == 502
    assert status(ask(front, "GET /raw/fine HTTP/1.1")) == 200


@pytest.mark.parametrize("name", ["cut_length", "cut_chunks"])
def test_a_reply_that_is_cut_is_never_whole(front: Running, name: str) -> None:
    answer = ask(front, f"GET /raw/{name} HTTP/1.1")
    assert status(answer) in (200, 502)
    if status(answer) == 200:
        assert not answer.endswith(b"0\r\n\r\n")
        assert len(answer.split(b"\r\n\r\n", 1)[1]) < 10


def test_nothing_of_one_reply_gets_into_the_next(front: Running) -> None:
    for _ in range(5):
        assert ask(front, "GET /raw/overrun HTTP/1.1").endswith(b"\r\n\r\nok")
        assert b"bad" not in ask(front, "GET /raw/fine HTTP/1.1")


def test_what_has_no_route_is_not_found_and_other_verbs_are_told(front: Running) -> None:
    assert status(ask(front, "GET /elsewhere HTTP/1.1")) == 404
    answer = ask(front, "DELETE /raw/fine HTTP/1.1")
    assert status(answer) == 405
    assert b"allow: GET, HEAD, POST\r\n" in answer


def test_a_service_that_is_down_is_unavailable(front: Running) -> None:
    assert status(ask(front, "GET /down/x HTTP/1.1")) == 503


def test_a_route_may_rewrite_path_and_host(front: Running, backend: Backend) -> None:
    assert status(ask(front, "GET /moved/fine?q HTTP/1.1")) == 200
    lines = backend.requests[-1][0].split(b"\r\n")
    assert lines[:2] == [b"GET /inner/fine?q HTTP/1.1", b"host: inner"]
    assert b"x-forwarded-host: gw.test" in lines


def test_a_kept_connection_is_used_again(front: Running, backend: Backend) -> None:
    ask(front, "GET /raw/fine HTTP/1.1")
    before = backend.connections
    for _ in range(5):
        ask(front, "GET /raw/fine HTTP/1.1")
    assert backend.connections == before
