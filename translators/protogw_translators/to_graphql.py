"""Calls as GraphQL: a method is a root field, its request the variables, its reply the result's data.

JSON in the service's own form passes untouched both ways, but every result is checked against what the schema promises.
Queries and mutations go by POST over HTTP/1.1; subscriptions come back as server streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.graphql_binding import GraphqlBinding, Question
from protogw.descriptors.model import Codec, Method
from protogw.errors import BadUpstream, BodyTooLarge, GatewayError, InvalidRequest, NotOffered
from protogw_translators import to_graphql_sse as sse
from protogw_translators import to_graphql_ws as ws
from protogw_translators.call_fields import CallFields
from protogw_translators.to_graphql_document import Document, document
from protogw_translators.to_graphql_result import error_status, errors_of, outcome, parsed
from protogw_translators.to_rest_reply import ReplyHead, bad_reply, decoded, reply_head
from protogw_translators.to_rest_reply import error_status as http_error

if TYPE_CHECKING:
    from protogw.translator import HttpConnection, HttpStream
    from protogw.wire.http import Answer, ResponseHead

RESULT = b"application/graphql-response+json"
_ACCEPT = RESULT + b", application/json;q=0.9"


_Scalar = Literal["json", "string", "int32", "int64", "int64_string", "double", "bool"]


class GraphqlOptions(BaseModel):
    """How a GraphQL service is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Annotated[int, Field(ge=1, le=20)] = 4
    """How many objects within objects are asked for. Fewer where a document would have more than 1000 fields."""
    scalars: Mapping[str, _Scalar] = {}
    """What custom scalars are in JSON, by name; `json`, which is anything, where nothing is said."""
    subscriptions: Literal["ws", "sse"] = "ws"
    """How subscriptions are carried: WebSocket (graphql-transport-ws) or server-sent events (graphql-sse)."""
    connection_init: tuple[str, ...] = ("authorization",)
    """Metadata that a socket's first message carries besides its handshake, for services that look for it there."""


class Plan:
    """What every call of one method shares."""

    __slots__ = ("codec", "document", "head", "method", "names")

    def __init__(self, method: Method, depth: int) -> None:
        binding = method.binding
        if not isinstance(binding, GraphqlBinding):
            raise NotOffered(f"{method.full_name} is described by something else than a GraphQL schema")
        self.method = method
        self.codec: Codec = method.input.codec
        self.document: Document = document(binding, method.name, depth=depth)
        self.names = frozenset(one.name for one in binding.arguments)
        self.head = b'{"query":' + orjson.dumps(self.document.text) + b',"operationName":' + orjson.dumps(method.name)

    def request(self, payload: Payload) -> bytes:
        """The JSON of a GraphQL request; raises InvalidRequest naming the field."""
        return self.head + b',"variables":' + self.variables(payload) + b"}"

    def variables(self, payload: Payload) -> bytes:
        """The message in the service's own JSON. What a client wrote is parsed, lest it end the object it stands in."""
        codec = self.codec
        if payload.encoding is not Encoding.JSON or payload.codec is not codec:
            return codec.to_json(payload.proto())
        try:
            tree = orjson.loads(payload.data)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"invalid JSON: {error}") from error
        if not isinstance(tree, dict):
            raise InvalidRequest(f"{self.method.input.name}: expected an object")
        if not tree.keys() <= self.names and codec.lenient is not codec:
            name = next(iter(tree.keys() - self.names))
            raise InvalidRequest(f"{name[:100]}: no such field in {self.method.input.name}")
        return payload.data


class ToGraphql:
    """GraphQL services: methods are root fields, subscriptions are server streams."""

    kind: ClassVar[str] = "graphql"
    gaps: ClassVar[Mapping[str, str]] = {
        "": "trailers: a GraphQL service has none to give",
        "client stream": "the stream, which is refused: GraphQL has none",
        "bidi": "the stream, which is refused: GraphQL has none",
    }
    default_schema: ClassVar[str] = "introspection"
    takes_path: ClassVar[bool] = True
    transport: ClassVar[str] = "http/1.1"
    Settings = GraphqlOptions

    def __init__(
        self,
        authority: str,
        *,
        message_limit: int = 64 << 20,
        base_path: str = "/graphql",
        user_agent: str = "protogw",
        scheme: str = "http",
        settings: GraphqlOptions | None = None,
    ) -> None:
        self._settings = settings or GraphqlOptions()
        self._limit = message_limit
        self._fields = CallFields(user_agent)
        target = b"%b HTTP/1.1\r\nhost: %b\r\n" % (base_path.encode(), authority.encode())
        posting = b"POST " + target + b"content-type: application/json\r\naccept: "
        self._line = posting + _ACCEPT + b"\r\n"
        self._streaming = posting + sse.ACCEPT + b"\r\n"
        self._handshake = b"GET " + target
        self._told = tuple(name.lower().encode() for name in self._settings.connection_init)
        self._plans: dict[bytes, Plan] = {}

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        method = call.method
        assert method is not None
        if isinstance(method.binding, Question):
            return await self._ask(call, method.binding, connection)
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            if method.client_streaming:
                raise NotOffered(
                    f"{method.full_name} is a {method.shape}, and its service speaks GraphQL, which has none"
                )
            plan = self._plans[method.path] = Plan(method, self._settings.depth)
        assert call.payload is not None
        request = plan.request(call.payload)
        if method.server_streaming:
            if self._settings.subscriptions == "sse":
                return await self._events(call, plan, request, connection)
            return await self._socket(call, plan, request, connection)
        answer = await self._posted(call, request, connection)
        head = reply_head(answer.head)
        body = await decoded(head, answer.body, self._limit)
        if not result_in(head, body):
            return _failed(head, answer.head, body, method)
        found = outcome(body, plan.document, method.output, head.status)
        metadata = head.metadata.adding(*found.partial) if found.partial else head.metadata
        return Reply(metadata, payload=found.payload, status=found.status, trailers=found.partial)

    async def _events(self, call: Call, plan: Plan, request: bytes, connection: HttpConnection) -> Reply:
        """A subscription over server-sent events: the reply as soon as its head is there; an error is read whole."""
        stream = connection.open(self._streaming + self._fields.block(call), request)
        try:
            answer = await stream.head()
            head = reply_head(answer)
            head.check()
            if head.ok and head.media == sse.MEDIA:
                return sse.events(stream, head, plan, self._limit)
            return await self._unstarted(stream, answer, plan)
        except (GatewayError, asyncio.CancelledError):
            stream.cancel()
            raise

    async def _socket(self, call: Call, plan: Plan, request: bytes, connection: HttpConnection) -> Reply:
        """A subscription over a socket of its own; a refused handshake is read as any answer."""
        head = self._handshake + self._fields.block(call)
        try:
            return await ws.subscribe(call, plan, head, request, connection, self._limit, self._told)
        except ws.Refused as refused:
            try:
                reply_head(refused.head).check()
                return await self._unstarted(refused.stream, refused.head, plan)
            except (GatewayError, asyncio.CancelledError):
                refused.stream.cancel()
                raise

    async def _unstarted(self, stream: HttpStream, answer: ResponseHead, plan: Plan) -> Reply:
        """The reply to a subscription that was answered with something else than its results."""
        head = reply_head(answer)
        body = await decoded(head, await sse.rest_of(stream, self._limit), self._limit)
        if not result_in(head, body):
            return _failed(head, answer, body, plan.method)
        errors = errors_of(parsed(body))
        if not errors:
            raise BadUpstream("the upstream answered a subscription with a single result")
        return Reply(head.metadata, status=error_status(errors, head.status, plan.method.output.types))

    async def _posted(self, call: Call, request: bytes, connection: HttpConnection) -> Answer:
        """The whole answer to one request."""
        stream = connection.open(self._line + self._fields.block(call), request)
        try:
            return await stream.whole(self._limit)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        except BodyTooLarge as error:
            stream.cancel()
            raise bad_reply(error) from error

    async def _ask(self, call: Call, question: Question, connection: HttpConnection) -> Reply:
        """A document of the gateway's own; its whole data is the reply."""
        answer = await self._posted(call, b'{"query":' + orjson.dumps(question.document) + b"}", connection)
        head = reply_head(answer.head)
        body = await decoded(head, answer.body, self._limit)
        if not result_in(head, body):
            assert call.method is not None
            return _failed(head, answer.head, body, call.method)
        tree = parsed(body)
        errors = errors_of(tree)
        if errors or not isinstance(tree.get("data"), dict):
            return Reply(head.metadata, status=error_status(errors, head.status, {}))
        return Reply(head.metadata, payload=Payload(orjson.dumps(tree["data"]), Encoding.JSON))


def result_in(head: ReplyHead, body: bytes) -> bool:
    """Whether the body is to be read as a GraphQL result, whatever its HTTP status; raises BadUpstream for a success
    that is none."""
    head.check()
    if head.media == RESULT:
        return True
    if head.ok:
        if not head.json or not head.media:
            said = head.content_type[:100].decode("latin-1")
            raise BadUpstream(f"the upstream's content type is {said!r}, not JSON")
        return True
    if not head.json or b'"errors"' not in body:
        return False
    # Many servers say what is wrong as a result in plain JSON with an HTTP error.
    try:
        return isinstance(parsed(body).get("errors"), list)
    except BadUpstream:
        return False


def _failed(head: ReplyHead, fields: ResponseHead, body: bytes, method: Method) -> Reply:
    """An HTTP error that is no GraphQL result."""
    return Reply(head.metadata, status=http_error(head, fields, body, b"GET", method.output.types))
