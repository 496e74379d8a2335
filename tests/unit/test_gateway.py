"""The gateway's own part of a call: doors, deadlines, faults. Front ends and targets are fakes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import ClassVar

import pytest

from protogw.call import NO_METADATA, Call, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.errors import Code, DeadlineExceeded, GatewayError, InternalError, NotOffered
from protogw.frontends.base import FrontEndSettings
from protogw.gateway import Door, Gateway
from protogw.policies.cors import Cors, CorsSettings
from protogw.routing.route import Conditions, Route
from protogw.routing.router import HttpRoute, Router
from protogw.wire.forwarded import Proxies
from protogw.wire.http import Header, Peer, RequestHead
from protogw.wire.path_template import parse
from tests.support import rpc

PEER = Peer("127.0.0.1", 1)


class Asked:
    """An exchange that remembers how it was answered."""

    def __init__(self, path: bytes = b"/x", *headers: Header, method: bytes = b"GET") -> None:
        self.head = RequestHead(method, path, b"", b"gw.test", headers, 11)
        self.peer = PEER
        self.extra: tuple[Header, ...] = ()
        self.call: Call | None = None
        self.state: object = None
        self.answer: tuple[int, tuple[Header, ...]] | None = None
        self.error: GatewayError | None = None

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        self.answer = (status, (*headers, *self.extra))


class Plain:
    """A front end for every path below /x."""

    kind: ClassVar[str] = "plain"
    Settings: ClassVar[type[FrontEndSettings]] = FrontEndSettings

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self.catalog: Catalog | None = None

    def offer(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def accepts(self, head: RequestHead) -> bool:
        return head.path.startswith(b"/x")

    async def serve(self, exchange: Asked, handle: Callable[[Call], Awaitable[Reply]]) -> None:
        call = Call(
            None,
            NO_METADATA,
            front_end=self.kind,
            peer=exchange.peer,
            started=asyncio.get_running_loop().time(),
            head=exchange.head,
            timeout=self.timeout,
        )
        exchange.call = call
        await handle(call)
        exchange.respond(200, ())

    def fail(self, exchange: Asked, error: GatewayError) -> None:
        exchange.error = error


class Target:
    name = kind = "target"

    def __init__(self, act: Callable[[Call], Awaitable[Reply]] | None = None) -> None:
        self.act = act
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        return await self.act(call) if self.act is not None else Reply()


class Recorded:
    def __init__(self) -> None:
        self.lines: list[Asked] = []

    def record(self, exchange: Asked, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        assert elapsed_s >= 0
        self.lines.append(exchange)


def door(
    target: Target,
    front_end: Plain | None = None,
    *,
    max_timeout: float | None = None,
    cors: Cors | None = None,
    proxies: Proxies | None = None,
) -> tuple[Door, Recorded]:
    gateway = Gateway({})
    recorder = Recorded()
    made = Door(gateway, [front_end or Plain()], cors, recorder, proxies)  # type: ignore[arg-type, list-item]
    gateway.doors["d"] = made
    conditions = Conditions()
    route = Route("r", target, conditions=conditions, max_timeout=max_timeout)
    gateway.install(Catalog(), Router({}, [HttpRoute(template=parse("/**"), verbs=(), route=route)]))
    return made, recorder


async def serve(made: Door, asked: Asked) -> None:
    await asyncio.ensure_future(made.serve(asked))  # type: ignore[arg-type]


async def test_behind_a_trusted_proxy_call_and_log_know_who_really_asks() -> None:
    target = Target()
    made, recorder = door(target, proxies=Proxies([ipaddress.ip_network("127.0.0.0/8")]))
    await serve(made, Asked(b"/x", (b"x-forwarded-for", b"192.0.2.7")))
    (line,), (call,) = recorder.lines, target.calls
    assert line.peer.host == call.peer.host == "192.0.2.7"


async def forever(call: Call) -> Reply:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_a_request_becomes_a_call_and_its_reply_the_answer() -> None:
    target = Target()
    made, recorder = door(target)
    asked = Asked()
    await serve(made, asked)
    assert asked.answer == (200, ())
    assert target.calls == [asked.call]
    assert recorder.lines == [asked]


async def test_a_request_that_no_front_end_accepts_is_refused_by_the_last() -> None:
    made, recorder = door(Target())
    asked = Asked(b"/elsewhere")
    await serve(made, asked)
    assert isinstance(asked.error, NotOffered)
    assert asked.error.http_status == 404
    assert recorder.lines == [asked]


async def test_a_call_whose_deadline_passes_fails_as_expired_and_its_task_survives() -> None:
    made, _ = door(Target(forever), Plain(timeout=0.01))
    asked = Asked()
    await serve(made, asked)
    assert isinstance(asked.error, DeadlineExceeded)
    assert asked.error.status.code is Code.DEADLINE_EXCEEDED


async def test_a_deadline_already_passed_never_reaches_the_target() -> None:
    target = Target()
    made, _ = door(target, Plain(timeout=0.0))
    asked = Asked()
    await serve(made, asked)
    assert isinstance(asked.error, DeadlineExceeded)
    assert target.calls == []


async def test_a_longer_deadline_than_the_route_allows_is_clamped() -> None:
    made, _ = door(Target(), Plain(timeout=100.0), max_timeout=2.0)
    asked = Asked()
    await serve(made, asked)
    assert asked.call is not None
    assert asked.call.deadline == asked.call.started + 2.0


async def test_the_timer_of_a_call_that_ended_is_gone() -> None:
    made, _ = door(Target(), Plain(timeout=0.01))
    asked = Asked()
    await serve(made, asked)
    assert asked.answer == (200, ())
    assert asked.call is not None
    assert asked.call._timer is None


async def test_a_client_that_goes_away_cancels_the_call_and_is_still_recorded() -> None:
    made, recorder = door(Target(forever), Plain(timeout=60.0))
    asked = Asked()
    task = asyncio.ensure_future(made.serve(asked))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked.error is None
    assert recorder.lines == [asked]


async def test_a_fault_of_the_gateways_own_is_internal_to_the_client_and_whole_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(call: Call) -> Reply:
        raise ZeroDivisionError("secret detail")

    made, _ = door(Target(broken))
    asked = Asked()
    with caplog.at_level(logging.ERROR, "protogw"):
        await serve(made, asked)
    assert isinstance(asked.error, InternalError)
    assert "secret" not in asked.error.message
    assert "ZeroDivisionError" in caplog.text


async def test_a_preflight_is_answered_at_the_door_and_never_reaches_the_target() -> None:
    target = Target()
    made, recorder = door(target, cors=Cors(CorsSettings(origins=("https://app.example",))))
    asked = Asked(
        b"/x", (b"origin", b"https://app.example"), (b"access-control-request-method", b"POST"), method=b"OPTIONS"
    )
    await serve(made, asked)
    assert asked.answer is not None
    assert asked.answer[0] == 204
    assert target.calls == []
    assert recorder.lines == [asked]


async def test_every_answer_to_a_granted_origin_says_so() -> None:
    made, _ = door(Target(), cors=Cors(CorsSettings(origins=("https://app.example",))))
    asked = Asked(b"/x", (b"origin", b"https://app.example"))
    await serve(made, asked)
    assert asked.answer is not None
    assert dict(asked.answer[1])[b"access-control-allow-origin"] == b"https://app.example"


class Choosy(Plain):
    """A front end that counts how often it is asked, and takes what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.takes = True

    def accepts(self, head: RequestHead) -> bool:
        self.asked += 1
        return self.takes


async def test_the_front_end_of_a_shared_head_is_found_once_for_what_is_offered() -> None:
    gateway = Gateway({})
    choosy, last = Choosy(), Plain()
    made = Door(gateway, [choosy, last])  # type: ignore[list-item]
    gateway.doors["d"] = made
    router = Router({}, [HttpRoute(template=parse("/**"), verbs=(), route=Route("r", Target()))])
    gateway.install(Catalog(), router)
    head = Asked().head
    for _ in range(3):
        exchange = Asked()
        exchange.head = head
        await made.serve(exchange)  # type: ignore[arg-type]
        assert exchange.answer is not None
    assert choosy.asked == 1
    choosy.takes = False
    gateway.install(Catalog(), router)
    await made.serve(exchange)  # type: ignore[arg-type]
    assert choosy.asked == 2
    assert head.taken is not None
    assert head.taken[1] is last


async def test_what_watches_streams_carries_those_alone() -> None:
    gateway = Gateway({})
    carried: list[Call] = []

    async def watch(call: Call, carry: Callable[[Call], Awaitable[Reply]]) -> Reply:
        carried.append(call)
        return await carry(call)

    async def none() -> AsyncIterator[Payload]:
        return
        yield

    gateway.streams = watch
    route = Route("route", Target())
    gateway.router = Router({method.full_name: [route] for method in (rpc.UNARY, rpc.DOWN, rpc.UP)})
    calls = [
        Call(method, NO_METADATA, front_end="grpc", peer=PEER, started=0.0, payloads=payloads)
        for method, payloads in ((rpc.UNARY, None), (rpc.DOWN, None), (rpc.UP, none()), (rpc.UNARY, none()))
    ]
    for call in calls:
        await gateway.handle(call)
        call.ended()
    assert carried == calls[1:]
