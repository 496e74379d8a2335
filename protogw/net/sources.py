"""Who may connect, and which of them are proxies that may say on whose behalf."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Sources:
    """Rules over source addresses: `deny` wins over `allow`, and an empty `allow` is everybody.

    With `proxies`, connections are taken from those alone, each must begin with a PROXY header, and the rules are about
    the address in it.
    """

    def __init__(
        self, allow: Sequence[Network] = (), deny: Sequence[Network] = (), proxies: Sequence[Network] = ()
    ) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._proxies = tuple(proxies)
        self.proxied = bool(proxies)
        """Every connection begins with a PROXY header."""
        self._open = not allow and not deny

    def admits(self, host: str) -> bool:
        """Whether this source may use the listener."""
        if self._open:
            return True
        address = _address(host)
        if _within(address, self._deny):
            return False
        return not self._allow or _within(address, self._allow)

    def trusts(self, host: str) -> bool:
        """Whether this is a proxy whose header is believed."""
        return _within(_address(host), self._proxies)


def _address(host: str) -> IpAddress:
    """The address, IPv4 where it is only written as IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _within(address: IpAddress, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
