"""Many calls over one socket in protogw.calls.v1: each by itself, bounded, and none harmed by another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Call, Metadata, Payload, Reply
from protogw.errors import Code, GatewayError, NotOffered
from tests.support.sockets import Opened, Service, front, heard, message, opened

PATH = "/protogw.calls.v1"
SERVICE = "chat.v1.Chat"


async def session(handle: Any, *fields: tuple[str, str], **settings: Any) -> Opened:
    client = await opened(front(**settings), handle, PATH, ["protogw.calls.v1"], *fields)
    assert json.loads(await client.receive())["type"] == "hello"
    return client


def frame(type: str, id: int, body: str | bytes | None = None, **more: Any) -> str | bytes:
    head = json.dumps({"type": type, "id": id, **more})
    if body is None:
        return head
    return f"{head}\n{body}" if isinstance(body, str) else head.encode() + b"\n" + body


def call(id: int, name: str, body: str | bytes | None = None, **more: Any) -> str | bytes:
    return frame("open", id, body, method=f"{SERVICE}/{name}", **more)


async def hear(client: Opened) -> tuple[dict[str, Any], bytes]:
    """The next message: its first line, and the rest."""
    message = await client.receive()
    data = message.encode() if isinstance(message, str) else message
    head, _, body = data.partition(b"\n")
    return json.loads(head), body


async def until_status(client: Opened, id: int) -> tuple[list[bytes], dict[str, Any]]:
    """A call's messages and its status; other calls' are passed over."""
    found: list[bytes] = []
    while True:
        head, body = await hear(client)
        if head.get("id") != id:
            continue
        if head["type"] == "message":
            found.append(body)
        elif head["type"] == "status":
            return found, head


async def waits(_: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


async def test_the_session_says_what_it_takes() -> None:
    client = await opened(front(calls=7, in_flight=3), Service(), PATH, ["protogw.calls.v1"])
    said = json.loads(await client.receive())
    assert (said["calls"], said["credit"]) == (7, 3)
    assert len(said["connection"]) > 10


async def test_a_unary_call_has_metadata_both_ways_a_message_and_a_status() -> None:
    async def handle(call: Call) -> Reply:
        assert call.payload is not None
        text = message("Say", call.payload.proto()).text
        lead = Metadata(((b"x-seen", call.metadata.get(b"x-user") or b""),))
        return Reply(lead, payload=heard(text=text), trailers=Metadata(((b"x-trail", b"t"),)))

    client = await session(handle)
    await client.send(call(1, "Ask", '{"text":"hello"}', metadata={"X-User": "7"}))
    assert await hear(client) == ({"type": "head", "id": 1, "metadata": {"x-seen": ["7"]}}, b"")
    assert await hear(client) == ({"type": "message", "id": 1}, b'{"text":"hello"}')
    status = {"type": "status", "id": 1, "code": 0, "message": "", "details": [], "trailers": {"x-trail": ["t"]}}
    assert await hear(client) == (status, b"")


async def test_protobuf_is_answered_with_protobuf() -> None:
    client = await session(Service())
    await client.send(call(1, "Ask", message("Say", text="hello").SerializeToString()))
    found, status = await until_status(client, 1)
    assert (message("Heard", found[0]).text, status["code"]) == ("hello", 0)


async def test_streams_of_every_shape_share_the_socket() -> None:
    async def handle(call: Call) -> AsyncIterator[Payload]:
        if call.payload is not None:
            for number in range(3):
                yield heard(text=str(number))
        else:
            assert call.payloads is not None
            async for payload in call.payloads:
                yield heard(text=message("Say", payload.proto()).text)

    client = await session(Service(handle))
    await client.send(
        call(1, "Talk"),
        call(2, "Watch", '{"room":"r"}'),
        frame("message", 1, '{"text":"a"}'),
        frame("message", 1, '{"text":"b"}', end=True),
    )
    ended: dict[int, list[bytes]] = {1: [], 2: []}
    open_calls = {1, 2}
    while open_calls:
        head, body = await hear(client)
        if head["type"] == "message":
            ended[head["id"]].append(body)
        elif head["type"] == "status":
            assert head["code"] == 0
            open_calls.discard(head["id"])
    assert ended[1] == [b'{"text":"a"}', b'{"text":"b"}']
    assert ended[2] == [b'{"text":"0"}', b'{"text":"1"}', b'{"text":"2"}']


async def test_a_call_that_fails_leaves_the_others_alone() -> None:
    service = Service()

    async def handle(call: Call) -> Reply:
        if call.metadata.get(b"x-fail"):
            raise GatewayError("as you wished", code=Code.ABORTED)
        if call.metadata.get(b"x-fault"):
            raise RuntimeError("a fault of ours")
        return await service(call)

    client = await session(handle)
    await client.send(
        call(1, "Talk"),
        call(2, "Ask", "{}", metadata={"x-fail": "1"}),
        call(3, "Ask", "{}", metadata={"x-fault": "1"}),
        call(4, "Nothing", "{}"),
        call(5, "Ask", '{"nothing":1}'),
    )
    codes: dict[int, int] = {}
    while len(codes) < 4:
        head, _ = await hear(client)
        if head["type"] == "status":
            codes[head["id"]] = head["code"]
    assert codes == {2: 10, 3: 13, 4: 12, 5: 3}
    await client.send(frame("message", 1, '{"text":"still here"}', end=True))
    assert (await until_status(client, 1))[0] == [b'{"text":"still here"}']


async def test_a_call_can_be_cancelled_and_its_id_used_again() -> None:
    client = await session(waits)
    for _ in range(2):
        await client.send(call(1, "Ask", "{}"), frame("cancel", 1))
        assert (await until_status(client, 1))[1]["code"] == 1


async def test_a_deadline_is_the_calls_own() -> None:
    client = await session(gateway_like(waits))
    await client.send(call(1, "Ask", "{}", timeout_ms=20), call(2, "Ask", "{}"))
    assert (await until_status(client, 1))[1]["code"] == 4
    await client.send(frame("cancel", 2))
    assert (await until_status(client, 2))[1]["code"] == 1


def gateway_like(handle: Any) -> Any:
    """Arms the deadline as the gateway does."""

    async def run(call: Call) -> Reply:
        if call.timeout is not None:
            call.arm(asyncio.get_running_loop(), call.timeout)
        found: Reply = await handle(call)
        return found

    return run


async def test_a_reply_waits_for_the_clients_credit() -> None:
    sent = 0

    async def endless(call: Call) -> AsyncIterator[Payload]:
        nonlocal sent
        while True:
            sent += 1
            yield heard(text=str(sent))
            await asyncio.sleep(0)

    client = await session(Service(endless))
    await client.send(call(1, "Watch", "{}", credit=2))
    assert (await hear(client))[0]["type"] == "head"
    assert [(await hear(client))[1] for _ in range(2)] == [b'{"text":"1"}', b'{"text":"2"}']
    for _ in range(50):
        await asyncio.sleep(0)
    assert sent == 3
    await client.send(frame("credit", 1, messages=1))
    assert (await hear(client))[1] == b'{"text":"3"}'
    await client.send(frame("cancel", 1))
    assert (await until_status(client, 1))[1]["code"] == 1


async def test_a_client_that_sends_without_credit_loses_that_call_only() -> None:
    client = await session(waits, in_flight=2)
    await client.send(call(1, "Talk"), call(2, "Ask", "{}"), *(frame("message", 1, "{}") for _ in range(3)))
    assert (await until_status(client, 1))[1]["code"] == 8
    await client.send(frame("cancel", 2))
    assert (await until_status(client, 2))[1]["code"] == 1


async def test_credit_comes_back_as_the_service_takes_messages() -> None:
    client = await session(Service(), in_flight=2)
    await client.send(call(1, "Talk"))
    credit, answers = 2, 0
    for number in range(10):
        while not credit:
            head, _ = await hear(client)
            credit += head.get("messages", 0)
            answers += head["type"] == "message"
        credit -= 1
        await client.send(frame("message", 1, "{}", end=number == 9))
    found, status = await until_status(client, 1)
    assert (answers + len(found), status["code"]) == (10, 0)


async def test_one_call_too_many_is_refused_by_itself() -> None:
    client = await session(waits, calls=2)
    await client.send(*(call(id, "Ask", "{}") for id in (1, 2, 3)))
    assert (await until_status(client, 3))[1]["code"] == 8


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", 1007),
        ("[]", 1007),
        ("{", 1007),
        ("[" * 100_000, 1007),
        ('{"type":"open"}', 1007),
        ('{"type":"open","id":0,"method":"x"}', 1007),
        ('{"type":"open","id":true,"method":"x"}', 1007),
        ('{"type":"open","id":9007199254740992,"method":"x"}', 1007),
        ('{"type":"open","id":1}', 1007),
        ('{"type":"open","id":1,"method":"x","metadata":[]}', 1007),
        ('{"type":"open","id":1,"method":"x","metadata":{"a b":"c"}}', 1007),
        ('{"type":"open","id":1,"method":"x","metadata":{"a":1}}', 1007),
        ('{"type":"open","id":1,"method":"x","credit":-1}', 1007),
        ('{"type":"open","id":1,"method":"x","timeout_ms":1.5}', 1007),
        ('{"type":"open","id":1,"method":"x","extra":1}', 1007),
        ('{"type":"message","id":1,"end":1}', 1007),
        ('{"type":"cancel","id":1}\n{}', 1007),
        ('{"type":"credit","id":1,"messages":0}', 1007),
        ('{"type":"shout","id":1}', 1007),
        ('{"type":"token"}', 1007),
        ('{"type":"token","access_token":"a b"}', 1007),
        (b"\xff\xfe", 1007),
        ('{"type":"open","id":1,"method":"' + "x" * 70_000 + '"}', 1007),
    ],
)
async def test_what_cannot_be_understood_closes_the_session(sent: str | bytes, code: int) -> None:
    client = await session(waits)
    await client.send(sent)
    assert (await client.rest())[1] == code


async def test_words_about_calls_that_are_no_more_are_passed_over() -> None:
    client = await session(Service())
    await client.send(frame("message", 9, "{}"), frame("end", 9), frame("cancel", 9), frame("credit", 9, messages=1))
    await client.send(call(1, "Ask", "{}"))
    assert (await until_status(client, 1))[1]["code"] == 0


async def test_an_id_that_is_in_use_breaks_the_rules() -> None:
    client = await session(waits)
    await client.send(call(1, "Ask", "{}"), call(1, "Ask", "{}"))
    assert (await client.rest())[1] == 1008


async def test_the_client_says_who_it_is_for_the_session_and_never_in_a_call() -> None:
    service = Service()
    client = await session(service, ("authorization", "Bearer first"))
    await client.send(call(1, "Ask", "{}", metadata={"authorization": "Bearer forged", "x-connection-id": "forged"}))
    await until_status(client, 1)
    await client.send('{"type":"token","access_token":"second"}', call(2, "Ask", "{}"))
    await until_status(client, 2)
    assert [one.metadata.get(b"authorization") for one in service.calls] == [b"Bearer first", b"Bearer second"]
    assert all(one.metadata.get(b"x-connection-id") != b"forged" for one in service.calls)


async def test_a_client_that_leaves_takes_its_calls_along() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> Reply:
        begun.set()
        try:
            return await waits(call)
        finally:
            gone.set()

    client = await session(handle)
    await client.send(call(1, "Ask", "{}"))
    await begun.wait()
    await client.socket.close()
    assert await client.error() is None
    assert gone.is_set()


async def test_a_drain_lets_calls_end_and_takes_no_more() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> Reply:
        begun.set()
        await go.wait()
        return Reply(payload=heard(text="done"))

    client = await session(handle)
    await client.send(call(1, "Ask", "{}"))
    await begun.wait()
    client.exchange.drain()
    assert (await hear(client))[0] == {"type": "leaving"}
    await client.send(call(2, "Ask", "{}"))
    assert (await until_status(client, 2))[1]["code"] == 14
    go.set()
    found, status = await until_status(client, 1)
    assert (found, status["code"]) == ([b'{"text":"done"}'], 0)
    assert (await client.rest())[1] == 1001
    assert await client.error() is None


async def test_an_idle_session_ends_with_the_gateway() -> None:
    client = await session(Service())
    client.exchange.drain()
    assert (await client.rest())[1] == 1001


async def test_each_call_is_recorded() -> None:
    class Lines:
        def __init__(self) -> None:
            self.found: list[tuple[str, str]] = []

        def record(self, exchange: Any, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
            self.found.append((exchange.call.method.full_name, error.status.code.name if error else "OK"))

    async def handle(call: Call) -> Reply:
        if call.metadata.get(b"x-fail"):
            raise NotOffered("no")
        return Reply(payload=heard())

    asks = front()
    asks.recorder = lines = Lines()
    client = await opened(asks, handle, PATH)
    await client.receive()
    await client.send(call(1, "Ask", "{}"), call(2, "Ask", "{}", metadata={"x-fail": "1"}))
    await until_status(client, 1)
    await until_status(client, 2)
    assert sorted(lines.found) == [(f"{SERVICE}/Ask", "OK"), (f"{SERVICE}/Ask", "UNIMPLEMENTED")]


async def test_what_is_pushed_is_told_from_what_calls_bring() -> None:
    asks = front(admin=True)
    client = await opened(asks, Service(), PATH)
    await client.receive()
    (connection,) = asks.connections.values()
    await connection.push('{"news":1}')
    assert await hear(client) == ({"type": "push"}, b'{"news":1}')
    await connection.push(b"\0")
    assert await hear(client) == ({"type": "push"}, b"\0")
