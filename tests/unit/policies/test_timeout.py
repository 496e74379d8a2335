"""Time limits: the whole call, and streams in which nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from protogw.call import Call, Encoding, Payload, Reply
from protogw.errors import DeadlineExceeded, UpstreamReset
from protogw.policies.timeout import Timeout, TimeoutSettings
from protogw.wire.http import ByteStream
from tests.support import rpc
from tests.support.policies import Gated, Stream, call, forward


def timeout(**settings: str) -> Timeout:
    return Timeout(TimeoutSettings.model_validate(settings))


async def test_the_whole_call_has_this_long() -> None:
    one = call()
    before = one.deadline
    await timeout(total="2s")(one, forward)
    assert before is None
    assert one.deadline == one.started + 2
    one.disarm()


@pytest.mark.parametrize(("asked", "got"), [(1.0, 1.0), (5.0, 2.0)])
async def test_a_client_may_ask_for_less_and_not_for_more(asked: float, got: float) -> None:
    one = call()
    one.arm(asyncio.get_running_loop(), asked)
    await timeout(total="2s")(one, forward)
    assert one.deadline == one.started + got
    one.disarm()


async def test_a_service_that_says_nothing_for_too_long_ends_the_call() -> None:
    service = Gated()
    with pytest.raises(DeadlineExceeded, match=r"no message has come for 0\.01 s"):
        await asyncio.wait_for(timeout(idle="10ms")(call(), service), 10)
    assert service.cancelled == 1


async def test_a_stream_that_says_nothing_for_too_long_is_ended_and_let_go() -> None:
    stream = Stream()

    async def streaming(_: Call) -> Reply:
        return Reply(payloads=stream.messages())

    reply = await timeout(idle="20ms")(call(rpc.DOWN), streaming)
    stream.give(b"1")
    assert reply.payloads is not None
    assert (await anext(reply.payloads)).data == b"1"
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(anext(reply.payloads), 10)
    assert stream.closed


class Socket:
    """A tunnel to a service that says what it is given to say."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.written = b""
        self.ends: list[str] = []

    async def read(self) -> bytes:
        return await self.said.get()

    async def write(self, data: bytes) -> None:
        self.written += data

    def end(self) -> None:
        self.ends.append("end")

    def abort(self) -> None:
        self.ends.append("abort")


async def opened(idle: str) -> tuple[Socket, ByteStream]:
    socket = Socket()

    async def switching(_: Call) -> Reply:
        return Reply(tunnel=socket)

    reply = await timeout(idle=idle)(call(), switching)
    assert reply.tunnel is not None
    return socket, reply.tunnel


async def test_a_socket_on_which_nothing_passes_is_ended() -> None:
    socket, tunnel = await opened("20ms")
    socket.said.put_nowait(b"1")
    assert await tunnel.read() == b"1"
    with pytest.raises(DeadlineExceeded, match="no message has come"):
        await asyncio.wait_for(tunnel.read(), 10)
    with pytest.raises(DeadlineExceeded):
        await tunnel.read()


@pytest.mark.parametrize("side", ["client", "service"])
async def test_what_either_side_sends_keeps_a_socket_open(side: str) -> None:
    socket, tunnel = await opened("1m")
    silence = tunnel._silence  # type: ignore[attr-defined]
    silence._heard -= 50
    socket.said.put_nowait(b"y")
    await (tunnel.write(b"x") if side == "client" else tunnel.read())
    assert asyncio.get_running_loop().time() - silence._heard < 30


async def test_the_end_of_a_socket_leaves_no_timer() -> None:
    socket, tunnel = await opened("1m")
    socket.said.put_nowait(b"")
    assert await tunnel.read() == b""
    assert tunnel._silence._timer is None  # type: ignore[attr-defined]
    tunnel.end()
    tunnel.abort()
    assert socket.ends == ["end", "abort"]


async def test_a_message_from_either_side_breaks_the_silence() -> None:
    stream = Stream()
    came = asyncio.Event()

    async def asking() -> AsyncIterator[Payload]:
        for _ in range(10):
            await asyncio.sleep(0.01)
            yield Payload(b"", Encoding.RAW)
        came.set()

    async def chatting(call: Call) -> Reply:
        assert call.payloads is not None
        async for _ in call.payloads:
            pass
        stream.give(b"answer")
        stream.end()
        return Reply(payloads=stream.messages())

    reply = await timeout(idle="80ms")(call(rpc.CHAT, payload=None, payloads=asking()), chatting)
    assert came.is_set()
    assert reply.payloads is not None
    assert [payload.data async for payload in reply.payloads] == [b"answer"]


async def test_a_stream_that_fails_or_ends_leaves_no_timer() -> None:
    loop = asyncio.get_running_loop()
    for end in (None, UpstreamReset("gone")):
        stream = Stream()

        async def streaming(_: Call, stream: Stream = stream) -> Reply:
            return Reply(payloads=stream.messages())

        reply = await timeout(idle="1h")(call(rpc.DOWN), streaming)
        stream.end(end)
        assert reply.payloads is not None
        try:
            assert [one async for one in reply.payloads] == []
        except UpstreamReset:
            assert end is not None
        assert reply.payloads._silence._timer is None  # type: ignore[attr-defined]
    assert loop.is_running()


async def test_a_client_that_goes_away_is_no_silence() -> None:
    service = Gated()
    task = asyncio.ensure_future(timeout(idle="1h")(call(), service))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_policy_that_limits_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="limits nothing"):
        TimeoutSettings.model_validate({})
