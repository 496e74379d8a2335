"""gRPC services that break every rule: the caller gets a status in its own protocol, soon; the next call is well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import kit
from tests.support.drivers import DRIVERS, Driver, envelope
from tests.support.gateway import Running, config_of, gateway
from tests.support.scripted import GrpcPeer, Server, grpc_server

UNAVAILABLE, INTERNAL, UNKNOWN, UNIMPLEMENTED, EXHAUSTED, CANCELLED = 14, 13, 2, 12, 8, 1
GOOD = envelope(0, kit.message("good").SerializeToString())
OK = ("grpc-status", "0")

Answer = Callable[[GrpcPeer, int], object]


def whole(peer: GrpcPeer, stream: int, body: bytes, *trailers: tuple[str, str]) -> None:
    peer.head(stream)
    if body:
        peer.data(stream, body)
    peer.trailers(stream, *trailers)


def no_head(peer: GrpcPeer, stream: int) -> bool:
    return False


def head_then_gone(peer: GrpcPeer, stream: int) -> bool:
    peer.head(stream)
    return False


def half_a_message(peer: GrpcPeer, stream: int) -> bool:
    peer.head(stream)
    peer.data(stream, GOOD[:7])
    return False


def gone_before_the_trailers(peer: GrpcPeer, stream: int) -> bool:
    peer.head(stream)
    peer.data(stream, GOOD)
    return False


def ended_without_trailers(peer: GrpcPeer, stream: int) -> None:
    peer.head(stream)
    peer.data(stream, GOOD, end=True)


def reset(code: int) -> Answer:
    def answer(peer: GrpcPeer, stream: int) -> None:
        peer.head(stream)
        peer.h2.reset_stream(stream, code)
        peer.flush()

    return answer


def rubbish(peer: GrpcPeer, stream: int) -> bool:
    peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\nwhat is this")
    return False


def a_frame_too_large(peer: GrpcPeer, stream: int) -> None:
    peer.raw((1 << 20).to_bytes(3, "big") + b"\0\0" + stream.to_bytes(4, "big") + bytes(1 << 20))


def data_before_head(peer: GrpcPeer, stream: int) -> None:
    peer.raw((5).to_bytes(3, "big") + b"\0\0" + stream.to_bytes(4, "big") + b"hello")


FAULTS: dict[str, tuple[Answer, set[int]]] = {
    "gone before the head": (no_head, {UNAVAILABLE}),
    "gone after the head": (head_then_gone, {UNAVAILABLE, INTERNAL}),
    "gone in a message": (half_a_message, {UNAVAILABLE, INTERNAL}),
    "gone before the trailers": (gone_before_the_trailers, {UNAVAILABLE, INTERNAL}),
    "ended without trailers": (ended_without_trailers, {UNKNOWN, INTERNAL}),
    "no grpc-status": (lambda p, s: whole(p, s, GOOD, ("x-other", "1")), {UNKNOWN, INTERNAL}),
    "grpc-status is no number": (lambda p, s: whole(p, s, GOOD, ("grpc-status", "abc")), {UNKNOWN}),
    "grpc-status is unknown": (lambda p, s: whole(p, s, b"", ("grpc-status", "999")), {UNKNOWN}),
    "the length is a lie": (lambda p, s: whole(p, s, b"\0\0\0\0\xff" + b"x", OK), {INTERNAL, UNKNOWN}),
    "the length is huge": (lambda p, s: whole(p, s, b"\0\xff\xff\xff\xff" + b"x", OK), {EXHAUSTED, INTERNAL}),
    "compressed without an encoding": (lambda p, s: whole(p, s, b"\1" + GOOD[1:], OK), {INTERNAL}),
    "an HTML page": (
        lambda p, s: p.head(s, ("content-type", "text/html"), status="200", end=True),
        {UNKNOWN, INTERNAL},
    ),
    "HTTP 503": (lambda p, s: p.head(s, ("content-type", "text/html"), status="503", end=True), {UNAVAILABLE}),
    "HTTP 404": (lambda p, s: p.head(s, ("content-type", "text/html"), status="404", end=True), {UNIMPLEMENTED}),
    # It promises that nothing was done, so a call that nobody has heard of yet may be tried again.
    "REFUSED_STREAM after the head": (reset(7), {0, UNAVAILABLE, INTERNAL}),
    "INTERNAL_ERROR": (reset(2), {INTERNAL, UNAVAILABLE}),
    "ENHANCE_YOUR_CALM": (reset(11), {EXHAUSTED, UNAVAILABLE}),
    "CANCEL": (reset(8), {CANCELLED, UNAVAILABLE}),
    "another protocol": (rubbish, {UNAVAILABLE, INTERNAL}),
    "a frame too large": (a_frame_too_large, {UNAVAILABLE, INTERNAL}),
    "data before the head": (data_before_head, {UNAVAILABLE, INTERNAL}),
}
UNARY_FAULTS: dict[str, tuple[Answer, set[int]]] = {
    "no message": (lambda p, s: whole(p, s, b"", OK), {UNKNOWN, INTERNAL, UNIMPLEMENTED}),
    "two messages": (lambda p, s: whole(p, s, GOOD + GOOD, OK), {UNKNOWN, INTERNAL, UNIMPLEMENTED}),
}


class Service:
    """A service whose next answer is a fault, and whose others are good."""

    def __init__(self) -> None:
        self.fault: Answer | None = None
        self.server: Server = grpc_server(self._answer)

    def _answer(self, peer: GrpcPeer, stream: int) -> object:
        fault, self.fault = self.fault, None
        if fault is not None:
            return fault(peer, stream)
        whole(peer, stream, GOOD, OK)
        return None


@pytest.fixture(scope="module")
def bad() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def before_it(bad: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{bad.server.port}"], "schema": "kit.pb"}
    with gateway(config_of({"kit": upstream}), folder) as made:
        yield made


@pytest.fixture(params=DRIVERS, ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest, before_it: Running) -> Iterator[Driver]:
    made: Driver = request.param(before_it.port)
    yield made
    made.close()


def refused(driver: Driver, bad: Service, method: str, fault: Answer, codes: set[int]) -> None:
    bad.fault = fault
    began = time.monotonic()
    result = driver.call(method, kit.message("x"), timeout=5)
    assert result.code in codes, result
    assert time.monotonic() - began < 3
    assert bad.fault is None
    after = driver.call(method, kit.message("x"), timeout=5)
    assert (after.code, [message.text for message in after.messages]) == (0, ["good"])


@pytest.mark.parametrize("name", [*FAULTS, *UNARY_FAULTS])
def test_a_fault_in_a_unary_reply(driver: Driver, bad: Service, name: str) -> None:
    refused(driver, bad, "Unary", *{**FAULTS, **UNARY_FAULTS}[name])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_stream(driver: Driver, bad: Service, name: str) -> None:
    refused(driver, bad, "Down", *FAULTS[name])


def test_nobody_listens(driver: Driver, bad: Service, tmp_path: Path) -> None:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    gone = grpc_server(lambda peer, stream: False)
    gone.stop()
    with gateway(config_of({"kit": {"grpc": [f"127.0.0.1:{gone.port}"], "schema": "kit.pb"}}), tmp_path) as made:
        one = type(driver)(made.port)
        result = one.call("Unary", kit.message("x"), timeout=5)
        one.close()
    assert result.code == UNAVAILABLE, result
