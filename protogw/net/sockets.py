"""What connections of every kind need of their sockets: tuning, half-closing, and connecting out (RFC 8305)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TypeVar, cast

import aiohappyeyeballs

from protogw.errors import GatewayError, Overloaded, Unreachable

P = TypeVar("P", bound=asyncio.BaseProtocol)

_NEXT_ADDRESS_S = 0.25
"""How long the first address is alone before the next is tried beside it (RFC 8305 section 5)."""

OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors that say something of this process or machine, and nothing of the peer."""

_NOT_SENT_BYTES = 256 << 10
"""What the kernel holds of what the peer has no room for yet; left alone, it takes megabytes that nobody may read."""

_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_TRIES = 60, 15, 4


def tune(sock: socket.socket) -> None:
    """No delay for small writes; probes that find a peer which vanished without a word."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", _KEEPALIVE_TRIES),
        ("TCP_NOTSENT_LOWAT", _NOT_SENT_BYTES),
    ):
        option = getattr(socket, name, None)  # not on every platform
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def half_close(transport: asyncio.WriteTransport) -> None:
    """Say that nothing more will be sent, to a peer that may already be gone."""
    try:
        transport.write_eof()
    except OSError:
        # The peer has reset the connection and the loop has not said so yet.
        transport.abort()


def reset(transport: asyncio.BaseTransport) -> None:
    """Close with RST instead of FIN, so that it cannot be taken for an end."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast(asyncio.Transport, transport).abort()


def said(error: OSError) -> str:
    """What the system says of an error; event loops put words of their own in its place."""
    number = error.errno
    return os.strerror(number) if number is not None and number > 0 else error.strerror or str(error)


async def connect(
    make: Callable[[], P],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout_s: float = 5.0,
) -> P:
    """A connected protocol of `make`, TLS handshake included; raises Unreachable within `timeout_s`, or Overloaded
    where it is not the peer that is at fault."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _connected(loop, host, port)
            try:
                tune(sock)
                _, protocol = await loop.create_connection(
                    make,
                    sock=sock,
                    ssl=tls,
                    server_hostname=(server_name or host) if tls is not None else None,
                    ssl_handshake_timeout=timeout_s if tls is not None else None,
                )
            except BaseException:
                sock.close()
                raise
            return protocol
    except TimeoutError as error:
        raise _unreachable(host, port, f"no connection in {timeout_s:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise _unreachable(host, port, f"its certificate is refused: {error.verify_message}") from error
    except ssl.SSLError as error:
        reason = (error.reason or "handshake failed").lower().replace("_", " ")
        raise _unreachable(host, port, f"TLS: {reason}") from error
    except OSError as error:
        raise _fault(host, port, error) from error


def _unreachable(host: str, port: int, why: str) -> Unreachable:
    return Unreachable(f"the service cannot be reached: {why}", where=f"{host}:{port}")


def _fault(host: str, port: int, error: OSError) -> GatewayError:
    if error.errno in OUT_OF_RESOURCES:
        return Overloaded(f"no connection to the service can be made: {said(error)}", where=f"{host}:{port}")
    return _unreachable(host, port, said(error))


async def dial(host: str, port: int, *, timeout_s: float) -> socket.socket:
    """A connected, tuned, non-blocking socket; raises Unreachable within `timeout_s`, or Overloaded where it is not the
    peer that is at fault."""
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _connected(asyncio.get_running_loop(), host, port)
    except TimeoutError as error:
        raise _unreachable(host, port, f"no connection in {timeout_s:g} s") from error
    except OSError as error:
        raise _fault(host, port, error) from error
    tune(sock)
    return sock


async def _connected(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(found) == 1:
        return await _connect_one(loop, found[0])
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1)


async def _connect_one(
    loop: asyncio.AbstractEventLoop, info: tuple[int, int, int, str, tuple[object, ...]]
) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
