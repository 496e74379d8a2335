"""What the passthroughs share: the line that is told of each connection, and the looking after many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, cast

from pydantic import BaseModel

Target: TypeAlias = tuple[tuple[str | int, ...], object]
"""Where in a listener's settings an upstream is named, and the name as it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What became of one connection or session."""

    listener: str
    kind: str
    client: str
    port: int
    server_name: str = ""
    """The name that a TLS client asked for, where it was read."""
    upstream: str
    """The endpoint it went to, or empty."""
    bytes_in: int
    bytes_out: int
    elapsed_s: float
    ended: str
    """Why it ended, in a word or two."""


class Recorder(Protocol):
    """Writes one line per connection; never waits."""

    def carried(self, what: Carried) -> None:
        """Called once a connection or session has ended, or was turned away."""
        ...


class Passthrough(Protocol):
    """One kind of raw listener, as its class."""

    kind: ClassVar[str]
    Settings: ClassVar[type[BaseModel]]
    transport: ClassVar[str]
    """Whose ports it listens on."""
    secures: ClassVar[bool]
    """It can end TLS from clients and begin it to services."""
    proxied: ClassVar[bool]
    """It can take and give PROXY headers."""

    @staticmethod
    def targets(written: object) -> Iterable[Target]:
        """The upstreams that settings name, out of the document, whatever its shape."""
        ...

    @staticmethod
    def ways(settings: Any) -> Iterable[tuple[str, str]]:
        """What is told apart, and the upstream it leads to; "" is everything, "otherwise" everything else."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What the admin address shows of it."""
        ...


class Swept(Protocol):
    """Something that ends when nothing happens for too long."""

    def sweep(self, now: float) -> None: ...


SWEEPS_A_SECOND = 8
"""Each is swept once a second; not all in one go, which would be felt with ten thousand of them."""


class Sweeper:
    """Calls `sweep` on everything added, about once a second each."""

    def __init__(self) -> None:
        self._slices: list[dict[Swept, None]] = [{} for _ in range(SWEEPS_A_SECOND)]
        self._parts: dict[Swept, dict[Swept, None]] = {}
        self._loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(1 / SWEEPS_A_SECOND, self._sweep)

    def add(self, one: Swept) -> None:
        part = self._parts[one] = min(self._slices, key=len)
        part[one] = None

    def discard(self, one: Swept) -> None:
        part = self._parts.pop(one, None)
        if part is not None:
            del part[one]

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(1 / SWEEPS_A_SECOND, self._sweep)
        now = self._loop.time()
        part = self._slices.pop(0)
        self._slices.append(part)
        for one in tuple(part):
            one.sweep(now)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PerSource:
    """How many connections each source has open, and no more than `most` each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    def enter(self, host: str) -> bool:
        """Count one more; False when the source has enough."""
        count = self._open.get(host, 0)
        if count >= self._most:
            return False
        self._open[host] = count + 1
        return True

    def leave(self, host: str) -> None:
        count = self._open[host] - 1
        if count:
            self._open[host] = count
        else:
            del self._open[host]

    def __len__(self) -> int:
        return len(self._open)
