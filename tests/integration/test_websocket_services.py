"""A WebSocket service on Node's `ws`, behind the gateway: grpcio, Connect and REST clients in front of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from protogw.descriptors.from_asyncapi import load
from protogw.descriptors.numbers import Numbers
from tests.support import feed
from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import NODE, Program, missing, require_node, running, until
from tests.support.raw import Http1

_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(feed.schema().descriptor_set).file:
    _POOL.Add(_file)
Note: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("feed.v1.Note"))
CODEC = {"request_serializer": Note.SerializeToString, "response_deserializer": Note.FromString}
WAIT = {"timeout": 10}


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """The port of the Node service."""
    node = require_node()
    if not (NODE / "node_modules" / "ws").is_dir():
        missing("ws is not installed (npm install --prefix tests/integration/node)")
    with running([node, str(NODE / "feed_server.mjs")]) as program:
        until(lambda: port_of(program) > 0, timeout=20, what="the service's start")
        yield port_of(program)


def port_of(program: Program) -> int:
    first = program.output.partition("\n")[0]
    return int(first) if first.isdigit() and "\n" in program.output else 0


@pytest.fixture(scope="module")
def front(service: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway with the service behind it on sockets of each call's own."""
    methods = {f"{feed.SERVICE}/Collect": {"path": "/collect"}}
    options = {
        "path": "/stream",
        "ignore": {"type": "hello"},
        "end": {"type": "complete"},
        "half_close": "",
        "methods": methods,
    }
    with made(service, tmp_path_factory.mktemp("own"), at="", **options) as one:
        yield one


@pytest.fixture(scope="module")
def shared(service: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same on shared sockets."""
    watch = {"end": {"type": "complete"}, "cancel": '{"type":"stop","id":{id}}'}
    options = {
        "sockets": "shared",
        "correlation": "id",
        "error": {"type": "failed"},
        "sockets_per_endpoint": 2,
        "methods": {f"{feed.SERVICE}/Watch": watch},
    }
    with made(service, tmp_path_factory.mktemp("shared"), **options) as one:
        yield one


def made(port: int, folder: Path, at: str = "/stream", **options: Any) -> Any:
    upstream = {
        "websocket": [f"ws://127.0.0.1:{port}{at}"],
        "schema": str(feed.PROTO),
        "websocket_options": options,
    }
    routes = [{"match": {"call": f"{feed.SERVICE}/Ask"}, "rest": {"post": "/v1/notes", "body": "*"}}]
    routes.append({"match": {"call": f"{feed.SERVICE}/Watch"}, "rest": {"get": "/v1/notes/{topic}"}})
    return gateway(config_of({"feed": upstream}, routes=routes), folder)


class Client:
    """The service's methods for grpcio."""

    def __init__(self, running: Running) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{running.port}")
        path = f"/{feed.SERVICE}/"
        self.ask: Any = self.channel.unary_unary(path + "Ask", **CODEC)
        self.watch: Any = self.channel.unary_stream(path + "Watch", **CODEC)
        self.collect: Any = self.channel.stream_unary(path + "Collect", **CODEC)
        self.chat: Any = self.channel.stream_stream(path + "Chat", **CODEC)


@pytest.fixture
def client(front: Running) -> Iterator[Client]:
    found = Client(front)
    yield found
    found.channel.close()


@pytest.fixture
def sharing(shared: Running) -> Iterator[Client]:
    found = Client(shared)
    yield found
    found.channel.close()


def test_grpcio_makes_every_shape_of_call(client: Client) -> None:
    reply = client.ask(Note(text="hello"), metadata=(("x-call", "v"),), **WAIT)
    assert (reply.text, reply.header.ref) == ("HELLO", "v")
    assert [note.text for note in client.watch(Note(type="count", number=500), **WAIT)] == [str(n) for n in range(500)]
    assert client.collect(iter([Note(text="a"), Note(text="b")]), **WAIT).text == "a b"
    assert [note.text for note in client.chat(iter([Note(text="a"), Note(text="b")]), **WAIT)] == ["A", "B"]


def test_how_the_service_closes_is_the_clients_status(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.ask(Note(type="close", number=4005, text="no such note"), **WAIT)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such note")
    with pytest.raises(grpc.RpcError) as caught:
        client.ask(Note(type="vanish"), **WAIT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_deadline_closes_the_socket(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.ask(Note(type="silent"), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: client.ask(Note(type="sockets"), **WAIT).text.startswith("1 of"), what="only this call's socket")


def test_rest_and_connect_reach_the_same_service(front: Running) -> None:
    for target in ("/v1/notes", f"/{feed.SERVICE}/Ask"):
        fields = [("content-type", "application/json"), ("connect-protocol-version", "1")]
        exchange = Http1(front.port).request("POST", target, fields if "Ask" in target else fields[:1], b'{"text":"a"}')
        assert exchange.head() == 200
        assert json.loads(exchange.body()) == {"text": "A", "header": {}}
        exchange.socket.close()


def test_rest_streams_come_line_by_line(front: Running) -> None:
    exchange = Http1(front.port).request("GET", "/v1/notes/x?type=count&number=3", [("accept", "application/x-ndjson")])
    assert exchange.head() == 200
    assert [json.loads(line)["text"] for line in exchange.body().splitlines()] == ["0", "1", "2"]
    exchange.socket.close()


def test_many_calls_share_few_sockets(sharing: Client) -> None:
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda n: sharing.ask(Note(text=f"t{n}", id="same"), **WAIT), range(300)))
    assert [(note.text, note.id) for note in replies] == [(f"T{n}", "same") for n in range(300)]
    open_now, opened = map(int, sharing.ask(Note(type="sockets"), **WAIT).text.split(" of "))
    assert open_now <= 2
    assert opened < 100


def test_streams_and_calls_share_a_socket_and_end_by_themselves(sharing: Client) -> None:
    streams = [sharing.watch(Note(type="count", number=200), **WAIT) for _ in range(5)]
    with pytest.raises(grpc.RpcError) as caught:
        sharing.ask(Note(type="fail", text="none"), **WAIT)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "none")
    for stream in streams:
        assert [note.text for note in stream] == [str(n) for n in range(200)]


def test_a_broken_shared_socket_is_opened_anew(sharing: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        sharing.ask(Note(type="vanish"), **WAIT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert sharing.ask(Note(text="a"), **WAIT).text == "A"


def test_a_topic_is_heard_by_all_who_asked_for_it(service: int, tmp_path: Path) -> None:
    methods = {f"{feed.SERVICE}/Watch": {"topic": "topic", "sockets": "shared"}}
    with made(service, tmp_path, ignore={"type": "hello"}, methods=methods) as running:
        client = Client(running)
        streams = [client.watch(Note(type="subscribe", topic="news"), **WAIT) for _ in range(3)]
        heard = [iter(stream) for stream in streams]
        with ThreadPoolExecutor(3) as threads:
            first = [threads.submit(next, one) for one in heard]
            while not all(one.done() for one in first):
                client.ask(Note(type="publish", topic="news", text="1"), **WAIT)
            assert {one.result().text for one in first} == {"1"}
        for stream in streams:
            stream.cancel()
        client.channel.close()


def test_messages_may_be_binary_and_compressed(service: int, tmp_path: Path) -> None:
    with made(service, tmp_path, at="/binary", encoding="proto", compression=True, half_close="close") as running:
        client = Client(running)
        sent = Note(text="a" * 10_000, data=b"\0\xff", number=-5)
        assert client.ask(sent, **WAIT) == sent
        client.channel.close()


def test_a_refused_handshake_is_the_clients_status(service: int, tmp_path: Path) -> None:
    with made(service, tmp_path, at="/refused") as running:
        client = Client(running)
        with pytest.raises(grpc.RpcError) as caught:
            client.ask(Note(), **WAIT)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        client.channel.close()


@pytest.mark.parametrize("sockets", ["per_call", "shared"])
def test_a_service_that_asyncapi_describes(service: int, tmp_path: Path, sockets: str) -> None:
    document = Path(__file__).parents[1] / "support" / "feed.asyncapi.yaml"
    upstream = {
        "websocket": [f"ws://127.0.0.1:{service}"],
        "schema": str(document),
        "websocket_options": {"sockets": sockets},
    }
    schema = load([document], upstream="feed", numbers=Numbers())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set).file:
        pool.Add(file)
    note, answer = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"feed.{name}")) for name in ("Note", "Answer")
    )
    codec: Any = {"request_serializer": note.SerializeToString, "response_deserializer": answer.FromString}
    with gateway(config_of({"feed": upstream}), tmp_path) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            ask: Any = channel.unary_unary("/feed.Feed/Ask", **codec)
            assert ask(note(text="hello"), **WAIT).text == "HELLO"
            count: Any = channel.unary_stream("/feed.Feed/Count", **codec)
            counted = count(note(type="NOTE_TYPE_COUNT", number=5), **WAIT)
            assert [reply.text for reply in counted] == ["0", "1", "2", "3", "4"]
        fields = [("content-type", "application/json")]
        client = Http1(running.port)
        exchange = client.request("POST", "/feed.Feed/Ask", fields, b'{"text":"a","id":"mine"}')
        assert exchange.head() == 200
        assert json.loads(exchange.body()) == {"id": "mine", "text": "A", "header": {}}
        client.socket.close()
