"""How connections of one upstream are made: to which endpoint, in TLS or not, and with what said first."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from protogw.errors import Unreachable
from protogw.net.sockets import dial
from protogw.net.tcp_relay import End, PlainEnd, close
from protogw.net.tls_end import TlsEnd
from protogw.passthrough.endpoints import Endpoint, Endpoints

Introduction = Callable[[tuple[str, int], tuple[str, int], str], bytes]
"""Makes a PROXY header of source, destination and the name that the client asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One upstream, as connections are carried to it."""

    endpoints: Endpoints
    connect_timeout_s: float = 5.0
    """For each endpoint: the connection, what is said first, and the TLS handshake."""
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    introduction: Introduction | None = None

    async def connect(
        self, key: bytes, source: tuple[str, int], destination: tuple[str, int], server_name: str
    ) -> tuple[End, Endpoint]:
        """A connection to an endpoint, counted as active there; the next is tried where one cannot be reached.

        Raises Unreachable, or Overloaded when the gateway itself can open no more. Nothing of the client's has been
        sent yet, so that trying elsewhere is always safe.
        """
        endpoints = self.endpoints
        introduction = b"" if self.introduction is None else self.introduction(source, destination, server_name)
        tried: set[Endpoint] = set()
        error = Unreachable(f"{endpoints.name}: no endpoint can be reached")
        while (endpoint := endpoints.pick(tried, key)) is not None:
            tried.add(endpoint)
            endpoint.active += 1
            try:
                end = await self._connect(endpoint, introduction)
            except Unreachable as failed:
                endpoint.active -= 1
                endpoints.failed(endpoint)
                error = failed
            except BaseException:
                endpoint.active -= 1
                endpoints.given_up(endpoint)
                raise
            else:
                endpoints.reached(endpoint)
                return end, endpoint
        raise error

    async def _connect(self, endpoint: Endpoint, introduction: bytes) -> End:
        loop = asyncio.get_running_loop()
        end_at = loop.time() + self.connect_timeout_s
        sock = await dial(endpoint.host, endpoint.port, timeout_s=self.connect_timeout_s)
        try:
            async with asyncio.timeout_at(end_at):
                if introduction:
                    await loop.sock_sendall(sock, introduction)
                if self.tls is None:
                    return PlainEnd(sock)
                end = TlsEnd(sock, self.tls, self.server_name or endpoint.host)
                await end.handshake()
                return end
        except ssl.SSLCertVerificationError as error:
            close(sock, reset=False)
            raise Unreachable(f"{endpoint.label}: its certificate is refused: {error.verify_message}") from error
        except (OSError, TimeoutError) as error:
            close(sock, reset=False)
            raise Unreachable(f"{endpoint.label}: {error or 'TLS: no handshake in time'}") from error
        except BaseException:
            close(sock, reset=False)
            raise
