"""What a pool asks of the network: something that connects, and connections that say how much room they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from protogw.translator import HttpConnection

if TYPE_CHECKING:
    from protogw.call import Call


class PooledConnection(HttpConnection, Protocol):
    """An upstream connection that a pool keeps."""

    closed: bool
    """No request will ever be taken again."""

    on_change: Callable[[PooledConnection], None] | None
    """Called when room appears where there was none, and once when the connection closes."""

    @property
    def room(self) -> int:
        """How many more requests it takes right now (0 when full, draining or closed)."""
        ...

    @property
    def active(self) -> int:
        """Requests in flight."""
        ...

    def drain(self) -> None:
        """Take no more requests; close once the last one in flight has ended."""
        ...

    def close(self) -> None:
        """Close now; requests in flight fail with UpstreamReset."""
        ...


@runtime_checkable
class Switching(Protocol):
    """A pooled connection that may leave HTTP, for one client's bytes until it closes (HttpStream.switched)."""

    switched: bool
    """It has; `on_change` is called then too."""


class Connector(Protocol):
    """Opens connections; holds the TLS settings, the connect timeout and the limits."""

    async def connect(self, host: str, port: int) -> PooledConnection:
        """A ready connection (for HTTP/2: preface and settings sent); raises Unreachable."""
        ...


class Lane(Protocol):
    """A kind of connection that only some calls of a pool can use. Compared by identity: one object is one lane."""

    @property
    def max_connections(self) -> int:
        """How many connections of this kind an endpoint has at most; each carries many calls at once."""
        ...

    def over(self, connector: Connector) -> Connector:
        """What opens them, by way of the pool's own connector."""
        ...


@runtime_checkable
class Laned(Protocol):
    """A translator some of whose calls need connections of their own kind."""

    def lane(self, call: Call) -> Lane | None:
        """The lane of a call, None for the pool's own connections. There are only as many as there are methods."""
        ...
