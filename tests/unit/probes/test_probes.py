"""Probes against services nobody here wrote, and against ones that answer badly."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protogw.errors import GatewayError, Unreachable
from protogw.net.http1_client import Http1Connector
from protogw.net.http2_client import Http2Connector
from protogw.net.limits import Limits
from protogw.pools.endpoint import Endpoint
from protogw.pools.health import _Asked
from protogw.probes import PROBES
from protogw.probes.base import Probe, ProbeSettings
from protogw.probes.grpc import GrpcProbe, GrpcProbeSettings
from protogw.probes.http import HttpProbe, HttpProbeSettings
from protogw.probes.tcp import TcpProbe
from tests.support.scripted import Server


def endpoint(port: int, *, http2: bool) -> Endpoint:
    connector = (Http2Connector if http2 else Http1Connector)(Limits())
    return Endpoint(
        "127.0.0.1", port, connector, max_connections=2, shared=http2, on_reach=lambda endpoint, reached: None
    )


@pytest.fixture
async def at() -> AsyncIterator[Callable[..., Endpoint]]:
    made: list[Endpoint] = []

    def make(port: int, *, http2: bool) -> Endpoint:
        made.append(endpoint(port, http2=http2))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def grpcio() -> Iterator[tuple[int, health.HealthServicer]]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, servicer
    server.stop(None).wait()


async def test_a_grpcio_servers_health_is_believed(
    grpcio: tuple[int, health.HealthServicer], at: Callable[..., Endpoint]
) -> None:
    port, servicer = grpcio
    asked = _Asked(at(port, http2=True))
    whole = GrpcProbe(GrpcProbeSettings(), "127.0.0.1", "http")
    one = GrpcProbe(GrpcProbeSettings(service="shop.v1.Catalog"), "127.0.0.1", "http")
    serving = health_pb2.HealthCheckResponse
    servicer.set("", serving.SERVING)
    assert await whole.ask(asked) == ""
    assert (await one.ask(asked)).startswith("NOT_FOUND")
    servicer.set("shop.v1.Catalog", serving.NOT_SERVING)
    assert await one.ask(asked) == "NOT_SERVING"
    servicer.set("shop.v1.Catalog", serving.SERVING)
    assert await one.ask(asked) == ""


async def test_a_server_that_knows_no_health_counts_as_well(at: Callable[..., Endpoint]) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert await GrpcProbe(GrpcProbeSettings(), "127.0.0.1", "http").ask(_Asked(at(port, http2=True))) == ""
    server.stop(None).wait()


def answering(answer: bytes, seen: list[bytes]) -> Server:
    def script(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            seen.append(data)
            connection.sendall(answer)

    return Server(script)


@pytest.mark.parametrize(
    ("status", "said"),
    [(b"200 OK", ""), (b"204 No Content", ""), (b"503 Busy", "status 503"), (b"302 Found", "status 302")],
)
async def test_the_status_of_a_get_is_believed(status: bytes, said: str, at: Callable[..., Endpoint]) -> None:
    seen: list[bytes] = []
    length = b"" if status.startswith(b"204") else b"content-length: 0\r\n"
    with answering(b"HTTP/1.1 %b\r\n%b\r\n" % (status, length), seen) as server:
        probe = HttpProbe(HttpProbeSettings(path="/healthz?deep=1"), "svc.example", "http")
        assert await probe.ask(_Asked(at(server.port, http2=False))) == said
    assert seen[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\nhost: svc.example\r\n")


@pytest.mark.parametrize("answer", [b"220 mail.example\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"])
async def test_what_is_no_answer_is_an_error(answer: bytes, at: Callable[..., Endpoint]) -> None:
    with answering(answer, []) as server:
        asked = _Asked(at(server.port, http2=False))
        with pytest.raises(GatewayError):
            await HttpProbe(HttpProbeSettings(), "svc.example", "http").ask(asked)


async def test_a_port_that_takes_connections_is_well_and_one_that_does_not_is_not(at: Callable[..., Endpoint]) -> None:
    probe = TcpProbe(ProbeSettings(), "svc", "http")
    with answering(b"", []) as server:
        assert await probe.ask(_Asked(at(server.port, http2=False))) == ""
    with pytest.raises(Unreachable):
        await probe.ask(_Asked(at(server.port, http2=False)))


@pytest.mark.parametrize("kind", PROBES)
async def test_every_probe_says_that_an_endpoint_is_gone(kind: str, at: Callable[..., Endpoint]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        part = PROBES[kind]
        probe: Probe = part(part.Settings(), "svc", "http")
        with pytest.raises(Unreachable):
            await probe.ask(_Asked(at(held.getsockname()[1], http2="http/2" in part.transports)))
