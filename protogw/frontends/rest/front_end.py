"""The REST front end: requests under google.api.http bindings become calls, replies become JSON.

Offered are all bindings of every method's annotation, and `POST /package.Service/Method` with the whole message as
its body for methods without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from protogw.call import Call, Encoding, Payload, Reply, Unchanged
from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.descriptors.model import Spelling, Type
from protogw.errors import Code, GatewayError, InternalError, InvalidRequest, NotOffered, Status
from protogw.frontends.base import Bounds, FrontEndSettings, late
from protogw.frontends.facts import FactsCache
from protogw.frontends.rest import bodies, errors, replies
from protogw.frontends.rest.bindings import Binding, Body
from protogw.frontends.rest.document import document
from protogw.frontends.rest.framing import framing
from protogw.frontends.rest.head import Facts, Form
from protogw.frontends.rest.settings import RestSettings
from protogw.frontends.rest.streaming import StreamAnswer, run_raw
from protogw.frontends.rest.table import Prepared, Table
from protogw.routing.matcher import Allowed
from protogw.wire.http_status import http_status
from protogw.wire.metadata import forwardable
from protogw.wire.path_safety import check_path

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange, Handler
    from protogw.wire.http import RequestHead

_OTHERS = (b"application/grpc", b"application/connect+")
"""Content types of protocols that share the path of unannotated methods with this one."""


class Rest:
    """JSON over plain HTTP, by google.api.http."""

    kind: ClassVar[str] = "rest"
    spelling: ClassVar[Spelling] = Spelling.OWN
    gaps: ClassVar[Mapping[str, str]] = {"": "trailers, for clients that do not send TE: trailers"}
    Settings: ClassVar[type[FrontEndSettings]] = RestSettings
    documents: ClassVar[str] = "openapi"

    def __init__(self, settings: RestSettings, bounds: Bounds) -> None:
        self._settings = settings
        self._limit = bounds.body
        self._style: errors.Style = settings.errors
        # Larger than any body: never.
        self._compress_from = settings.compression_min_bytes if settings.compression else 1 << 62
        self._facts = FactsCache(Facts)
        self._hidden = bounds.hidden_query
        self._table = self._compiled(EMPTY)

    def _compiled(self, catalog: Catalog) -> Table:
        settings = self._settings
        return Table(
            catalog,
            ignore_unknown=settings.unknown_query == "ignore",
            empty_is_204=settings.empty_status == 204,
            hidden=self._hidden,
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """Rules of the present catalog that cannot be served or never match, each with the reason."""
        return tuple(self._table.faults)

    def offer(self, catalog: Catalog) -> None:
        self._table = self._compiled(catalog)

    def document(self, about: About) -> Document:
        """The OpenAPI document of the bindings that requests can reach."""
        return document(self._table.catalog, self._table.bindings, self._style, about)

    def accepts(self, head: RequestHead) -> bool:
        memo = head.memo
        if isinstance(memo, Prepared) and memo.table is self._table:
            return True
        if head.content_type and head.content_type.startswith(_OTHERS):
            return False
        prepared = self._find(head)
        if prepared is None:
            return False
        found = prepared.found
        if (isinstance(found, Allowed) or found.is_default) and (
            # Connect has the same path for its calls, and for GETs that say so.
            head.get(b"connect-protocol-version") is not None or b"connect=v1" in head.query.split(b"&")
        ):
            return False
        head.memo = prepared
        return True

    def _find(self, head: RequestHead) -> Prepared | None:
        verb = head.method
        if self._settings.method_override and verb == b"POST":
            verb = head.get(b"x-http-method-override") or verb
        return self._table.find(verb, head.path)

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        started = asyncio.get_running_loop().time()
        head = exchange.head
        prepared = head.memo
        if not isinstance(prepared, Prepared) or prepared.table is not self._table:
            prepared = self._found(head)
        exchange.state = prepared
        binding = prepared.found
        if isinstance(binding, Allowed):
            self._wrong_verb(exchange, binding)
            return
        facts = prepared.facts
        if facts is None:
            facts = self._read_head(exchange, prepared, binding)
        method = binding.method
        payload: Payload | None = None
        payloads: AsyncIterator[Payload] | None = None
        if method.client_streaming:
            payloads = await self._payloads(exchange, prepared, binding, facts)
        else:
            data = exchange.buffered()
            if binding.body is Body.NONE:
                if data != b"":
                    await bodies.refuse(exchange, data)
                payload = Payload(prepared.bound, Encoding.PROTO, binding.input.codec)
            elif data is None and exchange.held_back:
                handle = late(handle, partial(self._asked, exchange, prepared, binding, facts))
            else:
                if data is None or facts.content_encoding or len(data) > self._limit:
                    data = await bodies.whole(exchange, data, facts.content_encoding, self._limit)
                payload = bodies.payload(binding, data, head.content_type, prepared.bound, prepared.derive_mask)
        call = exchange.call = Call(
            method,
            facts.metadata,
            front_end="rest",
            peer=exchange.peer,
            started=started,
            head=head,
            payload=payload,
            payloads=payloads,
            timeout=facts.timeout,
        )
        if method.server_streaming:
            await self._stream(exchange, handle, prepared, binding, facts, call)
            return
        reply = await handle(call)
        if reply.status.code is not Code.OK:
            self._refuse(exchange, prepared, reply)
        elif reply.__class__ is Unchanged:
            exchange.respond(304, forwardable(reply.metadata.pairs))
        elif reply.payload is not None:
            await replies.respond(exchange, binding, facts, reply, reply.payload, self._compress_from)
        else:
            raise InternalError

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        state = exchange.state
        if exchange.started:
            if isinstance(state, StreamAnswer):
                state.fail(error.status)
            else:
                exchange.abort()
            return
        types = self._types(state.prepared if isinstance(state, StreamAnswer) else state)
        status = error.status
        http = errors.http_status_of(error)
        headers = errors.headers(self._style, status, error.headers)
        exchange.respond(http, headers, errors.body(self._style, status, http, types))

    def _found(self, head: RequestHead) -> Prepared:
        """What `accepts` found, for a caller that did not ask it; raises NotOffered."""
        prepared = self._find(head)
        if prepared is None:
            raise NotOffered(
                f"{head.path.decode('latin-1')}: nothing is offered here", code=Code.NOT_FOUND, http_status=404
            )
        return prepared

    def _wrong_verb(self, exchange: Exchange, allowed: Allowed) -> None:
        verbs = b", ".join(sorted({*allowed.verbs, b"OPTIONS"}))
        if exchange.head.method == b"OPTIONS":
            exchange.respond(204, ((b"allow", verbs),))
            return
        verb = exchange.head.method.decode("latin-1")
        raise NotOffered(
            f"{verb} is not offered at this path, only {verbs.decode('latin-1')}",
            http_status=405,
            headers=((b"allow", verbs),),
        )

    def _read_head(self, exchange: Exchange, prepared: Prepared, binding: Binding) -> Facts:
        """Everything that the head says beyond its path; raises InvalidRequest."""
        head = exchange.head
        check_path(head.path, forwarded=False)
        facts = self._facts.of(head)
        facts.check()
        if binding.method.server_streaming:
            if facts.stream is None and not binding.reply_http_body:
                raise _not_acceptable("application/json, application/x-ndjson and text/event-stream")
        elif facts.unary is None and not binding.reply_http_body and not binding.no_content:
            raise _not_acceptable("application/json and application/x-protobuf")
        elif facts.unary is Form.PROTO and binding.reply_field is not None:
            raise _not_acceptable("application/json")
        bound = b""
        if head.query:
            mask = binding.mask_field
            given: set[str] | None = set() if mask is not None else None
            bound = binding.query.encode(head.query, given)
            if given and mask is not None and mask.name in given:
                prepared.derive_mask = False
        if prepared.values:
            bound += binding.path_fields(prepared.values)
        prepared.bound = bound
        prepared.facts = facts
        return facts

    async def _asked(self, exchange: Exchange, prepared: Prepared, binding: Binding, facts: Facts) -> Payload:
        """The one message of a request, once it is wanted."""
        data = await bodies.whole(exchange, None, facts.content_encoding, self._limit)
        return bodies.payload(binding, data, exchange.head.content_type, prepared.bound, prepared.derive_mask)

    async def _payloads(
        self, exchange: Exchange, prepared: Prepared, binding: Binding, facts: Facts
    ) -> AsyncIterator[Payload]:
        """The messages of a request that streams; without a body there is one, made of path and query."""
        if binding.body is not Body.NONE:
            return bodies.stream(exchange, binding, facts.content_encoding, prepared.bound, self._limit)
        await bodies.refuse(exchange, exchange.buffered())
        return bodies.OneMessage(Payload(prepared.bound, Encoding.PROTO, binding.input.codec))

    async def _stream(
        self, exchange: Exchange, handle: Handler, prepared: Prepared, binding: Binding, facts: Facts, call: Call
    ) -> None:
        """Make a call whose reply is a stream, and write it as it comes."""
        if binding.reply_http_body:
            refused = await run_raw(exchange, binding, call, handle, facts.trailers)
        else:
            assert facts.stream is not None
            answer = StreamAnswer(
                exchange,
                prepared,
                binding,
                framing(facts.stream),
                describe=partial(self._describe, prepared),
                trailers=facts.trailers,
                heartbeat_s=self._settings.heartbeat if facts.stream is Form.SSE else 0.0,
            )
            exchange.state = answer
            refused = await answer.run(call, handle)
        if refused is not None:
            self._refuse(exchange, prepared, refused)

    def _refuse(self, exchange: Exchange, prepared: Prepared, reply: Reply) -> None:
        """Send a reply that is a status other than OK."""
        status = reply.status
        http = http_status(status.code)
        headers = errors.headers(self._style, status, forwardable(reply.metadata.pairs))
        exchange.respond(http, headers, errors.body(self._style, status, http, self._types(prepared)))

    def _describe(self, prepared: Prepared, status: Status) -> tuple[bytes, bytes]:
        """A failure for the end of a stream: by itself, and under "error"."""
        body = errors.body(self._style, status, http_status(status.code), self._types(prepared))
        return body, errors.record(self._style, body)

    @staticmethod
    def _types(state: object) -> errors.Types:
        """Where the types of a status's details are looked up: in the schema of the method that was called."""
        if isinstance(state, Prepared) and isinstance(state.found, Binding):
            return state.found.schema.types.get
        return _no_types


def _no_types(name: str) -> Type | None:
    return None


def _not_acceptable(offered: str) -> GatewayError:
    return InvalidRequest(f"accept: only {offered} are offered here", http_status=406)
