"""Violations in the running gateway, as each protocol shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.support.gateway import Running, config_of, gateway
from tests.support.raw import Http1

RULED = Path(__file__).parents[1] / "support" / "ruled.proto"
BODY = b'{"name":"a","low":3}'


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = config_of(
        {"desk": {"grpc": ["127.0.0.1:1"], "schema": str(RULED)}},
        policies={"checked": {"validate": {}}},
        use=["checked"],
    )
    with gateway(config, tmp_path_factory.mktemp("checking")) as running:
        yield running


def post(port: int, target: str, body: bytes, *fields: tuple[str, str]) -> tuple[int, dict[str, object]]:
    client = Http1(port)
    found = client.request("POST", target, [("content-type", "application/json"), *fields], body)
    answer = found.head(), json.loads(found.body())
    client.close()
    return answer


def test_rest_clients_see_every_violation(checking: Running) -> None:
    status, said = post(checking.port, "/v1/orders", BODY)
    assert (status, said["code"]) == (400, 3)
    details: list[dict[str, object]] = said["details"]  # type: ignore[assignment]
    assert [detail["@type"] for detail in details] == [
        "type.googleapis.com/google.rpc.BadRequest",
        "type.googleapis.com/buf.validate.Violations",
    ]
    violations: list[dict[str, str]] = details[0]["fieldViolations"]  # type: ignore[assignment]
    assert {one.get("field", "") for one in violations} == {"guest", "floor", "name", ""}
    assert "ruleId" in str(details[1])


def test_connect_clients_see_them_too(checking: Running) -> None:
    status, said = post(checking.port, "/ruled.v1.Desk/Book", BODY, ("connect-protocol-version", "1"))
    assert (status, said["code"]) == (400, "invalid_argument")
    assert "google.rpc.BadRequest" in str(said["details"])


def test_grpc_clients_see_them_too(checking: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{checking.port}") as channel:
        call = channel.unary_unary("/ruled.v1.Desk/Book")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x0a\x01a")
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert status.code == 3
    found = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(found)
    assert "name" in {violation.field for violation in found.field_violations}


def test_graphql_clients_see_them_too(checking: Running) -> None:
    query = b'{"query":"mutation { book(name: \\"a\\") { name } }"}'
    status, said = post(checking.port, "/graphql", query)
    assert (status, "must be at least 2 characters" in str(said["errors"])) == (200, True)


def test_what_is_as_it_should_be_goes_to_the_service(checking: Running) -> None:
    good = b'{"name":"ab","guest":{"email":"a"},"floor":0}'
    assert post(checking.port, "/v1/orders", good)[0] == 503
