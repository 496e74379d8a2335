"""WebSocket services that break the protocol or their promise: a status comes soon, and the next call is well."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import feed, kit
from tests.support.drivers import ConnectJson, Driver, Grpc, Rest
from tests.support.gateway import Running, config_of, gateway
from tests.support.raw import Http1
from tests.support.scripted import Server

GOOD = b'{"text":"good"}'
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UNAVAILABLE, INTERNAL, UNKNOWN, EXHAUSTED, DENIED, INVALID = 14, 13, 2, 8, 7, 3
BAD = {UNAVAILABLE, INTERNAL, UNKNOWN}


def frame(data: bytes, first: int = 0x81) -> bytes:
    """A frame of the service's: by default a whole text message."""
    size = len(data)
    head = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")
    return head + data


def closing(code: int, reason: str = "") -> bytes:
    return frame(code.to_bytes(2, "big") + reason.encode(), 0x88)


FAULTS: dict[str, tuple[bytes, set[int]]] = {
    "gone without a word": (b"", BAD),
    "gone in a frame": (frame(GOOD)[:5], BAD),
    "gone in a message": (frame(b'{"text":', 0x01), BAD),
    "a masked frame": (b"\x81\x8f\0\0\0\0" + GOOD, BAD),
    "a reserved bit": (frame(GOOD, 0xA1), BAD),
    "compressed unasked": (frame(GOOD, 0xC1), BAD),
    "an unknown opcode": (frame(GOOD, 0x83), BAD),
    "a continuation of nothing": (frame(GOOD, 0x80), BAD),
    "a message within a message": (frame(b'{"text":', 0x01) + frame(GOOD), BAD),
    "a fragmented ping": (frame(b"", 0x09), BAD),
    "a ping too long": (frame(bytes(126), 0x89), BAD),
    "text that is not UTF-8": (frame(b'{"text":"\xff"}'), BAD),
    "not JSON": (frame(b"hello"), BAD),
    "an empty message": (frame(b""), BAD),
    "a GiB, it says": (b"\x81\x7f" + (1 << 30).to_bytes(8, "big") + bytes(1000), {EXHAUSTED}),
    "more than there is": (b"\x81\x7f" + (1 << 63).to_bytes(8, "big"), BAD),
    "closed without a reply": (closing(1000), BAD),
    "closed without a code": (frame(b"", 0x88), BAD),
    "closed with half a code": (frame(b"\x03", 0x88), BAD),
    "closed with a code that is none": (closing(1005), BAD),
    "closed for policy": (closing(1008, "not you"), {DENIED}),
    "closed as too big": (closing(1009), {EXHAUSTED}),
    "closed for going away": (closing(1001), {UNAVAILABLE}),
    "closed for bad data": (closing(1007, "what?"), {INVALID}),
}
# A JSON client gets a JSON message as it is, if it is JSON: nobody on the way looks at its members.
MESSAGES: dict[str, bytes] = {
    "JSON of another shape": frame(b"[1, 2]"),
    "JSON of another type": frame(b'{"text": {}}'),
}
HARMLESS: dict[str, bytes] = {
    "fragments": frame(GOOD[:3], 0x01) + frame(b"", 0x00) + frame(b"p", 0x89) + frame(GOOD[3:], 0x80),
    "pings first": frame(b"x", 0x89) * 1000 + frame(GOOD),
    "a pong unasked": frame(b"", 0x8A) + frame(GOOD),
    "JSON in a binary frame": frame(GOOD, 0x82),
    "more after the reply": frame(GOOD) + frame(GOOD) * 100,
}
HANDSHAKES: dict[str, tuple[bytes, set[int]]] = {
    "not HTTP": (b"220 mail.example ESMTP\r\n", BAD),
    "nothing": (b"", BAD),
    "another key's answer": (b"101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n", BAD),
    "another protocol": (b"101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n", BAD),
    "an extension unasked": (b"SWITCHsec-websocket-extensions: permessage-deflate\r\n", BAD),
    "a subprotocol unasked": (b"SWITCHsec-websocket-protocol: chat\r\n", BAD),
    "a page": (b"200 OK\r\ncontent-length: 2\r\n", BAD),
    "a redirect": (b"302 Found\r\nlocation: /\r\ncontent-length: 0\r\n", BAD),
    "busy": (b"503 Busy\r\ncontent-length: 0\r\n", {UNAVAILABLE}),
}


SILENCE = b"SILENCE"


class Service:
    """Does `misdeed` to the next connection, by script, after or instead of its handshake; is well to others."""

    def __init__(self) -> None:
        self.handshake: bytes | None = None
        self.misdeed: Callable[[socket.socket], None] | None = None
        self.server = Server(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            key = b""
            while (line := file.readline().strip()) != b"":
                if line.lower().startswith(b"sec-websocket-key:"):
                    key = line[18:].strip()
            if not key:
                return
            switch = (
                b"101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %b\r\n"
                % base64.b64encode(hashlib.sha1(key + GUID).digest())
            )
            answer, self.handshake = self.handshake, None
            if answer == SILENCE:
                reading_on(b"")(connection)
                return
            if answer is not None and not answer.startswith(b"SWITCH"):
                connection.sendall(b"HTTP/1.1 " + answer + b"\r\nok" if answer[:3].isdigit() and answer else answer)
                return
            connection.sendall(b"HTTP/1.1 " + switch + (answer or b"").removeprefix(b"SWITCH") + b"\r\n")
            file.read(1)
            misdeed, self.misdeed = self.misdeed, None
            if misdeed is not None:
                misdeed(connection)
                return
            connection.sendall(frame(GOOD))
            with contextlib.suppress(OSError):
                while file.read1(1 << 16):
                    pass


@pytest.fixture(scope="module")
def bad() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def before_it(bad: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream: dict[str, Any] = {"websocket": [f"ws://127.0.0.1:{bad.server.port}"], "schema": "kit.pb"}
    upstream["websocket_options"] = {"handshake_timeout": "1s"}
    with gateway(config_of({"kit": upstream}, listener={"limits": {"body": 1 << 20}}), folder) as made:
        yield made


@pytest.fixture(params=[Rest, Grpc, ConnectJson], ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest, before_it: Running) -> Iterator[Driver]:
    made: Driver = request.param(before_it.port)
    yield made
    made.close()


def saying(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def reading_on(data: bytes) -> Callable[[socket.socket], None]:
    """Say this, and stay until the gateway leaves."""

    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        with contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                pass

    return script


def well(driver: Driver) -> bool:
    result = driver.call("Unary", kit.message("x"), timeout=5)
    return (result.code, [message.text for message in result.messages]) == (0, ["good"])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_on_the_socket(driver: Driver, bad: Service, name: str) -> None:
    data, codes = FAULTS[name]
    bad.misdeed = saying(data)
    began = time.monotonic()
    result = driver.call("Unary", kit.message("x"), timeout=5)
    assert result.code in codes, result
    assert time.monotonic() - began < 3
    assert well(driver)


@pytest.mark.parametrize("name", MESSAGES)
def test_json_that_is_not_the_message(before_it: Running, bad: Service, name: str) -> None:
    driver = Grpc(before_it.port)
    bad.misdeed = saying(MESSAGES[name])
    assert driver.call("Unary", kit.message("x"), timeout=5).code in BAD
    assert well(driver)
    driver.close()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_unusual_but_right_is_no_fault(driver: Driver, bad: Service, name: str) -> None:
    bad.misdeed = reading_on(HARMLESS[name])
    result = driver.call("Unary", kit.message("x"), timeout=5)
    assert [message.text for message in result.messages] == ["good"], result


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_fault_in_the_handshake(driver: Driver, bad: Service, name: str) -> None:
    bad.handshake, codes = HANDSHAKES[name]
    began = time.monotonic()
    result = driver.call("Unary", kit.message("x"), timeout=5)
    assert result.code in codes, result
    assert time.monotonic() - began < 3
    assert well(driver)


def test_a_field_that_the_schema_does_not_know_yet_is_no_fault(before_it: Running, bad: Service) -> None:
    driver = Grpc(before_it.port)
    bad.misdeed = reading_on(frame(b'{"text":"good","later":[1,2]}'))
    assert well(driver)
    driver.close()


def test_a_service_that_is_silent_is_given_up(driver: Driver, bad: Service) -> None:
    bad.handshake = SILENCE
    began = time.monotonic()
    assert driver.call("Unary", kit.message("x"), timeout=5).code == UNAVAILABLE
    assert time.monotonic() - began < 3
    bad.misdeed = reading_on(b"")
    assert driver.call("Unary", kit.message("x"), timeout=0.2).code == 4
    assert well(driver)


def test_a_gib_of_fragments_is_never_held(driver: Driver, bad: Service) -> None:
    sent = [0]

    def flood(connection: socket.socket) -> None:
        connection.sendall(frame(b'{"text":"', 0x01))
        piece = frame(b"a" * 60_000, 0x00)
        while sent[0] < 1 << 30:
            connection.sendall(piece)
            sent[0] += len(piece)

    bad.misdeed = flood
    result = driver.call("Unary", kit.message("x"), timeout=20)
    assert result.code == EXHAUSTED, result
    assert sent[0] < 32 << 20
    assert well(driver)


def test_a_client_that_reads_nothing_makes_the_service_wait(before_it: Running, bad: Service) -> None:
    sent = [0]
    stopped = []

    def source(connection: socket.socket) -> None:
        piece = frame(json.dumps({"text": "a" * 50_000}).encode())
        connection.settimeout(1)
        try:
            while sent[0] < 1 << 30:
                connection.sendall(piece)
                sent[0] += len(piece)
        except TimeoutError:
            stopped.append(True)

    bad.misdeed = source
    client = Http1(before_it.port)
    fields = [("content-type", "application/json"), ("accept", "application/x-ndjson")]
    exchange = client.request("POST", "/v1/down", fields, b'{"text":"x"}')
    assert exchange.head() == 200
    bad.server._threads[-1].join(15)
    assert stopped == [True]
    assert sent[0] < 32 << 20
    client.socket.close()


def test_a_shared_socket_that_misbehaves_ends_its_calls_and_no_later_ones(tmp_path: Path) -> None:
    service = Service()
    upstream = {
        "websocket": [f"ws://127.0.0.1:{service.server.port}"],
        "schema": str(feed.PROTO),
        "websocket_options": {"sockets": "shared", "correlation": "id", "path": "/"},
    }
    with gateway(config_of({"feed": upstream}), tmp_path) as running:
        for data in (b"", frame(b"hello"), frame(GOOD)[:4], b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), closing(1011)):
            service.misdeed = saying(frame(b'{"id":"unknown","text":"x"}') * 3 + data)
            client = Http1(running.port)
            fields = [("content-type", "application/json"), ("x-server-timeout", "5")]
            exchange = client.request("POST", f"/{feed.SERVICE}/Ask", fields, b'{"text":"a"}')
            began = time.monotonic()
            assert exchange.head() in (500, 502, 503)
            assert time.monotonic() - began < 3
            client.socket.close()
    service.server.stop()
