"""Which policies do without a call's message, by their settings; and how a route parts its chain at the first other."""

from __future__ import annotations

from typing import Any

import pytest

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Forbidden
from protogw.policies import POLICIES
from protogw.policies.base import Handler, OfHead, PolicySettings
from protogw.routing.route import Route
from protogw.wire.http import Peer
from tests.support import rpc

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
        ("timeout", {"total": "1s"}, True),
    ],
)
def test_what_needs_the_head_alone(kind: str, settings: Any, of_head: bool) -> None:
    policy_class = POLICIES[kind]
    policy = policy_class(policy_class.Settings.model_validate(settings))
    assert isinstance(policy, OfHead)
    assert policy.of_head == of_head


def test_others_have_the_message_asked_for() -> None:
    for kind in ("size", "transform", "validate", "cache", "retry", "hedge", "concurrency", "adaptive"):
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
