"""Calls that share a socket, through a pool as the gateway has it; services are played as transcripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from protogw_translators.to_websocket import ToWebSocket
from protogw_translators.to_websocket_settings import WebSocketOptions

from protogw.balancers.round_robin import RoundRobin
from protogw.call import Call, Reply
from protogw.errors import BadUpstream, Code, InvalidRequest, Overloaded, Unreachable, UpstreamReset
from protogw.pools.pool import Address, Pool
from tests.support import feed
from tests.support.socket_upstream import Line, Refusing, Script, Service
from tests.support.upstream import Stream


class Dialer:
    """Connects to the services in turn."""

    def __init__(self, *answers: Service | Stream) -> None:
        self._answers = list(answers)
        self.lines: list[Line] = []

    async def connect(self, host: str, port: int) -> Line:
        if not self._answers:
            raise Unreachable(f"{host}:{port}: refused")
        line = Line(self._answers.pop(0))
        self.lines.append(line)
        return line


@asynccontextmanager
async def pool(*answers: Service | Stream, **said: Any) -> AsyncIterator[Pool]:
    written = {"ping": "0s", "sockets": "shared", "correlation": "id", **said}
    settings = WebSocketOptions.model_validate(written)
    translator = ToWebSocket("feed:9", message_limit=100_000, base_path="/s", settings=settings)
    made = Pool(
        "p", [Address(host="h", port=9)], translator, Dialer(*answers), RoundRobin(), max_connections=8, shared=False
    )
    try:
        yield made
    finally:
        made.close()


async def ask(made: Pool, call: Call) -> Any:
    reply = await asyncio.wait_for(made.send(call), 5)
    assert reply.status.code is Code.OK, reply.status
    return feed.tree(reply.payload)


async def taken(reply: Reply) -> list[Any]:
    assert reply.payloads is not None
    return [feed.tree(payload) async for payload in reply.payloads]


def asking(text: str, **more: Any) -> Call:
    return feed.call("Ask", {"text": text, **more})


def collecting(count: int, *, backwards: bool = False) -> Script:
    """A service that takes so many requests and then answers each with its own text in capitals."""

    async def script(service: Service) -> None:
        found = [await service.receive_json() for _ in range(count)]
        for note in reversed(found) if backwards else found:
            service.send({"id": note["id"], "text": note["text"].upper()})

    return script


async def nothing(service: Service) -> None:
    """A service that is silent."""


async def test_replies_find_their_calls_in_whatever_order_they_come() -> None:
    service = Service(collecting(20, backwards=True))
    async with pool(service) as made, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(made, asking(f"t{number}"))) for number in range(20)]
    assert [task.result()["text"] for task in asked] == [f"T{number}" for number in range(20)]
    assert len({task.result()["id"] for task in asked}) == 20


async def test_a_client_sees_the_id_that_it_gave_and_never_anothers_reply() -> None:
    service = Service(collecting(2, backwards=True))
    async with pool(service) as made, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(made, asking(text, id="1"))) for text in ("a", "b")]
    assert [task.result() for task in asked] == [{"id": "1", "text": "A"}, {"id": "1", "text": "B"}]


async def test_protobuf_calls_share_a_binary_socket() -> None:
    async def script(service: Service) -> None:
        for _ in range(2):
            data = await service.receive()
            assert isinstance(data, bytes)
            service.send(data)

    async with pool(Service(script), encoding="proto") as made:
        assert (await ask(made, asking("a", id="mine")))["id"] == "mine"
        assert (await ask(made, asking("b")))["text"] == "b"


async def test_a_call_whose_reply_is_an_error_fails_alone() -> None:
    async def script(service: Service) -> None:
        first, second = await service.receive_json(), await service.receive_json()
        service.send({"id": first["id"], "type": "failed", "error": {"code": 5, "message": "none"}})
        service.send({"id": second["id"], "text": "b"})

    async with pool(Service(script), error={"type": "failed"}) as made, asyncio.TaskGroup() as tasks:
        one = tasks.create_task(made.send(asking("a")))
        other = tasks.create_task(ask(made, asking("b")))
    assert (one.result().status.code, one.result().status.message) == (Code.NOT_FOUND, "none")
    assert other.result()["text"] == "b"


async def test_replies_to_nobody_and_second_replies_are_passed_over() -> None:
    async def script(service: Service) -> None:
        note = await service.receive_json()
        service.send({"id": "unknown", "text": "x"})
        service.send({"text": "for nobody"})
        service.send([1, 2])
        service.send({"id": note["id"], "text": "b"})
        service.send({"id": note["id"], "text": "again"})
        again = await service.receive_json()
        service.send({"id": again["id"], "text": "c"})

    async with pool(Service(script)) as made:
        assert (await ask(made, asking("a")))["text"] == "b"
        assert (await ask(made, asking("a")))["text"] == "c"


async def test_a_late_reply_reaches_nobody() -> None:
    late = asyncio.Event()

    async def script(service: Service) -> None:
        first = await service.receive_json()
        await late.wait()
        service.send({"id": first["id"], "text": "late"})
        second = await service.receive_json()
        service.send({"id": second["id"], "text": "b"})

    async with pool(Service(script)) as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await made.send(asking("a", id="1"))
        late.set()
        assert await ask(made, asking("b", id="1")) == {"id": "1", "text": "b"}


async def test_calls_on_a_socket_that_breaks_fail_unavailable_and_the_next_one_opens_another() -> None:
    async def breaking(service: Service) -> None:
        await service.receive()
        await service.receive()
        service.cut()

    async with pool(Service(breaking), Service(collecting(1))) as made:
        asked = [asyncio.ensure_future(made.send(asking("a"))) for _ in range(2)]
        for task in asked:
            with pytest.raises(UpstreamReset) as caught:
                await asyncio.wait_for(task, 5)
            assert (caught.value.status.code, caught.value.retryable) == (Code.UNAVAILABLE, False)
        assert (await ask(made, asking("b")))["text"] == "B"


async def test_a_socket_that_is_closed_says_why_to_its_calls() -> None:
    async def script(service: Service) -> None:
        await service.receive()
        service.close(1012, "restarting")

    async with pool(Service(script)) as made:
        with pytest.raises(UpstreamReset, match="closed with 1012: restarting"):
            await asyncio.wait_for(made.send(asking("a")), 5)


async def test_what_cannot_be_read_ends_the_socket_for_all() -> None:
    async def script(service: Service) -> None:
        await service.receive()
        service.send("not JSON")

    service = Service(script)
    async with pool(service) as made:
        with pytest.raises(BadUpstream, match="not JSON"):
            await asyncio.wait_for(made.send(asking("a")), 5)
        assert service.aborted.is_set()


async def test_a_bad_request_harms_no_other() -> None:
    service = Service(collecting(1))
    async with pool(service) as made:
        for bad in ({"text": 1}, {"nosuch": 1}):
            with pytest.raises(InvalidRequest):
                await made.send(feed.call("Ask", bad))
        assert (await ask(made, asking("a")))["text"] == "A"


async def test_a_service_that_refuses_the_handshake_is_unreachable() -> None:
    async with pool(Refusing(503, (), b"")) as made:
        with pytest.raises(Unreachable, match="h:9: the upstream answered the handshake with HTTP 503"):
            await made.send(asking("a"))
        assert made.endpoints[0].down_until


async def test_full_sockets_make_room_on_others_up_to_a_bound() -> None:
    services = [Service(nothing) for _ in range(3)]
    async with pool(*services, calls_per_socket=2, sockets_per_endpoint=2) as made:
        waiting = [asyncio.ensure_future(made.send(asking("a"))) for _ in range(5)]
        for _ in range(200):
            await asyncio.sleep(0)
        assert made.endpoints[0].active == 4
        assert [service.request_head != b"" for service in services] == [True, True, False]
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert made.endpoints[0].active == 0


async def test_a_server_stream_is_what_comes_under_its_id_until_its_mark() -> None:
    async def script(service: Service) -> None:
        note = await service.receive_json()
        for text in ("1", "2"):
            service.send({"id": note["id"], "text": text})
            service.send({"id": "other", "text": "x"})
        service.send({"id": note["id"], "type": "complete"})

    async with pool(Service(script), end={"type": "complete"}) as made:
        reply = await made.send(feed.call("Watch", {"text": "a", "id": "mine"}))
        assert await taken(reply) == [{"id": "mine", "text": "1"}, {"id": "mine", "text": "2"}]
        assert reply.status.code is Code.OK
        assert made.endpoints[0].active == 0


async def test_a_stream_that_nobody_wants_any_more_is_cancelled_by_a_message() -> None:
    told: list[Any] = []

    async def script(service: Service) -> None:
        note = await service.receive_json()
        service.send({"id": note["id"], "text": "1"})
        told.append(note["id"])
        told.append(await service.receive_json())

    service = Service(script)
    async with pool(service, cancel='{"type":"stop","id":{id}}') as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        assert reply.payloads is not None
        await anext(reply.payloads)
        await reply.payloads.aclose()  # type: ignore[attr-defined]
        await service.done()
        assert told[1] == {"type": "stop", "id": told[0]}
        assert not service.aborted.is_set()


async def test_a_topic_has_as_many_listeners_as_ask_for_it_and_is_left_by_the_last() -> None:
    heard: list[Any] = []
    publish = asyncio.Event()

    async def script(service: Service) -> None:
        heard.append(await service.receive_json())
        heard.append(await service.receive_json())
        await publish.wait()
        service.send({"topic": "news", "text": "1"})
        service.send({"topic": "sport", "text": "2"})
        heard.append(await service.receive_json())

    service = Service(script)
    said = {"correlation": None, "topic": "topic", "cancel": '{"type":"leave","topic":{id}}'}
    async with pool(service, **said) as made:
        replies = [await made.send(feed.call("Watch", {"topic": "news"})) for _ in range(2)]
        publish.set()
        for reply in replies:
            assert reply.payloads is not None
            assert feed.tree(await asyncio.wait_for(anext(reply.payloads), 5))["text"] == "1"
        for reply in replies:
            await reply.payloads.aclose()  # type: ignore[union-attr]
        await service.done()
    assert heard == [{"topic": "news"}, {"topic": "news"}, {"type": "leave", "topic": "news"}]


async def test_a_call_about_no_topic_is_refused() -> None:
    async with pool(Service(nothing), correlation=None, topic="topic") as made:
        with pytest.raises(InvalidRequest, match="topic: says what the call is about"):
            await made.send(feed.call("Watch", {"text": "a"}))


def flooding(count: int) -> Script:
    """A service that answers one stream with many messages, and then one call."""

    async def script(service: Service) -> None:
        note = await service.receive_json()
        for number in range(count):
            service.send({"id": note["id"], "text": str(number)})
        other = await service.receive_json()
        service.send({"id": other["id"], "text": "B"})

    return script


async def test_a_slow_clients_call_fails_and_no_other_waits_for_it() -> None:
    async with pool(Service(flooding(100)), queue=10) as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        assert (await ask(made, asking("b")))["text"] == "B"
        with pytest.raises(Overloaded, match="too slow") as caught:
            await taken(reply)
        assert caught.value.status.code is Code.RESOURCE_EXHAUSTED


async def test_a_slow_client_may_lose_the_oldest_messages_instead() -> None:
    async with pool(Service(flooding(100)), queue=10, slow="drop_oldest") as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        assert (await ask(made, asking("b")))["text"] == "B"
        assert reply.payloads is not None
        found = [feed.tree(await anext(reply.payloads))["text"] for _ in range(10)]
        assert found == [str(number) for number in range(90, 100)]
        await reply.payloads.aclose()  # type: ignore[attr-defined]


async def test_a_slow_client_may_make_the_whole_socket_wait_instead() -> None:
    service = Service(flooding(100))
    async with pool(service, queue=10, slow="block") as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        other = asyncio.ensure_future(ask(made, asking("b")))
        for _ in range(500):
            await asyncio.sleep(0)
        assert not other.done()
        assert reply.payloads is not None
        assert [feed.tree(await anext(reply.payloads))["text"] for _ in range(100)] == [str(n) for n in range(100)]
        assert (await asyncio.wait_for(other, 5))["text"] == "B"
        await reply.payloads.aclose()  # type: ignore[attr-defined]


async def test_a_client_that_leaves_a_blocked_socket_lets_it_go_on() -> None:
    async with pool(Service(flooding(100)), queue=10, slow="block") as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        other = asyncio.ensure_future(ask(made, asking("b")))
        for _ in range(500):
            await asyncio.sleep(0)
        await reply.payloads.aclose()  # type: ignore[union-attr]
        assert (await asyncio.wait_for(other, 5))["text"] == "B"


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    async with pool(Service(flooding(1000)), queue=100_000, queue_bytes="1KiB") as made:
        reply = await made.send(feed.call("Watch", {"text": "a"}))
        await ask(made, asking("b"))
        with pytest.raises(Overloaded):
            await taken(reply)


async def test_a_socket_without_calls_is_closed_after_a_while() -> None:
    service = Service(collecting(1))
    async with pool(service, idle="20ms") as made:
        await ask(made, asking("a"))
        await asyncio.wait_for(service.closed.wait(), 5)
        assert made.endpoints[0].connections == 0


async def test_a_pool_that_drains_closes_a_socket_after_its_last_call() -> None:
    here, go = asyncio.Event(), asyncio.Event()

    async def script(service: Service) -> None:
        note = await service.receive_json()
        here.set()
        await go.wait()
        service.send({"id": note["id"], "text": "b"})

    service = Service(script)
    async with pool(service) as made:
        asked = asyncio.ensure_future(ask(made, asking("a")))
        await asyncio.wait_for(here.wait(), 5)
        made.drain()
        assert not service.closed.is_set()
        go.set()
        assert (await asked)["text"] == "b"
        await asyncio.wait_for(service.closed.wait(), 5)


async def test_methods_of_one_path_share_sockets_and_streams_of_requests_do_not() -> None:
    services = [Service(collecting(2)), Service(nothing)]
    async with pool(*services) as made:
        asked = [asyncio.ensure_future(made.send(feed.call("Count", {"text": "a"})))]
        asked.append(asyncio.ensure_future(made.send(asking("b"))))
        await asyncio.wait_for(asyncio.gather(*asked), 5)
        reply = await made.send(feed.call("Chat", {"text": "c"}))
        assert services[1].request_head
        await reply.payloads.aclose()  # type: ignore[union-attr]
