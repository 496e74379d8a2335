"""WebSocket with programs that nobody here wrote: through the gateway to a service, and with our own end of it."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from protogw.net.http1_client import Http1Connector
from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.websocket import SocketClosed, SocketOptions, connected, request_fields
from protogw.wire.websocket import BINARY, Writer
from tests.support.certificates import Authority
from tests.support.echo_socket import Echo
from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import NODE, missing, require_node, until
from tests.support.raw import Http2
from tests.support.transport import settle


class Service:
    """An echo server of the websockets package on a thread; it keeps what it was asked with and how sockets ended."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),))
        self._thread.start()
        assert self._ready.wait(10)

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        async with serve(
            self._echo,
            "127.0.0.1",
            0,
            max_size=1 << 24,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            process_request=self._judge,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if request.path.endswith("/refused"):
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
        return None

    async def _echo(self, wire: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in wire:
                await wire.send(message)
        self.closes.append((wire.close_code, wire.close_reason))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def front(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = config_of(
        {"chat": {"http": [f"127.0.0.1:{service.port}"]}},
        routes=[
            {"match": {"path": "/ws/**"}, "to": "chat", "timeout": "500ms"},
            {"match": {"path": "/few/**"}, "to": "chat", "use": ["few"]},
            {"match": {"path": "/moved/**"}, "to": "chat", "rewrite": {"path": "/inner/{**}", "host": "inner.test"}},
        ],
        policies={"few": {"rate_limit": {"rate": "4/hour", "per": "message", "by": "header.x-user"}}},
    )
    with gateway(config, tmp_path_factory.mktemp("sockets")) as made:
        yield made


@pytest.fixture(scope="module")
def proxied(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = config_of(
        {"chat": {"http": [f"127.0.0.1:{service.port}"], "http_options": {"host": "upstream"}}},
        listener={"trusted_proxies": "127.0.0.0/8"},
        routes=[{"match": {"path": "/**"}, "to": "chat"}],
    )
    with gateway(config, tmp_path_factory.mktemp("proxied")) as made:
        yield made


def url(running: Running, path: str = "/ws/a?token=1") -> str:
    return f"ws://127.0.0.1:{running.port}{path}"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_pass_through_as_they_are(front: Running, service: Service, compression: str | None) -> None:
    async with connect(url(front), compression=compression, subprotocols=["chat"], max_size=1 << 24) as client:  # type: ignore[list-item]
        assert client.subprotocol == "chat"
        assert client.response is not None
        assert ("Sec-WebSocket-Extensions" in client.response.headers) is (compression is not None)
        for size in (0, 1, 125, 126, 65536, 3_000_000):
            await client.send("x" * size)
            assert await client.recv() == "x" * size
            await client.send(b"y" * size)
            assert await client.recv() == b"y" * size
        await (await client.ping())
        count = len(service.closes)
        await client.close(4000, "bye")
    until(lambda: len(service.closes) > count)
    assert service.closes[-1] == (4000, "bye")
    assert service.requests[-1].path == "/ws/a?token=1"


async def test_a_routes_timeout_is_for_the_handshake_only(front: Running) -> None:
    async with connect(url(front)) as client:
        await asyncio.sleep(0.6)  # longer than the route's timeout, which is what is tested
        await client.send("still there")
        assert await client.recv() == "still there"


@pytest.mark.parametrize(
    ("listener", "origin", "status"),
    [
        ({}, "http://127.0.0.1:{port}", 101),
        ({}, None, 101),
        ({}, "https://evil.example", 403),
        ({}, "http://127.0.0.1.evil.example:{port}", 403),
        ({}, "null", 403),
        ({"http": {"origins": ["https://*.app.example"]}}, "https://a.app.example", 101),
        ({"http": {"origins": ["https://*.app.example"]}}, "http://127.0.0.1:{port}", 403),
        ({"http": {"origins": ["*"]}}, "https://evil.example", 101),
    ],
)
async def test_pages_of_other_origins_open_no_socket(
    service: Service, tmp_path: Path, listener: dict[str, Any], origin: str | None, status: int
) -> None:
    upstreams = {"chat": {"http": [f"127.0.0.1:{service.port}"]}}
    config = config_of(upstreams, listener=listener, routes=[{"match": {"path": "/**"}, "to": "chat"}])
    with gateway(config, tmp_path) as made:
        sent = {"cookie": "sid=1"} | ({"origin": origin.format(port=made.port)} if origin is not None else {})
        asked = len(service.requests)
        if status == 101:
            async with connect(url(made), additional_headers=sent):
                assert len(service.requests) == asked + 1
            return
        with pytest.raises(websockets.InvalidStatus) as caught:
            await connect(url(made), additional_headers=sent)
        assert caught.value.response.status_code == status
        assert len(service.requests) == asked


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_of_a_socket_are_limited(front: Running, compression: str | None) -> None:
    user = {"x-user": str(compression)}
    async with connect(url(front, "/few/a"), compression=compression, additional_headers=user) as client:  # type: ignore[arg-type]
        await (await client.ping())
        await client.send(["in ", "pieces"])  # one message of several frames
        assert await client.recv() == "in pieces"
        for text in ("two", "three"):
            await client.send(text)
            assert await client.recv() == text
        await client.send("four, beside the request that opened the socket")
        with pytest.raises(websockets.ConnectionClosedError):
            await client.recv()
    with pytest.raises(websockets.InvalidStatus) as caught:
        await connect(url(front, "/few/a"), additional_headers=user)
    assert caught.value.response.status_code == 429


async def test_a_refusal_of_the_service_is_the_clients_answer(front: Running) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await connect(url(front, "/ws/refused"))
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not you\n"


async def test_path_and_host_are_rewritten_and_claims_replaced(front: Running, service: Service) -> None:
    claims = {"X-Forwarded-For": "203.0.113.1", "X-Real-IP": "203.0.113.1", "Forwarded": "for=203.0.113.1"}
    async with connect(url(front, "/moved/x"), additional_headers=claims):
        headers = service.requests[-1].headers
    assert service.requests[-1].path == "/inner/x"
    assert headers["Host"] == "inner.test"
    assert headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
    assert headers["X-Forwarded-Host"] == f"127.0.0.1:{front.port}"
    assert "X-Real-IP" not in headers
    assert "Forwarded" not in headers


async def test_a_trusted_proxys_claims_are_added_to(proxied: Running, service: Service) -> None:
    claims = {"X-Forwarded-For": "203.0.113.1", "X-Forwarded-Proto": "https"}
    async with connect(url(proxied), additional_headers=claims):
        headers = service.requests[-1].headers
    assert headers["X-Forwarded-For"] == "203.0.113.1, 127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["Host"] == f"127.0.0.1:{service.port}"


async def test_a_service_that_vanishes_breaks_the_socket_off(front: Running, service: Service) -> None:
    async with connect(url(front), close_timeout=1) as client:
        await client.send("x")
        await client.recv()
        front.do(lambda: [one.close() for one in _upstream_connections(front)])
        with pytest.raises(websockets.ConnectionClosedError):
            await client.recv()


def _upstream_connections(running: Running) -> list[Any]:
    return [one for end in running.gateway.pools["chat"].endpoints for one in tuple(end._connections) if one.active]


def test_a_client_that_vanishes_is_gone_at_the_service_too(front: Running, service: Service) -> None:
    count = len(service.closes)
    with socket.create_connection(("127.0.0.1", front.port), 10) as client:
        client.sendall(
            b"GET /ws/a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
    until(lambda: len(service.closes) > count)
    assert service.closes[-1][0] == 1006
    until(lambda: front.do(lambda: not _upstream_connections(front)))


def test_an_extended_connect_of_http_2_reaches_a_service_that_speaks_http_1(front: Running, service: Service) -> None:
    client = Http2(front.port)
    stream = client.switch("/ws/a", "websocket", [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")])
    assert stream.head() == 200
    assert stream.get("sec-websocket-protocol") == "chat"
    assert stream.get("sec-websocket-accept") is None
    stream.send(b"\x81\x82\x00\x00\x00\x00hi")
    pieces = stream.pieces()
    assert next(pieces) == b"\x81\x02hi"
    stream.send(b"\x88\x82\x00\x00\x00\x00\x0f\xa1")
    assert next(pieces) == b"\x88\x02\x0f\xa1"
    stream.send(b"", end=True)
    assert b"".join(pieces) == b""
    until(lambda: service.closes[-1] == (4001, ""))
    client.socket.close()


@pytest.fixture(scope="module")
def secure(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, Running, ssl.SSLContext]]:
    """A gateway that speaks TLS with clients, and one that speaks TLS with it."""
    folder = tmp_path_factory.mktemp("secure")
    authority = Authority(folder, "socket authority")
    pair = authority.issue("gateway", names=["127.0.0.1"])
    outer = config_of(
        {"chat": {"http": [f"127.0.0.1:{service.port}"]}},
        listener={"tls": {"cert": str(pair.cert), "key": str(pair.key)}},
        routes=[{"match": {"path": "/**"}, "to": "chat"}],
    )
    (folder / "outer").mkdir()
    (folder / "inner").mkdir()
    with gateway(outer, folder / "outer") as first:
        inner = config_of(
            {"tls": {"http": [f"https://127.0.0.1:{first.port}"], "tls": {"ca": str(authority.path)}}},
            routes=[{"match": {"path": "/**"}, "to": "tls"}],
        )
        with gateway(inner, folder / "inner") as second:
            yield first, second, ssl.create_default_context(cafile=str(authority.path))


@pytest.mark.parametrize("towards", ["client", "service"])
async def test_sockets_pass_over_tls_with_their_goodbyes(
    secure: tuple[Running, Running, ssl.SSLContext], service: Service, towards: str
) -> None:
    first, second, context = secure
    count = len(service.closes)
    where = f"wss://127.0.0.1:{first.port}/" if towards == "client" else f"ws://127.0.0.1:{second.port}/"
    async with connect(where, ssl=context if towards == "client" else None, max_size=1 << 24) as client:
        for size in (1, 500_000):
            await client.send(b"y" * size)
            assert await client.recv() == b"y" * size
        await client.close(4004, "over")
    assert client.close_code == 4004
    until(lambda: len(service.closes) > count)
    assert service.closes[-1] == (4004, "over")
    for running in (first, second):
        until(lambda running=running: running.do(lambda: running.gateway.listeners["public"].active) == 0)  # type: ignore[misc,attr-defined]


# --- our own ends -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def echoing(options: SocketOptions | None = None, **limits: Any) -> AsyncIterator[tuple[Listener, Echo]]:
    echo = Echo(options or SocketOptions(), ("chat",))
    listener = Listener("echo", "127.0.0.1", 0, echo.serve, Limits(**limits))
    await listener.start()
    try:
        yield listener, echo
    finally:
        await listener.drain(1.0)


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_the_websockets_client_understands_our_server(compression: str | None) -> None:
    async with echoing() as (listener, echo):
        where = f"ws://127.0.0.1:{listener.address[1]}/"
        async with connect(where, compression=compression, subprotocols=["chat"], max_size=1 << 24) as client:  # type: ignore[list-item]
            assert client.subprotocol == "chat"
            for size in (0, 1, 125, 126, 1000, 65536, 1_000_000):
                for message in ("ü" * size, b"\xff" * size):
                    await client.send(message)
                    assert await client.recv() == message
            await client.send(["in ", "pieces"])
            assert await client.recv() == "in pieces"
            await (await client.ping())
            await client.close(4002, "enough")
        assert [(closed.code, closed.reason) for closed in echo.ended] == [(4002, "enough")]
        assert listener.active == 0


async def test_many_sockets_come_and_go_and_nothing_is_left() -> None:
    async with echoing() as (listener, echo):
        where = f"ws://127.0.0.1:{listener.address[1]}/"

        async def one(number: int) -> None:
            async with connect(where) as client:
                await client.send(str(number))
                assert await client.recv() == str(number)

        await asyncio.gather(*(one(number) for number in range(100)))
        for _ in range(100):
            if not listener.connections:
                break
            await asyncio.sleep(0.02)
        assert (listener.connections, len(echo.ended)) == (0, 100)


async def test_a_socket_over_http_2_is_a_socket() -> None:
    async with echoing() as (listener, echo):

        def talk() -> None:
            client = Http2(listener.address[1])
            stream = client.switch("/", "websocket", [("sec-websocket-version", "13")])
            assert stream.head() == 200
            pieces = stream.pieces()
            for size in (2, 100_000):
                stream.send(Writer(masked=True).frame(BINARY, bytes(size)))
                received = Writer(masked=False).frame(BINARY, bytes(size))
                while received:
                    piece = next(pieces)
                    assert received.startswith(piece)
                    received = received[len(piece) :]
            stream.send(Writer(masked=True).close(4005, "bye"))
            assert b"".join(pieces) == b"\x88\x02\x0f\xa5"
            client.socket.close()

        await asyncio.to_thread(talk)
        assert [(closed.code, closed.reason) for closed in echo.ended] == [(4005, "bye")]


async def test_a_version_of_yore_is_answered_with_the_one_that_is_offered() -> None:
    async with echoing() as (listener, _):
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        assert b"\r\nupgrade: websocket\r\n" in answer
        assert b"\r\nconnection: Upgrade\r\n" in answer
        assert b"\r\nsec-websocket-version: 13\r\n" in answer
        writer.close()
        await writer.wait_closed()


async def test_our_client_understands_the_websockets_server(service: Service) -> None:
    options = SocketOptions()
    connection = await Http1Connector(Limits()).connect("127.0.0.1", service.port)
    fields = request_fields(options, ("chat",))
    lines = b"".join([b"%b: %b\r\n" % pair for pair in fields])
    stream = connection.open(b"GET /ours HTTP/1.1\r\nhost: a\r\n" + lines, b"")
    tunnel = await stream.switched(b"websocket")
    assert stream.switched_head is not None
    wire = connected(tunnel, stream.switched_head, fields, options)  # type: ignore[arg-type]
    assert wire.subprotocol == "chat"
    for size in (0, 125, 126, 1000, 65536, 500_000):
        for message in ("ü" * size, b"\xff" * size):
            await wire.send(message)
            assert await wire.receive() == message
    await wire.close(4003, "done")
    with pytest.raises(SocketClosed, match="4003"):
        await wire.receive()
    until(lambda: service.closes[-1] == (4003, "done"))
    await settle()
    assert connection.closed


@pytest.mark.parametrize("deflate", ["true", "false"])
@pytest.mark.parametrize("through", [True, False])
async def test_the_ws_package_of_node_understands_both(
    front: Running, deflate: str, through: bool, tmp_path: Path
) -> None:
    node = require_node()
    if not (NODE / "node_modules" / "ws").is_dir():
        missing("the ws package is not installed (npm install --prefix tests/integration/node)")
    async with echoing() as (listener, _):
        where = url(front) if through else f"ws://127.0.0.1:{listener.address[1]}/"
        argv = [node, str(NODE / "socket_client.mjs"), where, deflate]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=30, check=True)
    said = json.loads(done.stdout)
    sizes = [0, 1, 125, 126, 65535, 65536, 300000]
    assert said["seen"] == [part for size in sizes for part in ([False, size // 2 * 2], [True, size])]
    assert (said["code"], said["protocol"]) == (4001, "chat")
    assert (said["extensions"] != "") is (deflate == "true")
