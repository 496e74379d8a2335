"""Sizes: what is too large, and that it is found out as early as can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Encoding, Payload, Reply
from protogw.errors import BodyTooLarge, Code
from protogw.policies.size import SizeLimit, SizeSettings
from protogw.wire.http import ResponseHead
from tests.support import rpc
from tests.support.policies import Stream, call


def size(**settings: Any) -> SizeLimit:
    return SizeLimit(SizeSettings.model_validate(settings))


def of(length: int) -> Payload:
    return Payload(b"x" * length, Encoding.RAW)


async def messages(*lengths: int) -> AsyncIterator[Payload]:
    for length in lengths:
        yield of(length)


async def drained(call: Call) -> Reply:
    if call.payloads is not None:
        async for _ in call.payloads:
            pass
    return Reply()


@pytest.mark.parametrize(("length", "fits"), [(10, True), (11, False)])
async def test_a_request_that_is_too_large_is_refused(length: int, fits: bool) -> None:
    policy = size(request=10)
    if fits:
        await policy(call(payload=of(length)), drained)
        return
    with pytest.raises(BodyTooLarge) as caught:
        await policy(call(payload=of(length)), drained)
    assert (caught.value.status.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 413)


async def test_each_message_of_a_stream_is_measured_and_all_of_them() -> None:
    policy = size(request=10, request_stream=25)
    await policy(call(rpc.UP, payload=None, payloads=messages(10, 10, 5)), drained)
    for lengths in ((5, 11), (10, 10, 6)):
        with pytest.raises(BodyTooLarge):
            await policy(call(rpc.UP, payload=None, payloads=messages(*lengths)), drained)


async def test_a_body_of_plain_http_is_one_request_in_however_many_pieces() -> None:
    policy = size(request=10)
    with pytest.raises(BodyTooLarge):
        await policy(call(verb=b"POST", payload=None, payloads=messages(6, 6)), drained)
    seen: list[Call] = []

    async def service(call: Call) -> Reply:
        seen.append(call)
        return Reply()

    fields = ((b"content-length", b"11"),)
    with pytest.raises(BodyTooLarge):
        await policy(call(verb=b"POST", fields=fields, payload=None, payloads=messages(11)), service)
    assert not seen, "what says that it is too large is not begun"


@pytest.mark.parametrize("declared", [b"11", None, b"1" * 30, b"x"])
async def test_a_reply_that_is_too_large_is_the_services_fault(declared: bytes | None) -> None:
    stream = Stream()
    stream.give(b"x" * 11)

    async def service(_: Call) -> Reply:
        fields = ((b"content-length", declared),) if declared is not None else ()
        return Reply(head=ResponseHead(200, fields), payloads=stream.messages())

    async def read() -> None:
        reply = await size(reply=10)(call(verb=b"GET"), service)
        assert reply.payloads is not None
        await anext(reply.payloads)

    with pytest.raises(BodyTooLarge) as caught:
        await read()
    assert caught.value.http_status == 502


async def test_a_reply_of_one_message_and_streams_are_measured() -> None:
    policy = size(reply=10, reply_stream=15)

    async def whole(_: Call) -> Reply:
        return Reply(payload=of(11))

    with pytest.raises(BodyTooLarge):
        await policy(call(), whole)

    async def streaming(_: Call) -> Reply:
        return Reply(payloads=messages(10, 6))

    reply = await policy(call(rpc.DOWN), streaming)
    assert reply.payloads is not None
    assert len((await anext(reply.payloads)).data) == 10
    with pytest.raises(BodyTooLarge):
        await anext(reply.payloads)


def test_a_policy_that_limits_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="limits nothing"):
        SizeSettings.model_validate({})
