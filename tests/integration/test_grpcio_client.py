"""Google's own gRPC client through the gateway to Google's own gRPC server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protogw.demo import library_pb2 as pb
from protogw.demo import library_pb2_grpc
from tests.support import kit
from tests.support.backend import Backend

CODEC = {"request_serializer": kit.Message.SerializeToString, "response_deserializer": kit.Message.FromString}
WAIT = {"timeout": 10}


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", (("grpc.max_receive_message_length", 64 << 20),)) as made:
        yield made


class Kit:
    """The kit service's methods on a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        path = f"/{kit.SERVICE}/"
        self.unary: Any = channel.unary_unary(path + "Unary", **CODEC)
        self.down: Any = channel.unary_stream(path + "Down", **CODEC)
        self.up: Any = channel.stream_unary(path + "Up", **CODEC)
        self.chat: Any = channel.stream_stream(path + "Chat", **CODEC)
        self.absent: Any = channel.unary_unary(path + "Absent", **CODEC)


@pytest.fixture
def echo(channel: grpc.Channel, service: Backend) -> Kit:
    return Kit(channel)


def test_every_call_shape(echo: Kit) -> None:
    assert echo.unary(kit.message("hello", number=7), **WAIT).number == 7
    assert [one.index for one in echo.down(kit.message(count=100), **WAIT)] == list(range(100))
    assert echo.up((kit.message(number=n) for n in range(100)), **WAIT).number == sum(range(100))
    assert [one.text for one in echo.chat((kit.message(f"{n}") for n in range(100)), **WAIT)] == [
        f"{n}" for n in range(100)
    ]


def test_a_bidirectional_stream_is_full_duplex(echo: Kit) -> None:
    heard = threading.Semaphore(1)

    def talk() -> Iterator[Any]:
        for number in range(5):
            assert heard.acquire(timeout=10)  # the next word only after the last answer
            yield kit.message(f"{number}")

    for number, answer in enumerate(echo.chat(talk(), **WAIT)):
        assert answer.text == f"{number}"
        heard.release()


def test_metadata_passes_both_ways_in_text_and_binary(echo: Kit) -> None:
    sent = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x00\xff"), ("authorization", "Bearer t"))
    answer, call = echo.unary.with_call(kit.message(), metadata=sent, **WAIT)
    assert (answer.seen["x-a"], answer.seen["x-b-bin"], answer.seen["authorization"]) == ("1, 2", "00ff", "Bearer t")
    lead = [(name, value) for name, value in call.initial_metadata() if name.startswith("x-lead")]
    assert lead == [("x-lead", "a"), ("x-lead", "b"), ("x-lead-bin", b"\x00\xff")]
    assert dict(call.trailing_metadata())["x-trail-bin"] == b"\xff\x00"


def test_a_status_keeps_message_and_details(echo: Kit) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary(kit.message(fail_code=9, fail_message="Zoë\n100 %"), **WAIT)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "Zoë\n100 %")
    packed = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert status_pb2.Status.FromString(packed).details[0].type_url.endswith("google.rpc.BadRequest")


def test_the_deadline_reaches_the_service_and_ends_the_call(echo: Kit, service: Backend) -> None:
    assert 4 < float(echo.unary(kit.message(), timeout=5).seen["deadline"]) < 5.1  # grpcio rounds
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary(kit.message(hang=True), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    service.counts.wait(lambda counts: counts.cancelled == 1)


@pytest.mark.parametrize("shape", ["unary", "down", "up", "chat"])
def test_a_cancelled_call_is_cancelled_at_the_service(echo: Kit, service: Backend, shape: str) -> None:
    never_ending = threading.Event()

    def talk() -> Iterator[Any]:
        yield kit.message(hang=True)
        never_ending.wait(10)

    match shape:
        case "unary":
            call = echo.unary.future(kit.message(hang=True))
        case "down":
            call = echo.down(kit.message(count=1, hang=True))
        case "up":
            call = echo.up.future(talk())
        case _:
            call = echo.chat(talk())
    service.counts.wait(lambda counts: counts.received == 1)
    call.cancel()
    never_ending.set()
    service.counts.wait(lambda counts: counts.cancelled == 1)


def test_a_compressed_request_is_understood(echo: Kit) -> None:
    sent = kit.message("z" * 50_000)
    assert echo.unary(sent, compression=grpc.Compression.Gzip, **WAIT).text == sent.text


def test_a_compression_that_is_not_offered_is_refused_by_name(echo: Kit) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary(kit.message("z" * 50_000), compression=grpc.Compression.Deflate, **WAIT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "deflate" in caught.value.details()


def test_large_messages(echo: Kit) -> None:
    assert len(echo.unary(kit.message(data=bytes(16 << 20)), **WAIT).data) == 16 << 20


def test_many_calls_at_once_on_one_channel(echo: Kit, service: Backend) -> None:
    calls = [echo.unary.future(kit.message(f"{number}")) for number in range(500)]
    assert [call.result(20).text for call in calls] == [f"{number}" for number in range(500)]
    assert service.counts.received == 500


def test_a_method_nobody_has(echo: Kit, channel: grpc.Channel) -> None:
    for path in ("/kit.v1.Echo/Nothing", "/nobody.v1.Nothing/Call"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path, **CODEC)(kit.message(), **WAIT)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as caught:
        echo.absent(kit.message(), **WAIT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_gateway_answers_reflection_for_every_service(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"kit.v1.Echo", "library.v1.Library"} <= set(database.get_services())
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("library.v1.Library").methods_by_name["WatchBooks"]
    assert method.output_type.full_name == "library.v1.BookEvent"
    assert pool.FindMessageTypeByName("kit.v1.Plan").fields_by_name["hang"].number == 6


def test_the_gateway_answers_health(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "kit.v1.Echo", "library.v1.Library"):
        status = stub.Check(health_pb2.HealthCheckRequest(service=name), **WAIT).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody.v1.Nothing"), **WAIT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="kit.v1.Echo"))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_the_sample_library_with_its_generated_stub(channel: grpc.Channel) -> None:
    library = library_pb2_grpc.LibraryStub(channel)
    assert library.GetBook(pb.GetBookRequest(name="shelves/1/books/1"), **WAIT).title == "Middlemarch"
    assert len(list(library.StreamBooks(pb.StreamBooksRequest(parent="shelves/1", repeat=100), **WAIT))) >= 300
