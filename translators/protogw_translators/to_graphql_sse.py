"""Subscriptions over server-sent events, one request a subscription (graphql-sse, "distinct connections")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogw.call import Encoding, Payload, Reply
from protogw.errors import BodyTooLarge, Status, UpstreamReset
from protogw.wire.sse import SseReader
from protogw_translators.to_graphql_result import outcome
from protogw_translators.to_rest_reply import ReplyHead, bad_reply
from protogw_translators.to_rest_stream import Messages

if TYPE_CHECKING:
    from protogw.translator import HttpStream
    from protogw_translators.to_graphql import Plan

MEDIA = b"text/event-stream"
ACCEPT = MEDIA + b", application/graphql-response+json;q=0.9, application/json;q=0.8"


def events(stream: HttpStream, head: ReplyHead, plan: Plan, limit: int) -> Reply:
    """The reply of a subscription whose answer has begun."""
    reply = Reply(head.metadata)
    codec = plan.method.output.codec.lenient
    results = _Results(plan, reply, limit)
    reply.payloads = Messages(stream, reply, results, head.coding, lambda data: Payload(data, Encoding.JSON, codec))
    return reply


async def rest_of(stream: HttpStream, limit: int) -> bytes:
    """The whole body of an answer that is no stream of events; raises BadUpstream over `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    while data := await stream.read():
        pieces.append(data)
        size += len(data)
        if size > limit:
            raise bad_reply(BodyTooLarge(f"the body is over {limit} bytes"))
    return b"".join(pieces)


class _Results:
    """Bytes → the data of each result. A result that is an error ends the stream with its status."""

    def __init__(self, plan: Plan, reply: Reply, limit: int) -> None:
        self.final: Status | None = None
        self._plan = plan
        self._reply = reply
        self._reader = SseReader(limit)

    def feed(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        plan = self._plan
        for event in self._reader.feed(data):
            if event.type == b"complete":
                self.final = Status()
                break
            if event.type not in (b"next", b"message") or not event.data:
                continue
            result = outcome(event.data, plan.document, plan.method.output)
            if result.payload is None:
                self.final = result.status
                break
            if result.partial:
                self._reply.trailers = result.partial
            found.append(result.payload.data)
        return found

    def end(self) -> list[bytes]:
        raise UpstreamReset("the upstream's stream ended without saying that it is complete")
