"""The opaque translator: what goes upstream, and how replies come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from protogw_translators import TRANSLATORS
from protogw_translators.to_http import HttpUpstreamSettings, ToHttp

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import BadUpstream, BodyTooLarge, GatewayError, InvalidRequest, Unprocessed, UpstreamReset
from protogw.wire.http import HTTP_1_1, HTTP_2, Peer, RequestHead, ResponseHead
from protogw.wire.websocket_handshake import accept_of
from tests.support.pipe import End, pipe
from tests.support.upstream import Connection, Stream

TEXT = (("content-type", "text/plain"),)
PEER = Peer("192.0.2.7", 50000)


def request(
    method: str = "GET", target: str = "/a/b?c=d", *fields: tuple[str, str], authority: str = "www.example.com"
) -> RequestHead:
    path, _, query = target.partition("?")
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    return RequestHead(method.encode(), path.encode(), query.encode(), authority.encode(), headers, HTTP_2)


def call(head: RequestHead, body: bytes | AsyncIterator[Payload] = b"", peer: Peer = PEER) -> Call:
    loop = asyncio.get_running_loop()
    made = Call(None, Metadata(head.headers), front_end="http", peer=peer, started=loop.time(), head=head)
    if isinstance(body, bytes):
        made.payload = Payload(body, Encoding.RAW)
    else:
        made.payloads = body
    return made


async def pieces(*data: bytes, error: BaseException | None = None, hang: bool = False) -> AsyncIterator[Payload]:
    for piece in data:
        yield Payload(piece, Encoding.RAW)
    if error is not None:
        raise error
    if hang:
        await asyncio.Event().wait()


async def send(made: Call, stream: Stream | None = None, **options: Any) -> tuple[Stream, Reply]:
    stream = Stream(200, TEXT, at_once=True) if stream is None else stream
    return stream, await ToHttp("legacy:8000", **options).send(made, Connection(stream))


async def body(reply: Reply) -> bytes:
    assert reply.payloads is not None
    return b"".join([payload.data async for payload in reply.payloads])


def test_it_is_in_the_table() -> None:
    assert TRANSLATORS["http"] is ToHttp
    assert (ToHttp.kind, ToHttp.transport, ToHttp.default_schema) == ("http", "http/1.1", "none")


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_the_request_goes_as_it_came() -> None:
    head = request("PUT", "/a/%61;b?c=d&e", ("x-b", "2"), ("x-a", "1"), ("x-b", "3"), ("authorization", "s"))
    stream, _ = await send(call(head, b"body"))
    assert stream.line == "PUT /a/%61;b?c=d&e"
    assert stream.fields == [
        ("host", "www.example.com"),
        ("x-b", "2"),
        ("x-a", "1"),
        ("x-b", "3"),
        ("authorization", "s"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "www.example.com"),
    ]
    assert stream.body == b"body"


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "forwarded",
        "x-real-ip",
        "x_forwarded_for",
        "x_forwarded-for",
        "x_real_ip",
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "transfer-encoding",
        "transfer_encoding",
        "content-length",
        "content_length",
        "host",
        "expect",
    ],
)
async def test_claims_and_fields_of_one_hop_are_not_passed_on(name: str) -> None:
    stream, _ = await send(call(request("GET", "/", (name, "6.6.6.6"))))
    assert not [value for _, value in stream.fields if "6.6.6.6" in value]


async def test_a_split_cookie_is_one_field_again() -> None:
    stream, _ = await send(call(request("GET", "/", ("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"))))
    assert stream.get("cookie") == "a=1; b=2"


async def test_the_route_may_rewrite_path_and_host() -> None:
    made = call(request("GET", "/old?q=1"))
    made.attributes = {"path": b"/new", "host": b"inner"}
    stream, _ = await send(made)
    assert (stream.line, stream.get("host")) == ("GET /new?q=1", "inner")
    assert stream.get("x-forwarded-host") == "www.example.com"


async def test_the_upstream_may_want_its_own_host() -> None:
    stream, _ = await send(call(request()), settings=HttpUpstreamSettings(host="upstream"))
    assert stream.get("host") == "legacy:8000"
    stream, _ = await send(call(request(authority="")))
    assert (stream.get("host"), stream.get("x-forwarded-host")) == ("legacy:8000", None)


@pytest.mark.parametrize(
    "head",
    [
        request("GET /x HTTP/1.1\r\nx: y", "/"),
        request("GET", "/a b"),
        request("GET", "/a\r\nx: y"),
        request("GET", "a"),
        request("GET", "*"),
        request("GET", "/a?b c"),
        request("GET", "/a?b#c"),
        request("GET", "/a?b\nc"),
        request("", "/a"),
        request("GET", "/", authority="a\r\nx: y"),
        request("GET", "/", authority="a@b"),
        request("GET", "/", authority="a/b"),
    ],
)
async def test_nothing_can_start_another_line(head: RequestHead) -> None:
    with pytest.raises(InvalidRequest):
        await send(call(head))


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"content_length", b"a b", b"a:b", b"a\r\nb", b""])
async def test_what_a_policy_adds_under_no_name_is_not_sent(name: bytes) -> None:
    made = call(request("GET", "/a", ("x-a", "1")))
    made.metadata = Metadata((*made.metadata.pairs, (name, b"v"), (b"x-b", b"2\r\nx-c: 3")))
    stream, _ = await send(made)
    assert [pair for pair in stream.fields if pair[0].startswith("x-")][:2] == [("x-a", "1"), ("x-b", "2  x-c: 3")]
    assert "v" not in [value for _, value in stream.fields]


async def test_a_head_is_made_once_for_calls_that_only_carry_notes_of_others() -> None:
    head, translator = request("GET", "/a", ("x-a", "1")), ToHttp("legacy:8000")
    one = call(head)
    one.attributes = {"mirror": True}
    await translator.send(one, Connection(Stream(200, TEXT, at_once=True)))
    assert one.metadata.made is not None
    other = call(head)
    other.metadata, other.attributes = one.metadata, {"path": b"/b"}
    stream = Stream(200, TEXT, at_once=True)
    await translator.send(other, Connection(stream))
    assert stream.line == "GET /b"


async def test_equal_heads_of_other_peers_are_told_apart() -> None:
    translator, head = ToHttp("legacy:8000"), request()
    metadata = Metadata(())
    for peer, proto in ((PEER, "http"), (Peer("192.0.2.8", 1, tls=True), "https"), (PEER, "http")):
        stream = Stream(200, TEXT, at_once=True)
        made = call(head, peer=peer)
        made.metadata = metadata
        await translator.send(made, Connection(stream))
        assert (stream.get("x-forwarded-for"), stream.get("x-forwarded-proto")) == (peer.host, proto)


async def test_other_heads_with_the_same_metadata_are_told_apart() -> None:
    translator, metadata = ToHttp("legacy:8000"), Metadata(())
    for target in ("/a", "/b"):
        stream = Stream(200, TEXT, at_once=True)
        made = call(request("GET", target))
        made.metadata = metadata
        await translator.send(made, Connection(stream))
        assert stream.line == f"GET {target}"


# --- replies ----------------------------------------------------------------------------------------------------------


async def test_a_reply_that_is_there_comes_whole() -> None:
    _, reply = await send(call(request()), Stream(404, TEXT, b"no", at_once=True, trailers=[("x-t", "1")]))
    assert reply.head is not None
    assert (reply.head.status, reply.head.get(b"content-type")) == (404, b"text/plain")
    assert reply.payload is not None
    assert (reply.payload.data, reply.payload.encoding) == (b"no", Encoding.RAW)
    assert reply.trailers.pairs == ((b"x-t", b"1"),)


async def test_a_reply_that_is_on_its_way_is_a_stream() -> None:
    _, reply = await send(call(request()), Stream(200, TEXT, b"a", b"b", trailers=[("x-t", "1")]))
    assert reply.payload is None
    assert await body(reply) == b"ab"
    assert reply.trailers.pairs == ((b"x-t", b"1"),)


async def test_a_cut_reply_raises() -> None:
    _, reply = await send(call(request()), Stream(200, TEXT, b"a", cut=UpstreamReset("r")))
    with pytest.raises(UpstreamReset):
        await body(reply)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_interim_reply_is_no_answer(streamed: bool) -> None:
    stream = Stream(101, (("upgrade", "websocket"),))
    with pytest.raises(BadUpstream):
        await send(call(request(), pieces() if streamed else b""), stream)
    assert stream.cancelled.is_set()


# --- switching --------------------------------------------------------------------------------------------------------

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
SWITCHED = (("connection", "Upgrade"), ("upgrade", "websocket"))


class Switching(Stream):
    """Switches, with these fields, to one end of a pipe; an empty `accept` is worked out from the key."""

    def __init__(self, *fields: tuple[str, str], answers: ResponseHead | None = None, hang: bool = False) -> None:
        super().__init__(101, (*SWITCHED, *fields), hang=hang)
        self.answers = answers
        self.asked = b""
        self.switched_head: ResponseHead | None = None
        self.service, self.ours = pipe()

    async def switched(self, protocol: bytes) -> End | ResponseHead:
        self.asked = protocol
        head = await self.head()
        if self.answers is not None:
            self._head = self.answers
            return self.answers
        if head.get(b"sec-websocket-accept") is None:
            accept = accept_of((self.get("sec-websocket-key") or "").encode())
            head = ResponseHead(101, (*head.headers, (b"sec-websocket-accept", accept)))
        self.switched_head = head
        return self.ours


def asking(*fields: tuple[str, str]) -> RequestHead:
    head = request("GET", "/ws?token=x", ("sec-websocket-version", "13"), *fields)
    head.upgrade = b"websocket"
    return head


async def test_a_request_to_switch_is_passed_on_and_both_directions_come_back() -> None:
    head = asking(("sec-websocket-key", KEY.decode()), ("x-forwarded-for", "203.0.113.9"), ("cookie", "a=1"))
    stream = Switching(ACCEPT, ("sec-websocket-protocol", "chat"))
    made = call(head)
    made.timeout = 1
    made.arm(asyncio.get_running_loop(), 10)
    _, reply = await send(made, stream)
    assert stream.line == "GET /ws?token=x"
    assert (stream.get("connection"), stream.get("upgrade")) == ("Upgrade", "websocket")
    assert (stream.get("sec-websocket-key"), stream.get("x-forwarded-for")) == (KEY.decode(), PEER.host)
    assert (stream.get("cookie"), stream.body, stream.asked) == ("a=1", b"", b"websocket")
    assert reply.tunnel is stream.ours
    assert reply.head is not None
    assert (reply.head.status, reply.head.get(b"sec-websocket-accept")) == (101, ACCEPT[1].encode())
    assert made.deadline is None  # it was for the handshake


async def test_over_http_2_the_handshake_with_the_service_is_the_gateways() -> None:
    stream = Switching(("sec-websocket-protocol", "chat"))
    _, reply = await send(call(asking()), stream)
    assert len(stream.get("sec-websocket-key") or "") == 24
    assert reply.tunnel is stream.ours
    assert reply.head is not None
    assert reply.head.get(b"sec-websocket-accept") is None
    assert reply.head.get(b"sec-websocket-protocol") == b"chat"


async def test_over_http_1_the_handshake_is_the_clients_also_where_it_is_none() -> None:
    head = asking()
    head.version = HTTP_1_1
    stream = Switching(answers=ResponseHead(400, ()))
    _, reply = await send(call(head), stream)
    assert stream.get("sec-websocket-key") is None
    assert reply.head is stream.answers


async def test_over_http_2_a_service_that_does_not_know_the_key_is_refused() -> None:
    stream = Switching(ACCEPT)
    with pytest.raises(BadUpstream):
        await send(call(asking()), stream)
    assert stream.ours.aborted


async def test_a_service_that_refuses_to_switch_has_answered() -> None:
    stream = Switching(answers=ResponseHead(403, ((b"content-type", b"text/plain"),)))
    stream._pieces = [b"no"]
    _, reply = await send(call(asking()), stream)
    assert reply.tunnel is None
    assert reply.head is stream.answers
    assert await body(reply) == b"no"


async def test_a_service_that_says_nothing_to_it_is_given_up() -> None:
    stream = Switching(hang=True)
    asked = asyncio.ensure_future(send(call(asking()), stream, head_timeout_s=0.01))
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert stream.cancelled.is_set()


@pytest.mark.parametrize("error", [Unprocessed("u"), UpstreamReset("r")])
async def test_failures_propagate_as_they_are(error: GatewayError) -> None:
    with pytest.raises(type(error)) as caught:
        await send(call(request()), Stream(refuse=error))
    assert caught.value is error


async def test_leaving_a_reply_cancels_it() -> None:
    for read in (True, False):
        stream = Stream(200, TEXT, b"a", hang=True)
        _, reply = await send(call(request()), stream)
        assert reply.payloads is not None
        if read:
            await anext(reply.payloads)
        await reply.payloads.aclose()  # type: ignore[attr-defined]
        assert stream.cancelled.is_set()


async def test_cancelling_cancels_upstream() -> None:
    for data in (b"", pieces(b"a", hang=True)):
        stream = Stream(hang=True)
        task = asyncio.create_task(send(call(request(), data), stream))
        for _ in range(4):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stream.cancelled.is_set()


async def test_a_reply_that_does_not_begin_expires() -> None:
    made = call(request())
    stream = Stream(hang=True)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(send_within(made, stream))
    assert made.expired
    assert stream.cancelled.is_set()


async def send_within(made: Call, stream: Stream) -> None:
    await send(made, stream, head_timeout_s=0.01)


async def test_a_reply_that_has_begun_may_take_its_time() -> None:
    made = call(request())
    _, reply = await send(made, Stream(200, TEXT, b"a", hang=True), head_timeout_s=60)
    assert made.deadline is None
    assert reply.payloads is not None
    await anext(reply.payloads)


async def test_a_deadline_of_the_calls_own_stays() -> None:
    made = call(request())
    made.deadline = 1e12
    await send(made)
    assert made.deadline == 1e12


# --- uploads ----------------------------------------------------------------------------------------------------------


class Slow(Stream):
    async def head(self) -> Any:
        await self.ended.wait()
        return await super().head()


async def test_a_body_of_unknown_length_is_streamed() -> None:
    stream, reply = await send(call(request("POST"), pieces(b"ab", b"c")), Slow(200, TEXT, b"ok"))
    assert (stream.body, stream.written) == (None, [b"ab", b"c"])
    assert stream.get("content-length") is None
    assert await body(reply) == b"ok"


async def test_a_known_length_is_kept() -> None:
    head = request("POST", "/", ("content-length", "003"))
    stream, _ = await send(call(head, pieces(b"abc")), Slow(200, TEXT))
    assert stream.get("content-length") == "3"


async def test_an_early_reply_ends_the_upload() -> None:
    stream, reply = await send(call(request("POST"), pieces(b"a", hang=True)), Stream(413, TEXT, b"too much"))
    assert await body(reply) == b"too much"
    assert stream.cancelled.is_set()
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []


async def test_a_reply_may_come_while_the_request_goes_on() -> None:
    more = asyncio.Event()

    async def talk() -> AsyncIterator[Payload]:
        yield Payload(b"a", Encoding.RAW)
        await more.wait()
        yield Payload(b"b", Encoding.RAW)

    stream, reply = await send(call(request("POST"), talk()), Stream(200, TEXT, b"1", b"2"))
    assert reply.payloads is not None
    assert (await anext(reply.payloads)).data == b"1"
    more.set()
    await asyncio.wait_for(stream.ended.wait(), 5)
    assert stream.written == [b"a", b"b"]
    assert await body(reply) == b"2"


async def test_the_clients_fault_wins_over_what_it_does_to_the_upstream() -> None:
    stream = Stream(hang=True)
    with pytest.raises(BodyTooLarge):
        await send(call(request("POST"), pieces(b"a", error=BodyTooLarge("b"))), stream)
    assert stream.cancelled.is_set()


async def test_the_clients_fault_cuts_a_reply_that_has_begun() -> None:
    go = asyncio.Event()

    async def talk() -> AsyncIterator[Payload]:
        await go.wait()
        raise BodyTooLarge("b")
        yield

    _, reply = await send(call(request("POST"), talk()), Stream(200, TEXT, b"1", hang=True))
    assert reply.payloads is not None
    await anext(reply.payloads)
    go.set()
    with pytest.raises(BodyTooLarge):
        await anext(reply.payloads)


async def test_a_refusal_after_something_was_read_is_not_retryable() -> None:
    class Refusing(Stream):
        def __init__(self) -> None:
            super().__init__()
            self.begun = asyncio.Event()

        async def write(self, data: bytes) -> None:
            self.begun.set()

        async def head(self) -> Any:
            await self.begun.wait()
            raise Unprocessed("no")

    with pytest.raises(UpstreamReset):
        await send(call(request("POST"), pieces(b"a", hang=True)), Refusing())
    with pytest.raises(Unprocessed):
        await send(call(request("POST"), pieces(hang=True)), Stream(refuse=Unprocessed("no")))
