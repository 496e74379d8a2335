"""Clients that share one upstream stream: joining, leaving, slow ones, and a stream that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import Code, GatewayError, InvalidRequest, Status, UpstreamReset
from protogw.fanin import fan_in
from protogw.fanin.fan_in import FanIn, Options
from protogw.fanin.fields import TextField
from protogw.fanin.hub import Rules
from protogw.fanin.outbox import Slow
from protogw.identity import Identity
from protogw.wire.http import Peer
from tests.support.sockets import ASK, NOTE, TALK, heard, message

RULES = Rules(
    key=TextField(TALK.input, "who.key"),
    reply_key=TextField(TALK.output, "to"),
    reply_topic=TextField(TALK.output, "room"),
    subscribe=TextField(TALK.input, "join"),
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_in, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(fan_in, "WIND_DOWN_S", 0.05)


class Upstream:
    """The service: each stream's requests are kept, replies are what the test says."""

    name, kind = "chat", "fake"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.got: list[Any] = []
        self.ended = 0
        self.refuses: GatewayError | None = None
        self.replies: asyncio.Queue[Payload | Status | GatewayError] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        self._tell()
        if self.refuses is not None:
            raise self.refuses
        call.upstream = "127.0.0.1:1"
        reply = Reply()
        reply.payloads = self._stream(call, reply)
        return reply

    async def _stream(self, call: Call, reply: Reply) -> AsyncIterator[Payload]:
        reader = asyncio.get_running_loop().create_task(self._read(call))
        try:
            while True:
                said = await self.replies.get()
                if isinstance(said, GatewayError):
                    raise said
                if isinstance(said, Status):
                    reply.status = said
                    return
                yield said
        finally:
            reader.cancel()

    async def _read(self, call: Call) -> None:
        assert call.payloads is not None
        async for payload in call.payloads:
            self.got.append(message("Say", payload.proto()))
            self._tell()
        self.ended += 1
        self.replies.put_nowait(Status())
        self._tell()

    def _tell(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def say(self, **fields: Any) -> None:
        self.replies.put_nowait(heard(**fields))


class Client:
    """A call of one client: what it says, and what it hears."""

    def __init__(self, shared: FanIn, key: str, method: Method = TALK, bound: bytes = b"") -> None:
        self._out: asyncio.Queue[Payload | None] = asyncio.Queue()
        self.call = Call(
            method,
            Metadata(),
            front_end="websocket",
            peer=Peer("192.0.2.1", 1),
            started=0.0,
            payloads=self._requests(),
        )
        self.call.attributes = {"connection": key, "bound": bound}
        self._shared = shared
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.reply: Reply | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _requests(self) -> AsyncIterator[Payload]:
        while (payload := await self._out.get()) is not None:
            yield payload

    async def _run(self) -> None:
        self.reply = await self._shared.send(self.call)
        if self.reply.payloads is not None:
            async for payload in self.reply.payloads:
                self.heard.put_nowait(message("Heard", payload.proto()))

    def say(self, **fields: Any) -> None:
        self._out.put_nowait(Payload(message("Say", **fields).SerializeToString(), Encoding.PROTO, TALK.input.codec))

    def end(self) -> None:
        self._out.put_nowait(None)

    async def hears(self) -> str:
        async with asyncio.timeout(5):
            found: str = (await self.heard.get()).text
        return found

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Own:
    """Keeps tasks as the gateway does."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, task: asyncio.Task[None]) -> None:
        self.tasks.append(task)


def shared(upstream: Any, method: Method = TALK, rules: Rules = RULES, **options: Any) -> tuple[FanIn, Own]:
    own = Own()
    return FanIn(upstream, method, rules, Options(**{"linger_s": 0.01, **options}), own), own


async def test_clients_share_one_stream_and_each_hears_what_is_for_it() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    alice, bob = Client(target, "alice"), Client(target, "bob")
    alice.say(text="a", join=["tea"])
    bob.say(text="b")
    await upstream.until(lambda: len(upstream.got) == 2)
    assert {(said.text, said.who.key) for said in upstream.got} == {("a", "alice"), ("b", "bob")}
    assert len(upstream.calls) == 1
    upstream.say(text="for bob", to=["bob"])
    upstream.say(text="for tea", room="tea")
    upstream.say(text="for nobody")
    upstream.say(text="for both", to=["alice", "bob"])
    assert [await alice.hears(), await alice.hears()] == ["for tea", "for both"]
    assert [await bob.hears(), await bob.hears()] == ["for bob", "for both"]
    await alice.leave()
    await bob.leave()


async def test_no_clients_metadata_goes_upstream() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    alice = Client(target, "alice")
    await upstream.until(lambda: bool(upstream.calls))
    assert len(upstream.calls[0].metadata) == 0
    await alice.leave()
    assert alice.call.upstream == "127.0.0.1:1"


async def test_the_stream_ends_a_while_after_the_last_client_and_begins_anew_with_the_next() -> None:
    upstream = Upstream()
    target, own = shared(upstream)
    for number in (1, 2):
        client = Client(target, "alice")
        client.say(text="hello")
        await upstream.until(lambda number=number: len(upstream.got) == number)
        await client.leave()
        await upstream.until(lambda number=number: upstream.ended == number)
        await asyncio.gather(*own.tasks)
    assert (len(upstream.calls), len(own.tasks), target.members) == (2, 2, 0)


async def test_a_service_that_does_not_end_with_its_clients_is_cancelled() -> None:
    class Stuck(Upstream):
        async def _read(self, call: Call) -> None:
            assert call.payloads is not None
            async for _ in call.payloads:
                self.heard += 1
                self._tell()
            self.ended += 1
            self._tell()

        heard = 0

    upstream = Stuck()
    target, own = shared(upstream)
    client = Client(target, "alice")
    await upstream.until(lambda: bool(upstream.calls))
    await client.leave()
    await upstream.until(lambda: upstream.ended == 1)
    late = Client(target, "late")
    await upstream.until(lambda: len(upstream.calls) == 2)
    late.say(text="hello again")
    await upstream.until(lambda: upstream.heard == 1)
    await late.leave()
    async with asyncio.timeout(5):
        await asyncio.gather(*own.tasks)
    assert target.members == 0


async def test_what_waits_for_a_service_that_is_down_waits_only_while_somebody_does() -> None:
    upstream = Upstream()
    upstream.refuses = UpstreamReset("down")
    target, own = shared(upstream)
    client = Client(target, "alice")
    client.say(text="hello")
    await upstream.until(lambda: len(upstream.calls) >= 2)
    await client.leave()
    async with asyncio.timeout(5):
        await asyncio.gather(*own.tasks)
    assert not upstream.got


async def test_comings_and_goings_are_told_to_a_service_that_asks() -> None:
    upstream = Upstream()
    events = {name: message("Say", event=name).SerializeToString() for name in ("connect", "disconnect")}
    target, _ = shared(upstream, **events)
    alice = Client(target, "alice", bound=message("Say", room="tea").SerializeToString())
    await upstream.until(lambda: len(upstream.got) == 1)
    bob = Client(target, "bob")
    await upstream.until(lambda: len(upstream.got) == 2)
    await bob.leave()
    await alice.leave()
    await upstream.until(lambda: len(upstream.got) == 4)
    assert [(said.event, said.who.key, said.room) for said in upstream.got] == [
        ("connect", "alice", "tea"),
        ("connect", "bob", ""),
        ("disconnect", "bob", ""),
        ("disconnect", "alice", "tea"),
    ]


async def test_a_stream_that_breaks_is_opened_anew_and_everyone_is_told() -> None:
    upstream = Upstream()
    told = {name: message("Heard", text=name).SerializeToString() for name in ("lost", "resumed")}
    connect = message("Say", event="joined").SerializeToString()
    target, _ = shared(upstream, replay=2, connect=connect, **told)
    alice = Client(target, "alice")
    for text in ("1", "2", "3"):
        alice.say(text=text)
    await upstream.until(lambda: len(upstream.got) == 4)
    upstream.replies.put_nowait(UpstreamReset("gone"))
    assert [await alice.hears(), await alice.hears()] == ["lost", "resumed"]
    await upstream.until(lambda: len(upstream.got) == 7)
    assert [said.event or said.text for said in upstream.got[4:]] == ["joined", "2", "3"]
    alice.say(text="4")
    await upstream.until(lambda: len(upstream.got) == 8)
    upstream.say(text="back", to=["alice"])
    assert await alice.hears() == "back"
    await alice.leave()


async def test_clients_are_told_once_while_a_stream_cannot_be_opened() -> None:
    upstream = Upstream()
    upstream.refuses = UpstreamReset("down")
    target, _ = shared(upstream, lost=message("Heard", text="lost").SerializeToString())
    alice = Client(target, "alice")
    await upstream.until(lambda: len(upstream.calls) >= 3)
    upstream.refuses = None
    upstream.say(text="up", to=["alice"])
    assert [await alice.hears(), await alice.hears()] == ["lost", "up"]
    await alice.leave()


@pytest.mark.parametrize("code", [Code.OK, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED])
async def test_an_end_that_the_service_means_is_everyones(code: Code) -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    clients = [Client(target, "alice"), Client(target, "bob")]
    await upstream.until(lambda: bool(upstream.calls))
    upstream.replies.put_nowait(Status(code, "that was it"))
    for client in clients:
        async with asyncio.timeout(5):
            await client.task
        assert client.reply is not None
        assert client.reply.status == Status(code, "that was it")
    assert len(upstream.calls) == 1


async def test_a_slow_reader_misses_something_is_closed_or_waited_for() -> None:
    for slow in Slow:
        upstream = Upstream()
        target, _ = shared(upstream, slow=slow, buffer=2)
        quick = Client(target, "quick")
        await upstream.until(lambda upstream=upstream: bool(upstream.calls))
        # The slow one takes a message and stops reading: what else is for it stays in its outbox.
        stalled = await _stalled(target)
        for number in range(5):
            upstream.say(text=str(number), to=["stalled", "quick"])
        if slow is Slow.BLOCK:
            first = [await quick.hears() for _ in range(2)]
            got = [message("Heard", (await anext(stalled)).proto()).text for _ in range(5)]
            assert (first, got) == (["0", "1"], ["0", "1", "2", "3", "4"])
        else:
            assert [await quick.hears() for _ in range(5)] == ["0", "1", "2", "3", "4"]
            got = [message("Heard", (await anext(stalled)).proto()).text for _ in range(3)]
            assert got == (["0", "3", "4"] if slow is Slow.DROP_OLDEST else ["0", "1", "2"])
            if slow is Slow.CLOSE:
                with pytest.raises(GatewayError) as caught:
                    await anext(stalled)
                assert caught.value.status.code is Code.RESOURCE_EXHAUSTED
        await stalled.aclose()
        await quick.leave()


async def _stalled(target: FanIn) -> Any:
    """A client that is there and reads nothing until it is told to."""

    async def nothing() -> AsyncIterator[Payload]:
        await asyncio.Event().wait()
        yield heard()

    call = Call(
        TALK,
        Metadata(),
        front_end="grpc",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payloads=nothing(),
    )
    call.attributes = {"connection": "stalled"}
    payloads: Any = (await target.send(call)).payloads
    reading = asyncio.get_running_loop().create_task(anext(payloads))
    await asyncio.sleep(0)
    return _Resumed(reading, payloads)


class _Resumed:
    """An iterator whose first step was begun already."""

    def __init__(self, first: asyncio.Task[Payload], rest: Any) -> None:
        self._first: asyncio.Task[Payload] | None = first
        self._rest = rest

    async def __anext__(self) -> Payload:
        first, self._first = self._first, None
        found: Payload = await first if first is not None else await anext(self._rest)
        return found

    async def aclose(self) -> None:
        await self._rest.aclose()


async def test_a_bad_request_ends_that_clients_call_alone() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    alice, bob = Client(target, "alice"), Client(target, "bob")
    alice._out.put_nowait(Payload(b'{"nothing":1}', Encoding.JSON, TALK.input.codec))
    with pytest.raises(InvalidRequest):
        await alice.task
    bob.say(text="still here")
    await upstream.until(lambda: len(upstream.got) == 1)
    await bob.leave()


async def test_requests_wait_bounded_while_the_service_takes_none() -> None:
    class Deaf(Upstream):
        async def _read(self, call: Call) -> None:
            await asyncio.Event().wait()

    target, _ = shared(Deaf(), pending=3)
    alice = Client(target, "alice")
    for number in range(20):
        alice.say(text=str(number))
    for _ in range(100):
        await asyncio.sleep(0)
    assert (len(target._pending), alice._out.qsize()) == (3, 16)
    await alice.leave()


async def test_a_client_stream_is_answered_once_its_client_has_ended() -> None:
    upstream = Upstream()
    target, _ = shared(upstream, NOTE)
    alice = Client(target, "alice", NOTE)
    alice.say(text="a")
    alice.end()
    await alice.task
    assert alice.reply is not None
    assert alice.reply.payload is not None
    assert alice.reply.payload.data == b""
    await upstream.until(lambda: len(upstream.got) == 1)


async def test_each_message_may_be_a_unary_call_that_answers_its_sender() -> None:
    class Unary:
        name, kind = "chat", "fake"

        async def send(self, call: Call) -> Reply:
            assert call.payload is not None
            said = message("Say", call.payload.proto())
            if said.text == "fail":
                return Reply(status=Status(Code.NOT_FOUND, "no"))
            return Reply(payload=heard(text=f"{said.who.key}: {said.text}", to=[said.to] if said.to else []))

    target, own = shared(Unary(), ASK)
    alice, bob = Client(target, "alice", ASK), Client(target, "bob", ASK)
    alice.say(text="to myself")
    assert await alice.hears() == "alice: to myself"
    alice.say(text="to bob", to="bob")
    assert await bob.hears() == "alice: to bob"
    alice.say(text="fail")
    await alice.task
    assert alice.reply is not None
    assert alice.reply.status.code is Code.NOT_FOUND
    assert not own.tasks
    await bob.leave()


async def test_a_call_with_one_message_is_none_of_the_fan_ins() -> None:
    upstream = Upstream()
    target, _ = shared(upstream, ASK)
    call = Call(ASK, Metadata(), front_end="grpc", peer=Peer("192.0.2.1", 1), started=0.0, payload=heard())
    await target.send(call)
    assert (upstream.calls, target.members) == ([call], 0)


async def test_by_identity_who_is_not_known_is_refused_and_sockets_of_one_share_a_key() -> None:
    upstream = Upstream()
    target, _ = shared(upstream, by_identity=True)
    for identity in (None, Identity(subject="anonymous", scheme="anonymous", anonymous=True)):
        nobody = Client(target, "a")
        nobody.call.identity = identity
        with pytest.raises(GatewayError) as caught:
            await nobody.task
        assert caught.value.status.code is Code.UNAUTHENTICATED
    clients = [Client(target, str(number)) for number in range(2)]
    for client in clients:
        client.call.identity = "alice"
    await upstream.until(lambda: bool(upstream.calls))
    upstream.say(text="hello", to=["alice"])
    assert [await client.hears() for client in clients] == ["hello", "hello"]
    for client in clients:
        await client.leave()


async def test_when_the_gateway_stops_every_client_is_told() -> None:
    upstream = Upstream()
    target, own = shared(upstream)
    alice = Client(target, "alice")
    await upstream.until(lambda: bool(upstream.calls))
    own.tasks[0].cancel()
    with pytest.raises(GatewayError) as caught:
        await alice.task
    assert caught.value.status.code is Code.UNAVAILABLE


async def test_a_client_of_another_protocol_cannot_name_the_connection_that_it_is() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    forger = Client(target, "")
    forger.call.metadata = Metadata(((b"x-connection-id", b"alice"),))
    forger.call.attributes = None
    alice = Client(target, "alice")
    forger.say(text="I am alice")
    await upstream.until(lambda: len(upstream.got) == 1)
    assert upstream.got[0].who.key not in ("", "alice")
    upstream.say(text="for alice", to=["alice"])
    assert await alice.hears() == "for alice"
    assert forger.heard.empty()
    await alice.leave()
    await forger.leave()


async def test_by_identity_a_subject_of_one_issuer_hears_nothing_that_is_anothers() -> None:
    upstream = Upstream()
    target, _ = shared(upstream, by_identity=True)
    first, second = Client(target, "1"), Client(target, "2")
    for client, issuer in ((first, "https://a.example"), (second, "https://b.example")):
        client.call.identity = Identity(subject="alice", scheme="jwt", issuer=issuer, several_issuers=True)
    await upstream.until(lambda: bool(upstream.calls))
    upstream.say(text="hello", to=["https://a.example alice"])
    upstream.say(text="bye", to=["https://b.example alice"])
    assert (await first.hears(), await second.hears()) == ("hello", "bye")
    for client in (first, second):
        await client.leave()
