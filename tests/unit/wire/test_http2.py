"""HTTP/2 frames, settings, error codes, and the rules for heads."""

from __future__ import annotations

import pytest
from hyperframe.frame import Frame, HeadersFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import Code
from protogw.wire import http2
from protogw.wire.hpack import MalformedFields, encode
from protogw.wire.http import Header, RequestHead
from protogw.wire.http2 import ConnectionFault, ErrorCode
from protogw.wire.http2_heads import Http2RequestHead, Http2ResponseHead, request_head, response_head, trailers

GET: list[Header] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b=c"), (b":authority", b"h.test")]


def test_frames_are_what_hyperframe_reads() -> None:
    frame, size = Frame.parse_frame_header(memoryview(http2.settings_frame([(3, 100), (4, 1 << 20)])[:9]))
    assert isinstance(frame, SettingsFrame)
    assert size == 12
    frame, _ = Frame.parse_frame_header(memoryview(http2.headers_frames(5, http2.END_STREAM, b"abc", 16384)[:9]))
    assert isinstance(frame, HeadersFrame)
    assert frame.flags == {"END_STREAM", "END_HEADERS"}
    assert frame.stream_id == 5


@given(st.binary(max_size=100), st.integers(1, 20))
def test_a_long_block_is_continued_and_only_its_last_frame_ends_it(block: bytes, limit: int) -> None:
    data = http2.headers_frames(1, http2.END_STREAM, block, limit)
    fragments, kinds, ends = [], [], []
    position = 0
    while position < len(data):
        high, low, kind, flags, stream = http2.unpack_head(data, position)
        size = high << 8 | low
        assert size <= limit
        assert stream == 1
        fragments.append(data[position + 9 : position + 9 + size])
        kinds.append(kind)
        ends.append(bool(flags & http2.END_HEADERS))
        position += 9 + size
    assert b"".join(fragments) == block
    assert kinds == [http2.HEADERS] + [http2.CONTINUATION] * (len(kinds) - 1)
    assert ends == [False] * (len(ends) - 1) + [True]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x00" * 5, ErrorCode.FRAME_SIZE_ERROR),
        (bytes.fromhex("000200000002"), ErrorCode.PROTOCOL_ERROR),
        (bytes.fromhex("000480000000"), ErrorCode.FLOW_CONTROL_ERROR),
        (bytes.fromhex("000500003fff"), ErrorCode.PROTOCOL_ERROR),
        (bytes.fromhex("000501000000"), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_out_of_range_end_the_connection(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as fault:
        list(http2.read_settings(payload))
    assert fault.value.code is code


@given(st.binary(max_size=60))
def test_any_settings_payload_is_read_or_refused(payload: bytes) -> None:
    try:
        assert len(list(http2.read_settings(payload))) * 6 == len(payload)
    except ConnectionFault:
        pass


def test_padding_is_taken_off_and_must_be_shorter_than_the_frame() -> None:
    assert http2.unpadded(0, b"abc") == b"abc"
    assert http2.unpadded(http2.PADDED, b"\x02abc\x00\x00") == b"abc"
    assert http2.unpadded(http2.PADDED, b"\x00") == b""
    for payload in (b"", b"\x01", b"\x05abcd"):
        with pytest.raises(ConnectionFault):
            http2.unpadded(http2.PADDED, payload)


def test_every_error_code_has_a_name_and_a_meaning_for_callers() -> None:
    for code in ErrorCode:
        assert http2.error_name(code) == code.name
        assert isinstance(http2.reset_code(code), Code)
    assert http2.error_name(0x99) == "error 0x99"
    assert http2.reset_code(0x99) is Code.INTERNAL
    assert http2.reset_code(ErrorCode.REFUSED_STREAM) is Code.UNAVAILABLE
    assert http2.reset_code(ErrorCode.CANCEL) is Code.CANCELLED
    assert http2.reset_code(ErrorCode.ENHANCE_YOUR_CALM) is Code.RESOURCE_EXHAUSTED
    assert http2.reset_code(ErrorCode.INADEQUATE_SECURITY) is Code.PERMISSION_DENIED


def test_a_request_head_has_its_parts() -> None:
    head = request_head(
        [*GET, (b"content-type", b"text/plain"), (b"content-length", b"5"), (b"cookie", b"a=1"), (b"x", b"y"),
         (b"cookie", b"b=2"), (b"host", b"H.test"), (b"te", b"Trailers"), (b"expect", b"100-Continue")]
    )  # fmt: skip
    assert isinstance(head, Http2RequestHead)
    assert isinstance(head, RequestHead)
    assert (head.method, head.path, head.query, head.authority) == (b"GET", b"/a", b"b=c", b"h.test")
    assert (head.scheme, head.content_type, head.length, head.refusal) == (b"http", b"text/plain", 5, 0)
    assert head.expects_continue
    assert head.get_all(b"cookie") == [b"a=1; b=2"]
    assert head.get(b"host") is None


def test_host_stands_in_for_a_missing_authority() -> None:
    head = request_head([*GET[:3], (b"host", b"h.test:80")])
    assert isinstance(head, Http2RequestHead)
    assert head.authority == b"h.test:80"


def test_methods_that_nothing_here_takes_are_marked() -> None:
    connect = request_head([(b":method", b"CONNECT"), (b":authority", b"h.test:443")])
    trace = request_head([(b":method", b"TRACE"), *GET[1:]])
    assert isinstance(connect, Http2RequestHead)
    assert isinstance(trace, Http2RequestHead)
    assert (connect.refusal, trace.refusal) == (501, 405)


CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]


def test_an_extended_connect_reads_like_the_get_that_asks_for_the_same() -> None:
    head = request_head([*CONNECT, (b"sec-websocket-version", b"13")])
    assert isinstance(head, Http2RequestHead)
    assert (head.method, head.path, head.upgrade, head.refusal) == (b"GET", b"/a", b"websocket", 0)
    other = request_head([(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *GET[1:]])
    assert isinstance(other, Http2RequestHead)
    assert other.refusal == 501


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b":protocol", b"websocket")],
        [*GET[:1], (b":protocol", b"websocket"), *GET[1:]],
        [*CONNECT, (b"content-length", b"0")],
        [CONNECT[0], *CONNECT[1:2], *CONNECT[1:]],
        [CONNECT[0], CONNECT[1], GET[3]],
        [*CONNECT, (b"upgrade", b"websocket")],
    ],
)
def test_a_protocol_without_a_whole_extended_connect_is_malformed(fields: list[Header]) -> None:
    with pytest.raises(MalformedFields):
        request_head(fields)


def test_options_may_ask_about_the_whole_server() -> None:
    head = request_head([(b":method", b"OPTIONS"), (b":scheme", b"https"), (b":path", b"*"), GET[3]])
    assert isinstance(head, Http2RequestHead)
    assert head.path == b"*"


def replaced(name: bytes, value: bytes) -> list[Header]:
    return [(name, value) if pair[0] == name else pair for pair in GET]


@pytest.mark.parametrize(
    "fields",
    [
        *[[pair for pair in GET if pair[0] != gone] for gone in (b":method", b":scheme", b":path", b":authority")],
        *[[*GET, pair] for pair in GET],
        [*GET, (b":status", b"200")],
        [*GET[:2], (b"x", b"y"), *GET[2:]],
        [*GET[:2], (b"cookie", b"y"), *GET[2:]],
        [*GET, (b"connection", b"close")],
        [*GET, (b"proxy-connection", b"x")],
        [*GET, (b"keep-alive", b"x")],
        [*GET, (b"upgrade", b"x")],
        [*GET, (b"transfer-encoding", b"chunked")],
        [*GET, (b"te", b"gzip")],
        [*GET, (b"te", b"trailers, gzip")],
        [*GET, (b"host", b"other.test")],
        [*GET, (b"host", b"h.test"), (b"host", b"h.test")],
        [*GET, (b"content-length", b"+5")],
        [*GET, (b"content-length", b"")],
        [*GET, (b"content-length", b"5,5")],
        [*GET, (b"content-length", b"9" * 30)],
        [*GET, (b"content-length", b"5"), (b"content-length", b"5")],
        [*GET, (b"content-type", b"a/b"), (b"content-type", b"a/b")],
        replaced(b":path", b""),
        replaced(b":path", b"a"),
        replaced(b":path", b"*"),
        replaced(b":path", b"/a b"),
        replaced(b":path", b"/a#b"),
        replaced(b":path", b"/a\x7f"),
        replaced(b":path", b"http://h.test/a"),
        replaced(b":method", b""),
        replaced(b":method", b"GET /x HTTP/1.1"),
        replaced(b":method", b"GE:T"),
        replaced(b":scheme", b""),
        replaced(b":scheme", b"1http"),
        replaced(b":authority", b""),
        replaced(b":authority", b"user@h.test"),
        replaced(b":authority", b"h.test/x"),
        replaced(b":authority", b"h test"),
        [(b":method", b"CONNECT"), *GET[1:]],
    ],
    ids=repr,
)
def test_malformed_requests_are_refused(fields: list[Header]) -> None:
    with pytest.raises(MalformedFields):
        request_head(fields)


def test_a_response_head_has_its_parts() -> None:
    head = response_head([(b":status", b"200"), (b"content-length", b"7"), (b"x", b"y")])
    assert isinstance(head, Http2ResponseHead)
    assert (head.status, head.length, head.get(b"x")) == (200, 7, b"y")
    assert response_head([(b"grpc-status", b"0")]) == ((b"grpc-status", b"0"),)
    assert response_head([]) == ()


@pytest.mark.parametrize(
    "fields",
    [
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"099")],
        [(b":status", b"abc")],
        [(b":path", b"/")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"transfer-encoding", b"chunked")],
        [(b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"1")],
        [(b":status", b"200"), (b"content-length", b"-1")],
        [(b"x", b"y"), (b":status", b"200")],
    ],
    ids=repr,
)
def test_malformed_responses_are_refused(fields: list[Header]) -> None:
    with pytest.raises(MalformedFields):
        response_head(fields)


def test_trailers_lose_what_a_trailer_may_not_say() -> None:
    fields = [(b"grpc-status", b"0"), (b"authorization", b"x"), (b"content-length", b"5"), (b"host", b"x")]
    assert trailers(fields) == ((b"grpc-status", b"0"),)
    with pytest.raises(MalformedFields):
        trailers([(b":status", b"200")])
    with pytest.raises(MalformedFields):
        trailers([(b"connection", b"close")])


SPECIAL = [*(name for name, _ in GET), b":status", b"a", b"host", b"content-length", b"te", b"cookie"]


@given(st.lists(st.tuples(st.sampled_from(SPECIAL), st.binary(max_size=8)), max_size=8))
def test_any_list_is_a_head_or_malformed(fields: list[Header]) -> None:
    for build in (request_head, response_head):
        try:
            built = build(fields)
        except MalformedFields:
            continue
        if isinstance(built, Http2RequestHead):
            encode([(b":path", built.path or b"/")])
