"""Rules over source addresses, and an HTTP listener that lives by them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.net.sources import Sources
from protogw.net.tls import server_context
from protogw.values import parse_network
from protogw.wire.proxy_protocol import write_v1, write_v2
from tests.support.certificates import Authority
from tests.support.loops import on_both_loops
from tests.support.tcp import connect, receive, send, until_reset

GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def sources(*, allow: str = "", deny: str = "", proxies: str = "") -> Sources:
    def networks(words: str) -> tuple[Any, ...]:
        return tuple(map(parse_network, words.split()))

    return Sources(networks(allow), networks(deny), networks(proxies))


@pytest.mark.parametrize(
    ("rules", "host", "admitted"),
    [
        (sources(), "203.0.113.1", True),
        (sources(allow="10.0.0.0/8"), "10.9.8.7", True),
        (sources(allow="10.0.0.0/8"), "11.0.0.1", False),
        (sources(allow="10.0.0.0/8", deny="10.1.0.0/16"), "10.1.2.3", False),
        (sources(deny="192.0.2.1"), "192.0.2.1", False),
        (sources(deny="192.0.2.1"), "192.0.2.2", True),
        (sources(deny="10.0.0.0/8"), "::ffff:10.0.0.1", False),
        (sources(allow="fd00::/8"), "fd12::1", True),
        (sources(allow="fd00::/8"), "10.0.0.1", False),
        (sources(allow="fe80::/10"), "fe80::1%eth0", True),
        (sources(allow="0.0.0.0/0"), "2001:db8::1", False),
    ],
)
def test_a_source_is_admitted_by_the_rules(rules: Sources, host: str, admitted: bool) -> None:
    assert rules.admits(host) is admitted


def test_only_named_proxies_are_believed() -> None:
    rules = sources(proxies="10.0.0.1")
    assert rules.proxied
    assert (rules.trusts("10.0.0.1"), rules.trusts("::ffff:10.0.0.1"), rules.trusts("10.0.0.2")) == (True, True, False)
    assert not sources().proxied


@asynccontextmanager
async def listening(rules: Sources, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Listener, list[str]]]:
    """An HTTP listener that answers with its peer's address, and the addresses it saw."""
    seen: list[str] = []

    async def serve(exchange: Any) -> None:
        seen.append(f"{exchange.peer.host} {exchange.peer.port} {exchange.peer.tls}")
        exchange.respond(200, (), seen[-1].encode())

    listener = Listener("t", "127.0.0.1", 0, serve, Limits(handshake_timeout_s=0.2), tls, sources=rules)
    await listener.start()
    try:
        yield listener, seen
    finally:
        await listener.drain(0)
        assert listener.connections == 0


@on_both_loops
async def test_http_from_a_denied_source_is_reset() -> None:
    async with listening(sources(deny="127.0.0.0/8")) as (listener, seen):
        client = connect(listener.address[1])
        assert await until_reset(client) == b""
        assert (listener.counters.denied, seen) == (1, [])
        client.close()


@pytest.mark.parametrize("write", [write_v1, write_v2])
@pytest.mark.parametrize("piece", [1, 1000])
def test_http_behind_a_proxy_has_the_clients_address(write: Any, piece: int) -> None:
    async def main() -> None:
        async with listening(sources(proxies="127.0.0.1")) as (listener, _):
            client = connect(listener.address[1])
            said = write(("203.0.113.9", 4711), ("192.0.2.1", 80)) + GET
            for at in range(0, len(said), piece):
                await send(client, said[at : at + piece])
            assert (await receive(client)).endswith(b"203.0.113.9 4711 False")
            client.close()

    asyncio.run(main())


def test_the_header_comes_before_tls(tmp_path: Path) -> None:
    async def main() -> None:
        authority = Authority(tmp_path, "sources")
        pair = authority.issue("a", names=["a.example"])
        async with listening(sources(proxies="127.0.0.1"), server_context(*pair)) as (listener, _):
            client = connect(listener.address[1])
            await send(client, write_v2(("203.0.113.9", 4711), ("192.0.2.1", 443)))
            context = ssl.create_default_context(cafile=authority.path)
            reader, writer = await asyncio.open_connection(sock=client, ssl=context, server_hostname="a.example")
            writer.write(GET)
            assert (await reader.read()).endswith(b"203.0.113.9 4711 True")
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "said", [GET, b"PROXY TCP4 1.2.3.4\r\n" + GET, b"PROXY", write_v2(("10.9.9.9", 1), ("10.0.0.1", 2)) + GET]
)
def test_http_without_a_good_header_of_a_welcome_client_is_closed(said: bytes) -> None:
    async def main() -> None:
        async with listening(sources(proxies="127.0.0.1", deny="10.0.0.0/8")) as (listener, seen):
            client = connect(listener.address[1])
            await send(client, said)
            try:
                assert await receive(client) == b""
            except ConnectionResetError:
                pass  # what was not read of its words makes the end a reset
            assert seen == []
            client.close()

    asyncio.run(main())


@on_both_loops
async def test_http_from_somebody_else_than_the_proxies_is_reset() -> None:
    async with listening(sources(proxies="10.0.0.1")) as (listener, seen):
        client = connect(listener.address[1])
        assert await until_reset(client) == b""
        assert (listener.counters.denied, seen) == (1, [])
        client.close()


@on_both_loops
async def test_closing_does_not_leave_those_that_have_not_said_who_they_are() -> None:
    async with listening(sources(proxies="127.0.0.1")) as (listener, _):
        client = connect(listener.address[1])
        await send(client, b"PRO")
        while not listener.connections:  # noqa: ASYNC110 — nothing tells when it is accepted
            await asyncio.sleep(0.001)
        await listener.drain(0)
        try:
            assert await receive(client) == b""
        except ConnectionResetError:
            pass
        client.close()
