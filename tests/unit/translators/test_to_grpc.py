"""The translator to gRPC, over a fake connection."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc.status_pb2 import Status as StatusMessage
from hypothesis import given
from hypothesis import strategies as st
from protogw_translators import TRANSLATORS
from protogw_translators.to_grpc import ToGrpc

from protogw.call import GZIP_REPLY, GZIP_REQUEST, Encoding, GzipPayload, Metadata, Payload
from protogw.errors import (
    BodyTooLarge,
    Code,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    Unprocessed,
    UpstreamReset,
)
from protogw.wire.envelope import envelope
from protogw.wire.http import Peer, RequestHead
from tests.support import kit, rpc
from tests.support.rpc import Connection, Stream
from tests.support.to_grpc import GRPC, LIMIT, OK_END, drain, failure, fields, message, send, text, translator


def test_it_is_in_the_table() -> None:
    assert TRANSLATORS["grpc"] is ToGrpc
    assert (ToGrpc.kind, ToGrpc.transport) == ("grpc", "http/2")


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_the_head_is_grpcs_with_the_calls_metadata() -> None:
    stream = Stream(pieces=[message("a")], trailers=OK_END)
    await send(stream, rpc.call(rpc.UNARY, "q", metadata=[("x-a", "1"), ("x-b-bin", "AP8"), ("authorization", "s")]))
    assert fields(stream.block) == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/kit.v1.Echo/Unary"),
        (":authority", "backend:50051"),
        ("te", "trailers"),
        ("content-type", "application/grpc+proto"),
        ("x-a", "1"),
        ("x-b-bin", "AP8"),
        ("authorization", "s"),
        ("user-agent", "gw/1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ]
    assert stream.sent == [message("q")]


async def test_who_asked_for_what_is_told_also_when_fields_are_shared() -> None:
    metadata = Metadata(((b"x-a", b"1"),))
    seen = []
    for host, tls in (("192.0.2.1", False), ("2001:db8::1", True)):
        stream = Stream(pieces=[message()], trailers=OK_END)
        call = rpc.call(rpc.UNARY, "q")
        call.metadata = metadata
        call.peer = Peer(host, 1, tls)
        call.head = RequestHead(b"POST", b"/", b"", b"api.test", (), 20)
        await send(stream, call)
        found = dict(fields(stream.block))
        seen.append((found["x-forwarded-for"], found["x-forwarded-proto"], found["x-forwarded-host"]))
    assert seen == [("192.0.2.1", "http", "api.test"), ("2001:db8::1", "https", "api.test")]


async def test_a_clients_own_user_agent_is_the_only_one() -> None:
    stream = Stream(pieces=[message()], trailers=OK_END)
    await send(stream, rpc.call(rpc.UNARY, "q", metadata=[("user-agent", "client/2")]))
    assert [value for name, value in fields(stream.block) if name == "user-agent"] == ["client/2"]


async def test_names_that_grpc_cannot_carry_stay_behind() -> None:
    stream = Stream(pieces=[message()], trailers=OK_END)
    call = rpc.call(rpc.UNARY, "q", metadata=[("x!y", "1"), ("x-a_b.c", "2"), ("x'-bin", "!")])
    await send(stream, call)
    assert [name for name, _ in fields(stream.block)[6:]][:2] == ["x-a_b.c", "user-agent"]


@pytest.mark.parametrize("value", ["!!!!", "A", "AA=A", "\xe9", "%00"])
async def test_binary_metadata_that_is_not_base64_is_the_clients_fault(value: str) -> None:
    with pytest.raises(InvalidRequest, match="x-b-bin: not base64"):
        await send(Stream(), rpc.call(rpc.UNARY, "q", metadata=[("x-b-bin", value)]))


async def test_what_is_left_of_the_deadline_goes_upstream() -> None:
    for left, unit, scale in ((5.0, "m", 1e3), (200_000.0, "S", 1)):
        stream = Stream(pieces=[message()], trailers=OK_END)
        await send(stream, rpc.call(rpc.UNARY, "q", deadline=asyncio.get_running_loop().time() + left))
        value = dict(fields(stream.block))["grpc-timeout"]
        assert value.endswith(unit)
        assert (left - 2) * scale <= int(value[:-1]) <= left * scale


async def test_nothing_is_sent_after_the_deadline() -> None:
    connection = Connection(Stream())
    with pytest.raises(DeadlineExceeded):
        await translator().send(rpc.call(rpc.UNARY, "q", deadline=asyncio.get_running_loop().time() - 1), connection)
    assert connection.opened == []


async def test_json_is_converted_and_bad_json_is_the_clients_fault() -> None:
    stream = Stream(pieces=[message()], trailers=OK_END)
    call = rpc.call(rpc.UNARY, "q")
    call.payload = Payload(b'{"text":"json"}', Encoding.JSON, rpc.UNARY.input.codec)
    await send(stream, call)
    assert stream.sent == [message("json")]
    call.payload = Payload(b"{]", Encoding.JSON, rpc.UNARY.input.codec)
    with pytest.raises(InvalidRequest):
        await send(Stream(), call)


async def test_timeouts_kept_are_bounded_and_heads_follow_the_metadata() -> None:
    made = translator()
    for number in range(200):
        stream = Stream(pieces=[message()], trailers=OK_END)
        deadline = asyncio.get_running_loop().time() + 10 + number * 10
        call = rpc.call(rpc.UNARY, "q", metadata=[("x-n", str(number))], deadline=deadline)
        await made.send(call, Connection(stream))
        assert dict(fields(stream.block))["x-n"] == str(number)
    assert len(made._plans) == 1
    assert len(made._timeouts) <= 1024


# --- unary replies ----------------------------------------------------------------------------------------------------


async def test_a_reply_is_its_message_metadata_and_trailers() -> None:
    reply = await send(
        Stream(
            fields=(*GRPC, ("x-lead", "a"), ("grpc-accept-encoding", "gzip"), ("date", "now")),
            pieces=[message("hi")],
            trailers=(*OK_END, ("x-trail", "t")),
        )
    )
    assert text(reply.payload) == "hi"
    assert reply.metadata.pairs == ((b"x-lead", b"a"),)
    assert reply.trailers.pairs == ((b"x-trail", b"t"),)
    assert reply.status.code is Code.OK


async def test_replies_with_one_head_share_their_metadata() -> None:
    stream = Stream(fields=(*GRPC, ("x-lead", "a")), pieces=[message("hi")], trailers=OK_END)
    made, connection = translator(), Connection(stream, stream)
    first = await made.send(rpc.call(rpc.UNARY, "q"), connection)
    second = await made.send(rpc.call(rpc.UNARY, "q"), connection)
    assert first.metadata is second.metadata


async def test_a_status_in_the_trailers_is_a_reply() -> None:
    details = base64.b64encode(StatusMessage(code=5, message="Zoë").SerializeToString()).decode()
    reply = await send(
        Stream(
            fields=(*GRPC, ("x-lead", "a")),
            trailers=(
                ("grpc-status", "5"),
                ("grpc-message", "plain"),
                ("grpc-status-details-bin", details),
                ("x-trail", "t"),
            ),
        )
    )
    assert (reply.status.code, reply.status.message) == (Code.NOT_FOUND, "Zoë")
    assert reply.metadata.pairs == ((b"x-lead", b"a"),)
    assert reply.trailers.pairs == ((b"x-trail", b"t"),)
    assert reply.payload is None


async def test_a_trailers_only_reply_has_trailers_and_no_metadata() -> None:
    for method in (rpc.UNARY, rpc.DOWN, rpc.UP, rpc.CHAT):
        stream = Stream(fields=(*GRPC, ("grpc-status", "7"), ("grpc-message", "no%21"), ("x-trail", "t")))
        reply = await send(stream, rpc.call(method, "q"))
        assert (reply.status.code, reply.status.message) == (Code.PERMISSION_DENIED, "no!")
        assert reply.metadata.pairs == ()
        assert reply.trailers.pairs == ((b"x-trail", b"t"),)
        assert reply.payloads is None


async def test_a_compressed_reply_is_opened() -> None:
    squeezed = envelope(gzip.compress(kit.message("hi").SerializeToString()), 1)
    for method in (rpc.UNARY, rpc.UP):
        stream = Stream(fields=(*GRPC, ("grpc-encoding", "gzip")), pieces=[squeezed], trailers=OK_END)
        assert text((await send(stream, rpc.call(method, "q"))).payload) == "hi"
    stream = Stream(fields=(*GRPC, ("grpc-encoding", "gzip")), pieces=[squeezed, message("b")], trailers=OK_END)
    assert await drain(await send(stream, rpc.call(rpc.DOWN, "q"))) == ["hi", "b"]


# --- gzipped messages that travel on as they came ---------------------------------------------------------------------

SQUEEZED = gzip.compress(kit.message("hi").SerializeToString(), mtime=0)
GZIPPED = (*GRPC, ("grpc-encoding", "gzip"))


def zipped(call: rpc.Call, bits: int) -> rpc.Call:
    """The call as a client that gzips, or takes gzip, has it."""
    call.gzip = bits
    if call.payload is not None:
        call.payload = GzipPayload(
            kit.message("hi").SerializeToString(), Encoding.PROTO, rpc.UNARY.input.codec, SQUEEZED
        )
    return call


@pytest.mark.parametrize("method", [rpc.UNARY, rpc.DOWN], ids=lambda method: method.name)
async def test_a_gzipped_request_message_goes_on_as_it_came(method: rpc.Method) -> None:
    stream = Stream(pieces=[message("a")], trailers=OK_END)
    await send(stream, zipped(rpc.call(method, "q"), GZIP_REQUEST))
    assert stream.sent == [envelope(SQUEEZED, 1)]
    assert dict(fields(stream.block))["grpc-encoding"] == "gzip"
    assert "grpc-accept-encoding" not in dict(fields(stream.block))


async def test_a_client_stream_may_mix_gzipped_and_plain_messages() -> None:
    async def payloads() -> AsyncIterator[Payload]:
        yield GzipPayload(b"", Encoding.PROTO, rpc.UP.input.codec, SQUEEZED)
        yield rpc.payload("plain")

    stream = Stream(pieces=[message("a")], trailers=OK_END)
    stream.whole = _after_end(stream)  # type: ignore[method-assign]
    await send(stream, zipped(rpc.call(rpc.UP, payloads=payloads()), GZIP_REQUEST))
    assert stream.sent == [envelope(SQUEEZED, 1), message("plain")]


def _after_end(stream: Stream) -> Any:
    async def whole(limit: int) -> Any:
        await stream.ended.wait()
        return await Stream.whole(stream, limit)

    return whole


async def test_without_leave_a_gzipped_message_goes_out_plain() -> None:
    stream = Stream(pieces=[message("a")], trailers=OK_END)
    await send(stream, zipped(rpc.call(rpc.UNARY, "q"), 0))
    assert stream.sent == [message("hi")]
    assert "grpc-encoding" not in dict(fields(stream.block))


async def test_a_client_that_takes_gzip_is_given_the_replys_messages_as_they_came() -> None:
    for method in (rpc.UNARY, rpc.UP, rpc.DOWN):
        stream = Stream(fields=GZIPPED, pieces=[envelope(SQUEEZED, 1)], trailers=OK_END)
        reply = await send(stream, zipped(rpc.call(method, "q"), GZIP_REPLY))
        assert dict(fields(stream.block))["grpc-accept-encoding"] == "identity,gzip"
        assert reply.gzip
        payload = reply.payload if reply.payloads is None else await anext(reply.payloads)
        assert isinstance(payload, GzipPayload)
        assert (payload.gzipped, text(payload)) == (SQUEEZED, "hi")


async def test_a_bomb_is_found_even_if_it_only_passes() -> None:
    call = zipped(rpc.call(rpc.UNARY, "q"), GZIP_REPLY)
    assert isinstance(await failure(Stream(fields=GZIPPED, pieces=[BOMB], trailers=OK_END), call), BodyTooLarge)


@pytest.mark.parametrize(
    ("head", "trailers"),
    [
        ((*GRPC, ("grpc-accept-encoding", "identity"), ("grpc-status", "12")), ()),
        (
            GRPC,
            (("grpc-status", "12"), ("grpc-message", 'grpc: Decompressor is not installed for grpc-encoding "gzip"')),
        ),
    ],
)
async def test_a_service_that_reads_no_gzip_is_sent_plain_messages_from_then_on(
    head: rpc.Fields, trailers: rpc.Fields
) -> None:
    made = translator()
    again = [Stream(pieces=[message("a")], trailers=OK_END) for _ in range(2)]
    connection = Connection(Stream(fields=head, trailers=trailers), *again)
    for _ in range(2):
        reply = await made.send(zipped(rpc.call(rpc.UNARY, "q"), GZIP_REQUEST), connection)
        assert text(reply.payload) == "a"
    assert [stream.sent for stream in again] == [[message("hi")]] * 2
    assert "grpc-encoding" not in dict(fields(again[0].block))


async def test_a_method_that_is_not_implemented_is_not_taken_for_that() -> None:
    stream = Stream(fields=(*GRPC, ("grpc-accept-encoding", "identity, gzip"), ("grpc-status", "12")))
    reply = await send(stream, zipped(rpc.call(rpc.UNARY, "q"), GZIP_REQUEST))
    assert reply.status.code is Code.UNIMPLEMENTED


HTML = (("content-type", "text/html"),)
GOOD = message("a")
BOMB = envelope(gzip.compress(bytes(LIMIT + 1)), 1)
FAULTS = [
    # How it is broken; HTTP status, head, body, trailers; the code that the specifications give it.
    ("400", 400, HTML, b"", (), Code.INTERNAL),
    ("401", 401, HTML, b"", (), Code.UNAUTHENTICATED),
    ("403", 403, HTML, b"", (), Code.PERMISSION_DENIED),
    ("404", 404, HTML, b"<html>", (), Code.UNIMPLEMENTED),
    ("429", 429, HTML, b"", (), Code.UNAVAILABLE),
    ("431", 431, HTML, b"", (), Code.INTERNAL),
    ("502", 502, HTML, b"", (), Code.UNAVAILABLE),
    ("503", 503, HTML, b"", (), Code.UNAVAILABLE),
    ("504", 504, HTML, b"", (), Code.UNAVAILABLE),
    ("500", 500, HTML, b"", (), Code.UNKNOWN),
    ("204", 204, (), b"", (), Code.UNKNOWN),
    ("503 that says grpc", 503, GRPC, b"", (), Code.UNAVAILABLE),
    ("another content type", 200, HTML, GOOD, OK_END, Code.UNKNOWN),
    ("no content type", 200, (), GOOD, OK_END, Code.UNKNOWN),
    ("grpc-web", 200, (("content-type", "application/grpc-web"),), GOOD, OK_END, Code.UNKNOWN),
    ("another codec", 200, (("content-type", "application/grpc+json"),), GOOD, OK_END, Code.INTERNAL),
    ("no status at all", 200, GRPC, GOOD, (), Code.INTERNAL),
    ("nothing at all", 200, GRPC, b"", (), Code.INTERNAL),
    ("trailers without a status", 200, GRPC, GOOD, (("x-a", "b"),), Code.UNKNOWN),
    ("a status in the head of a reply with a body", 200, (*GRPC, ("grpc-status", "0")), GOOD, (), Code.INTERNAL),
    ("cut within the message", 200, GRPC, GOOD[:-1], OK_END, Code.INTERNAL),
    ("cut within the prefix", 200, GRPC, b"\0\0\0", OK_END, Code.INTERNAL),
    ("a length that lies", 200, GRPC, b"\0\0\x01\0\0abc", OK_END, Code.INTERNAL),
    ("a length over the limit", 200, GRPC, b"\0\xff\xff\xff\xff", OK_END, Code.RESOURCE_EXHAUSTED),
    ("compressed without an encoding", 200, GRPC, b"\x01" + GOOD[1:], OK_END, Code.INTERNAL),
    ("another encoding", 200, (*GRPC, ("grpc-encoding", "snappy")), GOOD, OK_END, Code.INTERNAL),
    ("no gzip", 200, (*GRPC, ("grpc-encoding", "gzip")), b"\x01" + GOOD[1:], OK_END, Code.INTERNAL),
    ("a bomb", 200, (*GRPC, ("grpc-encoding", "gzip")), BOMB, OK_END, Code.RESOURCE_EXHAUSTED),
    ("a flag that means nothing", 200, GRPC, b"\x80" + GOOD[1:], OK_END, Code.INTERNAL),
]


@pytest.mark.parametrize("method", [rpc.UNARY, rpc.UP, rpc.DOWN, rpc.CHAT], ids=lambda method: method.name)
@pytest.mark.parametrize(
    ("status", "head", "body", "trailers", "code"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
async def test_broken_replies_have_the_code_that_grpc_gives_them_and_are_never_ok(
    method: rpc.Method,
    status: int,
    head: rpc.Fields,
    body: bytes,
    trailers: rpc.Fields,
    code: Code,
) -> None:
    stream = Stream(status, head, [body] if body else [], trailers)
    error = await failure(stream, rpc.call(method, "q"))
    assert error.status.code is code
    assert not error.retryable


@pytest.mark.parametrize("body", [b"", GOOD + GOOD])
async def test_another_number_of_messages_than_one_is_unimplemented(body: bytes) -> None:
    """statuscodes.md: response cardinality violation."""
    for method in (rpc.UNARY, rpc.UP):
        error = await failure(Stream(pieces=[body], trailers=OK_END), rpc.call(method, "q"))
        assert error.status.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("value", ["abc", "999", "-1", ""])
async def test_a_status_that_is_no_code_is_unknown(value: str) -> None:
    reply = await send(Stream(pieces=[GOOD], trailers=(("grpc-status", value), ("grpc-message", "%zz"))))
    assert (reply.status.code, reply.status.message) == (Code.UNKNOWN, "%zz")


async def test_an_error_status_wins_over_a_message_that_came_before_it() -> None:
    reply = await send(Stream(pieces=[GOOD], trailers=(("grpc-status", "10"),)))
    assert reply.status.code is Code.ABORTED


async def test_a_status_in_an_http_error_is_what_the_service_says() -> None:
    reply = await send(Stream(503, (*GRPC, ("grpc-status", "8"))))
    assert reply.status.code is Code.RESOURCE_EXHAUSTED


async def test_the_trailers_status_wins_over_the_heads() -> None:
    reply = await send(Stream(fields=(*GRPC, ("grpc-status", "8")), trailers=(("grpc-status", "9"),)))
    assert reply.status.code is Code.FAILED_PRECONDITION


@given(st.binary(max_size=40))
def test_any_body_is_one_message_or_an_error(body: bytes) -> None:
    async def run() -> bytes | Code:
        try:
            reply = await send(Stream(pieces=[body], trailers=OK_END))
        except GatewayError as error:
            return error.status.code
        assert reply.payload is not None
        return envelope(reply.payload.data)

    assert asyncio.run(run()) in (body, Code.INTERNAL, Code.UNIMPLEMENTED, Code.RESOURCE_EXHAUSTED)


async def test_failures_of_the_connection_pass() -> None:
    assert (await failure(Stream(error=Unprocessed("goaway")))).retryable
    assert isinstance(await failure(Stream(error=UpstreamReset("gone"))), UpstreamReset)
    assert isinstance(await failure(Stream(pieces=[bytes(LIMIT + 6)])), BodyTooLarge)


async def test_a_cancelled_call_cancels_upstream_at_once() -> None:
    for method in (rpc.UNARY, rpc.UP, rpc.DOWN, rpc.CHAT):
        stream = Stream(hang=True)
        task = asyncio.ensure_future(send(stream, rpc.call(method, "q")))
        await asyncio.wait_for(stream.ended.wait(), 5)
        assert not stream.cancelled.is_set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stream.cancelled.is_set()
    assert len(asyncio.all_tasks()) == 1
