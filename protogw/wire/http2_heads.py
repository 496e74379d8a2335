"""HTTP/2 field sections to heads, with the checks of RFC 9113 section 8. Sans-I/O.

The functions take lists whose names and values are well-formed (hpack.Decoder sees to it) and raise MalformedFields,
for which the stream is reset with PROTOCOL_ERROR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protogw.wire.hpack import MalformedFields
from protogw.wire.http import HTTP_2, Header, RequestHead, ResponseHead

_NOT_A_PATH = re.compile(rb"[\x00-\x20\x7f#]").search
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]+").fullmatch  # RFC 3986 section 3.2 without userinfo
_STATUS = re.compile(rb"[1-9][0-9][0-9]").fullmatch

_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)  # RFC 9113 section 8.2.2
_NOTED = _CONNECTION_SPECIFIC | frozenset((b"te", b"content-length", b"content-type", b"cookie", b"host", b"expect"))

_REFUSED_METHODS = {b"CONNECT": 501, b"TRACE": 405}
_MOST_DIGITS = 18  # of a Content-Length


class Http2RequestHead(RequestHead):
    """A request's head and what the stream must know of it.

    `length` is what it declares (-1: nothing); `refusal` the status of requests that no server here takes, or 0.
    """

    __slots__ = ("expects_continue", "length", "refusal")

    length: int
    expects_continue: bool
    refusal: int


class Http2ResponseHead(ResponseHead):
    """A response's head and the length it declares (-1: none)."""

    __slots__ = ("length",)

    length: int


def request_head(fields: list[Header]) -> Http2RequestHead | tuple[Header, ...]:
    """The head of a request; or, as the section has no pseudo-header fields, its trailers."""
    if not fields or fields[0][0][0] != 0x3A:
        return trailers(fields)
    method = scheme = path = authority = host = content_type = None
    length = -1
    cookies: list[bytes] | None = None
    expects = False
    headers: list[Header] = []
    for pair in fields:
        name, value = pair
        if name[0] == 0x3A:
            if headers or host is not None or cookies is not None:
                raise MalformedFields("a pseudo-header field after a regular field")
            if name == b":method" and method is None:
                method = value
            elif name == b":path" and path is None:
                path = value
            elif name == b":scheme" and scheme is None:
                scheme = value
            elif name == b":authority" and authority is None:
                authority = value
            else:
                raise MalformedFields("a pseudo-header field that is unknown or given twice")
            continue
        if name in _NOTED:
            if name == b"content-type":
                if content_type is not None:
                    raise MalformedFields("content-type is given twice")
                content_type = value
            elif name == b"te":
                if value.lower() != b"trailers":
                    raise MalformedFields("te may only be trailers")
            elif name == b"content-length":
                if length >= 0:
                    raise MalformedFields("content-length is given twice")
                length = content_length(value)
            elif name == b"cookie":
                # Crumbs are one field again for everyone behind (section 8.2.3).
                cookies = [value] if cookies is None else [*cookies, value]
                continue
            elif name == b"host":
                if host is not None:
                    raise MalformedFields("host is given twice")
                host = value
                continue
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
            else:
                raise MalformedFields(f"{name.decode()} has no place in HTTP/2")
        headers.append(pair)
    if method is None or not _METHOD(method):
        raise MalformedFields("no method that is a token")
    if authority is None:
        authority = host
    elif host is not None and host.lower() != authority.lower():
        raise MalformedFields("host differs from :authority")
    if authority is None or not _AUTHORITY(authority):
        raise MalformedFields("no authority that is a host and port")
    if method == b"CONNECT":
        if scheme is not None or path is not None:
            raise MalformedFields("CONNECT with a scheme or path")
        scheme = path = b""
    elif scheme is None or not _SCHEME(scheme):
        raise MalformedFields("no scheme")
    elif not path or _NOT_A_PATH(path) or (path[0] != 0x2F and (path != b"*" or method != b"OPTIONS")):
        raise MalformedFields("no path that starts with a slash")
    if cookies is not None:
        headers.append((b"cookie", b"; ".join(cookies)))
    path, _, query = path.partition(b"?")
    head = Http2RequestHead(method, path, query, authority, tuple(headers), HTTP_2, scheme, content_type or b"")
    head.length = length
    head.expects_continue = expects
    head.refusal = _REFUSED_METHODS.get(method, 0)
    return head


def response_head(fields: list[Header]) -> Http2ResponseHead | tuple[Header, ...]:
    """The head of a response; or, as the section has no pseudo-header fields, its trailers."""
    if not fields or fields[0][0][0] != 0x3A:
        return trailers(fields)
    name, status = fields[0]
    if name != b":status" or not _STATUS(status):
        raise MalformedFields("no status of three digits")
    length = -1
    for name, value in fields[1:]:
        if name[0] == 0x3A:
            raise MalformedFields("a pseudo-header field besides :status")
        if name in _NOTED:
            if name in _CONNECTION_SPECIFIC:
                raise MalformedFields(f"{name.decode()} has no place in HTTP/2")
            if name == b"content-length":
                if length >= 0:
                    raise MalformedFields("content-length is given twice")
                length = content_length(value)
    head = Http2ResponseHead(int(status), tuple(fields[1:]))
    head.length = length
    return head


def trailers(fields: Sequence[Header]) -> tuple[Header, ...]:
    """A trailer section: no pseudo-header fields, nothing connection-specific (sections 8.1 and 8.2.2)."""
    for name, _ in fields:
        if name[0] == 0x3A:
            raise MalformedFields("a pseudo-header field among trailers or after a regular field")
        if name in _CONNECTION_SPECIFIC:
            raise MalformedFields(f"{name.decode()} has no place in HTTP/2")
    return tuple(fields)


def content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise MalformedFields("content-length is not a number")
    return int(value)
