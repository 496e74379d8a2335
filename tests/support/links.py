"""Fakes for pools: connections whose room and life the test decides, what dials them, and what sends over them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from protogw.call import Call, Reply
from protogw.errors import Unreachable


class Link:
    """A connection whose room and life the test decides."""

    def __init__(self, port: int, room: int) -> None:
        self.port = port
        self.limit = room
        self.active = 0
        self.closed = False
        self.drained = False
        self.switched = False
        self.on_change: Callable[[Link], None] | None = None

    @property
    def room(self) -> int:
        return 0 if self.closed or self.drained else self.limit - self.active

    def open(self, head: bytes, body: bytes | None) -> object:
        raise AssertionError("the fake translator does not open streams")

    def take(self) -> None:
        self.active += 1

    def give_back(self) -> None:
        self.active -= 1
        assert self.on_change is not None
        self.on_change(self)

    def switch(self) -> None:
        """It leaves HTTP for the call that it was taken for."""
        self.switched = True
        assert self.on_change is not None
        self.on_change(self)

    def drain(self) -> None:
        self.drained = True
        if not self.active:
            self.close()

    def close(self) -> None:
        self.closed = True
        if self.on_change is not None:
            self.on_change(self)


class Dialer:
    """Connects at once, unless the port is down or a gate is shut."""

    def __init__(self, *, room: int = 100, down: tuple[int, ...] = ()) -> None:
        self.room = room
        self.down = set(down)
        self.links: list[Link] = []
        self.dialled: list[int] = []
        self.gate: asyncio.Event | None = None

    async def connect(self, host: str, port: int) -> Link:
        self.dialled.append(port)
        if self.gate is not None:
            await self.gate.wait()
        if port in self.down:
            raise Unreachable(f"{host}:{port}: refused")
        link = Link(port, self.room)
        self.links.append(link)
        return link


class Sender:
    kind: ClassVar[str] = "fake"
    transport: ClassVar[str] = "http/2"
    default_schema: ClassVar[str] = "none"

    def __init__(self, act: Callable[[Call, Link], Awaitable[Reply]] | None = None) -> None:
        self.act = act
        self.ports: list[int] = []

    async def send(self, call: Call, connection: Link) -> Reply:
        self.ports.append(connection.port)
        if self.act is not None:
            return await self.act(call, connection)
        return Reply()
