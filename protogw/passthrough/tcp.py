"""TCP passed through: who may connect, which upstream a connection goes to, and how long it may last.

Never sees a call. What touches sockets is in net/; here is decided.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from protogw.errors import Overloaded, Unreachable
from protogw.net.acceptor import Acceptor
from protogw.net.first_bytes import read_client_hello, read_proxy_header
from protogw.net.sockets import tune
from protogw.net.sources import Sources
from protogw.net.tcp_relay import SPLICES, End, PlainEnd, Relay, close, refuse
from protogw.net.tls_end import TlsEnd
from protogw.passthrough.base import Carried, Recorder, Target
from protogw.passthrough.listening import Listening
from protogw.passthrough.names import Names
from protogw.passthrough.service import Service
from protogw.passthrough.settings import TcpLimits, TcpSettings
from protogw.wire.client_hello import UNRECOGNIZED_NAME, NotTls
from protogw.wire.proxy_protocol import BadProxyHeader

if TYPE_CHECKING:
    import socket

    from protogw.passthrough.endpoints import Endpoint

log = logging.getLogger("protogw")

HostPort: TypeAlias = tuple[str, int]


@dataclass(slots=True)
class Counters:
    """What a listener has seen since it started."""

    accepted: int = 0
    denied: int = 0
    """By the source rules, or no trusted proxy."""
    refused: int = 0
    """Over a bound."""
    malformed: int = 0
    """What came first was no PROXY header, no ClientHello or no handshake, or came too late."""
    unnamed: int = 0
    """Asked for a name that nobody has."""
    unreachable: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    """From the services, of connections that have ended."""


class _TurnedAway(Exception):
    """A connection ends before it is carried anywhere; its text says why.

    With `reset` the client's next read fails, otherwise it finds an end, after what it was told.
    """

    def __init__(self, why: str, *, reset: bool = True) -> None:
        super().__init__(why)
        self.reset = reset


class Tcp(Listening):
    """Connections, as they are, to one upstream or by the name that TLS clients ask for."""

    kind: ClassVar[str] = "tcp"
    Settings: ClassVar[type[TcpSettings]] = TcpSettings
    transport: ClassVar[str] = "tcp"
    secures: ClassVar[bool] = True
    proxied: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        settings: TcpSettings,
        services: Mapping[str, Service],
        *,
        sources: Sources,
        tls: ssl.SSLContext | None = None,
        recorder: Recorder | None = None,
        splice: bool = SPLICES,
        reuse_port: bool = False,
    ) -> None:
        """`services` are the upstreams by name, those that the settings name among them."""
        self._connections: set[_Connection] = set()
        super().__init__(name, sources, settings.limits.connections_per_source, recorder, underway=self._connections)
        self.counters = Counters()
        self.limits: TcpLimits = settings.limits
        self.splice = splice
        self.tls = tls
        self._settings = settings
        self._acceptor = Acceptor(name, host, port, self._accepted, reuse_port=reuse_port)
        self._only = None if settings.to is None else services[settings.to]
        self._names = Names({pattern: services[to] for pattern, to in (settings.sni or {}).items()})
        self._default = None if settings.default is None else services[settings.default]

    @staticmethod
    def targets(written: object) -> Iterable[Target]:
        if isinstance(written, str):
            return [((), written)]
        if not isinstance(written, dict):
            return []
        found: list[Target] = [((key,), written[key]) for key in ("to", "default") if key in written]
        names = written.get("sni")
        if isinstance(names, dict):
            found.extend((("sni", pattern), to) for pattern, to in names.items())
        return found

    @staticmethod
    def ways(settings: TcpSettings) -> Iterable[tuple[str, str]]:
        if settings.to is not None:
            return [("", settings.to)]
        found = list((settings.sni or {}).items())
        return found if settings.default is None else [*found, ("otherwise", settings.default)]

    @property
    def address(self) -> HostPort:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        return self._acceptor.address

    @property
    def connections(self) -> int:
        """Connections open, those that are not carried yet among them."""
        return len(self._connections)

    @property
    def by_name(self) -> bool:
        """The upstream is found by the name that a client asks for."""
        return self._only is None

    def service(self, server_name: str) -> Service | None:
        """Where a client that asks for this name goes, None when it is refused."""
        if self._only is not None:
            return self._only
        return self._names.find(server_name) or self._default

    async def start(self) -> None:
        """Bind and accept; raises OSError with a text to show."""
        await self._acceptor.start()
        self.sweeper.start()

    def _accepted(self, sock: socket.socket, host: str, port: int) -> None:
        self.counters.accepted += 1
        connection = _Connection(self, sock, host, port)
        if len(self._connections) >= self.limits.connections:
            self.counters.refused += 1
            connection.turn_away("too many connections")
            return
        self._connections.add(connection)
        connection.start()

    def ended(self, connection: _Connection, carried: Carried, *, counted: bool) -> None:
        """A connection has ended or was turned away."""
        self.counters.bytes_in += carried.bytes_in
        self.counters.bytes_out += carried.bytes_out
        self._connections.discard(connection)
        self._over(connection, carried, counted=counted)

    def stop_accepting(self) -> None:
        """Close the address; connections go on."""
        self._acceptor.stop()

    def close(self) -> None:
        self.stop_accepting()
        self.sweeper.stop()
        for connection in tuple(self._connections):
            connection.stop()

    def state(self) -> Mapping[str, Any]:
        return {
            "tcp": self._settings.model_dump(exclude_none=True, exclude={"limits"}),
            "tls": self.tls is not None,
            "connections": self.connections,
            "sources": len(self.per_source),
            **asdict(self.counters),
        }

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Tcp {self.name} {host}:{port}, {self.connections} connections>"


class _Connection:
    """One client's connection, from its first byte to its end."""

    __slots__ = (
        "_counted",
        "_endpoint",
        "_listener",
        "_relay",
        "_server_name",
        "_sock",
        "_source",
        "_started",
        "_task",
    )

    def __init__(self, listener: Tcp, sock: socket.socket, host: str, port: int) -> None:
        self._listener = listener
        self._sock = sock
        self._source = (host, port)
        self._server_name = ""
        self._counted = False
        self._endpoint: Endpoint | None = None
        self._relay: Relay | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.get_running_loop().time()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> None:
        """Find out where it goes, and have it carried there."""
        listener = self._listener
        counters = listener.counters
        try:
            try:
                async with asyncio.timeout(listener.limits.handshake):
                    client, service, destination, early = await self._introduced()
                source = self._source
                key = f"{source[0]}:{source[1]}".encode()
                end, self._endpoint = await service.connect(key, source, destination, self._server_name)
            except _TurnedAway:
                raise
            except Overloaded as error:
                counters.refused += 1
                log.warning("listener %s: %s", listener.name, error.message)
                raise _TurnedAway("no file descriptors left") from error
            except Unreachable as error:
                counters.unreachable += 1
                log.debug("listener %s: %s", listener.name, error.message)
                raise _TurnedAway("unreachable") from error
            except (BadProxyHeader, NotTls) as error:
                counters.malformed += 1
                raise _TurnedAway(str(error)) from error
            except TimeoutError as error:
                counters.malformed += 1
                raise _TurnedAway("too slow to begin") from error
            except ssl.SSLError as error:
                counters.malformed += 1
                reason = (error.reason or "handshake failed").lower().replace("_", " ")
                raise _TurnedAway(f"TLS: {reason}", reset=False) from error
            except OSError as error:
                raise _TurnedAway("client gone") from error
        except _TurnedAway as turned:
            self._task = None
            self.turn_away(str(turned), reset=turned.reset)
            return
        except asyncio.CancelledError:
            self.turn_away("stopped")
            raise
        except Exception:  # a fault of ours in one connection must not harm the others
            log.exception("a fault of the gateway's own in a connection of %s", self._source[0])
            self.turn_away("internal error")
            return
        self._task = None
        self._relay = relay = Relay(client, end, self._ended, splice=listener.splice)
        listener.sweeper.add(self)
        relay.start(early)

    async def _introduced(self) -> tuple[End, Service, HostPort, bytes]:
        """The client's end, the upstream it goes to, the address it spoke to, and what it has said already."""
        listener = self._listener
        sources = listener.sources
        sock = self._sock
        tune(sock)
        name = sock.getsockname()
        destination: HostPort = (name[0], name[1])
        welcome = False
        if sources.proxied:
            if not sources.trusts(self._source[0]):
                raise self._denied("not a trusted proxy")
            proxied = await read_proxy_header(sock)
            welcome = proxied.source is None  # the proxy itself, which asks whether we are well
            self._source = proxied.source or self._source
            destination = proxied.destination or destination
        if not welcome and not sources.admits(self._source[0]):
            raise self._denied("denied")
        if not listener.per_source.enter(self._source[0]):
            listener.counters.refused += 1
            raise _TurnedAway("too many connections of its source")
        self._counted = True
        early = b""
        if listener.by_name:
            service, early = await self._asked(sock)
        else:
            only = listener.service("")
            assert only is not None
            service = only
        client: End
        if listener.tls is None:
            client = PlainEnd(sock)
        else:
            client = secure = TlsEnd(sock, listener.tls)
            await secure.handshake()
        return client, service, destination, early

    async def _asked(self, sock: socket.socket) -> tuple[Service, bytes]:
        """The upstream by the name that the client asks for, and what was read to learn it."""
        listener = self._listener
        early = b""
        try:
            hello, early = await read_client_hello(sock)
        except NotTls as error:
            service = listener.service("")
            if service is None:
                raise
            return service, error.data
        self._server_name = hello.server_name
        service = listener.service(hello.server_name)
        if service is None:
            listener.counters.unnamed += 1
            refuse(sock, UNRECOGNIZED_NAME)
            raise _TurnedAway("unknown server name" if hello.server_name else "no server name", reset=False)
        return service, early

    def _denied(self, why: str) -> _TurnedAway:
        self._listener.counters.denied += 1
        return _TurnedAway(why)

    def sweep(self, now: float) -> None:
        assert self._relay is not None
        limits = self._listener.limits
        if self._relay.idle_s(now) >= limits.idle:
            self._relay.end("idle", reset=True)
        elif limits.lifetime is not None and now - self._started >= limits.lifetime:
            self._relay.end("lifetime", reset=True)

    def stop(self) -> None:
        """End it now, wherever it is."""
        if self._relay is not None:
            self._relay.end("stopped", reset=True)
        elif self._task is not None:
            self._task.cancel()

    def turn_away(self, why: str, *, reset: bool = True) -> None:
        """End it before it was carried anywhere."""
        close(self._sock, reset=reset)
        self._ended(why)

    def _ended(self, why: str) -> None:
        listener = self._listener
        endpoint, relay = self._endpoint, self._relay
        if endpoint is not None:
            endpoint.active -= 1
        counted, self._counted = self._counted, False
        listener.ended(
            self,
            Carried(
                listener=listener.name,
                kind=listener.kind,
                client=self._source[0],
                port=self._source[1],
                server_name=self._server_name,
                upstream=endpoint.label if endpoint is not None else "",
                bytes_in=relay.up.bytes if relay is not None else 0,
                bytes_out=relay.down.bytes if relay is not None else 0,
                elapsed_s=asyncio.get_running_loop().time() - self._started,
                ended=why,
            ),
            counted=counted,
        )
