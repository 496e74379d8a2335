"""A target that many clients' calls share one upstream stream through, or one unary call for each message.

The stream is opened with the first client and half-closed a while after the last. When it breaks it is opened again,
with the clients still there: they may be told, the service is told anew who they are, and the last requests go again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from protogw.call import NO_METADATA, Call, Encoding, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import OK, Code, DeadlineExceeded, GatewayError, InvalidRequest, Status
from protogw.fanin.hub import Hub, Rules
from protogw.fanin.member import Seat, give, let_go
from protogw.fanin.outbox import Slow
from protogw.fanin.upstream import Pending, Stream
from protogw.wire.http import Peer

log = logging.getLogger("protogw")

RETRY_FIRST_S, RETRY_MOST_S = 0.25, 15.0
"""How soon a stream that broke is opened again, and how seldom at the most."""

WIND_DOWN_S = 5.0
"""How long a service may go on once its stream has been half-closed."""

_FINAL = frozenset(
    (
        Code.OK,
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.UNIMPLEMENTED,
        Code.UNAUTHENTICATED,
    )
)
"""Ends that the service means: opening the stream again would only bring the same."""

_NOBODY = Peer("", 0)


class Target(Protocol):
    """What carries the upstream calls: a pool."""

    name: str
    kind: str

    async def send(self, call: Call) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a fan-in does beside its Rules.

    Messages are protobuf bytes: `connect` and `disconnect` of the request's type, `lost` and `resumed` of the reply's;
    None for no such message.
    """

    by_identity: bool = False
    """A client's key is who it is, as a policy found out, instead of which connection it came by."""
    buffer: int = 64
    slow: Slow = Slow.DROP_OLDEST
    pending: int = 256
    """Requests of all clients that wait for the service before clients must wait."""
    replay: int = 0
    """Requests that are sent again on a stream that was opened anew."""
    linger_s: float = 5.0
    connect: bytes | None = None
    disconnect: bytes | None = None
    lost: bytes | None = None
    resumed: bytes | None = None
    unary_timeout_s: float = 15.0


class FanIn:
    """The clients of one method, and the stream that they share. `own` keeps its task until that ends."""

    def __init__(
        self,
        target: Target,
        method: Method,
        rules: Rules,
        options: Options,
        own: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.name = target.name
        self.kind = target.kind
        self.method = method
        self._target = target
        self._options = options
        self._own = own
        self._hub: Hub[Seat] = Hub(rules)
        self._pending = Pending(method.input.codec, options.pending, options.replay)
        self._running: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._patience: asyncio.Timeout | None = None
        """Of the present stream, once it was asked to end."""
        self._wound_down = False
        """The last stream ended because it was asked to."""
        self._upstream = ""
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def members(self) -> int:
        return len(self._hub)

    # --- a client's call ----------------------------------------------------------------------------------------------

    async def send(self, call: Call) -> Reply:
        """Take a client's call in; raises GatewayError. One that brings one message and no more has no part in it."""
        if call.payloads is None:
            return await self._target.send(call)
        attributes = call.attributes or {}
        bound: bytes = attributes.get("bound", b"")
        key = self._identity(call) if self._options.by_identity else attributes.get("connection")
        # Who came by no lasting connection of its own is one client for as long as its call is.
        seat = Seat(key or secrets.token_urlsafe(16), self._options.buffer, self._options.slow, bound)
        reply = seat.reply
        if self.method.server_streaming or self.method.unary:
            reply.payloads = self._attached(seat, call, call.payloads)
            return reply
        self._join(seat)
        try:
            await self._pump(seat, call.payloads)
        finally:
            call.upstream = self._upstream
            self._leave(seat)
        seat.check()
        if reply.status.code == Code.OK:
            reply.payload = Payload(b"", Encoding.PROTO, self.method.output.codec)
        return reply

    @staticmethod
    def _identity(call: Call) -> str:
        identity = call.identity
        if identity is None or getattr(identity, "anonymous", False):
            raise GatewayError("who calls is not known here", code=Code.UNAUTHENTICATED)
        return str(getattr(identity, "name", identity))

    async def _attached(self, seat: Seat, call: Call, payloads: AsyncIterator[Payload]) -> AsyncIterator[Payload]:
        """What a client gets, for as long as it stays."""
        self._join(seat)
        pump = asyncio.get_running_loop().create_task(self._fed(seat, payloads))
        try:
            async for payload in seat.messages():
                yield payload
        finally:
            pump.cancel()
            call.upstream = self._upstream
            self._leave(seat)

    async def _fed(self, seat: Seat, payloads: AsyncIterator[Payload]) -> None:
        """Owned by `_attached`: carries a client's requests, and fails its call when one of them is bad."""
        try:
            await self._pump(seat, payloads)
        except GatewayError as error:
            seat.fail(error)

    async def _pump(self, seat: Seat, payloads: AsyncIterator[Payload]) -> None:
        async for payload in payloads:
            message = self._hub.request(seat, payload.proto())
            if self.method.unary:
                await self._ask(seat, message)
            else:
                await self._pending.put(message)
            if seat.ended:
                return

    def _join(self, seat: Seat) -> None:
        self._hub.join(seat)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self.method.unary:
            return
        # A stream that is yet to be opened begins with an event for each who is there.
        told = self._stream is not None and not self._stream.ended
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name=f"fan-in {self.method.full_name}")
            self._own(self._running)
        if told and self._options.connect is not None:
            self._pending.add(self._hub.event(seat, self._options.connect))

    def _leave(self, seat: Seat) -> None:
        self._hub.leave(seat)
        seat.end()
        if self.method.unary:
            return
        if self._stream is not None and self._options.disconnect is not None:
            self._pending.add(self._hub.event(seat, self._options.disconnect))
        if not self._hub and self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(self._options.linger_s, self._wind_down)

    # --- one unary call for each message ------------------------------------------------------------------------------

    async def _ask(self, seat: Seat, message: bytes) -> None:
        payload = Payload(message, Encoding.PROTO, self.method.input.codec)
        try:
            call = self._call(payload=payload)
            async with asyncio.timeout(self._options.unary_timeout_s):
                reply = await self._target.send(call)
            self._upstream = call.upstream
        except TimeoutError:
            raise DeadlineExceeded from None
        if reply.status.code != Code.OK:
            seat.end(reply.status, reply.trailers)
        elif reply.payload is not None:
            await self._deliver(reply.payload, seat)

    # --- the shared stream --------------------------------------------------------------------------------------------

    def _call(self, *, payload: Payload | None = None, payloads: AsyncIterator[Payload] | None = None) -> Call:
        """A call of the gateway's own: no client's fields go with what is everyone's."""
        return Call(
            self.method,
            NO_METADATA,
            front_end="fan-in",
            peer=_NOBODY,
            started=asyncio.get_running_loop().time(),
            payload=payload,
            payloads=payloads,
        )

    def _wind_down(self) -> None:
        """Nobody has come for a while: the service may finish."""
        self._leaving = None
        if self._stream is None or self._patience is None:
            # There is no stream that would take what waits, and nobody to open one for.
            self._pending.clear()
        else:
            self._stream.end()
            self._patience.reschedule(asyncio.get_running_loop().time() + WIND_DOWN_S)

    async def _run(self) -> None:
        """Keep the stream open while there is anyone; owned by whoever `own` tells."""
        wait = RETRY_FIRST_S
        again = False
        try:
            # What a client said before it left is still to be sent.
            while self._hub or self._pending:
                started = asyncio.get_running_loop().time()
                status = await self._once(again)
                if status.code in _FINAL:
                    if not self._wound_down:
                        for seat in self._hub:
                            seat.end(status)
                        return
                    again = False
                    continue
                if not again or asyncio.get_running_loop().time() - started > RETRY_MOST_S:
                    log.warning("fan-in %s: its stream broke: %s", self.method.full_name, status.message)
                    await self._tell(self._options.lost)
                    wait = RETRY_FIRST_S
                again = True
                await asyncio.sleep(wait * (0.5 + secrets.randbelow(1000) / 2000))
                wait = min(wait * 2, RETRY_MOST_S)
        finally:
            self._running = None
            self._pending.clear()
            for seat in self._hub:
                seat.fail(GatewayError("the gateway is stopping", code=Code.UNAVAILABLE))

    async def _once(self, again: bool) -> Status:
        """One upstream stream from its beginning to its end; how it ended."""
        connect = self._options.connect
        present = [self._hub.event(seat, connect) for seat in self._hub] if connect is not None else []
        stream = self._stream = self._pending.stream(present)
        call = self._call(payloads=stream)
        try:
            async with asyncio.timeout(None) as self._patience:
                return await self._carry(call, again)
        except TimeoutError:
            return OK  # it was asked to end, and had its time for it
        except GatewayError as error:
            return error.status
        finally:
            self._wound_down = stream.ended
            stream.close()
            self._stream = self._patience = None

    async def _carry(self, call: Call, again: bool) -> Status:
        reply = await self._target.send(call)
        self._upstream = call.upstream
        if again:
            log.info("fan-in %s: its stream is open again", self.method.full_name)
            await self._tell(self._options.resumed)
        if reply.payloads is not None:
            try:
                async for payload in reply.payloads:
                    await self._deliver(payload, None)
            finally:
                await let_go(reply.payloads)
        return reply.status

    async def _tell(self, message: bytes | None) -> None:
        if message is not None:
            await give(tuple(self._hub), Payload(message, Encoding.PROTO, self.method.output.codec))

    async def _deliver(self, payload: Payload, asker: Seat | None) -> None:
        try:
            recipients = self._hub.recipients(payload.proto(), asker)
        except InvalidRequest as error:
            log.warning("fan-in %s: a reply cannot be read: %s", self.method.full_name, error.message)
            return
        await give(recipients, payload)

    def __repr__(self) -> str:
        return f"<FanIn {self.method.full_name} to {self.name}, {len(self._hub)} members>"
