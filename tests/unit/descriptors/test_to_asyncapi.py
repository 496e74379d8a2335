"""What is offered to sockets, as an AsyncAPI document. The AsyncAPI parser has its say in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from protogw.descriptors.about import About
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.descriptors.to_asyncapi import Channel, Manner, Said, Sessions, asyncapi
from protogw.wire.path_template import parse

CHAT = """
syntax = "proto3";
package chat.v1;
import "google/api/httpbody.proto";
// Rooms to talk in.
service Chat {
  // Talks. Everyone hears it.
  rpc Talk(stream Line) returns (stream Line);
  rpc Listen(Room) returns (stream Line);
  rpc Ask(Line) returns (Line) { option deprecated = true; }
  rpc Raw(google.api.HttpBody) returns (google.api.HttpBody);
}
message Room { string name = 1; int32 since = 2; }
message Line {
  // Who.
  Room room = 1;
  string text = 2;
}
"""

STATUS = Said(name="Status", schema={"type": "object", "properties": {"code": {"type": "integer"}}}, doc="The end")
NO_MORE = Said(name="NoMore", schema={"const": ""}, doc="No more", content_type="text/plain")


def described(folder: Path, manner: Manner, **about: Any) -> dict[str, Any]:
    (folder / "chat.proto").write_text(CHAT)
    catalog = Catalog.merge([load([folder / "chat.proto"])])
    methods = catalog.services["chat.v1.Chat"].methods
    channels = [
        *(
            Channel(method=method, template=parse(method.path.decode()), streams=method.client_streaming)
            for method in methods.values()
        ),
        Channel(method=methods["Listen"], template=parse("/rooms/{name}"), starts=True),
        Channel(method=methods["Talk"], template=parse("/talk/{room.name=rooms/*}"), streams=True),
    ]
    facts = About(title="Chat", version="1", services=frozenset(catalog.services), **about)
    document = asyncapi(catalog, channels, manner, facts)
    assert isinstance(document.content, dict)
    return document.content


def test_every_path_is_a_channel(tmp_path: Path) -> None:
    document = described(tmp_path, Manner())
    assert {name: channel["address"] for name, channel in document["channels"].items()} == {
        "chat.v1.Chat.Talk": "/chat.v1.Chat/Talk",
        "chat.v1.Chat.Listen": "/chat.v1.Chat/Listen",
        "chat.v1.Chat.Ask": "/chat.v1.Chat/Ask",
        "chat.v1.Chat.Raw": "/chat.v1.Chat/Raw",
        "chat.v1.Chat.Listen-2": "/rooms/{name}",
        "chat.v1.Chat.Talk-2": "/talk/rooms/{room_id}",
    }
    assert document["channels"]["chat.v1.Chat.Listen-2"]["parameters"] == {"name": {}}
    assert document["channels"]["chat.v1.Chat.Talk"]["summary"] == "Talks"


def test_shapes_are_operations_with_and_without_a_reply(tmp_path: Path) -> None:
    operations = described(tmp_path, Manner())["operations"]
    assert sorted(operations) == [
        "chat.v1.Chat.Ask.receive",
        "chat.v1.Chat.Listen-2.send",
        "chat.v1.Chat.Listen.receive",
        "chat.v1.Chat.Raw.receive",
        "chat.v1.Chat.Talk-2.receive",
        "chat.v1.Chat.Talk-2.send",
        "chat.v1.Chat.Talk.receive",
        "chat.v1.Chat.Talk.send",
    ]
    channel = "#/channels/chat.v1.Chat.Ask"
    assert operations["chat.v1.Chat.Ask.receive"] == {
        "action": "receive",
        "channel": {"$ref": channel},
        "description": "Deprecated.",
        "messages": [{"$ref": f"{channel}/messages/request"}],
        "reply": {"channel": {"$ref": channel}, "messages": [{"$ref": f"{channel}/messages/reply"}]},
    }
    assert "reply" not in operations["chat.v1.Chat.Talk.receive"]


def test_messages_are_schemas_that_nothing_stands_beside(tmp_path: Path) -> None:
    document = described(tmp_path, Manner())
    request = document["channels"]["chat.v1.Chat.Ask"]["messages"]["request"]
    assert request["payload"] == {"$ref": "#/components/schemas/chat.v1.Line"}
    line = document["components"]["schemas"]["chat.v1.Line"]
    assert line["properties"]["room"] == {
        "allOf": [{"$ref": "#/components/schemas/chat.v1.Room"}],
        "description": "Who.",
    }
    schema = {"components": document["components"], **request["payload"]}
    Draft7Validator({"components": document["components"], "allOf": [schema]}).validate(
        request["examples"][0]["payload"]
    )
    raw = document["channels"]["chat.v1.Chat.Raw"]["messages"]["request"]
    assert raw == {"name": "google.api.HttpBody", "contentType": "application/octet-stream", "payload": {}}


def test_what_opens_a_socket_is_its_binding(tmp_path: Path) -> None:
    document = described(tmp_path, Manner(subprotocols=("a.json", "a.proto")))
    binding = document["channels"]["chat.v1.Chat.Listen-2"]["bindings"]["ws"]
    assert binding["query"] == {"type": "object", "properties": {"since": {"type": "integer", "format": "int32"}}}
    assert binding["headers"]["properties"]["Sec-WebSocket-Protocol"]["enum"] == ["a.json", "a.proto"]


def test_what_is_said_beside_messages_is_told(tmp_path: Path) -> None:
    document = described(tmp_path, Manner(no_more=NO_MORE, status=STATUS))
    assert document["components"]["messages"]["Status"]["payload"] == STATUS.schema
    for channel in document["channels"].values():
        assert channel["messages"]["status"] == {"$ref": "#/components/messages/Status"}
    told = {
        name: [one["$ref"].rpartition("/")[2] for one in operation["messages"]]
        for name, operation in document["operations"].items()
    }
    assert told["chat.v1.Chat.Talk.receive"] == ["request", "noMore"]
    assert told["chat.v1.Chat.Talk.send"] == ["reply", "status"]
    assert told["chat.v1.Chat.Ask.receive"] == ["request"]


def test_sessions_are_a_channel_of_their_own(tmp_path: Path) -> None:
    document = described(tmp_path, Manner(sessions=Sessions(path="/calls", subprotocols=("c.v1",), doc="Many calls")))
    sessions = document["channels"]["sessions"]
    assert (sessions["address"], sessions["summary"]) == ("/calls", "Many calls")
    assert document["operations"]["sessions.send"]["channel"] == {"$ref": "#/channels/sessions"}


def test_servers_are_told_by_host_and_protocol(tmp_path: Path) -> None:
    document = described(tmp_path, Manner(), servers=("https://api.example", "http://127.0.0.1:8080/base"))
    assert document["servers"] == {
        "gateway": {"host": "api.example", "protocol": "wss"},
        "gateway1": {"host": "127.0.0.1:8080", "protocol": "ws", "pathname": "/base"},
    }
    assert "servers" not in described(tmp_path, Manner())
