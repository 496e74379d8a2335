"""A route's `fan_in` and `share`, made into targets: kept from schema to schema, and refused where they do not fit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import NO_METADATA, Call, Reply
from protogw.config import Route
from protogw.errors import GatewayError
from protogw.fanin.fan_in import FanIn
from protogw.fanin.shared import SharedStreams
from protogw.sharing import Refusing, Sharing
from protogw.wire.http import Peer
from tests.support.sockets import ASK, NOTE, TALK, WATCH


class Pool:
    name, kind = "chat", "grpc"

    async def send(self, call: Call) -> Reply:
        raise AssertionError("nothing is sent here")


def route(**says: Any) -> Route:
    return Route.model_validate({"match": {"call": "chat.v1.Chat/Talk"}, **says})


@pytest.fixture
def sharing() -> Sharing:
    tasks: list[asyncio.Task[None]] = []
    return Sharing(tasks.append)


def test_a_route_that_shares_nothing_leads_to_the_pool(sharing: Sharing) -> None:
    pool = Pool()
    assert sharing.target("routes[0]", route(), TALK, pool, []) is pool


def test_a_fan_in_is_the_same_for_the_same_method(sharing: Sharing) -> None:
    faults: list[str] = []
    says = route(fan_in={"key": "who.key", "reply_key": "to", "connect": {"event": "joined"}, "lost": {"text": "…"}})
    made = [sharing.target(name, says, TALK, Pool(), faults) for name in ("routes[0]", "routes[0]", "routes[1]")]
    assert isinstance(made[0], FanIn)
    assert made[0] is made[1]
    assert made[2] is not made[0]
    assert isinstance(sharing.target("routes[0]", says, NOTE, Pool(), faults), FanIn)
    assert isinstance(sharing.target("routes[2]", route(fan_in={}), ASK, Pool(), faults), FanIn)
    assert faults == []


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ({"key": "nothing"}, "routes[0].fan_in.key: chat.v1.Say has no text field nothing"),
        ({"key": "join"}, "routes[0].fan_in.key: chat.v1.Say.join is a list"),
        ({"reply_key": "who.key"}, "routes[0].fan_in.reply_key: chat.v1.Heard has no message at who.key, before .key"),
        ({"connect": {"nothing": 1}}, "routes[0].fan_in.connect: "),
        ({"lost": {"to": 1}}, "routes[0].fan_in.lost: "),
    ],
)
async def test_a_fan_in_that_does_not_fit_is_named_and_lets_nobody_through(
    sharing: Sharing, says: dict[str, Any], fault: str
) -> None:
    faults: list[str] = []
    target = sharing.target("routes[0]", route(fan_in=says), TALK, Pool(), faults)
    assert isinstance(target, Refusing)
    assert len(faults) == 1
    assert faults[0].startswith(fault)
    with pytest.raises(GatewayError, match="cannot be offered as configured"):
        await target.send(Call(TALK, NO_METADATA, front_end="grpc", peer=Peer("192.0.2.1", 1), started=0.0))


def test_a_server_stream_is_shared_and_not_fanned_in(sharing: Sharing) -> None:
    faults: list[str] = []
    assert isinstance(sharing.target("routes[0]", route(fan_in={}), WATCH, Pool(), faults), Refusing)
    assert faults == [
        "routes[0].fan_in: chat.v1.Chat/Watch takes one request and answers with a stream: use share",
    ]
    shared = sharing.target("routes[1]", route(share=True), WATCH, Pool(), faults)
    assert isinstance(shared, SharedStreams)
    assert sharing.target("routes[1]", route(share=True), WATCH, Pool(), faults) is shared
    pool = Pool()
    for method in (TALK, ASK):
        assert sharing.target("routes[1]", route(share=True), method, pool, faults) is pool
