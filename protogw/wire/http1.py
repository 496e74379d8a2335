"""HTTP/1.1 heads, strict: what a head must be before anything acts on it (RFC 9112). Sans-I/O.

A head is handled whole: what RFC 9112 generates is accepted and nothing else (no bare CR or LF, no obs-fold, no space
before a colon). Lenient parsers are how two servers come to see two requests in the same bytes. Clients that keep a
connection may send the same head again and again, so the caller may look a head up by its bytes instead (`remember`);
`RequestHead` is then shared.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from protogw.errors import BadUpstream, GatewayError, InvalidRequest, NotOffered
from protogw.wire.http import HTTP_1_0, HTTP_1_1, UPGRADES, Header, RequestHead, ResponseHead, is_token
from protogw.wire.recurring import ByName, Recurring

CHUNKED, UNTIL_CLOSE = -1, -2
"""Body lengths that no Content-Length tells."""

CACHED_HEADS = 256
_CACHED_HEAD_BYTES = 2 << 10
_STATUS_LINE_BYTES = 4 << 10
_LINE_OVERHEAD = 32 + len(b"  HTTP/1.1\r\n")
"""The request line less its target."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n")
_FIELD_LINES = re.compile(rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_METHOD_BEGUN = re.compile(_TOKEN + rb"{1,32}(?: |\Z)")
_NAME = re.compile(_TOKEN + rb"+(?=[ \t]*:)")
# Neither user information nor sub-delimiters nor percent-encoding: nothing that another parser could read as a path.
_AUTHORITY = re.compile(rb"(?:[0-9A-Za-z\-._~]+|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ABSOLUTE_FORM = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")

METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS "
    b"PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK "
    b"UNSUBSCRIBE".split()
)
"""Methods that are passed on."""

_FRAMING: Final = frozenset(b"content-length transfer-encoding connection upgrade te expect".split())
"""Fields that say how a message is framed, and what becomes of its connection."""

_ALLOW = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)

T = TypeVar("T")


class Request:
    """A parsed request head and how its body is framed."""

    __slots__ = ("expects_continue", "head", "keep_alive", "length", "trailers_wanted")

    def __init__(
        self, head: RequestHead, length: int, keep_alive: bool, expects_continue: bool, trailers_wanted: bool
    ) -> None:
        self.head = head
        self.length = length
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.trailers_wanted = trailers_wanted


class Response:
    """A parsed response head and how its body is framed, where the request's method and the status allow one."""

    __slots__ = ("head", "keep_alive", "length")

    def __init__(self, head: ResponseHead, length: int, keep_alive: bool) -> None:
        self.head = head
        self.length = length
        self.keep_alive = keep_alive


class CheckedHead(bytes):
    """A request line and field lines of a request to be sent, known to be well-formed and without framing fields."""


class HeadBounds:
    """How large a head may be."""

    __slots__ = ("header_bytes", "header_count", "target_bytes")

    def __init__(self, target_bytes: int = 16 << 10, header_bytes: int = 64 << 10, header_count: int = 200) -> None:
        self.target_bytes = target_bytes
        self.header_bytes = header_bytes
        self.header_count = header_count


def remember(cache: Recurring[bytes, T], raw: bytes, parsed: T) -> None:
    """Keep what `raw` parsed to, if it comes again. Large heads are not kept."""
    if len(raw) <= _CACHED_HEAD_BYTES:
        cache.keep(raw, parsed)


_PLAIN: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
_LINE_END: Final = b"\r\n"


def _lower_name(name: bytes) -> bytes:
    """A field's name in lower case; empty when it is no token."""
    return name.lower() if is_token(name) is not None else b""


_names: Final = ByName(_lower_name)


def _fields(raw: bytes, start: int, bounds: HeadBounds) -> tuple[list[Header], dict[bytes, bytes]] | None:
    """The fields of the whole head `raw`, whose lines begin at `start`, and the first value of each name.

    None when they break the grammar or the bounds. It is the grammar of RFC 9112 section 5 and no more: no bare CR or
    LF, no other control character, no line that goes on in the next, no white space before a colon.
    """
    end = len(raw) - 2
    if len(raw) - start > bounds.header_bytes:
        return None
    if start == end:
        return [], {}
    block = raw[start : end - 2]
    lines = block.split(_LINE_END)
    count = len(lines)
    # What is left of the block without all that a field may hold must be the ends of its lines.
    if count > bounds.header_count or block.translate(None, _PLAIN) != _LINE_END * (count - 1):
        return None
    names = _names
    pairs: list[Header] = []
    first: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = names[name]
        if not colon or not lower:
            return None
        value = value.strip()  # of blanks: no other white space is left
        first[lower] = value
        pairs.append((lower, value))
    if len(first) < count:
        first = dict(reversed(pairs))
    return pairs, first


def parse_request(raw: bytes, scheme: bytes, bounds: HeadBounds) -> Request | None:
    """The request whose whole head is `raw`, blank line included; None when it breaks the grammar or the bounds.

    RequestScanner, fed with `raw`, then says what is wrong. A head that is well formed but may not be acted on
    (no Host, two framings, CONNECT) raises GatewayError with the HTTP status to answer.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        return None
    method, target, major, minor = line.groups()
    if len(target) > bounds.target_bytes:
        return None
    fields = _fields(raw, line.end(), bounds)
    if fields is None:
        return None
    if major != b"1" or minor > b"1":
        raise InvalidRequest(f"request line: HTTP/{major.decode()}.{minor.decode()} is not offered", http_status=505)
    if method not in METHODS:
        if method in (b"CONNECT", b"TRACE"):
            raise NotOffered(f"method {method.decode()} is not offered", http_status=405, headers=_ALLOW)
        raise NotOffered(f"method {method.decode()} is not offered", http_status=501)

    pairs, first = fields
    is_1_1 = minor == b"1"
    host = first.pop(b"host", None)
    if host is not None:
        if pairs[0][0] == b"host":
            del pairs[0]
        else:
            pairs.remove((b"host", host))
        if len(pairs) > len(first) and b"host" in [name for name, _ in pairs]:
            raise InvalidRequest("host: given twice", http_status=400)
    path, query, authority = _target(method, target, host, is_1_1)
    head = RequestHead(
        method,
        path,
        query,
        authority,
        tuple(pairs),
        HTTP_1_1 if is_1_1 else HTTP_1_0,
        scheme,
        first.get(b"content-type", b""),
        first=first,
    )
    request = Request(head, 0, is_1_1, False, False)
    if not _FRAMING.isdisjoint(first):
        _frame(request, pairs, is_1_1)
    return request


def _frame(request: Request, pairs: list[Header], is_1_1: bool) -> None:
    """Decide how the body is framed and what becomes of the connection: the checks that take more than one field."""
    length = 0
    lengths = codings = 0
    switching = False
    upgrade = b""
    upgrades = 0
    for name, value in [pair for pair in pairs if pair[0] in _FRAMING]:
        if name == b"content-length":
            if _LENGTH.fullmatch(value) is None:
                raise InvalidRequest("content-length: not a number", http_status=400)
            length = int(value)
            lengths += 1
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise InvalidRequest("transfer-encoding: only chunked is offered", http_status=400)
            codings += 1
        elif name == b"connection":
            options = value.lower()
            switching = switching or (b"upgrade" in options and b"upgrade" in _list(options))
            if b"close" in options and b"close" in _list(options):
                request.keep_alive = False
            elif not is_1_1 and b"keep-alive" in _list(options):
                request.keep_alive = True
        elif name == b"upgrade":
            upgrade = value.lower()
            upgrades += 1
        elif name == b"te":
            request.trailers_wanted |= is_1_1 and b"trailers" in _list(value.lower())
        elif value.lower() != b"100-continue":
            raise InvalidRequest("expect: only 100-continue is offered", http_status=417)
        else:
            request.expects_continue = is_1_1
    if lengths > 1:
        raise InvalidRequest("content-length: given twice", http_status=400)
    if codings:
        if lengths:
            raise InvalidRequest("content-length: not allowed with transfer-encoding", http_status=400)
        if codings > 1:
            raise InvalidRequest("transfer-encoding: given twice", http_status=400)
        if not is_1_1:
            raise InvalidRequest("transfer-encoding: not allowed in HTTP/1.0", http_status=400)
        length = CHUNKED
    request.length = length
    if not length:
        request.expects_continue = False
    # A server may ignore an upgrade (RFC 9110 section 7.8).
    if upgrades == 1 and upgrade in UPGRADES and switching and is_1_1:
        if length:
            raise InvalidRequest("upgrade: not offered to a request with a body", http_status=400)
        request.head.upgrade = upgrade
        # Should it not be switched, nobody can know whether what comes next is still HTTP.
        request.keep_alive = False


def _target(method: bytes, target: bytes, host: bytes | None, is_1_1: bool) -> tuple[bytes, bytes, bytes]:
    """Path, query and authority (RFC 9112 section 3.2); the authority of an absolute-form target wins over Host."""
    if host is None:
        if is_1_1:
            raise InvalidRequest("host: missing", http_status=400)
    elif (host or is_1_1) and _AUTHORITY.fullmatch(host) is None:
        raise InvalidRequest("host: malformed" if host else "host: empty", http_status=400)
    authority = host or b""
    if target[:1] != b"/":
        if target == b"*":
            if method != b"OPTIONS":
                raise InvalidRequest("request target: * is for OPTIONS only", http_status=400)
            return b"*", b"", authority
        match = _ABSOLUTE_FORM.fullmatch(target)
        if match is None:
            raise InvalidRequest("request target: neither a path nor an absolute URL", http_status=400)
        authority, target = match.groups()
        if _AUTHORITY.fullmatch(authority) is None:
            raise InvalidRequest("request target: its authority is malformed", http_status=400)
        if target[:1] != b"/":
            target = b"/" + target
    elif b"#" in target:
        raise InvalidRequest("request target: a fragment is not allowed", http_status=400)
    path, _, query = target.partition(b"?")
    return path, query, authority


def _list(value: bytes) -> list[bytes]:
    return [item.strip(b" \t") for item in value.split(b",")]


def parse_response(raw: bytes, bounds: HeadBounds) -> Response | None:
    """The reply whose whole head is `raw`, blank line included; None when it breaks the grammar or the bounds.

    ResponseScanner, fed with `raw`, then says what is wrong. Raises BadUpstream for a head that contradicts itself.
    """
    line = _STATUS_LINE.match(raw)
    if line is None:
        return None
    fields = _fields(raw, line.end(), bounds)
    if fields is None:
        return None
    pairs, _ = fields
    is_1_1 = line[1] == b"1"
    length = UNTIL_CLOSE
    chunked = False
    keep_alive = is_1_1
    for name, value in [pair for pair in pairs if pair[0] in _FRAMING]:
        if name == b"content-length":
            if length != UNTIL_CLOSE:
                raise BadUpstream("reply head: content-length is given twice")
            if _LENGTH.fullmatch(value) is None:
                raise BadUpstream("reply head: content-length is not a number")
            length = int(value)
        elif name == b"transfer-encoding":
            if chunked or value.lower() != b"chunked" or not is_1_1:
                raise BadUpstream("reply head: transfer-encoding is other than one chunked")
            chunked = True
        elif name == b"connection":
            options = _list(value.lower())
            if b"close" in options:
                keep_alive = False
            elif not is_1_1 and b"keep-alive" in options:
                keep_alive = True
    if chunked:
        if length != UNTIL_CLOSE:
            raise BadUpstream("reply head: both content-length and transfer-encoding")
        length = CHUNKED
    if line[2] in (b"204", b"304"):
        length = 0  # whatever its fields say (RFC 9112 section 6.3)
    return Response(ResponseHead(int(line[2]), tuple(pairs)), length, keep_alive)


class HeadScanner:
    """Finds the end of one head in bytes that come in pieces, and refuses as early as it can.

    Lines are judged in their order, each once it is whole, so the verdict does not depend on how the bytes were cut.
    """

    __slots__ = ("_bounds", "_buffer", "_fields", "_line", "_line_number", "_searched")

    def __init__(self, bounds: HeadBounds) -> None:
        self._bounds = bounds
        self._buffer = bytearray()
        self._searched = 0
        self._line = 0
        """Where the line that is not yet whole begins."""
        self._line_number = 0
        self._fields = 0
        """Where the field lines begin, once the first line is whole."""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The whole head, blank line included, and the bytes after it; None while it is not whole."""
        buffer = self._buffer
        buffer += data
        bounds = self._bounds
        while True:
            newline = buffer.find(b"\n", self._searched)
            end = newline + 1 if newline >= 0 else len(buffer)
            if self._line_number == 0:
                if self._first_line(buffer, end, newline >= 0):
                    continue
            elif end - self._fields > bounds.header_bytes:
                raise self._fault(f"header section: longer than {bounds.header_bytes} bytes", 431)
            elif newline >= 0 and end - self._line > 2 and self._line_number > bounds.header_count:
                raise self._fault(f"header section: more than {bounds.header_count} fields", 431)
            self._searched = end
            if newline < 0:
                return None
            if self._line_number == 0:
                self._fields = end
            elif end - self._line == 2 and buffer[self._line] == 0x0D:
                return bytes(memoryview(buffer)[:end]), bytes(memoryview(buffer)[end:])
            else:
                match = _FIELD_LINES.match(buffer, self._line)
                if match is None or match.end() < end:
                    raise self._fault(self._say(bytes(buffer[self._line : end])), 400)
            self._line = end
            self._line_number += 1

    def _first_line(self, buffer: bytearray, end: int, whole: bool) -> bool:
        """Judge the first line as far as it has come; True when the buffer was changed and is to be searched again."""
        raise NotImplementedError

    def _fault(self, message: str, http_status: int) -> GatewayError:
        raise NotImplementedError

    def _say(self, line: bytes) -> str:
        """What is wrong with a field line, by its name where it has one."""
        name = _NAME.match(line)
        if line[:1] in b" \t":
            return f"header line {self._line_number}: begins with white space (line folding is not allowed)"
        if name is None:
            return f"header line {self._line_number}: no well-formed name and colon"
        said = name[0].decode("latin-1").lower()
        if line[name.end() : name.end() + 1] != b":":
            return f"{said}: white space before the colon"
        if line[-2:-1] != b"\r" or b"\r" in line[:-2]:
            return f"{said}: a bare CR or LF"
        return f"{said}: a control character in the value"


class RequestScanner(HeadScanner):
    """Scans a request's head; one empty line before it is skipped (RFC 9112 section 2.2)."""

    __slots__ = ("_skipped",)

    def __init__(self, bounds: HeadBounds) -> None:
        super().__init__(bounds)
        self._skipped = False

    @property
    def empty(self) -> bool:
        """Nothing of a request has come."""
        return not self._buffer

    def _fault(self, message: str, http_status: int) -> GatewayError:
        return InvalidRequest(message, http_status=http_status)

    def _first_line(self, buffer: bytearray, end: int, whole: bool) -> bool:
        if not self._skipped and buffer[:1] == b"\r":
            if buffer[:2] == b"\r\n":
                del buffer[:2]
                self._skipped = True
                return True
            if len(buffer) == 1:
                return False
        if end and _METHOD_BEGUN.match(buffer, 0, end) is None:
            raise self._fault("request line: not an HTTP request", 400)
        if end > self._bounds.target_bytes + _LINE_OVERHEAD:
            raise self._fault(f"request target: longer than {self._bounds.target_bytes} bytes", 414)
        if whole:
            match = _REQUEST_LINE.match(buffer)
            if match is None:
                raise self._fault("request line: malformed", 400)
            if len(match[2]) > self._bounds.target_bytes:
                raise self._fault(f"request target: longer than {self._bounds.target_bytes} bytes", 414)
        return False


class ResponseScanner(HeadScanner):
    """Scans a reply's head."""

    __slots__ = ()

    def _fault(self, message: str, http_status: int) -> GatewayError:
        return BadUpstream(f"reply head: {message}")

    def _first_line(self, buffer: bytearray, end: int, whole: bool) -> bool:
        if not b"HTTP/1.".startswith(buffer[:7]) or end > _STATUS_LINE_BYTES:
            raise self._fault("not an HTTP/1 reply", 502)
        if whole and _STATUS_LINE.match(buffer) is None:
            raise self._fault("malformed status line", 502)
        return False
