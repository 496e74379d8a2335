"""UDP passed through: which session a datagram belongs to, where that goes, and when it ends.

A session is what one client address and port sends to one of ours. It keeps its endpoint, and a socket of its own
there, so that answers find their way back. Nothing is ever sent to a client that did not come from the service.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from protogw.errors import Unreachable
from protogw.net.sources import Sources
from protogw.net.udp import DatagramPort, Link, Way, is_numeric, open_socket, resolve
from protogw.passthrough.base import Carried, Recorder, Target
from protogw.passthrough.endpoints import Endpoint
from protogw.passthrough.listening import Listening
from protogw.passthrough.service import Service
from protogw.passthrough.settings import UdpLimits, UdpSettings

log = logging.getLogger("protogw")

_WAITING: Final = 8
"""Datagrams that a session keeps while its endpoint's name is being resolved."""
_QUIET_S: Final = 1.0
"""A session without a datagram for this long is over when the listener drains."""


@dataclass(slots=True)
class Counters:
    """What a listener has seen since it started; `dropped` datagrams are those that would have begun a session."""

    sessions_begun: int = 0
    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    denied: int = 0
    """Datagrams from sources that may not send any."""
    dropped: int = 0
    """Over a bound on sessions, or while draining."""
    unreachable: int = 0
    """Sessions that ended because their endpoint could not be reached."""


class Udp(Listening):
    """Datagrams, as they are, between clients and one upstream."""

    kind: ClassVar[str] = "udp"
    Settings: ClassVar[type[UdpSettings]] = UdpSettings
    transport: ClassVar[str] = "udp"
    secures: ClassVar[bool] = False
    proxied: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        settings: UdpSettings,
        services: Mapping[str, Service],
        *,
        sources: Sources,
        tls: ssl.SSLContext | None = None,
        recorder: Recorder | None = None,
        reuse_port: bool = False,
    ) -> None:
        """`services` are the upstreams by name, the one that the settings name among them."""
        assert tls is None
        self._sessions: dict[tuple[object, ...], _Session] = {}
        super().__init__(name, sources, settings.limits.sessions_per_source, recorder, underway=self._sessions)
        self.counters = Counters()
        self.limits: UdpLimits = settings.limits
        self.port = DatagramPort(
            name, host, port, self._received, limit=settings.limits.datagram, reuse_port=reuse_port
        )
        self.service = services[settings.to]
        self._settings = settings
        self._draining = False

    @staticmethod
    def targets(written: object) -> Iterable[Target]:
        if isinstance(written, str):
            return [((), written)]
        return [(("to",), written["to"])] if isinstance(written, dict) and "to" in written else []

    @staticmethod
    def ways(settings: UdpSettings) -> Iterable[tuple[str, str]]:
        return [("", settings.to)]

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        return self.port.address

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def idle_s(self) -> float:
        """How long a session may be without a datagram."""
        return min(self.limits.idle, _QUIET_S) if self._draining else self.limits.idle

    async def start(self) -> None:
        """Bind and receive; raises OSError with a text to show."""
        await self.port.start()
        self.sweeper.start()

    def _received(self, data: bytes, way: Way) -> None:
        session = self._sessions.get(way.key)
        if session is None:
            session = self._begin(way)
            if session is None:
                return
        counters = self.counters
        counters.datagrams_in += 1
        counters.bytes_in += len(data)
        session.send(data)

    def _begin(self, way: Way) -> _Session | None:
        """A new session, or None when the datagram that asks for it is dropped."""
        counters = self.counters
        host = str(way.client[0])
        if not self.sources.admits(host):
            counters.denied += 1
            return None
        if self._draining or len(self._sessions) >= self.limits.sessions or not self.per_source.enter(host):
            counters.dropped += 1
            return None
        endpoint = self.service.endpoints.any(f"{host}:{way.client[1]}".encode())
        if endpoint is None:
            counters.dropped += 1
            self.per_source.leave(host)
            return None
        session = self._sessions[way.key] = _Session(self, way, endpoint)
        counters.sessions_begun += 1
        self.sweeper.add(session)
        session.start()
        return session

    def answer(self, data: bytes, way: Way) -> None:
        """A datagram of the service's, on its way back."""
        self.counters.datagrams_out += 1
        self.counters.bytes_out += len(data)
        self.port.answer(data, way)

    def ended(self, session: _Session, carried: Carried) -> None:
        del self._sessions[session.way.key]
        self._over(session, carried, counted=True)

    def stop_accepting(self) -> None:
        """Begin no more sessions; those that there are go on, over the same address."""
        self._draining = True

    def close(self) -> None:
        self._draining = True
        for session in tuple(self._sessions.values()):
            session.end("stopped")
        self.sweeper.stop()
        self.port.close()

    def state(self) -> Mapping[str, Any]:
        return {
            "udp": self._settings.model_dump(exclude={"limits"}),
            "sessions": self.sessions,
            "sources": len(self.per_source),
            "oversize": self.port.oversize,
            **asdict(self.counters),
        }

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Udp {self.name} {host}:{port}, {self.sessions} sessions>"


class _Session:
    """One client's datagrams to one endpoint, and the answers."""

    __slots__ = (
        "_active",
        "_bytes_in",
        "_bytes_out",
        "_ended",
        "_endpoint",
        "_link",
        "_listener",
        "_since",
        "_started",
        "_task",
        "_waiting",
        "way",
    )

    def __init__(self, listener: Udp, way: Way, endpoint: Endpoint) -> None:
        self.way = way
        self._listener = listener
        self._endpoint = endpoint
        self._link: Link | None = None
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._bytes_in = self._bytes_out = 0
        self._active = False
        self._ended = False
        self._started = self._since = asyncio.get_running_loop().time()
        endpoint.active += 1

    def start(self) -> None:
        if is_numeric(self._endpoint.host):
            self._open(self._endpoint.host)
        else:
            self._task = asyncio.get_running_loop().create_task(self._find())

    async def _find(self) -> None:
        endpoint = self._endpoint
        try:
            host = await resolve(endpoint.host, endpoint.port, timeout_s=self._listener.service.connect_timeout_s)
        except Unreachable as error:
            log.debug("listener %s: %s", self._listener.name, error.message)
            host = ""
        self._task = None
        if host:
            self._open(host)
        else:
            self._unreachable()

    def _open(self, host: str) -> None:
        try:
            sock = open_socket(host, self._endpoint.port)
        except OSError as error:
            # Out of file descriptors is no fault of the endpoint's.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._listener.counters.dropped += 1
                self.end("no file descriptors left")
            else:
                self._unreachable()
            return
        self._link = Link(sock, self._answer, self._failed, limit=self._listener.limits.datagram)
        while self._waiting and not self._ended:
            self._link.send(self._waiting.popleft())

    def send(self, data: bytes) -> None:
        self._active = True
        self._bytes_in += len(data)
        if self._link is not None:
            self._link.send(data)
        elif not self._ended:
            self._waiting.append(data)

    def _answer(self, data: bytes) -> None:
        if not self._bytes_out:
            self._listener.service.endpoints.reached(self._endpoint)
        self._active = True
        self._bytes_out += len(data)
        self._listener.answer(data, self.way)

    def _failed(self, error: OSError) -> None:
        """The endpoint, or a router on the way, says that nobody is there (ICMP)."""
        log.debug("listener %s: %s: %s", self._listener.name, self._endpoint.label, error.strerror)
        self._unreachable()

    def _unreachable(self) -> None:
        self._listener.counters.unreachable += 1
        self._listener.service.endpoints.failed(self._endpoint)
        self.end("unreachable")

    def sweep(self, now: float) -> None:
        if self._active:
            self._active = False
            self._since = now
        elif now - self._since >= self._listener.idle_s:
            self.end("idle")

    def end(self, why: str) -> None:
        """Forget it. Harmless when repeated."""
        if self._ended:
            return
        self._ended = True
        if self._task is not None:
            self._task.cancel()
        if self._link is not None:
            self._link.close()
        self._endpoint.active -= 1
        listener = self._listener
        listener.ended(
            self,
            Carried(
                listener=listener.name,
                kind=listener.kind,
                client=str(self.way.client[0]),
                port=self.way.client[1],
                upstream=self._endpoint.label,
                bytes_in=self._bytes_in,
                bytes_out=self._bytes_out,
                elapsed_s=asyncio.get_running_loop().time() - self._started,
                ended=why,
            ),
        )
