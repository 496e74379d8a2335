"""Addresses out of Kubernetes: a service's EndpointSlices, listed once and then watched.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes and
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/. The pod's own account must be allowed to
`list` and `watch` `endpointslices` in the namespace.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from protogw.discovery.api import Answer, Api
from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.names import port_of
from protogw.discovery.settings import DiscoverySettings
from protogw.values import refuse

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE = 500
WATCH_S = 240
"""How long one watch lasts; the next goes on where it ended."""
SILENCE_S = WATCH_S + 30.0
MOST_SLICES = 1000

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")


class _Expired(Exception):
    """The place where a watch would go on is no longer kept: everything must be listed anew (status 410)."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """`kubernetes://NAMESPACE/SERVICE:PORT`: the ready pods of a service; the port by its name, or the pods' number."""

    kind: ClassVar[str] = "kubernetes"
    trusted: ClassVar[bool] = False

    namespace: str
    service: str
    port: str

    @classmethod
    def parse(cls, written: str) -> Self:
        rest = written.removeprefix("kubernetes:")
        namespace, slash, service = rest.removeprefix("//").partition("/")
        service, colon, port = service.partition(":")
        if not (rest.startswith("//") and slash and colon and _NAME.fullmatch(namespace) and _NAME.fullmatch(service)):
            refuse("is not the name of a service: write kubernetes://namespace/service:grpc")
        if port.isdigit():
            port_of(port)
        elif _PORT.fullmatch(port) is None:
            refuse("has a bad port: write the name of the service's port, or the number of the pods'")
        return cls(namespace, service, port)

    @property
    def authority(self) -> str:
        return self.server_name

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"

    def open(self, settings: DiscoverySettings) -> KubernetesSource:
        return KubernetesSource(self, settings)


class KubernetesSource:
    """Keeps the slices of a service, as the API tells of them."""

    def __init__(
        self,
        reference: Kubernetes,
        settings: DiscoverySettings,
        *,
        account: Path = ACCOUNT,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._account = account
        self._environment = environment
        self._api: Api | None = None
        self._slices: dict[str, Mapping[str, Any]] = {}
        self._version = ""
        """Where a watch goes on; empty when everything must be listed."""
        self._events: AsyncIterator[Answer] | None = None
        self._found: Sequence[Address] | None = None

    async def next(self) -> Sequence[Address]:
        try:
            while True:
                if not self._version:
                    await self._list()
                else:
                    await self._change()
                found = self._addresses()
                if found != self._found:
                    self._found = found
                    return found
        except _Expired:
            await self._end_watch()
            self._version = ""
            return await self.next()
        except BaseException:  # cancelled, too: no watch is left behind
            await self._end_watch()
            raise

    async def _list(self) -> None:
        slices: dict[str, Mapping[str, Any]] = {}
        more = ""
        while True:
            query = {"limit": str(PAGE), **({"continue": more} if more else {})}
            answer = await self._opened().get(
                self._path(), self._query(query), await self._headers(), timeout_s=self._settings.timeout
            )
            self._judge(answer.status)
            if not isinstance(answer.value, Mapping):
                raise DiscoveryError("Kubernetes' answer is not a list")
            for item in answer.value.get("items") or ():
                self._keep(slices, item)
            about = _mapping(answer.value, "metadata")
            more = str(about.get("continue") or "")
            if not more:
                break
        self._slices = slices
        self._version = str(about.get("resourceVersion") or "")
        if not self._version:
            raise DiscoveryError("Kubernetes' answer has no resourceVersion")
        self._found = None

    async def _change(self) -> None:
        """Take in the next event; a watch that has ended is begun anew where it was."""
        if self._events is None:
            query = {
                "watch": "true",
                "resourceVersion": self._version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_S),
            }
            self._events = self._opened().lines(
                self._path(), self._query(query), await self._headers(), silence_s=SILENCE_S
            )
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._events = None
            # A server that ends every watch at once must not be asked as fast as it answers.
            await asyncio.sleep(0.1)
            return
        self._judge(event.status)
        if event.value is None:
            return
        kind = event.value.get("type") if isinstance(event.value, Mapping) else None
        item = _mapping(event.value, "object")
        if kind == "ERROR":
            self._version = ""  # whatever it was, what is known may be old: everything is listed anew
            code = item.get("code")
            self._judge(code if isinstance(code, int) else 500)
            raise DiscoveryError("Kubernetes ends the watch")
        if kind in ("ADDED", "MODIFIED"):
            self._keep(self._slices, item)
        elif kind == "DELETED":
            self._slices.pop(str(_mapping(item, "metadata").get("name")), None)
        elif kind != "BOOKMARK":
            self._version = ""
            raise DiscoveryError("Kubernetes tells of something that is no event")
        self._version = str(_mapping(item, "metadata").get("resourceVersion") or self._version)

    @staticmethod
    def _keep(slices: dict[str, Mapping[str, Any]], item: Any) -> None:
        name = _mapping(item, "metadata").get("name")
        if isinstance(name, str) and (name in slices or len(slices) < MOST_SLICES):
            slices[name] = item

    def _addresses(self) -> Sequence[Address]:
        """Of the pods that are ready; where none is, of those that still serve while they end."""
        ready: list[Address] = []
        ending: list[Address] = []
        for item in self._of_family():
            port = self._port(item)
            if port is None:
                continue
            for endpoint in _listed(item, "endpoints"):
                conditions = _mapping(endpoint, "conditions")
                zone = endpoint.get("zone")
                # Only the first address of an endpoint is to be used, says the API; "unknown" is ready.
                hosts = [host for host in endpoint.get("addresses") or () if isinstance(host, str)][:1]
                made = [Address(host=host, port=port, zone=zone if isinstance(zone, str) else "") for host in hosts]
                if conditions.get("ready") is not False:
                    ready += made
                elif conditions.get("serving") and conditions.get("terminating"):
                    ending += made
        return sorted(set(ready or ending), key=lambda one: (one.host, one.port))

    def _of_family(self) -> Iterable[Mapping[str, Any]]:
        """The slices of one family of addresses: a service with two has every pod in both."""
        by_type: dict[str, list[Mapping[str, Any]]] = {}
        for name in sorted(self._slices):
            item = self._slices[name]
            by_type.setdefault(str(item.get("addressType")), []).append(item)
        wanted = {"ipv4": ("IPv4",), "ipv6": ("IPv6",), "any": ("IPv4", "IPv6", "FQDN")}[self._settings.family]
        return next((by_type[kind] for kind in wanted if kind in by_type), ())

    def _port(self, item: Mapping[str, Any]) -> int | None:
        if self._reference.port.isdigit():
            return int(self._reference.port)
        for port in _listed(item, "ports"):
            if port.get("name") == self._reference.port and isinstance(port.get("port"), int):
                found: int = port["port"]
                return found
        return None

    # --- the API ------------------------------------------------------------------------------------------------------

    def _opened(self) -> Api:
        if self._api is None:
            base, ca = self._settings.server, self._settings.ca
            if base is None:
                host = self._environment.get("KUBERNETES_SERVICE_HOST", "")
                port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
                if not host:
                    raise DiscoveryError("this is no pod of Kubernetes: name its API in discovery.server")
                base = f"https://{f'[{host}]' if ':' in host else host}:{port}"
                ca = ca or self._account / "ca.crt"
            self._api = Api(base, ca=ca)
        return self._api

    def _path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self._reference.namespace}/endpointslices"

    def _query(self, query: Mapping[str, str]) -> Mapping[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self._reference.service}", **query}

    async def _headers(self) -> Mapping[str, str]:
        token = self._settings.token
        if token is None and self._settings.server is None:
            # It is exchanged for another about once an hour.
            token = await asyncio.to_thread(_text, self._account / "token")
        return {"authorization": f"Bearer {token}"} if token else {}

    def _judge(self, status: int) -> None:
        if status == 410:
            raise _Expired
        if status in (401, 403):
            raise DiscoveryError(f"Kubernetes does not let the gateway see endpointslices (status {status})")
        if status != 200:
            raise DiscoveryError(f"Kubernetes answers with status {status}")

    async def _end_watch(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            async with aclosing(events):  # type: ignore[type-var]
                pass

    async def close(self) -> None:
        await self._end_watch()
        if self._api is not None:
            await self._api.close()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DiscoveryError(f"{path} cannot be read") from error


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _listed(value: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    found = value.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
