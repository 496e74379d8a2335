"""A gRPC client before a REST service: one gateway speaks REST to another, which offers a grpcio service as REST."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway

SCHEMA = {"schema": str(kit.PROTO)}


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def rest(service: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A REST service: what it is made of is of no concern to its callers."""
    upstreams = {"kit": {"grpc": f"127.0.0.1:{service.port}", **SCHEMA}}
    with gateway(config_of(upstreams, listener={"offer": ["rest"]}), tmp_path_factory.mktemp("rest")) as made:
        yield made


@pytest.fixture(scope="module")
def front(rest: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    upstreams = {"kit": {"rest": f"127.0.0.1:{rest.port}", **SCHEMA}}
    with gateway(config_of(upstreams), tmp_path_factory.mktemp("front")) as made:
        yield made


@pytest.fixture
def channel(front: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{front.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as made:
        yield made


def method(channel: grpc.Channel, shape: str, name: str) -> Any:
    return getattr(channel, shape)(
        f"/{kit.SERVICE}/{name}",
        request_serializer=kit.Message.SerializeToString,
        response_deserializer=kit.Message.FromString,
    )


def test_a_whole_message_goes_there_and_back(channel: grpc.Channel) -> None:
    sent = kit.message("Grüße / %2F", number=2**60, data=b"\0\xff", tags=["a", "b"])
    sent.at.FromJsonString("2026-01-02T03:04:05.006Z")
    answer, call = method(channel, "unary_unary", "Unary").with_call(
        sent, metadata=(("x-a", "1"), ("x-b-bin", b"\0\1")), timeout=10
    )
    assert (answer.text, answer.number, answer.data, list(answer.tags)) == ("Grüße / %2F", 2**60, b"\0\xff", ["a", "b"])
    assert answer.at == sent.at
    assert (answer.seen["x-a"], answer.seen["x-b-bin"]) == ("1", "0001")
    assert [value for name, value in call.initial_metadata() if name == "x-lead"] == ["a", "b"]


@pytest.mark.parametrize("text", ["plain", "a/b", "a b?c#d&e=f+g", "ü", "100%", "%2e%2e", ":x"])
def test_path_and_query_carry_any_value(channel: grpc.Channel, text: str) -> None:
    sent = kit.message(text, number=-5, data=b"\xfb\xff\xfe", tags=["x y", "", "&"])
    sent.at.FromJsonString("2026-01-02T03:04:05.006Z")
    answer = method(channel, "unary_unary", "Look")(sent, timeout=10)
    answer.ClearField("seen")
    assert answer == sent


def test_an_error_keeps_its_code_message_and_details(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Unary")(kit.message("x", fail_code=9, fail_message="not now, ü"), timeout=10)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now, ü")
    status = rpc_status.from_call(caught.value)
    (detail,) = [one for one in status.details if one.Is(error_details_pb2.BadRequest.DESCRIPTOR)]
    found = error_details_pb2.BadRequest()
    detail.Unpack(found)
    assert found.field_violations[0].field == "plan.fail_code"


def test_an_unset_variable_is_the_callers_fault(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Look")(kit.message(""), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "text" in caught.value.details()


def test_messages_come_one_by_one(channel: grpc.Channel) -> None:
    got = list(method(channel, "unary_stream", "Down")(kit.message("x", count=300, size=100), timeout=10))
    assert [one.index for one in got] == list(range(300))
    assert list(method(channel, "unary_stream", "Down")(kit.message("x", count=0), timeout=10)) == []


def test_a_message_arrives_before_the_next_is_made(channel: grpc.Channel) -> None:
    call = method(channel, "unary_stream", "Down")(kit.message("x", count=2, delay_ms=20_000), timeout=30)
    assert next(call).index == 0
    call.cancel()


def test_a_stream_that_fails_ends_in_its_status(channel: grpc.Channel) -> None:
    sent = kit.message("x", count=2, fail_code=8, fail_message="enough")
    call = method(channel, "unary_stream", "Down")(sent, timeout=10)
    assert [next(call).index, next(call).index] == [0, 1]
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code(), call.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


def test_cancelling_reaches_the_service(channel: grpc.Channel, service: Backend) -> None:
    before = service.counts.cancelled
    call = method(channel, "unary_stream", "Down")(kit.message("x", count=3, delay_ms=30_000), timeout=30)
    next(call)
    call.cancel()
    service.counts.wait(lambda counts: counts.cancelled > before)


def test_a_deadline_ends_the_call(channel: grpc.Channel, service: Backend) -> None:
    before = service.counts.cancelled
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Unary")(kit.message("x", hang=True), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    service.counts.wait(lambda counts: counts.cancelled > before)


def test_a_client_stream_goes_as_one_request(channel: grpc.Channel) -> None:
    up = method(channel, "stream_unary", "Up")
    answer = up(iter([kit.message(str(number), number=number) for number in range(50)]), timeout=10)
    assert (answer.number, list(answer.tags)) == (1225, [str(number) for number in range(50)])
    assert up(iter([]), timeout=10).number == 0


def test_a_bidirectional_stream_is_refused_with_its_reason(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(method(channel, "stream_stream", "Chat")(iter([kit.message("x")]), timeout=10))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "HTTP/1.1" in caught.value.details()


def test_a_service_that_is_down_is_unavailable(tmp_path: Path) -> None:
    with (
        gateway(config_of({"kit": {"rest": "127.0.0.1:1", **SCHEMA}}), tmp_path) as made,
        grpc.insecure_channel(f"127.0.0.1:{made.port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        method(channel, "unary_unary", "Unary")(kit.message("x"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_rest_client_gets_the_same_answer_as_the_service_gives(front: Running, rest: Running) -> None:
    answers = []
    for port in (front.port, rest.port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for verb, target, body in (
            ("POST", "/v1/echo", b'{"text":"a","number":"5"}'),
            ("GET", "/v1/look/a%2Fb?number=7&tags=x&tags=y", None),
            ("POST", "/v1/echo", b'{"text":"a","plan":{"failCode":5,"failMessage":"no"}}'),
            ("POST", "/v1/down", b'{"text":"a","plan":{"count":3}}'),
        ):
            connection.request(verb, target, body, {"content-type": "application/json"} if body else {})
            got = connection.getresponse()
            tree = json.loads(got.read())
            for one in tree if isinstance(tree, list) else [tree]:
                one.pop("seen", None)
            answers.append((got.status, tree))
        connection.close()
    assert answers[:4] == answers[4:]
    assert [status for status, _ in answers[:4]] == [200, 200, 404, 200]
