"""Addresses that may call: ranges, both families, and what no address is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Metadata, Reply
from protogw.errors import Forbidden
from protogw.policies import ip_filter
from protogw.policies.ip_filter import IpFilter, IpFilterSettings
from protogw.wire.http import Peer


async def forward(call: Call) -> Reply:
    return Reply()


async def passes(host: str, **settings: Any) -> bool:
    policy = IpFilter(IpFilterSettings.model_validate(settings))
    call = Call(None, Metadata(), front_end="rest", peer=Peer(host, 1), started=0.0)
    try:
        await policy(call, forward)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("10.1.2.3", True),
        ("10.0.0.7", False),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.7", False),
        ("fd00::1", True),
        ("fd00::1%eth0", True),
        ("fe80::1", False),
        ("", False),
        ("10.1.2.3.4", False),
        ("unix", False),
        ("010.1.2.3", False),
    ],
)
async def test_ranges_decide_and_deny_outweighs_allow(host: str, may: bool) -> None:
    assert await passes(host, allow=["10.0.0.0/8", "fd00::/8"], deny="10.0.0.0/24") is may


async def test_without_allow_everyone_else_may() -> None:
    assert await passes("192.0.2.1", deny="10.0.0.0/8")
    assert not await passes("10.0.0.1", deny="10.0.0.0/8")


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ip_filter, "_KEPT", 4)
    policy = IpFilter(IpFilterSettings.model_validate({"allow": "10.0.0.0/8"}))
    for number in range(20):
        await policy(Call(None, Metadata(), front_end="x", peer=Peer(f"10.0.0.{number}", 1), started=0.0), forward)
    assert len(policy._known) <= 4


@pytest.mark.parametrize("written", [{}, {"allow": "10.0.0.1/8"}, {"deny": "everyone"}])
def test_ranges_that_are_none_are_told(written: Any) -> None:
    with pytest.raises(ValidationError):
        IpFilterSettings.model_validate(written)
