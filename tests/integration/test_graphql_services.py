"""GraphQL services that nobody here wrote the server of (Yoga, Apollo), asked for their schema and then called as gRPC,
Connect and REST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import NODE, require_node, running, until
from tests.support.raw import Http1

SERVICE = "shop.Shop"
SERVERS = {"yoga over ws": ("yoga", "ws"), "yoga over sse": ("yoga", "sse"), "apollo": ("apollo", "ws")}


class Shop:
    """One of the servers behind a gateway, and calls of its methods over gRPC."""

    def __init__(self, made: Running) -> None:
        self.port = made.port
        schema = made.do(lambda: made.gateway.catalog.services[SERVICE])
        types = next(iter(schema.methods.values())).input.types
        files = made.do(lambda: made.gateway.offering.schemas["shop"].descriptor_set)  # type: ignore[attr-defined]
        assert types
        self._methods = schema.methods
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
            self._pool.Add(file)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{made.port}")

    def message(self, name: str, fields: dict[str, Any]) -> Any:
        made = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))()
        return json_format.ParseDict(fields, made)

    def _stub(self, name: str) -> tuple[Any, Any, Any]:
        method = self._methods[name]
        reply = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(method.output.name))
        make = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        stub = make(
            method.path.decode(),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return stub, method.input.name, reply

    def call(self, name: str, /, **fields: Any) -> Any:
        """What a unary call says, as ProtoJSON; raises grpc.RpcError."""
        stub, request, _ = self._stub(name)
        return json_format.MessageToDict(stub(self.message(request, fields), timeout=10))

    def whole(self, name: str, /, metadata: Any = (), **fields: Any) -> tuple[Any, Any]:
        """The reply message of a unary call, and the call."""
        stub, request, _ = self._stub(name)
        reply, made = stub.with_call(self.message(request, fields), timeout=10, metadata=metadata)
        return reply, made

    def stream(self, name: str, /, **fields: Any) -> Any:
        stub, request, _ = self._stub(name)
        return stub(self.message(request, fields), timeout=10)

    def post(self, method: str, body: Any, *fields: tuple[str, str]) -> tuple[int, Any]:
        """The status and JSON of a POST: REST, or Connect with its field."""
        made = Http1(self.port).request(
            "POST", f"/{SERVICE}/{method}", [("content-type", "application/json"), *fields], json.dumps(body).encode()
        )
        status, found = made.head(), json.loads(made.body())
        made.close()
        return status, found


@pytest.fixture(scope="module", params=SERVERS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    kind, subscriptions = SERVERS[request.param]
    with running([require_node(), str(NODE / "graphql.mjs"), kind]) as server:
        until(lambda: "port" in server.output or not server.running, 20, "the server's port")
        port = json.loads(server.output.splitlines()[0])["port"]
        upstream = {"graphql": [f"http://127.0.0.1:{port}"], "graphql_options": {"subscriptions": subscriptions}}
        with gateway(config_of({"shop": upstream}), tmp_path_factory.mktemp("shop")) as made:
            made.wait_for(SERVICE)
            found = Shop(made)
            yield found
            found.channel.close()


def failed(shop: Shop, name: str, **fields: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        shop.call(name, **fields)
    return caught.value


def test_objects_come_with_everything_in_them(shop: Shop) -> None:
    assert shop.call("Book", id="1") == {
        "id": "1",
        "title": "One",
        "genre": "GENRE_FICTION",
        "rating": 4.0,
        "author": {"id": "a1", "name": "Zoë ☃", "born": 1900},
        "secret": "open",
        "tags": [{"items": ["x", "y"]}, {}],
        "born": "yes",
    }


def test_arguments_and_their_defaults(shop: Shop) -> None:
    assert [book["title"] for book in shop.call("Books")["books"]] == ["One", "Two"]
    found = shop.call("Books", genre="GENRE_SCIENCE", first=5)["books"]
    assert [(book["title"], book["pages"]) for book in found] == [("Two", 2147483647), ("Three", -1)]


def test_unions_and_interfaces_whose_alternatives_differ(shop: Shop) -> None:
    hits = shop.call("Search", text="o")["search"]
    assert [next(iter(hit)) for hit in hits] == ["Book", "Author", "Author"]
    assert (hits[0]["Book"]["title"], hits[1]["Author"]["born"]) == ("Two", 1900)
    assert shop.call("Node", id="1")["node"]["Book"]["born"] == "yes"
    assert shop.call("Node", id="a1")["node"]["Author"]["born"] == 1900
    assert shop.call("Node", id="x") == {}


def test_inputs_with_one_of_several_members(shop: Shop) -> None:
    made = shop.call("AddBook", input={"title": "T", "by": {"name": "N"}, "tags": [{"items": ["p"]}]})
    assert (made["title"], made["pages"], made["genre"], made["author"]["name"], made["tags"]) == (
        "T",
        100,
        "GENRE_SCIENCE",
        "N",
        [{"items": ["p"]}],
    )
    assert shop.call("AddBook", input={"title": "T", "by": {"id": "a2"}, "pages": 0})["author"]["name"] == "Ada"


@pytest.mark.parametrize(
    ("code", "want"),
    [("FORBIDDEN", "PERMISSION_DENIED"), ("BAD_USER_INPUT", "INVALID_ARGUMENT"), ("NOT_FOUND", "NOT_FOUND")],
)
def test_errors_have_their_codes(shop: Shop, code: str, want: str) -> None:
    error = failed(shop, "Fail", code=code)
    assert (error.code().name, error.details()) == (want, "as you wished")  # type: ignore[attr-defined]


def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    assert failed(shop, "Book", id="99").code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    assert failed(shop, "Exact").details() == "there is none"  # type: ignore[attr-defined]


def test_a_request_that_the_service_refuses_is_the_callers_fault(shop: Shop) -> None:
    error = failed(shop, "AddBook", input={"by": {"id": "a2"}})
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert "title" in error.details()  # type: ignore[attr-defined]


def test_data_beside_errors_is_a_reply_that_tells_of_them(shop: Shop) -> None:
    reply, made = shop.whole("Book", id="2")
    assert (reply.title, reply.HasField("secret")) == ("Two", False)
    for told in (made.initial_metadata(), made.trailing_metadata()):
        errors = json.loads(dict(told)["graphql-errors"])
        assert (errors[0]["message"], errors[0]["path"]) == ("not yours", ["book", "secret"])


def test_metadata_reaches_the_service(shop: Shop) -> None:
    reply, _ = shop.whole("Headers", metadata=(("x-tenant", "t1"), ("authorization", "Bearer x")))
    seen = json_format.MessageToDict(reply)["headers"]
    assert (seen["x-tenant"], seen["authorization"]) == ("t1", "Bearer x")
    assert "x-forwarded-for" in seen


def test_rest_speaks_the_services_own_json(shop: Shop) -> None:
    status, found = shop.post("Search", {"text": "Two"})
    assert status == 200
    assert [hit["__typename"] for hit in found["search"]] == ["Book", "Author", "Author"]
    assert (found["search"][0]["genre"], found["search"][0]["tags"]) == ("SCIENCE", None)
    assert shop.post("AddBook", {"input": {"title": "T", "by": {"id": "a1"}}})[1]["pages"] == 100
    status, error = shop.post("Book", {"id": "99"})
    assert (status, error["code"]) == (404, 5)
    status, error = shop.post("Book", {"id": "1", "ids": "2"})
    assert (status, "ids" in error["message"]) == (400, True)


def test_connect_speaks_protojson(shop: Shop) -> None:
    connect = ("connect-protocol-version", "1")
    status, found = shop.post("Search", {"text": "Two"}, connect)
    assert (status, found["search"][0]["Book"]["genre"]) == (200, "GENRE_SCIENCE")
    status, made = shop.post(
        "AddBook", {"input": {"title": "T", "by": {"id": "a1"}, "genre": "GENRE_FICTION"}}, connect
    )
    assert (status, made["genre"]) == (200, "GENRE_FICTION")


streaming = pytest.mark.parametrize("shop", [name for name in SERVERS if name.startswith("yoga")], indirect=True)
"""Apollo Server has no subscriptions of its own."""


@streaming
def test_a_subscription_is_a_server_stream(shop: Shop) -> None:
    assert [message.countdown for message in shop.stream("Countdown", **{"from": 300})] == list(range(300, -1, -1))
    assert [book.title for book in shop.stream("BookEvents", upTo=3)] == ["One", "Two", "Three"]
    assert list(shop.stream("BookEvents", upTo=0)) == []


@streaming
def test_an_error_ends_a_subscription(shop: Shop) -> None:
    stream = shop.stream("BookEvents", upTo=5, failAt=2)
    assert [next(stream).title for _ in range(2)] == ["One", "Two"]
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "no more"


@streaming
def test_a_caller_that_goes_away_ends_the_subscription(shop: Shop) -> None:
    stream = shop.stream("Forever")
    assert [next(stream).forever for _ in range(3)] == [0, 1, 2]
    assert shop.call("Watching") == {"watching": 1}
    stream.cancel()
    until(lambda: shop.call("Watching").get("watching", 0) == 0, 5, "the end of the subscription")


@streaming
def test_a_subscription_over_rest(shop: Shop) -> None:
    made = Http1(shop.port).request(
        "POST",
        f"/{SERVICE}/Countdown",
        [("content-type", "application/json"), ("accept", "text/event-stream")],
        b'{"from": 2}',
    )
    assert made.head() == 200
    assert made.body().count(b'"countdown"') == 3
    made.close()


@streaming
def test_a_refused_subscription_is_an_error(shop: Shop) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(shop.stream("Countdown"))
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN)
    assert "from" in caught.value.details()


def test_a_service_that_is_gone_is_unavailable(shop: Shop, tmp_path: Path) -> None:
    assert shop.port
    upstream = {"graphql": ["http://127.0.0.1:9"], "schema": str(tmp_path / "a.graphql")}
    (tmp_path / "a.graphql").write_text("type Query { a: Int } type Subscription { b: Int }")
    with gateway(config_of({"shop": upstream}), tmp_path) as made:
        for name in ("A", "B"):
            exchange = Http1(made.port).request(
                "POST", f"/{SERVICE}/{name}", [("content-type", "application/json")], b"{}"
            )
            assert exchange.head() == 503
            exchange.close()


def test_graphql_before_graphql(shop: Shop) -> None:
    query = 'query Q($id: String!) { one: book(id: $id) { title author { name } } none: book(id: "99") { title } }'
    body = json.dumps({"query": query, "variables": {"id": "1"}})
    made = Http1(shop.port).request("POST", "/graphql", [("content-type", "application/json")], body.encode())
    assert made.head() == 200
    found = json.loads(made.body())
    assert found["data"] == {"one": {"title": "One", "author": {"name": "Zoë ☃"}}, "none": None}
    assert [(error["path"], error["extensions"]["code"]) for error in found["errors"]] == [(["none"], "NOT_FOUND")]
    made.close()
