"""How each call on an endpoint went, told to those who learn from it: the balancer, and outlier ejection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from protogw.call import Payload, PayloadStream, Reply
from protogw.errors import Code, GatewayError, Source
from protogw.pools.endpoint import Endpoint
from protogw.pools.outlier import FAILURES

Judge = Callable[[Endpoint, bool, float], None]
"""Told of an endpoint, whether a call on it failed, and how long its answer took in seconds."""


def failed(reply: Reply) -> bool:
    """Whether what an endpoint answered speaks against it."""
    head = reply.head
    return head.status >= 500 if head is not None else reply.status.code in FAILURES


def blames(error: GatewayError) -> bool:
    """Whether an error speaks against the endpoint, and not against the client or the gateway."""
    return error.source is Source.UPSTREAM or error.status.code is Code.DEADLINE_EXCEEDED


def watched(reply: Reply, endpoint: Endpoint, taken: float, judge: Judge) -> Reply:
    """The reply, which came after `taken` seconds; `judge` will know how it ended."""
    payloads = reply.payloads
    if payloads is None:
        judge(endpoint, failed(reply), taken)
    else:
        reply.payloads = _Watched(payloads, reply, endpoint, taken, judge)
    return reply


class _Watched(PayloadStream):
    """A reply's stream; its endpoint is judged once it has ended, by the status that it ended with."""

    __slots__ = ("_endpoint", "_judge", "_payloads", "_reply", "_taken")

    def __init__(
        self, payloads: AsyncIterator[Payload], reply: Reply, endpoint: Endpoint, taken: float, judge: Judge
    ) -> None:
        self._payloads = payloads
        self._reply = reply
        self._endpoint: Endpoint | None = endpoint
        self._taken = taken
        self._judge = judge

    def _ended(self, failed: bool) -> None:
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            self._judge(endpoint, failed, self._taken)

    async def __anext__(self) -> Payload:
        try:
            return await self._payloads.__anext__()
        except StopAsyncIteration:
            self._ended(failed(self._reply))
            raise
        except GatewayError as error:
            self._ended(blames(error))
            raise

    async def aclose(self) -> None:
        """Left by whoever read it: that says nothing of the endpoint."""
        self._endpoint = None
        if isinstance(self._payloads, AsyncGenerator):
            await self._payloads.aclose()
