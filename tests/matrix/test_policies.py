"""Every policy before every front end: a refusal reaches the caller in the caller's own protocol and the service hears
nothing of it; a call that passes is carried once, streams and cancellation included. Generated from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from protogw.policies import POLICIES
from tests.matrix.conftest import Behind, sum_open
from tests.support import kit
from tests.support.backend import backend
from tests.support.drivers import DRIVERS as RPC_DRIVERS
from tests.support.drivers import Driver
from tests.support.gateway import config_of, gateway
from tests.support.graphql_driver import Graphql
from tests.support.policy_samples import SAMPLES
from tests.support.processes import until

DRIVERS = (*RPC_DRIVERS, Graphql)
CHOSEN_BY = "x-contract"
"""The header that says which route, and so which policy, a call takes."""

CALLED = sorted(kind for kind, part in POLICIES.items() if not hasattr(part, "preflight"))
"""Policies of calls: one that speaks to browsers about requests (`OriginPolicy`) has no part in them."""
PASSING = [kind for kind in CALLED if kind not in SAMPLES or SAMPLES[kind].passing is not None]
REFUSING = [kind for kind in CALLED if kind in SAMPLES and SAMPLES[kind].refusing is not None]
front_ends = pytest.mark.parametrize("front", DRIVERS, ids=lambda front: front.name)


def test_every_policy_says_what_it_refuses_and_what_it_lets_through() -> None:
    assert sorted(SAMPLES) == sorted(POLICIES)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A gateway with a route for each policy and front end: policies keep counts, which no two tests may share."""
    folder = tmp_path_factory.mktemp("policies")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    policies: dict[str, Any] = {}
    routes: list[dict[str, Any]] = []

    def route(name: str, kind: str, settings: Any) -> None:
        policies[name] = {kind: settings}
        routes.append({"match": {"call": f"{kit.SERVICE}/*", "headers": {CHOSEN_BY: name}}, "use": [name]})

    for kind in CALLED:
        sample = SAMPLES[kind]
        policies |= sample.others
        for front in DRIVERS:
            if sample.passing is not None:
                route(f"{kind}-passing-{front.name}", kind, sample.passing)
            if sample.refusing is not None:
                for shape in ("unary", "stream"):
                    route(f"{kind}-refusing-{shape}-{front.name}", kind, sample.refusing)
    with backend() as service:
        upstreams = {"kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}}
        with gateway(config_of(upstreams, policies=policies, routes=routes), folder) as running:
            yield Behind("grpc", service, running)


@pytest.fixture
def behind(guarded: Behind) -> Behind:
    guarded.counts.wait(lambda counts: counts.open == 0)
    guarded.counts.__init__()
    return guarded


@pytest.fixture
def driver(behind: Behind, front: type[Driver]) -> Iterator[Driver]:
    made = front(behind.running.port)
    yield made
    made.close()


@front_ends
@pytest.mark.parametrize("kind", REFUSING)
def test_a_refused_call_is_told_so_in_its_own_protocol(kind: str, driver: Driver, behind: Behind) -> None:
    sample = SAMPLES[kind]
    driver.extra = {CHOSEN_BY: f"{kind}-refusing-unary-{driver.name}"}
    for _ in range(sample.before):
        assert driver.call("Unary", kit.message()).code == 0
    result = driver.call("Unary", kit.message("hello"))
    assert (result.code, result.messages) == (sample.code, []), result
    assert result.message
    assert "Traceback" not in result.message
    assert behind.counts.started == sample.before


@front_ends
@pytest.mark.parametrize("kind", REFUSING)
def test_a_refused_stream_ends_with_the_refusal(kind: str, driver: Driver, behind: Behind) -> None:
    sample = SAMPLES[kind]
    driver.extra = {CHOSEN_BY: f"{kind}-refusing-stream-{driver.name}"}
    for _ in range(sample.before):
        assert driver.call("Down", kit.message(count=1)).code == 0
    result = driver.call("Down", kit.message(count=3))
    assert (result.code, result.messages) == (sample.code, []), result
    assert behind.counts.started == sample.before


@front_ends
@pytest.mark.parametrize("kind", PASSING)
def test_a_call_that_passes_is_carried_once(kind: str, driver: Driver, behind: Behind) -> None:
    driver.extra = {CHOSEN_BY: f"{kind}-passing-{driver.name}", **SAMPLES[kind].headers}
    result = driver.call("Unary", kit.message("hello", number=7))
    assert result.code == 0, result
    assert [(message.text, message.number) for message in result.messages] == [("hello", 7)]
    assert behind.counts.started == 1


@front_ends
@pytest.mark.parametrize("kind", PASSING)
def test_a_stream_that_passes_is_whole(kind: str, driver: Driver, behind: Behind) -> None:
    driver.extra = {CHOSEN_BY: f"{kind}-passing-{driver.name}", **SAMPLES[kind].headers}
    result = driver.call("Down", kit.message(count=20))
    assert result.code == 0, result
    assert [message.index for message in result.messages] == list(range(20))
    assert behind.counts.started == 1


@pytest.mark.parametrize("kind", ["rate_limit", "quota"])
@pytest.mark.parametrize(
    ("front", "shape"),
    # The head of a subscription's answer has gone out before it is a call.
    [(front, shape) for front in DRIVERS for shape in ("Unary", "Down") if (front, shape) != (Graphql, "Down")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_what_a_limit_leaves_is_told_to_every_caller(kind: str, shape: str, driver: Driver, behind: Behind) -> None:
    driver.extra = {CHOSEN_BY: f"{kind}-passing-{driver.name}", **SAMPLES[kind].headers}
    left = [int(driver.call(shape, kit.message(count=1)).lead["ratelimit-remaining"]) for _ in range(2)]
    assert left[0] > 0
    # A bucket may fill up again between the two.
    assert left[1] == left[0] - 1 or kind == "rate_limit"


@front_ends
@pytest.mark.parametrize("kind", PASSING)
def test_a_client_that_goes_away_cancels_the_service_through_the_policy(
    kind: str, driver: Driver, behind: Behind
) -> None:
    driver.extra = {CHOSEN_BY: f"{kind}-passing-{driver.name}", **SAMPLES[kind].headers}
    exchange = driver.started("Unary", [kit.message("slow", hang=True)])
    behind.counts.wait(lambda counts: counts.open == 1)
    exchange.abandon()
    behind.counts.wait(lambda counts: counts.cancelled == 1)
    until(lambda: behind.running.do(lambda: sum_open(behind)) == 0, what="no call in flight")
