"""Who asks for what, for the service behind: X-Forwarded-* and Forwarded (RFC 7239). Sans-I/O.

What a client says of itself in them is left behind (wire.metadata and the translators see to it): the address is that
of the connection. Only a proxy that the configuration trusts is believed, and then the gateway adds to what it says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from protogw.wire.http import Header, Peer, RequestHead

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

FOR, PROTO, HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_FORWARDED, _REAL_IP = b"forwarded", b"x-real-ip"
_FAMILY = b"x-forwarded-"

_MOST_HOPS = 64
_KEPT, _KEPT_BYTES = 1024, 1024
_AUTHORITY = re.compile(rb"[0-9A-Za-z.\-_]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_FOR_ELEMENT = re.compile(rb'(?:^|[;,])\s*for\s*=\s*(?:"([^"\\]*)"|([^\s;,"]+))', re.IGNORECASE)


def forwarded(peer: Peer, authority: bytes) -> tuple[Header, ...]:
    """The fields that every request upstream carries; `authority` is the one that the client asked for."""
    fields = peer.forwarded or (
        (FOR, peer.host.encode()),
        (PROTO, b"https" if peer.tls else b"http"),
    )
    if not authority or any(name == HOST for name, _ in fields):
        return fields
    return (*fields, (HOST, authority))


class Proxies:
    """The proxies before the gateway whose word is believed."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._seen: dict[tuple[Peer, bytes, tuple[Header, ...]], Peer] = {}

    def see(self, head: RequestHead, peer: Peer) -> Peer:
        """Who has really asked: the peer itself, or if that is a trusted proxy, who it and those before it name.

        That is the rightmost address of the chain that is not itself a trusted proxy's.
        """
        said = tuple([pair for pair in head.headers if _is_said(pair[0])])
        key = (peer, head.authority, said)
        found = self._seen.get(key)
        if found is None:
            found = self._judge(peer, said, head.authority) if self._trusts(address(peer.host.encode())) else peer
            if sum([len(name) + len(value) for name, value in said]) <= _KEPT_BYTES:
                if len(self._seen) >= _KEPT:
                    self._seen.clear()
                self._seen[key] = found
        return found

    def _trusts(self, found: Address | None) -> bool:
        return found is not None and any(found.version == one.version and found in one for one in self._networks)

    def _judge(self, peer: Peer, said: Sequence[Header], authority: bytes) -> Peer:
        if not said:
            return peer
        chain = [hop.strip() for name, value in said if name == FOR for hop in value.split(b",")]
        structured = b", ".join([value for name, value in said if name == _FORWARDED])
        real = [value for name, value in said if name == _REAL_IP]
        if not chain and structured:
            chain = [quoted or plain for quoted, plain in _FOR_ELEMENT.findall(structured)]
        if not chain and len(real) == 1:
            chain = real
        client = peer.host
        for hop in reversed(chain[-_MOST_HOPS:]):
            found = address(hop)
            if found is None:  # "unknown", a hidden name, or nonsense: nobody knows who is behind it
                break
            client = str(found)
            if not self._trusts(found):
                break
        secure = _only(said, PROTO)
        tls = secure == b"https" if secure in (b"http", b"https") else peer.tls
        fields: list[Header] = [
            (FOR, b", ".join([*chain, peer.host.encode()])),
            (PROTO, b"https" if tls else b"http"),
        ]
        host = _only(said, HOST)
        if host is not None and _AUTHORITY.fullmatch(host):
            fields.append((HOST, host))
        fields += [pair for pair in said if pair[0] not in (FOR, PROTO, HOST, _FORWARDED, _REAL_IP)]
        if structured:
            fields.append((_FORWARDED, structured + b", " + _element(peer, authority)))
        if real:
            fields.append((_REAL_IP, client.encode()))
        port = peer.port if client == peer.host else 0
        return replace(peer, host=client, port=port, tls=tls, forwarded=tuple(fields))


def _is_said(name: bytes) -> bool:
    return name.startswith(_FAMILY) or name in (_FORWARDED, _REAL_IP)


def _only(said: Sequence[Header], name: bytes) -> bytes | None:
    """The value of a field that is there once."""
    values = [value for key, value in said if key == name]
    return values[0] if len(values) == 1 else None


def _element(peer: Peer, authority: bytes) -> bytes:
    """The gateway's own element of Forwarded."""
    node = f'"[{peer.host}]"' if ":" in peer.host else peer.host
    element = b"for=%b;proto=%b" % (node.encode(), b"https" if peer.tls else b"http")
    return element + b';host="%b"' % authority if _AUTHORITY.fullmatch(authority) else element


def address(text: bytes) -> Address | None:
    """The address that a hop of a chain names, its port and brackets left aside; None when it names none."""
    try:
        host = text.decode("ascii")
    except UnicodeDecodeError:
        return None
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if found.version == 6 else None
    return mapped or found
