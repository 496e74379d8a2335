"""Streams in the shadow of another version: a grpcio client and two grpcio servers, or a REST service and one."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.rest_backend import rest_backend

Twist = Callable[[list[Any]], list[Any]]


class Version:
    """A service that answers with numbers, in every shape; `twist` is what this version makes of its answers."""

    def __init__(self, twist: Twist = list, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        self.asked: list[int] = []
        self.marked = False
        self.release = threading.Event()
        self.cancelled = threading.Event()
        self._twist = twist
        self._code = code
        self._server = grpc.server(ThreadPoolExecutor(8))
        codec = {"request_deserializer": kit.Message.FromString, "response_serializer": kit.Message.SerializeToString}
        handlers = {
            "Down": grpc.unary_stream_rpc_method_handler(self.down, **codec),
            "Up": grpc.stream_unary_rpc_method_handler(self.up, **codec),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, **codec),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(kit.SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self.release.set()
        self._server.stop(0).wait(10)

    def _look(self, context: grpc.ServicerContext) -> None:
        self.marked = "x-protogw-copy" in dict(context.invocation_metadata())
        context.add_callback(self.cancelled.set)

    def _end(self, context: grpc.ServicerContext) -> None:
        if self._code is not grpc.StatusCode.OK:
            context.abort(self._code, "as you wished")

    def down(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._look(context)
        if request.plan.hang and self.marked:
            self.release.wait(30)
        yield from self._twist([kit.Message(number=number, text="x") for number in range(1, request.plan.count + 1)])
        self._end(context)

    def up(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        self._look(context)
        self.asked = [request.number for request in requests]
        self._end(context)
        return self._twist([kit.Message(number=sum(self.asked))])[0]

    def chat(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self._look(context)
        for request in requests:
            yield from self._twist([kit.Message(number=request.number)])
        self._end(context)


@contextlib.contextmanager
def version(*arguments: Any) -> Iterator[Version]:
    made = Version(*arguments)
    try:
        yield made
    finally:
        made.stop()


def config(old: dict[str, Any], new: dict[str, Any], **shadow: Any) -> dict[str, Any]:
    known = {name: {**one, "schema": str(kit.PROTO)} for name, one in (("old", old), ("new", new))}
    known["new"]["offer"] = False
    route = {"match": {"call": "kit.v1.Echo/*"}, "to": "old", "shadow": {"to": "new", "values": True, **shadow}}
    return config_of(known, routes=[route])


@contextlib.contextmanager
def beside(old: Version, new: Version, folder: Path, **shadow: Any) -> Iterator[Running]:
    at = [{"grpc": [f"127.0.0.1:{one.port}"]} for one in (old, new)]
    with gateway(config(at[0], at[1], **shadow), folder) as made:
        yield made


def found(made: Running, outcome: str, many: int = 1) -> dict[str, Any]:
    """What the shadow shows once so many calls have come to this."""
    offering = made.gateway.offering
    assert offering is not None
    end = threading.Event()
    for _ in range(1000):
        shown = made.do(offering.deliveries[0].shadow)
        assert shown is not None
        if shown[outcome] >= many:
            return shown
        end.wait(0.01)
    raise AssertionError(f"not {outcome}: {shown}")


@contextlib.contextmanager
def client(made: Running) -> Iterator[dict[str, Any]]:
    """The methods, by name."""
    with grpc.insecure_channel(f"127.0.0.1:{made.port}") as channel:
        codec = {"request_serializer": kit.Message.SerializeToString, "response_deserializer": kit.Message.FromString}
        path = f"/{kit.SERVICE}/"
        yield {
            "Down": channel.unary_stream(f"{path}Down", **codec),
            "Up": channel.stream_unary(f"{path}Up", **codec),
            "Chat": channel.stream_stream(f"{path}Chat", **codec),
        }


def counting(count: int, **plan: Any) -> Any:
    return kit.Message(text="x", plan=kit.Plan(count=count, **plan))


def numbers(*values: int) -> Iterator[Any]:
    return iter([kit.Message(number=value) for value in values])


def raised(answers: list[Any]) -> list[Any]:
    """The fourth answer, or the only one, is one too high."""
    if len(answers) > 3 or len(answers) == 1:
        answers[3 if len(answers) > 3 else 0].number += 1
    return answers


@pytest.mark.parametrize(
    ("twist", "fields"),
    [
        (list, None),
        (raised, {"[3].number": ["4", "5"]}),
        (lambda answers: answers[:3], {"(length)": ["over 3", "3"]}),
        (lambda answers: [answers[1], answers[0], *answers[2:]], {"[0].number": ["1", "2"], "[1].number": ["2", "1"]}),
    ],
    ids=["the same", "a field", "the length", "the order"],
)
def test_a_server_stream_is_compared_message_by_message(
    tmp_path: Path, twist: Twist, fields: dict[str, Any] | None
) -> None:
    with version() as old, version(twist) as new, beside(old, new, tmp_path) as made, client(made) as call:
        assert [answer.number for answer in call["Down"](counting(6), timeout=10)] == [1, 2, 3, 4, 5, 6]
        shown = found(made, "compared")
        assert [sample["fields"] for sample in shown["samples"]] == ([] if fields is None else [fields])
        assert (old.marked, new.marked) == (False, True)


def test_another_status_behind_the_same_messages_is_a_difference(tmp_path: Path) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    with version() as old, version(list, code) as new, beside(old, new, tmp_path) as made, client(made) as call:
        assert len(list(call["Down"](counting(3), timeout=10))) == 3
        assert found(made, "compared")["samples"][0]["fields"] == {"(status)": ["OK", "FAILED_PRECONDITION"]}


def test_a_client_stream_is_told_to_both_and_its_answer_is_compared(tmp_path: Path) -> None:
    with version() as old, version(raised) as new, beside(old, new, tmp_path) as made, client(made) as call:
        assert call["Up"](numbers(1, 2, 3), timeout=10).number == 6
        shown = found(made, "compared")
        assert shown["samples"][0]["fields"] == {"number": ["6", "7"]}
        assert old.asked == new.asked == [1, 2, 3]


def test_a_talk_is_compared_both_ways(tmp_path: Path) -> None:
    with version() as old, version() as new, beside(old, new, tmp_path) as made, client(made) as call:
        assert [answer.number for answer in call["Chat"](numbers(1, 2, 3), timeout=10)] == [1, 2, 3]
        shown = found(made, "compared")
        assert (shown["different"], shown["messages"]) == (0, 3)
    with version() as old, version(raised) as new, beside(old, new, tmp_path) as made, client(made) as call:
        list(call["Chat"](numbers(1, 2), timeout=10))
        shown = found(made, "compared")
        assert shown["samples"][0]["fields"] == {"[0].number": ["1", "2"], "[1].number": ["2", "3"]}
        assert shown["fields"] == {"[].number": 1}


def test_a_shadow_that_hangs_holds_up_nobody_and_is_ended(tmp_path: Path) -> None:
    with (
        version() as old,
        version() as new,
        beside(old, new, tmp_path, kept_messages=10, timeout="30s") as made,
        client(made) as call,
    ):
        assert len(list(call["Down"](counting(2000, hang=True), timeout=10))) == 2000
        shown = found(made, "behind")
        assert (shown["compared"], shown["failed"], shown["in_flight"]) == (0, 0, 0)


def test_a_client_that_cancels_takes_the_shadow_along(tmp_path: Path) -> None:
    with version() as old, version() as new, beside(old, new, tmp_path, timeout="30s") as made, client(made) as call:
        go_on = threading.Event()

        def talk() -> Iterator[Any]:
            yield kit.Message(number=1)
            go_on.wait(10)

        chat = call["Chat"](talk(), timeout=10)
        assert next(chat).number == 1
        found(made, "messages")
        chat.cancel()
        go_on.set()
        shown = found(made, "cancelled")
        assert (shown["compared"], shown["failed"]) == (0, 0)
        assert new.cancelled.wait(10)


def test_streams_of_a_rest_service_are_compared_with_those_of_the_grpc_service_that_follows_it(tmp_path: Path) -> None:
    with rest_backend() as rest, backend() as second:
        at: list[dict[str, Any]] = [{"rest": [f"http://127.0.0.1:{rest.port}"]}, {"grpc": [f"127.0.0.1:{second.port}"]}]
        for number, (old, new) in enumerate((at, at[::-1])):
            folder = tmp_path / str(number)
            folder.mkdir()
            with gateway(config(old, new, ignore=["seen"]), folder) as made, client(made) as call:
                assert len(list(call["Down"](counting(5), timeout=10))) == 5
                shown = found(made, "compared")
                assert (shown["different"], shown["messages"]) == (0, 5), shown["samples"]
                call["Up"](numbers(1, 2), timeout=10)
                shown = found(made, "compared", 2)
                assert shown["different"] == 0, shown["samples"]


def mirrored(services: tuple[Backend, Backend], folder: Path) -> Any:
    known = {
        name: {"grpc": [f"127.0.0.1:{one.port}"], "schema": str(kit.PROTO), "offer": name == "old"}
        for name, one in zip(("old", "new"), services, strict=True)
    }
    route = {"match": {"call": "kit.v1.Echo/*"}, "to": "old", "mirror": {"to": "new"}}
    return gateway(config_of(known, routes=[route]), folder)


def test_a_mirror_gets_the_messages_of_streams(tmp_path: Path) -> None:
    with backend() as old, backend() as new, mirrored((old, new), tmp_path) as made, client(made) as call:
        call["Up"](numbers(1, 2, 3), timeout=10)
        assert len(list(call["Chat"](numbers(1, 2), timeout=10))) == 2
        new.counts.wait(lambda counts: counts.received == 5 and counts.open == 0)
        assert old.counts.received == 5


def test_a_mirror_gets_large_bodies_of_plain_http_too(tmp_path: Path) -> None:
    body = json.dumps({"text": "x" * 3_000_000}).encode()
    with rest_backend() as old, rest_backend() as new:
        known = {name: {"http": [f"http://127.0.0.1:{one.port}"]} for name, one in (("old", old), ("new", new))}
        mirror = {"to": "new", "kept_bytes": "8MiB"}
        routes = [{"match": {"path": "/v1/**"}, "to": "old", "mirror": mirror}]
        with gateway(config_of(known, routes=routes), tmp_path) as made:
            fields = {"content-type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{made.port}/v1/echo", body, fields)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert len(json.load(answer)["text"]) == 3_000_000
            new.counts.wait(lambda counts: counts.sent == 1)
