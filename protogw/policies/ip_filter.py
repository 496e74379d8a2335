"""Which addresses may call: the client's, as the connection or the listener's trusted proxies say it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Final, Self, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Reply
from protogw.errors import Forbidden
from protogw.policies.base import Handler, PolicySettings
from protogw.values import LISTED, Network

_KEPT: Final = 4096
"""Addresses whose answer is remembered."""

_Networks: TypeAlias = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class IpFilterSettings(PolicySettings):
    """The addresses that may call, or may not."""

    allow: Annotated[tuple[Network, ...], LISTED, Field(max_length=10_000)] = ()
    """Ranges of addresses that may call, `10.0.0.0/8`. Default: all."""
    deny: Annotated[tuple[Network, ...], LISTED, Field(max_length=10_000)] = ()
    """Ranges of addresses that may not, whatever `allow` says."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.allow and not self.deny:
            raise PydanticCustomError("ranges", "{reason}", {"reason": "has neither allow nor deny"})
        return self


class IpFilter:
    """Lets calls through by the client's address; an address that cannot be read may not call."""

    kind: ClassVar[str] = "ip_filter"
    Settings: ClassVar[type[PolicySettings]] = IpFilterSettings
    of_head: ClassVar[bool] = True

    def __init__(self, settings: IpFilterSettings) -> None:
        self._allow: _Networks = settings.allow
        self._deny: _Networks = settings.deny
        self._known: dict[str, bool] = {}

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        host = call.peer.host
        allowed = self._known.get(host)
        if allowed is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            allowed = self._known[host] = self._may(host)
        if not allowed:
            raise Forbidden("calls from this address are not allowed")
        return await forward(call)

    def _may(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            # A socket for both families names IPv4 clients so.
            address = address.ipv4_mapped
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)
