"""The Connect front end, over a fake exchange."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest

from protogw.call import GZIP_REPLY, GZIP_REQUEST, Encoding, GzipPayload, Metadata, Payload, Reply
from protogw.errors import Code, DeadlineExceeded, Detail, GatewayError, Overloaded, Status, UpstreamReset
from protogw.frontends.base import Bounds
from protogw.frontends.connect import Connect, ConnectSettings
from protogw.wire import zstd
from protogw.wire.connect import CODE_NAMES
from protogw.wire.content import decompress
from protogw.wire.envelope import envelope
from protogw.wire.http import HTTP_1_1, HTTP_2
from protogw.wire.http_status import http_status
from tests.support import kit, rpc
from tests.support.rpc import Exchange, Service

LIMIT = 100_000
JSON, PROTO = "application/json", "application/proto"
STREAM_JSON, STREAM_PROTO = "application/connect+json", "application/connect+proto"
VERSION = ("connect-protocol-version", "1")
UNARY, LOOK, DOWN, UP, CHAT = (f"/kit.v1.Echo/{name}" for name in ("Unary", "Look", "Down", "Up", "Chat"))


def front(**settings: Any) -> Connect:
    made = Connect(ConnectSettings.model_validate(settings), Bounds(body=LIMIT))
    made.offer(rpc.CATALOG)
    return made


async def ask(
    path: str = UNARY,
    *fields: tuple[str, str],
    body: bytes = b'{"text":"q"}',
    pieces: list[bytes] | None = None,
    service: Service | None = None,
    content_type: str = JSON,
    version: int = HTTP_1_1,
    method: str = "POST",
    connect: Connect | None = None,
) -> Exchange:
    head = rpc.head(path, content_type, VERSION, *fields, version=version, method=method)
    return await rpc.serve(connect or front(), Exchange(head, body, pieces), service)


async def stream(path: str = DOWN, *texts: str, service: Service | None = None, **options: Any) -> Exchange:
    body = b"".join(envelope(kit.message(text).SerializeToString()) for text in texts)
    options.setdefault("content_type", STREAM_PROTO)
    return await ask(path, body=options.pop("body", body), service=service, **options)


def error(exchange: Exchange) -> Any:
    """The JSON of a unary error."""
    assert exchange.get("content-type") == "application/json"
    assert exchange.ended
    return json.loads(exchange.body)


def parse(exchange: Exchange) -> tuple[list[str], Any]:
    """Messages and end of a stream, which is nothing but envelopes with HTTP status 200."""
    assert exchange.status == 200
    body, found = exchange.body, []
    while body:
        flags, size = body[0], int.from_bytes(body[1:5], "big")
        data, body = body[5 : 5 + size], body[5 + size :]
        if flags & 2:
            assert not body
            return found, json.loads(data)
        data = gzip.decompress(data) if flags & 1 else data
        text = (
            json.loads(data).get("text", "")
            if exchange.get("content-type") == STREAM_JSON
            else kit.Message.FromString(data).text
        )
        found.append(text)
    raise AssertionError("no end of stream")


# --- unary ------------------------------------------------------------------------------------------------------------


async def test_a_json_call_is_a_body_each_way() -> None:
    service = Service(rpc.one("hi", metadata=[("x-lead", "a")], trailers=[("x-trail", "t"), ("x-trail", "u")]))
    exchange = await ask(UNARY, ("x-mine", "1"), ("connect-timeout-ms", "250"), service=service)
    call = service.call
    assert call is exchange.call
    assert call.method is rpc.UNARY
    assert call.metadata == Metadata(((b"x-mine", b"1"),))
    assert (call.timeout, call.front_end) == (0.25, "connect")
    assert service.texts == ["q"]
    assert exchange.status == 200
    assert exchange.headers == [
        (b"content-type", b"application/json"),
        (b"x-lead", b"a"),
        (b"trailer-x-trail", b"t"),
        (b"trailer-x-trail", b"u"),
    ]
    assert exchange.body == b'{"text":"hi"}'


async def test_protobuf_bytes_pass_as_they_are() -> None:
    data = kit.message("q").SerializeToString() + b"\xf8\x7f\x01"  # a field that is not in the schema
    service = Service(Reply(payload=Payload(data, Encoding.PROTO, rpc.UNARY.output.codec)))
    exchange = await ask(content_type=PROTO, body=data, service=service)
    assert service.received[0].data == data
    assert exchange.body == data
    assert exchange.get("content-type") == PROTO


async def test_an_empty_protobuf_body_is_an_empty_message() -> None:
    service = Service()
    assert (await ask(content_type=PROTO, body=b"", service=service)).status == 200
    assert service.texts == [""]


async def test_a_body_that_has_not_arrived_is_waited_for() -> None:
    service = Service()
    await ask(pieces=[b'{"text"', b':"late"}'], service=service)
    assert service.texts == ["late"]


async def test_a_charset_in_the_content_type_is_allowed() -> None:
    assert (await ask(content_type="application/json; charset=utf-8")).status == 200


@pytest.mark.parametrize("code", [code for code in Code if code])
async def test_an_error_has_its_name_and_its_http_status(code: Code) -> None:
    reply = Reply(
        Metadata(((b"x-lead", b"a"),)), status=Status(code, "Zoë\n%"), trailers=Metadata(((b"x-trail", b"t"),))
    )
    for content_type in (JSON, PROTO):
        exchange = await ask(
            content_type=content_type, body=b"" if content_type == PROTO else b"{}", service=Service(reply)
        )
        assert exchange.status == http_status(code)
        assert error(exchange) == {"code": CODE_NAMES[code], "message": "Zoë\n%"}
        assert (exchange.get("x-lead"), exchange.get("trailer-x-trail")) == ("a", "t")


async def test_details_have_type_value_and_debug_where_the_type_is_known() -> None:
    known = Detail("type.googleapis.com/kit.v1.Message", kit.message("d").SerializeToString())
    broken = Detail("type.googleapis.com/kit.v1.Message", b"\xff")
    unknown = Detail("type.googleapis.com/x.Y", b"12")
    service = Service(Reply(status=Status(Code.ABORTED, "", (known, broken, unknown))))
    first, second, third = error(await ask(service=service))["details"]
    assert first["debug"] == {"text": "d"}
    assert base64.b64decode(first["value"] + "=" * (-len(first["value"]) % 4)) == known.value
    assert second == {"type": "kit.v1.Message", "value": "/w"}
    assert third == {"type": "x.Y", "value": "MTI"}


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (DeadlineExceeded(), 504, "deadline_exceeded"),
        (UpstreamReset("gone"), 503, "unavailable"),
        (Overloaded("full", headers=((b"retry-after", b"1"),)), 503, "unavailable"),
    ],
)
async def test_failures_are_errors_with_the_codes_http_status(raised: GatewayError, status: int, code: str) -> None:
    exchange = await ask(service=Service(raised))
    assert (exchange.status, error(exchange)["code"]) == (status, code)
    assert exchange.get("retry-after") == ("1" if raised.headers else None)


async def test_a_reply_that_does_not_convert_is_internal() -> None:
    service = Service(Reply(payload=Payload(b"\xff\xff", Encoding.PROTO, rpc.UNARY.output.codec)))
    exchange = await ask(service=service)
    assert (exchange.status, error(exchange)["code"]) == (500, "internal")


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_method_is_404_and_unimplemented() -> None:
    for content_type in (JSON, PROTO, STREAM_JSON):
        exchange = await ask("/kit.v1.Echo/Nothing", content_type=content_type)
        assert exchange.status == 404
        assert error(exchange) == {"code": "unimplemented", "message": "kit.v1.Echo/Nothing is not offered"}


@pytest.mark.parametrize(("path", "allow"), [(UNARY, "POST"), (LOOK, "GET, POST"), (DOWN, "POST")])
async def test_other_verbs_are_405_with_allow(path: str, allow: str) -> None:
    exchange = await ask(path, method="DELETE")
    assert (exchange.status, exchange.get("allow")) == (405, allow)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (UNARY, "application/xml"),
        (UNARY, "application/foo+proto"),
        (UNARY, STREAM_JSON),
        (UNARY, "application/connect+xml"),
        (DOWN, JSON),
        (DOWN, PROTO),
        (UP, "application/connect+xml"),
    ],
)
async def test_content_types_of_no_codec_or_of_the_other_shape_are_415(path: str, content_type: str) -> None:
    exchange = await ask(path, content_type=content_type)
    assert exchange.status == 415
    expected = "application/json, application/proto"
    if path != UNARY:
        expected = "application/connect+json, application/connect+proto"
    assert exchange.get("accept-post") == expected


async def test_two_content_types_are_415() -> None:
    assert (await ask(UNARY, ("content-type", PROTO))).status == 415


@pytest.mark.parametrize("value", ["", "12345678901", "-1", "1s", "1.5"])
async def test_a_malformed_timeout_is_refused_by_name(value: str) -> None:
    exchange = await ask(UNARY, ("connect-timeout-ms", value))
    assert exchange.status == 400
    assert error(exchange)["code"] == "invalid_argument"
    assert error(exchange)["message"].startswith("connect-timeout-ms")


async def test_another_version_is_refused() -> None:
    head = rpc.head(UNARY, JSON, ("connect-protocol-version", "2"))
    exchange = await rpc.serve(front(), Exchange(head, b"{}"))
    assert (exchange.status, error(exchange)["code"]) == (400, "invalid_argument")


async def test_bad_json_is_the_clients_fault() -> None:
    class Converts(Service):
        async def __call__(self, call: rpc.Call) -> Reply:
            assert call.payload is not None
            call.payload.proto()
            return await super().__call__(call)

    exchange = await ask(body=b"{]", service=Converts())
    assert (exchange.status, error(exchange)["code"]) == (400, "invalid_argument")


async def test_a_body_over_the_limit_is_resource_exhausted() -> None:
    for pieces in (None, [bytes(LIMIT), b"x"]):
        exchange = await ask(content_type=PROTO, body=bytes(LIMIT + 1), pieces=pieces)
        assert (exchange.status, error(exchange)["code"]) == (429, "resource_exhausted")
    assert (await ask(content_type=PROTO, body=bytes(LIMIT))).status == 200


async def test_bidirectional_streams_need_http_2() -> None:
    assert (await stream(CHAT, "a", version=HTTP_1_1)).status == 505
    assert parse(await stream(CHAT, "a", service=Service(rpc.many("b")), version=HTTP_2)) == (["b"], {})


# --- compression ------------------------------------------------------------------------------------------------------

LONG = "long " * 100


async def test_a_compressed_request_is_opened_and_answered_alike() -> None:
    service = Service(rpc.one(LONG))
    fields = (("content-encoding", "gzip"), ("accept-encoding", "gzip, br"))
    exchange = await ask(UNARY, *fields, body=gzip.compress(b'{"text":"q"}'), service=service)
    assert service.texts == ["q"]
    assert exchange.get("content-encoding") == "gzip"
    assert json.loads(gzip.decompress(exchange.body)) == {"text": LONG}


async def test_zstd_is_read_and_written_in_unary_calls_and_in_streams() -> None:
    service = Service(rpc.one(LONG))
    exchange = await ask(UNARY, ("content-encoding", "zstd"), body=zstd.compress(b'{"text":"q"}'), service=service)
    assert service.texts == ["q"]
    assert exchange.get("content-encoding") == "zstd"
    assert json.loads(decompress(exchange.body, b"zstd", 10_000)) == {"text": LONG}
    data = envelope(zstd.compress(kit.message("q").SerializeToString()), 1)
    service = Service(Reply(payloads=rpc.each(rpc.payload("plain"))))
    exchange = await ask(
        DOWN, ("connect-content-encoding", "zstd"), content_type=STREAM_PROTO, body=data, service=service
    )
    assert service.texts == ["q"]
    assert parse(exchange) == (["plain"], {})


async def test_who_does_not_say_what_it_accepts_accepts_what_it_uses() -> None:
    service = Service(rpc.one(LONG))
    exchange = await ask(UNARY, ("content-encoding", "gzip"), body=gzip.compress(b"{}"), service=service)
    assert exchange.get("content-encoding") == "gzip"
    exchange = await ask(
        UNARY, ("content-encoding", "gzip"), ("accept-encoding", "deflate"), body=gzip.compress(b"{}"), service=service
    )
    assert exchange.get("content-encoding") is None


@pytest.mark.parametrize(("compression", "coding"), [("always", "br"), ("never", None), ("mirror", None)])
async def test_a_setting_says_whether_plain_requests_get_compressed_replies(
    compression: str, coding: str | None
) -> None:
    exchange = await ask(
        UNARY,
        ("accept-encoding", "br, gzip"),
        service=Service(rpc.one(LONG)),
        connect=front(compression=compression),
    )
    assert exchange.get("content-encoding") == coding


async def test_gzipped_protobuf_passes_as_it_came_in_both_directions() -> None:
    data = kit.message("q").SerializeToString()
    squeezed = gzip.compress(data, mtime=0)
    payload = GzipPayload(data, Encoding.PROTO, rpc.UNARY.output.codec, squeezed)
    service = Service(Reply(payload=payload, gzip=True))
    for fields in ((("accept-encoding", "gzip"),), ()):
        exchange = await ask(
            UNARY, ("content-encoding", "gzip"), *fields, content_type=PROTO, body=squeezed, service=service
        )
        request = service.received[-1]
        assert isinstance(request, GzipPayload)
        assert request.gzipped == squeezed
        assert service.calls[-1].gzip == GZIP_REQUEST | GZIP_REPLY
        assert (exchange.get("content-encoding"), exchange.body) == ("gzip", squeezed)
    exchange = await ask(UNARY, ("accept-encoding", "br"), content_type=PROTO, body=data, service=service)
    assert (exchange.get("content-encoding"), exchange.body) == (None, data)
    exchange = await ask(UNARY, ("accept-encoding", "gzip"), service=service)
    assert (exchange.get("content-encoding"), exchange.body) == (None, b'{"text":"q"}')
    service = Service(Reply(payloads=rpc.each(payload, rpc.payload("plain")), gzip=True))
    exchange = await ask(
        DOWN, ("connect-accept-encoding", "br, gzip"), content_type=STREAM_PROTO, body=envelope(data), service=service
    )
    assert exchange.get("connect-content-encoding") == "gzip"
    assert exchange.written[0] == envelope(squeezed, 1)
    assert parse(exchange) == (["q", "plain"], {})


async def test_an_empty_body_is_not_decompressed() -> None:
    assert (await ask(UNARY, ("content-encoding", "gzip"), content_type=PROTO, body=b"")).status == 200


async def test_an_unknown_encoding_is_unimplemented_and_told_what_is_supported() -> None:
    exchange = await ask(UNARY, ("content-encoding", "deflate"))
    assert (exchange.status, exchange.get("accept-encoding")) == (501, "gzip, br, zstd")
    assert error(exchange) == {
        "code": "unimplemented",
        "message": "content-encoding: 'deflate' is not one of identity, gzip, br, zstd",
    }


async def test_a_bomb_is_resource_exhausted() -> None:
    exchange = await ask(UNARY, ("content-encoding", "gzip"), body=gzip.compress(bytes(LIMIT + 1)))
    assert (exchange.status, error(exchange)["code"]) == (429, "resource_exhausted")


async def test_a_body_that_does_not_decompress_is_refused() -> None:
    exchange = await ask(UNARY, ("content-encoding", "gzip"), body=b"no gzip")
    assert (exchange.status, error(exchange)["code"]) == (400, "invalid_argument")


# --- GET --------------------------------------------------------------------------------------------------------------


async def get(query: str, *fields: tuple[str, str], path: str = LOOK, service: Service | None = None) -> Exchange:
    head = rpc.head(f"{path}?{query}", "", *fields, method="GET", version=HTTP_1_1)
    return await rpc.serve(front(), Exchange(head), service)


@pytest.mark.parametrize("base", ["", "&base64=1"])
async def test_a_get_has_its_message_in_the_query(base: str) -> None:
    service = Service(rpc.one("hi", trailers=[("x-trail", "t")]))
    text = b'{"text":"q"}'
    message = base64.urlsafe_b64encode(text).decode().rstrip("=") if base else quote(text)
    exchange = await get(f"encoding=json&message={message}{base}&connect=v1", service=service)
    assert service.texts == ["q"]
    assert (exchange.status, exchange.body) == (200, b'{"text":"hi"}')
    assert exchange.get("trailer-x-trail") == "t"


async def test_a_get_in_protobuf_and_compressed() -> None:
    service = Service()
    data = kit.message("q").SerializeToString()
    message = base64.urlsafe_b64encode(gzip.compress(data)).decode()
    exchange = await get(
        f"connect=v1&base64=1&compression=gzip&encoding=proto&message={quote(message)}", service=service
    )
    assert service.texts == ["q"]
    assert exchange.get("content-type") == PROTO


async def test_an_empty_message_is_a_message() -> None:
    service = Service()
    assert (await get("connect=v1&encoding=proto&base64=1&message=", service=service)).status == 200
    assert service.texts == [""]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("connect=v1&encoding=json", 400, "invalid_argument"),
        ("connect=v1&encoding=json&message=!!!&base64=1", 400, "invalid_argument"),
        ("connect=v1&encoding=json&message={}&message={}", 400, "invalid_argument"),
        ("connect=v1&encoding=xml&message={}", 415, "invalid_argument"),
        ("connect=v1&message={}", 415, "invalid_argument"),
        ("connect=v1&encoding=json&message={}&compression=deflate", 501, "unimplemented"),
        ("connect=v1&encoding=json&message={}&compression=gzip", 400, "invalid_argument"),
    ],
)
async def test_a_get_that_makes_no_sense_is_refused(query: str, status: int, code: str) -> None:
    exchange = await get(query)
    assert (exchange.status, error(exchange)["code"]) == (status, code)


async def test_a_get_of_a_method_with_side_effects_is_405() -> None:
    for path in (UNARY, DOWN):
        exchange = await get("connect=v1&encoding=json&message={}", path=path)
        assert (exchange.status, exchange.get("allow")) == (405, "POST")


async def test_a_gets_timeout_is_in_its_head() -> None:
    service = Service()
    await get("connect=v1&encoding=json&message={}", ("connect-timeout-ms", "5000"), service=service)
    assert service.call.timeout == 5


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [HTTP_1_1, HTTP_2])
async def test_a_server_stream_ends_with_its_trailers_in_json(version: int) -> None:
    service = Service(rpc.many("a", "b", metadata=[("x-lead", "l")], trailers=[("x-trail", "t")]))
    exchange = await stream(DOWN, "q", service=service, version=version)
    assert service.texts == ["q"]
    assert (exchange.get("content-type"), exchange.get("x-lead")) == (STREAM_PROTO, "l")
    assert parse(exchange) == (["a", "b"], {"metadata": {"x-trail": ["t"]}})
    assert len(exchange.written) == 3


async def test_a_stream_in_json() -> None:
    service = Service(rpc.many("a", "b"))
    exchange = await stream(DOWN, content_type=STREAM_JSON, body=envelope(b'{"text":"q"}'), service=service)
    assert service.texts == ["q"]
    assert parse(exchange) == (["a", "b"], {})


async def test_an_error_in_a_stream_is_at_its_end_with_http_200() -> None:
    exchange = await stream(DOWN, "q", service=Service(rpc.many("a", status=Status(Code.ABORTED, "m"))))
    assert parse(exchange) == (["a"], {"error": {"code": "aborted", "message": "m"}})
    exchange = await stream(DOWN, "q", service=Service(Reply(status=Status(Code.NOT_FOUND))))
    assert parse(exchange) == ([], {"error": {"code": "not_found"}})


async def test_a_stream_that_is_cut_says_why() -> None:
    exchange = await stream(DOWN, "q", service=Service(rpc.many("a", error=UpstreamReset("gone"))))
    assert parse(exchange) == (["a"], {"error": {"code": "unavailable", "message": "gone"}})


async def test_a_failure_before_the_first_message_is_an_end_of_stream_too() -> None:
    exchange = await stream(DOWN, "q", service=Service(DeadlineExceeded()))
    assert parse(exchange) == ([], {"error": {"code": "deadline_exceeded", "message": "the deadline passed"}})
    exchange = await stream(DOWN, "q", service=Service(Overloaded("full")), content_type=STREAM_PROTO)
    assert parse(exchange)[1]["error"]["code"] == "unavailable"


async def test_a_client_stream_is_read_message_by_message_and_answered_with_one() -> None:
    service = Service(rpc.one("sum", trailers=[("x-trail", "t")]))
    assert parse(await stream(UP, "a", "b", service=service)) == (["sum"], {"metadata": {"x-trail": ["t"]}})
    assert service.texts == ["a", "b"]
    service = Service(Reply(status=Status(Code.ABORTED)))
    assert parse(await stream(UP, service=service)) == ([], {"error": {"code": "aborted"}})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "unimplemented"),
        (envelope(b"") * 2, "unimplemented"),
        (b"\0\0\0", "internal"),
        (envelope(b"abc")[:-1], "internal"),
        (envelope(b"", 2), "internal"),
        (envelope(b"", 0x80), "internal"),
        (envelope(b"x", 1), "internal"),
        (b"\0\xff\xff\xff\xff", "resource_exhausted"),
    ],
)
async def test_request_streams_that_are_not_one_good_message(body: bytes, code: str) -> None:
    service = Service()
    for pieces in (None, [body]):
        exchange = await stream(DOWN, body=body, pieces=pieces, service=service)
        assert parse(exchange)[1]["error"]["code"] == code
    assert not service.calls


async def test_messages_of_a_stream_are_compressed_one_by_one() -> None:
    service = Service(rpc.many(LONG, "short"))
    exchange = await ask(
        DOWN,
        ("connect-content-encoding", "gzip"),
        ("connect-accept-encoding", "gzip"),
        body=envelope(gzip.compress(kit.message("q").SerializeToString()), 1),
        content_type=STREAM_PROTO,
        service=service,
    )
    assert service.texts == ["q"]
    assert exchange.get("connect-content-encoding") == "gzip"
    assert [chunk[0] for chunk in exchange.written] == [1, 0, 2]
    assert parse(exchange) == ([LONG, "short"], {})


async def test_a_stream_in_an_unknown_encoding_is_unimplemented() -> None:
    exchange = await ask(DOWN, ("connect-content-encoding", "deflate"), content_type=STREAM_PROTO, body=envelope(b""))
    assert parse(exchange)[1]["error"]["code"] == "unimplemented"
    assert exchange.get("connect-accept-encoding") == "gzip, br, zstd"


async def test_a_stream_whose_whole_body_is_encoded_is_415() -> None:
    exchange = await ask(DOWN, ("content-encoding", "gzip"), content_type=STREAM_PROTO, body=envelope(b""))
    assert exchange.status == 415


# --- what is Connect's ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "content_type", "path", "method", "fields"),
    [
        (True, JSON, UNARY, "POST", (VERSION,)),
        (True, "Application/JSON", UNARY, "POST", (VERSION,)),
        (True, "application/xml", UNARY, "POST", (VERSION,)),
        (False, JSON, UNARY, "POST", ()),
        (False, "text/plain", UNARY, "POST", (VERSION,)),
        (True, PROTO, UNARY, "POST", ()),
        (True, "application/proto; a=b", UNARY, "DELETE", ()),
        (False, "application/protobuf", UNARY, "POST", ()),
        (True, STREAM_JSON, DOWN, "POST", ()),
        (True, "application/connect+xml", DOWN, "POST", ()),
        (False, "application/grpc", UNARY, "POST", (VERSION,)),
        (False, "application/grpc-web+proto", UNARY, "POST", (VERSION,)),
        (True, "", LOOK + "?connect=v1", "GET", ()),
        (True, "", LOOK + "?a=b&connect=v1&c", "GET", ()),
        (False, "", LOOK + "?disconnect=v1", "GET", ()),
        (False, "", LOOK + "?connect=v10", "GET", ()),
        (False, "", LOOK + "?a=connect", "GET", ()),
        (True, "", LOOK, "GET", (VERSION,)),
        (False, "", UNARY, "POST", ()),
        (False, "", LOOK, "GET", ()),
    ],
)
def test_which_requests_are_connects(
    accepted: bool, content_type: str, path: str, method: str, fields: tuple[tuple[str, str], ...]
) -> None:
    assert front().accepts(rpc.head(path, content_type, *fields, method=method)) is accepted


def test_plain_json_is_taken_when_the_setting_says_so() -> None:
    assert front(plain_json=True).accepts(rpc.head(UNARY, JSON))
    assert not front(plain_json=True).accepts(rpc.head(UNARY, JSON, method="PUT"))
    # Other paths are REST's or GraphQL's.
    assert not front(plain_json=True).accepts(rpc.head("/v1/echo", JSON))
    assert not front(plain_json=True).accepts(rpc.head("/graphql", JSON))


async def test_equal_heads_share_what_was_read_from_them() -> None:
    connect, service = front(), Service()
    for timeout in ("101", "100", "99"):
        head = rpc.head(UNARY, PROTO, ("x-a", "1"), ("connect-timeout-ms", timeout))
        await rpc.serve(connect, Exchange(head), service)
    _, first, second = service.calls  # what came once is not kept
    assert (first.timeout, second.timeout) == (0.1, 0.099)
    assert first.metadata is second.metadata
