"""One call over one socket, in every shape: messages, the end of the request, statuses and close codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from protogw.call import Call, Metadata, Payload, Reply
from protogw.descriptors.model import SocketRule
from protogw.errors import BadUpstream, Code, Detail, GatewayError, InvalidRequest, NotOffered, Overloaded, Status
from protogw.frontends.base import Bounds
from tests.support.sockets import Service, catalog, front, heard, message, opened, opening, raw

ASK, TALK, WATCH, NOTE, RAW = (f"/chat.v1.Chat/{name}" for name in ("Ask", "Talk", "Watch", "Note", "Raw"))
JSON, PROTO = "protogw.json", "protogw.proto"


def failing(error: GatewayError):
    async def handle(call: Call) -> Reply:
        raise error

    return handle


async def test_a_unary_call_is_a_message_each_way_and_a_close() -> None:
    service = Service()
    client = await opened(front(), service, ASK)
    await client.send('{"text":"hello"}')
    assert await client.rest() == (['{"text":"hello"}'], 1000, "")
    assert await client.error() is None
    (call,) = service.calls
    assert (call.front_end, call.method and call.method.name) == ("websocket", "Ask")


async def test_without_a_subprotocol_binary_messages_are_protobuf_and_replies_are_json() -> None:
    client = await opened(front(), Service(), ASK)
    await client.send(message("Say", text="hello").SerializeToString())
    assert await client.rest() == (['{"text":"hello"}'], 1000, "")


async def test_protobuf_is_binary_both_ways() -> None:
    client = await opened(front(), Service(), ASK, [PROTO])
    assert client.socket.subprotocol == PROTO
    await client.send(message("Say", text="hello").SerializeToString())
    answer, mark, end = (await client.rest())[0]
    assert message("Heard", answer).text == "hello"
    assert (mark, json.loads(end)["code"]) == ("", 0)


@pytest.mark.parametrize(("subprotocol", "wrong"), [(JSON, b"\x0a\x01x"), (PROTO, "{}")])
async def test_the_wrong_type_of_frame_closes_with_1003(subprotocol: str, wrong: str | bytes) -> None:
    client = await opened(front(), Service(), ASK, [subprotocol])
    await client.send(wrong)
    found, code, _ = await client.rest()
    assert (code, json.loads(found[-1])["code"]) == (1003, 3)


async def test_a_message_that_does_not_fit_its_type_closes_with_1007_and_names_the_field() -> None:
    async def reads(call: Call) -> Reply:
        assert call.payload is not None
        call.payload.proto()
        return Reply()

    client = await opened(front(), reads, ASK)
    await client.send('{"txt":"hello"}')
    _, code, reason = await client.rest()
    assert code == 1007
    assert "txt" in reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotOffered("no"), 4012),
        (GatewayError("who?", code=Code.UNAUTHENTICATED), 4401),
        (GatewayError("no", code=Code.PERMISSION_DENIED), 4403),
        (Overloaded("later"), 1013),
        (BadUpstream("odd"), 4013),
    ],
)
async def test_an_error_is_told_by_the_close_code(error: GatewayError, code: int) -> None:
    client = await opened(front(), failing(error), ASK)
    await client.send("{}")
    assert await client.rest() == ([], code, error.message)
    assert await client.error() is error


async def test_a_fault_of_ours_says_no_more_than_that() -> None:
    async def broken(call: Call) -> Reply:
        raise RuntimeError("secret")

    client = await opened(front(), broken, ASK)
    await client.send("{}")
    with pytest.raises(RuntimeError):
        await client.task
    assert client.exchange.stream is not None


async def test_a_subprotocol_brings_status_details_metadata_and_trailers_before_the_close() -> None:
    status = Status(Code.NOT_FOUND, "no such room", (Detail("type.googleapis.com/chat.v1.Room", b"\x0a\x01r"),))

    async def handle(call: Call) -> Reply:
        return Reply(Metadata(((b"x-lead", b"1"),)), status=status, trailers=Metadata(((b"x-trail", b"2"),)))

    client = await opened(front(), handle, ASK, [JSON])
    await client.send("{}")
    found, code, reason = await client.rest()
    assert (found[0], code, reason) == ("", 4005, "no such room")
    assert json.loads(found[1]) == {
        "code": 5,
        "message": "no such room",
        "details": [{"@type": "type.googleapis.com/chat.v1.Room", "room": "r"}],
        "metadata": {"x-lead": ["1"]},
        "trailers": {"x-trail": ["2"]},
    }


async def test_a_long_reason_is_cut_between_characters() -> None:
    client = await opened(front(), failing(GatewayError("ä" * 200, code=Code.ABORTED)), ASK)
    await client.send("{}")
    _, code, reason = await client.rest()
    assert code == 4010
    assert reason == "ä" * 60 + "…"
    assert len(reason.encode()) <= 123


async def test_a_server_stream_is_a_message_each() -> None:
    async def three(call: Call) -> AsyncIterator[Payload]:
        for text in ("a", "b", "c"):
            yield heard(text=text)

    client = await opened(front(), Service(three), WATCH)
    await client.send('{"room":"r"}')
    assert (await client.rest())[:2] == (['{"text":"a"}', '{"text":"b"}', '{"text":"c"}'], 1000)


async def test_an_empty_text_message_ends_the_requests_stream() -> None:
    async def count(call: Call) -> AsyncIterator[Payload]:
        assert call.payloads is not None
        total = [payload async for payload in call.payloads]
        yield heard(text=str(len(total)))

    client = await opened(front(), Service(count), NOTE)
    await client.send("{}", "{}", "{}", "")
    assert await client.rest() == (['{"text":"3"}'], 1000, "")


async def test_a_bidirectional_stream_answers_while_it_is_asked() -> None:
    client = await opened(front(), Service(), TALK)
    for text in ("a", "b"):
        await client.send(json.dumps({"text": text}))
        assert await client.receive() == json.dumps({"text": text}).replace(" ", "")
    await client.send("")
    assert await client.rest() == ([], 1000, "")


async def test_a_message_after_the_end_is_against_the_rules() -> None:
    async def waits(call: Call) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    for path, sent in ((NOTE, ("", "{}")), (ASK, ("{}", "{}"))):
        client = await opened(front(), waits, path)
        await client.send(*sent)
        assert (await client.rest())[1] == 1008


async def test_the_end_without_a_message_is_against_the_rules_of_a_call_that_takes_one() -> None:
    client = await opened(front(), Service(), ASK)
    await client.send("")
    assert await client.rest() == ([], 1008, "the method takes one request message, and none was sent")


async def test_a_socket_whose_first_message_does_not_come_is_closed() -> None:
    client = await opened(front(first_message="20ms"), Service(), ASK)
    assert await client.rest() == ([], 1008, "no message came in time")


async def test_a_client_that_goes_away_cancels_the_call() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(call: Call) -> Reply:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    for leave in ("close", "abort"):
        begun.clear()
        cancelled.clear()
        client = await opened(front(), waits, ASK)
        await client.send("{}")
        await begun.wait()
        if leave == "close":
            await client.socket.close(1001, "leaving")
        else:
            client.socket.abort()
        error = await client.error()
        assert error is not None
        assert error.status.code is Code.CANCELLED
        assert cancelled.is_set()


async def test_a_client_that_closes_well_has_ended_its_stream_and_the_service_gets_all_of_it() -> None:
    got: list[str] = []
    over = asyncio.Event()

    async def collect(call: Call) -> AsyncIterator[Payload]:
        assert call.payloads is not None
        async for payload in call.payloads:
            await asyncio.sleep(0)
            got.append(message("Say", payload.proto()).text)
            yield heard(text="nobody reads this")
        over.set()

    client = await opened(front(), Service(collect), TALK)
    await client.send(*(json.dumps({"text": str(number)}) for number in range(5)))
    await client.socket.close(1000)
    async with asyncio.timeout(5):
        await over.wait()
    assert got == ["0", "1", "2", "3", "4"]
    error = await client.error()
    assert error is not None
    assert error.status.code is Code.CANCELLED


async def test_messages_that_the_service_does_not_take_make_the_client_wait() -> None:
    go = asyncio.Event()

    async def slow(call: Call) -> AsyncIterator[Payload]:
        assert call.payloads is not None
        await go.wait()
        async for payload in call.payloads:
            yield heard(text=message("Say", payload.proto()).text[:1])

    client = await opened(front(in_flight=2), Service(slow), TALK)
    big = json.dumps({"text": "x" * 30_000})

    async def send_all() -> None:
        for _ in range(20):
            await client.socket.send(big)
        await client.socket.send("")

    sending = asyncio.get_running_loop().create_task(send_all())
    for _ in range(200):
        await asyncio.sleep(0)
    assert not sending.done()
    go.set()
    found, code, _ = await client.rest()
    assert (len(found), code) == (20, 1000)
    await sending


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    client = await opened(front(bounds=Bounds(body=1000)), Service(), ASK)
    await client.send(json.dumps({"text": "x" * 2000}))
    assert (await client.rest())[1] == 1009


async def test_path_and_query_fill_the_request_and_the_call_begins_with_the_socket() -> None:
    service = Service()
    rules = {"Watch": [SocketRule(template="/rooms/{room}")]}
    client = await opened(front(catalog(**rules)), service, "/rooms/tea%20room?limit=7&labels[a]=b&access_token=t")
    assert (await client.rest())[1] == 1000
    (call,) = service.calls
    assert call.payload is not None
    request = message("Room", call.payload.proto())
    assert (request.room, request.limit, dict(request.labels)) == ("tea room", 7, {"a": "b"})
    assert call.metadata.get(b"authorization") == b"Bearer t"


async def test_the_path_wins_over_what_each_message_says() -> None:
    rules = {"Talk": [SocketRule(template="/rooms/{room}")]}
    client = await opened(front(catalog(**rules)), Service(), "/rooms/tea")
    await client.send('{"text":"a","room":"other"}', '{"text":"b"}', "")
    assert (await client.rest())[0] == ['{"text":"a","room":"tea"}', '{"text":"b","room":"tea"}']


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/rooms/tea?limit=x", "limit"),
        ("/rooms/tea?nothing=x", "nothing"),
        ("/rooms/tea?room=other", "room"),
        ("/rooms/%2e%2e", "path"),
    ],
)
async def test_what_path_and_query_get_wrong_is_said_in_http(path: str, says: str) -> None:
    rules = {"Watch": [SocketRule(template="/rooms/{room}")]}
    with pytest.raises(InvalidRequest, match=says):
        await opened(front(catalog(**rules)), Service(), path)


async def test_a_method_whose_message_is_bytes_passes_them_as_they_are() -> None:
    client = await opened(front(), Service(raw), RAW)
    await client.send("text", b"\0\xff", "", b"")
    assert [await client.receive() for _ in range(4)] == ["text", b"\0\xff", "", b""]
    await client.socket.close(1000)


async def test_a_token_may_be_the_first_message() -> None:
    service = Service()
    asks = front(token=("message",))
    client = await opened(asks, service, ASK)
    await client.send('{"access_token":"abc"}', '{"text":"hello"}')
    assert await client.rest() == (['{"text":"hello"}'], 1000, "")
    assert service.calls[0].metadata.get(b"authorization") == b"Bearer abc"
    for bad in ("{}", "[", '{"access_token":1}', '{"access_token":"a b"}', '{"text":"hello"}', "[" * 100_000):
        client = await opened(asks, service, ASK)
        await client.send(bad)
        assert (await client.rest())[1] in (1007, 1008)
    assert len(service.calls) == 1


async def test_a_path_that_is_nobodys_and_a_request_that_is_no_socket_are_left_to_others() -> None:
    asks = front()
    assert not asks.accepts(opening("/nowhere"))
    plain = opening(ASK)
    plain.upgrade = b""
    assert not asks.accepts(plain)


async def test_sockets_are_counted_and_one_too_many_is_refused() -> None:
    asks = front(sockets=1)
    client = await opened(asks, Service(), ASK)
    with pytest.raises(Overloaded):
        await opened(asks, Service(), ASK)
    await client.send("{}")
    await client.rest()
    await client.error()
    again = await opened(asks, Service(), ASK)
    again.socket.abort()
    await again.error()


async def test_a_drain_closes_what_has_not_begun_and_lets_streams_end() -> None:
    idle = await opened(front(), Service(), ASK)
    talking = await opened(front(), Service(), TALK)
    await talking.send('{"text":"a"}')
    await talking.receive()
    for one in (idle, talking):
        one.exchange.drain()
    assert (await idle.rest())[1] == 1001
    assert (await talking.rest())[1] == 1001


async def test_a_stream_without_an_end_gets_a_moment_when_the_gateway_stops() -> None:
    async def endless(call: Call) -> AsyncIterator[Payload]:
        yield heard(text="a")
        await asyncio.Event().wait()

    client = await opened(front(drain="20ms"), Service(endless), WATCH, [JSON])
    await client.send("{}")
    await client.receive()
    client.exchange.drain()
    found, code, _ = await client.rest()
    assert (code, json.loads(found[-1])["code"]) == (1001, 14)


async def test_operators_see_sockets_push_to_them_and_close_them_where_they_may() -> None:
    assert not front().shows_connections
    asks = front(admin=True)
    service = Service()
    client = await opened(asks, service, TALK)
    await client.send('{"text":"a"}')
    await client.receive()
    ((id, connection),) = asks.connections.items()
    assert service.calls[0].metadata.get(b"x-connection-id") == id.encode()
    said = connection.describe()
    assert (said["messages_in"], said["messages_out"], said["path"]) == (1, 1, TALK)
    await connection.push('{"text":"from outside"}')
    assert await client.receive() == '{"text":"from outside"}'
    connection.dismiss()
    assert (await client.rest())[1] == 4403
    await client.error()
    assert not asks.connections
