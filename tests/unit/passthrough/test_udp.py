"""Datagrams passed through: sessions that keep their endpoint, answers that find their way, bounds that hold."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from protogw.balancers.round_robin import RoundRobin
from protogw.discovery.base import Address
from protogw.net.sources import Sources
from protogw.passthrough.endpoints import Endpoints
from protogw.passthrough.service import Service
from protogw.passthrough.udp import Udp
from tests.support.loops import on_both_loops
from tests.support.passing import Recorded, networks


class Speaker:
    """A UDP socket of the test's."""

    def __init__(self, host: str = "127.0.0.1", peer: tuple[str, int] | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((host, 0))
        if peer is not None:
            self.sock.connect(peer)
        self.address: tuple[str, int] = self.sock.getsockname()[:2]

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    def send_to(self, data: bytes, where: tuple[str, int]) -> None:
        self.sock.sendto(data, where)

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram and where it came from."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.sock.fileno(), ready.set_result, None)
        try:
            async with asyncio.timeout(5):
                await ready
        finally:
            loop.remove_reader(self.sock.fileno())
        data, where = self.sock.recvfrom(65536)
        return data, where[:2]

    @property
    def silent(self) -> bool:
        """Nothing has come."""
        try:
            self.sock.recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()


class Passing:
    """A `Udp` listener with services, and clients."""

    def __init__(self, settings: Any, addresses: list[tuple[str, int]], host: str, sources: Sources | None) -> None:
        self.recorded = Recorded()
        self.endpoints = Endpoints(
            "dns", "udp", [Address(host=host, port=port) for host, port in addresses], RoundRobin()
        )
        written = {"to": "dns", **settings}
        self.udp = Udp(
            "dns",
            host,
            0,
            Udp.Settings.model_validate(written),
            {"dns": Service(endpoints=self.endpoints)},
            sources=sources or Sources(),
            recorder=self.recorded,
        )
        self.speakers: list[Speaker] = []

    @property
    def port(self) -> int:
        return self.udp.address[1]

    def client(self, host: str = "127.0.0.1", to: str = "127.0.0.1") -> Speaker:
        made = Speaker(host, (to, self.port))
        self.speakers.append(made)
        return made


@contextlib.asynccontextmanager
async def passing(
    *services: Speaker | tuple[str, int], host: str = "127.0.0.1", sources: Sources | None = None, **limits: Any
) -> AsyncIterator[Passing]:
    addresses = [one.address if isinstance(one, Speaker) else one for one in services]
    made = Passing({"limits": limits}, addresses, host, sources)
    await made.udp.start()
    try:
        yield made
    finally:
        await made.udp.drain(0)
        assert made.udp.sessions == 0
        assert len(made.udp.per_source) == 0
        assert not any(endpoint.active for endpoint in made.endpoints.endpoints)
        for one in (*services, *made.speakers):
            if isinstance(one, Speaker):
                one.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 — counters tell nobody that they change
            await asyncio.sleep(0.002)


@on_both_loops
async def test_a_question_goes_there_and_its_answer_comes_back() -> None:
    service = Speaker()
    async with passing(service) as here:
        client = here.client()
        client.send(b"question")
        data, way = await service.receive()
        assert data == b"question"
        service.send_to(b"an answer", way)
        assert await client.receive() == (b"an answer", ("127.0.0.1", here.port))
        state = here.udp.state()
        assert (state["datagrams_in"], state["bytes_in"]) == (1, 8)
        assert (state["datagrams_out"], state["bytes_out"]) == (1, 9)
        await here.udp.drain(0)
        line = here.recorded.lines[0]
        assert (line.client, line.port, line.kind) == (*client.address, "udp")
        assert (line.bytes_in, line.bytes_out, line.ended) == (8, 9, "stopped")


@on_both_loops
async def test_a_client_keeps_its_endpoint_and_another_gets_the_next() -> None:
    first, second = Speaker(), Speaker()
    async with passing(first, second) as here:
        one, other = here.client(), here.client()
        for number in range(3):
            one.send(b"one %d" % number)
            other.send(b"other %d" % number)
        assert [(await first.receive())[0] for _ in range(3)] == [b"one 0", b"one 1", b"one 2"]
        assert [(await second.receive())[0] for _ in range(3)] == [b"other 0", b"other 1", b"other 2"]
        assert here.udp.sessions == 2


@on_both_loops
async def test_answers_of_nobody_else_reach_the_client() -> None:
    service, stranger = Speaker(), Speaker()
    async with passing(service) as here:
        client = here.client()
        client.send(b"question")
        _, way = await service.receive()
        stranger.send_to(b"a lie", way)
        service.send_to(b"the truth", way)
        assert (await client.receive())[0] == b"the truth"
        assert client.silent
        stranger.close()


@on_both_loops
async def test_on_a_wildcard_answers_leave_from_the_address_that_was_asked() -> None:
    service = Speaker()
    async with passing(service, host="0.0.0.0") as here:
        # A connected socket takes answers from nobody else, as resolvers do.
        for address in ("127.0.0.1", "127.0.0.2", "127.8.9.10"):
            client = here.client(to=address)
            client.send(b"question")
            _, way = await service.receive()
            service.send_to(b"answer", way)
            assert await client.receive() == (b"answer", (address, here.port))


@on_both_loops
async def test_one_client_asking_two_addresses_has_two_sessions() -> None:
    service = Speaker()
    async with passing(service, host="0.0.0.0") as here:
        client = Speaker("0.0.0.0")
        here.speakers.append(client)
        for address in ("127.0.0.1", "127.0.0.2"):
            client.send_to(b"to " + address.encode(), (address, here.port))
        ways = dict([await service.receive(), await service.receive()])
        assert here.udp.sessions == 2
        service.send_to(b"answer", ways[b"to 127.0.0.2"])
        assert await client.receive() == (b"answer", ("127.0.0.2", here.port))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_on_a_wildcard_too() -> None:
    async def main() -> None:
        service = Speaker()
        async with passing(service, host="::") as here:
            client = here.client("::1", "::1")
            client.send(b"question")
            _, way = await service.receive()
            service.send_to(b"answer", way)
            assert await client.receive() == (b"answer", ("::1", here.port))

    try:
        Speaker("::1").close()
    except OSError:
        pytest.skip("no IPv6 address")
    asyncio.run(main())


@on_both_loops
async def test_an_endpoint_may_have_a_name() -> None:
    service = Speaker()
    async with passing(service, ("localhost", service.address[1])) as here:
        clients = [here.client() for _ in range(2)]
        for client in clients:
            for number in range(3):
                client.send(b"%d" % number)
        got = sorted([(await service.receive())[0] for _ in range(6)])
        assert got == [b"0", b"0", b"1", b"1", b"2", b"2"]


@on_both_loops
async def test_a_name_that_nobody_knows_ends_the_session() -> None:
    async with passing(("host.invalid", 53)) as here:
        here.client().send(b"question")
        assert (await here.recorded.last()).ended == "unreachable"
        assert here.endpoints.endpoints[0].down_until > 0


@on_both_loops
async def test_an_endpoint_that_refuses_ends_the_session_and_the_next_goes_elsewhere() -> None:
    gone, service = Speaker(), Speaker()
    gone.close()
    async with passing(gone, service) as here:
        client = here.client()
        client.send(b"lost")
        line = await here.recorded.last()
        assert (line.ended, line.bytes_in, line.bytes_out) == ("unreachable", 4, 0)
        for _ in range(3):
            other = here.client()
            other.send(b"question")
            assert (await service.receive())[0] == b"question"
        # The same client begins anew, elsewhere.
        client.send(b"again")
        assert (await service.receive())[0] == b"again"
        assert here.udp.counters.unreachable == 1


@on_both_loops
async def test_a_session_without_datagrams_ends_and_begins_anew() -> None:
    service = Speaker()
    async with passing(service, idle="50ms") as here:
        client = here.client()
        client.send(b"one")
        _, first = await service.receive()
        assert (await here.recorded.last()).ended == "idle"
        client.send(b"two")
        data, second = await service.receive()
        assert data == b"two"
        assert first != second
        assert here.udp.counters.sessions_begun == 2


# --- bounds -----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_flood_of_sources_stays_within_the_bound_and_goes_away() -> None:
    service = Speaker()
    async with passing(service, sessions=20, idle="100ms") as here:
        sources = [here.client() for _ in range(200)]
        for source in sources:
            source.send(b"x")
        await until(lambda: here.udp.counters.dropped == 180)
        assert here.udp.sessions == 20
        await until(lambda: here.udp.sessions == 0)
        late = here.client()
        late.send(b"after the flood")
        await until(lambda: here.udp.counters.sessions_begun == 21)


@on_both_loops
async def test_one_source_cannot_take_every_session() -> None:
    service = Speaker()
    async with passing(service, sessions_per_source=3) as here:
        for _ in range(10):
            here.client().send(b"x")
        await until(lambda: here.udp.counters.dropped == 7)
        assert here.udp.sessions == 3
        other = here.client("127.0.0.9")
        other.send(b"x")
        await until(lambda: here.udp.sessions == 4)


async def test_a_hundred_thousand_sources_take_no_more_than_the_bound() -> None:
    """Sources without number, as a spoofing sender makes them; taken in without a socket for each, to be quick."""
    service = Speaker()
    async with passing(service, sessions=50) as here:
        sock = here.udp.port._sockets[0]
        for number in range(100_000):
            host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            here.udp._received(b"x", _way(sock, host))
        assert here.udp.sessions == 50
        assert here.udp.counters.dropped == 99_950
        assert len(here.udp.per_source) == 50


def _way(sock: socket.socket, host: str) -> Any:
    from protogw.net.udp import Way

    return Way(sock, (host, 5353), None)


@on_both_loops
async def test_nothing_is_said_to_a_client_before_the_service_has_answered() -> None:
    """So nobody can have more sent to a forged address than was sent here, but by the service itself."""
    service = Speaker()
    async with passing(service) as here:
        client = here.client()
        for _ in range(20):
            client.send(b"question" * 100)
        for _ in range(20):
            await service.receive()
        assert client.silent
        assert here.udp.counters.datagrams_out == 0


@on_both_loops
async def test_datagrams_over_the_bound_are_dropped_either_way() -> None:
    service = Speaker()
    async with passing(service, datagram=100) as here:
        client = here.client()
        client.send(b"x" * 101)
        client.send(b"y" * 100)
        data, way = await service.receive()
        assert data == b"y" * 100
        assert here.udp.state()["oversize"] == 1
        service.send_to(b"x" * 101, way)
        service.send_to(b"z" * 100, way)
        assert (await client.receive())[0] == b"z" * 100
        assert client.silent


@on_both_loops
async def test_the_largest_and_the_empty_datagram_pass() -> None:
    service = Speaker()
    async with passing(service) as here:
        client = here.client()
        for data in (b"", b"x" * 65_507):
            client.send(data)
            got, way = await service.receive()
            assert got == data
            service.send_to(data, way)
            assert (await client.receive())[0] == data


@on_both_loops
async def test_a_source_that_is_denied_is_not_heard() -> None:
    service = Speaker()
    async with passing(service, sources=Sources(deny=networks("127.0.0.9"))) as here:
        here.client("127.0.0.9").send(b"x")
        await until(lambda: here.udp.counters.denied == 1)
        here.client().send(b"y")
        assert (await service.receive())[0] == b"y"


@on_both_loops
async def test_draining_takes_no_new_client_and_ends_with_the_last_answer() -> None:
    service = Speaker()
    async with passing(service) as here:
        client = here.client()
        client.send(b"question")
        _, way = await service.receive()
        draining = asyncio.ensure_future(here.udp.drain(10))
        await asyncio.sleep(0)
        here.client().send(b"too late")
        await until(lambda: here.udp.counters.dropped == 1)
        service.send_to(b"answer", way)
        assert (await client.receive())[0] == b"answer"
        await asyncio.wait_for(draining, 5)
        assert here.recorded.lines[0].ended == "idle"


@on_both_loops
async def test_an_address_in_use_is_told() -> None:
    service = Speaker()
    async with passing(service) as here:
        settings = Udp.Settings.model_validate("dns")
        second = Udp("two", "127.0.0.1", here.port, settings, {"dns": here.udp.service}, sources=Sources())
        with pytest.raises(OSError, match=r"listener two: cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            await second.start()
