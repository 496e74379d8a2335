"""The translator to gRPC: streams in each direction, over a fake connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from protogw.call import Encoding, Payload
from protogw.errors import (
    BadUpstream,
    Code,
    InvalidRequest,
    Malformed,
    Unprocessed,
    UpstreamReset,
)
from tests.support import rpc
from tests.support.rpc import Stream
from tests.support.to_grpc import GRPC, OK_END, drain, failure, message, send, text

# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_server_stream_is_read_message_by_message_and_ends_with_its_status() -> None:
    body = message("a") + message("b") + message("")
    stream = Stream(
        fields=(*GRPC, ("x-lead", "a")), pieces=[body[:3], body[3:20], body[20:]], trailers=(*OK_END, ("x-trail", "t"))
    )
    reply = await send(stream, rpc.call(rpc.DOWN, "q"))
    assert stream.sent == [message("q")]
    assert reply.metadata.pairs == ((b"x-lead", b"a"),)
    assert await drain(reply) == ["a", "b", ""]
    assert reply.trailers.pairs == ((b"x-trail", b"t"),)
    assert not stream.cancelled.is_set()


async def test_an_error_after_messages_is_the_replys_status() -> None:
    stream = Stream(pieces=[message("a"), b"\0\0"], trailers=(("grpc-status", "9"), ("grpc-message", "m")))
    reply = await send(stream, rpc.call(rpc.DOWN, "q"))
    assert await drain(reply) == ["a"]
    assert (reply.status.code, reply.status.message) == (Code.FAILED_PRECONDITION, "m")


async def test_messages_before_a_cut_are_delivered() -> None:
    stream = Stream(pieces=[message("a")], error=UpstreamReset("gone"))
    reply = await send(stream, rpc.call(rpc.DOWN, "q"))
    assert reply.payloads is not None
    assert text(await anext(reply.payloads)) == "a"
    with pytest.raises(UpstreamReset):
        await anext(reply.payloads)
    with pytest.raises(StopAsyncIteration):
        await anext(reply.payloads)


async def test_a_client_stream_is_sent_message_by_message() -> None:
    stream = Stream(pieces=[message("sum")], trailers=OK_END, hang=False)
    gate = asyncio.Event()

    async def whole(limit: int) -> object:
        await stream.ended.wait()
        gate.set()
        return await Stream.whole(stream, limit)

    stream.whole = whole  # type: ignore[method-assign, assignment]
    reply = await send(stream, rpc.call(rpc.UP, "a", "b"))
    assert gate.is_set()
    assert text(reply.payload) == "sum"
    assert stream.sent == [message("a"), message("b")]


async def test_a_bidirectional_stream_flows_both_ways_at_once() -> None:
    requests: asyncio.Queue[str | None] = asyncio.Queue()
    replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def payloads() -> AsyncIterator[Payload]:
        while (said := await requests.get()) is not None:
            yield rpc.payload(said)

    class Echoes(Stream):
        async def write(self, data: bytes) -> None:
            replies.put_nowait(data)

        def end(self) -> None:
            replies.put_nowait(b"")

        async def read(self) -> bytes:
            data = await replies.get()
            if not data:
                self.trailers = rpc.headers(OK_END)
            return data

    reply = await send(Echoes(), rpc.call(rpc.CHAT, payloads=payloads()))
    assert reply.payloads is not None
    for said in ("a", "b"):
        requests.put_nowait(said)
        assert text(await anext(reply.payloads)) == said
    requests.put_nowait(None)
    with pytest.raises(StopAsyncIteration):
        await anext(reply.payloads)
    assert reply.status.code is Code.OK
    assert len(asyncio.all_tasks()) == 1


async def never() -> AsyncIterator[Payload]:
    """A client that stays and says nothing more."""
    yield rpc.payload("first")
    await asyncio.Event().wait()


async def test_a_status_is_delivered_while_the_client_still_sends() -> None:
    stream = Stream(pieces=[message("a")], trailers=(("grpc-status", "9"),))
    reply = await send(stream, rpc.call(rpc.CHAT, payloads=never()))
    assert await drain(reply) == ["a"]
    assert reply.status.code is Code.FAILED_PRECONDITION
    reply = await send(Stream(trailers=(("grpc-status", "9"),)), rpc.call(rpc.UP, payloads=never()))
    assert reply.status.code is Code.FAILED_PRECONDITION
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_a_reply_cancels_upstream_even_before_the_first_message(read: int) -> None:
    for method in (rpc.DOWN, rpc.CHAT):
        stream = Stream(pieces=[message("a"), message("b")], trailers=OK_END)
        reply = await send(stream, rpc.call(method, "q"))
        payloads = reply.payloads
        assert payloads is not None
        for _ in range(read):
            await anext(payloads)
        await payloads.aclose()  # type: ignore[attr-defined]
        assert stream.cancelled.is_set()
        assert len(asyncio.all_tasks()) == 1
        with pytest.raises(StopAsyncIteration):
            await anext(payloads)


async def test_a_fault_in_the_requests_stream_ends_the_call_with_that_fault() -> None:
    async def broken() -> AsyncIterator[Payload]:
        yield rpc.payload("a")
        raise Malformed("cut")

    for method in (rpc.UP, rpc.CHAT):
        for hang in ("head", "read"):
            stream = Stream(pieces=[message("a")] if hang == "read" else [], hang=True)
            if hang == "read":
                ready = stream._head

                async def head(found: object = ready) -> object:
                    return found

                stream.head = head  # type: ignore[method-assign, assignment]
            error = await failure(stream, rpc.call(method, payloads=broken()))
            assert isinstance(error, Malformed)
            assert stream.cancelled.is_set()
    assert len(asyncio.all_tasks()) == 1


async def test_a_message_that_does_not_convert_ends_the_call() -> None:
    async def bad() -> AsyncIterator[Payload]:
        yield Payload(b"{]", Encoding.JSON, rpc.UP.input.codec)

    assert isinstance(await failure(Stream(hang=True), rpc.call(rpc.UP, payloads=bad())), InvalidRequest)


async def test_a_call_is_not_retryable_once_a_message_was_taken_from_the_client() -> None:
    class Refused(Stream):
        async def head(self) -> rpc.ResponseHead:
            await self.ended.wait()
            raise Unprocessed("goaway")

    error = await failure(Refused(), rpc.call(rpc.CHAT, "a"))
    assert isinstance(error, UpstreamReset)
    assert not error.retryable
    silent = asyncio.Event()

    async def nothing() -> AsyncIterator[Payload]:
        await silent.wait()
        yield rpc.payload("")

    class RefusedAtOnce(Stream):
        async def head(self) -> rpc.ResponseHead:
            await asyncio.sleep(0)
            raise Unprocessed("goaway")

    assert (await failure(RefusedAtOnce(), rpc.call(rpc.CHAT, payloads=nothing()))).retryable
    assert (await failure(RefusedAtOnce(), rpc.call(rpc.DOWN, "q"))).retryable


async def test_an_upstream_that_stops_reading_still_says_why() -> None:
    class Deaf(Stream):
        async def write(self, data: bytes) -> None:
            raise UpstreamReset("closed")

    reply = await send(Deaf(trailers=(("grpc-status", "8"),)), rpc.call(rpc.UP, "a"))
    assert reply.status.code is Code.RESOURCE_EXHAUSTED


async def test_a_fault_of_our_own_while_sending_is_not_hidden() -> None:
    async def wrong() -> AsyncIterator[Payload]:
        raise RuntimeError("a fault of ours")
        yield rpc.payload("")

    for method in (rpc.UP, rpc.CHAT):
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await send(Stream(hang=True), rpc.call(method, payloads=wrong()))


async def test_bad_upstream_replies_cancel_the_stream() -> None:
    stream = Stream(pieces=[message("a"), b"\x80\0\0\0\0"], trailers=OK_END)
    assert isinstance(await failure(stream, rpc.call(rpc.CHAT, "q")), BadUpstream)
    assert stream.cancelled.is_set()
    assert len(asyncio.all_tasks()) == 1
