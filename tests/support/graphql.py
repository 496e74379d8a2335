"""The GraphQL front end under test: requests to ask it with, and a service that answers by method."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.errors import OK, GatewayError, Status
from protogw.frontends.base import Bounds
from protogw.frontends.graphql import Graphql
from protogw.frontends.graphql.settings import GraphqlSettings
from tests.support import hello
from tests.support.rest import Exchange, request

JSON = "application/json"


def front(bounds: Bounds | None = None, catalog: Catalog = hello.CATALOG, **settings: Any) -> Graphql:
    made = Graphql(GraphqlSettings.model_validate(settings), bounds or Bounds())
    made.offer(catalog)
    return made


class Service:
    """Answers each method with what it was given: a message, a status, an error, or a function of the call.

    A list is a stream's messages, whose last may be a status or an error.
    """

    def __init__(self, metadata: Metadata = NO_METADATA, **answers: Any) -> None:
        self.metadata = metadata
        self.answers = answers
        self.calls: list[Call] = []
        self.running = 0
        self.most_at_once = 0
        self.cancelled = 0

    def requests(self, made: Any) -> list[Any]:
        """The messages that came, as this class reads them."""
        return [made.FromString(call.payload.proto()) for call in self.calls if call.payload is not None]

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        assert call.method is not None
        answer = self.answers[call.method.name]
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await asyncio.sleep(0)
            if callable(answer) and not hasattr(answer, "SerializeToString"):
                answer = answer(call)
                if asyncio.iscoroutine(answer):
                    answer = await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if isinstance(answer, GatewayError):
            raise answer
        if isinstance(answer, Reply):
            return answer
        if isinstance(answer, Status):
            return Reply(self.metadata, status=answer)
        codec = call.method.output.codec
        if isinstance(answer, list):
            reply = Reply(self.metadata)
            reply.payloads = self._stream(reply, answer, codec)
            return reply
        return Reply(self.metadata, payload=Payload(answer.SerializeToString(), Encoding.PROTO, codec))

    @staticmethod
    async def _stream(reply: Reply, answers: list[Any], codec: Any) -> AsyncIterator[Payload]:
        for one in answers:
            await asyncio.sleep(0)
            if isinstance(one, Status):
                reply.status = one
            elif isinstance(one, BaseException):
                raise one
            else:
                yield Payload(one.SerializeToString(), Encoding.PROTO, codec)


async def ask(graphql: Graphql, exchange: Exchange, handle: Callable[[Call], Any]) -> Exchange:
    """Serve one exchange as the gateway does."""
    assert graphql.accepts(exchange.head)
    try:
        await graphql.serve(exchange, handle)
    except GatewayError as error:
        graphql.fail(exchange, error)
    return exchange


def post(value: Any, *fields: tuple[str, str], path: str = "/graphql", content_type: str = JSON) -> Exchange:
    """A POST of this JSON, or of these bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request(f"POST {path}", body, [("content-type", content_type), *fields])


async def run(
    query: str, service: Service, *, variables: Any = None, graphql: Graphql | None = None, **parameters: Any
) -> dict[str, Any]:
    """The response to one document."""
    value = {"query": query, **({"variables": variables} if variables is not None else {}), **parameters}
    exchange = await ask(graphql or front(), post(value), service)
    found: dict[str, Any] = json.loads(exchange.body)
    return found


def codes(response: dict[str, Any]) -> list[str]:
    """The codes of a response's errors."""
    return [error["extensions"]["code"] for error in response.get("errors", ())]


def events(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: their names and their data."""
    found: list[tuple[str, Any]] = []
    for block in body.decode().split("\n\n"):
        lines: Sequence[list[str]] = [line.split(":", 1) for line in block.split("\n") if line and line[0] != ":"]
        if lines:
            fields = {name: value.strip() for name, value in lines}
            found.append((fields["event"], json.loads(fields["data"]) if fields["data"] else None))
    return found


__all__ = ["OK", "Exchange", "Service", "ask", "codes", "events", "front", "post", "request", "run"]
