"""Many operations on one connection: graphql-transport-ws sockets, and event streams in single connection mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from protogw.call import NO_METADATA, RENEWED, Call, Metadata
from protogw.frontends.graphql.execute import Origin
from protogw.frontends.graphql.settings import GraphqlSettings
from protogw.frontends.graphql.transport_ws import Session
from protogw.websocket import SocketClosed
from protogw.wire.http import Peer
from tests.support import hello
from tests.support.graphql import Exchange, Service, ask, codes, events, front, post, request

INIT = {"type": "connection_init"}
COUNTED = [hello.Int32Value(value=one) for one in (1, 2)]


class Socket:
    """A socket whose peer is the test: `say` and `hear`."""

    def __init__(self) -> None:
        self._in: asyncio.Queue[str | bytes] = asyncio.Queue(100)
        self._out: asyncio.Queue[Any] = asyncio.Queue(100)
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def say(self, *messages: Any) -> None:
        for message in messages:
            self._in.put_nowait(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def hear(self) -> Any:
        async with asyncio.timeout(5):
            return await self._out.get()

    def leave(self) -> None:
        self._in.put_nowait("leave")

    # the gateway's side

    async def receive(self) -> str | bytes:
        message = await self._in.get()
        if message == "leave":
            raise SocketClosed(1001, "")
        return message

    async def send_text(self, message: bytes) -> None:
        if self.closed.done():
            raise SocketClosed(1006, "")
        self._out.put_nowait(json.loads(message))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        assert len(reason.encode()) <= 123
        self.closed.set_result((code, reason))


@asynccontextmanager
async def session(
    service: Service | None = None, metadata: Metadata = NO_METADATA, **settings: Any
) -> AsyncIterator[Socket]:
    """A socket that is served; it is left at the end, and nothing may be running after that."""
    socket = Socket()
    service = service or Service()
    graphql = front()
    head = request("GET /graphql").head

    def origin(metadata: Metadata) -> Origin:
        return Origin(
            "graphql", service, head, Peer("127.0.0.1", 1), metadata, started=0.0, timeout=None, saw=lambda call: None
        )

    made = Session(socket, GraphqlSettings.model_validate(settings), graphql._current.aside, origin, metadata)  # type: ignore[arg-type]
    running = asyncio.ensure_future(made.run())
    try:
        yield socket
    finally:
        socket.leave()
        await running
        assert not service.running


def subscribe(name: str, query: str = "subscription { count }") -> dict[str, Any]:
    return {"type": "subscribe", "id": name, "payload": {"query": query}}


async def forever(_call: Call) -> Any:
    await asyncio.Event().wait()


async def test_a_subscription_over_a_socket() -> None:
    async with session(Service(Count=COUNTED)) as socket:
        socket.say(INIT, subscribe("a"))
        assert [await socket.hear() for _ in range(4)] == [
            {"type": "connection_ack"},
            {"type": "next", "id": "a", "payload": {"data": {"count": 1}}},
            {"type": "next", "id": "a", "payload": {"data": {"count": 2}}},
            {"type": "complete", "id": "a"},
        ]


async def test_an_id_is_free_again_once_its_operation_has_ended() -> None:
    async with session(Service(Hello=hello.StringValue(value="w"))) as socket:
        socket.say(INIT, subscribe("a", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(3)] == ["connection_ack", "next", "complete"]
        socket.say(subscribe("a", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(2)] == ["next", "complete"]


NAMED = {**INIT, "payload": {"Authorization": "Bearer one", "X-Tenant": "a", "client": "web"}}


async def test_a_ping_may_say_anew_who_the_client_is() -> None:
    begun = asyncio.Event()

    async def begins(call: Call) -> Any:
        begun.set()
        await forever(call)

    service = Service(Count=begins, Hello=hello.StringValue(value="w"))
    async with session(service, Metadata(((b"x-other", b"o"),))) as socket:
        socket.say(NAMED, subscribe("a"))
        socket.say({"type": "ping", "payload": {"authorization": "Bearer two", "x-tenant": "b", "at": "noon"}})
        assert [await socket.hear() for _ in range(2)] == [
            {"type": "connection_ack"},
            {"type": "pong", "payload": {"at": "noon"}},
        ]
        socket.say(subscribe("b", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(2)] == ["next", "complete"]
        async with asyncio.timeout(5):
            await begun.wait()
    made = {call.method.name: call for call in service.calls if call.method is not None}
    first, second = made["Count"], made["Hello"]
    assert first.metadata.get(b"authorization") == b"Bearer one"
    assert sorted(second.metadata.pairs) == [
        (b"authorization", b"Bearer two"),
        (b"client", b"web"),
        (b"x-other", b"o"),
        (b"x-tenant", b"b"),
    ]
    assert first.attributes is not None
    assert first.attributes[RENEWED]().get(b"authorization") == b"Bearer two"


@pytest.mark.parametrize("payload", [{"x-new": "1"}, {"authorization": 5}, {"é": "x"}, {"at": ["a"]}, {}])
async def test_a_ping_brings_no_other_metadata(payload: dict[str, Any]) -> None:
    service = Service(Hello=hello.StringValue(value="w"))
    async with session(service) as socket:
        socket.say(INIT, {"type": "ping", "payload": payload})
        assert [(await socket.hear())["type"] for _ in range(2)] == ["connection_ack", "pong"]
        socket.say(subscribe("a", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(2)] == ["next", "complete"]
    assert not service.calls[0].metadata.pairs


async def test_a_ping_before_the_init_says_nothing_of_the_client() -> None:
    service = Service(Hello=hello.StringValue(value="w"))
    async with session(service) as socket:
        socket.say({"type": "ping", "payload": {"authorization": "Bearer x"}}, INIT, subscribe("a", "{ hello }"))
        assert await socket.hear() == {"type": "pong", "payload": {"authorization": "Bearer x"}}
        assert [(await socket.hear())["type"] for _ in range(3)] == ["connection_ack", "next", "complete"]
    assert not service.calls[0].metadata.pairs


async def test_complete_cancels_the_call_and_frees_the_id() -> None:
    service = Service(Count=forever, Hello=hello.StringValue(value="w"))
    async with session(service) as socket:
        socket.say(INIT, subscribe("a"), {"type": "complete", "id": "a"}, subscribe("a", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(3)] == ["connection_ack", "next", "complete"]
        assert service.running == 0


async def test_leaving_cancels_every_operation() -> None:
    service = Service(Count=forever)
    async with session(service) as socket:
        socket.say(INIT, *(subscribe(f"{one}") for one in range(20)), {"type": "ping"})
        assert [(await socket.hear())["type"] for _ in range(2)] == ["connection_ack", "pong"]
    assert service.running == 0


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([subscribe("a")], 4401),
        ([INIT, INIT], 4429),
        ([INIT, subscribe("a"), subscribe("a")], 4409),
        ([INIT, "{"], 4400),
        ([INIT, b"{}"], 4400),
        ([INIT, []], 4400),
        ([INIT, {"type": "next", "id": "a"}], 4400),
        ([INIT, {"type": "subscribe", "payload": {"query": "{ hello }"}}], 4400),
        ([INIT, {"type": "subscribe", "id": "a"}], 4400),
        ([INIT, {"type": "subscribe", "id": "a", "payload": {"query": 5}}], 4400),
        ([INIT, {"type": "complete"}], 4400),
        ([INIT, subscribe("x" * 300)], 4400),
        ([{"type": "connection_init", "payload": "x"}], 4400),
        ([{"type": "connection_init", "payload": {"authorization": "a\nb"}}], 4403),
        ([INIT, {"type": "ping", "payload": {"authorization": "a\nb"}}], 4403),
    ],
)
async def test_whoever_breaks_the_protocol_is_told_by_its_close_code(messages: list[Any], code: int) -> None:
    async with session(Service(Count=forever)) as socket:
        socket.say(*messages)
        async with asyncio.timeout(5):
            assert (await socket.closed)[0] == code


async def test_a_socket_that_says_nothing_is_closed() -> None:
    async with session(init_timeout="50ms") as socket:
        async with asyncio.timeout(5):
            assert (await socket.closed)[0] == 4408


async def test_there_is_a_most_of_operations_and_one_more_is_an_error_of_its_own() -> None:
    async with session(Service(Count=forever), limits={"subscriptions": 2}) as socket:
        socket.say(INIT, subscribe("a"), subscribe("b"), subscribe("c"))
        await socket.hear()
        told = await socket.hear()
        assert (told["type"], told["id"], told["payload"][0]["extensions"]["code"]) == (
            "error",
            "c",
            "RESOURCE_EXHAUSTED",
        )


async def test_a_bad_document_is_an_error_of_its_id() -> None:
    async with session() as socket:
        socket.say(INIT, subscribe("a", "{ nope }"))
        await socket.hear()
        told = await socket.hear()
        assert (told["type"], told["id"], told["payload"][0]["extensions"]["code"]) == (
            "error",
            "a",
            "GRAPHQL_VALIDATION_FAILED",
        )


async def test_what_the_client_says_of_itself_at_first_goes_along_with_every_call() -> None:
    service = Service(Hello=hello.StringValue(value="w"))
    known = Metadata(((b"authorization", b"old"), (b"x-kept", b"1")))
    async with session(service, known) as socket:
        payload = {"Authorization": "Bearer t", "Host": "evil", "a b": "c", "n": 5, "grpc-timeout": "1S"}
        socket.say({**INIT, "payload": payload}, subscribe("a", "{ hello }"))
        assert [(await socket.hear())["type"] for _ in range(3)] == ["connection_ack", "next", "complete"]
    assert service.calls[0].metadata.pairs == ((b"x-kept", b"1"), (b"authorization", b"Bearer t"))


# --- event streams of many operations ---------------------------------------------------------------------------------


class Stream(Exchange):
    """The GET that opens an event stream, and what comes on it."""

    def __init__(self, token: str) -> None:
        made = request(f"GET /graphql/stream?token={token}", b"", [("accept", "text/event-stream")])
        super().__init__(made.head)
        self.drained: list[Any] = []

    def when_draining(self, tell: Any) -> None:
        self.drained.append(tell)

    @property
    def told(self) -> list[tuple[str, Any]]:
        return events(self.body)


async def test_operations_over_one_event_stream() -> None:
    graphql = front()
    service = Service(Count=COUNTED, Hello=hello.StringValue(value="w"), GetThing=forever)
    token = (await ask(graphql, request("PUT /graphql/stream"), service)).body.decode()
    stream = Stream(token)
    opened = asyncio.ensure_future(ask(graphql, stream, service))
    await stream.until(lambda: stream.started)

    async def start(name: Any, query: str) -> Exchange:
        value = {"query": query, "extensions": {"operationId": name}}
        return await ask(graphql, post(value, ("x-graphql-event-stream-token", token), path="/graphql/stream"), service)

    assert (await start("a", "subscription { count }")).status == 202
    await stream.until(lambda: ("complete", {"id": "a"}) in stream.told)
    assert stream.told[:2] == [("next", {"id": "a", "payload": {"data": {"count": one}}}) for one in (1, 2)]
    assert (await start("b", "{ hello }")).status == 202
    await stream.until(lambda: ("complete", {"id": "b"}) in stream.told)
    # What is wrong with an operation is the answer to the request that brought it.
    refused = await start("c", "{ nope }")
    assert codes(json.loads(refused.body)) == ["GRAPHQL_VALIDATION_FAILED"]
    assert (await start(5, "{ hello }")).status == 400
    assert (await start("d", "{ getThing { id } }")).status == 202
    assert (await start("d", "{ hello }")).status == 409
    ended = request(f"DELETE /graphql/stream?operationId=d&token={token}")
    assert (await ask(graphql, ended, service)).status == 200
    second = Stream(token)
    assert (await ask(graphql, second, service)).status == 409
    stream.drained[0]()
    await opened
    assert (stream.ended, service.running) == (True, 0)
    assert (await start("e", "{ hello }")).status == 404


async def test_a_stream_that_is_not_there_or_not_open_takes_nothing() -> None:
    graphql, service = front(), Service()
    assert (await ask(graphql, Stream("nope"), service)).status == 404
    token = (await ask(graphql, request("PUT /graphql"), service)).body.decode()
    value = {"query": "{ hello }", "extensions": {"operationId": "a"}}
    assert (await ask(graphql, post(value, ("x-graphql-event-stream-token", token)), service)).status == 409


async def test_streams_that_are_reserved_and_never_opened_do_not_pile_up() -> None:
    graphql, service = front(limits={"streams": 3}), Service()
    statuses = [(await ask(graphql, request("PUT /graphql"), service)).status for _ in range(5)]
    assert statuses == [201, 201, 201, 503, 503]


async def test_a_client_that_leaves_its_stream_cancels_what_runs_on_it() -> None:
    graphql, service = front(), Service(GetThing=forever)
    token = (await ask(graphql, request("PUT /graphql"), service)).body.decode()
    stream = Stream(token)
    opened = asyncio.ensure_future(ask(graphql, stream, service))
    await stream.until(lambda: stream.started)
    value = {"query": "{ getThing { id } }", "extensions": {"operationId": "a"}}
    await ask(graphql, post(value, ("x-graphql-event-stream-token", token)), service)
    opened.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opened
    assert service.running == 0
