"""Sessions by cookie: a client comes to its endpoint again while that is ready, and learns nothing of where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.balancers.base import Observer
from protogw.balancers.ewma import Ewma
from protogw.balancers.round_robin import RoundRobin
from protogw.balancers.sticky import Sticky, Tokens, sticky
from protogw.call import Call, Reply
from protogw.discovery.base import Address
from protogw.pools.settings import StickySettings
from protogw.pools.sticky import StickyPool
from protogw.testing import call_of
from protogw.testing.service import Connecting, PlayedService
from protogw.translator import HttpConnection


@dataclass(eq=False)
class One:
    label: str
    weight: int = 1
    active: int = 0


TOKENS = Tokens(b"a secret of thirty-two bytes or so")
ENDPOINTS = tuple(One(f"10.0.0.{number}:80") for number in range(1, 5))


def token(one: One) -> bytes:
    return TOKENS.of(one.label)


def test_a_token_leads_to_its_endpoint() -> None:
    balancer = Sticky(TOKENS, RoundRobin())
    for one in ENDPOINTS:
        assert [balancer.pick(ENDPOINTS, token(one)) for _ in range(3)] == [one] * 3


def test_who_has_none_or_one_of_an_endpoint_that_is_not_ready_is_balanced() -> None:
    balancer = Sticky(TOKENS, RoundRobin())
    assert {balancer.pick(ENDPOINTS, b"").label for _ in range(4)} == {one.label for one in ENDPOINTS}
    ready = ENDPOINTS[1:]
    assert {balancer.pick(ready, token(ENDPOINTS[0])).label for _ in range(3)} == {one.label for one in ready}
    assert balancer.pick(ENDPOINTS, token(ENDPOINTS[0])) is ENDPOINTS[0]


@given(st.binary(max_size=100))
def test_whatever_a_client_writes_it_comes_to_one_of_the_ready(key: bytes) -> None:
    assert Sticky(TOKENS, RoundRobin()).pick(ENDPOINTS, key) in ENDPOINTS


def test_a_token_says_nothing_of_the_address_and_is_the_same_for_all_who_share_the_secret() -> None:
    assert TOKENS.of("10.0.0.1:80") == Tokens(b"a secret of thirty-two bytes or so").of("10.0.0.1:80")
    assert TOKENS.of("10.0.0.1:80") != Tokens(b"another secret").of("10.0.0.1:80")
    assert b"10.0" not in TOKENS.of("10.0.0.1:80")


def test_a_balancer_that_learns_goes_on_to_learn() -> None:
    assert isinstance(sticky(TOKENS, Ewma()), Observer)
    assert not isinstance(sticky(TOKENS, RoundRobin()), Observer)


class ByAddress:
    """Says at which endpoint a call ends."""

    kind = "played"

    def __init__(self) -> None:
        self.service = PlayedService("service")

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        return await self.service.send(call)


def pool(ports: Sequence[int] = (1, 2, 3), **settings: Any) -> StickyPool:
    return StickyPool(
        "u",
        [Address(host="10.0.0.1", port=port) for port in ports],
        ByAddress(),  # type: ignore[arg-type]
        Connecting(),
        RoundRobin(),
        sticky_by=StickySettings.model_validate({"cookie": "sid", "secret": "a secret of some length", **settings}),
        max_connections=1,
        shared=True,
    )


async def ask(made: StickyPool, cookie: str | None = None) -> tuple[str, str | None]:
    call = call_of("Unary", {}, headers={"cookie": f"other=1; sid={cookie}"} if cookie is not None else {})
    reply = await made.send(call)
    given = reply.metadata.get(b"set-cookie")
    return call.upstream, given.decode() if given is not None else None


async def test_a_client_is_given_a_cookie_once_and_comes_to_the_same_endpoint_by_it() -> None:
    made = pool()
    for _ in range(3):
        endpoint, given = await ask(made)
        assert given is not None
        value = given.partition(";")[0].partition("=")[2]
        for _ in range(4):
            assert await ask(made, value) == (endpoint, None)
    made.close()


async def test_a_cookie_of_an_endpoint_that_has_gone_is_replaced() -> None:
    made = pool()
    endpoint, given = await ask(made)
    assert given is not None
    value = given.partition(";")[0].partition("=")[2]
    left = [port for port in (1, 2, 3) if not endpoint.endswith(f":{port}")]
    made.update([Address(host="10.0.0.1", port=port) for port in left])
    elsewhere, anew = await ask(made, value)
    assert elsewhere != endpoint
    assert anew is not None
    assert anew.partition(";")[0].partition("=")[2] not in ("", value)
    made.close()


async def test_another_gateway_with_the_same_secret_knows_the_cookie() -> None:
    one, other = pool(), pool((3, 2, 1))
    endpoint, given = await ask(one)
    assert given is not None
    assert (await ask(other, given.partition(";")[0].partition("=")[2]))[0] == endpoint
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        ({}, "; Path=/; Secure; HttpOnly; SameSite=Lax"),
        (
            {"ttl": "1h", "path": "/shop", "secure": False, "http_only": False, "same_site": "strict"},
            "; Path=/shop; Max-Age=3600; SameSite=Strict",
        ),
        ({"same_site": "none"}, "; Path=/; Secure; HttpOnly; SameSite=None"),
    ],
)
async def test_the_cookie_is_as_the_config_says(settings: dict[str, Any], ending: str) -> None:
    made = pool(**settings)
    _, given = await ask(made)
    assert given is not None
    assert given.endswith(ending)
    made.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"cookie": "a b"},
        {"cookie": "a;b"},
        {"path": "shop"},
        {"path": "/a; Domain=evil"},
        {"same_site": "none", "secure": False},
        {"cookie": "__Host-sid", "secure": False},
        {"secret": "short"},
    ],
)
def test_a_cookie_that_browsers_would_drop_or_misread_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StickySettings.model_validate({"cookie": "sid", **settings})
