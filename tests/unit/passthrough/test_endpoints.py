"""Which endpoint a new connection goes to, and what becomes of those that cannot be reached."""

from __future__ import annotations

from protogw.balancers.least_connections import LeastConnections
from protogw.balancers.round_robin import RoundRobin
from protogw.discovery.base import Address
from protogw.passthrough.endpoints import BACKOFF_MOST_S, Endpoint, Endpoints


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def endpoints(count: int, clock: Clock, balancer: type = RoundRobin) -> Endpoints:
    return Endpoints(
        "pg", "tcp", [Address(host="h", port=port) for port in range(1, count + 1)], balancer(), clock=clock
    )


def picked(among: Endpoints, count: int = 1, tried: set[Endpoint] | None = None) -> list[int]:
    found = [among.pick(tried or set(), b"") for _ in range(count)]
    return [endpoint.port for endpoint in found if endpoint is not None]


def test_endpoints_take_turns() -> None:
    assert picked(endpoints(3, Clock()), 6) == [1, 2, 3, 1, 2, 3]


def test_one_that_was_tried_is_not_picked_again() -> None:
    among = endpoints(2, Clock())
    tried = {among.endpoints[0]}
    assert picked(among, 3, tried) == [2, 2, 2]
    assert picked(among, 1, set(among.endpoints)) == []


def test_one_that_failed_is_left_alone_for_a_while() -> None:
    clock = Clock()
    among = endpoints(2, clock)
    among.failed(among.endpoints[0])
    assert picked(among, 3) == [2, 2, 2]
    clock.now += 1.3
    assert sorted(picked(among, 2)) == [1, 2]


def test_while_all_are_down_one_connection_at_a_time_finds_out() -> None:
    among = endpoints(2, Clock())
    for endpoint in among.endpoints:
        among.failed(endpoint)
    assert not among.reachable
    assert picked(among, 5) == [1, 2]
    among.given_up(among.endpoints[1])
    assert picked(among, 5) == [2]
    among.reached(among.endpoints[0])
    assert among.reachable
    assert picked(among, 2) == [1, 1]


def test_the_pauses_grow_to_a_ceiling_and_end_with_success() -> None:
    clock = Clock()
    among = endpoints(1, clock)
    only = among.endpoints[0]
    pauses = []
    for _ in range(12):
        among.failed(only)
        pauses.append(only.down_until - clock.now)
    assert pauses[0] < 1.3
    assert pauses[4] > pauses[0]
    assert BACKOFF_MOST_S * 0.8 <= pauses[-1] <= BACKOFF_MOST_S * 1.2
    among.reached(only)
    assert only.backoff_s == 1.0


def test_the_fewest_connections_win() -> None:
    among = endpoints(3, Clock(), LeastConnections)
    first, second, third = among.endpoints
    first.active, second.active, third.active = 5, 1, 3
    assert picked(among, 2) == [2, 2]


def test_it_tells_operators_how_it_stands() -> None:
    among = endpoints(2, Clock())
    among.failed(among.endpoints[0])
    assert repr(among) == "<Endpoints pg tcp round_robin 1/2 ready, 0 open>"
    assert repr(among.endpoints[0]) == "<Endpoint h:1 down, 0 open>"


def test_endpoints_come_and_go_and_those_that_stay_are_known() -> None:
    among = endpoints(2, Clock())
    first, second = among.endpoints
    second.active = 3
    among.update([Address(host="h", port=2, weight=2), Address(host="h", port=3)])
    assert [(one.port, one.weight, one.active) for one in among.endpoints] == [(2, 2, 3), (3, 1, 0)]
    assert among.endpoints[0] is second
    assert sorted(picked(among, 3)) == [2, 2, 3]
    among.failed(first)
    assert len(picked(among, 3)) == 3


def test_no_addresses_change_nothing() -> None:
    among = endpoints(2, Clock())
    among.update([])
    assert len(among.endpoints) == 2


def test_before_any_is_known_there_is_none() -> None:
    among = endpoints(0, Clock())
    assert picked(among) == []
    assert among.any(b"") is None
    assert not among.reachable
    among.update([Address(host="h", port=1)])
    assert picked(among) == [1]


def test_the_second_priority_serves_while_all_of_the_first_are_down() -> None:
    clock = Clock()
    among = endpoints(0, clock)
    among.update([Address(host="h", port=port, priority=port // 3) for port in (1, 2, 3)])
    assert picked(among, 4) == [1, 2, 1, 2]
    among.failed(among.endpoints[0])
    assert picked(among, 2) == [2, 2]
    among.failed(among.endpoints[1])
    assert picked(among, 2) == [3, 3]
    among.reached(among.endpoints[1])
    assert picked(among, 2) == [2, 2]
