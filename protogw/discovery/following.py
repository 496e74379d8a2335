"""Keeps a pool's addresses up to date: follows what its references find, and says when that fails.

A failure never takes anything away: what was found last stays. It is told once, counted, and tried again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from protogw.discovery.base import Address, DiscoveryError, Reference
from protogw.discovery.names import is_host
from protogw.discovery.settings import DiscoverySettings
from protogw.values import Network

log = logging.getLogger("protogw")

RETRY_FIRST_S, RETRY_FACTOR, RETRY_MOST_S = 0.5, 1.6, 30.0
MOST_WEIGHT = 10_000

_NEVER: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "224.0.0.0/3", "::1", "::", "fe80::/10", "ff00::/8")
)
"""Loopback, link-local (where clouds keep their secrets), "this network", multicast and reserved: what the name of a
service of another machine never leads to, unless somebody wants to reach what stands beside the gateway."""

Start = Callable[[Coroutine[Any, Any, None], str], object]


class Part:
    """One entry of an upstream's addresses: a reference, and what it found last."""

    def __init__(self, written: str, reference: Reference, entry: Address, settings: DiscoverySettings) -> None:
        """`entry` has the weight, priority and zone that the config gives to all that is found."""
        self.written = written
        self.addresses: tuple[Address, ...] = ()
        self.updates = 0
        """Times that something was found."""
        self.failures = 0
        """Times that nothing could be."""
        self.dropped = 0
        """Of what was found last, what may not be used or is too much."""
        self.error = ""
        """Why it last failed, empty while it works."""
        self.updated_at = 0.0
        """Unix time of the last success."""
        self.tried = asyncio.Event()
        """It has found something, or failed to, once."""
        self._reference = reference
        self._entry = entry
        self._settings = settings
        default: Sequence[Network] = () if reference.trusted else _NEVER
        self._refused = default if settings.refuse is None else settings.refuse

    async def run(self, changed: Callable[[Part], None]) -> None:
        """Find again and again until cancelled; `changed` is called after each time."""
        source = self._reference.open(self._settings)
        pause = RETRY_FIRST_S
        try:
            while True:
                try:
                    self._take(await source.next())
                except DiscoveryError as error:
                    self.failures += 1
                    if not self.error:
                        log.warning("%s: %s; the addresses stay as they were", self.written, error)
                    self.error = str(error)
                    self.tried.set()
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                    pause = min(pause * RETRY_FACTOR, RETRY_MOST_S)
                    continue
                except Exception as error:  # a fault of a source's own must not end the following for good
                    log.exception("%s: a fault in what finds its addresses", self.written)
                    self.failures += 1
                    self.error = type(error).__name__
                    self.tried.set()
                    await asyncio.sleep(RETRY_MOST_S)
                    continue
                pause = RETRY_FIRST_S
                changed(self)
                self.tried.set()
        finally:
            await source.close()

    def _take(self, found: Sequence[Address]) -> None:
        """Keep what may be used of it; raises DiscoveryError when that is nothing."""
        entry = self._entry
        usable = {(one.host, one.port): one for one in found if self._may(one)}
        taken = sorted(usable.values(), key=lambda one: (one.priority, one.host, one.port))[: self._settings.limit]
        dropped = len(found) - len(taken)
        if found and not taken:
            raise DiscoveryError(f"none of the {len(found)} addresses may be used (discovery.refuse)")
        if not found:
            raise DiscoveryError("there are no addresses")
        if dropped and dropped != self.dropped:
            log.warning("%s: %d of %d addresses are not used", self.written, dropped, len(found))
        self.dropped = dropped
        addresses = tuple(
            replace(
                one,
                weight=min(MOST_WEIGHT, one.weight * entry.weight),
                priority=one.priority + entry.priority,
                zone=one.zone or entry.zone,
            )
            for one in taken
        )
        if self.error:
            log.info("%s: found again: %d addresses", self.written, len(addresses))
        elif self.updates and addresses != self.addresses:
            log.info("%s: %d addresses", self.written, len(addresses))
        self.error = ""
        self.updates += 1
        self.updated_at = time.time()
        self.addresses = addresses

    def _may(self, one: Address) -> bool:
        if not 0 < one.port < 65536 or one.weight < 1:
            return False
        try:
            address = ipaddress.ip_address(one.host)
        except ValueError:
            return is_host(one.host)
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped if mapped is not None else address
        return not any(address.version == network.version and address in network for network in self._refused)


class Following:
    """The addresses of one upstream: those that are written, and those that its references find."""

    def __init__(
        self,
        name: str,
        fixed: Sequence[Address],
        parts: Sequence[Part],
        update: Callable[[Sequence[Address]], None],
        timeout_s: float,
    ) -> None:
        self.name = name
        self.parts = tuple(parts)
        self._fixed = tuple(fixed)
        self._update = update
        self._timeout_s = timeout_s

    async def begin(self, start: Start) -> None:
        """Start to follow, and wait until every reference has been tried, but not for long."""
        for part in self.parts:
            start(part.run(self._changed), f"discovery of {self.name}")
        try:
            async with asyncio.timeout(self._timeout_s):
                for part in self.parts:
                    await part.tried.wait()
        except TimeoutError:
            pass  # calls fail until there are addresses; who is waited for is shown on the admin address

    @property
    def awaited(self) -> bool:
        """Nothing has been found yet."""
        return not self._fixed and not any(part.updates for part in self.parts)

    def _changed(self, _: Part) -> None:
        self._update([*self._fixed, *(address for part in self.parts for address in part.addresses)])

    def shown(self) -> list[dict[str, Any]]:
        """What the admin address shows of it."""
        return [
            {
                "from": part.written,
                "addresses": len(part.addresses),
                "not_used": part.dropped,
                "updates": part.updates,
                "failures": part.failures,
                "error": part.error,
                "updated_at": part.updated_at,
            }
            for part in self.parts
        ]
