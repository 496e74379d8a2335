"""Connections passed through: to which service, from whom, for how long, and what is told of each."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator

import pytest

from protogw.net import sockets
from protogw.net.sources import Sources
from protogw.wire.client_hello import UNRECOGNIZED_NAME
from protogw.wire.proxy_protocol import read, write_v1, write_v2
from tests.support.loops import on_both_loops
from tests.support.passing import Passing, networks
from tests.support.tcp import Deaf, Origin, connect, receive, reset, send, until_reset
from tests.unit.wire.test_client_hello import hello


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    made = Deaf()
    yield made
    made.close()


LOOPBACK = networks("127.0.0.0/8")


@pytest.fixture
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.close()


@on_both_loops
async def test_a_connection_is_carried_and_its_line_is_told(origin: Origin) -> None:
    async with Passing("pg", {"pg": [origin]}) as passing:
        client = await passing.connect()
        host, port = client.getsockname()
        await send(client, b"question", end=True)
        service = await origin.accept()
        assert await receive(service) == b"question"
        await send(service, b"the answer", end=True)
        assert await receive(client) == b"the answer"
        line = await passing.recorded.last()
        assert (line.listener, line.kind, line.client, line.port) == ("raw", "tcp", host, port)
        assert (line.upstream, line.bytes_in, line.bytes_out, line.ended) == (origin.address, 8, 10, "closed")
        assert line.elapsed_s >= 0  # by the clock of the loop, which goes in milliseconds
        client.close()
        counters = passing.tcp.counters
        assert (counters.accepted, counters.bytes_in, counters.bytes_out) == (1, 8, 10)


@on_both_loops
async def test_a_reset_is_carried_as_a_reset_and_told(origin: Origin) -> None:
    async with Passing("pg", {"pg": [origin]}) as passing:
        client = await passing.connect()
        await send(client, b"x")
        service = await origin.accept()
        assert await receive(service, 1) == b"x"
        reset(client)
        assert await until_reset(service) == b""
        assert (await passing.recorded.last()).ended == "reset"


@on_both_loops
async def test_who_speaks_first_does_not_matter(origin: Origin) -> None:
    """MySQL, SMTP and SSH: the server greets a client that says nothing."""
    async with Passing("pg", {"pg": [origin]}) as passing:
        client = await passing.connect()
        service = await origin.accept()
        await send(service, b"220 hello\r\n")
        assert await receive(client, 11) == b"220 hello\r\n"
        client.close()


# --- endpoints --------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_dead_endpoint_is_passed_over_and_then_left_alone(origin: Origin, deaf: Deaf) -> None:
    async with Passing("pg", {"pg": [deaf, origin]}) as passing:
        clients = [await passing.connect() for _ in range(4)]
        for client in clients:
            await send(client, b"x")
        for _ in clients:
            assert await receive(await origin.accept(), 1) == b"x"
        first, second = passing.services["pg"].endpoints.endpoints
        assert first.down_until > 0
        assert second.down_until == 0
        assert passing.tcp.counters.unreachable == 0


@on_both_loops
async def test_a_client_is_reset_when_nobody_can_be_reached(deaf: Deaf) -> None:
    async with Passing("pg", {"pg": [deaf]}) as passing:
        client = await passing.connect()
        assert await until_reset(client) == b""
        line = await passing.recorded.last()
        assert (line.ended, line.upstream, line.bytes_in) == ("unreachable", "", 0)


@on_both_loops
async def test_a_storm_of_connections_before_a_dead_service_fails_at_once(deaf: Deaf) -> None:
    """An address that answers nothing: all but the few that try it out are told without a wait."""
    async with Passing("pg", {"pg": [deaf]}) as passing:
        began = asyncio.get_running_loop().time()
        clients = [await passing.connect() for _ in range(200)]
        await asyncio.gather(*map(until_reset, clients))
        assert asyncio.get_running_loop().time() - began < 4
        assert passing.tcp.counters.unreachable == 200


@on_both_loops
async def test_a_connection_is_never_moved_once_it_has_begun(origin: Origin, other: Origin) -> None:
    async with Passing("pg", {"pg": [origin, other]}) as passing:
        client = await passing.connect()
        await send(client, b"begun")
        service = await origin.accept()
        assert await receive(service, 5) == b"begun"
        reset(service)
        assert await until_reset(client) == b""
        second = await passing.connect()
        await send(second, b"x")
        assert await receive(await other.accept(), 1) == b"x"
        second.close()


async def test_running_out_of_descriptors_is_not_held_against_the_service(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with Passing("pg", {"pg": [origin]}) as passing:
        with monkeypatch.context() as patched:
            patched.setattr(sockets, "_connected", none_left)
            assert await until_reset(await passing.connect()) == b""
            assert (await passing.recorded.last()).ended == "no file descriptors left"
        assert passing.services["pg"].endpoints.endpoints[0].down_until == 0
        assert (passing.tcp.counters.refused, passing.tcp.counters.unreachable) == (1, 0)


# --- limits -----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_connections_over_the_bound_are_reset(origin: Origin) -> None:
    async with Passing({"to": "pg", "limits": {"connections": 2}}, {"pg": [origin]}) as passing:
        kept = [await passing.connect() for _ in range(2)]
        for _ in kept:
            await origin.accept()
        refused = await passing.connect()
        assert await until_reset(refused) == b""
        assert (await passing.recorded.last()).ended == "too many connections"
        assert passing.tcp.counters.refused == 1
        for client in kept:
            client.close()


@on_both_loops
async def test_connections_of_one_source_are_bounded_by_themselves(origin: Origin) -> None:
    async with Passing({"to": "pg", "limits": {"connections_per_source": 1}}, {"pg": [origin]}) as passing:
        first = await passing.connect()
        service = await origin.accept()
        assert await until_reset(await passing.connect()) == b""
        first.close()
        service.close()
        await passing.recorded.last(2)
        again = await passing.connect()
        await send(again, b"x")
        assert await receive(await origin.accept(), 1) == b"x"
        again.close()


@on_both_loops
async def test_a_connection_on_which_nothing_moves_ends(origin: Origin) -> None:
    async with Passing({"to": "pg", "limits": {"idle": "100ms"}}, {"pg": [origin]}) as passing:
        client = await passing.connect()
        service = await origin.accept()
        assert await until_reset(client) == b""
        assert await until_reset(service) == b""
        assert (await passing.recorded.last()).ended == "idle"


@on_both_loops
async def test_a_connection_ends_at_the_end_of_its_lifetime(origin: Origin) -> None:
    async with Passing({"to": "pg", "limits": {"lifetime": "100ms"}}, {"pg": [origin]}) as passing:
        client = await passing.connect()
        service = await origin.accept()
        await send(service, b"still talking")
        assert await until_reset(client) == b"still talking"
        assert (await passing.recorded.last()).ended == "lifetime"


@on_both_loops
async def test_draining_lets_connections_end_and_takes_no_more(origin: Origin) -> None:
    async with Passing("pg", {"pg": [origin]}) as passing:
        port = passing.port
        client = await passing.connect()
        service = await origin.accept()
        draining = asyncio.ensure_future(passing.tcp.drain(5))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        await send(client, b"last words", end=True)
        assert await receive(service) == b"last words"
        await send(service, b"bye", end=True)
        assert await receive(client) == b"bye"
        await asyncio.wait_for(draining, 5)
        assert (await passing.recorded.last()).ended == "closed"


@on_both_loops
async def test_draining_ends_what_does_not_end_by_itself(origin: Origin) -> None:
    async with Passing("pg", {"pg": [origin]}) as passing:
        client = await passing.connect()
        await origin.accept()
        await passing.tcp.drain(0.05)
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "stopped"


@on_both_loops
async def test_stopping_also_ends_those_that_have_not_begun(origin: Origin) -> None:
    settings = {"sni": {"a.example": "pg"}}
    async with Passing(settings, {"pg": [origin]}) as passing:
        client = await passing.connect()
        await send(client, hello()[:20])
        while not passing.tcp.connections:  # noqa: ASYNC110 — nothing tells when it is accepted
            await asyncio.sleep(0.001)
        await passing.tcp.drain(0)
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "stopped"


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "deny"), [((), ("127.0.0.0/8",)), (("10.0.0.0/8",), ()), (("127.0.0.0/8",), ("127.0.0.1/32",))]
)
def test_a_source_that_is_denied_is_reset(origin: Origin, allow: tuple[str, ...], deny: tuple[str, ...]) -> None:
    async def main() -> None:
        sources = Sources(networks(*allow), networks(*deny))
        async with Passing("pg", {"pg": [origin]}, sources=sources) as passing:
            assert await until_reset(await passing.connect()) == b""
            assert (await passing.recorded.last()).ended == "denied"
            assert passing.tcp.counters.denied == 1

    asyncio.run(main())


@pytest.mark.parametrize("write", [write_v1, write_v2])
def test_the_source_in_a_trusted_header_is_the_client(origin: Origin, write: type) -> None:
    async def main() -> None:
        header = write(("203.0.113.9", 4711), ("192.0.2.1", 443))
        async with Passing("pg", {"pg": [origin]}, sources=Sources(proxies=LOOPBACK)) as passing:
            client = await passing.connect()
            for at in range(len(header)):
                await send(client, header[at : at + 1])
            await send(client, b"hello", end=True)
            service = await origin.accept()
            assert await receive(service) == b"hello"
            service.close()
            line = await passing.recorded.last()
            assert (line.client, line.port, line.bytes_in) == ("203.0.113.9", 4711, 5)
            client.close()

    asyncio.run(main())


@on_both_loops
async def test_rules_are_about_the_client_and_not_its_proxy(origin: Origin) -> None:
    sources = Sources(deny=networks("203.0.113.0/24"), proxies=LOOPBACK)
    async with Passing("pg", {"pg": [origin]}, sources=sources) as passing:
        client = await passing.connect()
        await send(client, write_v2(("203.0.113.9", 1), ("192.0.2.1", 443)))
        assert await until_reset(client) == b""
        line = await passing.recorded.last()
        assert (line.client, line.ended) == ("203.0.113.9", "denied")


@on_both_loops
async def test_a_header_from_somebody_else_is_not_believed(origin: Origin) -> None:
    sources = Sources(proxies=networks("10.0.0.0/8"))
    async with Passing("pg", {"pg": [origin]}, sources=sources) as passing:
        client = await passing.connect()
        assert await until_reset(client) == b""
        line = await passing.recorded.last()
        assert (line.client, line.ended) == ("127.0.0.1", "not a trusted proxy")


@on_both_loops
async def test_without_its_header_a_connection_ends(origin: Origin) -> None:
    async with Passing("pg", {"pg": [origin]}, sources=Sources(proxies=LOOPBACK)) as passing:
        client = await passing.connect()
        await send(client, b"GET / HTTP/1.1\r\n\r\n")
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "no PROXY header"
        assert passing.tcp.counters.malformed == 1


@on_both_loops
async def test_a_header_that_does_not_come_is_not_waited_for(origin: Origin) -> None:
    settings = {"to": "pg", "limits": {"handshake": "50ms"}}
    async with Passing(settings, {"pg": [origin]}, sources=Sources(proxies=LOOPBACK)) as passing:
        client = await passing.connect()
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "too slow to begin"


@on_both_loops
async def test_a_proxys_own_connection_is_its_own_and_welcome_whatever_the_rules(origin: Origin) -> None:
    sources = Sources(networks("203.0.113.0/24"), proxies=LOOPBACK)
    async with Passing("pg", {"pg": [origin]}, sources=sources) as passing:
        client = await passing.connect()
        await send(client, b"PROXY UNKNOWN\r\nx", end=True)
        service = await origin.accept()
        assert await receive(service) == b"x"
        service.close()
        assert (await passing.recorded.last()).client == "127.0.0.1"
        client.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_service_is_told_where_a_connection_comes_from(origin: Origin, version: str) -> None:
    async def main() -> None:
        from protogw.assembly_raw import _INTRODUCTIONS

        async with Passing("pg", {"pg": [origin]}, introduction=_INTRODUCTIONS[version]) as passing:
            client = await passing.connect()
            await send(client, b"x", end=True)
            said = await receive(await origin.accept())
            found = read(said)
            assert found is not None
            assert (found[0].source, found[0].destination) == (client.getsockname(), client.getpeername())
            assert said[found[1] :] == b"x"
            client.close()

    asyncio.run(main())


# --- by name ----------------------------------------------------------------------------------------------------------

BY_NAME = {"sni": {"a.example": "a", "*.example": "b"}}


@pytest.mark.parametrize("name", ["a.example", "x.example", "x.y.example"])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_a_name_leads_to_its_service_with_every_byte_that_was_read(
    origin: Origin, other: Origin, name: str, piece: int
) -> None:
    async def main() -> None:
        data = hello(name)
        async with Passing(BY_NAME, {"a": [origin], "b": [other]}) as passing:
            client = await passing.connect()
            for at in range(0, len(data), piece):
                await send(client, data[at : at + piece])
            service = await (origin if name == "a.example" else other).accept()
            assert await receive(service, len(data)) == data
            await send(service, b"server hello", end=True)
            assert await receive(client) == b"server hello"
            client.close()
            line = await passing.recorded.last()
            assert (line.server_name, line.bytes_in) == (name, len(data))

    asyncio.run(main())


@on_both_loops
async def test_a_name_that_nobody_has_is_refused_in_tls_and_reaches_nobody(origin: Origin, other: Origin) -> None:
    async with Passing(BY_NAME, {"a": [origin], "b": [other]}) as passing:
        client = await passing.connect()
        await send(client, hello("example"))
        assert await receive(client) == UNRECOGNIZED_NAME
        line = await passing.recorded.last()
        assert (line.ended, line.upstream, passing.tcp.counters.unnamed) == ("unknown server name", "", 1)
        client.close()


@on_both_loops
async def test_a_client_without_a_name_is_refused(origin: Origin, other: Origin) -> None:
    async with Passing(BY_NAME, {"a": [origin], "b": [other]}) as passing:
        client = await passing.connect()
        await send(client, hello(None))
        assert await receive(client) == UNRECOGNIZED_NAME
        assert (await passing.recorded.last()).ended == "no server name"
        client.close()


@on_both_loops
async def test_what_is_no_tls_is_reset_and_reaches_nobody(origin: Origin, other: Origin) -> None:
    async with Passing(BY_NAME, {"a": [origin], "b": [other]}) as passing:
        client = await passing.connect()
        await send(client, b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "does not begin with a TLS handshake"


@pytest.mark.parametrize(
    "said",
    [hello("elsewhere.test"), hello(None), b"SSH-2.0-x\r\n", hello()[:30]],
    ids=["another name", "no name", "no TLS", "cut short"],
)
def test_the_default_takes_everybody_else_as_they_are(origin: Origin, other: Origin, said: bytes) -> None:
    async def main() -> None:
        async with Passing({**BY_NAME, "default": "b"}, {"a": [origin], "b": [other]}) as passing:
            client = await passing.connect()
            await send(client, said, end=True)
            assert await receive(await other.accept()) == said
            client.close()

    asyncio.run(main())


@on_both_loops
async def test_a_hello_that_is_never_finished_is_given_up_in_time(origin: Origin) -> None:
    settings = {"sni": {"a.example": "a"}, "limits": {"handshake": "50ms"}}
    async with Passing(settings, {"a": [origin]}) as passing:
        client = await passing.connect()
        await send(client, hello()[:-1])
        assert await until_reset(client) == b""
        assert (await passing.recorded.last()).ended == "too slow to begin"


def test_what_is_shown_of_a_listener_says_where_it_leads_and_what_it_saw(origin: Origin) -> None:
    async def main() -> None:
        async with Passing(BY_NAME, {"a": [origin], "b": [origin]}) as passing:
            state = passing.tcp.state()
            assert state["tcp"] == BY_NAME
            assert (state["connections"], state["accepted"], state["tls"]) == (0, 0, False)
            assert repr(passing.tcp) == f"<Tcp raw 127.0.0.1:{passing.port}, 0 connections>"

    asyncio.run(main())
