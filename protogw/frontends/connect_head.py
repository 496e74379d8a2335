"""What the head of a Connect request says: which method, in which codec and codings.

Source: connectrpc.com/docs/protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from protogw.call import Encoding, Metadata
from protogw.descriptors.model import Idempotency
from protogw.errors import InvalidRequest, NotOffered, UnsupportedMedia
from protogw.frontends.target import Target
from protogw.wire.connect import decode_base64, decode_query
from protogw.wire.content import decompress, media_type
from protogw.wire.http import HTTP_2, RequestHead
from protogw.wire.message_encoding import CONNECT_CODINGS, accepted_coding, named_coding
from protogw.wire.metadata import forwardable

if TYPE_CHECKING:
    from protogw.descriptors.catalog import Catalog
    from protogw.descriptors.model import Method

STREAM = b"application/connect+"
UNARY_TYPES: Mapping[bytes, Encoding] = MappingProxyType(
    {b"application/json": Encoding.JSON, b"application/proto": Encoding.PROTO}
)
STREAM_TYPES: Mapping[bytes, Encoding] = MappingProxyType(
    {b"application/connect+json": Encoding.JSON, b"application/connect+proto": Encoding.PROTO}
)
_GET_CODECS = MappingProxyType({b"json": b"application/json", b"proto": b"application/proto"})
_CODINGS_TEXT = ", ".join(coding.decode() for coding in CONNECT_CODINGS)

Compression = Literal["mirror", "always", "never"]


class ConnectTarget(Target):
    """A target that is a stream or not; `message` is set for a GET, whose message is in its head."""

    __slots__ = ("message", "streaming")

    def __init__(self, front: object, catalog: Catalog, method: Method, content_type: bytes, streaming: bool) -> None:
        encoding = (STREAM_TYPES if streaming else UNARY_TYPES)[content_type]
        super().__init__(front, catalog, method, encoding, ((b"content-type", content_type),))
        self.streaming = streaming
        self.message: bytes | None = None


def read_head(
    head: RequestHead, catalog: Catalog, front: object, limit: int, compression: Compression
) -> ConnectTarget:
    """Raises the GatewayError that the request is refused for."""
    content_type = media_type(head.content_type).type
    get = head.method == b"GET"
    method = catalog.methods.get(head.path)
    if method is None:
        path = head.path[1:201].decode("utf-8", "replace")
        # 404 and not 501: there is nothing at this address, as any HTTP client will say it.
        raise NotOffered(f"{path} is not offered", http_status=404)
    streaming = not method.unary
    safe = method.idempotency is Idempotency.NO_SIDE_EFFECTS and not streaming
    if head.method != b"POST" and not (get and safe):
        allow = b"GET, POST" if safe else b"POST"
        message = f"{method.full_name} is not called with {head.method[:20].decode('latin-1')}"
        raise NotOffered(message, http_status=405, headers=((b"allow", allow),))
    if len(head.get_all(b"content-type")) > 1:
        raise _unsupported("content-type: given more than once", streaming)
    query = {}
    if get:
        query = decode_query(head.query)
        encoding = query.get(b"encoding", b"")
        content_type = _GET_CODECS.get(encoding, b"")
        if not content_type:
            raise _unsupported(f"encoding: {encoding[:40].decode('latin-1')!r} is not one of json, proto", False)
    if content_type not in (STREAM_TYPES if streaming else UNARY_TYPES):
        said = content_type[:60].decode("latin-1")
        raise _unsupported(f"content-type: {method.full_name} is not called with {said!r}", streaming)
    if method.client_streaming and method.server_streaming and head.version < HTTP_2:
        raise InvalidRequest("bidirectional streams need HTTP/2", http_status=505)
    target = ConnectTarget(front, catalog, method, content_type, streaming)
    _read_fields(head, target, query.get(b"compression"), compression)
    if get:
        target.message = _message(query, target.coding, limit)
    return target


def _unsupported(message: str, streaming: bool) -> UnsupportedMedia:
    types = STREAM_TYPES if streaming else UNARY_TYPES
    return UnsupportedMedia(message, headers=((b"accept-post", b", ".join(types)),))


def _message(query: Mapping[bytes, bytes], coding: bytes, limit: int) -> bytes:
    """The message in a GET's query."""
    message = query.get(b"message")
    if message is None:
        raise InvalidRequest("message: not given")
    if query.get(b"base64") == b"1":
        message = decode_base64(message)
    return decompress(message, coding, limit)


def _read_fields(head: RequestHead, target: ConnectTarget, coding: bytes | None, compression: Compression) -> None:
    accepted = version = content_encoding = None
    encoding_name, accept_name = b"content-encoding", b"accept-encoding"
    if target.streaming:
        encoding_name, accept_name = b"connect-content-encoding", b"connect-accept-encoding"
    for name, value in head.headers:
        if name == encoding_name:
            coding = value
        elif name == accept_name:
            accepted = value
        elif name == b"connect-protocol-version":
            version = value
        elif name == b"content-encoding":
            content_encoding = value
    if version is not None and version != b"1":
        said = version[:20].decode("latin-1")
        raise InvalidRequest(f"connect-protocol-version: {said!r} is not 1")
    if target.streaming and named_coding(content_encoding, ()) is None:
        raise _unsupported("content-encoding: messages are compressed one by one in a stream", True)
    named = named_coding(coding, CONNECT_CODINGS)
    if named is None:
        said = (coding or b"")[:40].decode("latin-1")
        message = f"{encoding_name.decode()}: {said!r} is not one of identity, {_CODINGS_TEXT}"
        raise NotOffered(message, headers=((accept_name, b", ".join(CONNECT_CODINGS)),))
    target.coding = named
    # Who does not say what it accepts accepts what it uses.
    taken = named if accepted is None else accepted_coding(accepted, CONNECT_CODINGS)
    gzip = taken if accepted is None else accepted_coding(accepted, (b"gzip",))
    target.let_pass(gzip, compression != "never" and (taken == gzip or compression != "always"))
    if compression == "always" or (compression == "mirror" and named):
        target.reply_coding = taken
        if target.reply_coding and target.streaming:
            target.add_fields((encoding_name, target.reply_coding))
    target.metadata = Metadata(forwardable(head.headers))
