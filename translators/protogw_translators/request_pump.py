"""Sends a request's body upstream while its reply is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from protogw.errors import GatewayError, UpstreamError, UpstreamReset

_Piece = TypeVar("_Piece")
_Taken = TypeVar("_Taken", contravariant=True)


class Sink(Protocol[_Taken]):
    """Where a request is written: the writing half of an HttpStream, or of a socket."""

    async def write(self, data: _Taken, /) -> None: ...

    def end(self) -> None: ...

    def cancel(self) -> None: ...


class RequestPump:
    """One task that carries pieces of a body upstream; the call that made it stops it."""

    __slots__ = ("_error", "_task", "consumed")

    def __init__(self, stream: Sink[_Piece], pieces: AsyncIterator[_Piece], *, consumed: bool = False) -> None:
        self.consumed = consumed
        """Something of the request's payloads has been read, so that it cannot be sent again."""
        self._error: GatewayError | None = None
        self._task = asyncio.get_running_loop().create_task(self._run(stream, pieces))

    async def _run(self, stream: Sink[_Piece], pieces: AsyncIterator[_Piece]) -> None:
        done = False
        try:
            async for piece in pieces:
                self.consumed = True
                await stream.write(piece)
            stream.end()
            done = True
        except UpstreamError:
            # Whoever reads the reply learns why, and may find a status in it.
            done = True
        except GatewayError as error:
            self._error = error
        finally:
            if not done:
                # Wakes the reader of the reply, who then asks `blame`.
                stream.cancel()

    async def done(self) -> None:
        """Until all is sent; raises the request's own fault."""
        await asyncio.wait((self._task,))
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        """Stop sending: the reply has ended, or nobody wants it any more."""
        task = self._task
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    def blame(self, error: GatewayError) -> GatewayError:
        """What really ended the call: the request's own fault, or `error` without its promise that a retry is safe."""
        if self._error is not None:
            return self._error
        if error.retryable and self.consumed:
            return UpstreamReset(error.status.message)
        return error
