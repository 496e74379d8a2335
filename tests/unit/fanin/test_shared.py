"""Equal server streams, opened once: who counts as equal, who gets what, and when the stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, GatewayError, Status, UpstreamReset
from protogw.fanin.outbox import Slow
from protogw.fanin.shared import SharedStreams
from protogw.identity import Identity
from protogw.wire.http import Peer
from tests.support.sockets import ASK, WATCH, heard, message


class Upstream:
    """Opens a stream when it is let, and then says what the test says."""

    name, kind = "news", "fake"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.open = asyncio.Event()
        self.open.set()
        self.closed = 0
        self.replies: asyncio.Queue[Payload | Status] = asyncio.Queue()
        self.refuses: GatewayError | None = None

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        await self.open.wait()
        if self.refuses is not None:
            raise self.refuses
        reply = Reply(Metadata(((b"x-lead", b"1"),)))
        reply.payloads = self._stream(reply)
        return reply

    async def _stream(self, reply: Reply) -> AsyncIterator[Payload]:
        try:
            while True:
                said = await self.replies.get()
                if isinstance(said, Status):
                    reply.status = said
                    return
                yield said
        finally:
            self.closed += 1


def shared(
    upstream: Any, by: tuple[bytes, ...] = (b"authorization",)
) -> tuple[SharedStreams, list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    return SharedStreams(upstream, by, 8, Slow.DROP_OLDEST, tasks.append), tasks


def asking(payload: Payload | None = None, token: bytes = b"", **fields: Any) -> Call:
    made = payload or Payload(message("Room", **fields).SerializeToString(), Encoding.PROTO, WATCH.input.codec)
    pairs = ((b"authorization", token), (b"x-trace", b"7")) if token else ((b"x-trace", b"7"),)
    return Call(WATCH, Metadata(pairs), front_end="websocket", peer=Peer("192.0.2.1", 1), started=0.0, payload=made)


async def hears(reply: Reply) -> str:
    payloads: Any = reply.payloads
    async with asyncio.timeout(5):
        text: str = message("Heard", (await anext(payloads)).proto()).text
    return text


async def leave(*replies: Reply) -> None:
    for reply in replies:
        payloads: Any = reply.payloads
        await payloads.aclose()


async def test_equal_requests_however_written_are_one_stream() -> None:
    upstream = Upstream()
    target, tasks = shared(upstream)
    written = [
        asking(room="tea", limit=3),
        asking(Payload(b'{"limit": 3, "room": "tea"}', Encoding.JSON, WATCH.input.codec)),
        asking(Payload(b"\x10\x03\x0a\x03tea", Encoding.PROTO, WATCH.input.codec)),
    ]
    replies = [await target.send(call) for call in written]
    assert (len(upstream.calls), target.streams) == (1, 1)
    hearing = [asyncio.get_running_loop().create_task(hears(reply)) for reply in replies]
    upstream.replies.put_nowait(heard(text="news"))
    assert await asyncio.gather(*hearing) == ["news"] * 3
    assert all(reply.metadata.get(b"x-lead") == b"1" for reply in replies)
    await leave(*replies)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (upstream.closed, target.streams) == (1, 0)


async def test_callers_who_differ_in_what_counts_do_not_share() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    replies = [await target.send(asking(token=token, room="tea")) for token in (b"a", b"b", b"")]
    replies.append(await target.send(asking(room="milk")))
    assert len(upstream.calls) == 4
    assert [call.metadata.pairs for call in upstream.calls[:3]] == [
        ((b"authorization", b"a"),),
        ((b"authorization", b"b"),),
        (),
    ]
    known = asking(room="tea")
    known.identity = "alice"
    replies.append(await target.send(known))
    assert len(upstream.calls) == 5
    for issuer in ("https://a.example", "https://b.example"):
        one = asking(room="tea")
        one.identity = Identity(subject="alice", scheme="jwt", issuer=issuer)
        replies.append(await target.send(one))
    assert len(upstream.calls) == 7
    for reply in replies:
        begun = asyncio.get_running_loop().create_task(hears(reply))
        await asyncio.sleep(0)
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)


async def test_whoever_calls_may_count_as_equal() -> None:
    upstream = Upstream()
    target, _ = shared(upstream, ())
    for token in (b"a", b"b"):
        await target.send(asking(token=token, room="tea"))
    assert len(upstream.calls) == 1
    assert len(upstream.calls[0].metadata) == 0


async def test_a_stream_that_cannot_be_opened_fails_for_all_who_wait_and_is_tried_again() -> None:
    upstream = Upstream()
    upstream.open.clear()
    upstream.refuses = UpstreamReset("down")
    target, _ = shared(upstream)
    waiting = [asyncio.get_running_loop().create_task(target.send(asking(room="tea"))) for _ in range(2)]
    await asyncio.sleep(0)
    upstream.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, UpstreamReset) for one in found)
    upstream.refuses = None
    await target.send(asking(room="tea"))
    assert len(upstream.calls) == 2


async def test_the_end_is_everyones_and_the_next_one_opens_anew() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    replies = [await target.send(asking(room="tea")) for _ in range(2)]
    upstream.replies.put_nowait(heard(text="last"))
    upstream.replies.put_nowait(Status(Code.ABORTED, "over"))
    for reply in replies:
        assert reply.payloads is not None
        assert [message("Heard", payload.proto()).text async for payload in reply.payloads] == ["last"]
        assert reply.status == Status(Code.ABORTED, "over")
    await target.send(asking(room="tea"))
    assert len(upstream.calls) == 2


async def test_the_first_may_leave_before_the_stream_is_open_and_the_others_stay() -> None:
    upstream = Upstream()
    upstream.open.clear()
    target, _ = shared(upstream)
    first = asyncio.get_running_loop().create_task(target.send(asking(room="tea")))
    second = asyncio.get_running_loop().create_task(target.send(asking(room="tea")))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    upstream.open.set()
    reply = await second
    hearing = asyncio.get_running_loop().create_task(hears(reply))
    upstream.replies.put_nowait(heard(text="news"))
    assert await hearing == "news"
    await leave(reply)


async def test_other_calls_pass() -> None:
    upstream = Upstream()
    target, _ = shared(upstream)
    call = Call(ASK, Metadata(), front_end="grpc", peer=Peer("192.0.2.1", 1), started=0.0, payload=heard())
    await target.send(call)
    assert upstream.calls == [call]
    with pytest.raises(GatewayError):
        await target.send(asking(Payload(b"{", Encoding.JSON, WATCH.input.codec)))
