"""What a REST service's reply says: its head, and its errors by meaning.

A service is no broken intermediary: its 404 says that something was not found, so gRPC's table for intermediaries does
not apply. An error body that is google.rpc.Status (plain, or in `error` as Google's public APIs have it, AIP-193), a
Connect error, or a problem (RFC 9457) says more than the HTTP status, and wins.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from protogw.aside import decompressed
from protogw.call import NO_METADATA, Metadata
from protogw.descriptors.model import Type
from protogw.errors import BadUpstream, Code, Detail, GatewayError, Status
from protogw.wire import ndjson
from protogw.wire.content import media_type
from protogw.wire.http import ResponseHead
from protogw.wire.metadata import forwardable
from protogw.wire.protowire import VARINT, delimited, tag, varint
from protogw_translators.error_records import bounded, code_of, parsed_object, read_error

BODY_BYTES = 4096
"""How much of an error's body is passed on as a detail: all details must fit into a client's header limits."""

_HTTP_BODY_URL = "type.googleapis.com/google.api.HttpBody"
_RETRY_INFO_URL = "type.googleapis.com/google.rpc.RetryInfo"
_RETRY_MOST_S = 365 * 86_400


class ReplyHead:
    """What a reply's head says, kept in its memo."""

    __slots__ = ("coding", "content_type", "json", "media", "metadata", "ok", "protobuf", "status")

    def __init__(self, head: ResponseHead) -> None:
        self.status = status = head.status
        self.ok = 200 <= status < 300
        pairs = forwardable(head.headers)
        if not self.ok:
            # Where a redirect points to is nobody's business but the service's.
            pairs = tuple(pair for pair in pairs if pair[0] != b"location")
        self.metadata = Metadata(pairs) if pairs else NO_METADATA
        self.content_type = head.get(b"content-type") or b""
        self.media, charset = media_type(self.content_type)
        utf8 = charset in (b"", b"utf-8", b"utf8", b"us-ascii")
        self.json = utf8 and (not self.media or _is_json(self.media))
        self.protobuf = self.media in (b"application/x-protobuf", b"application/protobuf")
        # Some servers say "none" so that no proxy compresses a stream of events.
        codings = [value for name, value in head.headers if name == b"content-encoding" and value.lower() != b"none"]
        self.coding = b", ".join(codings)

    def check(self) -> None:
        """Raises BadUpstream for what is neither success nor failure."""
        status = self.status
        if 300 <= status < 400:
            raise BadUpstream(f"the upstream answered HTTP {status}, a redirect, which calls do not follow")
        if not self.ok and not 400 <= status < 600:
            raise BadUpstream(f"the upstream answered HTTP {status}, which is no final answer")


def _is_json(media: bytes) -> bool:
    return media in (b"application/json", b"text/json") or media.endswith(b"+json") or media in ndjson.MEDIA_TYPES


def reply_head(head: ResponseHead) -> ReplyHead:
    """What a head says, read once for all replies that share it."""
    memo = head.memo
    if memo.__class__ is not ReplyHead:
        memo = head.memo = ReplyHead(head)
    assert isinstance(memo, ReplyHead)
    return memo


async def decoded(head: ReplyHead, body: bytes, limit: int) -> bytes:
    """The body without its content coding; raises BadUpstream."""
    if not head.coding:
        return body
    try:
        return await decompressed(body, head.coding, limit)
    except GatewayError as error:
        raise bad_reply(error) from error


def bad_reply(error: GatewayError) -> BadUpstream:
    """A reader's fault, which was made for requests, as the upstream's."""
    code = error.status.code if error.status.code is Code.RESOURCE_EXHAUSTED else None
    return BadUpstream(f"the upstream's reply: {error.message}", code=code)


# ---- errors


def error_status(
    head: ReplyHead, head_fields: ResponseHead, body: bytes, verb: bytes, types: Mapping[str, Type]
) -> Status:
    """The Status of a reply that is no success; never raises for what the body holds."""
    code = code_of(head.status, verb)
    message = ""
    details: list[Detail] = []
    lost = True
    said = parsed_object(body) if head.json and body else None
    if said is not None:
        code, message, lost = read_error(said, code, verb, details, types)
    elif body and head.media == b"text/plain":
        message = bounded(body.decode("utf-8", "replace"))
    if not message:
        message = f"the upstream answered HTTP {head.status}"
    if lost and body:
        details.append(Detail(_HTTP_BODY_URL, delimited(1, head.content_type) + delimited(2, body[:BODY_BYTES])))
    if head.status in (429, 503) and not any(detail.type_url == _RETRY_INFO_URL for detail in details):
        wait = _retry_after(head_fields.get(b"retry-after"))
        if wait is not None:
            duration = tag(1, VARINT) + varint(wait) if wait else b""
            details.append(Detail(_RETRY_INFO_URL, delimited(1, duration)))
    return Status(code, message, tuple(details))


def _retry_after(value: bytes | None) -> int | None:
    """Seconds until another try is welcome (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    if value.isdigit() and len(value) < 12:
        return min(int(value), _RETRY_MOST_S)
    try:
        when = parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0, round(when - time.time())), _RETRY_MOST_S)
