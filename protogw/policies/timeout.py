"""Time limits of a call: how long it may take in all, and how long a stream may be silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import ClassVar, Self, TypeVar

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.errors import DeadlineExceeded
from protogw.policies.base import Handler, PolicySettings
from protogw.policies.tunnels import PassingTunnel
from protogw.values import Positive
from protogw.wire.http import ByteStream

T = TypeVar("T")


class TimeoutSettings(PolicySettings):
    """How long a call may take. One try of several has `retry.per_try`."""

    total: Positive | None = None
    """From its beginning to the end of its reply, streams too; what the client asks for is shortened to this."""
    idle: Positive | None = None
    """A call in which no message has come from either side for so long is ended; of a socket, where nothing passed."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.total is None and self.idle is None:
            raise PydanticCustomError("timeout", "{reason}", {"reason": "limits nothing: write total or idle"})
        return self


class Timeout:
    """Ends calls that take too long, or streams in which nothing happens, with DEADLINE_EXCEEDED."""

    kind: ClassVar[str] = "timeout"
    Settings: ClassVar[type[PolicySettings]] = TimeoutSettings
    of_head: ClassVar[bool] = True

    def __init__(self, settings: TimeoutSettings) -> None:
        self._total = settings.total
        self._idle = settings.idle

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if self._total is not None and (call.deadline is None or call.deadline > call.started + self._total):
            call.disarm()
            call.arm(asyncio.get_running_loop(), self._total)
        if self._idle is None:
            return await forward(call)
        silence = _Silence(self._idle)
        if call.payloads is not None:
            call.payloads = _Heard(call.payloads, silence)
        try:
            reply = await silence.bound(forward(call))
        except BaseException:
            silence.end()
            raise
        if reply.payloads is not None:
            reply.payloads = _Bounded(reply.payloads, silence)
        elif reply.tunnel is not None:
            reply.tunnel = _BoundedTunnel(reply.tunnel, silence)
        else:
            silence.end()
        return reply


class _Silence:
    """How long nothing has been heard of a call; ends whoever waits for its service once that is too long."""

    __slots__ = ("_allowed", "_heard", "_loop", "_timer", "_waiting", "over")

    def __init__(self, allowed_s: float) -> None:
        self._allowed = allowed_s
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(allowed_s, self._look)
        self.over = False

    def heard(self) -> None:
        """A message has come."""
        self._heard = self._loop.time()

    def end(self) -> None:
        """The call is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        left = self._heard + self._allowed - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._timer = None
        self.over = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def bound(self, awaited: Awaitable[T]) -> T:
        """What is awaited; raises DeadlineExceeded once nothing has been heard for too long."""
        task = self._waiting = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await awaited
        except asyncio.CancelledError:
            if not self.over or task.uncancel() > cancelling:
                raise
            raise self.error() from None
        finally:
            self._waiting = None

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no message has come for {self._allowed:g} s")


class _Heard(PassingPayloads):
    """A request's messages, each of which breaks the silence."""

    __slots__ = ("_silence",)

    def __init__(self, payloads: AsyncIterator[Payload], silence: _Silence) -> None:
        super().__init__(payloads)
        self._silence = silence

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        self._silence.heard()
        return payload


class _Bounded(PassingPayloads):
    """A reply's messages, none of which may be too long in coming."""

    __slots__ = ("_silence",)

    def __init__(self, payloads: AsyncIterator[Payload], silence: _Silence) -> None:
        super().__init__(payloads)
        self._silence = silence

    async def __anext__(self) -> Payload:
        silence = self._silence
        try:
            if silence.over:
                raise silence.error()
            payload = await silence.bound(self._payloads.__anext__())
        except DeadlineExceeded:
            await self.aclose()
            raise
        except BaseException:
            silence.end()
            raise
        silence.heard()
        return payload

    async def aclose(self) -> None:
        self._silence.end()
        await super().aclose()


class _BoundedTunnel(PassingTunnel):
    """Both directions of a tunnel, in which it may not be silent for too long: told to whoever reads it."""

    __slots__ = ("_silence",)

    def __init__(self, inner: ByteStream, silence: _Silence) -> None:
        super().__init__(inner)
        self._silence = silence

    async def read(self) -> bytes:
        silence = self._silence
        if silence.over:
            raise silence.error()
        try:
            data = await silence.bound(super().read())
        except BaseException:
            silence.end()
            raise
        if data:
            silence.heard()
        else:
            silence.end()  # what goes the other way has the listener's bound
        return data

    async def write(self, data: bytes) -> None:
        self._silence.heard()
        await super().write(data)

    def abort(self) -> None:
        self._silence.end()
        super().abort()
