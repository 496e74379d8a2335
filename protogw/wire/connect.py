"""Connect's own: error codes by name, errors and end-of-stream as JSON, timeouts, the query of a GET. Sans-I/O.

Source: connectrpc.com/docs/protocol.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from protogw.errors import Code, InvalidRequest, Status
from protogw.wire.envelope import envelope
from protogw.wire.http import Header

END_STREAM = 0x02
"""The flag of the envelope that ends a reply's stream."""

CODE_NAMES = MappingProxyType(
    {
        Code.CANCELLED: "canceled",
        Code.UNKNOWN: "unknown",
        Code.INVALID_ARGUMENT: "invalid_argument",
        Code.DEADLINE_EXCEEDED: "deadline_exceeded",
        Code.NOT_FOUND: "not_found",
        Code.ALREADY_EXISTS: "already_exists",
        Code.PERMISSION_DENIED: "permission_denied",
        Code.RESOURCE_EXHAUSTED: "resource_exhausted",
        Code.FAILED_PRECONDITION: "failed_precondition",
        Code.ABORTED: "aborted",
        Code.OUT_OF_RANGE: "out_of_range",
        Code.UNIMPLEMENTED: "unimplemented",
        Code.INTERNAL: "internal",
        Code.UNAVAILABLE: "unavailable",
        Code.DATA_LOSS: "data_loss",
        Code.UNAUTHENTICATED: "unauthenticated",
    }
)
"""Every Code but OK, which is no error."""

Describe: TypeAlias = "Callable[[str, bytes], bytes | None]"
"""The JSON of a detail, given its type's full name and bytes, or None when the type is not known."""

_TIMEOUT = re.compile(rb"[0-9]{1,10}")


@lru_cache(maxsize=1024)
def decode_timeout(value: bytes) -> float:
    """The seconds of a Connect-Timeout-Ms; raises ValueError unless it is one to ten digits."""
    if _TIMEOUT.fullmatch(value) is None:
        raise ValueError(f"connect-timeout-ms: {value[:40].decode('latin-1')!r} is not 1 to 10 digits")
    return int(value) / 1e3


def _error(status: Status, describe: Describe | None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": CODE_NAMES[status.code]}
    if status.message:
        error["message"] = status.message.encode("utf-8", "replace").decode()
    if status.details:
        details = []
        for type_url, value in status.details:
            name = type_url.rpartition("/")[2]
            detail: dict[str, Any] = {"type": name, "value": base64.b64encode(value).rstrip(b"=").decode()}
            debug = describe(name, value) if describe is not None else None
            if debug is not None:
                detail["debug"] = orjson.Fragment(debug)
            details.append(detail)
        error["details"] = details
    return error


def error_body(status: Status, describe: Describe | None = None) -> bytes:
    """The JSON body of a unary error."""
    return orjson.dumps(_error(status, describe))


def end_stream(status: Status, trailers: Iterable[Header], describe: Describe | None = None) -> bytes:
    """The last envelope of a reply's stream: how it ended, and its trailers."""
    end: dict[str, Any] = {}
    if status.code is not Code.OK:
        end["error"] = _error(status, describe)
    metadata: dict[str, list[str]] = {}
    for name, value in trailers:
        metadata.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    if metadata:
        end["metadata"] = metadata
    return envelope(orjson.dumps(end), END_STREAM)


END_OK = end_stream(Status(), ())


def prefixed(trailers: Iterable[Header]) -> tuple[Header, ...]:
    """Trailers as a unary reply carries them: among its headers, under trailer- names."""
    return tuple([(b"trailer-" + name, value) for name, value in trailers])


def decode_query(query: bytes) -> dict[bytes, bytes]:
    """The parameters of a GET that are Connect's; others are ignored. Raises InvalidRequest for one given twice."""
    found: dict[bytes, bytes] = {}
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name in (b"connect", b"encoding", b"message", b"base64", b"compression"):
            if name in found:
                raise InvalidRequest(f"{name.decode()}: given more than once")
            found[name] = unquote_to_bytes(value.replace(b"+", b" "))
    return found


_BASE64URL = bytes.maketrans(b"-_", b"+/")


def decode_base64(text: bytes) -> bytes:
    """The bytes of a GET's message, in either base64 alphabet, padded or not; raises InvalidRequest."""
    bare = text.translate(_BASE64URL).rstrip(b"=")
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error as error:
        raise InvalidRequest(f"message: not base64 ({error})") from error
