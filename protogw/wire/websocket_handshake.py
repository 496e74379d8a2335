"""The fields with which a WebSocket is asked for and granted (RFC 6455 section 4, RFC 8441, RFC 7692). Sans-I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.exceptions import InvalidHandshake, InvalidHeaderFormat
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionHeader

from protogw.errors import BadUpstream, InvalidRequest, NotOffered
from protogw.wire.http import HTTP_2, Header, RequestHead, ResponseHead, is_token

WEBSOCKET = b"websocket"
VERSION: Header = (b"sec-websocket-version", b"13")
KEY, ACCEPT, PROTOCOL, EXTENSIONS = (
    b"sec-websocket-key",
    b"sec-websocket-accept",
    b"sec-websocket-protocol",
    b"sec-websocket-extensions",
)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_PROTOCOLS = 64
_MOST_EXTENSION_BYTES = 1024
_DEFLATE = PerMessageDeflate.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What both sides have agreed on: who keeps a window between messages, and how large ours may be."""

    we_keep: bool
    they_keep: bool
    our_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A handshake that is well-formed: the fields that answer it, and what they agree on."""

    fields: tuple[Header, ...]
    subprotocol: str
    compression: Compression | None


def new_key() -> bytes:
    return base64.b64encode(os.urandom(16))


def accept_of(key: bytes) -> bytes:
    """What a server answers to a key, to show that it has understood it."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def asked(head: RequestHead, *, subprotocols: Sequence[str], deflate: bool) -> Granted:
    """Judge a client's handshake. Raises InvalidRequest or NotOffered with the HTTP status that answers it.

    Of the client's subprotocols the first that is among `subprotocols` is chosen, or none.
    """
    fields: list[Header] = []
    over_http_2 = head.version == HTTP_2
    if head.upgrade != WEBSOCKET:
        if over_http_2:
            raise NotOffered("only WebSocket is offered here: CONNECT with :protocol asks for it", http_status=400)
        raise NotOffered(
            "only WebSocket is offered here: Connection: Upgrade and Upgrade: websocket ask for it",
            http_status=426,
            headers=((b"upgrade", WEBSOCKET), VERSION),
        )
    if head.method != b"GET":
        raise InvalidRequest("a WebSocket is asked for with GET only", http_status=405, headers=((b"allow", b"GET"),))
    if head.get_all(VERSION[0]) != [VERSION[1]]:
        raise NotOffered(
            "sec-websocket-version: only 13 is offered",
            http_status=400 if over_http_2 else 426,
            headers=(VERSION,) if over_http_2 else ((b"upgrade", WEBSOCKET), VERSION),
        )
    if not over_http_2:
        keys = head.get_all(KEY)
        if len(keys) != 1 or not _is_key(keys[0]):
            raise InvalidRequest("sec-websocket-key: not one key of 16 bytes in base64", http_status=400)
        fields.append((ACCEPT, accept_of(keys[0])))
    subprotocol = ""
    for name in protocols(head):
        if name in subprotocols:
            subprotocol = name
            fields.append((PROTOCOL, name.encode()))
            break
    compression = None
    if deflate:
        found = _offered(head)
        if found is not None:
            compression, said = found
            fields.append((EXTENSIONS, said.encode()))
    return Granted(fields=tuple(fields), subprotocol=subprotocol, compression=compression)


def protocols(head: RequestHead) -> list[str]:
    """The subprotocols that a client offers, in its order; raises InvalidRequest when they are malformed."""
    names = [name.strip() for value in head.get_all(PROTOCOL) for name in value.split(b",")]
    if len(names) > _MOST_PROTOCOLS or any(is_token(name) is None for name in names):
        raise InvalidRequest("sec-websocket-protocol: not a list of names", http_status=400)
    if len(set(names)) < len(names):
        raise InvalidRequest("sec-websocket-protocol: a name twice", http_status=400)
    return [name.decode() for name in names]


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _extensions(values: Sequence[bytes]) -> list[ExtensionHeader]:
    """What Sec-WebSocket-Extensions lists; raises InvalidHeaderFormat."""
    text = ", ".join([value.decode("latin-1") for value in values])
    if len(text) > _MOST_EXTENSION_BYTES:
        raise InvalidHeaderFormat("Sec-WebSocket-Extensions", "too long", text[:20], 0)
    return parse_extension(text) if text else []


def _offered(head: RequestHead) -> tuple[Compression, str] | None:
    """The first offer of compression that can be met, and the answer to it.

    Neither side is to keep its window between messages: some 300 KiB for each socket, most of which are idle.
    """
    try:
        offers = _extensions(head.get_all(EXTENSIONS))
    except InvalidHandshake as error:
        raise InvalidRequest(f"sec-websocket-extensions: {error}", http_status=400) from error
    factory = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
    for name, parameters in offers:
        if name == _DEFLATE:
            try:
                answer, agreed = factory.process_request_params(parameters, [])
            except InvalidHandshake:
                continue  # its parameters cannot be met: it is as if it had not been offered (RFC 7692 section 5)
            return _compression(agreed), build_extension([(name, list(answer))])
    return None


def _compression(agreed: object) -> Compression:
    assert isinstance(agreed, PerMessageDeflate)
    return Compression(
        we_keep=not agreed.local_no_context_takeover,
        they_keep=not agreed.remote_no_context_takeover,
        our_bits=agreed.local_max_window_bits,
    )


# --- the client's side ------------------------------------------------------------------------------------------------

_client_deflate = ClientPerMessageDeflateFactory(client_no_context_takeover=True, client_max_window_bits=True)


def asking(*, subprotocols: Sequence[str] = (), deflate: bool = False) -> tuple[Header, ...]:
    """The fields with which an HTTP/1.1 request asks for a WebSocket, with a key of their own."""
    fields: list[Header] = [
        (b"connection", b"Upgrade"),
        (b"upgrade", WEBSOCKET),
        VERSION,
        (KEY, new_key()),
    ]
    if subprotocols:
        fields.append((PROTOCOL, ", ".join(subprotocols).encode()))
    if deflate:
        fields.append((EXTENSIONS, build_extension([(_DEFLATE, list(_client_deflate.get_request_params()))]).encode()))
    return tuple(fields)


def granted(request: Sequence[Header], head: ResponseHead) -> tuple[str, Compression | None]:
    """What a service's answer to these fields agrees on: subprotocol and compression. Raises BadUpstream."""
    wanted = dict(request)
    if [value for name, value in head.headers if name == ACCEPT] != [accept_of(wanted[KEY])]:
        raise BadUpstream("sec-websocket-accept: does not answer the key")
    chosen = [value for name, value in head.headers if name == PROTOCOL]
    offered = [name.strip() for name in wanted.get(PROTOCOL, b"").split(b",")]
    if len(chosen) > 1 or (chosen and chosen[0] not in offered):
        raise BadUpstream("sec-websocket-protocol: what was not offered")
    subprotocol = chosen[0].decode("latin-1") if chosen else ""
    compression = None
    try:
        for name, parameters in _extensions([value for field, value in head.headers if field == EXTENSIONS]):
            if name != _DEFLATE or EXTENSIONS not in wanted or compression is not None:
                raise BadUpstream("sec-websocket-extensions: what was not offered")
            compression = _compression(_client_deflate.process_response_params(parameters, []))
    except InvalidHandshake as error:
        raise BadUpstream(f"sec-websocket-extensions: {error}") from error
    return subprotocol, compression
