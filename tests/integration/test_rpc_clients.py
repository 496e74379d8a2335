"""Real clients before the RPC front ends, a real grpcio service behind the translator to gRPC."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protogw.wire.envelope import envelope
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gate import Gate, gate

LIMIT = 8 << 20


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(service: Backend) -> Iterator[Gate]:
    with gate(service.port, body=LIMIT) as made:
        yield made


class Client:
    """kit.v1.Echo by grpcio."""

    def __init__(self, port: int, **options: Any) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), *options.pop("options", ())], **options
        )
        codec: Any = {
            "request_serializer": kit.Message.SerializeToString,
            "response_deserializer": kit.Message.FromString,
        }
        path = f"/{kit.SERVICE}/"
        self.unary = self.channel.unary_unary(path + "Unary", **codec)
        self.absent = self.channel.unary_unary(path + "Absent", **codec)
        self.unknown = self.channel.unary_unary(path + "Unknown", **codec)
        self.down = self.channel.unary_stream(path + "Down", **codec)
        self.up = self.channel.stream_unary(path + "Up", **codec)
        self.chat = self.channel.stream_stream(path + "Chat", **codec)


@pytest.fixture
def client(gateway: Gate) -> Iterator[Client]:
    made = Client(gateway.port)
    yield made
    made.channel.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in 5 s"
        time.sleep(0.005)


def settled(service: Backend, gateway: Gate) -> None:
    """Nothing is left on either side of the gateway, nor in it."""
    service.counts.wait(lambda counts: counts.open == 0)
    until(lambda: gateway.ask(gateway.idle))


# --- grpcio -----------------------------------------------------------------------------------------------------------


def test_a_unary_call_carries_metadata_both_ways(client: Client) -> None:
    metadata = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x00\xff"))
    reply, call = client.unary.with_call(kit.message("héllo", number=2**60), metadata=metadata, timeout=5)
    assert (reply.text, reply.number) == ("héllo", 2**60)
    assert (reply.seen["x-a"], reply.seen["x-b-bin"]) == ("1, 2", "00ff")
    assert 0 < float(reply.seen["deadline"]) <= 5
    assert [tuple(pair) for pair in call.initial_metadata() if pair.key.startswith("x-")] == [
        ("x-lead", "a"),
        ("x-lead", "b"),
        ("x-lead-bin", b"\x00\xff"),
    ]
    assert {tuple(pair) for pair in call.trailing_metadata()} == {("x-trail", "t"), ("x-trail-bin", b"\xff\x00")}


def test_every_shape_works(client: Client) -> None:
    assert [reply.index for reply in client.down(kit.message(count=20))] == list(range(20))
    reply = client.up(iter([kit.message(text, number=3) for text in "abc"]))
    assert (list(reply.tags), reply.number) == (["a", "b", "c"], 9)
    assert [reply.text for reply in client.chat(iter([kit.message(text) for text in "abc"]))] == ["a", "b", "c"]
    assert client.up(iter([])).number == 0
    assert list(client.chat(iter([]))) == []


def test_a_bidirectional_stream_is_full_duplex(client: Client) -> None:
    may_send = threading.Semaphore(1)

    def requests() -> Iterator[Any]:
        for text in "abcde":
            assert may_send.acquire(timeout=5)
            yield kit.message(text)

    seen = []
    for reply in client.chat(requests()):
        seen.append(reply.text)
        may_send.release()
    assert seen == list("abcde")


@pytest.mark.parametrize("code", range(1, 17))
def test_every_code_passes_with_message_and_details(client: Client, code: int) -> None:
    for call in (
        lambda: client.unary(kit.message(fail_code=code, fail_message="Zoë\n%/☃")),
        lambda: list(client.down(kit.message(count=0, fail_code=code, fail_message="Zoë\n%/☃"))),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        assert error.code().value[0] == code
        assert error.details() == "Zoë\n%/☃"
        status = rpc_status.from_call(error)
        violations = error_details_pb2.BadRequest()
        assert status.details[0].Unpack(violations)
        assert violations.field_violations[0].field == "plan.fail_code"
        assert ("x-lead", "a") in [tuple(pair) for pair in error.initial_metadata()]
        assert ("x-trail", "t") in [tuple(pair) for pair in error.trailing_metadata()]


def test_an_error_after_messages_comes_after_them(client: Client) -> None:
    replies = client.down(kit.message(count=3, fail_code=9))
    assert [next(replies).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(grpc.RpcError) as caught:
        next(replies)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_status_ends_a_stream_whose_client_still_sends(client: Client, service: Backend, gateway: Gate) -> None:
    over = threading.Event()

    def requests() -> Iterator[Any]:
        yield kit.message("a", fail_code=10)
        over.wait(5)

    replies = client.chat(requests())
    with pytest.raises(grpc.RpcError) as caught:
        list(replies)
    over.set()
    assert caught.value.code() is grpc.StatusCode.ABORTED
    settled(service, gateway)


def test_methods_that_are_not_there_are_unimplemented(client: Client) -> None:
    for call in (client.absent, client.unknown):
        with pytest.raises(grpc.RpcError) as caught:
            call(kit.message())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_the_call_on_both_sides(client: Client, service: Backend, gateway: Gate) -> None:
    for call in (
        lambda: client.unary(kit.message(hang=True), timeout=0.1),
        lambda: list(client.down(kit.message(count=1, hang=True), timeout=0.1)),
    ):
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 2
        settled(service, gateway)


@pytest.mark.parametrize("shape", ["unary", "down before", "down between", "up", "chat"])
def test_a_cancelled_call_is_cancelled_upstream(client: Client, service: Backend, gateway: Gate, shape: str) -> None:
    over = threading.Event()
    before = service.counts.started

    def requests() -> Iterator[Any]:
        yield kit.message("a")
        over.wait(20)

    if shape == "unary":
        call = client.unary.future(kit.message(hang=True))
    elif shape == "down before":
        call = client.down(kit.message(count=1, hang=True))
    elif shape == "down between":
        call = client.down(kit.message(count=2, delay_ms=5000))
        next(call)
    elif shape == "up":
        call = client.up.future(requests())
    else:
        call = client.chat(requests())
        next(call)
    service.counts.wait(lambda counts: counts.started == before + 1)
    call.cancel()
    # Nothing but the cancellation ends it on the service's side: the client still holds its half open.
    service.counts.wait(lambda counts: counts.open == 0)
    over.set()
    settled(service, gateway)


def test_messages_over_the_limit_are_resource_exhausted_in_both_directions(gateway: Gate) -> None:
    big = Client(gateway.port, options=[("grpc.max_receive_message_length", -1)])
    try:
        for call in (
            lambda: big.unary(kit.message(data=bytes(LIMIT + 1))),
            lambda: big.unary(kit.message(size=LIMIT + 1)),
            lambda: big.up(iter([kit.message("a"), kit.message(data=bytes(LIMIT + 1))])),
            lambda: list(big.down(kit.message(count=1, size=LIMIT + 1))),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(big.unary(kit.message(size=LIMIT - 1000)).data) == LIMIT - 1000
    finally:
        big.channel.close()


def test_compressed_requests_and_replies(gateway: Gate) -> None:
    squeezing = Client(gateway.port, compression=grpc.Compression.Gzip)
    try:
        assert squeezing.unary(kit.message("z" * 5000)).text == "z" * 5000
        assert len(list(squeezing.down(kit.message("z" * 5000, count=3)))) == 3
        assert squeezing.up(iter([kit.message("z" * 500)] * 3)).tags[0] == "z" * 500
    finally:
        squeezing.channel.close()


def test_an_upstream_that_compresses_is_understood() -> None:
    with backend(compression=grpc.Compression.Gzip) as service, gate(service.port) as gateway:
        made = Client(gateway.port)
        try:
            assert made.unary(kit.message("z" * 5000)).text == "z" * 5000
            request = envelope(kit.message("z" * 5000, count=2).SerializeToString())
            for method, count in (("Unary", 1), ("Down", 2)):
                _, fields, body = ask(
                    gateway, method, "application/grpc-web+proto", request, grpc_accept_encoding="gzip"
                )
                assert fields["grpc-encoding"] == "gzip"
                assert [flag for flag, _ in frames(body)] == [1] * count + [0x80]
                assert kit.Message.FromString(gzip.decompress(frames(body)[0][1])).text == "z" * 5000
        finally:
            made.channel.close()


def test_a_slow_reader_holds_the_service_back(client: Client, service: Backend, gateway: Gate) -> None:
    before = service.counts.sent
    replies = client.down(kit.message(count=200, size=256 << 10))
    next(replies)
    last = -1
    while service.counts.sent != last:
        last = service.counts.sent
        time.sleep(0.2)
    assert last - before < 60
    replies.cancel()
    settled(service, gateway)


def test_a_client_that_vanishes_is_cancelled_upstream(service: Backend, gateway: Gate) -> None:
    before = service.counts.cancelled
    request = kit.message(hang=True).SerializeToString()
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        body = envelope(request)
        connection.sendall(
            b"POST /kit.v1.Echo/Unary HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        service.counts.wait(lambda counts: counts.open == 1)
    service.counts.wait(lambda counts: counts.cancelled == before + 1)
    settled(service, gateway)


def test_a_service_that_dies_mid_stream_ends_the_stream_with_an_error() -> None:
    with backend() as service, gate(service.port) as gateway:
        made = Client(gateway.port)
        try:
            replies = made.down(kit.message(count=2, delay_ms=5000))
            assert next(replies).index == 0
            service.stop()
            with pytest.raises(grpc.RpcError) as caught:
                next(replies)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            with pytest.raises(grpc.RpcError) as caught:
                made.unary(kit.message())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            made.channel.close()


# --- HTTP/1.1 by the standard library ---------------------------------------------------------------------------------


def ask(gateway: Gate, path: str, content_type: str, body: Any, **fields: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
        connection.request("POST", f"/kit.v1.Echo/{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_connect_unary_over_http_1(gateway: Gate) -> None:
    status, fields, body = ask(gateway, "Unary", "application/json", b'{"text":"hi"}', x_a="1")
    assert (status, fields["content-type"]) == (200, "application/json")
    assert (fields["x-lead-bin"], fields["trailer-x-trail"], fields["trailer-x-trail-bin"]) == ("AP8", "t", "/wA")
    assert json.loads(body)["seen"]["x-a"] == "1"
    plan = b'{"plan":{"failCode":5,"failMessage":"no"}}'
    status, fields, body = ask(gateway, "Unary", "application/json", plan)
    assert (status, fields["x-lead-bin"], fields["trailer-x-trail"]) == (404, "AP8", "t")
    error = json.loads(body)
    assert (error["code"], error["message"]) == ("not_found", "no")
    assert error["details"][0]["type"] == "google.rpc.BadRequest"


def test_connect_streams_over_http_1(gateway: Gate) -> None:
    def pieces() -> Iterator[bytes]:
        yield envelope(b'{"text":"a","number":"1"}')
        yield envelope(b'{"text":"b","number":"2"}')

    status, _, body = ask(gateway, "Up", "application/connect+json", pieces())
    (_, message), (flag, end) = frames(body)
    assert (status, flag) == (200, 2)
    assert (json.loads(message)["tags"], json.loads(message)["number"]) == (["a", "b"], "3")
    assert json.loads(end)["metadata"]["x-trail"] == ["t"]
    _, _, body = ask(gateway, "Down", "application/connect+json", envelope(b'{"plan":{"count":3,"failCode":9}}'))
    *messages, (flag, end) = frames(body)
    assert [json.loads(message).get("index", 0) for _, message in messages] == [0, 1, 2]
    assert json.loads(end)["error"]["code"] == "failed_precondition"


def test_grpc_web_streams_over_http_1(gateway: Gate) -> None:
    request = envelope(kit.message(count=3, fail_code=9).SerializeToString())
    status, _, body = ask(gateway, "Down", "application/grpc-web+proto", request)
    *messages, (flag, trailers) = frames(body)
    assert (status, flag) == (200, 0x80)
    assert [kit.Message.FromString(message).index for _, message in messages] == [0, 1, 2]
    assert b"grpc-status: 9\r\n" in trailers
    assert b"x-trail: t\r\n" in trailers


def test_bad_json_names_its_field(gateway: Gate) -> None:
    status, _, body = ask(gateway, "Unary", "application/json", b'{"number":"abc"}')
    assert (status, json.loads(body)["code"]) == (400, "invalid_argument")
    assert "number" in json.loads(body)["message"]
