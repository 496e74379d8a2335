"""The gateway's own services, asked as a pool would be, and read by grpcio's own reflection client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protogw.builtin import Builtin
from protogw.call import NO_METADATA, Call, Encoding, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load, load_descriptor_set
from protogw.descriptors.from_reflection import fetch
from protogw.descriptors.model import Schema
from protogw.errors import Code, InvalidRequest, NotOffered
from protogw.wire.http import Peer

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3

SHOP = """
syntax = "proto2";
package shop;
import "base.proto";
// A comment.
service Shop { rpc Get(Item) returns (Item); }
message Item { optional base.Money price = 1; enum State { NEW = 0; } extensions 100 to 200; }
extend Item { optional string colour = 101; optional string size = 100; }
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    folder = tmp_path_factory.mktemp("protos")
    (folder / "shop.proto").write_text(SHOP)
    (folder / "base.proto").write_text('syntax = "proto3"; package base; message Money { int64 cents = 1; }')
    return load([folder])


def another_base(folder: Path) -> Schema:
    (folder / "base.proto").write_text(
        'syntax = "proto3"; package other; service O { rpc G(M) returns (M); } message M {}'
    )
    return load([folder])


@pytest.fixture
def builtin(shop: Schema) -> Builtin:
    builtin = Builtin()
    builtin.offer(Catalog.merge([shop, builtin.schema]))
    return builtin


def call(builtin: Builtin, path: bytes, **more: Any) -> Call:
    method = Catalog.merge([builtin.schema]).methods[path]
    return Call(method, NO_METADATA, front_end="test", peer=Peer("", 0), started=0.0, **more)


async def ask(builtin: Builtin, *questions: Any, version: str = "v1") -> list[Any]:
    async def payloads() -> AsyncIterator[Payload]:
        for question in questions:
            yield Payload(question.SerializeToString(), Encoding.PROTO)

    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo".encode()
    reply = await builtin.send(call(builtin, path, payloads=payloads()))
    assert reply.payloads is not None
    return [Response.FromString(one.data) async for one in reply.payloads]


def names(answer: Any) -> list[str]:
    files = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(file).name for file in files]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_are_listed_its_own_among_them(builtin: Builtin, version: str) -> None:
    [answer] = await ask(builtin, Request(list_services="", host="h"), version=version)
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "shop.Shop",
    ]
    assert (answer.valid_host, answer.original_request.host) == ("h", "h")


@pytest.mark.parametrize(
    "symbol",
    ["shop.Shop", "shop.Shop.Get", "shop.Item", "shop.Item.price", "shop.Item.State", "shop.Item.NEW", ".shop.Item"],
)
async def test_a_symbol_leads_to_its_file_and_what_that_imports(builtin: Builtin, symbol: str) -> None:
    [answer] = await ask(builtin, Request(file_containing_symbol=symbol))
    assert names(answer) == ["shop.proto", "base.proto"]


async def test_files_come_by_name_without_comments(builtin: Builtin) -> None:
    [answer] = await ask(builtin, Request(file_by_filename="shop.proto"))
    [data] = answer.file_descriptor_response.file_descriptor_proto
    assert names(answer) == ["shop.proto"]
    assert b"A comment" not in data


async def test_extensions_are_found_by_type_and_number(builtin: Builtin) -> None:
    wanted = reflection_pb2.ExtensionRequest(containing_type="shop.Item", extension_number=101)
    found, numbers, none = await ask(
        builtin,
        Request(file_containing_extension=wanted),
        Request(all_extension_numbers_of_type="shop.Item"),
        Request(all_extension_numbers_of_type="base.Money"),
    )
    assert names(found) == ["shop.proto", "base.proto"]
    assert list(numbers.all_extension_numbers_response.extension_number) == [100, 101]
    assert numbers.all_extension_numbers_response.base_type_name == "shop.Item"
    assert list(none.all_extension_numbers_response.extension_number) == []


async def test_what_is_not_there_is_an_error_answer_and_the_stream_goes_on(builtin: Builtin) -> None:
    nothing = reflection_pb2.ExtensionRequest(containing_type="shop.Item", extension_number=7)
    answers = await ask(
        builtin,
        Request(file_by_filename="nope.proto"),
        Request(file_containing_symbol="shop.Nope"),
        Request(file_containing_extension=nothing),
        Request(all_extension_numbers_of_type="nope.Nope"),
        Request(),
        Request(list_services=""),
    )
    assert [answer.error_response.error_code for answer in answers] == [5, 5, 5, 5, 3, 0]
    assert answers[1].error_response.error_message == "no symbol 'shop.Nope'"


async def test_files_of_one_name_stay_with_their_own_schema(shop: Schema, tmp_path: Path) -> None:
    builtin = Builtin()
    builtin.offer(Catalog.merge([another_base(tmp_path), shop, builtin.schema]))
    _, base = await ask(builtin, Request(file_containing_symbol="shop.Shop"), Request(file_by_filename="base.proto"))
    [data] = base.file_descriptor_response.file_descriptor_proto
    assert descriptor_pb2.FileDescriptorProto.FromString(data).package == "base"


async def test_bytes_that_are_no_question_are_refused(builtin: Builtin) -> None:
    async def payloads() -> AsyncIterator[Payload]:
        yield Payload(b"\xff\xff", Encoding.PROTO)

    path = b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    reply = await builtin.send(call(builtin, path, payloads=payloads()))
    assert reply.payloads is not None
    with pytest.raises(InvalidRequest):
        await anext(reply.payloads)


async def test_what_it_says_of_itself_builds_in_grpcs_pool_and_reads_back_as_the_same_schema(
    builtin: Builtin, shop: Schema
) -> None:
    read = await fetch(builtin.send)
    assert list(read.services) == ["shop.Shop"]
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(read.descriptor_set).file:
        pool.AddSerializedFile(file.SerializeToString())
    assert pool.FindServiceByName("shop.Shop").methods[0].name == "Get"
    assert (await fetch(builtin.send)).digest == read.digest


async def test_a_new_catalog_is_told_at_once(builtin: Builtin) -> None:
    builtin.offer(Catalog.merge([builtin.schema]))
    listed, gone = await ask(builtin, Request(list_services=""), Request(file_containing_symbol="shop.Shop"))
    assert "shop.Shop" not in {service.name for service in listed.list_services_response.service}
    assert gone.error_response.error_code == 5


# --- health -----------------------------------------------------------------------------------------------------------


async def health(builtin: Builtin, method: str, service: str = "") -> Reply:
    data = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    return await builtin.send(
        call(builtin, f"/grpc.health.v1.Health/{method}".encode(), payload=Payload(data, Encoding.PROTO))
    )


def status(payload: Payload | None) -> int:
    assert payload is not None
    return health_pb2.HealthCheckResponse.FromString(payload.data).status


async def test_what_is_offered_is_healthy(builtin: Builtin) -> None:
    assert status((await health(builtin, "Check")).payload) == SERVING
    assert status((await health(builtin, "Check", "shop.Shop")).payload) == SERVING


async def test_the_health_of_what_is_not_offered_is_not_found(builtin: Builtin) -> None:
    assert (await health(builtin, "Check", "nope.Nope")).status.code is Code.NOT_FOUND


async def test_health_is_asked_of_whoever_knows(shop: Schema) -> None:
    builtin = Builtin(lambda service: service != "shop.Shop")
    builtin.offer(Catalog.merge([shop, builtin.schema]))
    assert status((await health(builtin, "Check", "shop.Shop")).payload) == NOT_SERVING
    reply = await health(builtin, "List")
    assert reply.payload is not None
    listed = health_pb2.HealthListResponse.FromString(reply.payload.data).statuses
    assert {name: one.status for name, one in listed.items()}["shop.Shop"] == NOT_SERVING
    assert listed[""].status == SERVING


async def test_a_watch_tells_the_state_and_then_every_change(shop: Schema) -> None:
    healthy = {"shop.Shop": True}
    builtin = Builtin(lambda service: healthy.get(service, True))
    builtin.offer(Catalog.merge([shop]))
    stream = (await health(builtin, "Watch", "shop.Shop")).payloads
    assert stream is not None
    assert status(await anext(stream)) == SERVING
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    builtin.changed()  # nothing has: nothing is told
    await asyncio.sleep(0)
    assert not waiting.done()
    healthy["shop.Shop"] = False
    builtin.changed()
    assert status(await waiting) == NOT_SERVING
    builtin.offer(Catalog())
    assert status(await anext(stream)) == UNKNOWN


async def test_a_watch_of_an_unknown_service_waits_for_it(shop: Schema) -> None:
    builtin = Builtin()
    stream = (await health(builtin, "Watch", "shop.Shop")).payloads
    assert stream is not None
    assert status(await anext(stream)) == UNKNOWN
    builtin.offer(Catalog.merge([shop]))
    assert status(await anext(stream)) == SERVING


async def test_a_watch_that_is_given_up_leaves_nothing_behind(builtin: Builtin) -> None:
    stream: Any = (await health(builtin, "Watch")).payloads
    await anext(stream)
    assert repr(builtin) == "<Builtin 4 services, 1 watching>"
    await stream.aclose()
    assert repr(builtin) == "<Builtin 4 services, 0 watching>"


async def test_health_speaks_json_too(builtin: Builtin) -> None:
    question = call(builtin, b"/grpc.health.v1.Health/Check")
    assert question.method is not None
    question.payload = Payload(b'{"service":"shop.Shop"}', Encoding.JSON, question.method.input.codec)
    reply = await builtin.send(question)
    assert reply.payload is not None
    assert reply.payload.json() == b'{"status":"SERVING"}'


async def test_bad_health_questions_and_foreign_methods_are_refused(builtin: Builtin, shop: Schema) -> None:
    with pytest.raises(InvalidRequest):
        await builtin.send(call(builtin, b"/grpc.health.v1.Health/Check", payload=Payload(b"\xff", Encoding.PROTO)))
    method = shop.services["shop.Shop"].methods["Get"]
    foreign = Call(method, NO_METADATA, front_end="test", peer=Peer("", 0), started=0.0)
    with pytest.raises(NotOffered):
        await builtin.send(foreign)


def test_its_schema_reads_back() -> None:
    assert (
        load_descriptor_set(Builtin().schema.descriptor_set, hide=()).services.keys()
        == Builtin().schema.services.keys()
    )
