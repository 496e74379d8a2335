"""Whatever a client sends, the GraphQL front end answers it with a response of its own, and no fault of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protogw.frontends.base import Bounds
from tests.support import hello
from tests.support.graphql import Service, ask, front, post, request

GRAPHQL = front(Bounds(body=2000), limits={"batch": 3})
ANSWERS = {200, 201, 202, 204, 400, 404, 405, 406, 409, 413, 415, 429, 503}

_WORDS = (
    "{ } ( ) [ ] : ! = | & @ $ ... query mutation subscription fragment on hello getThing count setHello id F inner $a "
    '"x" """y""" 5 5.5 1e400 true null RED __typename __schema @include @skip @defer @stream if: # \n , \u0000'
)
_words = st.sampled_from(_WORDS.split(" "))
_documents = st.one_of(
    st.lists(_words, max_size=30).map(" ".join),
    st.text(max_size=30),
    st.sampled_from(["{ hello }", "query ($a: String) { getThing(id: $a) { id } }", "subscription { count }"]),
)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "id", "x"]), inner, max_size=3),
    max_leaves=5,
)
_requests = st.fixed_dictionaries(
    {},
    optional={
        "query": _documents | _values,
        "variables": st.dictionaries(st.sampled_from(["a", "b"]), _values, max_size=2) | _values,
        "operationName": st.text(max_size=3) | _values,
        "extensions": _values,
        "documentId": _values,
    },
)
_accepts = st.sampled_from(
    [
        "",
        "*/*",
        "application/json",
        "text/event-stream",
        "multipart/mixed",
        "text/html",
        "application/graphql-response+json",
    ]
)


def served(exchange: Any) -> Any:
    service = Service(
        Hello=hello.StringValue(value="w"),
        SetHello=hello.StringValue(value="w"),
        GetThing=hello.Thing(id="x"),
        MakeThing=hello.Thing(),
        DropThing=hello.Empty(),
        Count=[hello.Int32Value(value=1)],
    )
    asyncio.run(ask(GRAPHQL, exchange, service))
    assert exchange.status in ANSWERS
    assert exchange.ended
    content_type = exchange.get("content-type") or ""
    if "json" in content_type and exchange.head.method != b"HEAD":
        value = json.loads(exchange.body)
        for response in value if isinstance(value, list) else [value]:
            assert response.get("errors") or "data" in response
            for error in response.get("errors", ()):
                assert error["message"]
                assert error["extensions"]["code"]
    return exchange


@settings(max_examples=150, deadline=None)
@given(st.one_of(_requests, st.lists(_requests, max_size=4), _values), _accepts)
@example({"query": "{ hello }", "variables": {"a": "\ud800"}}, "")
def test_any_json_is_answered(value: Any, accept: str) -> None:
    served(post(json.dumps(value).encode(), ("accept", accept)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["application/json", "text/plain", "", "application/json;charset=x"]))
def test_any_bytes_are_answered(body: bytes, content_type: str) -> None:
    served(post(body, content_type=content_type))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    st.sampled_from(["/graphql", "/graphql/stream", "/graphql/graphiql.css"]),
    st.text(st.sampled_from("query={hello}&variables%20%ff+token;operationName"), max_size=30),
    _accepts,
)
def test_any_query_is_answered(verb: str, path: str, query: str, accept: str) -> None:
    if verb == "PUT":
        return  # what it reserves is bounded, and would fill up here
    served(request(f"{verb} {path}?{query}", b"", [("accept", accept)]))
