"""Datagrams: a bound address that knows which of its own addresses each one was sent to, and links to one peer each.

Where the address is a wildcard, the packet information of RFC 3542 (and Linux's for IPv4) tells the address that a
client spoke to, and answers leave from there: a client takes them from nobody else.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from protogw.errors import Unreachable
from protogw.net.bound import Bound
from protogw.net.sockets import said

logger = logging.getLogger(__name__)

_A_TURN: Final = 64
"""Datagrams taken from one socket before others have their turn."""
_BUFFER: Final = 1 << 20
"""What the kernel keeps of datagrams that arrive faster than they are taken."""
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
_THIS_ONE_ONLY: Final = frozenset((errno.EMSGSIZE, errno.ENOBUFS))
_ANCILLARY: Final = socket.CMSG_SPACE(32)


class Way(NamedTuple):
    """Where a datagram came from and which address of ours it was sent to: where an answer goes, and leaves from."""

    sock: socket.socket
    client: tuple[Any, ...]
    local: tuple[int, int, bytes] | None
    """The packet information to answer with; None where the socket has but one address."""

    @property
    def key(self) -> tuple[object, ...]:
        """Both ends: what the datagrams of one session have in common."""
        return self.sock, self.client, self.local


Received: TypeAlias = Callable[[bytes, Way], None]


class DatagramPort(Bound):
    """Takes datagrams of up to `limit` bytes and hands them to `received`; larger ones are counted and dropped."""

    def __init__(
        self, name: str, host: str, port: int, received: Received, *, limit: int, reuse_port: bool = False
    ) -> None:
        super().__init__(name, host, port, reuse_port=reuse_port)
        self.oversize = 0
        self.unsent = 0
        """Answers that the system did not take."""
        self._received = received
        self._limit = limit

    async def start(self) -> None:
        """Bind and receive; raises OSError with a text to show."""
        await self._bind(socket.SOCK_DGRAM)
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            wildcard = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_unspecified
            if wildcard and sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            elif wildcard and _IP_PKTINFO is not None:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                wildcard = False
            self._loop.add_reader(sock, self._told if wildcard else self._plain, sock)

    def _plain(self, sock: socket.socket) -> None:
        for _ in range(_A_TURN):
            try:
                data, client = sock.recvfrom(self._limit + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an error of a datagram sent before, to a client that is gone
            self._take(data, Way(sock, client, None))

    def _told(self, sock: socket.socket) -> None:
        for _ in range(_A_TURN):
            try:
                data, ancillary, _, client = sock.recvmsg(self._limit + 1, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue
            self._take(data, Way(sock, client, _local(ancillary)))

    def _take(self, data: bytes, way: Way) -> None:
        if len(data) > self._limit:
            self.oversize += 1
            return
        self._received(data, way)

    def answer(self, data: bytes, way: Way) -> None:
        """Send to the client, from the address that it spoke to. What the system has no room for is dropped."""
        try:
            if way.local is None:
                way.sock.sendto(data, way.client)
            else:
                way.sock.sendmsg((data,), (way.local,), 0, way.client)
        except OSError:
            self.unsent += 1

    def close(self) -> None:
        """Give up the address. Harmless when repeated."""
        self._unbind()


def _local(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, bytes] | None:
    """The packet information to answer with: the address that was spoken to; by which interface is routing's affair."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = struct.unpack("=I4s4s", value[:12])
            return level, kind, struct.pack("=I4s4s", 0, local, bytes(4))
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return level, kind, value[:20]
    return None


class Link:
    """Datagrams to and from one address and nobody else, with its refusals (ICMP) heard."""

    def __init__(
        self, sock: socket.socket, received: Callable[[bytes], None], failed: Callable[[OSError], None], *, limit: int
    ) -> None:
        """`received` gets each datagram of up to `limit` bytes, `failed` the error after which there are no more."""
        self.dropped = 0
        """Datagrams that were too large, or for which the system had no room."""
        self._sock = sock
        self._received = received
        self._failed = failed
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        for _ in range(_A_TURN):
            try:
                data = self._sock.recv(self._limit + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                return
            if len(data) > self._limit:
                self.dropped += 1
            else:
                self._received(data)
            if self._sock.fileno() < 0:
                return  # the one who received it has closed us

    def send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self.dropped += 1
        except OSError as error:
            if error.errno in _THIS_ONE_ONLY:
                self.dropped += 1
            else:
                self._failed(error)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()


def is_numeric(host: str) -> bool:
    """The host is an address, which nobody has to be asked for."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that speaks with one numeric address alone; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def resolve(host: str, port: int, *, timeout_s: float) -> str:
    """The host's first address; raises Unreachable within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except TimeoutError as error:
        raise Unreachable(f"{host}:{port}: its name is not resolved in {timeout_s:g} s") from error
    except OSError as error:
        raise Unreachable(f"{host}:{port}: {said(error)}") from error
    return str(found[0][4][0])
