"""Responses that come one after another on one HTTP answer: server-sent events and multipart parts.

Event streams are graphql-sse's (its PROTOCOL.md, distinct connections mode); parts are what Apollo's clients read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from protogw.errors import GatewayError
from protogw.frontends.graphql.execute import Response
from protogw.frontends.graphql.request import EVENTS, MULTIPART
from protogw.wire.http import Header
from protogw.wire.sse import HEARTBEAT

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

_UNSTORED: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
EVENT_HEAD: tuple[Header, ...] = ((b"content-type", EVENTS), *_UNSTORED)
_COMPLETE = b"event: complete\ndata:\n\n"


class Answer:
    """An answer under way: pieces are written one at a time, with signs of life where nothing else comes."""

    def __init__(self, exchange: Exchange, head: tuple[Header, ...], beat: bytes, every_s: float) -> None:
        self.exchange = exchange
        self._head = head
        self._beat = beat
        self._every_s = every_s
        self._writing = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Send the head: the client sees that it is under way."""
        self.exchange.start(200, self._head)
        if self._every_s > 0:
            self._beating = asyncio.get_running_loop().create_task(self._beats())

    async def write(self, data: bytes) -> None:
        async with self._writing:
            await self.exchange.write(data)

    def finish(self, data: bytes) -> None:
        """Write the last piece and end the answer."""
        self.stop()
        self.exchange.finish(data)

    def stop(self) -> None:
        """No more signs of life."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    async def _beats(self) -> None:
        """Ends by itself when writing fails, as whoever writes the answer then does too."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.write(self._beat)
            except (GatewayError, OSError):
                return


class Events(Answer):
    """Responses as the events of one operation."""

    def __init__(self, exchange: Exchange, every_s: float) -> None:
        super().__init__(exchange, EVENT_HEAD, HEARTBEAT, every_s)

    async def send(self, response: Response) -> None:
        await self.write(b"event: next\ndata: %b\n\n" % orjson.dumps(response))

    def end(self, errors: list[dict[str, Any]] | None = None) -> None:
        """End the stream; with `errors`, after a response that has nothing else."""
        last = b"event: next\ndata: %b\n\n" % orjson.dumps({"errors": errors}) if errors else b""
        self.finish(last + _COMPLETE)


class Parts(Answer):
    """Responses of a subscription as parts (Apollo's multipart protocol, subscriptionSpec 1.0)."""

    def __init__(self, exchange: Exchange, every_s: float) -> None:
        kind = MULTIPART + b';boundary="graphql";subscriptionSpec=1.0'
        super().__init__(exchange, ((b"content-type", kind), *_UNSTORED), self._part(b"{}"), every_s)

    @staticmethod
    def _part(data: bytes) -> bytes:
        return b"\r\n--graphql\r\ncontent-type: application/json\r\n\r\n%b" % data

    async def send(self, response: Response) -> None:
        await self.write(self._part(b'{"payload":%b}' % orjson.dumps(response)))

    def end(self, errors: list[dict[str, Any]] | None = None) -> None:
        """End the stream; with `errors`, after a part that says that the stream itself failed."""
        last = self._part(orjson.dumps({"payload": None, "errors": errors})) if errors else b""
        self.finish(last + b"\r\n--graphql--\r\n")


class Increments(Answer):
    """A query's response in parts: what is there, then what was deferred (deferSpec 20220824)."""

    def __init__(self, exchange: Exchange) -> None:
        kind = MULTIPART + b';boundary="-";deferSpec=20220824'
        # There is no part that says nothing: a client would take it for the next one.
        super().__init__(exchange, ((b"content-type", kind), *_UNSTORED), b"", 0)

    async def first(self, response: Response) -> None:
        await self.write(self._part({**response, "hasNext": True}))

    async def later(self, response: Response, label: str | None, *, more: bool) -> None:
        """A deferred fragment's response."""
        found: dict[str, Any] = {**response, "path": []}
        if label is not None:
            found["label"] = label
        await self.write(self._part({"incremental": [found], "hasNext": more}))

    @staticmethod
    def _part(value: dict[str, Any]) -> bytes:
        return b"\r\n---\r\ncontent-type: application/json; charset=utf-8\r\n\r\n" + orjson.dumps(value)

    def end(self, errors: list[dict[str, Any]] | None = None) -> None:
        last = self._part({"errors": errors, "hasNext": False}) if errors else b""
        self.finish(last + b"\r\n-----\r\n")
