"""The PROXY protocol, versions 1 and 2: a proxy tells in a connection's first bytes who it really comes from.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. Sans-I/O.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

MAX_V1 = 107
"""A version 1 header's bytes at the most, its end of line included (section 2.1)."""
MAX_V2 = 4096
"""What is taken of a version 2 header, which could say 64 KiB: addresses and TLVs that proxies send are far below."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UDP4, _UDP6 = 0x11, 0x21, 0x12, 0x22
_AUTHORITY, _CRC32C, _NOOP = 0x02, 0x03, 0x04


class BadProxyHeader(ValueError):
    """The bytes are no PROXY header, or a malformed one."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """What a header says. Without a source it is about the proxy itself (LOCAL, UNKNOWN): the connection is its own."""

    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """Version 2's further facts, each by its type, in order."""

    @property
    def authority(self) -> str:
        """The host that the client asked the proxy for, or empty."""
        for kind, value in self.tlvs:
            if kind == _AUTHORITY:
                return value.decode("utf-8", "replace")
        return ""


def read(data: bytes) -> tuple[Proxied, int] | None:
    """The header that the bytes begin with, and its length; None while it is not whole.

    Raises BadProxyHeader as soon as the bytes cannot become a header.
    """
    if SIGNATURE.startswith(data[:12]):
        return _read_v2(data)
    if b"PROXY ".startswith(data[:6]):
        return _read_v1(data)
    raise BadProxyHeader("no PROXY header")


def _read_v1(data: bytes) -> tuple[Proxied, int] | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise BadProxyHeader("a version 1 header is too long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Proxied(), end + 2  # what follows UNKNOWN is to be ignored
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("a version 1 header is malformed")
    family = 4 if words[1] == b"TCP4" else 6
    source = (_address(words[2], family), _port(words[4]))
    destination = (_address(words[3], family), _port(words[5]))
    return Proxied(source, destination), end + 2


def _address(word: bytes, family: int) -> str:
    try:
        text = word.decode("ascii")
        found = ipaddress.IPv4Address(text) if family == 4 else ipaddress.IPv6Address(text)
    except ValueError as error:
        raise BadProxyHeader("a version 1 header has a bad address") from error
    if "%" in text:
        raise BadProxyHeader("a version 1 header has a bad address")
    return str(found)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and len(word) > 1) or int(word) > 0xFFFF:
        raise BadProxyHeader("a version 1 header has a bad port")
    return int(word)


def _read_v2(data: bytes) -> tuple[Proxied, int] | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise BadProxyHeader("a version 2 header has an unknown version or command")
    if len(data) < _FIXED:
        return None
    length = _FIXED + int.from_bytes(data[14:16], "big")
    if length > MAX_V2:
        raise BadProxyHeader("a version 2 header is too long")
    if len(data) < length:
        return None
    family = data[13]
    if family not in (0x00, _TCP4, _TCP6, _UDP4, _UDP6, 0x31, 0x32):
        raise BadProxyHeader("a version 2 header has an unknown family")
    sizes = {1: 4, 2: 16}
    size = sizes.get(family >> 4, 0)
    fixed = 2 * size + 4 if size else 216 if family >> 4 == 3 else 0
    at = _FIXED + fixed
    if length < at:
        raise BadProxyHeader("a version 2 header is too short for its addresses")
    if data[12] == _LOCAL:
        return Proxied(), length  # the addresses are to be ignored, and nothing is said of the rest
    tlvs = _tlvs(data[:length], at)
    if not size:
        return Proxied(tlvs=tlvs), length
    hosts = [str(ipaddress.ip_address(data[_FIXED + n * size : _FIXED + (n + 1) * size])) for n in (0, 1)]
    ports = [int.from_bytes(data[_FIXED + 2 * size + 2 * n : _FIXED + 2 * size + 2 * n + 2], "big") for n in (0, 1)]
    return Proxied((hosts[0], ports[0]), (hosts[1], ports[1]), tlvs), length


def _tlvs(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    found: list[tuple[int, bytes]] = []
    while at < len(header):
        if len(header) - at < 3:
            raise BadProxyHeader("a version 2 header ends inside a TLV")
        kind, size = header[at], int.from_bytes(header[at + 1 : at + 3], "big")
        value = header[at + 3 : at + 3 + size]
        if len(value) < size:
            raise BadProxyHeader("a version 2 header ends inside a TLV")
        if kind == _CRC32C:
            whole = header[: at + 3] + bytes(size) + header[at + 3 + size :]
            if size != 4 or crc32c(whole) != int.from_bytes(value, "big"):
                raise BadProxyHeader("a version 2 header's checksum is wrong")
        if kind != _NOOP:
            found.append((kind, value))
        at += 3 + size
    return tuple(found)


def write_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """A version 1 header for a TCP connection between these; UNKNOWN when they are not of one family."""
    one, other = ipaddress.ip_address(_bare(source[0])), ipaddress.ip_address(_bare(destination[0]))
    if one.version != other.version:
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY TCP{one.version} {one} {other} {source[1]} {destination[1]}\r\n".encode()


def write_v2(
    source: tuple[str, int],
    destination: tuple[str, int],
    tlvs: Sequence[tuple[int, bytes]] = (),
    *,
    authority: str = "",
) -> bytes:
    """A version 2 header for a TCP connection between these, with the name the client asked for when it is known."""
    one, other = ipaddress.ip_address(_bare(source[0])), ipaddress.ip_address(_bare(destination[0]))
    family = _TCP4 if one.version == 4 else _TCP6
    if one.version != other.version:
        # IPv4 written as IPv6 (RFC 4291 section 2.5.5.2): the header has one family for both.
        family = _TCP6
        one, other = _mapped(one), _mapped(other)
    body = one.packed + other.packed + source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    said = [*tlvs, (_AUTHORITY, authority.encode())] if authority else tlvs
    body += b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in said)
    return SIGNATURE + bytes((_PROXY, family)) + len(body).to_bytes(2, "big") + body


def _bare(host: str) -> str:
    """The address without a scope, which means nothing on another machine."""
    return host.partition("%")[0]


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if address.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720 appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = tuple(map(_entry, range(256)))
