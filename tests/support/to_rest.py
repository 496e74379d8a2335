"""Calls put to the translator to REST over a fake connection."""

from __future__ import annotations

from typing import Any

import pytest
from protogw_translators.to_rest import ToRest

from protogw.call import Call, Reply
from protogw.errors import InvalidRequest
from tests.support import shop
from tests.support.upstream import JSON, Connection, Stream

LIMIT = 100_000


def translator(**options: Any) -> ToRest:
    return ToRest("shop:80", message_limit=LIMIT, user_agent="gw/1", **options)


async def send(call: Call, stream: Stream | None = None, **options: Any) -> tuple[Stream, Reply]:
    stream = Stream(200, JSON, b"{}") if stream is None else stream
    reply = await translator(**options).send(call, Connection(stream))
    return stream, reply


async def line(name: str, /, **fields: Any) -> str:
    stream, _ = await send(shop.call(name, **fields))
    return stream.line


async def refusal(name: str, /, **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await send(shop.call(name, **fields))
    return caught.value.message


async def answered(status: int, fields: Any = JSON, body: bytes = b"", name: str = "GetItem") -> Reply:
    fill = {"name": "shops/1/items/2"} if name == "GetItem" else {"parent": "shops/1"}
    _, reply = await send(shop.call(name, **fill), Stream(status, fields, body))
    return reply
