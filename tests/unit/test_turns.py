"""A stream whose messages have all come already lets others have their turn before it is through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from protogw_translators.to_rest import ToRest

from protogw.call import MESSAGES_A_TURN, Encoding, Payload
from protogw.frontends.enveloped import RequestMessages
from protogw.frontends.rest.bodies import RequestStream
from protogw.wire import ndjson
from protogw.wire.envelope import envelope
from tests.support import rpc, shop, to_grpc, upstream

COUNT = 10 * MESSAGES_A_TURN


async def from_grpc_client() -> AsyncIterator[Payload]:
    exchange = rpc.Exchange(rpc.head("/kit.v1.Echo/Up", "application/grpc"), b"")
    messages = RequestMessages(exchange, 1000, b"", Encoding.PROTO, rpc.UP.input.codec)
    messages.push(envelope(b"") * COUNT)
    return messages


async def from_rest_client() -> AsyncIterator[Payload]:
    exchange = rpc.Exchange(rpc.head("/v1/up"), b"{}\n" * COUNT)
    return RequestStream(
        exchange, ndjson.NdjsonReader(1000), None, lambda data: Payload(data, Encoding.JSON, rpc.UP.input.codec)
    )


async def from_grpc_service() -> AsyncIterator[Payload]:
    stream = rpc.Stream(pieces=[to_grpc.message("") * COUNT], trailers=to_grpc.OK_END)
    reply = await to_grpc.send(stream, rpc.call(rpc.DOWN, "q"))
    assert reply.payloads is not None
    return reply.payloads


async def from_rest_service() -> AsyncIterator[Payload]:
    stream = upstream.Stream(200, (("content-type", "application/x-ndjson"),), b"{}\n" * COUNT)
    reply = await ToRest("shop:80", message_limit=1000).send(shop.call("Watch"), upstream.Connection(stream))
    assert reply.payloads is not None
    return reply.payloads


@pytest.mark.parametrize("source", [from_grpc_client, from_rest_client, from_grpc_service, from_rest_service])
async def test_others_get_their_turn_while_a_stream_is_carried(source: object) -> None:
    assert callable(source)
    messages = await source()
    turns = 0
    over = False

    async def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    count = 0
    async for _ in messages:
        count += 1
    over = True
    await task
    assert count == COUNT
    assert turns >= 9
