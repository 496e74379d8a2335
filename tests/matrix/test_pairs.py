"""Every front end before every translator, in every call shape: generated from the tables.

What a pair cannot carry says so in `pairs.py`, with the status that a caller gets; that is tested here too.
"""

from __future__ import annotations

import pytest

from tests.matrix import pairs
from tests.matrix.conftest import BODY_LIMIT, Behind, sum_open
from tests.support import kit
from tests.support.drivers import DRIVERS as RPC_DRIVERS
from tests.support.drivers import Driver
from tests.support.graphql_driver import Graphql
from tests.support.processes import until
from tests.support.raw import Cut

DRIVERS = (*RPC_DRIVERS, Graphql)
CASES = [
    pytest.param(kind, translator, id=f"{kind.name}→{translator}")
    for translator in pairs.translators()
    for kind in DRIVERS
]
pytestmark = pytest.mark.parametrize(("kind", "translator"), CASES)

TEXT = "Zoë ☃"


def test_the_table_has_a_driver_and_a_service_for_each_kind(kind, translator) -> None:
    assert {driver.kind for driver in DRIVERS} == set(pairs.fronts())
    assert kind.kind in pairs.fronts()
    assert translator in ("grpc", "rest", "graphql", "websocket")


def test_a_unary_call_carries_its_message_and_metadata_both_ways(driver: Driver, behind: Behind) -> None:
    sent = kit.message(TEXT, number=9_007_199_254_740_993, data=b"\0\xff", tags=["a", "b"])
    result = driver.call("Unary", sent)
    assert (result.code, result.http) == (0, 200)
    (answer,) = result.messages
    assert (answer.text, answer.number, answer.data, list(answer.tags)) == (TEXT, sent.number, b"\0\xff", ["a", "b"])
    assert answer.seen["x-call"] == "v"
    assert answer.seen["x-call-bin"] in ("0001", "AAE")
    assert result.lead["x-lead"] == "a, b"
    assert result.lead["x-lead-bin"].rstrip("=") == "AP8"
    assert (behind.counts.started, behind.counts.received) == (1, 1)


def test_trailers_reach_the_caller(driver: Driver, behind: Behind) -> None:
    result = driver.call("Unary", kit.message())
    if behind.kind in pairs.NO_TRAILERS or driver.kind in pairs.TRAILERS_DROPPED:
        assert "x-trail" not in result.trail
    else:
        assert result.trail["x-trail"] == "t"
        assert result.trail["x-trail-bin"].rstrip("=") == "/wA"


def test_a_server_stream_arrives_whole_and_in_order(driver: Driver) -> None:
    result = driver.call("Down", kit.message(TEXT, count=50, size=1000))
    assert result.code == 0
    assert [message.index for message in result.messages] == list(range(50))
    assert all(len(message.data) == 1000 for message in result.messages)


def test_an_empty_server_stream_is_a_success(driver: Driver) -> None:
    result = driver.call("Down", kit.message(count=0))
    assert (result.code, result.messages) == (0, [])


def test_a_client_stream_arrives_whole_and_in_order(driver: Driver, behind: Behind) -> None:
    result = driver.call("Up", *(kit.message(f"{number}", number=number) for number in range(20)))
    limit = pairs.limit(driver.kind, behind.kind, "client stream")
    if limit is not None:
        assert (result.code, result.messages, behind.counts.started) == (limit.code, [], 0)
        return
    assert result.code == 0, result
    assert result.messages[0].number == sum(range(20))
    assert list(result.messages[0].tags) == [f"{number}" for number in range(20)]
    assert behind.counts.received == 20


def test_a_bidirectional_stream_answers_each_message(driver: Driver, behind: Behind) -> None:
    result = driver.call("Chat", *(kit.message(f"{number}") for number in range(5)))
    limit = pairs.limit(driver.kind, behind.kind, "bidi")
    if limit is not None:
        assert (result.code, result.messages, behind.counts.started) == (limit.code, [], 0)
        return
    assert result.code == 0, result
    assert [message.text for message in result.messages] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("code", [3, 5, 6, 7, 8, 13, 14, 16])
def test_an_error_keeps_its_code_message_and_details(driver: Driver, code: int) -> None:
    result = driver.call("Unary", kit.message(fail_code=code, fail_message=f"{TEXT}\n100 %"))
    assert (result.code, result.message, result.messages) == (code, f"{TEXT}\n100 %", [])
    assert result.details == ["google.rpc.BadRequest"]


def test_an_error_before_the_first_message_of_a_stream(driver: Driver) -> None:
    result = driver.call("Down", kit.message(fail_code=5, fail_message="none here"))
    assert (result.code, result.message, result.messages) == (5, "none here", [])
    assert result.details == ["google.rpc.BadRequest"]


def test_an_error_in_the_middle_of_a_stream_ends_it_with_a_terminal_record(driver: Driver) -> None:
    result = driver.call("Down", kit.message(count=3, fail_code=9, fail_message="no more"))
    assert [message.index for message in result.messages] == [0, 1, 2]
    assert (result.code, result.message) == (9, "no more")
    assert result.details == ["google.rpc.BadRequest"]


def test_an_error_that_ends_a_client_stream_early(driver: Driver, behind: Behind) -> None:
    result = driver.call("Up", kit.message("a"), kit.message(fail_code=6, fail_message="twice"), kit.message("c"))
    limit = pairs.limit(driver.kind, behind.kind, "client stream")
    assert (result.code, result.message) == (6, "twice") if limit is None else result.code == limit.code


def test_a_deadline_ends_a_unary_call_and_the_service_is_told(driver: Driver, behind: Behind) -> None:
    result = driver.call("Unary", kit.message(hang=True), timeout=0.15)
    assert result.code == 4
    behind.counts.wait(lambda counts: counts.cancelled == 1)


def test_a_deadline_ends_a_stream_with_a_terminal_record(driver: Driver, behind: Behind) -> None:
    result = driver.call("Down", kit.message(count=2, hang=True), timeout=0.3)
    assert result.code == 4, result
    behind.counts.wait(lambda counts: counts.cancelled == 1)


@pytest.mark.parametrize("method", ["Unary", "Down"])
def test_a_client_that_goes_away_cancels_the_service(driver: Driver, behind: Behind, method: str) -> None:
    exchange = driver.started(method, [kit.message(hang=True, count=1)])
    behind.counts.wait(lambda counts: counts.open == 1)
    exchange.abandon()
    behind.counts.wait(lambda counts: counts.cancelled == 1)
    until(lambda: behind.running.do(lambda: sum_open(behind)) == 0, what="no call in flight")


def test_a_request_over_the_limit_is_refused_by_name(driver: Driver, behind: Behind) -> None:
    try:
        result = driver.call("Unary", kit.message(data=bytes(BODY_LIMIT + 1)))
    except (BrokenPipeError, ConnectionResetError):
        pytest.fail("the gateway closed without an answer")
    assert result.code == 8, result
    assert behind.counts.started == 0


def test_a_large_message_passes_both_ways(driver: Driver) -> None:
    result = driver.call("Unary", kit.message(data=bytes(3 << 20), text="x" * 100_000))
    assert result.code == 0, result.message[:200]
    assert len(result.messages[0].data) == 3 << 20


def test_a_method_that_the_service_does_not_implement(driver: Driver, behind: Behind) -> None:
    result = driver.call("Absent", kit.message())
    assert result.code == (5 if behind.kind == "rest" else 12)


def test_a_cut_answer_is_never_taken_for_a_whole_one(driver: Driver) -> None:
    assert issubclass(Cut, Exception)
    result = driver.call("Down", kit.message(count=1, size=2 << 20))
    assert (result.code, len(result.messages[0].data)) == (0, 2 << 20)
