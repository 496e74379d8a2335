"""Event streams that carry many operations (graphql-sse's PROTOCOL.md, single connection mode).

A client reserves a stream by PUT, opens it by GET, sends operations by POST, and ends one early by DELETE. Its token
names the stream in all of them; nobody who does not have it can read or write there.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import orjson

from protogw.errors import GatewayError
from protogw.frontends.graphql.execute import Origin, Response
from protogw.frontends.graphql.operations import Operations, perform
from protogw.frontends.graphql.refusals import BAD_REQUEST, Refused, refused
from protogw.frontends.graphql.request import Params
from protogw.frontends.graphql.served import Served
from protogw.frontends.graphql.settings import GraphqlSettings
from protogw.frontends.graphql.streams import EVENT_HEAD, Answer
from protogw.wire.sse import HEARTBEAT

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

UNOPENED_S = 30.0
"""How long a reserved stream may take to be opened."""


class Reservation:
    """One stream: reserved, then open."""

    __slots__ = ("answer", "expiry", "operations")

    def __init__(self, most: int, expiry: asyncio.TimerHandle) -> None:
        self.answer: Answer | None = None
        self.operations = Operations(most)
        self.expiry = expiry


class Reservations:
    """The streams of one listener, by their tokens."""

    def __init__(self, settings: GraphqlSettings) -> None:
        self._settings = settings
        self._known: dict[str, Reservation] = {}

    def reserve(self) -> str:
        """A new stream's token; raises Refused when there are too many."""
        limits = self._settings.limits
        if len(self._known) >= limits.streams:
            raise refused(BAD_REQUEST, f"{limits.streams} event streams are in use", http=503)
        token = secrets.token_urlsafe(24)
        expiry = asyncio.get_running_loop().call_later(UNOPENED_S, self._known.pop, token, None)
        self._known[token] = Reservation(limits.subscriptions, expiry)
        return token

    def of(self, token: str) -> Reservation:
        """Raises Refused when there is no such stream."""
        found = self._known.get(token)
        if found is None:
            raise refused(BAD_REQUEST, "no event stream has this token", http=404)
        return found

    async def open(self, token: str, exchange: Exchange) -> None:
        """Keep the stream open until the client goes, or the connection is to end."""
        found = self.of(token)
        if found.answer is not None:
            raise refused(BAD_REQUEST, "the event stream is open already", http=409)
        found.expiry.cancel()
        answer = found.answer = Answer(exchange, EVENT_HEAD, HEARTBEAT, self._settings.heartbeat)
        over = asyncio.Event()
        exchange.state = answer
        exchange.when_draining(over.set)
        try:
            answer.start()
            # What a client sees first must not be the first operation's: it opens the stream and waits.
            await answer.write(HEARTBEAT)
            await over.wait()
        finally:
            answer.stop()
            self._known.pop(token, None)
            await found.operations.end()
        exchange.finish()

    def start(self, token: str, params: Params, served: Served, origin: Origin) -> None:
        """Begin an operation, whose responses go to the stream; raises Refused for what is wrong with it."""
        found = self.of(token)
        answer = found.answer
        if answer is None:
            raise refused(BAD_REQUEST, "the event stream is not open", http=409)
        name = (params.extensions or {}).get("operationId")
        if not isinstance(name, str) or not name:
            raise refused(BAD_REQUEST, "extensions.operationId: missing")
        if name in found.operations:
            raise refused(BAD_REQUEST, "extensions.operationId: an operation with this id is under way", http=409)
        if found.operations.full:
            raise refused(BAD_REQUEST, "too many operations are under way", http=429)
        # What is wrong with the document itself is the answer to this request.
        served.operation(params)
        found.operations.start(name, _run(answer, name, params, served, origin))

    def stop(self, token: str, name: str) -> None:
        """End an operation early; one that has ended is no fault."""
        self.of(token).operations.cancel(name)


async def _run(answer: Answer, name: str, params: Params, served: Served, origin: Origin) -> None:
    async def send(response: Response) -> None:
        await answer.write(_event(b"next", {"id": name, "payload": response}))

    try:
        try:
            await perform(served, params, origin, send)
        except Refused as refusal:
            await send({"errors": list(refusal.errors)})
        await answer.write(_event(b"complete", {"id": name}))
    except (GatewayError, OSError):
        return  # the stream's client has gone, which ends the stream


def _event(kind: bytes, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind, orjson.dumps(data))
