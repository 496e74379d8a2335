"""Every failure the gateway can name: one Code, where it came from, and whether trying again may help.

    GatewayError
    ├── InvalidRequest        the client's request cannot be understood          INVALID_ARGUMENT
    │   ├── UnsupportedMedia  ... its content type or codec is not offered       INVALID_ARGUMENT (HTTP 415)
    │   ├── BodyTooLarge      ... its body or message is over the limit          RESOURCE_EXHAUSTED (HTTP 413)
    │   └── Malformed         ... its bytes break the protocol                   INTERNAL as gRPC says, HTTP 400
    ├── NotOffered            no such method, path or verb                       UNIMPLEMENTED or NOT_FOUND
    ├── Unauthenticated       nobody vouches for the caller                      UNAUTHENTICATED
    ├── Forbidden             the caller may not do this                         PERMISSION_DENIED
    ├── LimitReached          a quota of the caller's is used up                 RESOURCE_EXHAUSTED
    ├── DeadlineExceeded      the call's deadline passed                         DEADLINE_EXCEEDED
    ├── UpstreamError         the service side failed
    │   ├── Unreachable       no connection could be made; nothing was sent      UNAVAILABLE, retryable
    │   ├── Unprocessed       the peer says that it did not process the call     UNAVAILABLE, retryable
    │   ├── UpstreamReset     the connection or stream died after sending        UNAVAILABLE
    │   └── BadUpstream       the reply breaks its protocol                      INTERNAL / UNKNOWN (HTTP 502)
    ├── Overloaded            a bounded queue or pool of ours is full            RESOURCE_EXHAUSTED/UNAVAILABLE
    │   └── CircuitOpen       ... calls of the service fail, so it gets none     UNAVAILABLE
    └── InternalError         our own fault; the client learns no more           INTERNAL

Imports nothing of ours. Only a front end turns one of these into bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import lru_cache
from typing import ClassVar, NamedTuple


class Code(IntEnum):
    """The status vocabulary of every call: google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Source(Enum):
    """Who is at fault."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


class Detail(NamedTuple):
    """One google.protobuf.Any of a status: the type URL and the serialized message."""

    type_url: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended: google.rpc.Status.

    `serialized` is that message as the upstream itself sent it, so that it can travel on byte for byte. `pushback_s` is
    when the upstream itself says that the call may be tried again, less than 0 for never; None when it says nothing.
    """

    code: Code = Code.OK
    message: str = ""
    details: tuple[Detail, ...] = ()
    serialized: bytes | None = field(default=None, compare=False, repr=False)
    pushback_s: float | None = field(default=None, compare=False, repr=False)


OK = Status()


class GatewayError(Exception):
    """A failure with its Code, source, and whether another try elsewhere is safe.

    `http_status` and `headers` are hints for front ends that answer over plain HTTP, where the protocol has
    a more exact answer than the Code's (413, 415, 405 with Allow, 502); other front ends ignore them.
    `where` it happened is for the log alone, in `message`: the status, which clients get, tells no address.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    source: ClassVar[Source] = Source.GATEWAY
    retryable: ClassVar[bool] = False
    http_status: int | None = None

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        details: tuple[Detail, ...] = (),
        http_status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        where: str = "",
    ) -> None:
        self.message = f"{where}: {message}" if where else message
        super().__init__(self.message)
        self.status = Status(self.code if code is None else code, message, details)
        self.headers = headers
        if http_status is not None:
            self.http_status = http_status


class InvalidRequest(GatewayError):
    """The client's request cannot be understood; the message names the field or header."""

    code = Code.INVALID_ARGUMENT
    source = Source.CLIENT


class UnsupportedMedia(InvalidRequest):
    """The request's content type, codec or encoding is not offered."""

    http_status = 415


class BodyTooLarge(InvalidRequest):
    """A body or message is larger than its limit, before or after decompression."""

    code = Code.RESOURCE_EXHAUSTED
    http_status = 413


class Malformed(InvalidRequest):
    """The request's bytes break the protocol (a truncated frame, a bad length)."""

    code = Code.INTERNAL
    http_status = 400


class NotOffered(GatewayError):
    """Nothing is offered under this method or path."""

    code = Code.UNIMPLEMENTED
    source = Source.CLIENT


class Unauthenticated(GatewayError):
    """Nobody vouches for the caller: no credential, or a bad one. `challenges` are what WWW-Authenticate says."""

    code = Code.UNAUTHENTICATED
    source = Source.CLIENT

    def __init__(self, message: str, *challenges: str) -> None:
        fields = tuple((b"www-authenticate", one.encode()) for one in challenges or ("Bearer",))
        super().__init__(message, headers=fields)


class Forbidden(GatewayError):
    """The caller is known, or need not be, and may not do this."""

    code = Code.PERMISSION_DENIED
    source = Source.CLIENT


class LimitReached(GatewayError):
    """A quota of the caller's is used up; `retry_after_s` is when some of it comes back.

    It is told as Retry-After over plain HTTP, and as google.rpc.RetryInfo everywhere.
    """

    code = Code.RESOURCE_EXHAUSTED
    source = Source.CLIENT

    def __init__(self, message: str, retry_after_s: float, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            message, details=_retry_detail(retry_after_s), headers=(_retry_header(retry_after_s), *headers)
        )


RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def _retry_header(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))


@lru_cache(256)
def _retry_detail(seconds: float) -> tuple[Detail, ...]:
    return (Detail(RETRY_INFO, _retry_info(seconds)),)


def _retry_info(seconds: float) -> bytes:
    """google.rpc.RetryInfo: field 1 is a google.protobuf.Duration, of seconds (1) and nanos (2)."""
    whole = int(seconds)
    nanos = int((seconds - whole) * 1e9)
    duration = b"".join(bytes((number << 3,)) + _varint(value) for number, value in ((1, whole), (2, nanos)) if value)
    return b"\x0a" + _varint(len(duration)) + duration


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class DeadlineExceeded(GatewayError):
    """The call's deadline passed."""

    code = Code.DEADLINE_EXCEEDED

    def __init__(self, message: str = "the deadline passed") -> None:
        super().__init__(message)


class UpstreamError(GatewayError):
    """The service side failed."""

    code = Code.UNAVAILABLE
    source = Source.UPSTREAM


class Unreachable(UpstreamError):
    """No connection could be made: nothing was sent."""

    retryable = True


class Unprocessed(UpstreamError):
    """The endpoint says it did not process the call (REFUSED_STREAM, above GOAWAY's last stream)."""

    retryable = True


class UpstreamReset(UpstreamError):
    """The connection or stream died after the request was sent and before the reply was whole."""

    http_status = 502


class BadUpstream(UpstreamError):
    """The endpoint's reply breaks its own protocol."""

    code = Code.INTERNAL
    http_status = 502


class Overloaded(GatewayError):
    """One of the gateway's own bounded queues, pools or limits is full.

    `retry_after_s`, where it can be told, goes to the client as LimitReached's does.
    """

    code = Code.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        retry_after_s: float | None = None,
        http_status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        where: str = "",
    ) -> None:
        self.retry_after_s = retry_after_s
        details: tuple[Detail, ...] = ()
        if retry_after_s is not None:
            details = _retry_detail(retry_after_s)
            headers = (_retry_header(retry_after_s), *headers)
        super().__init__(message, code=code, details=details, http_status=http_status, headers=headers, where=where)


class CircuitOpen(Overloaded):
    """Too many calls of this service have failed of late: for a while it gets none."""


class InternalError(GatewayError):
    """A fault of the gateway itself: the client is told no more than that."""

    code = Code.INTERNAL

    def __init__(self, message: str = "internal error") -> None:
        super().__init__(message)
