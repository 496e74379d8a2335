"""Addresses out of DNS, asked again when the answer's time to live is over: A and AAAA records, and SRV (RFC 2782).

Names are taken as they are written: no search domain is tried, and /etc/hosts is not looked at.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.names import host_of, is_host, port_of
from protogw.discovery.settings import DiscoverySettings
from protogw.values import refuse

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.resolver import Answer

_AT_ONCE = 16
"""Names asked for at the same time."""
_MOST_TARGETS = 256
"""Names of one SRV answer that are looked up."""
_FAMILIES = {"any": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}


@dataclass(frozen=True, slots=True)
class Dns:
    """`dns:HOST:PORT`: every address of a host, at one port."""

    kind: ClassVar[str] = "dns"
    trusted: ClassVar[bool] = False

    host: str
    port: int

    @classmethod
    def parse(cls, written: str) -> Self:
        host, colon, port = written.removeprefix("dns:").partition(":")
        if not colon:
            refuse("has no port: write dns:orders.internal:50051")
        return cls(host_of(host), port_of(port))

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def server_name(self) -> str:
        return self.host

    def open(self, settings: DiscoverySettings) -> Lookup:
        return Lookup(settings, self)


@dataclass(frozen=True, slots=True)
class Srv:
    """`srv:_SERVICE._tcp.DOMAIN`: hosts, ports, weights and priorities out of one record."""

    kind: ClassVar[str] = "srv"
    trusted: ClassVar[bool] = False

    host: str

    @classmethod
    def parse(cls, written: str) -> Self:
        host = host_of(written.removeprefix("srv:"))
        if not host.startswith("_") or host.count(".") < 2:
            refuse("is not the name of a service: write srv:_grpc._tcp.orders.internal")
        return cls(host)

    @property
    def authority(self) -> str:
        return self.server_name

    @property
    def server_name(self) -> str:
        return self.host.split(".", 2)[2]

    def open(self, settings: DiscoverySettings) -> Lookup:
        return Lookup(settings, self)


class Lookup:
    """The Source of both."""

    def __init__(self, settings: DiscoverySettings, reference: Dns | Srv) -> None:
        self._settings = settings
        self._reference = reference
        self._resolver: Resolver | None = None
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}
        """By name and type of record, the last good answers: what stands in for those that fail."""
        self._until = 0.0

    async def next(self) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        if (left := self._until - loop.time()) > 0:
            await asyncio.sleep(left)
        self._until = 0.0
        try:
            async with asyncio.timeout(self._settings.timeout):
                found, ttl = await self._ask()
        except TimeoutError as error:
            raise DiscoveryError(f"no answer within {self._settings.timeout:g} s") from error
        ttl = min(max(ttl, self._settings.min_ttl), self._settings.max_ttl)
        # Many gateways that began together ask at different times from then on.
        self._until = loop.time() + ttl * random.uniform(0.9, 1.0)
        return found

    async def _ask(self) -> tuple[list[Address], float]:
        reference = self._reference
        if isinstance(reference, Dns):
            hosts, ttl = await self._addresses(reference.host)
            return [Address(host=host, port=reference.port) for host in hosts], ttl
        return await self._targets(reference)

    async def _targets(self, reference: Srv) -> tuple[list[Address], float]:
        answer = await self._query(reference.host, "SRV")
        records = sorted(answer, key=lambda one: (one.priority, -one.weight, one.target, one.port))[:_MOST_TARGETS]
        named = [(one, one.target.to_text(omit_final_dot=True).lower()) for one in records]
        # "." as the only target says that the service is decidedly not there (RFC 2782).
        named = [(one, name) for one, name in named if is_host(name) and one.port]
        if not named:
            raise DiscoveryError(f"{reference.host} has no SRV record that names a host")
        ranks = {priority: rank for rank, priority in enumerate(sorted({one.priority for one, _ in named}))}
        names = list(dict.fromkeys(name for _, name in named))
        room = asyncio.Semaphore(_AT_ONCE)

        async def look_up(name: str) -> tuple[Sequence[str], float] | DiscoveryError:
            async with room:
                try:
                    return await self._addresses(name)
                except DiscoveryError as error:
                    return error

        looked_up = dict(zip(names, await asyncio.gather(*map(look_up, names)), strict=True))
        ttl = _ttl(answer)
        found: list[Address] = []
        failed: DiscoveryError | None = None
        for one, name in named:
            outcome = looked_up[name]
            if isinstance(outcome, DiscoveryError):
                failed = outcome
                continue
            hosts, seconds = outcome
            ttl = min(ttl, seconds)
            found += [
                Address(host=host, port=one.port, weight=max(1, one.weight), priority=ranks[one.priority])
                for host in hosts
            ]
        if not found and failed is not None:
            raise failed
        return found, ttl

    async def _addresses(self, host: str) -> tuple[Sequence[str], float]:
        """A host's addresses, in their order, and for how many seconds they hold."""
        kinds = _FAMILIES[self._settings.family]
        outcomes = await asyncio.gather(*(self._family(host, kind) for kind in kinds))
        failed = [outcome for outcome in outcomes if isinstance(outcome, DiscoveryError)]
        if len(failed) == len(kinds):
            raise failed[0]
        hosts: list[str] = []
        ttl = self._settings.max_ttl
        for kind, outcome in zip(kinds, outcomes, strict=True):
            if isinstance(outcome, DiscoveryError):
                # One family that fails takes nothing away from what is known of it.
                hosts += self._known.get((host, kind), ())
                ttl = self._settings.min_ttl
            else:
                hosts += outcome[0]
                ttl = min(ttl, outcome[1])
        if not hosts:
            raise DiscoveryError(f"{host} has no address")
        return hosts, ttl

    async def _family(self, host: str, kind: str) -> tuple[Sequence[str], float] | DiscoveryError:
        try:
            answer = await self._query(host, kind)
        except DiscoveryError as error:
            return error
        found = tuple(sorted(record.address for record in answer))
        if len(self._known) < 2 * _MOST_TARGETS:
            self._known[host, kind] = found
        return found, _ttl(answer)

    async def _query(self, name: str, kind: str) -> Answer:
        import dns.exception
        import dns.name
        import dns.resolver

        if self._resolver is None:
            self._resolver = await asyncio.to_thread(_resolver, self._settings)
        try:
            return await self._resolver.resolve(
                dns.name.from_text(name + "."),
                kind,
                search=False,
                raise_on_no_answer=False,
                lifetime=self._settings.timeout,
            )
        except dns.resolver.NXDOMAIN as error:
            raise DiscoveryError(f"there is no name {name}") from error
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DiscoveryError(f"{name}: DNS gives no answer of use ({type(error).__name__})") from error

    async def close(self) -> None:
        """Nothing is held between look-ups."""


def _resolver(settings: DiscoverySettings) -> Resolver:
    """Reads /etc/resolv.conf, and imports a tenth of a second's worth; raises DiscoveryError."""
    from dns.asyncresolver import Resolver
    from dns.nameserver import Do53Nameserver
    from dns.resolver import NoResolverConfiguration

    try:
        made = Resolver(configure=not settings.resolvers)
    except NoResolverConfiguration as error:
        raise DiscoveryError("/etc/resolv.conf names no DNS server: name one in discovery.resolvers") from error
    if settings.resolvers:
        made.nameservers = [Do53Nameserver(host, port) for host, port in settings.resolvers]
    made.search = []
    # A server that says nothing leaves time to ask the next.
    made.timeout = max(0.25, settings.timeout / 3)
    made.lifetime = settings.timeout
    return made


def _ttl(answer: Answer) -> float:
    """The least time to live of the answer and of the aliases that led to it."""
    return float(answer.chaining_result.minimum_ttl)
