"""How each call on an endpoint went, told to those who learn from it: the balancer, outlier ejection, the breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from protogw.call import PATIENCE_S, Call, PassingPayloads, Payload, Reply
from protogw.errors import Code, GatewayError, Source, Status
from protogw.excused import excused
from protogw.pools.breaker import Circuit, Trial
from protogw.pools.endpoint import Endpoint
from protogw.pools.outlier import FAILURES

Judge = Callable[[Endpoint, bool, float], None]
"""Told of an endpoint, whether a call on it failed, and how long its answer took in seconds."""


def failed(reply: Reply) -> bool:
    """Whether what an endpoint answered speaks against it."""
    head = reply.head
    return head.status >= 500 if head is not None else reply.status.code in FAILURES


def bad_head(reply: Reply) -> bool:
    """Whether what a stream began with speaks against its endpoint already."""
    return reply.head is not None and reply.head.status >= 500


def blames(error: GatewayError) -> bool:
    """Whether an error speaks against the endpoint, and not against the client or the gateway."""
    return error.source is Source.UPSTREAM or error.status.code is Code.DEADLINE_EXCEEDED


def watched(
    call: Call,
    reply: Reply,
    endpoint: Endpoint,
    taken: float,
    patience: float,
    judge: Judge,
    circuit: Circuit | Trial | None = None,
) -> Reply:
    """The reply, which came after `taken` seconds; `judge` and `circuit` will know how it ended."""
    payloads = reply.payloads
    if payloads is None:
        bad = failed(reply)
        if bad and excused(call, reply.status, taken, patience):
            if circuit is not None:
                circuit.left()
            return reply
        judge(endpoint, bad, taken)
        if circuit is not None:
            circuit.ended(bad, _now())
    else:
        reply.payloads = _Watched(payloads, call, reply, endpoint, taken, judge, circuit)
    return reply


def _now() -> float:
    return asyncio.get_running_loop().time()


class _Watched(PassingPayloads):
    """A reply's stream; its endpoint is judged once it has ended, by the status that it ended with.

    For the breaker a stream is as good as its first message: it may run for hours, and others wait for the verdict.
    A deadline of the client's own is a usual end of one, and says nothing.
    """

    __slots__ = ("_call", "_circuit", "_endpoint", "_judge", "_reply", "_taken")

    def __init__(
        self,
        payloads: AsyncIterator[Payload],
        call: Call,
        reply: Reply,
        endpoint: Endpoint,
        taken: float,
        judge: Judge,
        circuit: Circuit | Trial | None,
    ) -> None:
        super().__init__(payloads)
        self._call = call
        self._reply = reply
        self._endpoint: Endpoint | None = endpoint
        self._taken = taken
        self._judge = judge
        self._circuit = circuit

    def _ended(self, failed: bool, status: Status) -> None:
        if failed and excused(self._call, status, 0.0, PATIENCE_S):
            self._left()
            return
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            self._judge(endpoint, failed, self._taken)
        self._found(failed)

    def _found(self, failed: bool) -> None:
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit.ended(failed, _now())

    async def __anext__(self) -> Payload:
        try:
            payload = await self._payloads.__anext__()
            if self._circuit is not None:
                self._found(bad_head(self._reply))
            return payload
        except StopAsyncIteration:
            self._ended(failed(self._reply), self._reply.status)
            raise
        except GatewayError as error:
            self._ended(blames(error), error.status)
            raise

    def _left(self) -> None:
        """It ended in a way that says nothing of the endpoint."""
        self._endpoint = None
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit.left()

    async def aclose(self) -> None:
        """Left by whoever read it."""
        self._left()
        await super().aclose()
