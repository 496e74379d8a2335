"""How the messages of one call are written on a socket of their own, by subprotocol. Pure.

A text message without a character ends the request's stream where the method has one: no JSON value and no protobuf
message is written so. Methods whose message is google.api.HttpBody pass what they carry as it is, and there an empty
message is a message like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import orjson

from protogw.call import Encoding, Metadata, Payload
from protogw.descriptors.model import Codec, Method, Type
from protogw.errors import Status, UnsupportedMedia
from protogw.frontends.enveloped import written
from protogw.frontends.websocket.handshake import JSON, PROTO
from protogw.wire.http_body import HTTP_BODY, http_body, read_http_body
from protogw.wire.metadata import forwardable
from protogw.wire.protojson_details import detail_to_json

Message: TypeAlias = str | bytes
Types: TypeAlias = Callable[[str], Type | None]

_TEXTUAL = (b"text/", b"application/json", b"application/xml")


class Form:
    """Reads a client's messages and writes a service's, for one method under one subprotocol."""

    __slots__ = ("_bound", "_codec", "_read", "_write", "raw_requests", "tells_end")

    def __init__(self, method: Method, subprotocol: str, bound: bytes = b"") -> None:
        """`bound` are fields that every request message gets, whatever the client says in it."""
        self._codec = method.input.codec
        self._bound = bound
        plain = not subprotocol
        self.raw_requests = plain and method.input.name == HTTP_BODY
        self.tells_end = not plain
        """A record of the call's status goes before the close frame: clients that know the subprotocol expect it."""
        self._read: Callable[[Message, Codec], Payload] = _READERS[subprotocol] if not self.raw_requests else _read_raw
        raw_replies = plain and method.output.name == HTTP_BODY
        self._write: Callable[[Payload], Message] = (
            _write_raw if raw_replies else _write_proto if subprotocol == PROTO else _write_json
        )

    def ends(self, message: Message) -> bool:
        """Whether this is the end of the request's stream."""
        return message == "" and not self.raw_requests

    def read(self, message: Message) -> Payload:
        """A request's message; raises UnsupportedMedia for the wrong type of frame, InvalidRequest for bad JSON."""
        payload = self._read(message, self._codec)
        if self._bound:
            return Payload(payload.proto() + self._bound, Encoding.PROTO, self._codec)
        return payload

    def write(self, payload: Payload) -> Message:
        """A reply's message; raises BadUpstream when the service's bytes are none."""
        return self._write(payload)


def _read_json(message: Message, codec: Codec) -> Payload:
    if isinstance(message, bytes):
        raise UnsupportedMedia(f"binary frames are not taken in {JSON}")
    return Payload(message.encode(), Encoding.JSON, codec)


def _read_proto(message: Message, codec: Codec) -> Payload:
    if isinstance(message, str):
        raise UnsupportedMedia(f"text frames are not taken in {PROTO}")
    return Payload(message, Encoding.PROTO, codec)


def _read_either(message: Message, codec: Codec) -> Payload:
    return _read_json(message, codec) if isinstance(message, str) else _read_proto(message, codec)


def _read_raw(message: Message, codec: Codec) -> Payload:
    if isinstance(message, str):
        return Payload(http_body(b"text/plain; charset=utf-8", message.encode()), Encoding.PROTO, codec)
    return Payload(http_body(b"application/octet-stream", message), Encoding.PROTO, codec)


_READERS: dict[str, Callable[[Message, Codec], Payload]] = {"": _read_either, JSON: _read_json, PROTO: _read_proto}


def _write_json(payload: Payload) -> Message:
    return written(payload, Encoding.JSON).decode()


def _write_proto(payload: Payload) -> Message:
    return written(payload, Encoding.PROTO)


def _write_raw(payload: Payload) -> Message:
    content_type, data = read_http_body(written(payload, Encoding.PROTO))
    if content_type.lower().startswith(_TEXTUAL):
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data  # in an alphabet that no text frame may have
    return data


def status_json(status: Status, types: Types) -> bytes:
    """google.rpc.Status as JSON, without the closing brace."""
    message = orjson.dumps(status.message.encode("utf-8", "replace").decode())
    details = b",".join([detail_to_json(detail, types) for detail in status.details])
    return b'{"code":%d,"message":%b,"details":[%b]' % (status.code, message, details)


def metadata_json(metadata: Metadata) -> bytes:
    """Fields as an object of lists."""
    fields: dict[str, list[str]] = {}
    for name, value in forwardable(metadata.pairs):
        fields.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return orjson.dumps(fields)


def end_record(status: Status, lead: Metadata, trailers: Metadata, types: Types) -> str:
    """What tells a call's status, and all the metadata that came with its reply."""
    return (
        b'%b,"metadata":%b,"trailers":%b}' % (status_json(status, types), metadata_json(lead), metadata_json(trailers))
    ).decode()
