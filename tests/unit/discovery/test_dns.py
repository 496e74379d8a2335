"""Look-ups against a DNS server that answers as a test says: times to live, aliases, failures, garbage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from protogw.discovery import dns as discovery
from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.dns import Dns, Lookup, Srv
from protogw.discovery.settings import DiscoverySettings

Zone = dict[tuple[str, str], Any]
"""By name and type: (ttl, *records), an rcode, or bytes to send as they are."""


class Server(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = str(question.name), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        said = self.zone.get((name.removesuffix("."), kind), ())
        if said is None:
            return
        if isinstance(said, bytes):
            self.transport.sendto(query.id.to_bytes(2, "big") + said, addr)
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if isinstance(said, dns.rcode.Rcode):
            answer.set_rcode(said)
        elif said:
            if isinstance(said[0], dns.rrset.RRset):
                answer.answer.extend(said)
            else:
                answer.answer.append(dns.rrset.from_text(name, said[0], "IN", kind, *said[1:]))
        self.transport.sendto(answer.to_wire(max_size=65535), addr)


@asynccontextmanager
async def asking(reference: Dns | Srv, zone: Zone, **settings: Any) -> AsyncIterator[tuple[Lookup, Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(zone), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    options = {"resolvers": f"127.0.0.1:{port}", "timeout": "5s", "min_ttl": "1ms", **settings}
    try:
        yield reference.open(DiscoverySettings.model_validate(options)), server
    finally:
        transport.close()
        await asyncio.sleep(0)


def hosts(found: Any) -> list[str]:
    return [one.host for one in found]


ORDERS = Dns("orders.test", 80)
A, AAAA = ("orders.test", "A"), ("orders.test", "AAAA")


async def test_both_families_are_asked_for_the_name_as_it_is_written() -> None:
    async with asking(ORDERS, {A: (60, "10.0.0.2", "10.0.0.1"), AAAA: (60, "2001:db8::1")}) as (lookup, server):
        assert await lookup.next() == [
            Address(host="10.0.0.1", port=80),
            Address(host="10.0.0.2", port=80),
            Address(host="2001:db8::1", port=80),
        ]
        assert sorted(server.asked) == ["orders.test. A", "orders.test. AAAA"]


async def test_one_family_may_be_enough() -> None:
    async with asking(ORDERS, {A: (60, "10.0.0.1")}, family="ipv4") as (lookup, server):
        assert hosts(await lookup.next()) == ["10.0.0.1"]
        assert server.asked == ["orders.test. A"]


@pytest.mark.parametrize(
    ("ttl", "least", "most", "kept"), [(30, 1, 300, 30), (0, 5, 300, 5), (86400, 1, 60, 60), (2**31 - 1, 1, 300, 300)]
)
async def test_answers_are_kept_as_long_as_they_say_within_bounds(
    ttl: int, least: int, most: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda a, b: b)
    zone: Zone = {A: (ttl, "10.0.0.1"), AAAA: (ttl, "2001:db8::1")}
    async with asking(ORDERS, zone, min_ttl=f"{least}s", max_ttl=f"{most}s") as (lookup, _):
        before = asyncio.get_running_loop().time()
        await lookup.next()
        after = asyncio.get_running_loop().time()
        assert before + kept <= lookup._until <= after + kept


async def test_an_alias_counts_by_its_own_time_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda a, b: b)
    alias = [
        dns.rrset.from_text("orders.test.", 7, "IN", "CNAME", "real.test."),
        dns.rrset.from_text("real.test.", 600, "IN", "A", "10.0.0.1"),
    ]
    async with asking(ORDERS, {A: alias}, family="ipv4") as (lookup, _):
        after = asyncio.get_running_loop().time()
        assert hosts(await lookup.next()) == ["10.0.0.1"]
        assert lookup._until - after < 10


async def test_it_asks_again_when_the_answer_is_too_old() -> None:
    zone: Zone = {A: (0, "10.0.0.1")}
    async with asking(ORDERS, zone, family="ipv4") as (lookup, _):
        await lookup.next()
        zone[A] = (0, "10.0.0.2")
        assert hosts(await lookup.next()) == ["10.0.0.2"]


async def test_a_family_that_fails_keeps_what_was_known_of_it() -> None:
    zone: Zone = {A: (0, "10.0.0.1"), AAAA: (0, "2001:db8::1")}
    async with asking(ORDERS, zone) as (lookup, _):
        await lookup.next()
        zone[A], zone[AAAA] = (0, "10.0.0.2"), dns.rcode.SERVFAIL
        assert hosts(await lookup.next()) == ["10.0.0.2", "2001:db8::1"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (dns.rcode.NXDOMAIN, "there is no name orders.test"),
        (dns.rcode.SERVFAIL, "no answer of use"),
        (dns.rcode.REFUSED, "no answer of use"),
        ((), "has no address"),
        (b"", "no answer"),
        (b"\x81\x80\x00\x01\xff\xff\xff\xff\xff\xff", "no answer"),
        (b"\x81\x80" + b"\xc0\x0c" * 200, "no answer"),
        (None, "no answer"),
    ],
)
async def test_an_answer_of_no_use_is_an_error_with_a_reason(said: Any, reason: str) -> None:
    async with asking(ORDERS, {A: said, AAAA: said}, timeout="300ms") as (lookup, _):
        with pytest.raises(DiscoveryError, match=reason):
            await lookup.next()


async def test_random_bytes_never_do_more_than_fail() -> None:
    chance = random.Random(53)
    zone: Zone = {}
    async with asking(ORDERS, zone, timeout="250ms", family="ipv4") as (lookup, _):
        for _ in range(12):
            zone[A] = b"\x81\x80" + chance.randbytes(chance.randrange(60))
            with pytest.raises(DiscoveryError):
                await lookup.next()
        zone[A] = (0, "10.0.0.1")
        assert hosts(await lookup.next()) == ["10.0.0.1"]


GRPC = Srv("_grpc._tcp.orders.test")
RECORD = ("_grpc._tcp.orders.test", "SRV")


async def test_a_service_record_says_host_port_weight_and_priority() -> None:
    zone: Zone = {
        RECORD: (60, "20 5 81 b.test.", "10 0 80 a.test.", "10 7 82 A.test."),
        ("a.test", "A"): (60, "10.0.0.1", "10.0.0.2"),
        ("b.test", "A"): (60, "10.0.0.3"),
    }
    async with asking(GRPC, zone, family="ipv4") as (lookup, _):
        assert await lookup.next() == [
            Address(host="10.0.0.1", port=82, weight=7),
            Address(host="10.0.0.2", port=82, weight=7),
            Address(host="10.0.0.1", port=80, weight=1),
            Address(host="10.0.0.2", port=80, weight=1),
            Address(host="10.0.0.3", port=81, weight=5, priority=1),
        ]


async def test_a_target_without_an_address_is_left_out() -> None:
    zone: Zone = {RECORD: (60, "1 1 80 a.test.", "1 1 80 b.test."), ("a.test", "A"): (60, "10.0.0.1")}
    async with asking(GRPC, zone, family="ipv4") as (lookup, _):
        assert hosts(await lookup.next()) == ["10.0.0.1"]


async def test_a_service_that_is_decidedly_not_there_is_an_error() -> None:
    async with asking(GRPC, {RECORD: (60, "0 0 0 .")}) as (lookup, _):
        with pytest.raises(DiscoveryError, match="no SRV record that names a host"):
            await lookup.next()


async def test_of_a_huge_record_only_so_many_targets_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_MOST_TARGETS", 5)
    zone: Zone = {RECORD: (60, *(f"1 1 80 n{n}.test." for n in range(40)))}
    zone |= {(f"n{n}.test", "A"): (60, f"10.0.0.{n}") for n in range(40)}
    async with asking(GRPC, zone, family="ipv4") as (lookup, server):
        assert len(await lookup.next()) == 5
        assert len(server.asked) == 6


async def test_a_machine_without_resolvers_is_told_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    from dns.resolver import NoResolverConfiguration

    def none(**_: Callable[..., object]) -> None:
        raise NoResolverConfiguration

    monkeypatch.setattr("dns.asyncresolver.Resolver", none)
    with pytest.raises(DiscoveryError, match=r"discovery\.resolvers"):
        await ORDERS.open(DiscoverySettings()).next()
