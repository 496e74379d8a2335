"""The one spelling of a host, a path and a client, for who compares them or keeps counts by them: what routes take for
the same must be the same to policies too. Sans-I/O. What goes upstream is never respelt.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes

_AS_THEY_ARE = "-._~!$&'()*+,;=:@"
"""What a segment may hold without encoding (RFC 3986 section 3.3)."""


def host_of(authority: bytes) -> bytes:
    """The host alone, in lower case and without a trailing dot."""
    host = authority.lower()
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0].removesuffix(b".")


def network_of(host: str) -> str:
    """An IPv4 address as it is, an IPv6 address as the /64 that it is in: one client commonly has all of that. Anything
    else as it is."""
    if ":" not in host:
        return host
    try:
        number = int(IPv6Address(host.partition("%")[0]))
    except ValueError:
        return host
    return f"{IPv6Address(number >> 64 << 64)}/64"


def path_of(path: bytes) -> str:
    """The path with as little encoded as can be, and that in capitals: `/%61%c3%a9` is `/a%C3%A9`, and so is `/aé`.
    An encoded slash stays one."""
    if b"%" not in path and path.isascii():
        return path.decode("ascii")
    return "/".join(quote(unquote_to_bytes(segment), _AS_THEY_ARE) for segment in path.split(b"/"))


def segments_of(path: bytes) -> list[str]:
    """What stands between the slashes, decoded; an encoded slash is part of its segment."""
    return [unquote_to_bytes(segment).decode("utf-8", "replace") for segment in path.strip(b"/").split(b"/")]
