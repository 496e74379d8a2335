"""Writes streamed replies: each message as it arrives, at the pace of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from protogw.call import Call, Payload, Reply
from protogw.errors import Code, GatewayError, Status
from protogw.frontends.enveloped import close
from protogw.frontends.rest.bindings import Binding
from protogw.frontends.rest.framing import Framing
from protogw.frontends.rest.replies import as_json
from protogw.frontends.rest.table import Prepared
from protogw.wire.http import Header
from protogw.wire.http_body import read_http_body
from protogw.wire.metadata import forwardable
from protogw.wire.sse import HEARTBEAT

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange, Handler

HEAD_AFTER_S = 1.0
"""A call that has brought nothing for this long gets its head, so that proxies and clients see that it is under way."""


class StreamAnswer:
    """The state of an exchange that answers with a stream: `fail` asks it how to end.

    The head waits for the first message or the end, so that an error before any message still has an HTTP status of
    its own; HEAD_AFTER_S bounds the wait.
    """

    def __init__(
        self,
        exchange: Exchange,
        prepared: Prepared,
        binding: Binding,
        framing: Framing,
        *,
        describe: Callable[[Status], tuple[bytes, bytes]],
        trailers: bool,
        heartbeat_s: float,
    ) -> None:
        self.prepared = prepared
        self._exchange = exchange
        self._binding = binding
        self._framing = framing
        self._describe = describe
        self._trailers = trailers
        self._heartbeat_s = heartbeat_s
        self._headers: tuple[Header, ...] = framing.headers
        self._beating: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def run(self, call: Call, handle: Handler) -> Reply | None:
        """Make the call and write its reply; returns the reply if it is an error and nothing has been sent yet."""
        timer = asyncio.get_running_loop().call_later(HEAD_AFTER_S, self._start)
        try:
            reply = await handle(call)
            self._headers = self._framing.headers + forwardable(reply.metadata.pairs)
            payloads = reply.payloads
            if payloads is not None:
                try:
                    whole = await self._messages(payloads, timer)
                except BaseException:  # cancelled, too: the service is let go of
                    await close(payloads)
                    raise
                if not whole:
                    await close(payloads)
                    return None
            elif reply.payload is not None and reply.status.code is Code.OK:
                await self._write(self._framing.message(as_json(self._binding, reply.payload)))
            return await self._end(reply)
        finally:
            timer.cancel()
            if self._beating is not None:
                self._beating.cancel()

    async def _messages(self, payloads: AsyncIterator[Payload], timer: asyncio.TimerHandle) -> bool:
        """Write every message; False when one was enough, because only the head is wanted."""
        exchange = self._exchange
        binding, framed = self._binding, self._framing.message
        async for payload in payloads:
            data = framed(as_json(binding, payload))
            if not exchange.started:
                timer.cancel()
                if exchange.head.method == b"HEAD":
                    exchange.respond(binding.success, self._headers)
                    return False
            await self._write(data)
        return True

    async def _write(self, data: bytes) -> None:
        if not self._exchange.started:
            self._start()
        if self._beating is None:
            await self._exchange.write(data)
        else:
            async with self._writing:
                await self._exchange.write(data)

    async def _end(self, reply: Reply) -> Reply | None:
        exchange = self._exchange
        if reply.status.code is not Code.OK:
            if not exchange.started:
                return reply
            if self._cut_at_failure:
                await self._write(self._framing.failure(*self._describe(reply.status)))
            self.fail(reply.status)
            return None
        trailers = forwardable(reply.trailers.pairs) if self._trailers else ()
        if exchange.started:
            exchange.finish(self._framing.end(), trailers)
        else:
            exchange.respond(self._binding.success, self._headers, self._framing.end(), trailers)
        return None

    @property
    def _cut_at_failure(self) -> bool:
        return self._framing.ambiguous and self._binding.output.field("error") is not None

    def fail(self, status: Status) -> None:
        """End a started answer so that the client sees that it failed."""
        if self._cut_at_failure:
            self._exchange.abort()
        else:
            self._exchange.finish(self._framing.failure(*self._describe(status)))

    def _start(self) -> None:
        exchange = self._exchange
        if not exchange.started:
            exchange.start(self._binding.success, self._headers)
            if self._heartbeat_s > 0:
                self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        """Owned by `run`, which cancels it; ends by itself when writing fails, as `run` then does too."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            async with self._writing:
                try:
                    await self._exchange.write(HEARTBEAT)
                except (GatewayError, OSError):
                    return


async def run_raw(exchange: Exchange, binding: Binding, call: Call, handle: Handler, trailers: bool) -> Reply | None:
    """Make the call and write its stream of google.api.HttpBody: its data as it is, under the first's content type.

    There is no record for a failure: an answer that cannot be completed is cut off. Returns the reply if it is an
    error and nothing has been sent yet.
    """
    number = binding.reply_field.number if binding.reply_field is not None else 0
    reply = await handle(call)
    metadata = forwardable(reply.metadata.pairs)
    payloads = reply.payloads
    if payloads is not None:
        try:
            async for payload in payloads:
                content_type, data = read_http_body(payload.proto(), number)
                if not exchange.started:
                    exchange.start(binding.success, ((b"content-type", content_type), *metadata))
                if data:
                    await exchange.write(data)
        except BaseException:  # cancelled, too: the service is let go of
            await close(payloads)
            raise
    if reply.status.code is not Code.OK:
        if not exchange.started:
            return reply
        exchange.abort()
        return None
    passed = forwardable(reply.trailers.pairs) if trailers else ()
    if exchange.started:
        exchange.finish(b"", passed)
    else:
        exchange.respond(binding.success, metadata, b"", passed)
    return None
