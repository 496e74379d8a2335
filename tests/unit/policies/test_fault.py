"""Faults on purpose: whom they hit, and who may ask for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Reply
from protogw.errors import Code, GatewayError, InvalidRequest
from protogw.policies.fault import Fault, FaultSettings, InjectedFault
from tests.support.policies import call, forward


class Made:
    def __init__(self, chance: float = 0.5, **settings: Any) -> None:
        self.slept: list[float] = []
        made = FaultSettings.model_validate(settings)
        self.policy = Fault(made, chance=lambda: chance, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def code(self, one: Call) -> Code:
        try:
            return (await self.policy(one, forward)).status.code
        except GatewayError as error:
            return error.status.code


@pytest.mark.parametrize(("share", "hit"), [("100%", True), ("50.1%", True), ("50%", False), ("0%", False)])
async def test_a_share_of_calls_is_refused(share: str, hit: bool) -> None:
    made = Made(abort={"share": share, "code": "internal"})
    assert await made.code(call()) is (Code.INTERNAL if hit else Code.OK)


async def test_calls_are_delayed_and_then_go_on() -> None:
    made = Made(delay={"time": "200ms"})
    assert await made.code(call()) is Code.OK
    assert made.slept == [0.2]


async def test_a_delay_may_have_jitter() -> None:
    made = Made(chance=1.0, delay={"time": "1s", "jitter": 0.5, "share": "100%"})
    made.policy._hit = lambda share: True  # type: ignore[method-assign]
    await made.code(call())
    assert made.slept == [1.5]


async def test_only_calls_for_which_the_condition_holds_are_harmed() -> None:
    made = Made(abort={}, when='header["x-guinea"] == "pig"')
    assert await made.code(call()) is Code.OK, "what cannot be told harms nobody"
    assert await made.code(call(fields=((b"x-guinea", b"hen"),))) is Code.OK
    assert await made.code(call(fields=((b"x-guinea", b"pig"),))) is Code.UNAVAILABLE


async def test_clients_may_ask_for_faults_only_where_that_is_allowed() -> None:
    fields = ((b"x-fault-abort", b"not_found"), (b"x-fault-delay", b"10ms"))
    made = Made(delay={"time": "1s", "share": "0%"})
    assert await made.code(call(fields=fields)) is Code.OK
    made = Made(headers=True)
    assert await made.code(call(fields=fields)) is Code.NOT_FOUND
    assert made.slept == [0.01]


async def test_what_a_client_asks_for_does_not_go_on_to_the_service() -> None:
    seen: list[bytes | None] = []

    async def service(call: Call) -> Reply:
        seen.append(call.metadata.get(b"x-fault-delay"))
        return Reply()

    await Made(headers=True).policy(call(fields=((b"x-fault-delay", b"1ms"),)), service)
    assert seen == [None]


@pytest.mark.parametrize("value", [b"31s", b"soon", b"-1s", b"", b"\xff"])
async def test_a_fault_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="x-fault-delay"):
        await Made(headers=True).policy(call(fields=((b"x-fault-delay", value),)), forward)


@given(st.binary(max_size=30), st.binary(max_size=30))
async def test_whatever_a_client_asks_for_is_refused_or_done(delay: bytes, abort: bytes) -> None:
    fields = ((b"x-fault-delay", delay), (b"x-fault-abort", abort))
    made = Made(headers=True)
    with pytest.raises((InvalidRequest, InjectedFault)):
        await made.policy(call(fields=fields), forward)


def test_a_policy_that_harms_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="harms nothing"):
        FaultSettings.model_validate({})
