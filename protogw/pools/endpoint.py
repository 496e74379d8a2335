"""One upstream address: its connections, those who wait for one, and whether it can be reached at all."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

from protogw.errors import GatewayError, InternalError, Overloaded, Source
from protogw.pools.base import Connector, Lane, PooledConnection, Switching

log = logging.getLogger("protogw")

BACKOFF_FIRST_S, BACKOFF_FACTOR, BACKOFF_MOST_S = 1.0, 1.6, 30.0
"""How long an endpoint that cannot be reached is left alone (gRPC's connection backoff, with a lower ceiling)."""
RETRY_S = 1.0
"""When calls that find no place may come back: the least that Retry-After can say, as nobody measures how long places
are taken."""


class Endpoint:
    """Connections to one address, opened as calls need them and kept.

    `max_connections` bounds them; `max_pending` bounds the calls that wait for one. With `shared`, one connection
    carries many calls at once, so that calls that wait for a first connection open only one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connector: Connector,
        *,
        weight: int = 1,
        priority: int = 0,
        zone: str = "",
        max_connections: int,
        max_pending: int = 1024,
        max_age_s: float = 0.0,
        shared: bool,
        on_reach: Callable[[Endpoint, bool], None],
    ) -> None:
        self.host = host
        self.port = port
        self.weight = weight
        """Its share beside the others', as it is now: less than `full_weight` while it starts slowly."""
        self.full_weight = weight
        self.priority = priority
        self.zone = zone
        self.since = 0.0
        """Loop time at which it became new or ready again; what slow start counts from."""
        self.label = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.down_until = 0.0
        """Loop time before which it is left alone, 0.0 when it is up."""
        self._connector = connector
        self._max_connections = max_connections
        self._max_pending = max_pending
        self._max_age_s = max_age_s
        self._shared = shared
        self._on_reach = on_reach
        self._connections: set[PooledConnection] = set()
        self._switched: set[PooledConnection] = set()
        """Of those, the ones that have left HTTP: as many as there are clients, whose number is bounded elsewhere."""
        # In order of becoming free, so that the most recently used one is last: idle ones at the front age out.
        self._free: dict[PooledConnection, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._hoping = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._backoff_s = BACKOFF_FIRST_S
        self._closed = False
        self._lanes: dict[Lane, Endpoint] = {}

    @property
    def active(self) -> int:
        """Calls in flight on its connections."""
        own = sum(connection.active for connection in self._connections)
        return own + sum(lane.active for lane in self._lanes.values())

    @property
    def hoping(self) -> int:
        """Calls that are on their way to a connection."""
        return self._hoping + sum(lane.hoping for lane in self._lanes.values())

    @property
    def connections(self) -> int:
        return len(self._connections) + sum(lane.connections for lane in self._lanes.values())

    def lane(self, lane: Lane) -> Endpoint:
        """The same address with connections that are this lane's alone."""
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = Endpoint(
                self.host,
                self.port,
                lane.over(self._connector),
                max_connections=lane.max_connections,
                max_pending=self._max_pending,
                max_age_s=self._max_age_s,
                shared=True,
                on_reach=self._lane_reached,
            )
            found._closed = self._closed
        return found

    def _lane_reached(self, lane: Endpoint, reached: bool) -> None:
        """An address that one lane cannot reach is left alone by all."""
        self.down_until = lane.down_until
        self._on_reach(self, reached)

    def available(self) -> PooledConnection | None:
        """A connection that takes a request now, or None."""
        free = self._free
        while free:
            connection = next(reversed(free))
            if connection.room > 0:
                return connection
            del free[connection]
        return None

    async def acquire(self) -> PooledConnection:
        """A connection that takes a request, opening one if there is none.

        Raises Unreachable when it cannot be opened, Overloaded when too many calls wait already.
        """
        self._hoping += 1
        try:
            while (connection := self.available()) is None:
                if len(self._waiting) >= self._max_pending:
                    said = f"{self._max_pending} calls are waiting for a connection"
                    raise Overloaded(said, where=self.label, retry_after_s=RETRY_S)
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                self._open_more()
                try:
                    await waiter
                except asyncio.CancelledError:
                    self._pass_on(waiter)
                    raise
        finally:
            self._hoping -= 1
        return connection

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        """The waiter is gone: if it had been woken, the room is another's."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.done() and not waiter.cancelled():
            self._wake(1)

    def _open_more(self) -> None:
        opening = len(self._opening)
        wanted = min(1, len(self._waiting)) if self._shared else len(self._waiting)
        taken = len(self._connections) - len(self._switched) + opening
        if self._closed or opening >= wanted or taken >= self._max_connections:
            return
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        task = asyncio.current_task()
        try:
            connection = await self._connector.connect(self.host, self.port)
        except GatewayError as error:
            if error.source is Source.UPSTREAM:
                self._unreachable(error)
            else:
                self._tell(error)  # this process has no file descriptors left, or the like: the endpoint is as it was
            return
        except Exception:  # a fault of ours, or of the system's: those who wait must hear of it nonetheless
            log.exception("a fault of the gateway's own in connecting to %s", self.label)
            self._unreachable(InternalError())
            return
        finally:
            assert task is not None
            self._opening.discard(task)
        if self._closed:
            connection.close()
            return
        connection.on_change = self._changed
        self._connections.add(connection)
        if self._max_age_s:
            # More or less, so that connections opened together are not opened anew together.
            age = self._max_age_s * random.uniform(0.9, 1.1)
            asyncio.get_running_loop().call_later(age, connection.drain)
        self._backoff_s = BACKOFF_FIRST_S
        self.down_until = 0.0
        self._on_reach(self, True)
        self._changed(connection)

    def _unreachable(self, error: GatewayError) -> None:
        """It is left alone for a while, and those who wait are told, so that they go elsewhere.

        Also when older connections live on: a service that ends its last calls takes no new connection, and what it
        has may stay full for hours. Where each call needs a connection of its own, only one of them hoped for this one.
        """
        loop = asyncio.get_running_loop()
        # Jitter, so that many gateways do not return to a recovering service in step.
        self.down_until = loop.time() + self._backoff_s * (0.8 + 0.4 * random.random())
        self._backoff_s = min(self._backoff_s * BACKOFF_FACTOR, BACKOFF_MOST_S)
        self._tell(error)
        self._on_reach(self, False)

    def _tell(self, error: GatewayError) -> None:
        """Those who hoped for the connection that could not be opened."""
        told = 1 if self._connections and not self._shared else len(self._waiting)
        while self._waiting and told > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                told -= 1

    def _changed(self, connection: PooledConnection) -> None:
        """A connection has room again, or has closed."""
        if connection.closed:
            self._connections.discard(connection)
            self._switched.discard(connection)
            self._free.pop(connection, None)
            if self._waiting:
                self._open_more()
            return
        room = connection.room
        if room > 0:
            self._free[connection] = None
            if self._waiting:
                self._wake(room)
        elif isinstance(connection, Switching) and connection.switched:
            self._switched.add(connection)
            if self._waiting:
                self._open_more()

    def _wake(self, count: int) -> None:
        while self._waiting and count > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1
        if self._waiting:
            self._open_more()

    async def dial(self) -> None:
        """Open a connection beside the others and close it; raises Unreachable."""
        connection = await self._connector.connect(self.host, self.port)
        connection.close()

    def drain(self) -> None:
        """Take no more calls; connections close as their last call ends."""
        self._closed = True
        for lane in self._lanes.values():
            lane.drain()
        for connection in tuple(self._connections):
            connection.drain()

    def close(self) -> None:
        """Close every connection now."""
        self._closed = True
        for lane in self._lanes.values():
            lane.close()
        for task in tuple(self._opening):
            task.cancel()
        for connection in tuple(self._connections):
            connection.close()

    def __repr__(self) -> str:
        state = "down" if self.down_until else "ready"
        return f"<Endpoint {self.label} {state} {self.connections} connections, {self.active} in flight>"
