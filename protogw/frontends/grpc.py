"""The gRPC and gRPC-Web front ends: all four call shapes, in protobuf or JSON.

Sources: grpc/doc PROTOCOL-HTTP2.md, PROTOCOL-WEB.md, compression.md, statuscodes.md.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.errors import OK, BodyTooLarge, Code, GatewayError, InvalidRequest, NotOffered
from protogw.frontends.base import Bounds, FrontEndSettings, late
from protogw.frontends.enveloped import RequestMessages, close, codec_of, sealed, written
from protogw.frontends.target import Aim, Opened, Target, Targets
from protogw.wire.envelope import envelope, only_message
from protogw.wire.grpc import OK_TRAILERS, decode_timeout, status_trailers
from protogw.wire.grpc_web import OK_FRAME, TextReader, encode_text, trailer_frame
from protogw.wire.http import HTTP_2, Header, RequestHead
from protogw.wire.http_status import http_status
from protogw.wire.message_encoding import GRPC_CODINGS, accepted_coding, named_coding
from protogw.wire.metadata import forwardable

if TYPE_CHECKING:
    from protogw.descriptors.model import Method
    from protogw.frontends.base import Exchange, Handler

ACCEPT_ENCODING: Header = (b"grpc-accept-encoding", b"identity,gzip")
_HINTS = (b"grpc-", b"retry-after", b"ratelimit-")
"""What an error's fields for plain HTTP are worth to gRPC clients, too."""
_GRPC = b"application/grpc"
_WEB = b"application/grpc-web"
_WEB_TEXT = b"application/grpc-web-text"


class GrpcSettings(FrontEndSettings):
    """When replies are compressed, if the client accepts it: as its request was, always, or never."""

    compression: Literal["mirror", "always", "never"] = "mirror"


class Refusal(InvalidRequest):
    """What no gRPC client sends, or what none could read the answer to: answered in plain HTTP."""

    def __init__(self, http_status: int, message: str, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message, http_status=http_status, headers=headers)


class Form:
    """What a content type says of the bodies under it."""

    __slots__ = ("content_type", "encoding", "head", "text")

    def __init__(self, content_type: bytes, encoding: Encoding, text: bool = False) -> None:
        self.content_type = content_type
        self.encoding = encoding
        self.text = text
        self.head: tuple[Header, ...] = ((b"content-type", content_type),)


def _forms(base: bytes, text: bool = False) -> dict[bytes, Form]:
    return {
        base: Form(base, Encoding.PROTO, text),
        base + b"+proto": Form(base + b"+proto", Encoding.PROTO, text),
        base + b"+json": Form(base + b"+json", Encoding.JSON, text),
    }


class GrpcTarget(Target):
    """A target with the form of its bodies: that of the request, and of the reply, which may differ in being text."""

    __slots__ = ("form", "text")

    def __init__(self, front: object, catalog: Catalog, method: Method, asked: Form, form: Form) -> None:
        super().__init__(front, catalog, method, form.encoding, form.head)
        self.text = asked.text
        self.form = form


def _saying_gzip(target: GrpcTarget, head: tuple[Header, ...]) -> tuple[Header, ...]:
    """The head of a reply some of whose messages are gzipped."""
    return head if target.reply_coding else (*head, (b"grpc-encoding", b"gzip"))


class _FrontEnd:
    """What gRPC and gRPC-Web have in common: everything but where trailers go."""

    kind: ClassVar[str]
    Settings: ClassVar[type[FrontEndSettings]] = GrpcSettings
    _forms: ClassVar[Mapping[bytes, Form]]

    def __init__(self, settings: GrpcSettings, bounds: Bounds) -> None:
        self._compression = settings.compression
        self._limit = bounds.body
        self._catalog = EMPTY
        self._targets = Targets[GrpcTarget](b"grpc-timeout")

    def offer(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._targets.clear()

    def accepts(self, head: RequestHead) -> bool:
        return self._ours(head.content_type)

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        started = asyncio.get_running_loop().time()
        head = exchange.head
        aim = head.memo
        if aim.__class__ is not Aim or aim.target.catalog is not self._catalog or aim.target.front is not self:
            aim = head.memo = self._aim(head)
        target: GrpcTarget = aim.target
        exchange.state = target
        method = target.method
        payload: Payload | None = None
        payloads: AsyncIterator[Payload] | None = None
        if method.client_streaming:
            payloads = self._messages(exchange, target)
        else:
            body = exchange.buffered()
            data = None if body is None or target.text else only_message(body)
            if data is None:
                messages = self._messages(exchange, target)
                if body is None and exchange.held_back:
                    handle = late(handle, messages.only)
                else:
                    if body:
                        messages.push(body)
                    payload = await messages.only()
            elif len(data) > self._limit:
                raise BodyTooLarge(f"a message of {len(data)} bytes is over the limit of {self._limit}")
            else:
                payload = Payload(data, target.encoding, codec_of(method, target.encoding))
        call = exchange.call = Call(
            method,
            target.metadata,
            front_end=self.kind,
            peer=exchange.peer,
            started=started,
            head=head,
            payload=payload,
            payloads=payloads,
            timeout=aim.timeout,
            gzip=target.gzip,
        )
        reply = await handle(call)
        if reply.payloads is None:
            frame: bytes | None = None
            if (reply.gzip or target.reply_coding) and reply.payload is not None:
                frame = await sealed(reply.payload, target.encoding, target.reply_coding, target.passes(reply))
            self._answer(exchange, target, reply, frame)
        else:
            await self._stream(exchange, target, reply, reply.payloads)

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        trailers = status_trailers(error.status)
        state = exchange.state
        if not exchange.started and (isinstance(error, Refusal) or not self._ours(exchange.head.content_type)):
            head = ((b"content-type", b"text/plain; charset=utf-8"), *error.headers)
            exchange.respond(
                error.http_status or http_status(error.status.code), head, error.status.message.encode() + b"\n"
            )
        elif not exchange.started:
            form = state.form if isinstance(state, GrpcTarget) else self._form(exchange.head)
            hints = [pair for pair in error.headers if pair[0].startswith(_HINTS)]
            exchange.respond(200, (*form.head, *trailers, *hints))
        elif isinstance(state, Opened) and isinstance(state.target, GrpcTarget):
            exchange.state = None
            self._finish(exchange, state.target, trailers)

    def _messages(self, exchange: Exchange, target: GrpcTarget) -> RequestMessages:
        decoder = TextReader() if target.text else None
        codec = codec_of(target.method, target.encoding)
        return RequestMessages(exchange, self._limit, target.coding, target.encoding, codec, decoder)

    def _answer(self, exchange: Exchange, target: GrpcTarget, reply: Reply, frame: bytes | None) -> None:
        """Send a whole reply in one write; `frame` is its message where it may be compressed."""
        metadata = reply.metadata
        trailers: tuple[Header, ...] = OK_TRAILERS
        if reply.status is not OK:
            trailers = status_trailers(reply.status)
        if reply.trailers.pairs:
            trailers += reply.trailers.pairs
        payload = reply.payload
        if reply.status.code is Code.OK:
            head = target.reply_head if metadata is target.reply_metadata else target.head_of(metadata)
            if frame is not None:
                head = _saying_gzip(target, head) if target.passes(reply) else head
            elif payload is None:
                frame = b""
            else:
                is_proto = payload.encoding is target.encoding is Encoding.PROTO
                data = payload.data if is_proto else written(payload, target.encoding)
                frame = envelope(data)
            self._respond(exchange, target, head, frame, trailers)
        elif metadata.pairs:
            self._respond(exchange, target, target.head_of(metadata), b"", trailers)
        else:
            # Trailers-Only: the status is in the head.
            exchange.respond(200, target.form.head + trailers)

    async def _stream(
        self, exchange: Exchange, target: GrpcTarget, reply: Reply, payloads: AsyncIterator[Payload]
    ) -> None:
        encoding, coding, text = target.encoding, target.reply_coding, target.form.text
        passes = target.passes(reply)
        plain = not coding and not passes
        head = target.head_of(reply.metadata)
        exchange.start(200, _saying_gzip(target, head) if passes else head)
        exchange.state = Opened(target)
        try:
            async for payload in payloads:
                if plain and payload.encoding is encoding:
                    frame = envelope(payload.data)
                else:
                    frame = await sealed(payload, encoding, coding, passes)
                await exchange.write(encode_text(frame) if text else frame)
        finally:
            await close(payloads)
        exchange.state = None
        self._finish(exchange, target, status_trailers(reply.status) + reply.trailers.pairs)

    @staticmethod
    @abstractmethod
    def _ours(content_type: bytes) -> bool:
        """Whether requests of this content type are of this protocol, offered or not."""

    @abstractmethod
    def _respond(
        self, exchange: Exchange, target: GrpcTarget, head: Sequence[Header], frame: bytes, trailers: tuple[Header, ...]
    ) -> None:
        """Send a whole answer: head, at most one message, trailers."""

    @abstractmethod
    def _finish(self, exchange: Exchange, target: GrpcTarget, trailers: tuple[Header, ...]) -> None:
        """End a stream with its trailers."""

    def _form(self, head: RequestHead) -> Form:
        """The form to answer in when there is no Target: the request's where it is one of ours."""
        name = head.content_type.partition(b";")[0].strip().lower()
        return self._forms.get(name) or next(iter(self._forms.values()))

    def _aim(self, head: RequestHead) -> Aim[GrpcTarget]:
        """What the head says; raises what the request is refused for."""
        if head.method != b"POST":
            raise Refusal(405, f"{self.kind} calls are POST requests", ((b"allow", b"POST"),))
        key, timeout = self._targets.key(head)
        aim = self._targets.get(key)
        if aim is None:
            aim = Aim(self._target(head), None)
            self._targets.keep(key, head, aim)
        if timeout is None:
            return aim
        try:
            return Aim(aim.target, decode_timeout(timeout))
        except ValueError as error:
            raise InvalidRequest(str(error)) from error

    def _target(self, head: RequestHead) -> GrpcTarget:
        asked = self._forms.get(head.content_type.partition(b";")[0].strip().lower())
        if asked is None or len(head.get_all(b"content-type")) > 1:
            raise Refusal(415, f"the content type is not one of {self.kind}'s", self._accepted())
        if (head.get(b"content-encoding") or b"identity").strip().lower() != b"identity":
            raise Refusal(415, f"{self.kind} bodies have no content-encoding", self._accepted())
        if head.version < HTTP_2 and not self._any_version:
            raise Refusal(505, f"{self.kind} needs HTTP/2")
        method = self._catalog.methods.get(head.path)
        if method is None:
            raise NotOffered(f"{head.path[1:201].decode('utf-8', 'replace')} is not offered")
        if method.client_streaming and method.server_streaming and head.version < HTTP_2:
            raise Refusal(505, "bidirectional streams need HTTP/2")
        form = asked
        if not asked.text and (head.get(b"accept") or b"").startswith(_WEB_TEXT):
            # A browser that cannot read binary replies says so here (PROTOCOL-WEB.md, text-encoded streams).
            form = self._forms.get(_WEB_TEXT + asked.content_type[len(_WEB) :], asked)
        target = GrpcTarget(self, self._catalog, method, asked, form)
        encoding = head.get(b"grpc-encoding")
        coding = named_coding(encoding, GRPC_CODINGS)
        if coding is None:
            said = (encoding or b"")[:40].decode("latin-1")
            raise NotOffered(f"grpc-encoding: {said!r} is not one of identity, gzip", headers=(ACCEPT_ENCODING,))
        target.coding = coding
        accepted = accepted_coding(head.get(b"grpc-accept-encoding"), GRPC_CODINGS)
        target.let_pass(accepted, self._compression != "never")
        if self._compression == "always" or (self._compression == "mirror" and coding):
            target.reply_coding = accepted
            if target.reply_coding:
                target.add_fields((b"grpc-encoding", target.reply_coding))
        if coding:
            target.add_fields(ACCEPT_ENCODING)
        target.metadata = Metadata(forwardable(head.headers))
        return target

    _any_version: ClassVar[bool] = False

    def _accepted(self) -> tuple[Header, ...]:
        return ((b"accept-post", b", ".join(self._forms)),)


class Grpc(_FrontEnd):
    """gRPC over HTTP/2."""

    kind = "grpc"
    _forms = _forms(_GRPC)

    @staticmethod
    def _ours(content_type: bytes) -> bool:
        name = content_type[:20] if content_type.islower() else content_type[:20].lower()
        return name.startswith(_GRPC) and name != _WEB

    def _respond(
        self, exchange: Exchange, target: GrpcTarget, head: Sequence[Header], frame: bytes, trailers: tuple[Header, ...]
    ) -> None:
        exchange.respond(200, head, frame, trailers)

    def _finish(self, exchange: Exchange, target: GrpcTarget, trailers: tuple[Header, ...]) -> None:
        exchange.finish(b"", trailers)


class GrpcWeb(_FrontEnd):
    """gRPC-Web over any HTTP, in binary or base64 text: the trailers are the body's last envelope."""

    kind = "grpc-web"
    gaps: ClassVar[Mapping[str, str]] = {"bidi": "the stream, for clients on HTTP/1.1: they get 505"}
    _forms = _forms(_WEB) | _forms(_WEB_TEXT, text=True)
    _any_version = True

    @staticmethod
    def _ours(content_type: bytes) -> bool:
        return content_type[:20].lower() == _WEB

    def _respond(
        self, exchange: Exchange, target: GrpcTarget, head: Sequence[Header], frame: bytes, trailers: tuple[Header, ...]
    ) -> None:
        body = frame + (OK_FRAME if trailers is OK_TRAILERS else trailer_frame(trailers))
        exchange.respond(200, head, encode_text(body) if target.form.text else body)

    def _finish(self, exchange: Exchange, target: GrpcTarget, trailers: tuple[Header, ...]) -> None:
        frame = OK_FRAME if trailers is OK_TRAILERS else trailer_frame(trailers)
        exchange.finish(encode_text(frame) if target.form.text else frame)
