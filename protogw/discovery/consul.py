"""Addresses out of Consul: the healthy instances of a service, by blocking queries.

https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service and
https://developer.hashicorp.com/consul/api-docs/features/blocking: a query names the index of the answer before, and is
answered when there is a newer one, or after `wait`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, quote, urlsplit

from protogw.discovery.api import Api
from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.names import host_of, is_host, port_of
from protogw.discovery.settings import DiscoverySettings
from protogw.values import refuse

WAIT_S = 55
"""How long Consul may hold a question; it adds up to a sixteenth."""
PAUSE_S = 0.2
"""Between two questions, however fast things change."""
_KEYS = ("tag", "dc", "ns", "partition", "filter", "tls")


@dataclass(frozen=True, slots=True)
class Consul:
    """`consul://HOST:PORT/SERVICE?tag=…&dc=…`: the instances of a service whose checks pass."""

    kind: ClassVar[str] = "consul"
    trusted: ClassVar[bool] = False

    base: str
    service: str
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, written: str) -> Self:
        try:
            url = urlsplit(written)
            host, port = url.hostname or "", port_of(str(8500 if url.port is None else url.port))
        except ValueError:
            refuse("is not the address of a service: write consul://127.0.0.1:8500/orders")
        service = url.path.removeprefix("/")
        if url.username is not None:
            refuse("carries a user name: a token belongs in discovery.token")
        if not host or not service or "/" in service or len(service) > 128 or url.fragment or not service.isprintable():
            refuse("is not the address of a service: write consul://127.0.0.1:8500/orders")
        if not host.replace(".", "").isdigit() and ":" not in host:
            host_of(host)
        query = parse_qsl(url.query, keep_blank_values=True)
        for key, value in query:
            if key not in _KEYS:
                refuse(f"asks for {key}, which is not known here; there are {', '.join(_KEYS)}")
            if key == "tls" and value not in ("true", "false"):
                refuse("has a tls that is neither true nor false")
        secure = ("tls", "true") in query
        shown = f"[{host}]" if ":" in host else host
        base = f"{'https' if secure else 'http'}://{shown}:{port}"
        return cls(base, service, tuple((key, value) for key, value in query if key != "tls"))

    @property
    def authority(self) -> str:
        return self.server_name

    @property
    def server_name(self) -> str:
        return self.service if is_host(self.service) else "consul"

    def open(self, settings: DiscoverySettings) -> ConsulSource:
        return ConsulSource(self, settings)


class ConsulSource:
    """Asks with the index of the last answer."""

    def __init__(self, reference: Consul, settings: DiscoverySettings) -> None:
        self._reference = reference
        self._settings = settings
        self._api = Api(reference.base, ca=settings.ca)
        self._index = 0
        self._found: Sequence[Address] | None = None

    async def next(self) -> Sequence[Address]:
        while True:
            first = self._index == 0
            found = await self._ask()
            if first or found != self._found:
                self._found = found
                return found
            await asyncio.sleep(PAUSE_S)

    async def _ask(self) -> Sequence[Address]:
        query = [("passing", "true"), *self._reference.query]
        timeout_s = self._settings.timeout
        if self._index:
            query += [("index", str(self._index)), ("wait", f"{WAIT_S}s")]
            timeout_s += WAIT_S * 17 / 16
        token = self._settings.token
        path = f"/v1/health/service/{quote(self._reference.service, safe='')}"
        try:
            answer = await self._api.get(
                path, _many(query), {"X-Consul-Token": token} if token else {}, timeout_s=timeout_s
            )
        except DiscoveryError:
            self._index = 0
            raise
        if answer.status != 200:
            self._index = 0
            raise DiscoveryError(f"{self._reference.base}: Consul answers with status {answer.status}")
        index = answer.fields.get("x-consul-index", "")
        number = int(index) if index.isascii() and index.isdigit() and len(index) < 20 else 0
        # One that goes back is of a restored server; none, or 0, would be answered at once for ever.
        self._index = 0 if number < self._index else max(1, number)
        return _addresses(answer.value)

    async def close(self) -> None:
        await self._api.close()


def _many(query: Sequence[tuple[str, str]]) -> Any:
    from multidict import MultiDict

    return MultiDict(query)


def _addresses(value: Any) -> Sequence[Address]:
    if not isinstance(value, list):
        raise DiscoveryError("Consul's answer is not a list")
    found: list[Address] = []
    for one in value:
        service = _mapping(one, "Service")
        host = service.get("Address") or _mapping(one, "Node").get("Address")
        port = service.get("Port")
        weight = _mapping(service, "Weights").get("Passing", 1)
        zone = _mapping(_mapping(one, "Node"), "Meta").get("zone", "")
        if isinstance(host, str) and isinstance(port, int):
            found.append(
                Address(
                    host=host,
                    port=port,
                    weight=weight if isinstance(weight, int) else 1,
                    zone=zone if isinstance(zone, str) else "",
                )
            )
    return found


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}
