"""Statuses as plain HTTP errors: the HTTP status, the fields that go with it, and the JSON body in one of three styles.

`google`: google.rpc.Status as JSON, {"code": 5, "message": …, "details": […]}.
`aip193`: {"error": {"code": 404, "message": …, "status": "NOT_FOUND", "details": […]}} (google.aip.dev/193).
`problem`: application/problem+json (RFC 9457), with the Code's name and the details as extensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Literal, TypeAlias

import orjson

from protogw.descriptors.model import Type
from protogw.errors import Code, GatewayError, NotOffered, Status
from protogw.wire.http import Header
from protogw.wire.http_status import http_status
from protogw.wire.protojson_details import detail_to_json
from protogw.wire.protowire import fields

Style: TypeAlias = Literal["google", "aip193", "problem"]
Types: TypeAlias = Callable[[str], Type | None]

_RETRY_INFO = "google.rpc.RetryInfo"
_MEDIA: dict[Style, Header] = {
    "google": (b"content-type", b"application/json"),
    "aip193": (b"content-type", b"application/json"),
    "problem": (b"content-type", b"application/problem+json"),
}


def body(style: Style, status: Status, http: int, types: Types) -> bytes:
    """The error as JSON. Never raises: what cannot be printed is shown as bytes."""
    message = orjson.dumps(status.message.encode("utf-8", "replace").decode("utf-8"))
    details = b",".join([detail_to_json(detail, types) for detail in status.details])
    name = _name(status.code)
    if style == "google":
        return b'{"code":%d,"message":%b,"details":[%b]}' % (status.code, message, details)
    if style == "aip193":
        return b'{"error":{"code":%d,"message":%b,"status":"%b","details":[%b]}}' % (http, message, name, details)
    title = orjson.dumps(_phrase(http))
    return b'{"type":"about:blank","title":%b,"status":%d,"detail":%b,"code":"%b","details":[%b]}' % (
        title,
        http,
        message,
        name,
        details,
    )


def record(style: Style, body: bytes) -> bytes:
    """The last record of a stream that failed: the error, always under "error"."""
    return body if style == "aip193" else b'{"error":%b}' % body


def headers(style: Style, status: Status, more: tuple[Header, ...]) -> tuple[Header, ...]:
    """The fields of an error's head; those in `more` win over what would be derived."""
    found: tuple[Header, ...] = (_MEDIA[style], *more)
    code = status.code
    if code is Code.UNAUTHENTICATED:
        if not any(name == b"www-authenticate" for name, _ in more):
            found += ((b"www-authenticate", b"Bearer"),)
    elif (code is Code.RESOURCE_EXHAUSTED or code is Code.UNAVAILABLE) and status.details:
        delay = retry_delay(status)
        if delay is not None and not any(name == b"retry-after" for name, _ in more):
            found += ((b"retry-after", b"%d" % math.ceil(delay)),)
    return found


def http_status_of(error: GatewayError) -> int:
    """The error's own hint, or what its Code maps to; a path or method that is not offered is not found."""
    if error.http_status is not None:
        return error.http_status
    if isinstance(error, NotOffered):
        return 404
    return http_status(error.status.code)


def retry_delay(status: Status) -> float | None:
    """The seconds of a google.rpc.RetryInfo among the details (retry_delay = 1, a Duration), if it is sane."""
    for detail in status.details:
        if detail.type_url.rpartition("/")[2] != _RETRY_INFO:
            continue
        seconds = nanos = 0
        try:
            for number, value in fields(detail.value):
                if number == 1 and isinstance(value, bytes):
                    for part, amount in fields(value):
                        if part == 1 and isinstance(amount, int):
                            seconds = amount
                        elif part == 2 and isinstance(amount, int):
                            nanos = amount
        except ValueError:
            return None
        return seconds + nanos / 1e9 if 0 <= seconds <= 315_576_000_000 and 0 <= nanos < 1_000_000_000 else None
    return None


def _name(code: int) -> bytes:
    return code.name.encode() if isinstance(code, Code) else b"UNKNOWN"


def _phrase(http: int) -> str:
    if http == 499:
        return "Client Closed Request"
    try:
        return HTTPStatus(http).phrase
    except ValueError:
        return "Error"
