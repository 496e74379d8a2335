"""Calls put to the translator to WebSocket services, each on a socket of its own; services are transcripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from protogw_translators.to_websocket import ToWebSocket
from protogw_translators.to_websocket_settings import WebSocketOptions

from protogw.call import Call, Metadata, Payload, Reply
from protogw.errors import BadUpstream, Code, GatewayError, InvalidRequest, NotOffered, UpstreamReset
from tests.support import feed
from tests.support.socket_upstream import Line, Refusing, Script, Service
from tests.support.upstream import Stream

LIMIT = 100_000


def translator(base_path: str = "/stream", **said: Any) -> ToWebSocket:
    settings = WebSocketOptions.model_validate({"ping": "0s", **said})
    return ToWebSocket("feed:9", message_limit=LIMIT, user_agent="gw/1", base_path=base_path, settings=settings)


async def send(call: Call, *answers: Service | Stream, **said: Any) -> Reply:
    return await asyncio.wait_for(translator(**said).send(call, Line(*answers)), 5)


async def taken(reply: Reply) -> list[Any]:
    assert reply.payloads is not None
    return [feed.tree(payload) async for payload in reply.payloads]


def replying(*messages: Any, close: int | None = 1000, reason: str = "") -> Script:
    """A service that answers the first message with these, and closes."""

    async def script(service: Service) -> None:
        await service.receive()
        for message in messages:
            service.send(message)
        if close is not None:
            service.close(close, reason)

    return script


async def silent(service: Service) -> None:
    """Take what comes and answer nothing."""
    while True:
        await service.receive()


# ---- unary


async def test_the_first_message_is_the_reply_and_the_socket_is_closed_in_good_order() -> None:
    seen: list[Any] = []

    async def script(service: Service) -> None:
        seen.append(await service.receive_json())
        service.send({"text": "b"})
        service.send({"text": "too late"})

    service = Service(script, [("x-lead", "a"), ("set-cookie", "c")])
    reply = await send(feed.call("Ask", {"text": "a"}), service)
    assert (seen, feed.tree(reply.payload)) == ([{"text": "a"}], {"text": "b"})
    assert reply.metadata.get(b"x-lead") == b"a"
    assert reply.metadata.get(b"upgrade") is None
    assert reply.metadata.get(b"sec-websocket-accept") is None
    await asyncio.wait_for(service.closed.wait(), 5)


async def test_messages_for_nobody_are_passed_over() -> None:
    script = replying({"type": "hello"}, {"type": "beat"}, {"text": "b"})
    reply = await send(feed.call("Ask", {"text": "a"}), Service(script), ignore={"type": ["hello", "beat"]})
    assert feed.tree(reply.payload) == {"text": "b"}


async def test_binary_messages_carry_protobuf() -> None:
    seen: list[Any] = []

    async def script(service: Service) -> None:
        seen.append(await service.receive())
        service.send(b"\x12\x01b")

    reply = await send(feed.call("Ask", {"text": "a"}), Service(script), encoding="proto")
    assert (seen, feed.tree(reply.payload)) == ([b"\x12\x01a"], {"text": "b"})


async def test_an_error_is_the_calls_status() -> None:
    script = replying({"error": {"code": 5, "message": "no such note"}})
    reply = await send(feed.call("Ask", {"text": "a"}), Service(script))
    assert (reply.payload, reply.status.code, reply.status.message) == (None, Code.NOT_FOUND, "no such note")


@pytest.mark.parametrize(
    ("close", "code"),
    [(4005, Code.NOT_FOUND), (1008, Code.PERMISSION_DENIED), (1013, Code.UNAVAILABLE), (1011, Code.INTERNAL)],
)
async def test_how_the_socket_is_closed_is_the_calls_status(close: int, code: Code) -> None:
    reply = await send(feed.call("Ask", {"text": "a"}), Service(replying(close=close, reason="because")))
    assert (reply.status.code, reply.status.message) == (code, "because")


async def test_a_socket_that_is_closed_well_without_a_reply_is_the_services_fault() -> None:
    with pytest.raises(BadUpstream, match="ended the call without a reply"):
        await send(feed.call("Ask", {"text": "a"}), Service(replying()))


async def test_a_socket_that_breaks_off_is_unavailable_and_not_tried_again() -> None:
    async def script(service: Service) -> None:
        await service.receive()
        service.cut()

    with pytest.raises(UpstreamReset, match="broke off") as caught:
        await send(feed.call("Ask", {"text": "a"}), Service(script))
    assert (caught.value.status.code, caught.value.retryable) == (Code.UNAVAILABLE, False)


async def test_a_call_that_is_cancelled_gives_its_socket_up_at_once() -> None:
    asked = asyncio.Event()

    async def script(service: Service) -> None:
        await service.receive()
        asked.set()
        await service.receive()

    service = Service(script)
    task = asyncio.ensure_future(send(feed.call("Ask", {"text": "a"}), service))
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.aborted.is_set()
    with pytest.raises(UpstreamReset):
        await service.done()


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x81\x05hello", Code.INTERNAL),
        (b"\x81\x81\0\0\0\0a", Code.INTERNAL),
        (b"\xf1\x01a", Code.INTERNAL),
        (b"\x83\x00", Code.INTERNAL),
        (b"\x81\x02\xff\xff", Code.INTERNAL),
        (b"\x80\x00", Code.INTERNAL),
        (b"\x09\x00", Code.INTERNAL),
        (b"\x89\x7e\x00\x7e" + bytes(126), Code.INTERNAL),
        (b"\x88\x01a", Code.INTERNAL),
        (b"\x88\x02\x03\xed", Code.INTERNAL),
        (b"\x81\x7f" + (1 << 30).to_bytes(8, "big"), Code.RESOURCE_EXHAUSTED),
        (b"\x82\x7f" + (1 << 63).to_bytes(8, "big"), Code.INTERNAL),
    ],
)
async def test_what_breaks_the_protocol_is_the_services_fault(wire: bytes, code: Code) -> None:
    async def script(service: Service) -> None:
        await service.receive()
        service.raw(wire)

    with pytest.raises(BadUpstream) as caught:
        await send(feed.call("Ask", {"text": "a"}), Service(script))
    assert caught.value.status.code is code


@pytest.mark.parametrize("said", ["hello", "", "[", '{"text":1'])
async def test_a_message_that_is_not_json_is_the_services_fault(said: str) -> None:
    with pytest.raises(BadUpstream, match="not JSON"):
        await send(feed.call("Ask", {"text": "a"}), Service(replying(said)))


async def test_a_request_that_does_not_fit_its_type_never_opens_a_socket() -> None:
    service = Service(silent)
    with pytest.raises(InvalidRequest):
        await send(feed.call("Ask", {"nosuch": 1}), service, encoding="proto")
    assert service.request_head == b""


async def test_request_json_that_is_not_utf8_is_refused() -> None:
    call = feed.call("Ask", {"text": "a"})
    assert call.payload is not None
    call.payload = Payload(b'{"text":"\xff"}', call.payload.encoding, call.payload.codec)
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        await send(call, Service(silent))


# ---- the handshake


async def asked(service: Service, call: Call, **said: Any) -> tuple[str, dict[str, str]]:
    """The line and fields with which a socket was asked for."""
    await send(call, service, **said)
    line, *fields = service.request_head.decode("latin-1").removesuffix("\r\n").split("\r\n")
    pairs = [field.partition(": ")[::2] for field in fields]
    assert len({name for name, _ in pairs}) == len(pairs)
    return line, dict(pairs)


async def test_the_handshake_carries_the_calls_metadata_and_who_asks() -> None:
    metadata = Metadata(((b"authorization", b"Bearer t"), (b"x-call-bin", b"AAE"), (b"te", b"trailers")))
    call = feed.call("Ask", {"text": "a"}, metadata=metadata)
    line, fields = await asked(Service(replying({})), call, headers={"X-Key": "secret"})
    assert line == "GET /stream HTTP/1.1"
    assert fields.pop("sec-websocket-key")
    assert fields == {
        "host": "feed:9",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "x-key": "secret",
        "authorization": "Bearer t",
        "x-call-bin": "AAE",
        "user-agent": "gw/1",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "http",
    }


async def test_a_written_field_takes_the_place_of_the_clients() -> None:
    call = feed.call("Ask", {"text": "a"}, metadata=Metadata(((b"x-key", b"mine"), (b"x-other", b"o"))))
    _, fields = await asked(Service(replying({})), call, headers={"X-Key": "secret"})
    assert (fields["x-key"], fields["x-other"]) == ("secret", "o")


async def test_subprotocols_are_offered() -> None:
    service = Service(replying({}), subprotocol="b")
    _, fields = await asked(service, feed.call("Ask", {"text": "a"}), subprotocols=["a", "b"])
    assert fields["sec-websocket-protocol"] == "a, b"


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", None, "/feed.v1.Feed/Ask"),
        ("/", None, "/feed.v1.Feed/Ask"),
        ("/stream", None, "/stream"),
        ("/stream/", None, "/stream/"),
        ("", "/{method}?v=1", "/Ask?v=1"),
        ("/v1", "/{service}/{method}", "/v1/feed.v1.Feed/Ask"),
    ],
)
async def test_where_a_socket_is_opened(base: str, path: str | None, expected: str) -> None:
    said: dict[str, Any] = {} if path is None else {"path": path}
    line, _ = await asked(Service(replying({})), feed.call("Ask", {"text": "a"}), base_path=base, **said)
    assert line == f"GET {expected} HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "fields", "body", "code", "message"),
    [
        (401, (), b"", Code.UNAUTHENTICATED, "HTTP 401"),
        (403, (("content-type", "text/plain"),), b"go away", Code.PERMISSION_DENIED, "go away"),
        (404, (), b"", Code.UNIMPLEMENTED, "HTTP 404"),
        (429, (), b"", Code.RESOURCE_EXHAUSTED, "HTTP 429"),
        (503, (), b'{"code":8,"message":"full"}', Code.RESOURCE_EXHAUSTED, "full"),
        (503, (), b"x" * 200_000, Code.UNAVAILABLE, "HTTP 503"),
        (200, (), b"hello", Code.INTERNAL, "HTTP 200, which opens no socket"),
        (301, (("location", "/"),), b"", Code.INTERNAL, "HTTP 301"),
        (101, (), b"", Code.INTERNAL, "HTTP 101"),
    ],
)
async def test_a_refused_handshake_is_the_calls_status(
    status: int, fields: Any, body: bytes, code: Code, message: str
) -> None:
    answer = Refusing(status, fields, body)
    with pytest.raises(GatewayError, match=message) as caught:
        await send(feed.call("Ask", {"text": "a"}), answer)
    assert caught.value.status.code is code
    assert answer.cancelled.is_set()


async def test_a_handshake_that_is_never_answered_ends_in_time() -> None:
    answer = Refusing(200, (), hang=True)
    with pytest.raises(UpstreamReset, match=r"did not answer the handshake in 0\.05 s"):
        await send(feed.call("Ask", {"text": "a"}), answer, handshake_timeout="50ms")
    assert answer.cancelled.is_set()


async def test_an_answer_that_does_not_fit_the_handshake_is_refused() -> None:
    with pytest.raises(BadUpstream, match="sec-websocket-protocol"):
        await send(feed.call("Ask", {"text": "a"}), Service(replying({}), subprotocol="b"))


# ---- streams


async def test_a_server_stream_ends_well_with_its_socket() -> None:
    reply = await send(feed.call("Watch", {"text": "a"}), Service(replying({"text": "1"}, {"text": "2"})))
    assert await taken(reply) == [{"text": "1"}, {"text": "2"}]
    assert reply.status.code is Code.OK


async def test_a_socket_that_is_closed_without_a_code_has_ended_well() -> None:
    reply = await send(feed.call("Watch", {"text": "a"}), Service(replying({"text": "1"}, close=None)))
    assert reply.payloads is not None
    await anext(reply.payloads)
    service = Service(replying({"text": "1"}, close=1000))
    reply = await send(feed.call("Watch", {}), service)
    assert len(await taken(reply)) == 1


async def test_a_stream_ends_with_the_status_that_its_socket_is_closed_with() -> None:
    service = Service(replying({"text": "1"}, close=4008, reason="enough"))
    reply = await send(feed.call("Watch", {"text": "a"}), service)
    assert await taken(reply) == [{"text": "1"}]
    assert (reply.status.code, reply.status.message) == (Code.RESOURCE_EXHAUSTED, "enough")


async def test_an_error_among_the_messages_ends_the_stream_with_it() -> None:
    service = Service(replying({"text": "1"}, {"error": {"code": 9, "message": "no more"}}, {"text": "2"}))
    reply = await send(feed.call("Watch", {"text": "a"}), service)
    assert await taken(reply) == [{"text": "1"}]
    assert (reply.status.code, reply.status.message) == (Code.FAILED_PRECONDITION, "no more")


@pytest.mark.parametrize(
    ("marks", "expected"),
    [({"end": {"done": True}}, ["1"]), ({"last": {"done": True}}, ["1", "2"])],
)
async def test_a_mark_ends_a_stream_and_the_gateway_closes_the_socket(marks: Any, expected: list[str]) -> None:
    service = Service(replying({"text": "1"}, {"text": "2", "done": True}, {"text": "3"}, close=None))
    reply = await send(feed.call("Watch", {"text": "a"}), service, **marks)
    assert [message["text"] for message in await taken(reply)] == expected
    assert reply.status.code is Code.OK
    await asyncio.wait_for(service.closed.wait(), 5)


async def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_one() -> None:
    async def script(service: Service) -> None:
        service.send({"text": "1"})
        service.raw(b"\x81\x7e")
        service.cut()

    reply = await send(feed.call("Watch", {"text": "a"}), Service(script))
    with pytest.raises(UpstreamReset, match="broke off"):
        await taken(reply)


async def test_a_stream_that_nobody_wants_any_more_gives_its_socket_up() -> None:
    service = Service(replying({"text": "1"}, close=None))
    reply = await send(feed.call("Watch", {"text": "a"}), service)
    assert reply.payloads is not None
    await anext(reply.payloads)
    await reply.payloads.aclose()  # type: ignore[attr-defined]
    assert service.aborted.is_set()


async def test_a_stream_of_which_nothing_was_read_gives_its_socket_up_too() -> None:
    service = Service(silent)
    reply = await send(feed.call("Watch", {"text": "a"}), service)
    await reply.payloads.aclose()  # type: ignore[union-attr]
    assert service.aborted.is_set()


async def test_a_socket_is_read_only_as_its_client_takes_what_comes() -> None:
    async def script(service: Service) -> None:
        for number in range(100):
            service.send({"text": str(number)})

    service = Service(script)
    reply = await send(feed.call("Watch", {"text": "a"}), service)
    assert reply.payloads is not None
    for _ in range(10):
        await asyncio.sleep(0)
    before = service.reads
    assert before <= 1
    await anext(reply.payloads)
    for _ in range(10):
        await asyncio.sleep(0)
    assert service.reads <= before + 1
    await reply.payloads.aclose()  # type: ignore[attr-defined]


async def test_a_client_stream_is_sent_whole_and_its_end_is_told() -> None:
    seen: list[Any] = []

    async def script(service: Service) -> None:
        while message := await service.receive():
            seen.append(message)
        service.send({"text": f"{len(seen)} notes"})

    call = feed.call("Collect", {"text": "a"}, {"text": "b"}, proto=True)
    reply = await send(call, Service(script), half_close="")
    assert seen == ['{"text":"a"}', '{"text":"b"}']
    assert feed.tree(reply.payload) == {"text": "2 notes"}


async def test_a_reply_that_comes_early_ends_a_client_stream() -> None:
    gate = asyncio.Event()

    async def endless() -> AsyncIterator[Payload]:
        yield feed.payload("Collect", text="a")
        await gate.wait()

    call = feed.call("Collect")
    call.payloads = endless()
    reply = await send(call, Service(replying({"text": "enough"})))
    assert feed.tree(reply.payload) == {"text": "enough"}


async def test_messages_go_both_ways_at_once() -> None:
    reply = await send(feed.call("Chat", {"text": "a"}, {"text": "b"}), Service(echo), half_close="")
    assert [message["text"] for message in await taken(reply)] == ["a", "b"]
    assert reply.status.code is Code.OK


async def echo(service: Service) -> None:
    """Send back what comes until the client's messages end."""
    while message := await service.receive():
        service.send(message)
    service.close()


async def test_the_end_of_the_requests_may_close_the_socket() -> None:
    service = Service(silent)
    reply = await send(feed.call("Chat", {"text": "a"}), service, half_close="close")
    assert await taken(reply) == []
    assert reply.status.code is Code.OK
    assert service.closed.is_set()


async def test_a_bad_message_of_the_client_ends_the_stream_with_its_own_fault() -> None:
    service = Service(echo)
    reply = await send(feed.call("Chat", {"text": "a"}, {"nosuch": 1}), service, encoding="proto")
    with pytest.raises(InvalidRequest, match="nosuch"):
        await taken(reply)
    assert service.aborted.is_set()


async def test_a_shared_socket_without_a_way_to_tell_replies_apart_is_refused_by_name() -> None:
    with pytest.raises(NotOffered, match=r"feed\.v1\.Feed/Ask: its sockets are to be shared, which needs a correl"):
        await send(feed.call("Ask", {"text": "a"}), Service(silent), sockets="shared")


async def test_a_member_that_a_type_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(NotOffered, match=r"nosuch is not a member of feed\.v1\.Note"):
        await send(feed.call("Ask", {}), Service(silent), sockets="shared", correlation="nosuch", encoding="proto")


def test_options_that_do_not_fit_the_schema_are_told_at_load() -> None:
    watch = {"topic": "nosuch", "sockets": "shared"}
    methods = {"feed.v1.Feed/Wach": {}, "feed.v1.Feed/Watch": watch}
    assert translator(methods=methods).faults(feed.schema()) == [
        "websocket_options.methods: there is no method feed.v1.Feed/Wach",
        "feed.v1.Feed/Watch: nosuch is not a member of feed.v1.Note",
    ]
    assert translator(sockets="shared", correlation="id").faults(feed.schema()) == []


async def telling(service: Service) -> None:
    """A service that ends its calls by a record."""
    await service.receive()
    service.send({"text": "a"})
    service.send("")
    fields = {"x-a": ["1", "2"], "Bad Name": ["x"], "x-b": ["a\nb"], "host": ["h"], "x-c": "no list"}
    service.send({"code": 0, "message": "", "details": [], "metadata": fields, "trailers": {"x-t": ["t"]}})
    service.close()


async def test_a_record_at_the_end_has_status_metadata_and_trailers() -> None:
    service = Service(telling, [("x-lead", "l")], subprotocol="protogw.json")
    reply = await send(feed.call("Ask", {}), service, subprotocols=["protogw.json"])
    assert feed.tree(reply.payload) == {"text": "a"}
    assert reply.metadata.pairs == ((b"x-lead", b"l"), (b"x-a", b"1"), (b"x-a", b"2"))
    assert reply.trailers.pairs == ((b"x-t", b"t"),)


async def test_under_a_subprotocol_that_is_not_chosen_nothing_is_told() -> None:
    reply = await send(feed.call("Ask", {}), Service(replying({"text": "a"})), subprotocols=["protogw.json"])
    assert feed.tree(reply.payload) == {"text": "a"}


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"code":"5"}', "no JSON"])
async def test_a_record_that_is_none_is_the_services_fault(record: str) -> None:
    async def script(service: Service) -> None:
        await service.receive()
        service.send("")
        service.send(record)

    service = Service(script, subprotocol="protogw.json")
    with pytest.raises(BadUpstream, match="no record of the call's status"):
        await send(feed.call("Ask", {}), service, subprotocols=["protogw.json"])


async def test_two_replies_to_a_call_of_one_are_the_services_fault() -> None:
    service = Service(replying({"text": "a"}, {"text": "b"}), subprotocol="protogw.json")
    with pytest.raises(BadUpstream, match="more than one reply"):
        await send(feed.call("Ask", {}), service, subprotocols=["protogw.json"])
