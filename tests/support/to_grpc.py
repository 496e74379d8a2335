"""Calls put to the translator to gRPC over a fake connection."""

from __future__ import annotations

import hpack
import pytest
from protogw_translators.to_grpc import ToGrpc

from protogw.call import Payload, Reply
from protogw.errors import (
    GatewayError,
)
from protogw.wire.envelope import envelope
from tests.support import kit, rpc
from tests.support.rpc import Connection, Stream

LIMIT = 100_000
OK_END = (("grpc-status", "0"),)
GRPC = (("content-type", "application/grpc"),)


def translator() -> ToGrpc:
    return ToGrpc("backend:50051", message_limit=LIMIT, user_agent="gw/1")


def message(text: str = "") -> bytes:
    return envelope(kit.message(text).SerializeToString())


def fields(block: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in hpack.Decoder().decode(block)]


async def send(stream: Stream, call: rpc.Call | None = None) -> Reply:
    return await translator().send(rpc.call(rpc.UNARY, "q") if call is None else call, Connection(stream))


def text(payload: Payload | None) -> str:
    assert payload is not None
    found: str = kit.Message.FromString(payload.proto()).text
    return found


async def drain(reply: Reply) -> list[str]:
    assert reply.payloads is not None
    return [text(payload) async for payload in reply.payloads]


async def failure(stream: Stream, call: rpc.Call | None = None) -> GatewayError:
    """The error of a call, before its reply or out of its messages."""

    async def run() -> None:
        await drain(await send(stream, call))

    with pytest.raises(GatewayError) as caught:
        await run()
    return caught.value
