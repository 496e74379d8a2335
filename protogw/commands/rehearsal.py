"""A request that never came over the network: an exchange in memory, to find out what would become of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from protogw.call import NO_METADATA, Call, Reply
from protogw.errors import BodyTooLarge, GatewayError, NotOffered
from protogw.frontends.base import FrontEnd, Switching
from protogw.wire.http import HTTP_1_1, HTTP_2, UPGRADES, Header, Peer, RequestHead

PEER = Peer("127.0.0.1", 0)


class _Reached(Exception):
    """The call has been made: that is all we wanted."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


class RehearsedExchange:
    """An Exchange whose request body is all there, and which keeps the answer."""

    def __init__(self, head: RequestHead, body: bytes) -> None:
        self.head = head
        self.peer = PEER
        self.extra: tuple[Header, ...] = ()
        self.call: Call | None = None
        self.state: object = None
        self.started = False
        self.status = 0
        self.bytes_in = len(body)
        self.bytes_out = 0
        self.request_trailers: tuple[Header, ...] = ()
        self.answer = b""
        self.held_back = False
        self._body = body

    def buffered(self) -> bytes | None:
        body, self._body = self._body, b""
        return body

    async def whole(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        return self.buffered() or b""

    async def read(self) -> bytes:
        return self.buffered() or b""

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        self.start(status, headers)
        self.answer += body

    def start(self, status: int, headers: Sequence[Header]) -> None:
        self.started = True
        self.status = status

    async def write(self, data: bytes) -> None:
        self.answer += data

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        self.answer += data

    def switch(self, headers: Sequence[Header]) -> NoReturn:
        raise NotOffered("the request is switched to another protocol: what becomes of that is not known beforehand")

    def when_draining(self, tell: Callable[[], None]) -> None:
        """Nothing is ever drained here."""

    def abort(self) -> None:
        """There is no client to see it."""


def request_head(verb: str, target: str, headers: Sequence[Header], *, authority: bytes = b"localhost") -> RequestHead:
    """A head as a transport would hand it over, in HTTP/2 unless a field says otherwise."""
    path, _, query = target.partition("?")
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    upgrade = next((value.lower() for name, value in headers if name == b"upgrade"), b"")
    host = next((value for name, value in headers if name == b"host"), authority)
    return RequestHead(
        verb.encode(),
        path.encode(),
        query.encode(),
        host,
        tuple(headers),
        HTTP_1_1 if upgrade else HTTP_2,
        content_type=content_type,
        upgrade=upgrade if upgrade in UPGRADES else b"",
    )


async def rehearse(front_ends: Sequence[FrontEnd], exchange: RehearsedExchange) -> tuple[FrontEnd, Call]:
    """The front end that takes the request, and the call it makes of it; raises GatewayError when it makes none."""
    for front_end in front_ends:
        if front_end.accepts(exchange.head):
            break
    else:
        raise NotOffered("nothing is offered here", http_status=404)
    if exchange.head.upgrade and isinstance(front_end, Switching):
        method = front_end.leads_to(exchange.head)
        if method is not None:
            return front_end, Call(method, NO_METADATA, front_end="", peer=PEER, started=0.0, head=exchange.head)
    try:
        await front_end.serve(exchange, _stop_here)
    except _Reached as reached:
        return front_end, reached.call
    if exchange.call is not None:
        return front_end, exchange.call
    said = exchange.answer.decode("utf-8", "replace")[:500]
    raise GatewayError(f"answered at once with HTTP {exchange.status}: {said}")


async def _stop_here(call: Call) -> Reply:
    _reached(call)


def _reached(call: Call) -> NoReturn:
    raise _Reached(call)
