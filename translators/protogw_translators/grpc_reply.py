"""What the head and the end of a gRPC reply say, and everything that can be wrong with either.

Sources: grpc/doc PROTOCOL-HTTP2.md, statuscodes.md, http-grpc-status-mapping.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from protogw.aside import opened
from protogw.call import NO_METADATA, Encoding, GzipPayload, Metadata, Payload
from protogw.errors import OK, BadUpstream, Code, Status, UpstreamError
from protogw.wire.envelope import EnvelopeReader
from protogw.wire.grpc import CODE_OF_HTTP, read_status
from protogw.wire.http import Header, ResponseHead
from protogw.wire.message_encoding import GRPC_CODINGS, accepted_coding, named_coding
from protogw.wire.metadata import forwardable

if TYPE_CHECKING:
    from protogw.descriptors.model import Codec


class End(NamedTuple):
    """How a reply ended."""

    status: Status
    trailers: Metadata


class ReplyHead:
    """What a reply's head says, kept in its memo; and how the last reply with this head ended."""

    __slots__ = ("coding", "end", "fault", "fields", "metadata", "trailers")

    def __init__(self, head: ResponseHead) -> None:
        self.metadata = _metadata(head.headers)
        self.fields = head.headers
        self.coding = b""
        self.fault: tuple[type[UpstreamError], str, Code] | None = None
        # Equal trailers are one object for as long as the connection decodes them from one block.
        self.trailers: tuple[Header, ...] | None = None
        self.end = End(OK, NO_METADATA)
        content_type = (head.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if head.status != 200:
            code = CODE_OF_HTTP.get(head.status, Code.UNKNOWN)
            self.fault = (UpstreamError, f"the upstream answered HTTP {head.status} without a grpc-status", code)
        elif content_type not in (b"application/grpc", b"application/grpc+proto"):
            said = content_type[:60].decode("latin-1")
            code = Code.INTERNAL if content_type.startswith(b"application/grpc+") else Code.UNKNOWN
            self.fault = (BadUpstream, f"the upstream's content type is {said!r}, not application/grpc", code)
        else:
            coding = named_coding(head.get(b"grpc-encoding"), GRPC_CODINGS)
            if coding is None:
                self.fault = (BadUpstream, "the upstream's grpc-encoding was not offered to it", Code.INTERNAL)
            else:
                self.coding = coding

    def check(self) -> None:
        """Raise what is wrong with the head, unless the reply turns out to be Trailers-Only."""
        if self.fault is not None:
            kind, message, code = self.fault
            raise kind(message, code=code)

    def end_of(self, trailers: tuple[Header, ...], bare: bool) -> End:
        """The end that `trailers` say; `bare` when there was no message, so that the head may be Trailers-Only."""
        if trailers is self.trailers:
            return self.end
        if trailers:
            status = read_status(trailers)
            if status is None:
                raise BadUpstream("the upstream's trailers have no grpc-status", code=Code.UNKNOWN)
            end = End(status, _metadata(trailers))
            self.trailers = trailers
            self.end = end
            return end
        if bare:
            status = read_status(self.fields)
            if status is not None:
                return End(status, self.metadata)
        self.check()
        raise BadUpstream("the upstream ended its reply without a grpc-status")

    @property
    def has_status(self) -> bool:
        """The head may be that of a Trailers-Only reply."""
        return any(name == b"grpc-status" for name, _ in self.fields)


def _metadata(fields: tuple[Header, ...]) -> Metadata:
    pairs = forwardable(fields)
    return Metadata(pairs) if pairs else NO_METADATA


def reply_head(head: ResponseHead) -> ReplyHead:
    """What a head says, read once for all replies that share it."""
    memo = head.memo
    if memo.__class__ is not ReplyHead:
        memo = head.memo = ReplyHead(head)
    assert isinstance(memo, ReplyHead)
    return memo


_NO_GZIP = re.compile(r"decompressor|grpc-encoding", re.IGNORECASE)


def refuses_gzip(head: ReplyHead, status: Status) -> bool:
    """Whether a reply says that the service reads no gzip: by what it accepts, or in words where it does not list it
    (compression.md wants the list; not every server sends it)."""
    if status.code is not Code.UNIMPLEMENTED:
        return False
    for name, value in head.fields:
        if name == b"grpc-accept-encoding":
            return not accepted_coding(value, GRPC_CODINGS)
    return _NO_GZIP.search(status.message) is not None


async def reply_message(head: ReplyHead, flags: int, data: bytes, limit: int, codec: Codec, pass_gzip: bool) -> Payload:
    """The message of one envelope; raises BadUpstream or BodyTooLarge."""
    if not flags:
        return Payload(data, Encoding.PROTO, codec)
    message = await opened(flags, data, head.coding, limit, BadUpstream)
    if pass_gzip and data:
        return GzipPayload(message, Encoding.PROTO, codec, data)
    return Payload(message, Encoding.PROTO, codec)


async def only_reply(head: ReplyHead, body: bytes, limit: int, codec: Codec, pass_gzip: bool) -> Payload:
    """The one message of a body that is not simply one uncompressed message (statuscodes.md: else UNIMPLEMENTED)."""
    reader = EnvelopeReader(limit, BadUpstream)
    reader.push(body)
    found = reader.next()
    if found is None:
        reader.end()
        raise BadUpstream("the upstream's reply is OK but has no message", code=Code.UNIMPLEMENTED)
    if not reader.empty:
        raise BadUpstream("the upstream's reply has more than one message", code=Code.UNIMPLEMENTED)
    return await reply_message(head, *found, limit, codec, pass_gzip)
