"""A target that equal server streams are opened through once: who asks for the same gets the same.

Equal are calls of one method whose requests say the same, however written, and whose callers are the same as far as the
scope goes: by default who sends equal credentials. A client that joins a stream gets what comes from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

import orjson

from protogw.call import Call, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import Code, GatewayError
from protogw.fanin.fan_in import Target
from protogw.fanin.member import Seat, give, let_go
from protogw.fanin.outbox import Slow
from protogw.wire.http import Peer

Key: TypeAlias = "tuple[str, bytes, tuple[tuple[bytes, ...], ...], str | None]"

_NOBODY = Peer("", 0)


class SharedStreams:
    """The open streams of one route by what was asked. `scope` are the metadata fields that tell callers apart."""

    def __init__(
        self,
        target: Target,
        scope: Sequence[bytes],
        buffer: int,
        slow: Slow,
        own: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._scope = tuple(scope)
        self._buffer = buffer
        self._slow = slow
        self._own = own
        self._streams: dict[Key, _Stream] = {}

    @property
    def streams(self) -> int:
        """Streams open upstream."""
        return len(self._streams)

    async def send(self, call: Call) -> Reply:
        """Answer with a stream that there is, or open one; raises GatewayError."""
        method, payload = call.method, call.payload
        if method is None or payload is None or not method.server_streaming:
            return await self._target.send(call)
        key = self._key(method, payload, call)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(self, key, self._call(method, payload, call))
        seat = Seat("", self._buffer, self._slow)
        stream.seats[seat] = None
        try:
            seat.reply.metadata = await stream.opened()
        except BaseException:  # cancelled, too: nobody sits there
            stream.leave(seat)
            raise
        call.upstream = stream.call.upstream
        seat.reply.payloads = stream.attached(seat)
        return seat.reply

    def _key(self, method: Method, payload: Payload, call: Call) -> Key:
        scope = tuple(tuple(call.metadata.get_all(name)) for name in self._scope)
        # Two encoders may write one message in two ways; its JSON with sorted keys is the same whoever wrote it.
        data = method.input.codec.canonical.to_json(payload.proto())
        canonical = orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
        identity = call.identity
        who = None if identity is None else str(getattr(identity, "key", identity))
        return method.full_name, canonical, scope, who

    def _call(self, method: Method, payload: Payload, first: Call) -> Call:
        """The call that all share: of the first client's fields only those that they have in common."""
        pairs = tuple(pair for pair in first.metadata.pairs if pair[0] in self._scope)
        made = Call(
            method,
            Metadata(pairs),
            front_end="shared",
            peer=_NOBODY,
            started=asyncio.get_running_loop().time(),
            payload=payload,
        )
        made.identity = first.identity
        return made

    async def carry(self, call: Call) -> Reply:
        return await self._target.send(call)

    def start(self, stream: _Stream) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(stream.run(), name="shared stream")
        self._own(task)
        return task

    def gone(self, key: Key, stream: _Stream) -> None:
        if self._streams.get(key) is stream:
            del self._streams[key]

    def __repr__(self) -> str:
        return f"<SharedStreams to {self.name}, {len(self._streams)} open>"


class _Stream:
    """One stream upstream, and those who get it."""

    def __init__(self, owner: SharedStreams, key: Key, call: Call) -> None:
        self.seats: dict[Seat, None] = {}
        self.call = call
        self._owner = owner
        self._key = key
        self._head: asyncio.Future[Metadata] = asyncio.get_running_loop().create_future()
        self._task = owner.start(self)

    async def opened(self) -> Metadata:
        """The metadata that the reply begins with; raises what the call failed with."""
        return await asyncio.shield(self._head)

    async def attached(self, seat: Seat) -> AsyncIterator[Payload]:
        try:
            async for payload in seat.messages():
                yield payload
        finally:
            self.leave(seat)

    def leave(self, seat: Seat) -> None:
        """Let a client go; with the last one the stream ends. Harmless when repeated."""
        seat.end()
        self.seats.pop(seat, None)
        if not self.seats:
            self._owner.gone(self._key, self)
            self._task.cancel()

    async def run(self) -> None:
        try:
            reply = await self._owner.carry(self.call)
            self._head.set_result(reply.metadata)
            if reply.payloads is not None:
                try:
                    async for payload in reply.payloads:
                        await give(tuple(self.seats), payload)
                finally:
                    await let_go(reply.payloads)
            self._over(lambda seat: seat.end(reply.status, reply.trailers))
        except GatewayError as error:
            failed = error
            self._over(lambda seat: seat.fail(failed))
            if not self._head.done():
                self._head.set_exception(failed)
                self._head.exception()  # whoever waited may be gone
        finally:
            self._owner.gone(self._key, self)
            if not self._head.done():
                self._head.cancel()
            self._over(lambda seat: seat.fail(GatewayError("the stream was given up", code=Code.UNAVAILABLE)))

    def _over(self, end: Callable[[Seat], None]) -> None:
        # No one may join what has ended.
        self._owner.gone(self._key, self)
        for seat in self.seats:
            end(seat)
