"""Writes whole replies: JSON, protobuf, one selected field, or the raw bytes of a google.api.HttpBody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from protogw.aside import compressed
from protogw.call import Encoding, Payload, Reply
from protogw.errors import BadUpstream, InvalidRequest
from protogw.frontends.enveloped import written
from protogw.frontends.rest.bindings import Binding
from protogw.frontends.rest.head import Facts, Form
from protogw.wire.http import Header
from protogw.wire.http_body import read_http_body
from protogw.wire.metadata import forwardable

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

_JSON_HEAD: tuple[Header, ...] = ((b"content-type", b"application/json"),)
_PROTO_HEAD: tuple[Header, ...] = ((b"content-type", b"application/x-protobuf"),)
_COMPRESSIBLE = (b"text/", b"application/json", b"application/xml", b"application/javascript", b"image/svg+xml")


def as_json(binding: Binding, payload: Payload) -> bytes:
    """A reply's message as JSON, or the field of it that the binding selects."""
    field = binding.reply_field
    if field is None and payload.encoding is Encoding.JSON:
        return payload.data
    try:
        if field is None:
            return payload.json()
        if payload.encoding is Encoding.JSON and payload.codec in (binding.output.codec, binding.output.codec.lenient):
            # The service's own words, with what a message cannot tell from absent.
            found = orjson.loads(payload.data)
            if isinstance(found, dict) and field.json_name in found:
                return orjson.dumps(found[field.json_name])
        return binding.output.codec.field_to_json(field.name, payload.proto())
    except InvalidRequest as error:
        raise BadUpstream(f"the reply does not convert: {error.message}") from error
    except orjson.JSONDecodeError as error:
        raise BadUpstream("the reply is not JSON") from error


async def respond(
    exchange: Exchange, binding: Binding, facts: Facts, reply: Reply, payload: Payload, compress_from: int
) -> None:
    """Send a unary reply; bodies of at least `compress_from` bytes are compressed if the client accepts it."""
    headers = _JSON_HEAD
    if binding.no_content:
        headers, body = (), b""
    elif binding.reply_http_body:
        number = binding.reply_field.number if binding.reply_field is not None else 0
        content_type, body = read_http_body(written(payload, Encoding.PROTO), number)
        headers = ((b"content-type", content_type),)
    elif facts.unary is Form.PROTO:
        headers, body = _PROTO_HEAD, written(payload, Encoding.PROTO)
    else:
        body = as_json(binding, payload)
    if reply.metadata.pairs:
        headers += forwardable(reply.metadata.pairs)
    if len(body) >= compress_from and _compressible(headers):
        headers += ((b"vary", b"accept-encoding"),)
        if facts.coding:
            headers += ((b"content-encoding", facts.coding),)
            body = await compressed(body, facts.coding)
    if facts.trailers and reply.trailers.pairs:
        exchange.respond(binding.success, headers, body, forwardable(reply.trailers.pairs))
    else:
        exchange.respond(binding.success, headers, body)


def _compressible(headers: tuple[Header, ...]) -> bool:
    """Text, and nothing that says it must stay as it is (RFC 9110 section 7.7, RFC 9111 section 5.2.2.6)."""
    if not headers[0][1].startswith(_COMPRESSIBLE):
        return False
    return not any(name == b"cache-control" and b"no-transform" in value.lower() for name, value in headers)
