"""HTTP/2 field sections to heads, with the checks of RFC 9113 section 8. Sans-I/O.

The functions take lists whose names and values are well-formed (hpack.Decoder sees to it) and raise MalformedFields,
for which the stream is reset with PROTOCOL_ERROR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protogw.wire.hpack import PSEUDO_NAMES, MalformedFields
from protogw.wire.http import HTTP_2, UPGRADES, Header, RequestHead, ResponseHead, is_token
from protogw.wire.http1_chunked import UNTRUSTED_TRAILERS

_NOT_A_PATH = re.compile(rb"[\x00-\x20\x7f#]").search
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]+").fullmatch  # RFC 3986 section 3.2 without userinfo
_STATUS = re.compile(rb"[1-9][0-9][0-9]").fullmatch

_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)  # RFC 9113 section 8.2.2
_NOTED = (
    frozenset((b"te", b"content-length", b"content-type", b"cookie", b"host", b"expect"))
    | _CONNECTION_SPECIFIC
    | PSEUDO_NAMES
)

# What is nearly always there needs no expression run over it.
_METHODS = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"))
_SCHEMES = frozenset((b"http", b"https"))
_authorities: set[bytes] = set()

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
    method = scheme = path = authority = host = content_type = protocol = None
    length = -1
    cookies: list[bytes] | None = None
    expects = False
    headers: list[Header] = []
    count = 0
    for name, value in fields:
        if name == b":path" and path is None:
            path = value
        elif name == b":method" and method is None:
            method = value
        elif name == b":scheme" and scheme is None:
            scheme = value
        elif name == b":authority" and authority is None:
            authority = value
        elif name == b":protocol" and protocol is None:
            protocol = value
        elif name in PSEUDO_NAMES:
            raise MalformedFields("a pseudo-header field given twice, or of something else")
        else:
            break
        count += 1
    for pair in fields[count:]:
        name, value = pair
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
            elif name in PSEUDO_NAMES:
                raise MalformedFields("a pseudo-header field after a regular field")
            else:
                raise MalformedFields(f"{name.decode()} has no place in HTTP/2")
        headers.append(pair)
    if method is None or (method not in _METHODS and not is_token(method)):
        raise MalformedFields("no method that is a token")
    if authority is None:
        authority = host
    elif host is not None and host.lower() != authority.lower():
        raise MalformedFields("host differs from :authority")
    if authority is None or (authority not in _authorities and not _is_authority(authority)):
        raise MalformedFields("no authority that is a host and port")
    refusal = _REFUSED_METHODS.get(method, 0)
    upgrade = b""
    if protocol is not None:
        if method != b"CONNECT":
            raise MalformedFields(":protocol without CONNECT")
        if length >= 0:
            raise MalformedFields("content-length of what is no body")
        # What HTTP/1.1 asks with GET and Upgrade: whoever routes or judges it sees one request, however it came.
        method = b"GET"
        upgrade = protocol.lower()
        refusal = 0 if upgrade in UPGRADES else 501
    if method == b"CONNECT":
        if scheme is not None or path is not None:
            raise MalformedFields("CONNECT with a scheme or path")
        scheme = path = b""
    elif scheme is None or (scheme not in _SCHEMES and not _SCHEME(scheme)):
        raise MalformedFields("no scheme")
    elif not path or _NOT_A_PATH(path) or (path[0] != 0x2F and (path != b"*" or method != b"OPTIONS")):
        raise MalformedFields("no path that starts with a slash")
    if cookies is not None:
        headers.append((b"cookie", b"; ".join(cookies)))
    path, _, query = path.partition(b"?")
    head = Http2RequestHead(
        method, path, query, authority, tuple(headers), HTTP_2, scheme, content_type or b"", upgrade
    )
    head.length = length
    head.expects_continue = expects
    head.refusal = refusal
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
        if name in _NOTED:
            if name in PSEUDO_NAMES:
                raise MalformedFields("a pseudo-header field besides :status")
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
    """A trailer section: no pseudo-header fields, nothing connection-specific (sections 8.1 and 8.2.2).

    Fields that only mean something in a head, or that decide who a caller is, are dropped (RFC 9110 section 6.5.1).
    """
    untrusted = False
    for name, _ in fields:
        if name in PSEUDO_NAMES:
            raise MalformedFields("a pseudo-header field among trailers or after a regular field")
        if name in _CONNECTION_SPECIFIC:
            raise MalformedFields(f"{name.decode()} has no place in HTTP/2")
        if name in UNTRUSTED_TRAILERS:
            untrusted = True
    if untrusted:
        return tuple([pair for pair in fields if pair[0] not in UNTRUSTED_TRAILERS])
    return tuple(fields)


def _is_authority(authority: bytes) -> bool:
    if _AUTHORITY(authority) is None:
        return False
    if len(authority) < 256:
        if len(_authorities) >= 1024:
            _authorities.clear()
        _authorities.add(authority)
    return True


def content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise MalformedFields("content-length is not a number")
    return int(value)
