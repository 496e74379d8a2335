"""GraphQL over HTTP: how requests come in and how they are answered."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from protogw.errors import Code, Status, UpstreamReset
from protogw.frontends.base import Bounds
from protogw.paths import Written
from tests.support import hello
from tests.support.graphql import Exchange, Service, ask, codes, events, front, post, request

MODERN = "application/graphql-response+json"
W = hello.StringValue(value="w")


def service(**answers: Any) -> Service:
    return Service(**{"Hello": W, **answers})


def get(**parameters: str) -> Exchange:
    return request(f"GET /graphql?{urlencode(parameters)}")


def answer(exchange: Exchange) -> Any:
    return json.loads(exchange.body)


async def test_a_get_has_its_document_in_the_query() -> None:
    exchange = await ask(front(), get(query="query A { hello }", operationName="A", variables="{}"), service())
    assert (exchange.status, answer(exchange)) == (200, {"data": {"hello": "w"}})
    assert exchange.get("content-type") == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("exchange", "status"),
    [
        (get(query="mutation { dropThing }"), 405),
        (get(variables="{}"), 400),
        (get(query="{ hello }", variables="nope"), 400),
        (get(query="{ hello }", variables="[]"), 400),
        (request("GET /graphql?query=%ff"), 400),
        (request("GET /graphql?query={hello}&query={hello}"), 400),
        (request("GET /graphql?" + "a=1&" * 50), 400),
        (post({"query": "{ hello }"}, content_type="text/plain"), 415),
        (post(b"query=%7Bhello%7D", content_type="application/x-www-form-urlencoded"), 415),
        (post(b"--x--", content_type="multipart/form-data; boundary=x"), 415),
        (post({"query": "{ hello }"}, content_type="application/json; charset=utf-16"), 415),
        (post({"query": "{ hello }"}, content_type=""), 415),
        (post(b""), 400),
        (post(b"{"), 400),
        (post(b"null"), 400),
        (post({}), 400),
        (post({"query": 5}), 400),
        (post({"query": "{ hello }", "variables": []}), 400),
        (post({"query": "{ hello }", "operationName": {}}), 400),
        (post({"query": "{ hello }", "extensions": ""}), 400),
        (post({"query": "{ hello }"}, ("x-server-timeout", "soon")), 400),
        (post([{"query": "{ hello }"}]), 400),
        (post({"query": "{ hello }"}, ("accept", "image/png")), 406),
        (post({"query": "subscription { count }"}), 406),
        (request("PATCH /graphql"), 405),
        (post({"query": "{ hello }"}, path="/graphql/graphiql.js"), 405),
    ],
    ids=lambda value: value if isinstance(value, int) else None,
)
async def test_a_request_that_is_none_is_refused_with_its_http_status(exchange: Exchange, status: int) -> None:
    asked = service()
    await ask(front(), exchange, asked)
    assert exchange.status == status
    assert answer(exchange)["errors"][0]["message"]
    assert (exchange.get("content-type") or "").startswith("application/")
    assert not asked.calls


def test_only_the_endpoint_and_what_belongs_to_it_is_taken() -> None:
    taken = ["/graphql", "/graphql/stream", "/graphql/graphiql.js"]
    left = ["/graphql/", "/graphql/other", "/graphql/../graphiql.js", "/", "/GraphQL"]
    graphql = front()
    assert [path for path in taken + left if graphql.accepts(post({}, path=path).head)] == taken
    moved = front(path="/")
    assert [path for path in ("/", "/stream", "/graphql") if moved.accepts(post({}, path=path).head)] == [
        "/",
        "/stream",
    ]


async def test_a_mutation_by_get_is_told_which_verb_it_needs() -> None:
    exchange = await ask(front(), get(query="mutation { dropThing }"), service())
    assert exchange.get("allow") == "POST"


@pytest.mark.parametrize("accept", [MODERN, f"{MODERN}, application/json;q=0.9", "application/json, " + MODERN])
async def test_the_modern_media_type_has_400_for_a_bad_document(accept: str) -> None:
    exchange = await ask(front(), post({"query": "{ nope }"}, ("accept", accept)), service())
    assert (exchange.status, exchange.get("content-type")) == (400, f"{MODERN}; charset=utf-8")
    exchange = await ask(front(), post({"query": "{ hello }"}, ("accept", accept)), service())
    assert exchange.status == 200


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/*", f"application/json, {MODERN};q=0.5"])
async def test_json_has_200_for_a_bad_document(accept: str) -> None:
    exchange = await ask(front(), post({"query": "{ nope }"}, ("accept", accept)), service())
    assert (exchange.status, exchange.get("content-type")) == (200, "application/json; charset=utf-8")
    assert codes(answer(exchange)) == ["GRAPHQL_VALIDATION_FAILED"]


async def test_lists_of_requests_are_taken_where_that_is_allowed() -> None:
    graphql = front(limits={"batch": 2})
    one, bad = {"query": "{ hello }"}, {"query": "{ nope }"}
    exchange = await ask(graphql, post([one, bad]), service())
    first, second = answer(exchange)
    assert (first, codes(second)) == ({"data": {"hello": "w"}}, ["GRAPHQL_VALIDATION_FAILED"])
    assert (await ask(graphql, post([one] * 3), service())).status == 400
    assert (await ask(graphql, post([]), service())).status == 400


async def test_bodies_may_be_compressed_both_ways() -> None:
    body = gzip.compress(json.dumps({"query": "{ getThing { id } }"}).encode())
    fields = (("content-encoding", "gzip"), ("accept-encoding", "gzip"))
    exchange = await ask(front(), post(body, *fields), service(GetThing=hello.Thing(id="x" * 5000)))
    assert exchange.get("content-encoding") == "gzip"
    assert json.loads(gzip.decompress(exchange.body))["data"]["getThing"]["id"] == "x" * 5000


async def test_a_body_over_the_limit_is_refused() -> None:
    exchange = await ask(front(Bounds(body=100)), post({"query": "{ hello }" + " " * 100}), service())
    assert (exchange.status, codes(answer(exchange))) == (413, ["RESOURCE_EXHAUSTED"])


async def test_a_document_is_taken_by_its_hash_once_it_was_sent_whole() -> None:
    graphql, text = front(), "{ hello }"
    digest = hashlib.sha256(text.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    first = await ask(graphql, post({"extensions": extensions}), service())
    assert (first.status, codes(answer(first))) == (200, ["PERSISTED_QUERY_NOT_FOUND"])
    assert answer(first)["errors"][0]["message"] == "PersistedQueryNotFound"
    assert answer(await ask(graphql, post({"query": text, "extensions": extensions}), service()))["data"]
    for exchange in (post({"extensions": extensions}), get(extensions=json.dumps(extensions))):
        assert answer(await ask(graphql, exchange, service())) == {"data": {"hello": "w"}}


async def test_a_hash_that_is_another_documents_is_refused() -> None:
    graphql = front()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(b"{ other }").hexdigest()}}
    exchange = await ask(graphql, post({"query": "{ hello }", "extensions": extensions}), service())
    assert codes(answer(exchange)) == ["BAD_USER_INPUT"]
    assert codes(answer(await ask(graphql, post({"extensions": extensions}), service()))) == [
        "PERSISTED_QUERY_NOT_FOUND"
    ]
    for bad in ({"version": 2, "sha256Hash": "x"}, {"version": 1}, "x"):
        exchange = await ask(graphql, post({"extensions": {"persistedQuery": bad}}), service())
        assert codes(answer(exchange)) == ["BAD_REQUEST"]


@pytest.mark.parametrize("form", ["folder", "manifest", "apollo"])
async def test_persisted_documents_are_run_by_id_and_by_hash(form: str, tmp_path: Path) -> None:
    text = "query Greet { hello }"
    path = tmp_path
    if form == "folder":
        (path / "greet.graphql").write_text(text)
    else:
        path = tmp_path / "manifest.json"
        listed = {"operations": [{"id": "greet", "name": "Greet", "type": "query", "body": text}]}
        path.write_text(json.dumps({"greet": text} if form == "manifest" else listed))
    graphql = front(persisted=str(path), only_persisted=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    for request_ in (
        {"documentId": "greet"},
        {"documentId": f"sha256:{digest}"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}},
        {"query": text},
    ):
        assert answer(await ask(graphql, post(request_), service())) == {"data": {"hello": "w"}}
    exchange = await ask(graphql, post({"query": "{ hello }"}), service())
    assert codes(answer(exchange)) == ["PERSISTED_QUERY_NOT_FOUND"]
    assert codes(answer(await ask(graphql, post({"documentId": "nope"}), service()))) == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"operations": [{"id": 1}]}'])
def test_a_manifest_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ValidationError, match="is no manifest of documents"):
        front(persisted=str(path))


def test_documents_that_are_not_there_are_a_fault_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read: no such file or directory"):
        front(persisted=Written("documents", tmp_path))
    (tmp_path / "documents").mkdir()
    assert front(persisted=Written("documents", tmp_path))


async def test_a_failure_before_any_call_is_an_error_of_the_request() -> None:
    exchange = await ask(front(), post({"query": "{ hello }"}), service(Hello=UpstreamReset("10.0.0.1 closed")))
    assert (exchange.status, codes(answer(exchange))) == (200, ["UNAVAILABLE"])
    assert b"10.0.0.1" not in exchange.body


SSE = ("accept", "text/event-stream")
PARTS = ("accept", 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json')
COUNTED = [hello.Int32Value(value=one) for one in (1, 2)]


async def test_a_subscription_over_an_event_stream() -> None:
    exchange = await ask(front(), post({"query": "subscription { count }"}, SSE), service(Count=COUNTED))
    assert exchange.get("content-type") == "text/event-stream"
    assert events(exchange.body) == [
        ("next", {"data": {"count": 1}}),
        ("next", {"data": {"count": 2}}),
        ("complete", None),
    ]


async def test_a_query_over_an_event_stream_has_one_response() -> None:
    exchange = await ask(front(), request("GET /graphql/stream?query={hello}", b"", [SSE]), service())
    assert events(exchange.body) == [("next", {"data": {"hello": "w"}}), ("complete", None)]


async def test_a_bad_document_over_an_event_stream_is_an_event() -> None:
    exchange = await ask(front(), post({"query": "subscription { nope }"}, SSE), service())
    (kind, value), end = events(exchange.body)
    assert (exchange.status, kind, codes(value), end[0]) == (200, "next", ["GRAPHQL_VALIDATION_FAILED"], "complete")


async def test_a_stream_that_fails_says_so_in_its_last_response() -> None:
    failing = [*COUNTED, Status(Code.ABORTED, "no more")]
    exchange = await ask(front(), post({"query": "subscription { count }"}, SSE), service(Count=failing))
    *_, (kind, value), end = events(exchange.body)
    assert (kind, codes(value), value["data"], end[0]) == ("next", ["ABORTED"], {"count": None}, "complete")


async def test_a_stream_whose_connection_breaks_says_so_too() -> None:
    broken = service(Count=[hello.Int32Value(value=1), UpstreamReset("gone")])
    exchange = await ask(front(), post({"query": "subscription { count }"}, SSE), broken)
    assert codes(events(exchange.body)[-2][1]) == ["UNAVAILABLE"]


def parts(exchange: Exchange) -> list[Any]:
    """The JSON of each part."""
    content_type = exchange.get("content-type") or ""
    boundary = content_type.partition('boundary="')[2].partition('"')[0]
    body = exchange.body.decode()
    assert body.endswith(f"\r\n--{boundary}--\r\n")
    pieces = body.removesuffix(f"\r\n--{boundary}--\r\n").split(f"\r\n--{boundary}\r\n")[1:]
    return [json.loads(piece.partition("\r\n\r\n")[2]) for piece in pieces]


async def test_a_subscription_in_parts() -> None:
    exchange = await ask(front(), post({"query": "subscription { count }"}, PARTS), service(Count=COUNTED))
    assert (exchange.get("content-type") or "").startswith('multipart/mixed;boundary="graphql"')
    assert parts(exchange) == [{"payload": {"data": {"count": one}}} for one in (1, 2)]


async def test_what_is_deferred_comes_in_a_part_of_its_own() -> None:
    document = (
        '{ hello ... @defer(label: "t") { getThing(id: "x") { id } } ...F @defer } fragment F on Query { h: hello }'
    )
    exchange = await ask(front(), post({"query": document}, PARTS), service(GetThing=hello.Thing(id="x")))
    first, *later = parts(exchange)
    assert first == {"data": {"hello": "w"}, "hasNext": True}
    assert [one["hasNext"] for one in later] == [True, False]
    found = [one["incremental"][0] for one in later]
    assert {"data": {"getThing": {"id": "x"}}, "path": [], "label": "t"} in found
    assert {"data": {"h": "w"}, "path": []} in found


async def test_what_is_deferred_comes_at_once_to_a_client_that_takes_no_parts() -> None:
    document = (
        "query ($late: Boolean!) { ... @defer(if: $late) { hello } getThing { words @stream ... @defer { id } } }"
    )
    for accept, late in ((("accept", "application/json"), True), (PARTS, False)):
        asked = post({"query": document, "variables": {"late": late}}, accept)
        exchange = await ask(front(), asked, service(GetThing=hello.Thing(id="x", words=["a"])))
        assert answer(exchange) == {"data": {"hello": "w", "getThing": {"words": ["a"], "id": "x"}}}
