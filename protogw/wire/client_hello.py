"""The name and protocols that a TLS client asks for, read from its first flight without answering it.

RFC 8446 section 4.1.2 (ClientHello), RFC 6066 section 3 (server_name), RFC 7301 (ALPN). Sans-I/O; verifies nothing that
the server behind will verify anyway, beyond what it takes to find the two extensions without doubt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HELLO = 16 << 10
"""A ClientHello's bytes at the most, with the headers of the records that carry it."""

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""The fatal alert for a name that nobody here has (RFC 6066 section 3), as a record."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = 1 << 14
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0
_NAME = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\Z")


class NotTls(ValueError):
    """The bytes are no ClientHello, or one that no client means."""

    data: bytes = b""
    """All that was read before this was known."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client asks for before anything is encrypted."""

    server_name: str = ""
    """Lower case, without a final dot; empty when none is named."""
    alpn: tuple[bytes, ...] = ()
    """The protocols that it offers, its favourite first."""


class ClientHelloReader:
    """Collects a connection's first bytes until the ClientHello in them is whole."""

    def __init__(self, limit: int = MAX_HELLO) -> None:
        self._limit = limit
        self._data = bytearray()
        self._read = 0
        """Bytes of whole records, which are in the message: nothing is looked at twice, however small the pieces."""
        self._message = bytearray()

    @property
    def data(self) -> bytes:
        """All that was fed, which the server must get as it came."""
        return bytes(self._data)

    def feed(self, data: bytes) -> ClientHello | None:
        """The hello, or None while it is not whole; raises NotTls as soon as the bytes cannot become one."""
        self._data += data
        message = self._message
        while True:
            if len(message) >= _MESSAGE_HEADER:
                end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
                if end > self._limit:
                    raise NotTls("its ClientHello is too large")
                if len(message) >= end:
                    return _parse(bytes(message[_MESSAGE_HEADER:end]))
            if not self._next_record():
                return None
            if message[0] != _CLIENT_HELLO:
                raise NotTls("its first message is no ClientHello")

    def _next_record(self) -> bool:
        """Take one more record into the message; False while it is not whole."""
        data, at = self._data, self._read
        header = data[at : at + _RECORD_HEADER]
        if header and (header[0] != _HANDSHAKE or (len(header) > 1 and header[1] != 3)):
            raise NotTls("does not begin with a TLS handshake")
        if len(header) == _RECORD_HEADER:
            end = at + _RECORD_HEADER + (header[3] << 8 | header[4])
            if not 0 < end - at - _RECORD_HEADER <= _MAX_RECORD:
                raise NotTls("a record's length is impossible")
            if end > self._limit:
                raise NotTls("its ClientHello is too large")
            if len(data) >= end:
                self._message += data[at + _RECORD_HEADER : end]
                self._read = end
                return True
        if len(data) >= self._limit:
            raise NotTls("its ClientHello is too large")
        return False


class _Bytes:
    """A cursor over one structure; a length that leads out of it is a fault."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    @property
    def left(self) -> bool:
        return self._at < self._end

    def take(self, count: int) -> bytes:
        at = self._at
        if count > self._end - at:
            raise NotTls("its ClientHello is cut short")
        self._at = at + count
        return self._data[at : at + count]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Bytes preceded by their length in `size` bytes."""
        return self.take(self.number(size))


def _parse(message: bytes) -> ClientHello:
    body = _Bytes(message)
    if body.number(2) >> 8 != 3:
        raise NotTls("its ClientHello has an unknown version")
    body.take(32)  # random
    if len(body.vector(1)) > 32:
        raise NotTls("its session id is too long")
    ciphers = body.vector(2)
    if not ciphers or len(ciphers) % 2:
        raise NotTls("its list of ciphers is malformed")
    if not body.vector(1):
        raise NotTls("its list of compression methods is empty")
    if not body.left:
        return ClientHello()  # TLS before extensions
    extensions = _Bytes(body.vector(2))
    if body.left:
        raise NotTls("something follows its extensions")
    name, alpn = "", ()
    seen: set[int] = set()
    while extensions.left:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind in seen:
            raise NotTls("it has one extension twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(content)
        elif kind == _ALPN:
            alpn = _protocols(content)
    return ClientHello(name, alpn)


def _server_name(content: bytes) -> str:
    extension = _Bytes(content)
    names = _Bytes(extension.vector(2))
    if extension.left or not names.left:
        raise NotTls("its server name is malformed")
    found: bytes | None = None
    while names.left:
        kind = names.number(1)
        name = names.vector(2)
        if kind != _HOST_NAME:
            continue
        if found is not None:
            raise NotTls("it names two servers")
        found = name
    if found is None:
        return ""
    host = found.removesuffix(b".")
    if len(host) > 253 or not _NAME.match(host):
        raise NotTls("its server name is no host name")
    return host.decode("ascii").lower()


def _protocols(content: bytes) -> tuple[bytes, ...]:
    extension = _Bytes(content)
    listed = _Bytes(extension.vector(2))
    if extension.left or not listed.left:
        raise NotTls("its list of protocols is malformed")
    found: list[bytes] = []
    while listed.left:
        protocol = listed.vector(1)
        if not protocol:
            raise NotTls("it names an empty protocol")
        found.append(protocol)
    return tuple(found)
