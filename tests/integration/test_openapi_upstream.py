"""A FastAPI service with its own OpenAPI document behind the gateway, called as REST, gRPC and Connect."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from grpc_status import rpc_status

from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import ROOT, free_port, missing, run, running
from tests.support.raw import Http1
from tests.support.reflected import Reflected

APP = ROOT / "tests" / "support" / "fastapi_shop.py"
JSON = ("content-type", "application/json")
PET = {
    "id": 2**53 + 3,
    "name": "Rex",
    "status": "sold-out",
    "tags": [{"id": 1, "name": "good"}],
    "grid": [[1, 2], [], [3]],
    "owner": None,
    "animal": {"kind": "dog", "bark": "loud"},
    "size": "large",
    "labels": {"a": 2**53 + 1},
    "colour": "brown",
}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    for module in ("fastapi", "uvicorn", "multipart"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "openapi.json").write_bytes(run([sys.executable, str(APP)]))
    port = free_port()
    config = config_of({"shop": {"rest": f"http://127.0.0.1:{port}", "schema": "openapi.json"}})
    with running([sys.executable, str(APP), str(port)], port=port), gateway(config, folder) as made:
        yield made


@pytest.fixture
def channel(front: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{front.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as made:
        yield made


@pytest.fixture
def stub(channel: grpc.Channel) -> Reflected:
    return Reflected(channel)


def rest(front: Running, verb: str, target: str, body: Any = None, *fields: tuple[str, str]) -> tuple[int, bytes]:
    client = Http1(front.port)
    data = json.dumps(body).encode() if body is not None else b""
    request = client.request(verb, target, [*([JSON] if body is not None else []), *fields], data)
    found = request.head(), request.body()
    client.close()
    return found


def connect(front: Running, name: str, body: Any) -> tuple[int, Any]:
    client = Http1(front.port)
    fields = [JSON, ("connect-protocol-version", "1")]
    request = client.request("POST", f"/shop.Shop/{name}", fields, json.dumps(body).encode())
    found = request.head(), json.loads(request.body())
    client.close()
    return found


def test_rest_to_rest_is_the_services_own_json_with_its_status(front: Running) -> None:
    status, body = rest(front, "POST", "/pets", PET)
    assert (status, json.loads(body)) == (201, PET)
    status, body = rest(front, "GET", f"/pets/{PET['id']}")
    assert (status, json.loads(body)) == (200, PET)
    changed = {**PET, "name": "Max"}
    status, body = rest(front, "PUT", f"/pets/{PET['id']}?notify=true", changed)
    assert (status, json.loads(body)) == (200, {**changed, "notified": True})
    assert rest(front, "DELETE", f"/pets/{PET['id']}") == (204, b"")


def test_a_list_as_body_is_a_list(front: Running) -> None:
    status, body = rest(front, "GET", "/pets?status=sold-out&limit=1", None, ("x-trace", "t"))
    pets = json.loads(body)
    assert status == 200
    assert pets[0]["labels"] == {"a": 2**53 + 1}
    assert json.loads(pets[0]["note"]) == {"query": "limit=1&status=sold-out", "trace": "t", "session": None}


def test_grpc_finds_the_service_by_reflection_and_sends_what_the_service_understands(stub: Reflected) -> None:
    pet = {
        "id": "77",
        "name": "Ada",
        "status": "STATUS_AVAILABLE",
        "grid": [{"items": ["1", "2"]}, {}],
        "animal": {"cat": {"lives": "3"}},
        "size": {"integer": "5"},
        "labels": {"x": "1"},
        "additionalProperties": {"colour": "black", "age": 4.0},
    }
    kept = stub.call("CreatePetPetsPost", pet)
    assert kept == {**pet, "animal": {"cat": {"kind": "cat", "lives": "3"}}}
    assert stub.call("GetPetPetsPetIdGet", {"pet_id": "77"}) == kept
    listed = stub.call("ListPetsPetsGet", {"status": ["STATUS_AVAILABLE"], "x-trace": "t", "session": "s 1"})
    assert [one["id"] for one in listed["items"]] == ["77"]
    note = json.loads(listed["items"][0]["additionalProperties"]["note"])
    assert note == {"query": "status=available", "trace": "t", "session": "s%201"}
    assert stub.call("DeletePetPetsPetIdDelete", {"pet_id": "77"}) == {}


def test_what_is_required_is_sent_though_it_is_zero(stub: Reflected) -> None:
    assert stub.call("CreatePetPetsPost", {"name": "Zero"}) == {"id": "0", "name": "Zero"}
    assert stub.call("GetPetPetsPetIdGet", {}) == {"id": "0", "name": "Zero"}
    stub.call("DeletePetPetsPetIdDelete", {})


def test_connect_speaks_protojson_to_it(front: Running) -> None:
    assert connect(front, "GetPetPetsPetIdGet", {"pet_id": "1"}) == (
        200,
        {
            "id": "1",
            "name": "Tom",
            "status": "STATUS_SOLD_OUT",
            "animal": {"cat": {"kind": "cat", "lives": "9"}},
            "labels": {"a": str(2**53 + 1)},
        },
    )
    made = {"id": "5", "name": "B", "status": "STATUS_AVAILABLE", "animal": {"dog": {"bark": "x"}}}
    status, answer = connect(front, "CreatePetPetsPost", made)
    assert (status, answer["id"], answer["animal"]) == (200, "5", {"dog": {"kind": "dog", "bark": "x"}})
    assert connect(front, "DeletePetPetsPetIdDelete", {"pet_id": 5}) == (200, {})
    status, answer = connect(front, "ListPetsPetsGet", {"limit": 1})
    assert [one["id"] for one in answer["items"]] == ["1"]


def test_forms_and_files_are_written_as_the_service_takes_them(front: Running, stub: Reflected) -> None:
    assert stub.call("LogIn", {"user": "a b&c", "password": "é="}) == {"entries": {"token": "a b&c:é="}}
    assert json.loads(rest(front, "POST", "/login", {"user": "u", "password": "p"})[1]) == {"token": "u:p"}
    sent = {"pet_id": "3", "body": {"photo": "iVBORwAB", "caption": "Grüße"}}
    assert stub.call("UploadPhoto", sent) == {
        "entries": {
            "pet": {"integer": "3"},
            "size": {"integer": "6"},
            "caption": {"string": "Grüße"},
            "first": {"string": "89504e47"},
        }
    }


def test_bytes_and_text_come_as_they_are(front: Running, stub: Reflected) -> None:
    assert stub.call("DownloadPhoto", {"pet_id": "9"}) == {"contentType": "image/png", "data": "iVBORwk="}
    assert rest(front, "GET", "/pets/9/photo") == (200, b"\x89PNG\x09")
    assert rest(front, "GET", "/motto") == (200, b"Pets for all.")


def test_events_are_a_server_stream(front: Running, stub: Reflected) -> None:
    assert stub.call("Watch", {}) == [{"id": f"{place}", "name": "tick"} for place in range(3)]
    status, body = rest(front, "GET", "/events", None, ("accept", "application/x-ndjson"))
    assert (status, json.loads(body.splitlines()[1])) == (200, {"id": 1, "name": "tick"})


def test_errors_are_mapped_by_meaning_and_keep_what_the_service_said(front: Running, stub: Reflected) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.call("GetPetPetsPetIdGet", {"pet_id": "404"})
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "no such pet"
    with pytest.raises(grpc.RpcError) as raised:
        stub.call("CreatePetPetsPost", {"id": "1", "name": "again"})
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    with pytest.raises(grpc.RpcError) as raised:
        stub.call("Broken", {})
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    status: status_pb2.Status = rpc_status.from_call(raised.value)
    assert status.message == "the last one is gone"
    assert any("problem+json" in str(detail.value) for detail in status.details)
    found, body = rest(front, "GET", "/pets/404")
    assert (found, json.loads(body)["message"]) == (404, "no such pet")


def test_what_does_not_fit_the_schema_is_refused_here(front: Running) -> None:
    status, body = rest(front, "PUT", "/pets/1", {"id": "x", "name": "n", "owner": None})
    assert (status, json.loads(body)["message"]) == (400, 'body.id: expected int64, got "x"')
    status, body = rest(front, "GET", "/pets?nosuch=1")
    assert (status, json.loads(body)["message"]) == (400, "nosuch: unknown query parameter")
    status, answer = connect(front, "GetPetPetsPetIdGet", {"pet_id": "x"})
    assert (status, answer["code"]) == (400, "invalid_argument")


def test_the_numbers_are_not_written_by_who_only_looks(tmp_path: Path) -> None:
    document = {"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"in": "query", "name": "q"}]}}}}
    (tmp_path / "a.json").write_text(json.dumps(document))
    config = config_of({"a": {"rest": "127.0.0.1:1", "schema": "a.json"}})
    (tmp_path / "gateway.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "protogw", "check", "gateway.yaml"]
    run(command, cwd=tmp_path)
    assert not (tmp_path / "protogw.lock").exists()
    run([*command, "--write-lock"], cwd=tmp_path)
    assert "a.GetARequest" in (tmp_path / "protogw.lock").read_text()
    run([*command, "--strict"], cwd=tmp_path)
