"""AsyncAPI documents that others wrote, and our own: each loads, or its fault is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from protogw_translators.to_websocket_plan import Plan
from protogw_translators.to_websocket_settings import WebSocketOptions

from protogw.cli import main
from protogw.descriptors.from_asyncapi import load
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from tests.support import kit
from tests.support.gateway import config_of, written
from tests.support.processes import NODE, missing

EXAMPLES = NODE / "node_modules" / ".documents" / "asyncapi-cli" / "assets" / "examples"
NAMES = (
    "anyof-asyncapi.yml",
    "application-headers-asyncapi.yml",
    "correlation-id-asyncapi.yml",
    "default-example.json",
    "default-example.yaml",
    "gitter-streaming-asyncapi.yml",
    "kraken-websocket-request-reply-message-filter-in-reply-asyncapi.yml",
    "kraken-websocket-request-reply-multiple-channels-asyncapi.yml",
    "not-asyncapi.yml",
    "oneof-asyncapi.yml",
    "operation-security-asyncapi.yml",
    "rpc-client-asyncapi.yml",
    "rpc-server-asyncapi.yml",
    "simple-asyncapi.yml",
    "slack-rtm-asyncapi.yml",
    "streetlights-kafka-asyncapi.yml",
    "streetlights-mqtt-asyncapi.yml",
    "streetlights-operation-security-asyncapi.yml",
    "tutorial.yml",
    "websocket-gemini-asyncapi.yml",
)
FAULTS = {
    "adeo-kafka-request-reply-asyncapi.yml": "its payload is 'application/vnd.apache.avro;version=1.9.0'",
    "mercure-asyncapi.yml": "is a URL: the address of a socket is a path",
}


def example(name: str) -> Path:
    if not EXAMPLES.is_dir():
        missing("the documents are not there (sh tests/integration/node/documents.sh)")
    return EXAMPLES / name


def loaded(path: Path) -> Schema:
    return load([path], upstream="service", numbers=Numbers())


@pytest.mark.parametrize("name", NAMES)
def test_a_document_of_others_becomes_a_service_that_can_be_spoken_to(name: str) -> None:
    schema = loaded(example(name))
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set).file:
        pool.Add(file)
    (service,) = schema.services.values()
    assert service.methods
    for method in service.methods.values():
        for sockets in ("per_call", "shared"):
            options = WebSocketOptions.model_validate({"sockets": sockets, "correlation": "id"})
            assert Plan(method, options, "").method is method
        assert method.output.codec.from_json(method.output.codec.to_json(b"")) is not None


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_of_a_document_of_others_is_named_with_its_place(name: str) -> None:
    path = example(name)
    with pytest.raises(SchemaError) as caught:
        loaded(path)
    assert all(fault.startswith(f"{path}:") for fault in caught.value.faults)
    assert FAULTS[name] in caught.value.faults[0]


def test_no_example_is_left_out() -> None:
    there = {path.name for path in example(".").iterdir() if path.suffix in (".yml", ".yaml", ".json")}
    assert there - {"examples.json"} == {*NAMES, *FAULTS}


def test_kraken_is_spoken_to_by_its_own_words() -> None:
    name = "kraken-websocket-request-reply-message-filter-in-reply-asyncapi.yml"
    methods = loaded(example(name)).services["service.Service"].methods
    ping = methods["ReceivePing"]
    assert (ping.shape, ping.binding.correlation) == ("unary", ("reqid", "reqid"))  # type: ignore[attr-defined]
    assert ping.output.codec.to_json(ping.output.codec.from_json(b'{"event":"pong","reqid":42}')) == (
        b'{"event":"pong","reqid":42}'
    )


def test_what_the_gateway_says_of_itself_is_a_service_again(tmp_path: Path) -> None:
    (tmp_path / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    config = written(config_of({"kit": {"grpc": ["127.0.0.1:9"], "schema": "kit.pb"}}), tmp_path)
    assert main(["print-schema", "asyncapi", str(config), "-o", str(tmp_path / "asyncapi.yaml")]) == 0
    (service,) = loaded(tmp_path / "asyncapi.yaml").services.values()
    shapes = {method.shape for method in service.methods.values()}
    assert shapes >= {"unary", "server stream", "bidi"}
