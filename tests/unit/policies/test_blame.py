"""Whose fault an exception is, by its traceback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.policies.base import Handler, chain
from protogw.policies.blame import culprit
from protogw.wire.http import Peer


class Passing:
    """Forwards."""

    kind = "passing"

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        return await forward(call)


class Raising:
    """Raises, itself or in what it calls."""

    kind = "raising"

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        return self._deeper()

    @staticmethod
    def _deeper() -> Reply:
        raise KeyError("lost")


class Late:
    """Raises when the reply has come back."""

    kind = "late"

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        await forward(call)
        raise KeyError("lost")


class Pool:
    """A target that raises, or not."""

    name = kind = "pool"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def send(self, call: Call) -> Reply:
        if self._error is not None:
            raise self._error
        if call.payloads is not None:
            async for _ in call.payloads:
                pass
        return Reply()


async def blamed(policies: dict[str, Any], target: Pool | None = None) -> str:
    handler = chain(list(policies.values()), (target or Pool()).send)
    call = Call(None, Metadata(), front_end="x", peer=Peer("h", 1), started=0.0)
    with pytest.raises(KeyError) as caught:
        await handler(call)
    return culprit(caught.value, policies)


async def test_the_policy_that_raises_is_named() -> None:
    assert await blamed({"a": Passing(), "b": Raising(), "c": Passing()}) == "b"
    assert await blamed({"a": Late(), "b": Passing()}) == "a"


async def test_of_two_of_a_kind_the_right_one_is_named() -> None:
    assert await blamed({"a": Passing(), "b": Passing(), "c": Late(), "d": Passing()}) == "c"


async def test_what_comes_up_in_a_target_is_no_policys_fault() -> None:
    assert await blamed({"a": Passing(), "b": Passing()}, Pool(KeyError("lost"))) == ""
    assert culprit(KeyError(), {"a": Passing()}) == ""


class Wrapping:
    """Raises in a stream that it wraps around the call's."""

    kind = "wrapping"

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        call.payloads = _broken()
        return await forward(call)


async def _broken() -> AsyncIterator[Payload]:
    yield Payload(b"", Encoding.RAW)
    raise KeyError("lost")


async def test_a_stream_that_a_policy_wraps_is_of_its_module() -> None:
    assert await blamed({"a": Wrapping()}) == "a"
