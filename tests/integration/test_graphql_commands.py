"""What the commands tell of GraphQL: the schema, the field of each method, and the way of a document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from graphql import build_schema

from protogw.cli import main
from tests.support import hello
from tests.support.gateway import config_of, written

Captured = pytest.CaptureFixture[str]
CALL = "hello.v1.Hello"


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config whose service is not there: nothing here calls it."""
    routes = [
        {"match": {"call": f"{CALL}/MakeThing"}, "graphql": {"field": "thingOf", "type": "query"}},
        {"match": {"call": f"{CALL}/DropThing"}, "graphql": {"type": "none"}},
    ]
    upstream = {"grpc": ["127.0.0.1:9"], "schema": str(hello.PROTO)}
    return str(written(config_of({"hello": upstream}, routes=routes), tmp_path))


def ran(argv: list[str], capsys: Captured) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_print_schema_prints_what_is_served(config: str, capsys: Captured) -> None:
    code, out, err = ran(["print-schema", "graphql", config], capsys)
    schema = build_schema(out)
    assert code == 0
    assert schema.query_type is not None
    assert list(schema.query_type.fields) == ["hello", "getThing", "thingOf"]
    assert schema.mutation_type is not None
    assert list(schema.mutation_type.fields) == ["setHello"]
    assert "hello.v1.Hello/Collect: GraphQL has no way to stream a request" in err


def test_routes_shows_the_field_of_each_method(config: str, capsys: Captured) -> None:
    _, out, _ = ran(["routes", config, "--format", "json"], capsys)
    names = {row["method"]: row["names"].get("graphql") for row in json.loads(out)["routes"]}
    assert names[f"{CALL}/MakeThing"] == "query thingOf"
    assert names[f"{CALL}/Count"] == "subscription count"
    assert names[f"{CALL}/DropThing"] is None
    assert names[f"{CALL}/Collect"] is None


def test_explain_finds_the_way_of_a_document_and_what_is_lost(config: str, capsys: Captured) -> None:
    document = json.dumps({"query": '{ getThing(id: "1") { id } hello }'})
    code, out, _ = ran(["explain", config, "POST /graphql", "--data", document], capsys)
    assert code == 0
    assert "hello.v1.Hello/GetThing, unary" in out
    assert "from graphql: trailers, to all" in out
    _, out, _ = ran(["explain", config, f"{CALL}/Collect"], capsys)
    assert "from graphql: the method: GraphQL has no way to stream a request" in out
    _, out, _ = ran(["explain", config, f"{CALL}/Hello"], capsys)
    assert "graphql query hello" in out


def test_check_tells_of_a_route_that_says_it_of_no_method(tmp_path: Path, capsys: Captured) -> None:
    routes = [{"match": {"call": f"{CALL}/*"}, "graphql": {"type": "query"}}]
    upstream = {"grpc": ["127.0.0.1:9"], "schema": str(hello.PROTO)}
    path = written(config_of({"hello": upstream}, routes=routes), tmp_path)
    code, _, err = ran(["check", str(path)], capsys)
    assert code == 1
    assert "routes[0].graphql: needs a match with the call of one method" in err
