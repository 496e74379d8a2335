"""REST services that break HTTP/1.1 or their promise: a status comes soon, and the next call is well."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.drivers import ConnectJson, Driver, Grpc, GrpcWeb, Rest
from tests.support.gateway import Running, config_of, gateway
from tests.support.raw import Cut, Http1
from tests.support.scripted import Server

GOOD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"text":"good"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

UNAVAILABLE, INTERNAL, UNKNOWN, EXHAUSTED = 14, 13, 2, 8
BAD = {UNAVAILABLE, INTERNAL, UNKNOWN}

FAULTS: dict[str, tuple[bytes, set[int]]] = {
    "closed without a word": (b"", BAD),
    "closed in the head": (HEAD, BAD),
    "closed in the body": (HEAD + b'content-length: 15\r\n\r\n{"text"', BAD),
    "closed in a chunk": (HEAD + b'transfer-encoding: chunked\r\n\r\nf\r\n{"text"', BAD),
    "closed before the last chunk": (HEAD + b'transfer-encoding: chunked\r\n\r\nf\r\n{"text":"good"}\r\n', BAD),
    "not HTTP": (b"220 mail.example ESMTP\r\n", BAD),
    "a bad status": (b"HTTP/1.1 2xx OK\r\ncontent-length: 0\r\n\r\n", BAD),
    "HTTP/2 unasked": (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", BAD),
    "two lengths": (HEAD + b'content-length: 15\r\ncontent-length: 16\r\n\r\n{"text":"good"} ', BAD),
    "a length and chunks": (HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", BAD),
    "a length that is none": (HEAD + b"content-length: +2\r\n\r\n{}", BAD),
    "a chunk size that is none": (HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", BAD),
    "an unknown coding": (HEAD + b"transfer-encoding: zip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", BAD),
    "a line end in a value": (HEAD + b"x-a: b\rc\r\ncontent-length: 2\r\n\r\n{}", BAD),
    "a NUL in a value": (HEAD + b"x-a: b\0c\r\ncontent-length: 2\r\n\r\n{}", BAD),
    "a folded field": (HEAD + b"x-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}", BAD),
    "switching protocols unasked": (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        BAD,
    ),
    "a head without an end": (HEAD + b"x-a: " + b"b" * (1 << 20), BAD | {EXHAUSTED}),
    "an HTML page": (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", BAD),
    "an HTML page with 502": (b"HTTP/1.1 502 Bad\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", BAD),
    "a redirect": (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", BAD),
    "compressed, it says": (HEAD + b"content-encoding: gzip\r\ncontent-length: 15\r\n\r\n" + b'{"text":"good"}', BAD),
}
# A JSON client gets a JSON body as it is: nobody on the way reads it.
MESSAGES: dict[str, tuple[bytes, set[int]]] = {
    "not JSON": (HEAD + b'content-length: 8\r\n\r\n{"text":', BAD),
    "JSON of another shape": (HEAD + b"content-length: 6\r\n\r\n[1, 2]", BAD),
    "JSON of another type": (HEAD + b'content-length: 12\r\n\r\n{"text": {}}', BAD),
}
HARMLESS: dict[str, bytes] = {
    "early hints first": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + GOOD,
    "a continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
    "bytes after the end": GOOD + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    "until the connection closes": HEAD + b'connection: close\r\n\r\n{"text":"good"}',
}

WHOLE = {HARMLESS["early hints first"], HARMLESS["a continue first"]} | {
    FAULTS[name][0] for name in ("an HTML page", "an HTML page with 502", "a redirect", "compressed, it says")
}


class Service:
    """Answers the next request with `fault`, and closes unless that is a whole answer; others well.

    Closing behind a whole answer would be another fault: the next request may meet the closing connection.
    """

    def __init__(self) -> None:
        self.fault: bytes | None = None
        self.server = Server(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            while file.readline():
                length = 0
                while (line := file.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line[15:])
                file.read(length)
                fault, self.fault = self.fault, None
                connection.sendall(GOOD if fault is None else fault)
                if fault is not None and fault not in WHOLE:
                    return


@pytest.fixture(scope="module")
def bad() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def before_it(bad: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    address = f"127.0.0.1:{bad.server.port}"
    upstreams = {"kit": {"rest": [address], "schema": "kit.pb"}, "raw": {"http": [address]}}
    routes = [{"match": {"path": "/raw/**"}, "to": "raw"}]
    with gateway(config_of(upstreams, routes=routes), folder) as made:
        yield made


@pytest.fixture(params=[Rest, Grpc, GrpcWeb, ConnectJson], ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest, before_it: Running) -> Iterator[Driver]:
    made: Driver = request.param(before_it.port)
    yield made
    made.close()


def well(driver: Driver) -> bool:
    result = driver.call("Unary", kit.message("x"), timeout=5)
    return (result.code, [message.text for message in result.messages]) == (0, ["good"])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_rest_reply(driver: Driver, bad: Service, name: str) -> None:
    bad.fault, codes = FAULTS[name]
    began = time.monotonic()
    result = driver.call("Unary", kit.message("x"), timeout=5)
    assert result.code in codes, result
    assert time.monotonic() - began < 3
    assert bad.fault is None
    assert well(driver)


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("kind", [Grpc, GrpcWeb], ids=lambda kind: kind.name)
def test_json_that_is_not_the_message(before_it: Running, bad: Service, kind: type[Driver], name: str) -> None:
    driver = kind(before_it.port)
    bad.fault, codes = MESSAGES[name]
    assert driver.call("Unary", kit.message("x"), timeout=5).code in codes
    assert well(driver)
    driver.close()


def test_a_field_that_the_schema_does_not_know_yet_is_no_fault(before_it: Running, bad: Service) -> None:
    driver = Grpc(before_it.port)
    bad.fault = HEAD + b'content-length: 29\r\n\r\n{"text":"good","later":[1,2]}'
    assert well(driver)
    driver.close()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_odd_but_allowed(driver: Driver, bad: Service, name: str) -> None:
    bad.fault = HARMLESS[name]
    assert well(driver)
    assert well(driver)


OF_REST = {"an HTML page", "an HTML page with 502", "a redirect", "compressed, it says"}
"""Faults that a plain proxy passes on as they are."""


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in OF_REST])
def test_a_fault_behind_the_plain_proxy_is_never_a_whole_answer(before_it: Running, bad: Service, name: str) -> None:
    bad.fault = FAULTS[name][0]
    client = Http1(before_it.port).request("GET", "/raw/x")
    try:
        status = client.head()
        client.body()
        whole = True
    except (Cut, ConnectionResetError):
        whole = False
    client.close()
    assert not whole or status in (502, 503, 504)
    client = Http1(before_it.port).request("GET", "/raw/x")
    assert (client.head(), client.body()) == (200, b'{"text":"good"}')
    client.close()
