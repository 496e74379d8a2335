"""The opaque front end: which requests become calls, and how replies are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import (
    BadUpstream,
    BodyTooLarge,
    Code,
    DeadlineExceeded,
    Detail,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotOffered,
    Overloaded,
    Status,
    Unreachable,
    UpstreamReset,
)
from protogw.frontends.base import Bounds
from protogw.frontends.http import Http, HttpSettings
from protogw.wire.http import Header, ResponseHead
from protogw.wire.http_status import HTTP_STATUS
from tests.support import rpc
from tests.support.pipe import End, pipe
from tests.support.rpc import Exchange
from tests.support.transport import settle

LIMIT = 1000


class Service:
    """Keeps the call and its body, and answers."""

    def __init__(self, answer: Reply | GatewayError | None = None) -> None:
        self.answer = answer or reply(200, b"ok")
        self.calls: list[Call] = []
        self.body = b""

    @property
    def call(self) -> Call:
        (call,) = self.calls
        return call

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        if call.payload is not None:
            self.body = call.payload.data
        elif call.payloads is not None:
            self.body = b"".join([payload.data async for payload in call.payloads])
        if isinstance(self.answer, GatewayError):
            raise self.answer
        return self.answer


def reply(status: int, body: bytes | None, *fields: Header) -> Reply:
    found = Reply(head=ResponseHead(status, fields))
    if body is not None:
        found.payload = Payload(body, Encoding.RAW)
    return found


def streamed(*pieces: bytes, error: GatewayError | None = None, trailers: tuple[Header, ...] = ()) -> Reply:
    found = reply(200, None)

    async def payloads() -> AsyncIterator[Payload]:
        for piece in pieces:
            yield Payload(piece, Encoding.RAW)
        if error is not None:
            raise error
        found.trailers = Metadata(trailers)

    found.payloads = payloads()
    return found


async def serve(exchange: Exchange, service: Service | None = None) -> Exchange:
    front = Http(HttpSettings(), Bounds(body=LIMIT))
    return await rpc.serve(front, exchange, service or Service())  # type: ignore[arg-type]


def exchange(method: str = "GET", path: str = "/a?b=c", *fields: tuple[str, str], body: bytes = b"") -> Exchange:
    return Exchange(rpc.head(path, "", *fields, method=method), body)


# --- switching --------------------------------------------------------------------------------------------------------


def switching() -> tuple[Exchange, Service, End]:
    """A client that asks to switch, a service that does, and that service's end."""
    service, ours = pipe()
    answer = reply(101, None, (b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", b"x"))
    answer.tunnel = ours
    asked = exchange("GET", "/ws", ("sec-websocket-version", "13"))
    asked.head.upgrade = b"websocket"
    return asked, Service(answer), service


async def test_what_a_service_switches_to_passes_both_ways_and_each_direction_ends_alone() -> None:
    asked, service, end = switching()
    serving = asyncio.ensure_future(serve(asked, service))
    await settle()
    assert asked.headers == [(b"sec-websocket-accept", b"x")]
    await asked.client.write(b"up")
    assert await end.read() == b"up"
    asked.client.end()
    assert await end.read() == b""
    await end.write(b"down")
    assert await asked.client.read() == b"down"
    assert not serving.done()
    end.end()
    assert await asked.client.read() == b""
    await serving
    assert not asked.aborted


@pytest.mark.parametrize("by_client", [True, False])
async def test_what_breaks_one_side_breaks_the_other(by_client: bool) -> None:
    asked, service, end = switching()
    serving = asyncio.ensure_future(serve(asked, service))
    await settle()
    (asked.client if by_client else end).abort()
    with pytest.raises(UpstreamReset):
        await (end if by_client else asked.client).read()
    await serving
    assert asked.aborted


async def test_a_client_that_goes_away_while_it_relays_takes_the_service_along() -> None:
    asked, service, end = switching()
    serving = asyncio.ensure_future(serve(asked, service))
    await settle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(UpstreamReset):
        await end.read()


async def test_a_slow_reader_makes_the_other_side_wait() -> None:
    asked, service, end = switching()
    serving = asyncio.ensure_future(serve(asked, service))
    await settle()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await end.write(b"x" * 1000)
            sent += 1000

    flooding = asyncio.ensure_future(flood())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert sent < 300_000
    flooding.cancel()
    serving.cancel()
    await asyncio.wait((flooding, serving))


# --- requests ---------------------------------------------------------------------------------------------------------


async def test_any_request_becomes_a_call_as_it_came() -> None:
    service = Service()
    asked = exchange("PUT", "/a?b=c", ("x-b", "1"), ("x-a", "é"), ("x-b", "2"), ("grpc-timeout", "1S"), body=b"data")
    await serve(asked, service)
    call = service.call
    assert (call.method, call.front_end, call.head) == (None, "http", asked.head)
    assert asked.call is call
    assert call.metadata.pairs == asked.head.headers
    assert (service.body, call.timeout) == (b"data", None)


async def test_fields_about_one_connection_stay_behind() -> None:
    service = Service()
    asked = exchange(
        "GET",
        "/",
        ("connection", "close, X-Key"),
        ("x-key", "k"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "x"),
        ("expect", "100-continue"),
        ("content-length", "0"),
        ("host", "h"),
        ("x-kept", "1"),
    )
    await serve(asked, service)
    assert service.call.metadata.pairs == ((b"x-kept", b"1"),)


async def test_equal_heads_share_what_they_say() -> None:
    service, asked = Service(), exchange()
    await serve(asked, service)
    await serve(Exchange(asked.head), service)
    first, second = service.calls
    assert first.metadata is second.metadata


@pytest.mark.parametrize(
    "path", ["*", "/a/../b", "/a/%2e%2e/b", "/a//b", "/a%2fb", "/a\\b", "/a%00", "/%zz", "/a;b", "/a b", "/é"]
)
async def test_a_path_that_reads_in_two_ways_is_refused(path: str) -> None:
    service = Service()
    answer = await serve(exchange("GET", path), service)
    assert (answer.status, service.calls) == (400, [])
    assert json.loads(answer.body)["code"] == 3


async def test_a_query_with_an_illegal_byte_is_refused() -> None:
    for query in ("a b", "é", "a#b", "a\r\nb"):
        assert (await serve(exchange("GET", f"/?{query}"))).status == 400


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_about_the_way_are_refused(method: str) -> None:
    answer = await serve(exchange(method, "/"))
    assert answer.status == 405
    assert answer.get("allow") == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


async def test_a_body_on_its_way_is_streamed() -> None:
    service = Service()
    await serve(Exchange(rpc.head("/", method="POST"), pieces=[b"a", b"b"]), service)
    assert service.body == b"ab"
    assert service.call.payload is None


async def test_a_body_over_the_limit_is_refused_as_soon_as_it_is_known() -> None:
    service = Service()
    head = rpc.head("/", "", ("content-length", str(LIMIT + 1)), method="POST")
    asked = Exchange(head, pieces=[b"a"])
    assert (await serve(asked, service)).status == 413
    assert (service.calls, asked.unread) == ([], 1)
    assert (await serve(exchange("POST", "/", body=b"x" * (LIMIT + 1)), service)).status == 413
    assert service.calls == []
    asked = Exchange(rpc.head("/", method="POST"), pieces=[b"x" * LIMIT, b"y", b"z"])
    assert (await serve(asked, service)).status == 413
    assert asked.unread == 1
    assert (await serve(exchange("POST", "/", body=b"x" * LIMIT))).status == 200


# --- replies ----------------------------------------------------------------------------------------------------------


async def test_a_whole_reply_goes_out_in_one_write() -> None:
    fields = ((b"x-a", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b"))
    answer = await serve(exchange(), Service(reply(201, b"ok", *fields)))
    assert (answer.status, answer.written, answer.ended) == (201, [b"ok"], True)
    assert answer.headers == list(fields)


async def test_fields_about_the_upstreams_connection_stay_behind() -> None:
    fields = ((b"connection", b"x-hop"), (b"x-hop", b"1"), (b"keep-alive", b"1"), (b"upgrade", b"h2c"), (b"etag", b"e"))
    answer = await serve(exchange(), Service(reply(200, b"", *fields, (b"content-length", b"5"))))
    assert answer.headers == [(b"etag", b"e"), (b"content-length", b"5")]


async def test_what_policies_add_is_added() -> None:
    found = reply(200, b"", (b"etag", b"e"))
    found.metadata = Metadata(((b"x-policy", b"1"),))
    assert (await serve(exchange(), Service(found))).headers == [(b"etag", b"e"), (b"x-policy", b"1")]


async def test_a_streamed_reply_goes_piece_by_piece_with_its_trailers() -> None:
    answer = await serve(exchange(), Service(streamed(b"a", b"b", trailers=((b"x-t", b"1"),))))
    assert (answer.written, answer.ended, answer.trailer("x-t")) == ([b"a", b"b"], True, "1")


async def test_an_upstream_that_breaks_off_is_a_cut_the_client_sees() -> None:
    answer = await serve(exchange(), Service(streamed(b"a", error=UpstreamReset("r"))))
    assert (answer.status, answer.written, answer.ended, answer.aborted) == (200, [b"a"], False, True)


async def test_a_client_that_goes_away_closes_the_upstream() -> None:
    closed = asyncio.Event()
    found = reply(200, None)

    async def payloads() -> AsyncIterator[Payload]:
        try:
            while True:
                yield Payload(b"a", Encoding.RAW)
        finally:
            closed.set()

    found.payloads = payloads()
    asked = exchange()
    asked.fail_write = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await serve(asked, Service(found))
    assert closed.is_set()


async def test_a_reply_that_no_upstream_made_is_written_too() -> None:
    answer = await serve(exchange(), Service(Reply(payload=Payload(b"x", Encoding.RAW))))
    assert (answer.status, answer.body) == (200, b"x")
    answer = await serve(exchange(), Service(Reply(status=Status(Code.PERMISSION_DENIED, "no"))))
    assert (answer.status, json.loads(answer.body)["message"]) == (403, "no")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotOffered("n", code=Code.NOT_FOUND), 404),
        (NotOffered("n", http_status=405), 405),
        (InvalidRequest("i"), 400),
        (BodyTooLarge("b"), 413),
        (Unreachable("u"), 503),
        (Overloaded("o"), 503),
        (UpstreamReset("r"), 502),
        (BadUpstream("b"), 502),
        (DeadlineExceeded(), 504),
        (InternalError(), 500),
    ],
)
async def test_an_error_is_json_with_the_status_of_its_cause(error: GatewayError, status: int) -> None:
    answer = await serve(exchange(), Service(error))
    assert (answer.status, answer.get("content-type")) == (status, "application/json")
    assert json.loads(answer.body) == {"code": error.status.code, "message": error.message, "details": []}


@pytest.mark.parametrize("code", [code for code in Code if code])
async def test_every_code_has_its_status(code: Code) -> None:
    answer = await serve(exchange(), Service(InvalidRequest("m", code=code)))
    assert answer.status == HTTP_STATUS[code]


async def test_an_error_carries_its_fields_and_details() -> None:
    error = InvalidRequest(
        'q"\n\udcff', details=(Detail("type.googleapis.com/x.Y", b"\0"),), headers=((b"allow", b"GET"),)
    )
    answer = await serve(exchange(), Service(error))
    assert answer.get("allow") == "GET"
    assert json.loads(answer.body)["details"] == [{"@type": "type.googleapis.com/x.Y", "value": "AA=="}]
    assert json.loads(answer.body)["message"] == 'q"\n?'


# --- anything ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(["connection", "x-a", "te", "x-b"]), st.text(alphabet="x-ab, ", max_size=9))),
    st.text(alphabet="/.%2e5cfa;\\ ", max_size=12),
)
def test_no_request_is_more_than_answered(fields: list[tuple[str, str]], path: str) -> None:
    service = Service()
    answer = asyncio.run(serve(exchange("GET", "/" + path, *fields), service))
    assert answer.status in (200, 400)
    assert answer.ended
    assert len(service.calls) == (answer.status == 200)
    for call in service.calls:
        assert call.head is not None
        assert call.head.path == ("/" + path).encode()
        assert not {name for name, _ in call.metadata.pairs} & {b"connection", b"te"}
