"""AsyncAPI documents as schemas: operations and channels as methods, messages as types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from protogw.descriptors.channel_binding import ChannelBinding
from protogw.descriptors.from_asyncapi import load
from protogw.descriptors.model import Method, Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.read import read
from protogw.wire.protojson import DEFAULT
from tests.support import exchange

ROOM = {"type": "object", "properties": {"text": {"type": "string"}}}


def written(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "asyncapi.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def loaded(folder: Path, document: dict[str, Any]) -> Schema:
    return load([written(folder, document)], upstream="svc", numbers=Numbers())


def methods(schema: Schema) -> dict[str, Method]:
    (service,) = schema.services.values()
    return dict(service.methods)


def binding(method: Method) -> ChannelBinding:
    assert isinstance(method.binding, ChannelBinding)
    return method.binding


def fault(folder: Path, document: dict[str, Any]) -> str:
    with pytest.raises(SchemaError) as caught:
        loaded(folder, document)
    return "\n".join(caught.value.faults)


def second(**channels: Any) -> dict[str, Any]:
    """A document of version 2 with these channels, `_` for `/`."""
    named = {name.replace("_", "/"): channel for name, channel in channels.items()}
    return {"asyncapi": "2.6.0", "info": {"title": "t", "version": "1"}, "channels": named}


def test_operations_become_methods_of_the_shape_that_their_direction_has() -> None:
    shapes = {method.name: method.shape for method in exchange.schema().services[exchange.SERVICE].methods.values()}
    assert shapes == {
        "WatchMarket": "server stream",
        "PlaceOrder": "unary",
        "LeaveNote": "unary",
        "Beat": "server stream",
        "Desk": "bidi",
    }


def test_what_the_handshake_needs_is_in_the_request() -> None:
    watch = exchange.method("WatchMarket")
    names = {field.json_name: field.kind.value for field in watch.input.fields.values()}
    assert names == {"symbol": "string", "depth": "int32", "heartbeat": "bool", "X-Client": "string"}
    bound = binding(watch)
    assert (bound.address, bound.base_path, bound.message) == ("/v1/market/{symbol}", "/ws", "")
    assert bound.parameters == {"symbol": "symbol"}
    assert bound.query == {"depth": "depth", "heartbeat": "heartbeat"}
    assert list(bound.headers) == ["X-Client"]
    assert [rule.template for rule in watch.http] == ["/ws/v1/market/{symbol}"]


def test_a_request_with_a_reply_is_correlated_and_told_from_other_messages() -> None:
    place = exchange.method("PlaceOrder")
    bound = binding(place)
    assert bound.correlation == ("ref", "ref")
    assert bound.expected == {"filled", "rejected"}
    assert bound.channel is not None
    assert bound.channel.tag == "type"
    assert {branch.key for branch in bound.channel.branches} == {"filled", "rejected", "heartbeat"}
    assert set(place.output.fields) == {"filled", "rejected"}
    assert place.doc == "Places an order."


def test_what_is_not_answered_returns_nothing() -> None:
    leave = exchange.method("LeaveNote")
    assert (leave.output.name, binding(leave).answered) == ("google.protobuf.Empty", False)


def test_a_channel_with_both_directions_is_one_method_with_all_its_messages() -> None:
    desk = exchange.method("Desk")
    assert set(desk.input.fields) == {"order", "note"}
    assert set(desk.output.fields) == {"filled", "rejected", "heartbeat"}
    assert desk.input.codec.from_json(b'{"symbol":"x"}') != desk.input.codec.from_json(b'{"type":"note"}')


def test_channels_that_sockets_do_not_reach_are_left_out() -> None:
    assert "Audited" not in exchange.schema().services[exchange.SERVICE].methods


def test_the_kind_of_document_is_found_out(tmp_path: Path) -> None:
    schema = read([exchange.DOCUMENT], upstream="exchange", numbers=Numbers(), options=DEFAULT)
    assert schema.digest == exchange.schema().digest


def test_version_2_says_the_same_from_the_clients_side(tmp_path: Path) -> None:
    document = second(
        _rooms_x={"publish": {"message": {"payload": ROOM}}, "subscribe": {"message": {"payload": ROOM}}},
        _news={"subscribe": {"operationId": "hearNews", "message": {"payload": ROOM}}},
        _log={"publish": {"operationId": "log", "message": {"payload": ROOM}}},
    )
    found = {name: method.shape for name, method in methods(loaded(tmp_path, document)).items()}
    assert found == {
        "PublishRoomsX": "unary",
        "SubscribeRoomsX": "server stream",
        "RoomsX": "bidi",
        "HearNews": "server stream",
        "Log": "unary",
    }


def test_version_2_lists_messages_and_servers_its_own_way(tmp_path: Path) -> None:
    message = {"oneOf": [{"name": "joined", "payload": ROOM}, {"$ref": "#/components/messages/Left"}]}
    document = second(chat={"subscribe": {"operationId": "hear", "message": message}, "servers": ["main"]})
    document["servers"] = {
        "main": {
            "url": "wss://example.com/{stage}/v2/",
            "protocol": "wss",
            "variables": {"stage": {"default": "prod"}},
        }
    }
    document["components"] = {
        "messages": {
            "Left": {"payload": {"type": "object", "required": ["who"], "properties": {"who": {"type": "string"}}}}
        }
    }
    hear = methods(loaded(tmp_path, document))["Hear"]
    assert binding(hear).base_path == "/prod/v2"
    assert "left" in hear.output.fields


def test_x_protogw_says_what_the_document_cannot(tmp_path: Path) -> None:
    says = {"name": "Ask", "shape": "server_stream", "reply": ["answer"], "end": {"type": "done"}, "sockets": "shared"}
    document = second(
        ask={
            "publish": {"x-protogw": says, "message": {"name": "question", "payload": ROOM}},
            "subscribe": {
                "message": {
                    "oneOf": [
                        {"name": "answer", "payload": {"type": "object", "properties": {"type": {"const": "a"}}}},
                        {"name": "beat", "payload": {"type": "object", "properties": {"type": {"const": "b"}}}},
                    ]
                }
            },
        }
    )
    ask = methods(loaded(tmp_path, document))["Ask"]
    assert ask.shape == "server stream"
    assert binding(ask).options == {"end": {"type": "done"}, "sockets": "shared"}
    assert len(binding(ask).expected) == 1


def test_channels_of_one_address_are_one_socket(tmp_path: Path) -> None:
    document = {
        "asyncapi": "3.0.0",
        "channels": {
            "ping": {"address": "/", "messages": {"ping": {"payload": ROOM}}},
            "pong": {"address": "/", "messages": {"pong": {"payload": ROOM}}},
            "other": {"address": "/other", "messages": {"late": {"payload": ROOM}}},
        },
        "operations": {
            "here": {
                "action": "receive",
                "channel": {"$ref": "#/channels/ping"},
                "reply": {"channel": {"$ref": "#/channels/pong"}},
            },
            "elsewhere": {
                "action": "receive",
                "channel": {"$ref": "#/channels/ping"},
                "reply": {"channel": {"$ref": "#/channels/other"}},
            },
        },
    }
    found = methods(loaded(tmp_path, document))
    assert binding(found["Here"]).answered
    assert not binding(found["Elsewhere"]).answered


def test_a_channel_whose_directions_are_not_said_goes_both_ways(tmp_path: Path) -> None:
    document = {"asyncapi": "3.0.0", "channels": {"chat": {"address": "chat", "messages": {"m": {"payload": ROOM}}}}}
    assert methods(loaded(tmp_path, document))["Chat"].shape == "bidi"


def test_messages_may_be_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "messages.yaml").write_text(
        yaml.safe_dump({"a": {"payload": {"$ref": "schemas.yaml#/A"}}, "b": {"payload": {"$ref": "schemas.yaml#/B"}}})
    )
    schemas = {
        name: {"type": "object", "required": ["k"], "properties": {"k": {"const": name}, name: {"type": "string"}}}
        for name in "AB"
    }
    (tmp_path / "parts" / "schemas.yaml").write_text(yaml.safe_dump(schemas))
    both = {"oneOf": [{"$ref": "parts/messages.yaml#/a"}, {"$ref": "parts/messages.yaml#/b"}]}
    document = second(x={"subscribe": {"operationId": "hear", "message": both}})
    output = methods(loaded(tmp_path, document))["Hear"].output
    assert output.codec.to_json(output.codec.from_json(b'{"B":"b","k":"B"}')) == b'{"B":"b","k":"B"}'
    assert len(output.fields) == 2


def test_a_payload_that_nothing_is_said_of_is_anything(tmp_path: Path) -> None:
    output = methods(loaded(tmp_path, second(x={"subscribe": {"operationId": "hear", "message": {}}})))["Hear"].output
    for said in (b'{"a":[1,null]}', b"[1]", b'"x"', b"true"):
        assert output.codec.to_json(output.codec.from_json(said)) == said


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"asyncapi": "1.2.0"}, r"asyncapi\.yaml:1: asyncapi: '1\.2\.0' is not a version of AsyncAPI that is read"),
        ({"asyncapi": 3}, "3 is not a version"),
        ({"asyncapi": "3.0.0", "info": {}}, "describes no channel with a message on it"),
        ({"asyncapi": "2.6.0", "channels": [1]}, "describes no channel"),
        (second(x={"subscribe": {"message": {"$ref": "#/nowhere"}}}), "leads nowhere"),
        (second(x={"subscribe": {"message": {"$ref": "https://example.com/a.yaml"}}}), "is on the network"),
        (second(x={"subscribe": {"message": {"$ref": "../a.yaml"}}}), "is outside of"),
        (second(x={"$ref": "#/channels/x"}), "leads to itself"),
        (
            second(
                x={
                    "subscribe": {
                        "message": {"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "payload": {}}
                    }
                }
            ),
            "only JSON Schema is read",
        ),
        (second(x={"subscribe": {"message": {"contentType": "image/png", "payload": {}}}}), "only JSON is read"),
        (second(x={"publish": {"x-protogw": {"shape": "both"}, "message": {}}}), "x-protogw.shape is 'both'"),
        (second(x={"publish": {"x-protogw": {"reply": ["no"]}, "message": {}}}), "messages of the channel: none"),
        (second(x={"publish": {"x-protogw": [], "message": {}}}), "x-protogw: is no mapping"),
        ({"asyncapi": "3.0.0", "operations": {"a": {"action": "do"}}}, "its action is 'do'"),
        ({"asyncapi": "3.0.0", "operations": {"a": {"action": "send"}}}, "names no channel"),
        (
            {"asyncapi": "3.0.0", "channels": {"a": {"address": "https://example.com/a", "messages": {"m": {}}}}},
            "is a URL",
        ),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, document: dict[str, Any], message: str) -> None:
    said = fault(tmp_path, document)
    assert re.search(message, said), said
    assert said.startswith(f"{tmp_path}/asyncapi.yaml")
