"""What a GraphQL request that is made of several calls tells those who record it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogw.call import Call, Composite
from protogw.errors import Code, Status

if TYPE_CHECKING:
    from protogw.errors import GatewayError
    from protogw.frontends.base import Exchange, Recorder
    from protogw.frontends.graphql.execute import Origin


class Told:
    """Makes one record of all calls of a request, and tells the recorder of each."""

    __slots__ = ("_exchange", "_made", "_origin", "_recorder")

    def __init__(self, exchange: Exchange, origin: Origin, recorder: Recorder) -> None:
        self._exchange = exchange
        self._recorder = recorder
        self._made: Composite | None = None
        self._origin = origin
        origin.saw, origin.ended = self.saw, self.ended

    def saw(self, call: Call) -> None:
        made = self._made
        if made is not None:
            made.calls += 1
            call.whole = made
            return
        operation = self._origin.operation
        kind, name = (operation.root, operation.name) if operation is not None else ("", "")
        self._made = self._exchange.call = call.whole = Composite(call, kind, name, operation)

    def ended(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        if self._made is not None:
            reply = call.reply
            gone = Status(Code.CANCELLED) if reply is None else reply.status
            self._made.part_ended(call, error.status if error is not None else gone)
        self._recorder.called(call, elapsed_s, error)
