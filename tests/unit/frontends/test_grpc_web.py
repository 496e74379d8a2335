"""What the gRPC-Web front end does otherwise than the gRPC one."""

from __future__ import annotations

import base64

import pytest

from protogw.call import Metadata, Reply
from protogw.errors import Code, DeadlineExceeded, Status, UpstreamReset
from protogw.frontends.base import Bounds
from protogw.frontends.grpc import GrpcSettings, GrpcWeb
from protogw.wire.envelope import envelope
from protogw.wire.grpc_web import TextReader
from protogw.wire.http import HTTP_1_1, HTTP_2
from tests.support import kit, rpc
from tests.support.rpc import Exchange, Service

LIMIT = 100_000
BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text"


def front() -> GrpcWeb:
    made = GrpcWeb(GrpcSettings(), Bounds(body=LIMIT))
    made.offer(rpc.CATALOG)
    return made


def message(text: str = "") -> bytes:
    return envelope(kit.message(text).SerializeToString())


async def ask(
    path: str = "/kit.v1.Echo/Unary",
    *fields: tuple[str, str],
    body: bytes | None = None,
    pieces: list[bytes] | None = None,
    service: Service | None = None,
    content_type: str = BINARY,
    version: int = HTTP_1_1,
) -> Exchange:
    head = rpc.head(path, content_type, *fields, version=version)
    body = message("q") if body is None else body
    return await rpc.serve(front(), Exchange(head, body, pieces), service)


def parse(exchange: Exchange) -> tuple[list[str], str]:
    """Messages and trailers of an answer's body, which must end with the trailers."""
    body = exchange.body
    if exchange.get("content-type") in (TEXT, TEXT + "+proto"):
        reader = TextReader()
        body = reader.feed(body)
        reader.end()
    assert exchange.trailers == ()
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        data, rest = body[5 : 5 + size], body[5 + size :]
        if body[0] == 0x80:
            assert not rest
            return found, data.decode()
        found.append(kit.Message.FromString(data).text)
        body = rest
    raise AssertionError("no trailers")


@pytest.mark.parametrize("version", [HTTP_1_1, HTTP_2])
async def test_trailers_are_the_bodys_last_frame(version: int) -> None:
    service = Service(rpc.one("hi", metadata=[("x-lead", "a")], trailers=[("x-trail", "t")]))
    exchange = await ask(service=service, version=version)
    assert service.texts == ["q"]
    assert service.call.front_end == "grpc-web"
    assert exchange.headers == [(b"content-type", BINARY.encode()), (b"x-lead", b"a")]
    assert parse(exchange) == (["hi"], "grpc-status: 0\r\nx-trail: t\r\n")


async def test_a_reply_without_trailers_has_just_its_status() -> None:
    assert parse(await ask()) == (["answer"], "grpc-status: 0\r\n")


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 9])
async def test_text_is_base64_both_ways_however_it_is_cut(cut: int) -> None:
    service = Service()
    text = base64.b64encode(message("text"))
    exchange = await ask(pieces=[text[:cut], text[cut:]], content_type=TEXT, service=service)
    assert service.texts == ["text"]
    assert exchange.get("content-type") == TEXT
    assert parse(exchange) == (["answer"], "grpc-status: 0\r\n")
    buffered = await ask(body=text, content_type=TEXT, service=service)
    assert parse(buffered) == (["answer"], "grpc-status: 0\r\n")


async def test_accept_asks_for_a_reply_in_text() -> None:
    exchange = await ask("/kit.v1.Echo/Unary", ("accept", TEXT))
    assert exchange.get("content-type") == TEXT + "+proto"
    assert parse(exchange) == (["answer"], "grpc-status: 0\r\n")


@pytest.mark.parametrize(
    "text", [b"AAA!AAAA", base64.b64encode(message("q"))[:-2], base64.b64encode(message("q")[:-1])]
)
async def test_broken_text_is_internal(text: bytes) -> None:
    for pieces in (None, [text]):
        exchange = await ask(body=text, pieces=pieces, content_type=TEXT)
        assert exchange.get("grpc-status") == "13"


async def test_json_is_in_the_same_frames() -> None:
    exchange = await ask(content_type="application/grpc-web+json", body=envelope(b'{"text":"q"}'))
    assert exchange.body.startswith(envelope(b'{"text":"answer"}'))


async def test_an_error_without_metadata_is_in_the_head() -> None:
    exchange = await ask(service=Service(Reply(status=Status(Code.ABORTED, "m"))))
    assert (exchange.status, exchange.get("grpc-status"), exchange.get("grpc-message")) == (200, "10", "m")
    assert exchange.body == b""


async def test_an_error_with_metadata_is_in_the_body() -> None:
    reply = Reply(Metadata(((b"x-lead", b"a"),)), status=Status(Code.ABORTED))
    assert parse(await ask(service=Service(reply))) == ([], "grpc-status: 10\r\n")


async def test_failures_are_in_the_head() -> None:
    exchange = await ask(body=base64.b64encode(message("q")), service=Service(DeadlineExceeded()), content_type=TEXT)
    assert (exchange.get("grpc-status"), exchange.get("content-type")) == ("4", TEXT)


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
async def test_streams_end_with_the_trailers_frame(content_type: str) -> None:
    text = content_type == TEXT
    body = base64.b64encode(message("q")) if text else message("q")
    service = Service(rpc.many("a", "b", trailers=[("x-trail", "t")]))
    exchange = await ask("/kit.v1.Echo/Down", body=body, service=service, content_type=content_type)
    assert len(exchange.written) == 3
    assert parse(exchange) == (["a", "b"], "grpc-status: 0\r\nx-trail: t\r\n")


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
async def test_a_stream_that_is_cut_says_why(content_type: str) -> None:
    text = content_type == TEXT
    body = base64.b64encode(message("q")) if text else message("q")
    service = Service(rpc.many("a", error=UpstreamReset("gone")))
    exchange = await ask("/kit.v1.Echo/Down", body=body, service=service, content_type=content_type)
    assert parse(exchange) == (["a"], "grpc-status: 14\r\ngrpc-message: gone\r\n")


async def test_client_streams_work_over_http_1_and_bidirectional_ones_need_http_2() -> None:
    service = Service()
    await ask("/kit.v1.Echo/Up", pieces=[message("a"), message("b")], service=service)
    assert service.texts == ["a", "b"]
    assert (await ask("/kit.v1.Echo/Chat")).status == 505
    assert (await ask("/kit.v1.Echo/Chat", service=Service(rpc.many("a")), version=HTTP_2)).status == 200


async def test_a_trailers_frame_in_a_request_is_internal() -> None:
    assert (await ask(body=message("q") + envelope(b"a: b\r\n", 0x80))).get("grpc-status") == "13"


def test_only_grpc_web_is_accepted() -> None:
    for content_type in (
        BINARY,
        TEXT,
        "APPLICATION/grpc-WEB",
        "application/grpc-web-text+proto",
        "application/grpc-webfoo",
    ):
        assert front().accepts(rpc.head("/x", content_type))
    for content_type in ("application/grpc", "application/grpc+proto", "application/json", ""):
        assert not front().accepts(rpc.head("/x", content_type))


async def test_a_content_type_that_only_begins_so_is_415() -> None:
    exchange = await ask(content_type="application/grpc-webfoo")
    assert exchange.status == 415
    assert "application/grpc-web-text+proto" in (exchange.get("accept-post") or "")
