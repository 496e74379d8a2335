"""Subscriptions over graphql-transport-ws, as transcripts: what the service gets, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from protogw_translators import to_graphql_ws

from protogw.call import Reply
from protogw.errors import BadUpstream, Code, GatewayError, UpstreamReset
from protogw.websocket import SocketClosed, SocketOptions, WebSocket
from protogw.wire.http import ByteStream, ResponseHead
from protogw.wire.websocket_handshake import ACCEPT, KEY, PROTOCOL, accept_of
from tests.support import catalog
from tests.support.catalog import call
from tests.support.pipe import pipe
from tests.support.upstream import Stream

Play = Callable[["Service"], Awaitable[None]]


class Service:
    """The service's side of the socket."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket

    async def get(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(await self.socket.receive())
        return found

    async def say(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def next(self, result: Any, id: str = "1") -> None:
        await self.say(id=id, type="next", payload=result)

    async def begun(self) -> dict[str, Any]:
        """Acknowledge, and take the subscription."""
        assert (await self.get())["type"] == "connection_init"
        await self.say(type="connection_ack")
        return await self.get()


class Switching(Stream):
    """A request that is answered with a socket."""

    def __init__(self, subprotocol: bytes = b"graphql-transport-ws") -> None:
        super().__init__()
        self.ours, self.theirs = pipe()
        self.subprotocol = subprotocol
        self.switched_head: ResponseHead | None = None

    async def switched(self, protocol: bytes) -> ByteStream | ResponseHead:
        assert protocol == b"websocket"
        await asyncio.sleep(0)
        fields = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (ACCEPT, accept_of((self.get(KEY.decode()) or "").encode())),
        ]
        if self.subprotocol:
            fields.append((PROTOCOL, self.subprotocol))
        self.switched_head = ResponseHead(101, tuple(fields))
        return self.theirs


@asynccontextmanager
async def subscribed(play: Play, **more: Any) -> AsyncIterator[tuple[Reply, Switching]]:
    """The reply of a subscription, while the service plays its part; its faults are the test's."""
    stream = Switching()
    service = Service(WebSocket(stream.ours, SocketOptions(), client=False))
    playing = asyncio.ensure_future(play(service))
    try:
        _, reply = await catalog.send(call("Ticks", upTo=3, **more), stream)
        yield reply, stream
        await asyncio.wait_for(playing, 5)
    finally:
        playing.cancel()
        service.socket.abort()


async def whole(reply: Reply) -> list[bytes]:
    assert reply.payloads is not None
    return [payload.json() async for payload in reply.payloads]


async def closed(service: Service) -> int:
    with pytest.raises(SocketClosed) as caught:
        await service.get()
    return caught.value.code


async def test_a_subscription_has_a_socket_of_its_own() -> None:
    async def play(service: Service) -> None:
        assert await service.get() == {"type": "connection_init"}
        await service.say(type="connection_ack", payload={"any": 1})
        asked = await service.get()
        assert (asked["id"], asked["type"]) == ("1", "subscribe")
        assert asked["payload"] == {
            "query": "subscription Ticks($upTo: Int!) { ticks(upTo: $upTo) }",
            "operationName": "Ticks",
            "variables": {"upTo": 3},
        }
        for number in (1, None):
            await service.next({"data": {"ticks": number}})
        await service.say(id="1", type="complete")
        assert await closed(service) == 1000

    async with subscribed(play) as (reply, stream):
        assert stream.line == "GET /graphql"
        assert stream.body == b""
        assert stream.get("sec-websocket-protocol") == "graphql-transport-ws"
        assert await whole(reply) == [b'{"ticks":1}', b'{"ticks":null}']
        assert reply.status.code is Code.OK


async def test_the_callers_token_is_in_the_first_message_too() -> None:
    async def play(service: Service) -> None:
        assert await service.get() == {"type": "connection_init", "payload": {"authorization": "Bearer x"}}
        await service.say(type="connection_ack")
        await service.get()
        await service.say(id="1", type="complete")
        await closed(service)

    async with subscribed(play, metadata={"authorization": "Bearer x", "x-other": "y"}) as (reply, stream):
        assert (stream.get("authorization"), stream.get("x-other")) == ("Bearer x", "y")
        assert await whole(reply) == []


async def test_pings_are_answered_and_pongs_passed_over() -> None:
    async def play(service: Service) -> None:
        await service.get()
        await service.say(type="ping", payload={})
        assert await service.get() == {"type": "pong"}
        await service.say(type="pong")
        await service.say(type="connection_ack")
        await service.get()
        await service.say(type="ping")
        assert await service.get() == {"type": "pong"}
        await service.say(id="1", type="complete")
        await closed(service)

    async with subscribed(play) as (reply, _):
        assert await whole(reply) == []


async def test_an_error_message_is_the_status() -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.say(id="1", type="error", payload=[{"message": "no", "extensions": {"code": "NOT_FOUND"}}])
        assert await closed(service) == 1000

    async with subscribed(play) as (reply, _):
        assert await whole(reply) == []
        assert (reply.status.code, reply.status.message) == (Code.NOT_FOUND, "no")


async def test_a_result_that_is_an_error_ends_the_stream_and_the_subscription() -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.next({"data": {"ticks": 1}, "errors": [{"message": "half"}]})
        await service.next({"data": None, "errors": [{"message": "no"}]})
        assert await closed(service) == 1000

    async with subscribed(play) as (reply, _):
        assert await whole(reply) == [b'{"ticks":1}']
        assert (reply.status.code, reply.status.message) == (Code.UNKNOWN, "no")
        assert orjson.loads(reply.trailers.get(b"graphql-errors") or b"") == [{"message": "half"}]


async def test_a_caller_that_goes_away_ends_the_subscription() -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.next({"data": {"ticks": 1}})
        assert await service.get() == {"id": "1", "type": "complete"}
        assert await closed(service) == 1000

    async with subscribed(play) as (reply, _):
        assert reply.payloads is not None
        assert (await anext(reply.payloads)).json() == b'{"ticks":1}'
        await reply.payloads.aclose()  # type: ignore[attr-defined]


async def test_results_that_nobody_takes_make_the_service_wait() -> None:
    waiting = asyncio.Event()

    async def play(service: Service) -> None:
        await service.begun()
        try:
            async with asyncio.timeout(0.2):
                for _ in range(10_000):
                    await service.next({"data": {"ticks": 1}, "extensions": {"x": "y" * 1000}})
        except TimeoutError:
            waiting.set()
        assert (await service.get())["type"] == "complete"
        await closed(service)

    async with subscribed(play) as (reply, _):
        await waiting.wait()
        assert reply.payloads is not None
        await reply.payloads.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "want"),
    [
        (4400, Code.INVALID_ARGUMENT),
        (4401, Code.UNAUTHENTICATED),
        (4403, Code.PERMISSION_DENIED),
        (4409, Code.ABORTED),
        (4429, Code.RESOURCE_EXHAUSTED),
        (4500, Code.INTERNAL),
        (1011, Code.INTERNAL),
        (1007, Code.INTERNAL),
        (4999, Code.UNKNOWN),
    ],
)
@pytest.mark.parametrize("early", [True, False])
async def test_a_close_code_is_the_status(code: int, want: Code, early: bool) -> None:
    async def play(service: Service) -> None:
        if not early:
            await service.begun()
        await service.socket.close(code, "because")

    async with subscribed(play) as (reply, _):
        if not early:
            assert await whole(reply) == []
        assert (reply.status.code, reply.status.message) == (want, "because")


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_a_close_before_the_end_is_never_a_success(code: int) -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.next({"data": {"ticks": 1}})
        await service.socket.close(code)

    async with subscribed(play) as (reply, _):
        with pytest.raises(UpstreamReset, match="before it was complete"):
            await whole(reply)


async def test_a_socket_that_breaks_off_is_never_a_success() -> None:
    async def play(service: Service) -> None:
        await service.begun()
        service.socket.abort()

    async with subscribed(play) as (reply, _):
        with pytest.raises(UpstreamReset):
            await whole(reply)


HOSTILE: list[Any] = [
    b"binary",
    "{",
    "[]",
    "{}",
    '{"type":5}',
    '{"type":"next","id":"1"}',
    '{"type":"next","id":"1","payload":[]}',
    '{"type":"next","id":"1","payload":{}}',
    '{"type":"next","id":"1","payload":{"data":{"ticks":"x"}}}',
    '{"type":"next","id":"2","payload":{"data":{"ticks":1}}}',
    '{"type":"next","payload":{"data":{"ticks":1}}}',
    '{"type":"connection_ack"}',
    '{"type":"subscribe","id":"1"}',
    '{"type":"data","id":"1","payload":{"data":{"ticks":1}}}',
]


@pytest.mark.parametrize("message", HOSTILE)
async def test_what_does_not_belong_there_ends_the_call(message: Any) -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.socket.send(message)
        assert await closed(service) == 1006

    async with subscribed(play) as (reply, _):
        with pytest.raises(BadUpstream):
            await whole(reply)


async def test_a_message_over_the_limit_ends_the_call() -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.next({"data": {"ticks": 1}, "extensions": "x" * (catalog.LIMIT + 1)})
        assert await closed(service) == 1009

    async with subscribed(play) as (reply, _):
        assert await whole(reply) == []
        assert reply.status.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("errors", [None, "x", {}, [], [5]])
async def test_an_error_message_without_errors_is_an_error_all_the_same(errors: Any) -> None:
    async def play(service: Service) -> None:
        await service.begun()
        await service.say(id="1", type="error", payload=errors)
        await closed(service)

    async with subscribed(play) as (reply, _):
        assert await whole(reply) == []
        assert reply.status.code is Code.UNKNOWN


# --- the handshake ----------------------------------------------------------------------------------------------------


async def refused(play: Play) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        async with subscribed(play):
            pass
    return caught.value


async def test_a_service_that_says_something_else_first_is_refused() -> None:
    async def play(service: Service) -> None:
        await service.get()
        await service.next({"data": {"ticks": 1}})

    assert "'next' before acknowledging" in (await refused(play)).message


async def test_a_service_that_does_not_acknowledge_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_graphql_ws, "ACK_S", 0.05)

    async def play(service: Service) -> None:
        await service.get()

    assert "did not acknowledge the connection in 0.05 s" in (await refused(play)).message


@pytest.mark.parametrize("subprotocol", [b"", b"graphql-ws"])
async def test_a_socket_of_another_subprotocol_is_refused(subprotocol: bytes) -> None:
    stream = Switching(subprotocol)
    with pytest.raises(BadUpstream):
        await catalog.send(call("Ticks", upTo=3), stream)
    assert stream.theirs.aborted


class Unswitched(Stream):
    """A request for a socket that is answered as any other."""

    async def switched(self, protocol: bytes) -> ByteStream | ResponseHead:
        return await self.head()


@pytest.mark.parametrize(
    ("status", "body", "want"),
    [
        (401, b"", Code.UNAUTHENTICATED),
        (404, b"", Code.NOT_FOUND),
        (426, b"", Code.FAILED_PRECONDITION),
        (503, b"", Code.UNAVAILABLE),
        (400, b'{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}}]}', Code.PERMISSION_DENIED),
    ],
)
async def test_a_refused_handshake_is_the_status(status: int, body: bytes, want: Code) -> None:
    _, reply = await catalog.send(
        call("Ticks", upTo=3), Unswitched(status, (("content-type", "application/json"),), body)
    )
    assert reply.status.code is want


async def test_a_handshake_that_is_answered_with_a_page_is_refused() -> None:
    with pytest.raises(BadUpstream, match="text/html"):
        await catalog.send(call("Ticks", upTo=3), Unswitched(200, (("content-type", "text/html"),), b"<html>"))
