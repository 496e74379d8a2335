"""Clients of other hands on the gateway's sockets: the `websockets` package and Node's `ws`; and what operators see."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.support import kit
from tests.support.backend import Backend
from tests.support.gateway import Running, Serving, config_of, gateway, serving
from tests.support.processes import NODE, free_port, require_node, until
from tests.support.raw import Http2

ECHO = f"/{kit.SERVICE}"


@contextmanager
def opened(port: int, path: str, *subprotocols: str, **options: Any) -> Iterator[ClientConnection]:
    named = [Subprotocol(name) for name in subprotocols] or None
    with connect(f"ws://127.0.0.1:{port}{path}", subprotocols=named, proxy=None, **options) as socket:
        yield socket


def ended(socket: ClientConnection) -> tuple[list[str | bytes], int, str]:
    """What still comes, and how the gateway closed."""
    found: list[str | bytes] = []
    try:
        while True:
            found.append(socket.recv(timeout=10))
    except ConnectionClosed:
        pass
    return found, socket.close_code or 0, socket.close_reason or ""


@pytest.fixture(scope="module")
def chat(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with paths of its own, one stream for all who chat, and one for equal watchers."""
    folder = tmp_path_factory.mktemp("chat")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}
    routes = [
        {"match": {"call": "kit.v1.Echo/Chat"}, "websocket": "/chat", "fan_in": {"slow": "block", "linger": "50ms"}},
        {"match": {"call": "kit.v1.Echo/Down"}, "websocket": "/down/{text}", "share": True},
        {"match": {"call": "kit.v1.Echo/Unary"}, "websocket": ["/ask", {"path": "/ask/{text}", "start": "message"}]},
        {"match": {"call": "kit.v1.Echo/Look"}, "websocket": "/looks", "fan_in": {}},
    ]
    with gateway(config_of({"kit": upstream}, routes=routes), folder) as running:
        yield running


def test_a_page_of_another_origin_gets_403(port: int) -> None:
    for origin, good in ((f"http://127.0.0.1:{port}", True), ("https://evil.example", False)):
        if good:
            with opened(port, f"{ECHO}/Unary", origin=Origin(origin)) as socket:
                socket.send("{}")
                assert ended(socket)[1] == 1000
        else:
            with pytest.raises(InvalidStatus) as caught, opened(port, f"{ECHO}/Unary", origin=Origin(origin)):
                pass
            assert caught.value.response.status_code == 403


def test_many_calls_share_a_session(port: int, service: Backend) -> None:
    with opened(port, "/protogw.calls.v1", "protogw.calls.v1") as socket:
        assert json.loads(socket.recv())["type"] == "hello"
        for id in range(1, 51):
            plan = {"delayMs": 5 * (id % 3), "failCode": 9 if id % 5 == 0 else 0}
            head = json.dumps({"type": "open", "id": id, "method": "kit.v1.Echo/Unary"})
            socket.send(f"{head}\n{json.dumps({'number': id, 'plan': plan})}")
        numbers, codes = {}, {}
        while len(codes) < 50:
            message = socket.recv(timeout=10)
            assert isinstance(message, str)
            head, _, body = message.partition("\n")
            frame = json.loads(head)
            if frame["type"] == "message":
                numbers[frame["id"]] = int(json.loads(body)["number"])
            elif frame["type"] == "status":
                codes[frame["id"]] = frame["code"]
    assert codes == {id: 9 if id % 5 == 0 else 0 for id in range(1, 51)}
    assert numbers == {id: id for id in range(1, 51) if id % 5}
    assert service.counts.started == 50


def test_a_call_of_a_session_that_nobody_reads_holds_up_no_other(port: int, service: Backend) -> None:
    with opened(port, "/protogw.calls.v1") as socket:
        socket.recv()
        stuck = json.dumps({"type": "open", "id": 1, "method": "kit.v1.Echo/Down", "credit": 0})
        socket.send(f"{stuck}\n{json.dumps({'plan': {'count': 100_000, 'size': 10_000}})}")
        socket.send(json.dumps({"type": "open", "id": 2, "method": "kit.v1.Echo/Unary"}) + "\n{}")
        frames = [json.loads(str(socket.recv(timeout=10)).partition("\n")[0]) for _ in range(4)]
        assert [frame["type"] for frame in frames if frame["id"] == 2] == ["head", "message", "status"]
        assert service.counts.sent < 2_000
        socket.send(json.dumps({"type": "cancel", "id": 1}))
        assert json.loads(socket.recv(timeout=10))["code"] == 1
    service.counts.wait(lambda counts: counts.open == 0)


def test_paths_of_the_config_lead_to_methods_and_fill_fields(chat: Running) -> None:
    with opened(chat.port, "/ask") as socket:
        socket.send('{"text":"hello"}')
        assert json.loads(ended(socket)[0][0])["text"] == "hello"
    with opened(chat.port, "/ask/from%20the%20path?tags=a&tags=b") as socket:
        socket.send('{"text":"from the message","number":7}')
        answer = json.loads(ended(socket)[0][0])
    assert (answer["text"], answer["number"], answer["tags"]) == ("from the path", "7", ["a", "b"])
    with opened(chat.port, "/down/x?plan.count=3") as socket:
        assert len(ended(socket)[0]) == 3


def test_all_who_chat_share_one_stream(chat: Running, service: Backend) -> None:
    with opened(chat.port, "/chat") as one, opened(chat.port, "/chat") as other:
        one.send('{"text":"a"}')
        for socket in (one, other):
            assert json.loads(socket.recv(timeout=10))["text"] == "a"
        other.send('{"text":"b"}')
        assert [json.loads(socket.recv(timeout=10))["text"] for socket in (one, other)] == ["b", "b"]
        assert (service.counts.started, service.counts.received) == (1, 2)


def test_equal_watchers_share_one_stream(chat: Running, service: Backend) -> None:
    path = "/down/x?plan.count=1&plan.hang=true"
    with opened(chat.port, path), opened(chat.port, path), opened(chat.port, path + "&number=1"):
        service.counts.wait(lambda counts: counts.started == 2)
        until(lambda: len(connections_of(chat)) == 3, what="three sockets")
        assert service.counts.started == 2
    service.counts.wait(lambda counts: counts.open == 0)


def test_each_message_of_a_socket_may_be_a_call_of_its_own(chat: Running, service: Backend) -> None:
    with opened(chat.port, "/looks") as one, opened(chat.port, "/looks") as other:
        for socket, text in ((one, "a"), (other, "b"), (one, "c")):
            socket.send(json.dumps({"text": text}))
            assert json.loads(socket.recv(timeout=10))["text"] == text
        one.send(json.dumps({"plan": {"failCode": 5, "failMessage": "none here"}}))
        assert ended(one) == ([], 4005, "none here")
        other.send('{"text":"still here"}')
        assert json.loads(other.recv(timeout=10))["text"] == "still here"
    assert service.counts.started == 5


def test_a_client_that_reads_nothing_stops_the_service_and_not_the_others(port: int, service: Backend) -> None:
    with opened(port, f"{ECHO}/Down", max_queue=1) as lazy:
        lazy.send(json.dumps({"plan": {"count": 100_000, "size": 10_000}}))
        service.counts.wait(lambda counts: counts.sent > 10)
        with opened(port, f"{ECHO}/Unary") as other:
            other.send('{"text":"hello"}')
            assert ended(other)[1] == 1000
        # What is on the way fills windows and buffers, and then nothing moves.
        until(lambda: not _moves(service), 20, "a stop")
        assert service.counts.sent < 3_000
        lazy.socket.close()
    service.counts.wait(lambda counts: counts.open == 0)


def _moves(service: Backend) -> bool:
    before = service.counts.sent
    threading.Event().wait(0.2)
    return service.counts.sent > before


def test_a_call_over_http_2_is_the_same(port: int) -> None:
    client = Http2(port)
    fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "protogw.proto")]
    stream = client.switch(f"{ECHO}/Unary", "websocket", fields)
    assert stream.head() == 200
    assert stream.get("sec-websocket-protocol") == "protogw.proto"
    said = kit.message("hello").SerializeToString()
    stream.send(Frame(Opcode.BINARY, said).serialize(mask=True))
    received = b""
    pieces = stream.pieces()
    while b'"code":0' not in received:
        received += next(pieces)
    # A binary frame from a server: its size in two bytes more where it is over 125, and no mask.
    size, start = received[1], 2
    if size == 126:
        size, start = int.from_bytes(received[2:4], "big"), 4
    assert kit.Message.FromString(received[start : start + size]).text == "hello"
    client.close()


def connections_of(running: Running) -> list[Any]:
    door = running.gateway.doors["public"]
    (front_end,) = [one for one in door.front_ends if one.kind == "websocket"]
    return running.do(lambda: list(front_end.connections.values()))  # type: ignore[attr-defined]


@pytest.fixture
def program(shared_backend: Backend, tmp_path: Path) -> Iterator[tuple[Serving, int, Path]]:
    """`protogw serve` with an access log and an admin address."""
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    admin = free_port()
    config = config_of(
        {"kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"], "schema": "kit.pb"}},
        listener={"websocket": {"admin": True, "drain": "200ms"}},
    )
    config |= {"access_log": {"format": "json", "path": "access.log"}, "admin": f"127.0.0.1:{admin}", "drain": "5s"}
    with serving(config, tmp_path) as made:
        yield made, admin, tmp_path / "access.log"


def asked(method: str, url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_sockets_end_with_the_gateway_and_are_in_its_log(program: tuple[Serving, int, Path]) -> None:
    serve, admin, log = program
    with (
        opened(serve.port, f"{ECHO}/Chat?access_token=very.secret") as chatting,
        opened(serve.port, f"{ECHO}/Unary") as idle,
        opened(serve.port, f"{ECHO}/Unary") as asking,
        opened(serve.port, "/protogw.calls.v1") as session,
    ):
        chatting.send('{"text":"a"}')
        assert json.loads(chatting.recv())["text"] == "a"
        asking.send('{"plan":{"delayMs":500}}')
        session.recv()
        session.send(json.dumps({"type": "open", "id": 1, "method": "kit.v1.Echo/Look"}) + "\n{}")
        while '"status"' not in str(session.recv(timeout=10)):
            pass
        listed = asked("GET", f"http://127.0.0.1:{admin}/@connections")["connections"]
        assert len(listed) == 4
        (mine,) = [one["id"] for one in listed if one["path"].endswith("Chat")]
        asked("POST", f"http://127.0.0.1:{admin}/@connections/{mine}", b'{"text":"pushed"}')
        assert json.loads(chatting.recv(timeout=10))["text"] == "pushed"
        serve.signal(signal.SIGTERM)
        ends: dict[str, tuple[int, int]] = {}

        def wait(name: str, socket: ClientConnection) -> None:
            found, code, _ = ended(socket)
            ends[name] = (len(found), code)

        sockets = {"chatting": chatting, "idle": idle, "asking": asking, "session": session}
        waiting = [threading.Thread(target=wait, args=pair) for pair in sockets.items()]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(15)
        assert {name: end[1] for name, end in ends.items()} == dict.fromkeys(sockets, 1001)
        assert ends["asking"] == (1, 1001)
    assert serve.wait(10) == 0
    text = log.read_text()
    assert "very.secret" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    sockets_told = [(line["method"], line["status"], line["code"]) for line in lines]
    assert ("kit.v1.Echo/Chat", 101, "OK") in sockets_told
    assert ("kit.v1.Echo/Look", 101, "OK") in sockets_told
    assert all(line["protocol"] == "websocket" for line in lines)
    (chat_line,) = [line for line in lines if line["method"] == "kit.v1.Echo/Chat"]
    assert chat_line["bytes_in"] > 10
    assert chat_line["bytes_out"] > 10


CHECKS = [
    "unary",
    "serverStream",
    "bidirectional",
    "compressed",
    "status",
    "tokenAmongSubprotocols",
    "foreignOrigin",
    "session",
    "jsonRpc",
]


def test_every_check_of_nodes_client_passes(port: int, service: Backend) -> None:
    argv = [require_node(), str(NODE / "sockets.mjs"), f"ws://127.0.0.1:{port}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f"{check['name']}: {check['error']}" for check in checks if not check["ok"]] == []
    assert [check["name"] for check in checks] == CHECKS, done.stderr[-2000:]
