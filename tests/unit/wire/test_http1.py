"""Heads: what is taken apart, what is refused and with which status, and that cuts do not matter."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import BadUpstream, GatewayError
from protogw.wire.http import HTTP_1_0, HTTP_1_1
from protogw.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    HeadBounds,
    Request,
    RequestScanner,
    Response,
    ResponseScanner,
    parse_request,
    parse_response,
    remember,
)
from protogw.wire.recurring import Recurring

BOUNDS = HeadBounds(target_bytes=100, header_bytes=400, header_count=10)


def parse(raw: bytes) -> Request:
    """As a connection does it: the whole head at once, and the scanner where that says nothing."""
    request = parse_request(raw, b"http", BOUNDS) if raw.endswith(b"\r\n\r\n") else None
    if request is None:
        found = RequestScanner(BOUNDS).feed(raw)
        assert found is not None, "the head is not whole"
        request = parse_request(found[0], b"http", BOUNDS)
        assert request is not None
    return request


def status_of(raw: bytes) -> int:
    with pytest.raises(GatewayError) as caught:
        parse(raw)
    assert caught.value.http_status is not None
    return caught.value.http_status


def get(fields: bytes = b"", line: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: a.example\r\n") -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


def test_a_head_is_taken_apart() -> None:
    request = parse(get(b"X-Two:  2 \t\r\nx-EMPTY:\r\nContent-Type: a/b\r\n", b"POST /a/b?c=d?e HTTP/1.1"))
    head = request.head
    assert (head.method, head.path, head.query) == (b"POST", b"/a/b", b"c=d?e")
    assert (head.authority, head.scheme, head.version) == (b"a.example", b"http", HTTP_1_1)
    assert head.headers == ((b"x-two", b"2"), (b"x-empty", b""), (b"content-type", b"a/b"))
    assert head.content_type == b"a/b"
    assert request.length == 0
    assert request.keep_alive
    assert not request.expects_continue


def test_host_is_the_authority_and_not_a_field() -> None:
    assert parse(get(host=b"hOSt: A.Example:8080\r\n")).head.authority == b"A.Example:8080"


@pytest.mark.parametrize(
    ("target", "authority", "path", "query"),
    [
        (b"http://other.example/x?y", b"other.example", b"/x", b"y"),
        (b"HTTPS://other.example:1", b"other.example:1", b"/", b""),
        (b"http://other.example?y", b"other.example", b"/", b"y"),
        (b"http://[::1]:80/", b"[::1]:80", b"/", b""),
    ],
)
def test_the_authority_of_an_absolute_target_wins(target: bytes, authority: bytes, path: bytes, query: bytes) -> None:
    head = parse(get(line=b"GET %b HTTP/1.1" % target)).head
    assert (head.authority, head.path, head.query) == (authority, path, query)


@pytest.mark.parametrize(
    "target",
    [
        b"x",
        b"http:///x",
        b"http://a@b/x",
        b"http://a b/",
        b"ftp://a/x",
        b"http://a/x#y",
        b"/x#y",
        b"*",
        b"http://a%00/",
    ],
)
def test_a_target_of_another_form_is_refused(target: bytes) -> None:
    assert status_of(get(line=b"GET %b HTTP/1.1" % target)) == 400


def test_the_asterisk_is_for_options() -> None:
    assert parse(get(line=b"OPTIONS * HTTP/1.1")).head.path == b"*"


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host:\r\n",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a@b\r\n",
        b"Host: a/b\r\n",
        b"Host: a b\r\n",
        b"Host: a:b\r\n",
    ],
)
def test_a_host_that_is_missing_double_or_malformed_is_refused(host: bytes) -> None:
    assert status_of(get(host=host)) == 400


def test_http_1_0_needs_no_host_and_keeps_only_if_asked() -> None:
    head = parse(get(line=b"GET /x HTTP/1.0", host=b""))
    assert (head.head.version, head.head.authority, head.keep_alive) == (HTTP_1_0, b"", False)
    assert parse(get(b"Connection: Keep-Alive\r\n", line=b"GET /x HTTP/1.0")).keep_alive


@pytest.mark.parametrize(
    ("value", "keep"), [(b"close", False), (b"x, CLOSE", False), (b"closed", True), (b"keep-alive", True)]
)
def test_connection_close_is_one_of_a_list(value: bytes, keep: bool) -> None:
    assert parse(get(b"Connection: %b\r\n" % value)).keep_alive is keep


def test_bodies_are_framed_by_length_or_chunks() -> None:
    assert parse(get(b"Content-Length: 0017\r\n")).length == 17
    assert parse(get(b"Transfer-Encoding: CHUNKED\r\n")).length == CHUNKED


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        *(
            b"Content-Length: %b\r\n" % value
            for value in (
                b"",
                b"+5",
                b"-5",
                b"0x5",
                b"5 5",
                b"5,5",
                b"5, 5",
                b"5.0",
                b"5e0",
                b"0_5",
                b"\xb2",
                b"9" * 19,
            )
        ),
        *(
            b"Transfer-Encoding: %b\r\n" % value
            for value in (b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked", b'"chunked"')
        ),
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    assert status_of(get(fields, b"POST /x HTTP/1.1")) == 400


def test_http_1_0_has_no_transfer_encoding() -> None:
    assert status_of(get(b"Transfer-Encoding: chunked\r\n", b"POST /x HTTP/1.0")) == 400


@pytest.mark.parametrize(
    "field",
    [
        b"Foo",
        b": x",
        b"Fo o: x",
        b"Foo : x",
        b"Foo\t: x",
        b"Fo\x01o: x",
        b"Fo\xe9: x",
        b" Foo: x",
        b"Foo: a\r\n b",
        b"Foo: a\x00b",
        b"Foo: a\rb",
        b"Foo: a\nBar: b",
        b"Foo: a\x0bb",
        b"Foo: a\x7fb",
    ],
)
def test_a_field_outside_the_grammar_is_refused(field: bytes) -> None:
    assert status_of(get(field + b"\r\n")) == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  /x HTTP/1.1", 400),
        (b"GET\t/x\tHTTP/1.1", 400),
        (b"GET /x", 400),
        (b"GET /x y HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /x http/1.1", 400),
        (b"GET /x HTTP/1.1x", 400),
        (b"GET /x HTTP/11", 400),
        (b"G:T /x HTTP/1.1", 400),
        (b"A" * 33 + b" /x HTTP/1.1", 400),
        (b"  GET /x HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /x HTTP/1.2", 505),
        (b"GET /x HTTP/2.0", 505),
        (b"GET /x HTTP/0.9", 505),
        (b"BREW /x HTTP/1.1", 501),
        (b"TRACE /x HTTP/1.1", 405),
        (b"CONNECT a:1 HTTP/1.1", 405),
        (b"GET /" + b"x" * 100 + b" HTTP/1.1", 414),
        (b"GET /" + b"x" * 1000 + b" HTTP/1.1", 414),
    ],
)
def test_a_request_line_is_refused_with_its_own_status(line: bytes, status: int) -> None:
    assert status_of(get(line=line)) == status


def test_too_many_or_too_long_fields_are_431() -> None:
    assert status_of(get(b"a: b\r\n" * 10)) == 431
    assert status_of(get(b"a: " + b"b" * 400 + b"\r\n")) == 431
    parse(get(b"a: b\r\n" * 9))


def test_an_endless_line_is_refused_before_it_ends() -> None:
    scanner = RequestScanner(BOUNDS)
    with pytest.raises(GatewayError) as caught:
        scanner.feed(b"GET /" + b"x" * 200)
    assert caught.value.http_status == 414
    scanner = RequestScanner(BOUNDS)
    scanner.feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(GatewayError) as caught:
        scanner.feed(b"a: " + b"b" * 400)
    assert caught.value.http_status == 431


def test_bytes_that_are_no_request_are_refused_at_once() -> None:
    with pytest.raises(GatewayError):
        RequestScanner(BOUNDS).feed(b"\x16\x03")
    with pytest.raises(GatewayError):
        RequestScanner(BOUNDS).feed(b"GET / HTTP/1.1\n")


def test_expectations_other_than_continue_are_417() -> None:
    assert status_of(get(b"Expect: tea\r\nContent-Length: 1\r\n")) == 417
    assert parse(get(b"Expect: 100-Continue\r\nContent-Length: 1\r\n")).expects_continue
    assert not parse(get(b"Expect: 100-continue\r\n")).expects_continue


def test_trailers_are_wanted_only_if_te_says_so() -> None:
    assert parse(get(b"TE: deflate;q=0.5, trailers\r\n")).trailers_wanted
    assert not parse(get(b"TE: trailersx\r\n")).trailers_wanted


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
        b"Connection: upgraded\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Upgrade: websocket\r\n",
    ],
)
def test_an_upgrade_that_is_not_taken_is_an_ordinary_request(fields: bytes) -> None:
    request = parse(get(fields))
    assert request.head.upgrade == b""
    assert request.keep_alive


def test_http_1_0_upgrades_to_nothing() -> None:
    raw = get(b"Connection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n", b"GET / HTTP/1.0")
    assert parse(raw).head.upgrade == b""


def test_an_upgrade_to_websocket_is_told_and_the_connection_is_not_kept_otherwise() -> None:
    request = parse(get(b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 0\r\n"))
    assert request.head.upgrade == b"websocket"
    assert not request.keep_alive


@pytest.mark.parametrize("framing", [b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_upgrade_with_a_body_is_refused(framing: bytes) -> None:
    assert status_of(get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + framing)) == 400


def test_a_message_names_the_field() -> None:
    for raw, words in (
        (get(b"X-Odd : 1\r\n"), "x-odd: white space before the colon"),
        (get(b"X-Odd: 1\n"), "x-odd: a bare CR or LF"),
        (get(b"X-Odd: \x01\r\n"), "x-odd: a control character"),
        (get(b"X-Odd: 1\r\n 2\r\n"), "header line 3: begins with white space"),
        (get(b"odd\r\n"), "header line 2: no well-formed name"),
        (get(b"Content-Length: x\r\n"), "content-length"),
        (get(b"Content-Length: 1, 1\r\n"), "content-length"),
    ):
        with pytest.raises(GatewayError, match=words):
            parse(raw)


HEADS = [
    get(b"A: b\r\nC: d\r\n", b"POST /x?y HTTP/1.1"),
    b"\r\n" + get(),
    b"\r\n\r\n" + get(),
    get(b"A b\r\n" + b"c: d\r\n" * 20),
    get(b"a: b\r\n" * 20 + b"A b\r\n"),
    get(b"a: " + b"b" * 500 + b"\x00\r\n"),
    get(line=b"GET /" + b"x" * 200 + b" HTTP/9.9"),
    get(line=b"\x16GET"),
    get(b"A: b\nC: d\r\n"),
    get(host=b""),
    get(line=b"CONNECT a:1 HTTP/1.1", fields=b"a: b\r\n" * 30),
]


def verdict(pieces: list[bytes]) -> object:
    """What one request's bytes come to, fed as a connection feeds them."""
    scanner: RequestScanner | None = None
    try:
        for index, piece in enumerate(pieces):
            end = piece.find(b"\r\n\r\n") + 4
            request = None
            if scanner is None and end > 3:
                request = parse_request(piece[:end], b"http", BOUNDS)
                rest = piece[end:]
            if request is None:
                scanner = scanner or RequestScanner(BOUNDS)
                found = scanner.feed(piece)
                if found is None:
                    continue
                request = parse_request(found[0], b"http", BOUNDS)
                rest = found[1]
            assert request is not None
            return request.head.headers, request.head.path, rest + b"".join(pieces[index + 1 :])
    except GatewayError as error:
        return error.message, error.http_status
    return "unfinished"


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(raw) + 1) for place in places} | {len(raw)})
    starts = [0, *ends[:-1]]
    return [raw[start:end] for start, end in zip(starts, ends, strict=True) if end > start]


@given(st.sampled_from(HEADS), st.lists(st.integers(0, 1000), max_size=8), st.binary(max_size=5))
def test_a_request_head_means_the_same_however_it_is_cut(raw: bytes, places: list[int], rest: bytes) -> None:
    assert verdict(cut(raw + rest, places)) == verdict([raw + rest])


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_random_bytes_are_refused_or_waited_for(pieces: list[bytes]) -> None:
    verdict(pieces)


@given(st.sampled_from(HEADS), st.integers(0, 200), st.binary(min_size=1, max_size=3), st.lists(st.integers(0, 500)))
def test_a_damaged_head_means_the_same_however_it_is_cut(
    raw: bytes, place: int, damage: bytes, places: list[int]
) -> None:
    place %= len(raw)
    damaged = raw[:place] + damage + raw[place + len(damage) :]
    assert verdict(cut(damaged, places)) == verdict([damaged])


# --- llhttp as a witness ----------------------------------------------------------------------------------------------


class Heard:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))


def heard(parser: type, raw: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields that llhttp finds in a whole head; None when it refuses it."""
    found = Heard()
    try:
        parser(found).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return found.fields


_NAMES = st.sampled_from(
    [b"a", b"X-Long-Name", b"cOOkie", b"content-type", b"Content-Length", b"Connection", b"TE", b"~!"]
)
_VALUES = st.one_of(
    st.sampled_from([b"", b"0", b"close", b"keep-alive", b"trailers", b"a: b", b"\xff\x80", b"a  b", b"gzip, chunked"]),
    st.binary(max_size=12).map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)),
)
_BLANK = st.sampled_from([b"", b" ", b"\t", b" \t "])
_LINES = st.lists(st.tuples(_NAMES, _BLANK, _VALUES, _BLANK), max_size=6).map(
    lambda lines: b"".join(b"%b:%b%b%b\r\n" % line for line in lines)
)


@given(_LINES, st.sampled_from([b"GET", b"POST", b"M-SEARCH", b"BREW", b"QUERY"]))
def test_what_is_taken_of_a_request_is_what_llhttp_finds(lines: bytes, method: bytes) -> None:
    raw = get(lines, method + b" /x?y HTTP/1.1")
    try:
        request = parse_request(raw, b"http", BOUNDS)
    except GatewayError:
        return
    assert request is not None
    assert [(b"host", b"a.example"), *request.head.headers] == heard(httptools.HttpRequestParser, raw)
    for name, value in request.head.headers:
        assert request.head.get(name) == next(first for other, first in request.head.headers if other == name)
        assert value == value.strip(b" \t")


@given(_LINES, st.integers(0, 300), st.binary(min_size=1, max_size=3), st.booleans())
def test_what_llhttp_refuses_is_refused(lines: bytes, place: int, damage: bytes, over: bool) -> None:
    raw = get(lines, b"POST /x?y HTTP/1.1")
    place %= len(raw)
    damaged = raw[:place] + damage + raw[place + len(damage) * over :]
    end = damaged.find(b"\r\n\r\n") + 4
    if end < 4:
        return
    try:
        request = parse_request(damaged[:end], b"http", BOUNDS)
    except GatewayError:
        return
    if request is not None:
        found = heard(httptools.HttpRequestParser, damaged[:end])
        assert found is not None
        assert [pair for pair in found if pair[0] != b"host"] == list(request.head.headers)


@given(_LINES, st.integers(0, 300), st.binary(max_size=3))
def test_what_is_taken_of_a_reply_is_what_llhttp_finds(lines: bytes, place: int, damage: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n"
    place %= len(raw)
    damaged = raw[:place] + damage + raw[place + len(damage) :]
    end = damaged.find(b"\r\n\r\n") + 4
    if end < 4:
        return
    try:
        response = parse_response(damaged[:end], BOUNDS)
    except GatewayError:
        return
    if response is not None:
        assert list(response.head.headers) == heard(httptools.HttpResponseParser, damaged[:end])


# --- replies ----------------------------------------------------------------------------------------------------------


def reply(fields: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> Response:
    raw = line + b"\r\n" + fields + b"\r\n"
    found = ResponseScanner(BOUNDS).feed(raw)
    assert found == (raw, b"")
    response = parse_response(raw, BOUNDS)
    assert response is not None
    return response


def test_a_reply_head_is_taken_apart() -> None:
    response = reply(b"Server: x\r\nContent-Length: 3\r\n", b"HTTP/1.1 404 No such  thing")
    assert (response.head.status, response.length, response.keep_alive) == (404, 3, True)
    assert response.head.headers == ((b"server", b"x"), (b"content-length", b"3"))


def test_a_reply_body_is_framed_by_length_chunks_or_the_close() -> None:
    assert reply().length == UNTIL_CLOSE
    assert reply(b"Transfer-Encoding: chunked\r\n").length == CHUNKED
    assert reply(b"Content-Length: 5\r\n", b"HTTP/1.1 304 ").length == 0
    assert reply(b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 204").length == 0


def test_a_reply_says_whether_its_connection_is_kept() -> None:
    assert not reply(line=b"HTTP/1.0 200 OK").keep_alive
    assert reply(b"Connection: keep-alive\r\n", b"HTTP/1.0 200 OK").keep_alive
    assert not reply(b"Connection: close\r\n").keep_alive


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 999 X\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 20 X\r\n\r\n",
        b"HTTP/1.1  200 X\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 11 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 401,
        b"HTTP/1.1 200 " + b"x" * 5000,
    ],
)
def test_a_reply_that_breaks_its_protocol_is_a_bad_upstream(raw: bytes) -> None:
    def scan() -> None:
        found = ResponseScanner(BOUNDS).feed(raw)
        assert found is not None
        parse_response(found[0], BOUNDS)

    with pytest.raises(BadUpstream):
        scan()
    if raw.endswith(b"\r\n\r\n"):  # taken at once, it is refused too, or left for the scanner to refuse
        try:
            assert parse_response(raw, BOUNDS) is None
        except BadUpstream:
            pass


def test_only_small_heads_are_remembered_and_only_so_many() -> None:
    cache: Recurring[bytes, int] = Recurring(256)
    remember(cache, b"x" * 5000, 1)
    assert not cache
    for number in range(600):
        for _ in range(2):  # what comes once is not worth keeping
            assert b"%d" % number not in cache
            remember(cache, b"%d" % number, number)
    assert 0 < len(cache) <= 256
    assert cache[b"599"] == 599
