"""Metrics: what is counted under which labels, that nothing grows without bound, and that Prometheus can read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from protogw.call import NO_METADATA, Call, Composite, Encoding, Payload, Reply
from protogw.counting import OVERFLOW
from protogw.errors import Code, GatewayError, InvalidRequest, NotOffered, Status
from protogw.gateway import Gateway
from protogw.observe.exposition import Exposition, Lag
from protogw.observe.metrics import Metrics
from protogw.observe.outcome import of_status
from protogw.observe.recorders import all_of
from protogw.passthrough.base import Carried
from protogw.routing.route import Route
from protogw.wire.http import ResponseHead
from tests.support.rpc import CHAT, UNARY, Exchange, head


class Target:
    name, kind = "kit", "grpc"

    async def send(self, call: Call) -> Reply:
        return Reply()


ROUTE = Route("default", Target())


def exchange(
    method: Any = UNARY,
    *,
    route: Route | None = ROUTE,
    status: int = 200,
    reply: Reply | None = None,
    called: bool = True,
    upgrade: bytes = b"",
) -> Exchange:
    made = Exchange(head("/v1/x", method="GET"))
    made.head.upgrade = upgrade
    made.status, made.bytes_in, made.bytes_out = status, 3, 40
    if called:
        made.call = Call(method, NO_METADATA, front_end="rest", peer=made.peer, started=0.0, head=made.head)
        made.call.route = route
        made.call.reply = reply or Reply()
    return made


async def shown(metrics: Metrics, accept: str = "", **parts: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample that Prometheus' parser finds, by name and label values."""
    gateway = parts.pop("gateway", None) or Gateway({})
    content_type, text = await Exposition(metrics, gateway, **parts).text(accept)
    parse_text = openmetrics if content_type.startswith("application/openmetrics-text") else plain
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse_text(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


OK = ("OK", "rest", "Unary", "kit.v1.Echo", "kit")
"""Label values in the order of their names: code, frontend, method, service, upstream."""


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_a_request_is_counted_under_its_front_end_upstream_service_method_and_code(accept: str) -> None:
    metrics = Metrics([0.001, 0.1])
    for seconds in (0.0005, 0.05, 7.0):
        metrics.record(exchange(), seconds, None, "rest")
    found = await shown(metrics, accept)
    assert found["protogw_requests_total"] == {OK: 3}
    assert found["protogw_request_duration_seconds_count"] == {OK: 3}
    assert found["protogw_request_duration_seconds_sum"] == {OK: pytest.approx(7.0505)}
    # The bound `le` comes third in the order of names.
    buckets = {labels[2]: value for labels, value in found["protogw_request_duration_seconds_bucket"].items()}
    assert buckets == {"0.001": 1, "0.1": 2, "+Inf": 3}
    assert found["protogw_request_bytes_total"] == {OK: 9}
    assert found["protogw_response_bytes_total"] == {OK: 120}


async def test_a_duration_on_a_bound_is_in_its_bucket() -> None:
    metrics = Metrics([0.5])
    metrics.record(exchange(), 0.5, None, "rest")
    assert next(iter(metrics.series.values())).buckets == [1, 0]


@pytest.mark.parametrize(
    ("made", "error", "code"),
    [
        (exchange(reply=Reply(status=Status(Code.NOT_FOUND))), None, "NOT_FOUND"),
        (exchange(), GatewayError("no", code=Code.UNAVAILABLE), "UNAVAILABLE"),
        (exchange(reply=Reply(status=Status(99))), None, "UNKNOWN"),  # type: ignore[arg-type]
    ],
    ids=["the reply's", "the error's", "none that there is"],
)
def test_the_code_is_how_it_ended(made: Exchange, error: GatewayError | None, code: str) -> None:
    metrics = Metrics()
    metrics.record(made, 0.1, error, "rest")
    assert [labels[4] for labels in metrics.series] == [code]


def test_a_client_that_went_away_before_the_reply_is_cancelled() -> None:
    metrics = Metrics()
    made = exchange(status=0)
    assert made.call is not None
    made.call.reply = None
    metrics.record(made, 0.1, None, "rest")
    assert [labels[4] for labels in metrics.series] == ["CANCELLED"]


def test_plain_http_counts_under_its_route_and_what_its_status_means() -> None:
    metrics = Metrics()
    route = Route("routes[0]", Target(), path="/legacy/**")
    for status in (200, 404, 502):
        reply = Reply(head=ResponseHead(status, ()))
        metrics.record(exchange(None, route=route, status=status, reply=reply), 0.1, None, "http")
    assert set(metrics.series) == {
        ("http", "kit", "", "/legacy/**", code) for code in ("OK", "NOT_FOUND", "UNAVAILABLE")
    }


def test_plain_http_whose_route_has_gone_since_it_began_counts_under_its_path() -> None:
    metrics = Metrics()
    begun = exchange(None, route=Route("routes[0]", Target(), path="/legacy/**"))
    metrics.routed()
    metrics.record(begun, 0.1, None, "http")
    assert [labels[3] for labels in metrics.series] == ["/legacy/**"]


@pytest.mark.parametrize("status", [*range(100, 600), 0, 999])
def test_every_status_means_a_code(status: int) -> None:
    assert of_status(status) in Code


def test_a_hundred_thousand_random_paths_add_one_series() -> None:
    metrics = Metrics()
    for number in range(100_000):
        made = exchange(called=False, status=404)
        made.head = head(f"/random/{number}", method="GET")
        metrics.record(made, 0.001, NotOffered("nothing"), "rest")
    assert list(metrics.series) == [("rest", "", "unknown", "unknown", "UNIMPLEMENTED")]


def test_more_label_sets_than_there_may_be_share_one() -> None:
    metrics = Metrics(series=100)
    for number in range(150):
        metrics.record(exchange(None, route=Route(f"routes[{number}]", Target())), 0.1, None, "http")
    assert len(metrics.series) == 101
    assert sum(metrics.series["http", OVERFLOW, OVERFLOW, OVERFLOW, "OK"].buckets) == 50


class Address:
    def __init__(self, label: str) -> None:
        self.label = label


class Pool:
    def __init__(self, label: str) -> None:
        self.endpoints = (Address(label),)


class Member:
    def __init__(self, name: str) -> None:
        self.name = name


class Split(Target):
    between = (Member("kit"), Member("kit_v2"))


def test_a_call_of_a_route_with_weights_counts_under_the_upstream_that_it_went_to() -> None:
    metrics = Metrics()
    metrics.routed({"kit": Pool("10.0.0.1:1"), "kit_v2": Pool("10.0.0.2:1")})
    route = Route("routes[0]", Split())
    for address in ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:1", "10.0.0.3:1"):
        made = exchange(route=route)
        assert made.call is not None
        made.call.upstream = address
        metrics.record(made, 0.1, None, "rest")
    assert {labels[1]: sum(series.buckets) for labels, series in metrics.series.items()} == {"kit": 2, "kit_v2": 2}


async def test_messages_of_a_route_with_weights_count_under_the_upstream_that_they_went_to() -> None:
    async def messages(count: int) -> AsyncIterator[Payload]:
        for _ in range(count):
            yield Payload(b"{}", Encoding.JSON)

    async def carry(call: Call) -> Reply:
        call.upstream = "10.0.0.2:1"
        assert call.payloads is not None
        assert len([payload async for payload in call.payloads]) == 3
        return Reply(payloads=messages(2))

    metrics = Metrics()
    metrics.routed({"kit": Pool("10.0.0.1:1"), "kit_v2": Pool("10.0.0.2:1")})
    call = Call(CHAT, NO_METADATA, front_end="grpc", peer=exchange().peer, started=0.0, payloads=messages(3))
    call.route = Route("routes[0]", Split())
    reply = await metrics.streamed(call, carry)
    assert reply.payloads is not None
    assert len([payload async for payload in reply.payloads]) == 2
    assert {labels[1]: (found.received.value, found.sent.value) for labels, found in metrics.messages.items()} == {
        "kit_v2": (3, 2)
    }


def test_routes_that_are_gone_are_not_kept() -> None:
    metrics = Metrics()
    metrics.record(exchange(), 0.1, None, "rest")
    metrics.routed()
    assert metrics._known == {}
    metrics.record(exchange(), 0.1, None, "rest")
    assert [sum(series.buckets) for series in metrics.series.values()] == [2]


async def test_a_session_is_no_request_of_its_own() -> None:
    metrics = Metrics()
    metrics.record(exchange(called=False, status=101, upgrade=b"websocket"), 3600.0, None, "websocket")
    assert metrics.series == {}
    found = await shown(metrics)
    assert found["protogw_sessions_total"] == {("websocket",): 1}


def test_a_request_made_of_calls_counts_as_one_and_each_call_under_its_method() -> None:
    metrics = Metrics()
    made = exchange()
    first = made.call
    assert first is not None
    first.front_end = "graphql"
    made.call = Composite(first, "query", "Whatever clients say")
    made.call.part_ended(first, Status(Code.NOT_FOUND))
    metrics.called(first, 0.1, None)
    metrics.record(made, 0.2, None, "graphql")
    assert set(metrics.series) == {
        ("graphql", "kit", "kit.v1.Echo", "Unary", "OK"),
        ("graphql", "", "", "query", "NOT_FOUND"),
    }


async def test_the_messages_of_streams_are_counted_each_way() -> None:
    async def messages(many: int) -> AsyncIterator[Payload]:
        for _ in range(many):
            yield Payload(b"{}", Encoding.JSON)

    async def handle(call: Call) -> Reply:
        assert call.payloads is not None
        taken = [payload async for payload in call.payloads]
        return Reply(payloads=messages(len(taken) + 2))

    metrics = Metrics()
    call = Call(CHAT, NO_METADATA, front_end="grpc", peer=exchange().peer, started=0.0, payloads=messages(3))
    call.route = ROUTE
    reply = await metrics.streamed(call, handle)
    assert reply.payloads is not None
    assert len([payload async for payload in reply.payloads]) == 5
    found = await shown(metrics)
    assert found["protogw_stream_messages_received_total"] == {("grpc", "Chat", "kit.v1.Echo", "kit"): 3}
    assert found["protogw_stream_messages_sent_total"] == {("grpc", "Chat", "kit.v1.Echo", "kit"): 5}


async def test_what_policies_count_is_shown_with_its_words() -> None:
    gateway = Gateway({})
    gateway.counts.count("rate_limit_decisions", "Judged.", {"policy": "fair", "outcome": "refused"}).add(4)
    gateway.counts.gauge("concurrency_limit", "A limit.", lambda: 12.5, {"policy": "busy"})
    found = await shown(Metrics(), gateway=gateway)
    assert found["protogw_rate_limit_decisions_total"] == {("refused", "fair"): 4}
    assert found["protogw_concurrency_limit"] == {("busy",): 12.5}


async def test_what_is_passed_through_is_counted_by_how_it_ended() -> None:
    metrics = Metrics()
    what = Carried(
        listener="pg",
        kind="tcp",
        client="192.0.2.1",
        port=1,
        server_name="a.example",
        upstream="10.0.0.1:5432",
        bytes_in=10,
        bytes_out=20,
        elapsed_s=1.5,
        ended="closed",
    )
    metrics.carried(what)
    metrics.carried(what)
    found = await shown(metrics)
    assert found["protogw_passed_connections_total"] == {("closed", "10.0.0.1:5432", "tcp", "pg"): 2}
    assert found["protogw_passed_sent_bytes_total"] == {("closed", "10.0.0.1:5432", "tcp", "pg"): 40}


async def test_the_gateway_tells_of_itself() -> None:
    found = await shown(Metrics(), lag_s=lambda: 0.25, dropped=lambda: 7)
    assert found["protogw_event_loop_lag_seconds"] == {(): 0.25}
    assert found["protogw_access_log_dropped_lines_total"] == {(): 7}
    assert found["protogw_draining"] == {(): 0}
    assert found["process_resident_memory_bytes"][()] > 1 << 20


async def test_a_late_event_loop_is_told_once() -> None:
    class Loop:
        now = 0.0

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, work: Any) -> Any:
            self.work = work

    loop = Loop()
    lag = Lag(loop)  # type: ignore[arg-type]
    loop.now = 0.75
    loop.work()
    assert lag.most_s() == pytest.approx(0.25)
    loop.now = 1.25
    loop.work()
    assert lag.most_s() == pytest.approx(0.0)


def test_several_recorders_are_told_in_turn_and_one_is_itself() -> None:
    metrics, other = Metrics(), Metrics()
    assert all_of(None, metrics) is metrics
    assert all_of(None) is None
    both = all_of(metrics, other)
    assert both is not None
    both.record(exchange(called=False, status=400), 0.1, InvalidRequest("no"), "rest")
    assert metrics.series.keys() == other.series.keys() != {}
