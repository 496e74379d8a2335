"""The listener over real sockets, on both event loops: which protocol is spoken, how many may come, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from protogw.errors import Unreachable
from protogw.net.http1_client import Http1Connector
from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.net.tls import client_context, server_context
from protogw.wire.http2 import PREFACE
from tests.support.certificates import Authority

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

Serve = Callable[[Any], Awaitable[None]]


async def say(exchange: Any) -> None:
    """Answers with what it saw."""
    peer = exchange.peer
    text = f"{exchange.head.version} {exchange.head.scheme.decode()} {peer.tls} {peer.identity}"
    exchange.respond(200, ((b"content-type", b"text/plain"),), text.encode())


class Gate:
    """Starts listeners on ports of the kernel's choice, and closes them with the test."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, serve: Serve = say, tls: ssl.SSLContext | None = None, **limits: Any) -> Listener:
        listener = Listener("test", "127.0.0.1", 0, serve, Limits(**limits), tls)
        await listener.start()
        self.listeners.append(listener)
        return listener

    async def dial(self, listener: Listener, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a listener; the connection is closed with the test."""
        reader, writer = await asyncio.open_connection(*listener.address, **options)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for listener in self.listeners:
            await listener.drain(0)
            assert listener.connections == 0


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test, which is given a Gate, once on each event loop; its other parameters are fixtures as always."""

    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str, **fixtures: Any) -> None:
        async def main() -> None:
            gate = Gate()
            try:
                await test(gate, **fixtures)
            finally:
                await gate.close()

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main())

    own = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    theirs = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature([own, *theirs])
    run.__name__ = test.__name__
    return cast(Callable[..., None], run)


async def ask(listener: Listener, raw: bytes = GET, **options: Any) -> bytes:
    """All that comes back for `raw`, once our side has ended (over TLS: the first answer)."""
    reader, writer = await asyncio.open_connection(*listener.address, **options)
    writer.write(raw)
    if writer.can_write_eof():
        writer.write_eof()
        answer = await reader.read()
    else:
        answer = await reader.read(4096)
    writer.close()
    return answer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is the kernel's
            await asyncio.sleep(0.002)


# --- protocols --------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_http_1_1_is_served_on_a_clear_port(gate: Gate) -> None:
    listener = await gate.open()
    answer = await ask(listener)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"11 http False ")
    assert listener.counters.http1 == 1
    assert "test 127.0.0.1:" in repr(listener)


@pytest.mark.parametrize("cut", [1, 3, 14, 23, 24])
@on_both_loops
async def test_http_2_is_known_by_its_preface_however_it_is_cut(gate: Gate, cut: int) -> None:
    listener = await gate.open()
    reader, writer = await gate.dial(listener)
    writer.write(PREFACE[:cut])
    await until(lambda: listener.connections == 1)
    writer.write(PREFACE[cut:] + SETTINGS)
    frame = await reader.readexactly(9)
    assert frame[3] == 4
    assert (listener.counters.http2, listener.counters.http1) == (1, 0)


@on_both_loops
async def test_what_only_begins_like_the_preface_is_http_1(gate: Gate) -> None:
    listener = await gate.open()
    assert (await ask(listener, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")).startswith(b"HTTP/1.1 505 ")
    assert (await ask(listener, GET.replace(b"GET", b"PATCH"))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 64, b"hello\r\n"])
@on_both_loops
async def test_what_is_no_http_is_refused_cleanly(gate: Gate, raw: bytes) -> None:
    listener = await gate.open()
    assert (await ask(listener, raw)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@on_both_loops
async def test_a_large_refused_request_still_reads_its_answer(gate: Gate) -> None:
    listener = await gate.open()
    assert (await ask(listener, GET[:-2] + b"x: " + b"y" * 500_000)).startswith(b"HTTP/1.1 431 ")


@on_both_loops
async def test_the_peer_is_who_connected(gate: Gate) -> None:
    peers: list[Any] = []

    async def serve(exchange: Any) -> None:
        peers.append(exchange.peer)
        exchange.respond(204, ())

    listener = await gate.open(serve)
    reader, writer = await gate.dial(listener)
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    assert (peers[0].host, peers[0].port) == writer.get_extra_info("sockname")


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "test authority")


@pytest.fixture(scope="module")
def secure(authority: Authority) -> ssl.SSLContext:
    pair = authority.issue("server", names=["localhost", "127.0.0.1"])
    return server_context(pair.cert, pair.key)


@on_both_loops
async def test_alpn_decides_over_tls(gate: Gate, authority: Authority, secure: ssl.SSLContext) -> None:
    listener = await gate.open(tls=secure)
    trusting = client_context(authority.path, transport="http/1.1")
    answer = await ask(listener, GET, ssl=trusting, server_hostname="localhost")
    assert answer.endswith(b"11 https True ")
    reader, writer = await gate.dial(
        listener, ssl=client_context(authority.path, transport="http/2"), server_hostname="localhost"
    )
    writer.write(PREFACE + SETTINGS)
    assert (await reader.readexactly(9))[3] == 4
    assert (listener.counters.http1, listener.counters.http2) == (1, 1)


@on_both_loops
async def test_a_verified_client_has_an_identity(gate: Gate, authority: Authority) -> None:
    pair = authority.issue("server", names=["localhost"])
    client = authority.issue("someone", names=["someone.example"])
    listener = await gate.open(tls=server_context(pair.cert, pair.key, client_ca=authority.path))
    shown = client_context(authority.path, client.cert, client.key, transport="http/1.1")
    answer = await ask(listener, GET, ssl=shown, server_hostname="localhost")
    assert answer.endswith(b"https True dns:someone.example")


@on_both_loops
async def test_a_failed_handshake_costs_no_other(gate: Gate, authority: Authority, secure: ssl.SSLContext) -> None:
    listener = await gate.open(tls=secure)
    reader, writer = await gate.dial(listener)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    while await reader.read(100):
        pass
    await until(lambda: listener.counters.handshakes_failed == 1)
    trusting = client_context(authority.path, transport="http/1.1")
    assert (await ask(listener, ssl=trusting, server_hostname="localhost")).startswith(b"HTTP/1.1 200 ")


@on_both_loops
async def test_a_stalled_handshake_is_closed_and_counts_as_a_connection(gate: Gate, secure: ssl.SSLContext) -> None:
    listener = await gate.open(tls=secure, handshake_timeout_s=0.1, connections=1)
    reader, _ = await gate.dial(listener)
    await until(lambda: listener.connections == 1)
    second, _ = await gate.dial(listener)
    assert await second.read() == b""
    assert listener.counters.refused == 1
    assert await reader.read() == b""
    assert listener.counters.handshakes_failed == 1


@on_both_loops
async def test_our_client_speaks_to_it_over_tls(gate: Gate, authority: Authority, secure: ssl.SSLContext) -> None:
    listener = await gate.open(tls=secure)
    connector = Http1Connector(Limits(), client_context(authority.path, transport="http/1.1"), "localhost")
    connection = await connector.connect(*listener.address)
    answer = await connection.open(b"GET / HTTP/1.1\r\nhost: a\r\n", b"").whole(100)
    assert answer.body == b"11 https True "
    connection.close()
    for context, name in (
        (client_context(authority.path, transport="http/1.1"), "other.example"),
        (client_context(transport="http/1.1"), "localhost"),
    ):
        with pytest.raises(Unreachable, match="its certificate is refused"):
            await Http1Connector(Limits(), context, name).connect(*listener.address)


@on_both_loops
async def test_our_client_says_why_there_is_no_connection(gate: Gate, secure: ssl.SSLContext) -> None:
    listener = await gate.open()
    with pytest.raises(Unreachable, match="TLS: "):
        await Http1Connector(Limits(), client_context(verify=False)).connect(*listener.address)
    listener.stop_accepting()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{listener.address[1]}: .*refused"):
        await Http1Connector(Limits()).connect(*listener.address)
    with pytest.raises(Unreachable, match=r"host\.invalid:1: "):
        await Http1Connector(Limits()).connect("host.invalid", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connector = Http1Connector(Limits(), client_context(verify=False), connect_timeout_s=0.05)
        with pytest.raises(Unreachable, match=r"no connection in 0.05 s|TLS|[Hh]andshake"):
            await connector.connect(*silent.getsockname())


@on_both_loops
async def test_our_client_tries_every_address_of_a_name(gate: Gate) -> None:
    listener = await gate.open()
    connection = await Http1Connector(Limits()).connect("localhost", listener.address[1])
    assert (await connection.open(b"GET / HTTP/1.1\r\nhost: a\r\n", b"").whole(100)).head.status == 200
    connection.close()


# --- bounds -----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_connection_too_many_is_told_503(gate: Gate) -> None:
    listener = await gate.open(connections=2)
    writers = []
    for _ in range(2):
        reader, writer = await gate.dial(listener)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        writers.append(writer)
    reader, writer = await gate.dial(listener)
    assert (await reader.read()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert listener.counters.refused == 1
    writers.pop().close()
    await until(lambda: listener.connections == 1)
    assert (await ask(listener)).startswith(b"HTTP/1.1 200 ")
    writers.pop().close()


@on_both_loops
async def test_slow_clients_are_swept_away(gate: Gate) -> None:
    listener = await gate.open(header_timeout_s=0.01)
    silent, _ = await gate.dial(listener)
    slow, writer = await gate.dial(listener)
    writer.write(GET[:10])
    async with asyncio.timeout(8):
        assert await silent.read() == b""
        assert (await slow.read()).startswith(b"HTTP/1.1 408 ")


_EXHAUST = """
import asyncio, resource, socket, sys
from protogw.net.limits import Limits
from protogw.net.listener import Listener
import uvloop

async def serve(exchange):
    exchange.respond(200, (), b"ok")

async def main():
    listener = Listener("t", "127.0.0.1", 0, serve, Limits())
    await listener.start()
    print(listener.address[1], flush=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    spare = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare.fileno() + 1, hard))
    print("full", flush=True)
    while not listener.accepts_held:
        await asyncio.sleep(0.01)
    turns = 0
    until = loop.time() + 0.3
    while loop.time() < until:
        await asyncio.sleep(0.01)
        turns += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(listener.accepts_held, flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    listener.close()

run = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_without_file_descriptors_it_waits_and_then_goes_on(loop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _EXHAUST, loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        port = int(program.stdout.readline())
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "full\n"
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            # Held now and then, not at every turn of the loop; a slow machine may see a second time.
            assert 1 <= int(program.stdout.readline()) <= 3
            client.sendall(GET)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.wait(10) == 0


# --- starting and ending ----------------------------------------------------------------------------------------------


@on_both_loops
async def test_an_address_in_use_is_said_in_words(gate: Gate) -> None:
    port = (await gate.open()).address[1]
    listener = Listener("second", "127.0.0.1", port, say, Limits())
    with pytest.raises(OSError, match=f"listener second: cannot listen on 127.0.0.1:{port}: .*in use") as caught:
        await listener.start()
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"cannot listen on 192.0.2.1:0"):
        await Listener("third", "192.0.2.1", 0, say, Limits()).start()
    with pytest.raises(OSError, match=r"cannot listen on host.invalid:0"):
        await Listener("fourth", "host.invalid", 0, say, Limits()).start()


@on_both_loops
async def test_every_address_of_the_host_is_bound_to_one_port(gate: Gate) -> None:
    listener = Listener("all", "", 0, say, Limits())
    try:
        await listener.start()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            pytest.skip("no IPv6 here")
        raise
    gate.listeners.append(listener)
    port = listener.address[1]
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            assert sock.connect_ex((host, port)) in (0, errno.EADDRNOTAVAIL, errno.ENETUNREACH)


@on_both_loops
async def test_draining_lets_requests_end_and_closes_idle_connections(gate: Gate) -> None:
    answering = asyncio.Event()
    go = asyncio.Event()

    async def serve(exchange: Any) -> None:
        answering.set()
        await go.wait()
        exchange.respond(200, (), b"done")

    listener = await gate.open(serve)
    idle, _ = await gate.dial(listener)
    reader, writer = await gate.dial(listener)
    writer.write(GET)
    await answering.wait()
    assert listener.active == 1
    await until(lambda: listener.connections == 2)
    draining = asyncio.ensure_future(listener.drain(5))
    assert await idle.read() == b""
    with pytest.raises(OSError, match=r"[Rr]efused|Connect call failed"):
        await gate.dial(listener)
    go.set()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer
    await draining
    assert listener.connections == 0


@on_both_loops
async def test_draining_cuts_what_takes_too_long(gate: Gate) -> None:
    answering = asyncio.Event()
    cancelled = asyncio.Event()

    async def serve(exchange: Any) -> None:
        answering.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    listener = await gate.open(serve)
    reader, writer = await gate.dial(listener)
    writer.write(GET)
    await answering.wait()
    await listener.drain(0.01)
    assert listener.connections == 0
    assert await reader.read() == b""
    await cancelled.wait()


@on_both_loops
async def test_a_client_that_is_gone_cancels_its_request(gate: Gate) -> None:
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def serve(exchange: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    listener = await gate.open(serve)
    for end in ("reset", "close"):
        started.clear()
        cancelled.clear()
        sock = socket.create_connection(listener.address)
        sock.sendall(GET)
        await started.wait()
        if end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.close()
        async with asyncio.timeout(2):
            await cancelled.wait()


@on_both_loops
async def test_a_client_that_ended_its_side_gets_a_late_answer(gate: Gate) -> None:
    async def serve(exchange: Any) -> None:
        await asyncio.sleep(0.6)  # longer than it takes to find out whether the client is gone
        exchange.respond(200, (), b"late")

    listener = await gate.open(serve)
    answer = await ask(listener)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"late")


@on_both_loops
async def test_a_large_answer_arrives_whole_before_the_close(gate: Gate) -> None:
    async def serve(exchange: Any) -> None:
        exchange.start(200, ())
        for _ in range(64):
            await exchange.write(b"x" * 65536)
        exchange.finish()

    listener = await gate.open(serve, write_buffer=65536)
    answer = await ask(listener)
    assert answer.count(b"x") == 64 * 65536
    assert answer.endswith(b"0\r\n\r\n")


async def accepted(listener: Listener) -> None:
    while not listener.connections:  # noqa: ASYNC110 — nothing tells of it
        await asyncio.sleep(0)


@on_both_loops
async def test_who_connected_before_the_drain_is_served_although_it_asks_after_it(gate: Gate) -> None:
    """One was accepted and has said nothing, one waits to be accepted; neither could know."""
    listener = await gate.open()
    reader, writer = await gate.dial(listener)
    await accepted(listener)
    with socket.create_connection(listener.address) as late:  # the loop has no turn to accept it
        listener.stop_accepting()
        drain = asyncio.create_task(listener.drain(5))
        await asyncio.sleep(0)
        late.setblocking(False)
        writer.write(GET)
        late.send(GET)
        assert b"200 OK" in await reader.read()
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await asyncio.get_running_loop().sock_recv(late, 1000)
        assert b"200 OK" in answer
        assert b"connection: close" in answer
    await drain


@on_both_loops
async def test_who_connects_and_asks_nothing_holds_the_drain_up_for_a_moment_only(gate: Gate) -> None:
    listener = await gate.open()
    reader, _ = await gate.dial(listener)
    await accepted(listener)
    async with asyncio.timeout(5):
        await listener.drain(60)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
