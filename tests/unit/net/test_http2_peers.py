"""Both sides of HTTP/2 against implementations of others: h2 as a scripted peer, grpcio, curl, nghttp and h2load."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent import futures
from contextlib import asynccontextmanager

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from protogw.errors import GatewayError, Unprocessed, Unreachable, UpstreamReset
from protogw.net.http2_client import Http2ClientConnection, Http2Connector
from protogw.net.http2_server import Http2ServerConnection
from protogw.net.http2_server_stream import ServerStream
from protogw.net.limits import Limits
from protogw.wire.hpack import encode
from tests.support.http2_peer import GET, POST
from tests.support.processes import require_tool
from tests.support.transport import MemoryTransport, settle

GRPC = ((b"content-type", b"application/grpc"),)
GRPC_OK = ((b"grpc-status", b"0"),)


async def serve(exchange: ServerStream) -> None:
    """What these clients ask for: an echo, a download, an upload, or the echo of a gRPC message."""
    path = exchange.head.path
    if path == b"/download":
        exchange.start(200, ())
        for _ in range(int(exchange.head.query)):
            await exchange.write(b"x" * 50_000)
        exchange.finish(trailers=[(b"x-end", b"1")])
    elif path == b"/upload":
        size = 0
        while piece := await exchange.read():
            size += len(piece)
        exchange.respond(200, (), b"%d" % size)
    elif exchange.head.content_type.startswith(b"application/grpc"):
        body = exchange.buffered()
        exchange.respond(200, GRPC, body if body is not None else await exchange.whole(1 << 24), GRPC_OK)
    else:
        exchange.respond(200, (), await exchange.whole(1 << 24))


# --- h2 in memory -----------------------------------------------------------------------------------------------------


class H2:
    """An h2 connection joined to one of ours."""

    def __init__(self, transport: MemoryTransport, client_side: bool) -> None:
        config = h2.config.H2Configuration(client_side=client_side, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=client_side, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100}
        )
        self.transport = transport
        self.events: list[h2.events.Event] = []
        self.h2.initiate_connection()

    async def run(self) -> list[h2.events.Event]:
        """Carry bytes both ways until neither side has any; h2 raises when ours break the protocol."""
        before = len(self.events)
        for _ in range(10_000):
            sent = self.h2.data_to_send()
            if sent:
                self.transport.feed(sent)
            await settle()
            received = self.transport.take()
            if not received and not sent:
                return self.events[before:]
            for event in self.h2.receive_data(received):
                self.events.append(event)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        raise AssertionError("no end")

    def of(self, kind: type[h2.events.Event], stream: int) -> list[h2.events.Event]:
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]  # type: ignore[attr-defined]

    def body(self, stream: int) -> bytes:
        return b"".join([event.data for event in self.of(h2.events.DataReceived, stream)])  # type: ignore[attr-defined]


async def joined_server() -> H2:
    peer = H2(MemoryTransport(Http2ServerConnection(serve, Limits())), client_side=True)
    await peer.run()
    return peer


async def test_an_h2_client_gets_answers_with_bodies_and_trailers() -> None:
    peer = await joined_server()
    for stream in range(1, 200, 2):
        peer.h2.send_headers(stream, [*POST, (b"content-length", b"5"), (b"x-number", b"%d" % stream)])
        peer.h2.send_data(stream, b"hello", end_stream=True)
    await peer.run()
    for stream in range(1, 200, 2):
        assert peer.body(stream) == b"hello"
        assert peer.of(h2.events.StreamEnded, stream)
    peer.h2.send_headers(201, [*GET[:2], (b":path", b"/download?10"), GET[3]], end_stream=True)
    await peer.run()
    assert len(peer.body(201)) == 500_000
    assert peer.of(h2.events.TrailersReceived, 201)


async def test_an_h2_client_that_changes_its_settings_and_resets_is_served_on() -> None:
    peer = await joined_server()
    peer.h2.update_settings(
        {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100, h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0}
    )
    peer.h2.send_headers(1, [*GET[:2], (b":path", b"/download?2"), GET[3]], end_stream=True)
    peer.h2.ping(b"12345678")
    events = await peer.run()
    assert any(isinstance(event, h2.events.PingAckReceived) for event in events)
    assert len(peer.body(1)) == 100_000
    peer.h2.send_headers(3, POST)
    await peer.run()
    peer.h2.reset_stream(3)
    peer.h2.send_headers(5, GET, end_stream=True)
    await peer.run()
    assert peer.of(h2.events.StreamEnded, 5)


async def joined_client() -> tuple[H2, Http2ClientConnection]:
    connection = Http2ClientConnection(Limits(), "h2")
    peer = H2(MemoryTransport(connection), client_side=False)
    await peer.run()
    return peer, connection


async def test_an_h2_server_answers_unary_calls() -> None:
    peer, connection = await joined_client()
    for number in range(30):
        whole = connection.open(encode(POST), b"ask").whole(1 << 20)
        await peer.run()
        stream = 2 * number + 1
        assert peer.body(stream) == b"ask"
        peer.h2.send_headers(stream, [(b":status", b"200"), (b"x-number", b"%d" % (number // 3)), *GRPC])
        peer.h2.send_data(stream, b"tell")
        peer.h2.send_headers(stream, GRPC_OK, end_stream=True)
        await peer.run()
        answer = await whole
        assert answer.body == b"tell"
        assert answer.head.get(b"x-number") == b"%d" % (number // 3)
        assert answer.trailers == GRPC_OK


async def test_an_h2_server_streams_both_ways() -> None:
    peer, connection = await joined_client()
    stream = connection.open(encode(POST), None)

    async def send() -> None:
        for _ in range(50):
            await stream.write(b"u" * 10_000)
        stream.end()

    sending = asyncio.create_task(send())
    await peer.run()
    assert sending.done()
    assert len(peer.body(1)) == 500_000
    peer.h2.send_headers(1, [(b":status", b"200")])
    left = 2_000_000
    got = 0
    while left:
        room = min(left, peer.h2.local_flow_control_window(1), 16_384)
        if room:
            peer.h2.send_data(1, b"d" * room, end_stream=room == left)
            left -= room
        await peer.run()
        if not room:
            got += len(await stream.read())
            await peer.run()
    while piece := await stream.read():
        got += len(piece)
    assert got == 2_000_000
    assert connection.active == 0


async def test_an_h2_server_that_goes_away_or_resets_is_understood() -> None:
    peer, connection = await joined_client()
    first, second = (connection.open(encode(GET), b"").whole(10) for _ in range(2))
    await peer.run()
    peer.h2.reset_stream(3, 7)
    await peer.run()
    with pytest.raises(Unprocessed):
        await second
    peer.h2.close_connection(last_stream_id=0)
    peer.transport.feed(peer.h2.data_to_send())
    with pytest.raises(Unprocessed):
        await first
    assert connection.closed


# --- sockets ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(
    handler: Callable[[ServerStream], Awaitable[None]] = serve, limits: Limits | None = None
) -> AsyncIterator[tuple[int, list[Http2ServerConnection]]]:
    """Our server on a port of 127.0.0.1."""
    connections: list[Http2ServerConnection] = []

    def make() -> Http2ServerConnection:
        connections.append(Http2ServerConnection(handler, limits or Limits()))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()
        for connection in connections:
            connection.close()
        await server.wait_closed()
        for connection in connections:
            connection.transport.abort()
        await settle()


async def test_a_grpcio_client_calls_with_deadlines_metadata_and_large_messages() -> None:
    def identity(message: bytes) -> bytes:
        return message

    def talk(port: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as channel:
            call = channel.unary_unary("/kit.v1.Echo/Echo", identity, identity)
            for number in range(50):
                metadata = (("x-number", str(number)), ("authorization", f"token {number}"), ("x-bin", b"\x00\xff"))
                assert call(b"m%d" % number, timeout=10 + number, metadata=metadata) == b"m%d" % number
            large = b"y" * 3_000_000
            assert call(large, timeout=20) == large
            sent = [call.future(b"n%d" % number, timeout=20) for number in range(100)]
            assert [future.result() for future in sent] == [b"n%d" % number for number in range(100)]

    async with listening() as (port, _):
        await asyncio.to_thread(talk, port)


async def test_a_grpcio_client_that_cancels_ends_the_task() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def wait(exchange: ServerStream) -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with listening(wait) as (port, connections), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/kit.v1.Echo/Echo")(b"x", timeout=30)
        task = asyncio.ensure_future(call.code())
        async with asyncio.timeout(10):
            await begun.wait()
            call.cancel()
            await cancelled.wait()
        assert await task is grpc.StatusCode.CANCELLED
        assert connections[0].active == 0


@pytest.fixture
def grpc_server() -> AsyncIterator[int]:
    class Echo(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if details.method == "/kit.v1.Echo/Echo":
                return grpc.unary_unary_rpc_method_handler(self.echo)
            if details.method == "/kit.v1.Echo/Stream":
                return grpc.stream_stream_rpc_method_handler(self.stream)
            return None

        def echo(self, message: bytes, context: grpc.ServicerContext) -> bytes:
            context.set_trailing_metadata((("x-size", str(len(message))),))
            return message

        def stream(self, messages: AsyncIterator[bytes], context: grpc.ServicerContext) -> AsyncIterator[bytes]:
            yield from messages  # type: ignore[misc]

    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def calling(path: bytes) -> bytes:
    return encode(
        (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"h"),
            (b"te", b"trailers"),
            *GRPC,
        )
    )


def message(data: bytes) -> bytes:
    return b"\x00" + len(data).to_bytes(4, "big") + data


async def test_a_grpcio_server_answers_our_client(grpc_server: int) -> None:
    connection = await Http2Connector(Limits(), connect_timeout_s=5).connect("127.0.0.1", grpc_server)
    head = calling(b"/kit.v1.Echo/Echo")
    for number in range(50):
        answer = await connection.open(head, message(b"%d" % number)).whole(1 << 20)
        assert answer.body == message(b"%d" % number)
        assert dict(answer.trailers)[b"grpc-status"] == b"0"
    large = message(b"z" * 3_000_000)
    answer = await connection.open(head, large).whole(1 << 23)
    assert answer.body == large
    calls = [connection.open(head, message(b"%d" % number)).whole(1 << 20) for number in range(80)]
    assert [answer.body for answer in await asyncio.gather(*calls)] == [message(b"%d" % number) for number in range(80)]
    answer = await connection.open(calling(b"/kit.v1.Echo/None"), b"").whole(100)
    assert answer.head.get(b"grpc-status") == b"12"
    connection.close()
    await settle()


async def test_a_grpcio_server_streams_with_our_client(grpc_server: int) -> None:
    connection = await Http2Connector(Limits()).connect("127.0.0.1", grpc_server)
    stream = connection.open(calling(b"/kit.v1.Echo/Stream"), None)
    await stream.write(message(b"one"))
    assert (await stream.head()).status == 200
    assert await stream.read() == message(b"one")
    await stream.write(message(b"two"))
    assert await stream.read() == message(b"two")
    stream.end()
    assert await stream.read() == b""
    assert dict(stream.trailers)[b"grpc-status"] == b"0"
    assert connection.active == 0
    stream = connection.open(calling(b"/kit.v1.Echo/Stream"), None)
    await stream.write(message(b"x"))
    assert await stream.read()
    stream.cancel()
    with pytest.raises(UpstreamReset):
        await stream.read()
    connection.drain()
    await settle()
    assert connection.closed


async def test_nobody_listening_and_who_does_not_speak_http2_cannot_be_reached() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match=f"^127.0.0.1:{port}: "):
            await Http2Connector(Limits()).connect("127.0.0.1", port)

    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for handler, timeout, reason in (
        (http1, 5.0, "before its HTTP/2 settings"),
        (silent, 0.1, "no HTTP/2 settings in 0.1 s"),
    ):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Unreachable, match=reason):
                await Http2Connector(Limits(), connect_timeout_s=timeout).connect("127.0.0.1", port)
            await settle()


async def test_our_client_and_our_server_carry_a_large_stream_each_way() -> None:
    async with listening() as (port, _):
        connection = await Http2Connector(Limits()).connect("127.0.0.1", port)
        path = (b":path", b"/download?400")
        stream = connection.open(encode([GET[0], GET[1], path, GET[3]]), b"")
        size = 0
        while piece := await stream.read():
            size += len(piece)
            assert len(piece) <= Limits().stream_window
        assert (size, stream.trailers) == (20_000_000, ((b"x-end", b"1"),))
        stream = connection.open(encode([POST[0], POST[1], (b":path", b"/upload"), POST[3]]), None)
        for _ in range(400):
            await stream.write(b"x" * 50_000)
            assert connection.queued <= Limits().write_buffer + 50_000
        stream.end()
        assert (await stream.whole(100)).body == b"20000000"
        with pytest.raises(GatewayError):
            raise await stop(connection)


async def stop(connection: Http2ClientConnection) -> GatewayError:
    """What a call in flight hears when the connection is closed under it."""
    call = connection.open(encode(POST), None).whole(10)
    connection.close()
    try:
        await call
    except GatewayError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("curl", ["-s", "--http2-prior-knowledge", "-d", "hello", "http://127.0.0.1:{port}/x"], "hello"),
        ("nghttp", ["-v", "http://127.0.0.1:{port}/download?3"], "x-end: 1"),
        ("h2load", ["-n", "10000", "-c", "4", "-m", "10", "http://127.0.0.1:{port}/x"], "10000 succeeded, 0 failed"),
    ],
)
async def test_programs_are_served(tool: str, arguments: list[str], expected: str) -> None:
    path = require_tool(tool)
    async with listening() as (port, _):
        command = [argument.format(port=port) for argument in arguments]
        program = await asyncio.create_subprocess_exec(path, *command, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(30):
                output, _ = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
        assert program.returncode == 0
        assert expected in output.decode()
