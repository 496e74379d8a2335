"""Which request paths are refused because two parties could read them differently.

The policy, for every path: it starts with "/"; it holds no raw control, space or non-ASCII byte, no backslash (raw or
"%5C"), no NUL; every "%" begins a triplet; what it decodes to is UTF-8; no segment is empty except the last; and no
segment, split at "/" and "%2F" alike and ignoring a ";…" suffix, is "." or "..". Nothing is ever normalized: a path is
routed and sent on byte for byte as it came, or it is refused.

A path that is itself sent upstream (opaque HTTP) is held to more, because the upstream will split and decode it by
rules of its own: no "%2F", no ";" raw or encoded, no encoded control character, nothing that a second decoding
would turn into a separator, a dot segment or a NUL ("%252e%252e"), and no letter, digit, "-", ".", "_" or "~" that is
encoded twice or more ("%2561"): nobody needs that, and a service that decodes twice would see another name. A path that
only binds fields of a message may carry those, as values.

Percent-encoded ordinary characters ("/%61dmin") are allowed: literals are compared after decoding, so a route and the
upstream see the same name.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from protogw.errors import InvalidRequest

# No dot or ";" may begin a segment here and no "%" appears: such paths need no closer look.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,=:@\-][A-Za-z0-9._~!$&'()*+,=:@\-]*)+/?|/")
_ILLEGAL = re.compile(rb"[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})|[\\?#]")
_DOTS = re.compile(rb"(?:^|[/\\])\.{1,2}(?:;[^/\\]*)?(?:$|[/\\])")
_TWICE = re.compile(rb"%(?:25)*(?:2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""An unreserved character (RFC 3986 section 2.3) that is encoded still, in what is decoded already."""
_ENCODED_CONTROL = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")


def check_path(path: bytes, *, forwarded: bool = True) -> None:
    """Refuse a path that could be read in two ways; raises InvalidRequest.

    `forwarded` says that the path itself will be sent upstream, rather than only fill fields of a message.
    """
    if _PLAIN.fullmatch(path) is not None:
        return
    fault = _fault(path, forwarded)
    if fault:
        raise InvalidRequest(f"path: {fault}")


def _fault(path: bytes, forwarded: bool) -> str:
    if not path.startswith(b"/"):
        return 'it must start with "/"'
    if bad := _ILLEGAL.search(path):
        if bad.group() == b"%":
            return f"malformed percent-encoding at byte {bad.start()}"
        return f"illegal byte 0x{bad.group()[0]:02x} at byte {bad.start()}"
    if b"//" in path:
        return "an empty segment"
    decoded = unquote_to_bytes(path)
    if b"\0" in decoded:
        return "an encoded NUL"
    if b"\\" in decoded:
        return "a backslash"
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        return "percent-encoded bytes that are not UTF-8"
    if _DOTS.search(decoded):
        return "a dot segment"
    return _forwarded_fault(path, decoded) if forwarded else ""


def _forwarded_fault(path: bytes, decoded: bytes) -> str:
    if decoded.count(b"/") != path.count(b"/"):
        return "an encoded slash"
    if b";" in decoded:
        return "a path parameter"
    if _ENCODED_CONTROL.search(path):
        return "an encoded control character"
    if b"%" in decoded:
        twice = unquote_to_bytes(decoded)
        if (
            twice.count(b"/") != path.count(b"/")
            or b"\\" in twice
            or b"\0" in twice
            or b";" in twice
            or _DOTS.search(twice)
        ):
            return "doubly encoded separators or dots"
        if _TWICE.search(decoded) is not None:
            return "a doubly encoded character"
    return ""
