"""Streams that are told to a copy of their call too, without waiting for it: what it has not taken yet is kept within
bounds, and a copy that falls behind them is ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from protogw.call import Call, PassingPayloads, Payload, PayloadStream, Reply
from protogw.delivery.copies import Copies
from protogw.errors import Code, GatewayError
from protogw.policies.base import Target

End = Literal["behind", "cancelled"]
"""Why a copy is ended before its time: it is too slow, or its call's request came to no end of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is kept of one stream for a copy that is slower; a single message fits whatever its size."""

    messages: int = 4096
    bytes: int = 1 << 20


class Feed(PayloadStream):
    """The messages of a stream for one who reads them later: `put` waits for nobody."""

    __slots__ = ("_bytes", "_closed", "_ended", "_ready", "_room", "_waiting")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._ready: deque[Payload] = deque()
        self._bytes = 0
        self._ended = self._closed = False
        self._waiting: asyncio.Future[None] | None = None

    @property
    def empty(self) -> bool:
        """All that was put has been read."""
        return not self._ready

    @property
    def ended(self) -> bool:
        """There are no more than were put."""
        return self._ended

    def put(self, payload: Payload) -> bool:
        """Whether there was room for it, or nobody wants it any more."""
        if self._closed:
            return True
        ready = self._ready
        size = len(payload.data)
        if ready and (len(ready) >= self._room.messages or self._bytes + size > self._room.bytes):
            return False
        ready.append(payload)
        self._bytes += size
        self._wake()
        return True

    def end(self) -> None:
        """There are no more."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def __anext__(self) -> Payload:
        while not self._ready:
            if self._ended or self._closed:
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        payload = self._ready.popleft()
        self._bytes -= len(payload.data)
        return payload

    def close(self) -> None:
        """Nobody reads any more: keep nothing."""
        self._closed = True
        self._ready.clear()
        self._wake()

    async def aclose(self) -> None:
        self.close()


class Following:
    """A copy of a call on its way beside it, and what it is told of the call."""

    def __init__(self, copies: Copies, room: Room, streams: bool) -> None:
        """`streams`: the request does."""
        self._copies = copies
        self.requests = Feed(room) if streams else None
        self.over = False
        """What becomes of it has been settled."""
        self._task: asyncio.Task[None] | None = None

    def begin(self, work: Callable[[], Awaitable[None]]) -> None:
        """Send the copy: `work` does."""
        self._task = self._copies.start(work, self.expire)
        self._task.add_done_callback(self._gone)

    def _gone(self, _: asyncio.Task[None]) -> None:
        """The copy has ended, or been ended: nothing is kept for it any more."""
        if self.requests is not None:
            self.requests.close()

    def asked(self, payload: Payload) -> None:
        """The next message of the request."""
        if self.requests is not None and not self.requests.put(payload):
            self.stop("behind")

    def asked_all(self) -> None:
        if self.requests is not None:
            self.requests.end()

    def answered(self, payload: Payload) -> None:
        """The next message of the reply."""

    def answered_all(self, code: Code) -> None:
        """The call has ended so: the copy is asked no more than the call was."""
        self.asked_all()

    def failed(self, code: Code) -> None:
        """The call has failed so. Where its request had not ended, the copy must not take it for a whole one."""
        if self.requests is not None and not self.requests.ended:
            self.stop("cancelled")
        else:
            self.answered_all(code)

    def expire(self) -> bool:
        """The copy's time is over; whether it counts as something else than failed."""
        return False

    def stop(self, why: End) -> None:
        """End the copy, unless it has ended."""
        if self.over or self._task is None or self._task.done():
            return
        self.over = True
        counts = self._copies.counts
        if why == "behind":
            counts.behind += 1
        else:
            counts.cancelled += 1
        self._task.cancel()


class Asked(PassingPayloads):
    """A request's messages on their way, told to a copy too."""

    __slots__ = ("_following",)

    def __init__(self, payloads: AsyncIterator[Payload], following: Following) -> None:
        super().__init__(payloads)
        self._following = following

    async def __anext__(self) -> Payload:
        try:
            payload = await self._payloads.__anext__()
        except StopAsyncIteration:
            self._following.asked_all()
            raise
        except Exception:  # the request broke off: that is no end
            self._following.stop("cancelled")
            raise
        # A reader that is cancelled is no sign: it is so too where the answer came before the whole request was read.
        self._following.asked(payload)
        return payload


class Answered(PassingPayloads):
    """A reply's messages on their way, told to a copy too."""

    __slots__ = ("_ended", "_following", "_reply")

    def __init__(self, payloads: AsyncIterator[Payload], reply: Reply, following: Following) -> None:
        super().__init__(payloads)
        self._reply = reply
        self._following = following
        self._ended = False

    async def __anext__(self) -> Payload:
        try:
            payload = await self._payloads.__anext__()
        except StopAsyncIteration:
            self._end(self._following.answered_all, self._reply.status.code)
            raise
        except GatewayError as error:
            self._end(self._following.failed, error.status.code)
            raise
        except BaseException:  # the client is gone
            self._following.stop("cancelled")
            raise
        self._following.answered(payload)
        return payload

    def _end(self, tell: Callable[[Code], None], code: Code) -> None:
        if not self._ended:
            self._ended = True
            tell(code)

    async def aclose(self) -> None:
        if not self._ended:
            self._following.stop("cancelled")
        await super().aclose()


async def followed(target: Target, call: Call, payloads: AsyncIterator[Payload] | None, following: Following) -> Reply:
    """Send a call while a copy is told of it; `payloads` are its request's, where that streams."""
    if payloads is not None:
        call.payloads = Asked(payloads, following)
    try:
        reply = await target.send(call)
    except GatewayError as error:
        call.payloads = payloads  # it may be sent again, elsewhere
        following.failed(error.status.code)
        raise
    except BaseException:  # the client is gone
        following.stop("cancelled")
        raise
    if reply.payloads is not None:
        reply.payloads = Answered(reply.payloads, reply, following)
    else:
        if reply.payload is not None:
            following.answered(reply.payload)
        following.answered_all(reply.status.code)
    return reply
