"""Asking an authorization service over gRPC, as Envoy's external authorization does.

The API is envoy.service.auth.v3.Authorization. The head is what the service sees of HTTP; the method that it stands for
is in `context_extensions`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import DecodeError

from protogw.call import NO_METADATA, Call, Encoding, Payload
from protogw.descriptors.from_proto import schema_of
from protogw.descriptors.model import Method
from protogw.errors import Code, GatewayError
from protogw.policies import ext_authz_pb2
from protogw.policies.base import Target
from protogw.policies.verdicts import Unanswered, Vouched, clean, refusal
from protogw.wire.http import HTTP_1_0, HTTP_1_1, HTTP_2, Header

_PROTOCOLS: Final = {HTTP_1_0: "HTTP/1.0", HTTP_1_1: "HTTP/1.1", HTTP_2: "HTTP/2"}
_KEPT_BACK: Final = frozenset((b"host", b"content-length", b"content-type", b"te", b"grpc-timeout", b"cookie2"))
"""Fields that the service may not have taken out of a call: without them it would be another one."""


def check_method() -> Method:
    """What is called."""
    file = descriptor_pb2.FileDescriptorProto()
    ext_authz_pb2.DESCRIPTOR.CopyToProto(file)
    types = schema_of([file]).types
    package = file.package
    return Method(
        service="envoy.service.auth.v3.Authorization",
        name="Check",
        input=types[f"{package}.CheckRequest"],
        output=types[f"{package}.CheckResponse"],
    )


class GrpcJudge:
    """Asks the services of one pool."""

    def __init__(
        self,
        target: Target,
        *,
        sent: Collection[bytes] | None,
        told: Collection[bytes],
        timeout_s: float,
        context: Mapping[str, str],
        body: int,
    ) -> None:
        """`body` is the largest message, in bytes of JSON, that the service gets to see; 0 for none."""
        self._target = target
        self._sent = sent
        self._told = told
        self._timeout_s = timeout_s
        self._context = dict(context)
        self._body = body
        self._method = check_method()

    async def ask(self, call: Call) -> Vouched:
        loop = asyncio.get_running_loop()
        now = loop.time()
        asked = Call(
            self._method,
            NO_METADATA,
            front_end=call.front_end,
            peer=call.peer,
            started=now,
            payload=Payload(self._request(call).SerializeToString(), Encoding.PROTO, self._method.input.codec),
            timeout=self._timeout_s,
        )
        asked.deadline = now + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._target.send(asked)
        except TimeoutError as error:
            raise Unanswered(f"no answer within {self._timeout_s:g} s") from error
        except GatewayError as error:
            raise Unanswered(error.message) from error
        if reply.status.code is not Code.OK or reply.payload is None:
            raise Unanswered(f"answered {reply.status.code.name}: {reply.status.message}")
        try:
            answer = ext_authz_pb2.CheckResponse.FromString(reply.payload.proto())
        except DecodeError as error:
            raise Unanswered("answered what is no CheckResponse") from error
        return self._verdict(answer)

    def _verdict(self, answer: Any) -> Vouched:
        kind = answer.WhichOneof("http_response")
        if answer.status.code != 0 or kind == "denied_response":
            denied = answer.denied_response
            status = denied.status.code or (401 if answer.status.code == Code.UNAUTHENTICATED else 403)
            if status < 300:
                status = 403  # a refusal all the same
            fields = tuple(
                pair for one in denied.headers if (pair := _field(one)) is not None and pair[0] in self._told
            )
            raise refusal(status, fields, denied.body or answer.status.message)
        fine = answer.ok_response
        metadata = answer.dynamic_metadata if answer.HasField("dynamic_metadata") else fine.dynamic_metadata
        return Vouched(
            subject="",
            scheme="forward_auth",
            claims=json_format.MessageToDict(metadata),
            fields=tuple((*pair, _adds(one)) for one in fine.headers if (pair := _field(one)) is not None),
            removed=frozenset(name.lower().encode() for name in fine.headers_to_remove) - _KEPT_BACK,
            told=tuple(pair for one in fine.response_headers_to_add if (pair := _field(one)) is not None),
        )

    def _request(self, call: Call) -> Any:
        head = call.head
        headers: dict[str, str] = {}
        for name, value in call.metadata.pairs:
            if self._sent is None or name in self._sent:
                key, text = name.decode("latin-1"), value.decode("utf-8", "replace").replace("\ufffd", "!")
                headers[key] = f"{headers[key]}{'; ' if name == b'cookie' else ','}{text}" if key in headers else text
        request = ext_authz_pb2.CheckRequest()
        attributes = request.attributes
        attributes.source.address.socket_address.address = call.peer.host
        attributes.source.address.socket_address.port_value = call.peer.port
        attributes.source.principal = call.peer.identity.partition(":")[2] if call.peer.identity else ""
        attributes.request.time.FromNanoseconds(time.time_ns())
        http = attributes.request.http
        http.id = headers.get("x-request-id", "")
        http.headers.update(headers)
        http.scheme = "https" if call.peer.tls else "http"
        opaque = call.payload is not None and call.payload.codec is None
        http.size = len(call.payload.data) if opaque and call.payload is not None else -1
        if head is not None:
            http.method = head.method.decode("latin-1")
            http.path = (head.path + (b"?" + head.query if head.query else b"")).decode("latin-1")
            http.host = head.authority.decode("latin-1")
            http.protocol = _PROTOCOLS.get(head.version, "")
        attributes.context_extensions.update(self._context)
        if call.method is not None:
            attributes.context_extensions["method"] = call.method.full_name
        attributes.context_extensions["front_end"] = call.front_end
        if self._body and call.payload is not None and call.payload.codec is not None:
            body = call.payload.codec.canonical.to_json(call.payload.proto())
            if len(body) <= self._body:
                http.body = body.decode()
                http.size = len(body)
        return request


def _field(option: Any) -> Header | None:
    header = option.header
    return clean(header.key, header.raw_value or header.value)


def _adds(option: Any) -> bool:
    """Whether it is added to fields of its name that there are; `append` is what older services write."""
    if option.HasField("append"):
        return bool(option.append.value)
    return False
