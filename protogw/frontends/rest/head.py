"""What a request's fields say, read once: metadata, deadline, and what the client takes and sends."""

from __future__ import annotations

import math
import re
from enum import Enum

from protogw.call import Metadata
from protogw.errors import InvalidRequest
from protogw.wire import ndjson
from protogw.wire.content import Preference, choose_coding, preferences, quality_of
from protogw.wire.grpc import decode_timeout
from protogw.wire.http import RequestHead
from protogw.wire.metadata import forwardable


class Form(Enum):
    """How a reply is written."""

    JSON = b"application/json"
    PROTO = b"application/x-protobuf"
    ARRAY = b"application/json; array"
    NDJSON = b"application/x-ndjson"
    SSE = b"text/event-stream"


_UNARY = {b"application/json": Form.JSON, b"application/x-protobuf": Form.PROTO, b"application/protobuf": Form.PROTO}
_STREAM = {
    b"application/json": Form.ARRAY,
    b"text/event-stream": Form.SSE,
    **dict.fromkeys(sorted(ndjson.MEDIA_TYPES), Form.NDJSON),
}
_READ = frozenset((b"accept", b"accept-encoding", b"content-encoding", b"te", b"grpc-timeout", b"x-server-timeout"))
_SECONDS = re.compile(rb"[0-9]{1,10}(?:\.[0-9]{0,9})?")


class Facts:
    """The meaning of one set of header fields; immutable, so equal requests share it.

    `unary` and `stream` are the forms that Accept asks for, None when it takes none of those offered.
    """

    __slots__ = ("coding", "content_encoding", "fault", "metadata", "stream", "timeout", "trailers", "unary")

    def __init__(self, head: RequestHead) -> None:
        accept: list[bytes] = []
        self.timeout: float | None = None
        self.trailers = False
        self.coding = b""
        self.content_encoding = b""
        self.fault: str = ""
        # Of most requests no field means anything here.
        read = () if _READ.isdisjoint(head.first) else head.headers
        for name, value in read:
            if name == b"accept":
                accept.append(value)
            elif name == b"accept-encoding":
                self.coding = choose_coding(value)
            elif name == b"content-encoding":
                self.content_encoding = self.content_encoding + b", " + value if self.content_encoding else value
            elif name == b"te":
                self.trailers = b"trailers" in [part.partition(b";")[0].strip().lower() for part in value.split(b",")]
            elif name == b"grpc-timeout":
                try:
                    self.timeout = decode_timeout(value)
                except ValueError as error:
                    self.fault = str(error)
            elif name == b"x-server-timeout":
                if _SECONDS.fullmatch(value) is None:
                    self.fault = "x-server-timeout: not a number of seconds"
                else:
                    self.timeout = float(value)
        if self.timeout is not None and not math.isfinite(self.timeout):
            self.timeout = None
        self.unary, self.stream = negotiate(b",".join(accept))
        self.metadata = Metadata(forwardable(head.headers))

    def check(self) -> None:
        """Raises InvalidRequest for a field that cannot be understood."""
        if self.fault:
            raise InvalidRequest(self.fault)


def negotiate(accept: bytes) -> tuple[Form | None, Form | None]:
    """The forms for a unary and for a streamed reply that an Accept field wants most."""
    if not accept.strip() or accept == b"*/*" or accept == b"application/json":
        return Form.JSON, Form.ARRAY
    wanted = preferences(accept)
    return _best(_UNARY, wanted), _best(_STREAM, wanted)


def _best(offers: dict[bytes, Form], wanted: list[Preference]) -> Form | None:
    best = max(offers, key=lambda offer: quality_of(offer, wanted))
    return offers[best] if quality_of(best, wanted) > 0 else None
