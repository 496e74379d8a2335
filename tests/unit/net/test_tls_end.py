"""TLS at either end of a relay: half a close is half a close there too, and nothing is lost in saying goodbye."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from pathlib import Path

import pytest

from protogw.net.tcp_relay import PlainEnd, Relay
from protogw.net.tls import client_context, server_context
from protogw.net.tls_end import TlsEnd
from tests.support.certificates import Authority
from tests.support.loops import LOOPS
from tests.support.tcp import pair, receive, send, until_reset

_BIG = random.Random(2).randbytes(3 << 20)


class Contexts:
    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "tls-end")
        own = authority.issue("a", names=["a.example"])
        self.server = server_context(own.cert, own.key, transport="raw")
        self.client = client_context(authority.path, transport="raw")
        self.stranger = client_context(Authority(folder, "stranger").path, transport="raw")


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(tmp_path_factory.mktemp("tls-end"))


class Ends:
    """client ==TLS== relay ==TLS== service, the outer ends being `TlsEnd`s themselves, driven by hand."""

    def __init__(self, contexts: Contexts) -> None:
        client, inner = pair()
        outer, service = pair()
        self.client = Spoken(TlsEnd(client, contexts.client, "a.example"))
        self.service = Spoken(TlsEnd(service, contexts.server))
        self.inner = TlsEnd(inner, contexts.server)
        self.outer = TlsEnd(outer, contexts.client, "a.example")
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.relay: Relay

    async def start(self) -> None:
        ends = (self.client.end, self.service.end, self.inner, self.outer)
        await asyncio.gather(*(end.handshake() for end in ends))
        self.relay = Relay(self.inner, self.outer, self.ended.set_result)
        self.relay.start()

    def close(self) -> None:
        self.relay.end("the test is over", reset=True)
        self.client.end.sock.close()
        self.service.end.sock.close()


class Spoken:
    """An end with which a test speaks."""

    def __init__(self, end: TlsEnd) -> None:
        self.end = end

    async def send(self, data: bytes, *, end: bool = False) -> None:
        loop = asyncio.get_running_loop()
        sent = self.end.send(data)
        while not sent:
            await _ready(loop, self.end.sock, writing=True)
            sent = self.end.flush()
        if end:
            sent = self.end.shut()
            while not sent:
                await _ready(loop, self.end.sock, writing=True)
                sent = self.end.flush()

    async def receive(self, count: int = 0) -> bytes:
        loop = asyncio.get_running_loop()
        data = bytearray()
        async with asyncio.timeout(10):
            while not count or len(data) < count:
                piece = self.end.receive()
                if piece is None:
                    await _ready(loop, self.end.sock, writing=False)
                elif not piece:
                    break
                else:
                    data += piece
        return bytes(data)


async def _ready(loop: asyncio.AbstractEventLoop, sock: socket.socket, *, writing: bool) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(sock.fileno(), lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        remove(sock.fileno())


def on_both_loops_with(contexts: Contexts, loop: str, test: object) -> None:
    async def main() -> None:
        ends = Ends(contexts)
        await ends.start()
        try:
            await test(ends)  # type: ignore[operator]
        finally:
            ends.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_megabytes_pass_both_ways_at_once(contexts: Contexts, loop: str) -> None:
    async def test(ends: Ends) -> None:
        up, down, _, _ = await asyncio.gather(
            ends.service.receive(),
            ends.client.receive(),
            ends.client.send(_BIG, end=True),
            ends.service.send(_BIG[::-1], end=True),
        )
        assert up == _BIG
        assert down == _BIG[::-1]
        assert await ends.ended == "closed"

    on_both_loops_with(contexts, loop, test)


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("loop", LOOPS)
def test_half_a_close_leaves_the_other_half_open(contexts: Contexts, loop: str, way: str) -> None:
    async def test(ends: Ends) -> None:
        first, second = (ends.client, ends.service) if way == "up" else (ends.service, ends.client)
        await first.send(b"that is all", end=True)
        assert await second.receive() == b"that is all"
        _, got = await asyncio.gather(second.send(_BIG, end=True), first.receive())
        assert got == _BIG
        assert await ends.ended == "closed"

    on_both_loops_with(contexts, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_has_come_is_not_lost_by_saying_goodbye(contexts: Contexts, loop: str) -> None:
    """Data that waits to be decrypted when the other direction ends is found by the search for a goodbye."""

    async def test(ends: Ends) -> None:
        # Both talk until there is no room, then one ends: its goodbye meets data under way.
        up = asyncio.ensure_future(ends.client.send(_BIG, end=True))
        down = asyncio.ensure_future(ends.service.send(_BIG[::-1], end=True))
        await asyncio.sleep(0.05)
        assert await ends.service.receive() == _BIG
        assert await ends.client.receive() == _BIG[::-1]
        await asyncio.gather(up, down)

    on_both_loops_with(contexts, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_came_with_the_handshake_is_passed_on(contexts: Contexts, loop: str) -> None:
    async def main() -> None:
        ends = Ends(contexts)
        await asyncio.gather(ends.client.end.handshake(), ends.inner.handshake())
        await ends.client.send(b"early")
        await asyncio.gather(ends.service.end.handshake(), ends.outer.handshake())
        ends.relay = Relay(ends.inner, ends.outer, ends.ended.set_result)
        ends.relay.start()
        assert await ends.service.receive(5) == b"early"
        ends.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_who_leaves_without_a_goodbye_has_left(contexts: Contexts, loop: str) -> None:
    async def test(ends: Ends) -> None:
        await ends.client.send(b"last words")
        ends.client.end.sock.shutdown(socket.SHUT_WR)
        assert await ends.service.receive() == b"last words"

    on_both_loops_with(contexts, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_bytes_that_are_no_tls_break_the_connection(contexts: Contexts, loop: str) -> None:
    async def test(ends: Ends) -> None:
        await send(ends.client.end.sock, b"this is no record" * 10)
        await until_reset(ends.client.end.sock)
        assert await ends.ended == "broken"

    on_both_loops_with(contexts, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_on_one_side_alone(contexts: Contexts, loop: str) -> None:
    async def main() -> None:
        client, inner = pair()
        outer, service = pair()
        secure, theirs = TlsEnd(inner, contexts.server), Spoken(TlsEnd(client, contexts.client, "a.example"))
        await asyncio.gather(secure.handshake(), theirs.end.handshake())
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        relay = Relay(secure, PlainEnd(outer), ended.set_result)
        relay.start()
        got, _ = await asyncio.gather(receive(service), theirs.send(_BIG, end=True))
        assert got == _BIG
        _, back = await asyncio.gather(send(service, _BIG, end=True), theirs.receive())
        assert back == _BIG
        assert await ended == "closed"
        client.close()
        service.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


async def test_a_name_that_the_certificate_lacks_fails_the_handshake(contexts: Contexts) -> None:
    one, other = pair()
    theirs, ours = TlsEnd(one, contexts.server), TlsEnd(other, contexts.client, "b.example")
    results = await asyncio.gather(theirs.handshake(), ours.handshake(), return_exceptions=True)
    assert isinstance(results[1], ssl.SSLCertVerificationError)
    one.close()
    other.close()


async def test_an_authority_that_nobody_trusts_fails_the_handshake(contexts: Contexts) -> None:
    one, other = pair()
    theirs, ours = TlsEnd(one, contexts.server), TlsEnd(other, contexts.stranger, "a.example")
    results = await asyncio.gather(theirs.handshake(), ours.handshake(), return_exceptions=True)
    assert isinstance(results[1], ssl.SSLCertVerificationError)
    one.close()
    other.close()


async def test_a_peer_that_hangs_up_in_the_handshake_is_an_error(contexts: Contexts) -> None:
    one, other = pair()
    one.close()
    with pytest.raises(ConnectionError):
        await TlsEnd(other, contexts.server).handshake()
    other.close()


def test_a_raw_connection_agrees_on_no_protocol(contexts: Contexts) -> None:
    """What the service behind speaks is unknown: a client that offers h2 must not be told that it is spoken."""

    async def main() -> None:
        one, other = pair()
        offering = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        offering.check_hostname = False
        offering.verify_mode = ssl.CERT_NONE
        offering.set_alpn_protocols(["h2", "http/1.1"])
        theirs = TlsEnd(one, offering, "a.example")
        await asyncio.gather(theirs.handshake(), TlsEnd(other, contexts.server).handshake())
        assert theirs._tls.selected_alpn_protocol() is None
        one.close()
        other.close()

    asyncio.run(main())
