"""Calls and replies are changed on their way: metadata, path and query, and the fields of messages.

Written once against the neutral call: a rule over a message's field holds for every protocol that brings the message,
for each message of a stream, and for every kind of service.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, PassingPayloads, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest
from protogw.expressions import Expression, ExpressionError, ExpressionText
from protogw.policies.base import Handler, PolicySettings
from protogw.policies.called import CallName, meant, names
from protogw.policies.message_rules import MessageChanges, MessageRules
from protogw.policies.writing import MetadataChanges, MetadataRules, QueryChanges, QueryRules
from protogw.values import LISTED
from protogw.wire.http import RequestHead, ResponseHead
from protogw.wire.path_safety import check_path

PathText = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~!$&'()*+,=:@/-]*$", max_length=1000)]


class PathChanges(BaseModel):
    """What becomes of a path, in this order: a prefix is taken away, another is put before it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    strip: PathText = "/"
    """A prefix of whole segments that is taken away where it is there: `/api`."""
    prefix: PathText = "/"
    """What is put before it: `/v2`."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.strip == "/" and self.prefix == "/":
            raise PydanticCustomError("changes", "{reason}", {"reason": "changes nothing"})
        return self


class RequestChanges(BaseModel):
    """What becomes of calls before the service gets them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    when: ExpressionText | None = None
    """Only where this is true. One that reads the message holds for each message of a stream by itself, and of a stream
    of requests changes messages alone. What cannot be told is not true."""
    metadata: MetadataChanges | None = None
    """Metadata: header fields, whatever the protocol."""
    path: PathChanges | None = None
    """The path that a plain HTTP service is asked for."""
    query: QueryChanges | None = None
    """The query that a plain HTTP service is asked with."""
    message: MessageChanges | None = None
    """Fields of the messages that clients send."""


class ReplyChanges(BaseModel):
    """What becomes of replies before the client gets them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    when: ExpressionText | None = None
    """Only where this is true; `message` is the reply's here, of a stream the one at hand, and all else the call's."""
    metadata: MetadataChanges | None = None
    """Metadata that the reply begins with: header fields, whatever the protocol."""
    message: MessageChanges | None = None
    """Fields of the messages that the service answers with."""


class TransformSettings(PolicySettings):
    """What is changed in calls and replies."""

    calls: Annotated[tuple[CallName, ...], LISTED] = ()
    """The methods whose messages are changed, `library.v1.Library/GetBook` or `library.v1.Library/*`. Default: all that
    the policy is used for, each of which must have the fields that are named."""
    request: RequestChanges | None = None
    """What is changed in calls."""
    reply: ReplyChanges | None = None
    """What is changed in replies."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.request is None and self.reply is None:
            raise PydanticCustomError("changes", "{reason}", {"reason": "has neither request nor reply"})
        return self


class _Plan:
    """What is done with the messages of one method."""

    __slots__ = ("fault", "method", "reply", "request")

    def __init__(self, method: Method, settings: TransformSettings) -> None:
        self.method = method
        self.request: MessageRules | None = None
        self.reply: MessageRules | None = None
        self.fault = ""
        if settings.calls and not any(names(pattern, method) for pattern in settings.calls):
            return
        request, reply = settings.request, settings.reply
        if request is not None and request.message is not None:
            self.request = MessageRules(method.input, request.message)
        if reply is not None and reply.message is not None:
            self.reply = MessageRules(method.output, reply.message)
        if faults := self.faults:
            self.fault = faults[0]

    @property
    def faults(self) -> list[str]:
        return [
            f"{side}.message.{fault}"
            for side, rules in (("request", self.request), ("reply", self.reply))
            if rules is not None
            for fault in rules.faults
        ]


class Transform:
    """Changes metadata, path, query and message fields of calls and replies, the same for every protocol."""

    kind: ClassVar[str] = "transform"
    Settings: ClassVar[type[PolicySettings]] = TransformSettings

    def __init__(self, settings: TransformSettings) -> None:
        self._settings = settings
        request, reply = settings.request or RequestChanges(), settings.reply or ReplyChanges()
        self._when = request.when
        self._metadata = MetadataRules(request.metadata) if request.metadata is not None else None
        self._path = request.path
        self._query = QueryRules(request.query) if request.query is not None else None
        self._reply_when = reply.when
        self._reply_metadata = MetadataRules(reply.metadata) if reply.metadata is not None else None
        self._messages = request.message is not None or reply.message is not None
        self._plans: dict[bytes, _Plan] = {}

    def fit(self, methods: Sequence[Method], complete: bool) -> list[str]:
        """The methods that this policy is around have come or changed."""
        self._plans = {method.path: _Plan(method, self._settings) for method in methods} if self._messages else {}
        faults = [fault for plan in self._plans.values() for fault in plan.faults]
        if complete:
            faults += [
                f"calls.{pattern}: there is no such method where this policy is used{meant(pattern, methods)}"
                for pattern in self._settings.calls
                if not any(names(pattern, method) for method in methods)
            ]
        return list(dict.fromkeys(faults))

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        plan = self._plan(call.method) if self._messages and call.method is not None else None
        if plan is not None and plan.fault:
            # Letting the call through unchanged could show what was to be taken out.
            raise GatewayError("the method cannot be offered as configured", code=Code.FAILED_PRECONDITION)
        if self._settings.request is not None:
            self._change(call, plan.request if plan is not None else None)
        reply = await forward(call)
        if self._settings.reply is not None:
            try:
                self._change_reply(call, reply, plan.reply if plan is not None else None)
            except InvalidRequest as error:
                if isinstance(reply.payloads, AsyncGenerator):
                    await reply.payloads.aclose()
                raise BadUpstream(f"the reply cannot be changed as configured: {error.message}") from error
        return reply

    def _plan(self, method: Method) -> _Plan:
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            plan = self._plans[method.path] = _Plan(method, self._settings)
        return plan

    def _change(self, call: Call, messages: MessageRules | None) -> None:
        when, payload = self._when, call.payload
        each = when if when is not None and when.reads_message and call.payloads is not None else None
        if each is None and when is not None and not _holds(when, call, payload):
            return
        if each is None:
            if self._metadata is not None:
                call.metadata = self._metadata.apply(call.metadata, call, payload)
            if call.method is None and call.head is not None and (self._path is not None or self._query is not None):
                self._aim(call, call.head)
        if messages is None:
            return
        if call.payloads is not None:
            call.payloads = _Changed(call.payloads, call, messages, each)
        elif payload is not None:
            call.payload = messages.apply(payload, call)

    def _aim(self, call: Call, head: RequestHead) -> None:
        """Have the service asked for another path or with another query."""
        attributes = dict(call.attributes) if call.attributes is not None else {}
        if self._path is not None:
            path: bytes = attributes.get("path") or head.path
            path = _moved(path, self._path.strip.encode(), self._path.prefix.encode())
            check_path(path)
            attributes["path"] = path
        if self._query is not None:
            attributes["query"] = self._query.apply(attributes.get("query", head.query), call, call.payload)
        call.attributes = attributes

    def _change_reply(self, call: Call, reply: Reply, messages: MessageRules | None) -> None:
        when, payload = self._reply_when, reply.payload
        each = when if when is not None and when.reads_message and reply.payloads is not None else None
        if each is None and when is not None and not _holds(when, call, payload):
            return
        if each is None and self._reply_metadata is not None:
            rules = self._reply_metadata
            if reply.head is not None:
                fields = rules.pairs(reply.head.headers, call, payload)
                reply.head = ResponseHead(reply.head.status, fields)
            else:
                reply.metadata = rules.apply(reply.metadata, call, payload)
        if messages is None:
            return
        if reply.payloads is not None:
            reply.payloads = _Changed(reply.payloads, call, messages, each, _blamed)
        elif payload is not None:
            reply.payload = messages.apply(payload, call)


def _holds(when: Expression, call: Call, payload: Payload | None) -> bool:
    try:
        return when.holds(call, payload)
    except ExpressionError:
        return False


def _moved(path: bytes, strip: bytes, prefix: bytes) -> bytes:
    bare = strip.rstrip(b"/")
    if bare and (path == bare or path.startswith(bare + b"/")):
        path = path[len(bare) :] or b"/"
    before = prefix.rstrip(b"/")
    return before + path if path != b"/" or not before else before


def _blamed(error: InvalidRequest) -> GatewayError:
    return BadUpstream(f"the reply cannot be changed as configured: {error.message}")


class _Changed(PassingPayloads):
    """The messages of a stream, each changed before it goes on."""

    __slots__ = ("_blame", "_call", "_messages", "_when")

    def __init__(
        self,
        payloads: AsyncIterator[Payload],
        call: Call,
        messages: MessageRules,
        when: Expression | None,
        blame: Callable[[InvalidRequest], GatewayError] | None = None,
    ) -> None:
        super().__init__(payloads)
        self._call = call
        self._messages = messages
        self._when = when
        self._blame = blame

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        try:
            if self._when is not None and not _holds(self._when, self._call, payload):
                return payload
            return self._messages.apply(payload, self._call)
        except InvalidRequest as error:
            if self._blame is None:
                raise
            raise self._blame(error) from error
