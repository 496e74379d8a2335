"""The bounds of a FastAPI service's own document, kept by the gateway for clients of every protocol."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protogw.cli import main
from tests.support.gateway import Running, config_of, gateway, written
from tests.support.processes import ROOT, free_port, missing, run, running
from tests.support.raw import Http1
from tests.support.reflected import Reflected

APP = ROOT / "tests" / "support" / "fastapi_bounded.py"
GOOD: dict[str, Any] = {"customerName": "Zoé", "total": 0.0, "items": [{"sku": "abc", "count": 2}]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"customerName": "Z"}, "customerName"),
    ({"customerName": "Zo3"}, "customerName"),
    ({"customerName": None}, "customerName"),
    ({"total": -1}, "total"),
    ({"total": None}, "total"),
    ({"items": []}, "items"),
    ({"items": [{"sku": "abc", "count": 2}, {"sku": "abcdef", "count": 2}]}, "items[1].sku"),
    ({"items": [{"sku": "abc", "count": 3}]}, "items[0].count"),
    ({"note": "too long"}, "note"),
    ({"labels": {"a": "long"}}, 'labels["a"]'),
    ({"paid": {"kind": "card", "number": "12345"}}, "paid.number"),
    ({"paid": {"kind": "cash", "coins": 0}}, "paid.coins"),
]
IDS = [f"{path}-{place}" for place, (_, path) in enumerate(BAD)]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    for module in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("bounded")
    (folder / "openapi.json").write_bytes(run([sys.executable, str(APP)]))
    port = free_port()
    config = config_of(
        {"desk": {"rest": f"http://127.0.0.1:{port}", "schema": "openapi.json"}},
        policies={"checked": {"validate": {"reply": "refuse"}}},
        use=["checked"],
    )
    with running([sys.executable, str(APP), str(port)], port=port), gateway(config, folder) as made:
        yield made


def post(front: Running, verb: str, target: str, body: Any, *fields: tuple[str, str]) -> tuple[int, Any]:
    client = Http1(front.port)
    request = client.request(verb, target, [("content-type", "application/json"), *fields], json.dumps(body).encode())
    found = request.head(), json.loads(request.body())
    client.close()
    return found


def order(more: dict[str, Any]) -> dict[str, Any]:
    """A good order but for this; what is None is left out."""
    return {name: value for name, value in {**GOOD, **more}.items() if value is not None}


def named(said: Any) -> str:
    """The field of the only violation."""
    (violation,) = said["details"][0]["fieldViolations"]
    return str(violation["field"])


@pytest.mark.parametrize(("more", "path"), BAD, ids=IDS)
def test_rest_clients_are_told_in_the_words_of_the_document(front: Running, more: dict[str, Any], path: str) -> None:
    status, said = post(front, "POST", "/orders", order(more))
    assert (status, named(said)) == (400, path)
    status, said = post(front, "PUT", "/orders/7", order(more))
    assert (status, named(said)) == (400, f"body.{path}")


def test_what_is_as_the_document_says_gets_to_the_service(front: Running) -> None:
    _, refused = post(front, "POST", "/orders", order({"total": -1}))
    assert refused["details"][1]["violations"][0]["ruleId"] == "double.gte"
    status, said = post(front, "POST", "/orders", GOOD)
    assert (status, said["customerName"]) == (201, "Zoé")
    assert post(front, "PUT", "/orders/7?page_size=100", GOOD)[0] == 200
    status, said = post(front, "PUT", "/orders/7?page_size=101", GOOD)
    assert (status, named(said)) == (400, "page_size")


@pytest.mark.parametrize(("more", "path"), BAD, ids=IDS)
def test_connect_clients_are_told_in_the_words_of_protojson(front: Running, more: dict[str, Any], path: str) -> None:
    body = order(more)
    if "paid" in body:
        kind = body["paid"]["kind"]
        body["paid"] = {kind: {name: value for name, value in body["paid"].items() if name != "kind"}}
        path = path.replace("paid.", f"paid.{kind}.")
    status, said = post(front, "POST", "/desk.Desk/Place", body, ("connect-protocol-version", "1"))
    assert (status, said["code"]) == (400, "invalid_argument")
    assert said["message"].startswith(f"{path}: ")


def grpc_violation(front: Running, request: dict[str, Any]) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{front.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = Reflected(channel, "desk.Desk")
        with pytest.raises(grpc.RpcError) as caught:
            stub.call("Place", request)
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    found = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(found)
    (violation,) = found.field_violations
    return str(violation.field)


def test_grpc_clients_are_told_in_the_words_of_the_proto(front: Running) -> None:
    assert grpc_violation(front, order({"customerName": "Z"})) == "customer_name"
    assert grpc_violation(front, order({"total": None})) == "total"
    assert grpc_violation(front, order({"items": []})) == "items"
    assert grpc_violation(front, order({"paid": {"cash": {"coins": 0}}})) == "paid.cash.coins"
    with grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel:
        assert Reflected(channel, "desk.Desk").call("Place", GOOD)["customerName"] == "Zoé"


def test_graphql_clients_are_told_in_the_words_of_graphql(front: Running) -> None:
    def ask(name: str, count: int) -> Any:
        items = f'[{{sku: "abc", count: "{count}"}}]'
        asked = f'place(customerName: "{name}", total: 0, items: {items})'
        query = f"mutation {{ {asked} {{ customerName items {{ count }} }} }}"
        return post(front, "POST", "/graphql", {"query": query})[1]

    assert ask("Zo", 2)["data"]["place"] == {"customerName": "Zo", "items": [{"count": "2"}]}
    assert ask("Z", 2)["errors"][0]["message"].startswith("customerName: must be at least 2")
    assert ask("Zo", 3)["errors"][0]["message"].startswith("items[0].count: must be a multiple of 2")
    missing_one = post(front, "POST", "/graphql", {"query": "mutation { place(total: 0) { total } }"})[1]
    assert "required" in missing_one["errors"][0]["message"]


def test_a_reply_that_is_not_as_the_document_says_is_the_services_fault(front: Running) -> None:
    status, said = post(front, "POST", "/wrong", GOOD)
    assert (status, said["message"]) == (502, "the reply is not what its schema says")


def test_check_warns_of_what_no_rule_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^(?!x)"}}}
    content = {"content": {"application/json": {"schema": schema}}}
    paths = {"/x": {"post": {"operationId": "x", "requestBody": content, "responses": {}}}}
    (tmp_path / "x.json").write_text(json.dumps({"openapi": "3.1.0", "info": {}, "paths": paths}))
    upstreams = {"desk": {"rest": "http://127.0.0.1:1", "schema": "x.json"}}
    config = config_of(upstreams, policies={"checked": {"validate": {}}}, use=["checked"])
    assert main(["check", str(written(config, tmp_path))]) == 0
    said = capsys.readouterr().err
    assert "x.json: paths." in said
    assert "schema.properties.name.pattern looks ahead or behind, which RE2 does not: it is not enforced" in said
