"""JSON-RPC 2.0 over a session: the specification's examples, errors, batches, and streams by notification."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protogw.call import Call, Reply
from protogw.errors import Code, GatewayError, InvalidRequest
from tests.support.sockets import Opened, Service, front, opened

ASK, TALK, WATCH = (f"chat.v1.Chat/{name}" for name in ("Ask", "Talk", "Watch"))


async def session(handle: Any, subprotocol: str = "jsonrpc", **settings: Any) -> Opened:
    return await opened(front(**settings), handle, "/protogw.calls.v1", [subprotocol])


def request(id: Any, method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    found = {"jsonrpc": "2.0", "id": id, "method": method, **more}
    if params is not None:
        found["params"] = params
    return found


def notice(method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params is not None else {})}


async def say(client: Opened, *messages: Any) -> None:
    await client.send(*(json.dumps(message) for message in messages))


async def hear(client: Opened) -> Any:
    return json.loads(await client.receive())


@pytest.mark.parametrize("subprotocol", ["jsonrpc", "jsonrpc.2.0"])
async def test_a_request_is_answered_with_its_result(subprotocol: str) -> None:
    client = await session(Service(), subprotocol)
    for id in (1, "one", 1.5, None):
        await say(client, request(id, ASK, {"text": "hello"}))
        assert await hear(client) == {"jsonrpc": "2.0", "id": id, "result": {"text": "hello"}}


async def test_a_request_without_params_is_the_empty_message() -> None:
    client = await session(Service())
    await say(client, request(1, ASK))
    assert await hear(client) == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_an_error_has_its_number_and_the_status() -> None:
    async def handle(call: Call) -> Reply:
        raise GatewayError("none here", code=Code.NOT_FOUND)

    client = await session(handle)
    await say(client, request(1, ASK, {}))
    assert await hear(client) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32005, "message": "none here", "data": {"code": 5, "message": "none here", "details": []}},
    }


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("1", -32600),
        ("[]", -32600),
        ("{}", -32600),
        ('{"jsonrpc":"1.0","id":1,"method":"x"}', -32600),
        ('{"jsonrpc":"2.0","id":{},"method":"x"}', -32600),
        ('{"jsonrpc":"2.0","id":true,"method":"x"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":1}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"no.such/Method"}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":"$/nothing"}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":"chat.v1.Chat/Ask","params":{"nothing":1}}', -32602),
        (json.dumps([1] * 51), -32600),
    ],
)
async def test_what_is_no_request_is_told_and_the_session_goes_on(sent: str, code: int) -> None:
    client = await session(Service())
    await client.send(sent)
    assert (await hear(client))["error"]["code"] == code
    await say(client, request(2, ASK, {"text": "on"}))
    assert (await hear(client))["result"] == {"text": "on"}


async def test_binary_messages_are_not_json_rpc() -> None:
    client = await session(Service())
    await client.send(b"{}")
    assert (await client.rest())[1] == 1003


async def test_a_notification_is_a_call_that_nobody_hears_of() -> None:
    service = Service()
    client = await session(service)
    await say(client, notice(ASK, {"text": "quiet"}), notice("no.such/Method"), request(1, ASK, {"text": "loud"}))
    while "result" not in (found := await hear(client)):
        pass
    assert found["result"] == {"text": "loud"}
    assert len(service.calls) == 2


async def test_a_batch_is_answered_in_one_array_without_its_notifications() -> None:
    client = await session(Service())
    await say(client, [request(1, ASK, {"text": "a"}), notice(ASK), 1, request("2", "no.such/M"), request(3, ASK)])
    found = await hear(client)
    assert isinstance(found, list)
    assert {json.dumps(one["id"]): one.get("result", one.get("error", {}).get("code")) for one in found} == {
        "1": {"text": "a"},
        "null": -32600,
        '"2"': -32601,
        "3": {},
    }


async def test_streams_are_notifications_and_end_with_a_result() -> None:
    client = await session(Service())
    await say(client, request(1, TALK, {"text": "a"}), notice("$/message", {"id": 1, "message": {"text": "b"}}))
    await say(client, notice("$/end", {"id": 1}))
    assert [await hear(client) for _ in range(3)] == [
        notice("$/message", {"id": 1, "message": {"text": "a"}}),
        notice("$/message", {"id": 1, "message": {"text": "b"}}),
        {"jsonrpc": "2.0", "id": 1, "result": None},
    ]


async def test_a_request_can_be_cancelled() -> None:
    client = await session(Service())
    await say(client, request(1, TALK), notice("$/cancelRequest", {"id": 1}))
    assert (await hear(client))["error"]["code"] == -32001


async def test_only_json_can_be_pushed() -> None:
    asks = front(admin=True)
    client = await opened(asks, Service(), "/protogw.calls.v1", ["jsonrpc"])
    (connection,) = asks.connections.values()
    await connection.push('{"a":1}')
    assert await hear(client) == notice("$/push", {"message": {"a": 1}})
    for bad in (b"{}", "{"):
        with pytest.raises(InvalidRequest):
            await connection.push(bad)
