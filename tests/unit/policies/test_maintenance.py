"""Maintenance: who is turned away, with what, and who passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protogw.call import Call
from protogw.errors import Code, Overloaded
from protogw.policies.maintenance import Maintenance, MaintenanceSettings
from tests.support.policies import call, forward


def maintenance(**settings: Any) -> Maintenance:
    return Maintenance(MaintenanceSettings.model_validate(settings))


async def passes(policy: Maintenance, one: Call) -> bool:
    try:
        await policy(one, forward)
    except Overloaded:
        return False
    return True


async def test_calls_are_told_when_to_come_back() -> None:
    with pytest.raises(Overloaded, match="back at noon") as caught:
        await maintenance(message="back at noon", retry_after="2h")(call(), forward)
    assert caught.value.status.code is Code.UNAVAILABLE
    assert caught.value.http_status == 503
    assert (b"retry-after", b"7200") in caught.value.headers
    assert caught.value.status.details


async def test_plain_http_gets_a_page() -> None:
    policy = maintenance(body="<h1>soon</h1>", status=500)
    reply = await policy(call(verb=b"GET"), forward)
    assert reply.head is not None
    assert reply.payload is not None
    assert (reply.head.status, reply.payload.data) == (500, b"<h1>soon</h1>")
    assert reply.head.get(b"retry-after") == b"300"
    assert not await passes(policy, call()), "a call with messages gets an error of its own protocol"


async def test_addresses_and_expressions_let_callers_pass() -> None:
    policy = maintenance(bypass=["10.0.0.0/8", "2001:db8::/32"], unless='header["x-pass"] == "yes"')
    assert await passes(policy, call(host="10.1.2.3"))
    assert await passes(policy, call(host="::ffff:10.1.2.3"))
    assert await passes(policy, call(host="2001:db8::1"))
    assert not await passes(policy, call(host="192.0.2.1"))
    assert not await passes(policy, call(host="unix"))
    assert await passes(policy, call(fields=((b"x-pass", b"yes"),)))
    assert not await passes(policy, call(fields=((b"x-pass", b"no"),)))


async def test_a_condition_says_which_calls_are_concerned_and_all_are_when_it_cannot_be_told() -> None:
    policy = maintenance(when='header["x-tenant"] == "a"')
    assert not await passes(policy, call(fields=((b"x-tenant", b"a"),)))
    assert await passes(policy, call(fields=((b"x-tenant", b"b"),)))
    assert not await passes(policy, call())


async def test_it_holds_while_a_file_exists_which_is_looked_for_once_a_second(tmp_path: Path) -> None:
    file = tmp_path / "down"
    policy = maintenance(file=str(file))
    assert await passes(policy, call(started=100.0))
    file.touch()
    assert await passes(policy, call(started=100.9))
    assert not await passes(policy, call(started=101.0))
    file.unlink()
    assert await passes(policy, call(started=102.5))
