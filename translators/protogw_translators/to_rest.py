"""Calls as REST: a service that google.api.http annotations or an OpenAPI document describe, spoken to over HTTP/1.1.

JSON that needs no change passes untouched both ways. Unary calls and client streams are read whole; NDJSON, server-sent
events and JSON arrays come back as server streams. Bidirectional streams do not exist over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import orjson

from protogw.call import VALIDATORS, Call, Encoding, Payload, Reply, Unchanged
from protogw.descriptors.model import Codec, Method
from protogw.descriptors.openapi_binding import Operation
from protogw.errors import (
    BadUpstream,
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    NotOffered,
    UpstreamReset,
)
from protogw.wire import ndjson
from protogw.wire.http import Header
from protogw.wire.http1_chunked import encode_fields
from protogw.wire.protowire import delimited
from protogw_translators.call_fields import CallFields
from protogw_translators.request_pump import RequestPump
from protogw_translators.to_rest_fields import Queries
from protogw_translators.to_rest_operation import OperationRequests
from protogw_translators.to_rest_reply import ReplyHead, bad_reply, decoded, error_status, reply_head
from protogw_translators.to_rest_request import Bound, Requests, Rule
from protogw_translators.to_rest_stream import ERROR_BYTES, Messages, error_body, records_of

if TYPE_CHECKING:
    from protogw.translator import HttpConnection, HttpStream
    from protogw.wire.http import Answer, ResponseHead

_JSON, _NDJSON = b"application/json", b"application/x-ndjson"
_ACCEPT_STREAM = b"application/x-ndjson, text/event-stream, application/json;q=0.9"


class _Plan:
    """What every call of one method shares. Raises NotOffered when no request can be made of its rules."""

    __slots__ = ("accept", "codec", "is_protojson", "method", "requests", "tails")

    def __init__(self, method: Method, owner: ToRest) -> None:
        self.method = method
        self.codec: Codec = method.output.codec.lenient
        self.is_protojson = self.codec.canonical is self.codec
        binding = method.binding
        self.requests: Requests | OperationRequests = (
            OperationRequests(method, binding, owner) if isinstance(binding, Operation) else Requests(method, owner)
        )
        raw = any(rule.reply_http_body for rule in self.requests.rules)
        self.accept = b"*/*" if raw else _ACCEPT_STREAM if method.server_streaming else _JSON
        if isinstance(self.requests, OperationRequests):
            self.accept = self.requests.first.accept or self.accept
        self.tails: dict[bytes, bytes] = {}
        """What follows the target in a head, by the content type of the body."""


class ToRest:
    """The translator to REST services behind one authority.

    `base_path` goes before every path; `compression` asks for compressed replies (of use where the way is long);
    `query_names` says how query parameters are written.
    """

    kind: ClassVar[str] = "rest"
    gaps: ClassVar[Mapping[str, str]] = {
        "": "trailers: a REST service has none to give",
        "bidi": "the stream, which is refused: a REST service answers once the request has ended",
    }
    default_schema: ClassVar[str] = ""
    takes_path: ClassVar[bool] = True
    transport: ClassVar[str] = "http/1.1"

    def __init__(
        self,
        authority: str,
        *,
        message_limit: int = 64 << 20,
        base_path: str = "",
        user_agent: str = "protogw",
        scheme: str = "http",
        compression: bool = False,
        query_names: Literal["json", "proto"] = "json",
    ) -> None:
        self._host = b" HTTP/1.1\r\nhost: " + authority.encode() + b"\r\n"
        self._limit = message_limit
        self._fields = CallFields(user_agent)
        self._compression: tuple[Header, ...] = ((b"accept-encoding", b"gzip, br, zstd"),) if compression else ()
        self.scheme = scheme
        self.base_path = base_path.rstrip("/")
        self.queries = Queries(proto_names=query_names == "proto")
        # Keyed by path and not by method: a schema that is read again replaces what it had, and leaves nothing behind.
        self._plans: dict[bytes, _Plan] = {}

    def guard(self, names: frozenset[bytes]) -> None:
        self._fields.guarded = names

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        method = call.method
        assert method is not None
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            plan = self._plan(method)
        if method.client_streaming:
            return await self._client_stream(call, plan, connection)
        payload = call.payload
        assert payload is not None
        request, rule = plan.requests.encode(payload)
        content_type = request.content_type or (_JSON if rule.body else b"")
        block = self._fields.block(call) if not request.fields else self._fields.with_own(call, request.fields)
        head = request.line + self._tail(plan, content_type) + block
        validators = call.attributes.get(VALIDATORS) if call.attributes is not None else None
        if validators is not None:
            head += encode_fields(validators)
        stream = connection.open(head, request.body)
        if method.server_streaming:
            return await self._server_stream(plan, rule, stream)
        try:
            answer = await stream.whole(self._limit)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        except BodyTooLarge as error:
            stream.cancel()
            raise bad_reply(error) from error
        if validators is not None and answer.head.status == 304:
            return Unchanged(reply_head(answer.head).metadata)
        return await self._whole_reply(plan, rule, answer)

    # --- heads --------------------------------------------------------------------------------------------------------

    def _plan(self, method: Method) -> _Plan:
        plan = self._plans[method.path] = _Plan(method, self)
        return plan

    def _tail(self, plan: _Plan, content_type: bytes) -> bytes:
        """What follows the target: the version, Host, and the fields about the bodies."""
        tail = plan.tails.get(content_type)
        if tail is None:
            fields: list[Header] = [(b"accept", plan.accept), *self._compression]
            if content_type:
                fields.append((b"content-type", content_type))
            tail = self._host + encode_fields(fields)
            if len(plan.tails) < 16:
                plan.tails[content_type] = tail
        return tail

    # --- whole replies ------------------------------------------------------------------------------------------------

    async def _whole_reply(self, plan: _Plan, rule: Bound, answer: Answer) -> Reply:
        memo = answer.head.memo
        head = memo if memo.__class__ is ReplyHead else reply_head(answer.head)
        assert isinstance(head, ReplyHead)
        if not head.ok:
            return await self._failed(plan, rule, answer.head, head, answer.body)
        body = await decoded(head, answer.body, self._limit) if head.coding else answer.body
        return Reply(head.metadata, payload=self._payload(plan, rule, head, body))

    @staticmethod
    async def _failed(plan: _Plan, rule: Bound, fields: ResponseHead, head: ReplyHead, body: bytes) -> Reply:
        """The reply that is an error; raises BadUpstream for what is neither that nor success."""
        head.check()
        try:
            body = await decoded(head, body, ERROR_BYTES)
        except BadUpstream:
            body = b""  # The status is the news, even where nothing more is to be had.
        return Reply(head.metadata, status=error_status(head, fields, body, rule.verb, plan.method.output.types))

    @staticmethod
    def _payload(plan: _Plan, rule: Bound, head: ReplyHead, body: bytes) -> Payload:
        """The one message of a reply."""
        codec = plan.codec
        if rule.reply_http_body:
            message = http_body(head.content_type, body)
            field = rule.reply_field
            return Payload(delimited(field.number, message) if field else message, Encoding.PROTO, codec)
        if not body:
            return Payload(b"{}", Encoding.JSON, codec) if plan.is_protojson else Payload(b"", Encoding.PROTO, codec)
        if head.json:
            return Payload(wrapped(rule.wrap, body) if rule.wrap else body, Encoding.JSON, codec)
        if head.protobuf and not rule.wrap:
            return Payload(body, Encoding.PROTO, codec)
        said = head.content_type[:100].decode("latin-1")
        raise BadUpstream(f"the upstream's content type is {said!r}, not JSON")

    # --- streams ------------------------------------------------------------------------------------------------------

    async def _server_stream(self, plan: _Plan, rule: Bound, stream: HttpStream) -> Reply:
        """The reply as soon as its head is there; an error is read whole."""
        try:
            answer = await stream.head()
            head = reply_head(answer)
            if not head.ok:
                return await self._failed(plan, rule, answer, head, await error_body(stream))
            raw = rule.reply_http_body
            records = records_of(head, plan.method.output, self._limit, raw=raw or head.status == 204)
            reply = Reply(head.metadata)
            make = _HttpBodies(plan, rule, head) if raw else _Jsons(plan, rule)
            reply.payloads = Messages(stream, reply, records, head.coding, make)
            return reply
        except (GatewayError, asyncio.CancelledError):
            stream.cancel()
            raise

    async def _client_stream(self, call: Call, plan: _Plan, connection: HttpConnection) -> Reply:
        """The request's messages as lines of JSON, or as raw pieces; where the path needs a field, the first has it."""
        method = plan.method
        if method.server_streaming:
            raise NotOffered(
                f"{method.full_name} is a bidirectional stream, and its service speaks REST over HTTP/1.1, "
                "which answers only once the request has ended"
            )
        rule = plan.requests.first
        assert isinstance(rule, Rule)  # no operation of OpenAPI's takes a stream
        payloads = call.payloads
        assert payloads is not None
        if not rule.body:
            raise NotOffered(f"{method.full_name} is a client stream, and its service's binding has no body to hold it")
        first: Payload | None = None
        line, content_type = rule.line(b"") if rule.whole else b"", _NDJSON
        if not rule.whole:
            first = await anext(payloads, None)
            if first is None:
                raise InvalidRequest(f"{method.full_name}: at least one message is needed, for the path or the body")
            request = rule.encode(first)
            line, content_type = request.line, request.content_type or content_type
        lines = _Lines(rule, payloads, first)
        head = line + self._tail(plan, content_type) + self._fields.block(call)
        try:
            stream = connection.open(head, None)
        except GatewayError as error:
            raise _final(error) if first is not None else error from error
        pump = RequestPump(stream, lines, consumed=first is not None)
        try:
            answer = await stream.whole(self._limit)
            reply = await self._whole_reply(plan, rule, answer)
            await pump.stop()
            return reply
        except asyncio.CancelledError:
            stream.cancel()
            await pump.stop()
            raise
        except GatewayError as error:
            stream.cancel()
            await pump.stop()
            blamed = pump.blame(error)
            raise (bad_reply(blamed) if blamed is error and isinstance(error, BodyTooLarge) else blamed) from error


def _final(error: GatewayError) -> GatewayError:
    """The error without its promise that another try is safe."""
    return UpstreamReset(error.status.message) if error.retryable else error


def wrapped(wrap: bytes, body: bytes) -> bytes:
    """A reply's body as the field that it is of its message; raises BadUpstream when it is not one JSON value."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadUpstream("the upstream's reply is not JSON") from error
    return b"{" + wrap + body + b"}"


def http_body(content_type: bytes, data: bytes) -> bytes:
    """A google.api.HttpBody message."""
    named = delimited(1, content_type) if content_type and content_type.isascii() else b""
    return named + delimited(2, data) if data else named


class _Jsons:
    """Records of JSON → payloads."""

    __slots__ = ("_codec", "_wrap")

    def __init__(self, plan: _Plan, rule: Bound) -> None:
        self._codec = plan.codec
        self._wrap = rule.wrap

    def __call__(self, record: bytes) -> Payload:
        return Payload(wrapped(self._wrap, record) if self._wrap else record, Encoding.JSON, self._codec)


class _HttpBodies:
    """Raw pieces → google.api.HttpBody messages, the first of which names the content type."""

    __slots__ = ("_codec", "_content_type", "_field")

    def __init__(self, plan: _Plan, rule: Bound, head: ReplyHead) -> None:
        self._codec = plan.codec
        self._field = rule.reply_field
        self._content_type = head.content_type

    def __call__(self, piece: bytes) -> Payload:
        message = http_body(self._content_type, piece)
        self._content_type = b""
        return Payload(delimited(self._field.number, message) if self._field else message, Encoding.PROTO, self._codec)


class _Lines(AsyncIterator[bytes]):
    """A client stream's messages as the pieces of its request body."""

    __slots__ = ("_first", "_payloads", "_rule")

    def __init__(self, rule: Rule, payloads: AsyncIterator[Payload], first: Payload | None) -> None:
        self._rule = rule
        self._payloads = payloads
        self._first = first

    async def __anext__(self) -> bytes:
        payload = self._first
        self._first = None
        if payload is None:
            payload = await anext(self._payloads)
        body = self._rule.encode(payload).body
        return body if self._rule.http_body else ndjson.line(body)
