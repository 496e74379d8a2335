"""Which policies do without a call's message, by their settings; and how a route parts its chain at the first other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Forbidden, LimitReached, Overloaded
from protogw.policies import POLICIES
from protogw.policies.base import Handler, OfHead, PolicySettings
from protogw.routing.route import Route
from protogw.wire.http import Peer
from tests.support import rpc
from tests.support.policies import Gated, call, turns

KEYS = {"keys": [{"consumer": "ann", "key": "k" * 32}]}


@pytest.mark.parametrize(
    ("kind", "settings", "of_head"),
    [
        ("api_key", KEYS, True),
        ("jwt", {"secret": "s" * 32}, True),
        ("ip_filter", {"deny": ["10.0.0.0/8"]}, True),
        ("rate_limit", {"rate": "1/second", "by": "identity.subject"}, True),
        ("rate_limit", {"rate": "1/second", "by": "message.tenant"}, False),
        ("rate_limit", {"rate": "1/second", "per": "byte"}, False),
        ("quota", {"limit": "1/day", "store": ":memory:"}, True),
        ("quota", {"limit": "1/day", "store": ":memory:", "cost": "size(message.items)"}, False),
        ("authorize", {"rules": [{"groups": "staff"}]}, True),
        ("authorize", {"rules": [{"when": "message.size < 5"}]}, False),
        ("opa", {"url": "http://127.0.0.1/v1/data/x"}, True),
        ("opa", {"url": "http://127.0.0.1/v1/data/x", "message": True}, False),
        ("forward_auth", {"http": "http://127.0.0.1/"}, True),
        ("forward_auth", {"grpc": "127.0.0.1:9", "body": "1KiB"}, False),
        ("http_signature", {"keys": [{"id": "a", "consumer": "a", "algorithm": "hmac-sha256", "secret": "s" * 32}]}, 0),
        ("maintenance", {"unless": "message.test == true"}, False),
        ("shed", {"lag": "50ms"}, True),
        ("concurrency", {"limit": 1, "by": "identity.subject"}, True),
        ("concurrency", {"limit": 1, "by": "message.tenant"}, False),
        ("adaptive", {}, True),
        ("timeout", {"total": "1s"}, True),
    ],
)
def test_what_needs_the_head_alone(kind: str, settings: Any, of_head: bool) -> None:
    policy_class = POLICIES[kind]
    policy = policy_class(policy_class.Settings.model_validate(settings))
    assert isinstance(policy, OfHead)
    assert policy.of_head == of_head


def test_others_have_the_message_asked_for() -> None:
    for kind in ("size", "transform", "validate", "cache", "retry", "hedge"):
        assert not isinstance(POLICIES[kind], OfHead), kind


class Step:
    """Notes whether the message was there."""

    kind = "step"
    Settings = PolicySettings

    def __init__(self, seen: list[str], name: str, of_head: bool, refuses: bool = False) -> None:
        self.of_head = of_head
        self._seen, self._name, self._refuses = seen, name, refuses

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        self._seen.append(f"{self._name} {'without' if call.payload is None else 'with'}")
        if self._refuses:
            raise Forbidden("no")
        return await forward(call)


class Sink:
    name = kind = "sink"

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def send(self, call: Call) -> Reply:
        assert call.payload is not None
        self._seen.append(call.payload.data.decode())
        return Reply()


def late(seen: list[str]) -> Call:
    async def ask() -> Payload:
        seen.append("asked")
        return Payload(b"hi", Encoding.PROTO)

    call = Call(rpc.UNARY, Metadata(), front_end="rest", peer=Peer("192.0.2.1", 7), started=0.0)
    call.late = ask
    return call


async def test_the_message_is_asked_for_before_the_first_policy_that_may_look_at_it() -> None:
    seen: list[str] = []
    steps = [Step(seen, "a", True), Step(seen, "b", False), Step(seen, "c", True)]
    await Route("r", Sink(seen), steps).late(late(seen))
    assert seen == ["a without", "asked", "b with", "c with", "hi"]


async def test_it_is_asked_for_before_the_service_where_no_policy_looks_at_it() -> None:
    seen: list[str] = []
    await Route("r", Sink(seen), [Step(seen, "a", True)]).late(late(seen))
    assert seen == ["a without", "asked", "hi"]


async def test_it_is_not_asked_for_when_the_head_is_refused() -> None:
    seen: list[str] = []
    with pytest.raises(Forbidden):
        await Route("r", Sink(seen), [Step(seen, "a", True, refuses=True)]).late(late(seen))
    assert seen == ["a without"]


# --- limits of how many calls run at once ---


ONE: list[Any] = [("concurrency", {"limit": 1}), ("adaptive", {"min": 1, "initial": 1, "max": 1})]


class Upload:
    """A client that sends its message when it is told to."""

    def __init__(self) -> None:
        self.asked = False
        self.message: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> Payload:
        self.asked = True
        return await self.message

    def call(self) -> Call:
        made = call(payload=None)
        made.late = self
        return made


@pytest.mark.parametrize(("kind", "settings"), ONE, ids=[kind for kind, _ in ONE])
async def test_no_message_is_asked_for_while_there_is_no_place(kind: str, settings: Any) -> None:
    policy: Any = POLICIES[kind](POLICIES[kind].Settings.model_validate(settings))
    service, upload = Gated(), Upload()
    running = asyncio.ensure_future(policy(call(), service))
    await turns()
    with pytest.raises((LimitReached, Overloaded)):
        await policy(upload.call(), service)
    assert not upload.asked
    service.waiting[0].set_result(Reply())
    await running


@pytest.mark.parametrize(("kind", "settings"), ONE, ids=[kind for kind, _ in ONE])
async def test_a_client_has_no_place_while_it_sends_what_it_was_asked_for(kind: str, settings: Any) -> None:
    policy: Any = POLICIES[kind](POLICIES[kind].Settings.model_validate(settings))
    service, first, second = Gated(), Upload(), Upload()
    slow, other = (asyncio.ensure_future(policy(one.call(), service)) for one in (first, second))
    await turns()
    assert first.asked
    assert second.asked
    assert not service.seen
    second.message.set_result(Payload(b"", Encoding.RAW))
    await turns()
    assert len(service.seen) == 1
    first.message.set_result(Payload(b"", Encoding.RAW))
    with pytest.raises((LimitReached, Overloaded)):
        await slow  # the other was sooner
    service.waiting[0].set_result(Reply())
    await other


async def test_a_client_may_wait_for_a_place_with_its_message_there() -> None:
    kind = POLICIES["concurrency"]
    policy: Any = kind(kind.Settings.model_validate({"limit": 1, "pending": 1, "wait": "1h"}))
    service, upload, third = Gated(), Upload(), Upload()
    running = asyncio.ensure_future(policy(call(), service))
    await turns()
    waiting = asyncio.ensure_future(policy(upload.call(), service))
    await turns()
    assert upload.asked
    upload.message.set_result(Payload(b"", Encoding.RAW))
    await turns()
    with pytest.raises(LimitReached):
        await policy(third.call(), service)
    assert not third.asked
    service.waiting[0].set_result(Reply())
    await turns()
    service.waiting[1].set_result(Reply())
    await asyncio.gather(running, waiting)
    assert policy.running == 0


async def test_how_long_a_client_sends_is_no_measure_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    policy: Any = POLICIES["adaptive"](POLICIES["adaptive"].Settings())
    service, upload = Gated(), Upload()
    task = asyncio.ensure_future(policy(upload.call(), service))
    await turns()
    now = 30.0
    upload.message.set_result(Payload(b"", Encoding.RAW))
    await turns()
    now = 30.5
    service.waiting[0].set_result(Reply())
    await task
    (limit,) = policy.limits.values()
    assert limit._samples == [0.5]


@pytest.mark.parametrize(("kind", "settings"), ONE, ids=[kind for kind, _ in ONE])
async def test_a_client_that_goes_away_while_it_sends_leaves_nothing(kind: str, settings: Any) -> None:
    policy: Any = POLICIES[kind](POLICIES[kind].Settings.model_validate(settings))
    service, upload = Gated(), Upload()
    task = asyncio.ensure_future(policy(upload.call(), service))
    await turns()
    task.cancel()
    await asyncio.wait([task])
    after = asyncio.ensure_future(policy(call(), service))
    await turns()
    service.waiting[0].set_result(Reply())
    await after
