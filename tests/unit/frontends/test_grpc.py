"""The gRPC front end, over a fake exchange."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator

import pytest

from protogw.call import GZIP_REPLY, GZIP_REQUEST, Encoding, GzipPayload, Metadata, Payload, Reply
from protogw.descriptors.catalog import EMPTY
from protogw.errors import (
    Code,
    DeadlineExceeded,
    Detail,
    GatewayError,
    InternalError,
    Overloaded,
    Status,
    UpstreamReset,
)
from protogw.frontends.base import Bounds
from protogw.frontends.grpc import Grpc, GrpcSettings
from protogw.wire.envelope import envelope
from protogw.wire.http import HTTP_1_1
from tests.support import kit, rpc
from tests.support.rpc import Exchange, Service

LIMIT = 100_000
TYPE = "application/grpc"
UNARY, DOWN = "/kit.v1.Echo/Unary", "/kit.v1.Echo/Down"


def front(**settings: str) -> Grpc:
    made = Grpc(GrpcSettings.model_validate(settings), Bounds(body=LIMIT))
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
    content_type: str = TYPE,
    grpc: Grpc | None = None,
    version: int = 20,
    method: str = "POST",
) -> Exchange:
    head = rpc.head(path, content_type, ("te", "trailers"), *fields, version=version, method=method)
    exchange = Exchange(head, message("q") if body is None else body, pieces)
    return await rpc.serve(grpc or front(), exchange, service)


def texts(exchange: Exchange) -> list[str]:
    """The messages of an answer."""
    found, body = [], exchange.body
    while body:
        size = int.from_bytes(body[1:5], "big")
        data = body[5 : 5 + size]
        found.append(kit.Message.FromString(gzip.decompress(data) if body[0] else data).text)
        body = body[5 + size :]
    return found


def trailers_only(exchange: Exchange) -> tuple[str | None, str | None]:
    """Status and message of an answer that is nothing but a head."""
    assert (exchange.status, exchange.body, exchange.trailers, exchange.ended) == (200, b"", (), True)
    return exchange.get("grpc-status"), exchange.get("grpc-message")


async def test_a_unary_call_goes_in_and_its_reply_comes_out() -> None:
    service = Service(rpc.one("hi", metadata=[("x-lead", "a")], trailers=[("x-trail", "t")]))
    exchange = await ask("/kit.v1.Echo/Unary", ("x-mine", "1"), ("grpc-timeout", "250m"), service=service)
    call = service.call
    assert call is exchange.call
    assert call.method is rpc.UNARY
    assert call.metadata == Metadata(((b"x-mine", b"1"),))
    assert call.timeout == 0.25
    assert call.front_end == "grpc"
    assert service.texts == ["q"]
    assert exchange.headers == [(b"content-type", b"application/grpc"), (b"x-lead", b"a")]
    assert exchange.trailers == ((b"grpc-status", b"0"), (b"x-trail", b"t"))
    assert texts(exchange) == ["hi"]


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/gRPC+proto; a=b"])
async def test_the_answers_content_type_is_the_requests(content_type: str) -> None:
    exchange = await ask(content_type=content_type)
    assert exchange.get("content-type") == content_type.partition(";")[0].lower()


async def test_json_goes_to_the_codec_and_back() -> None:
    service = Service()
    exchange = await ask(content_type="application/grpc+json", body=envelope(b'{"text":"q"}'), service=service)
    assert service.received[0].encoding is Encoding.JSON
    assert service.texts == ["q"]
    assert exchange.body == envelope(b'{"text":"answer"}')
    assert exchange.get("content-type") == "application/grpc+json"


async def test_a_reply_that_does_not_convert_is_internal() -> None:
    service = Service(Reply(payload=Payload(b"\xff\xff", Encoding.PROTO, rpc.UNARY.output.codec)))
    exchange = await ask(content_type="application/grpc+json", body=envelope(b"{}"), service=service)
    assert trailers_only(exchange)[0] == "13"


@pytest.mark.parametrize("cut", [1, 3, 5, 6])
async def test_a_body_in_pieces_is_put_together(cut: int) -> None:
    service = Service()
    body = message("in pieces")
    await ask(pieces=[body[:cut], body[cut:]], service=service)
    assert service.texts == ["in pieces"]


async def test_equal_heads_share_what_was_read_from_them_until_the_catalog_changes() -> None:
    grpc, service = front(), Service()
    head = rpc.head("/kit.v1.Echo/Unary", TYPE, ("x-a", "1"))
    for _ in range(2):
        await rpc.serve(grpc, Exchange(head, message()), service)
    assert service.calls[0].metadata is service.calls[1].metadata
    grpc.offer(EMPTY)
    exchange = await rpc.serve(grpc, Exchange(head, message()), service)
    assert trailers_only(exchange)[0] == "12"
    # Another front end of the same kind, after a reload, does not take over what this one kept.
    other = Grpc(GrpcSettings(), Bounds(body=3))
    other.offer(rpc.CATALOG)
    assert trailers_only(await rpc.serve(other, Exchange(head, message("too long"))))[0] == "8"


async def test_heads_that_differ_in_their_timeout_only_share_their_metadata() -> None:
    grpc, service = front(), Service()
    for timeout in ("2S", "1S", "999m"):
        head = rpc.head("/kit.v1.Echo/Unary", TYPE, ("x-a", "1"), ("grpc-timeout", timeout), ("x-b", "2"))
        await rpc.serve(grpc, Exchange(head, message()), service)
    _, first, second = service.calls  # what came once is not kept
    assert (first.timeout, second.timeout) == (1, 0.999)
    assert first.metadata is second.metadata
    assert first.metadata.pairs == ((b"x-a", b"1"), (b"x-b", b"2"))


async def test_targets_kept_are_bounded_in_number_and_size() -> None:
    grpc = front()
    for number in range(600):
        head = rpc.head("/kit.v1.Echo/Unary", TYPE, ("x-a", str(number)))
        await rpc.serve(grpc, Exchange(head, message()))
    assert len(grpc._targets._kept) <= 256
    grpc._targets.clear()
    await rpc.serve(grpc, Exchange(rpc.head("/kit.v1.Echo/Unary", TYPE, ("x-a", "v" * 5000)), message()))
    assert not grpc._targets._kept


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_method_is_unimplemented_in_trailers_only() -> None:
    exchange = await ask("/kit.v1.Echo/Nothing")
    assert trailers_only(exchange) == ("12", "kit.v1.Echo/Nothing is not offered")
    assert exchange.get("content-type") == TYPE


async def test_other_verbs_are_405_with_allow() -> None:
    exchange = await ask(method="GET")
    assert (exchange.status, exchange.get("allow")) == (405, "POST")


@pytest.mark.parametrize("content_type", ["application/grpc+foo", "application/grpcfoo", "application/grpc/x"])
async def test_other_content_types_are_415_with_what_is_accepted(content_type: str) -> None:
    exchange = await ask(content_type=content_type)
    assert exchange.status == 415
    assert exchange.get("accept-post") == "application/grpc, application/grpc+proto, application/grpc+json"


async def test_two_content_types_or_a_content_encoding_are_415() -> None:
    assert (await ask("/kit.v1.Echo/Unary", ("content-type", "text/plain"))).status == 415
    assert (await ask("/kit.v1.Echo/Unary", ("content-encoding", "gzip"))).status == 415


async def test_grpc_on_http_1_is_505() -> None:
    assert (await ask(version=HTTP_1_1)).status == 505


def test_grpc_web_is_not_grpcs() -> None:
    for content_type in (
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "text/x",
        "",
    ):
        assert not front().accepts(rpc.head("/x", content_type))


@pytest.mark.parametrize("value", ["", "123456789S", "1", "S", "-1S", "1 S", "1.0S"])
async def test_a_malformed_timeout_is_refused_by_name(value: str) -> None:
    status, text = trailers_only(await ask("/kit.v1.Echo/Unary", ("grpc-timeout", value)))
    assert status == "3"
    assert text is not None
    assert text.startswith("grpc-timeout")


async def test_two_timeouts_are_refused() -> None:
    fields = (("grpc-timeout", "1S"), ("grpc-timeout", "2S"))
    assert trailers_only(await ask("/kit.v1.Echo/Unary", *fields))[0] == "3"


async def test_no_time_at_all_is_what_the_call_says() -> None:
    service = Service()
    await ask("/kit.v1.Echo/Unary", ("grpc-timeout", "0n"), service=service)
    assert service.call.timeout == 0


async def test_an_unknown_encoding_is_unimplemented_and_told_what_is_accepted() -> None:
    exchange = await ask("/kit.v1.Echo/Unary", ("grpc-encoding", "snappy"))
    status, text = trailers_only(exchange)
    assert status == "12"
    assert text == "grpc-encoding: 'snappy' is not one of identity, gzip"
    assert exchange.get("grpc-accept-encoding") == "identity,gzip"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "12"),
        (message("a") + message("b"), "12"),
        (b"\0\0\0", "13"),
        (message("abc")[:-1], "13"),
        (b"\x01\0\0\0\x01x", "13"),
        (b"\x80\0\0\0\0", "13"),
        (b"\x02\0\0\0\0", "13"),
        (b"\0\xff\xff\xff\xff", "8"),
        (b"\0" + (LIMIT + 1).to_bytes(4, "big") + bytes(LIMIT + 1), "8"),
    ],
)
@pytest.mark.parametrize("path", ["/kit.v1.Echo/Unary", "/kit.v1.Echo/Down"])
async def test_bodies_that_are_not_one_good_message(body: bytes, status: str, path: str) -> None:
    """statuscodes.md: another number of messages is UNIMPLEMENTED, broken ones INTERNAL, large RESOURCE_EXHAUSTED."""
    service = Service()
    for pieces in (None, [body], [body[:4], body[4:]]):
        assert trailers_only(await ask(path, body=body, pieces=pieces, service=service))[0] == status
    assert not service.calls


async def test_a_length_that_lies_is_refused_before_the_rest_is_read() -> None:
    head = rpc.head("/kit.v1.Echo/Unary", TYPE)
    exchange = Exchange(head, pieces=[b"\0\x7f\xff\xff\xff", b"x", b"y"])
    assert trailers_only(await rpc.serve(front(), exchange))[0] == "8"
    assert exchange.unread == 2


# --- compression ------------------------------------------------------------------------------------------------------

LONG = "long " * 100


def squeezed(text: str) -> bytes:
    return envelope(gzip.compress(kit.message(text).SerializeToString()), 1)


async def test_compressed_requests_are_opened_and_answered_alike() -> None:
    service = Service(rpc.one(LONG))
    fields = (("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip"))
    exchange = await ask("/kit.v1.Echo/Unary", *fields, body=squeezed("q"), service=service)
    assert service.texts == ["q"]
    assert exchange.get("grpc-encoding") == "gzip"
    assert exchange.get("grpc-accept-encoding") == "identity,gzip"
    assert exchange.body[0] == 1
    assert texts(exchange) == [LONG]


async def test_a_client_that_accepts_no_compression_gets_none() -> None:
    exchange = await ask(
        "/kit.v1.Echo/Unary", ("grpc-encoding", "gzip"), body=squeezed("q"), service=Service(rpc.one(LONG))
    )
    assert exchange.get("grpc-encoding") is None
    assert exchange.body[0] == 0


@pytest.mark.parametrize(("compression", "flag"), [("always", 1), ("never", 0), ("mirror", 0)])
async def test_a_setting_says_whether_plain_requests_get_compressed_replies(compression: str, flag: int) -> None:
    exchange = await ask(
        "/kit.v1.Echo/Unary",
        ("grpc-accept-encoding", "gzip"),
        grpc=front(compression=compression),
        service=Service(rpc.one(LONG)),
    )
    assert exchange.body[0] == flag
    assert texts(exchange) == [LONG]


def zipped(text: str) -> GzipPayload:
    data = kit.message(text).SerializeToString()
    return GzipPayload(data, Encoding.PROTO, rpc.UNARY.output.codec, gzip.compress(data, mtime=0))


async def test_gzipped_messages_pass_as_they_came_in_both_directions() -> None:
    for path, reply in ((UNARY, Reply(payload=zipped("hi"), gzip=True)), (DOWN, rpc.many("plain"))):
        if reply.payloads is not None:
            reply = Reply(payloads=rpc.each(zipped("hi"), rpc.payload("plain")), gzip=True)
        service = Service(reply)
        fields = (("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip"))
        exchange = await ask(path, *fields, body=squeezed("q"), service=service)
        assert service.call.gzip == GZIP_REQUEST | GZIP_REPLY
        (request,) = service.received
        assert isinstance(request, GzipPayload)
        assert envelope(request.gzipped, 1) == squeezed("q")
        assert exchange.get("grpc-encoding") == "gzip"
        assert exchange.body.startswith(envelope(zipped("hi").gzipped, 1))
        assert texts(exchange)[0] == "hi"


@pytest.mark.parametrize(
    ("accepted", "content_type", "compression"),
    [("identity", TYPE, "mirror"), ("gzip", "application/grpc+json", "mirror"), ("gzip", TYPE, "never")],
)
async def test_a_gzipped_reply_is_opened_where_it_cannot_pass(
    accepted: str, content_type: str, compression: str
) -> None:
    service = Service(Reply(payload=zipped("hi"), gzip=True))
    exchange = await ask(
        UNARY,
        ("grpc-accept-encoding", accepted),
        body=envelope(b"{}") if "json" in content_type else None,
        service=service,
        content_type=content_type,
        grpc=front(compression=compression),
    )
    assert not service.call.gzip
    assert exchange.get("grpc-encoding") is None
    assert exchange.body[0] == 0


async def test_a_bomb_is_resource_exhausted() -> None:
    bomb = envelope(gzip.compress(bytes(LIMIT + 1)), 1)
    assert trailers_only(await ask("/kit.v1.Echo/Unary", ("grpc-encoding", "gzip"), body=bomb))[0] == "8"


# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in Code if code])
async def test_an_error_status_without_metadata_is_trailers_only(code: Code) -> None:
    service = Service(Reply(status=Status(code, "Zoë\n%"), trailers=Metadata(((b"x-trail", b"t"),))))
    exchange = await ask(service=service)
    assert trailers_only(exchange) == (str(int(code)), "Zo%C3%AB%0A%25")
    assert exchange.get("x-trail") == "t"


async def test_an_error_status_with_metadata_keeps_head_and_trailers_apart() -> None:
    reply = Reply(Metadata(((b"x-lead", b"a"),)), status=Status(Code.ABORTED), trailers=Metadata(((b"x-trail", b"t"),)))
    exchange = await ask(service=Service(reply))
    assert (exchange.get("x-lead"), exchange.get("grpc-status")) == ("a", None)
    assert exchange.trailers == ((b"grpc-status", b"10"), (b"x-trail", b"t"))


async def test_details_travel_unpadded() -> None:
    reply = Reply(status=Status(Code.ABORTED, "m", (Detail("x/a.B", b"12"),)))
    details = (await ask(service=Service(reply))).get("grpc-status-details-bin")
    assert details is not None
    assert not details.endswith("=")
    assert base64.b64decode(details + "=" * (-len(details) % 4)).endswith(b"12")


@pytest.mark.parametrize(
    ("error", "status"),
    [(DeadlineExceeded(), "4"), (InternalError(), "13"), (Overloaded("full"), "14"), (UpstreamReset("gone"), "14")],
)
async def test_failures_become_statuses(error: GatewayError, status: str) -> None:
    assert trailers_only(await ask(service=Service(error)))[0] == status


def test_a_request_of_another_protocol_is_told_in_plain_http() -> None:
    exchange = Exchange(rpc.head("/x", "text/html"))
    front().fail(exchange, GatewayError("nothing here", http_status=404))
    assert (exchange.status, exchange.get("grpc-status"), exchange.body) == (404, None, b"nothing here\n")


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_server_stream_ends_with_its_status_and_trailers() -> None:
    service = Service(rpc.many("a", "b", metadata=[("x-lead", "l")], trailers=[("x-trail", "t")]))
    exchange = await ask("/kit.v1.Echo/Down", service=service)
    assert texts(exchange) == ["a", "b"]
    assert exchange.get("x-lead") == "l"
    assert exchange.trailers == ((b"grpc-status", b"0"), (b"x-trail", b"t"))
    assert service.texts == ["q"]


async def test_an_error_after_messages_is_in_the_trailers() -> None:
    exchange = await ask("/kit.v1.Echo/Down", service=Service(rpc.many("a", status=Status(Code.ABORTED, "m"))))
    assert texts(exchange) == ["a"]
    assert (exchange.trailer("grpc-status"), exchange.trailer("grpc-message")) == ("10", "m")


async def test_a_stream_that_is_cut_ends_with_the_reason() -> None:
    exchange = await ask("/kit.v1.Echo/Down", service=Service(rpc.many("a", error=UpstreamReset("gone"))))
    assert texts(exchange) == ["a"]
    assert exchange.trailer("grpc-status") == "14"
    assert exchange.ended


async def test_a_stream_without_a_message_is_trailers_only_when_the_upstream_was() -> None:
    exchange = await ask("/kit.v1.Echo/Down", service=Service(Reply(status=Status(Code.NOT_FOUND))))
    assert trailers_only(exchange)[0] == "5"


async def test_a_client_stream_is_read_message_by_message() -> None:
    service = Service(rpc.one("sum"))
    exchange = await ask("/kit.v1.Echo/Up", pieces=[message("a") + message("b")[:3], message("b")[3:]], service=service)
    assert service.texts == ["a", "b"]
    assert texts(exchange) == ["sum"]


async def test_a_client_stream_may_be_empty() -> None:
    service = Service(rpc.one("sum"))
    assert texts(await ask("/kit.v1.Echo/Up", body=b"", service=service)) == ["sum"]
    assert service.texts == []


async def test_a_client_stream_cut_within_a_message_is_internal() -> None:
    assert trailers_only(await ask("/kit.v1.Echo/Up", pieces=[message("a"), b"\0\0\0"]))[0] == "13"


async def test_messages_of_a_bidirectional_stream_cross() -> None:
    """Each reply is written before the next request message is read."""
    head = rpc.head("/kit.v1.Echo/Chat", TYPE)
    exchange = Exchange(head, pieces=[message("a"), message("b")])
    order: list[tuple[int, int]] = []

    async def echo(call: rpc.Call) -> Reply:
        async def answers() -> AsyncIterator[Payload]:
            assert call.payloads is not None
            async for payload in call.payloads:
                order.append((exchange.unread, len(exchange.written)))
                yield payload

        return Reply(payloads=answers())

    await front().serve(exchange, echo)
    assert order == [(1, 0), (0, 1)]
    assert texts(exchange) == ["a", "b"]


async def test_an_abandoned_reply_stream_is_closed_at_once() -> None:
    closed = False

    async def endless() -> AsyncIterator[Payload]:
        nonlocal closed
        try:
            while True:
                yield rpc.payload("x")
        finally:
            closed = True

    exchange = Exchange(rpc.head("/kit.v1.Echo/Down", TYPE), message())
    exchange.fail_write = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await front().serve(exchange, Service(Reply(payloads=endless())))
    assert closed


async def test_a_failure_after_the_end_changes_nothing() -> None:
    grpc = front()
    exchange = await ask("/kit.v1.Echo/Down", service=Service(rpc.many("a")), grpc=grpc)
    grpc.fail(exchange, InternalError())
    assert exchange.trailers == ((b"grpc-status", b"0"),)
