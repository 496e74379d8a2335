"""Two versions of one service, the first a REST service and the second a gRPC one, and pools that answer for either."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Method, Schema
from protogw.errors import OK, Status
from protogw.wire.http import Peer
from tests.support.openapi import document, schema_of

PROTO = """
syntax = "proto3";
package shop.v2;
message GetItemRequest { string id = 1; }
message Item { string id = 4; int64 price = 7; repeated string tags = 2; double weight = 9; string made_at = 10; }
service Shop { rpc GetItem(GetItemRequest) returns (Item); rpc Added(Item) returns (Item); }
"""

_ITEM = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "price": {"type": "integer", "format": "int64"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "weight": {"type": "number"},
        "made_at": {"type": "string"},
        "old": {"type": "string"},
    },
}
_GET = {
    "operationId": "getItem",
    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    "responses": {
        "200": {"description": "", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}
    },
}
OPENAPI = document({"/v1/items/{id}": {"get": _GET}}, {"Item": _ITEM})

OLD = schema_of(OPENAPI)
GET: Method = OLD.services["shop.Shop"].methods["GetItem"]
NAMES = {"shop.Shop/*": "shop.v2.Shop/*"}
"""What the first version's methods are called by the second."""


def compiled(text: str) -> Schema:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "version.proto")
        path.write_text(text)
        return load([path])


NEW = compiled(PROTO)
NEW_GET = NEW.services["shop.v2.Shop"].methods["GetItem"]

Answer = Callable[[Call], Awaitable[Reply]]


class Pool:
    """A pool that keeps the calls it is sent, and answers as `answer` says."""

    def __init__(self, name: str, answer: Answer, kind: str = "rest") -> None:
        self.name = name
        self.kind = kind
        self.reachable = True
        self.answer = answer
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        call.upstream = self.name
        return await self.answer(call)


def answering(status: Status = OK, **fields: Any) -> Answer:
    """Answers with a message of the called method's own type."""

    async def answer(call: Call) -> Reply:
        if status is not OK or call.method is None:
            return Reply(status=status)
        codec = call.method.output.codec
        return Reply(payload=Payload(codec.canonical.from_json(json.dumps(fields).encode()), Encoding.PROTO, codec))

    return answer


def call(method: Method | None = GET, /, *headers: tuple[bytes, bytes], **fields: Any) -> Call:
    payload = Payload(b"", Encoding.RAW)
    if method is not None:
        codec = method.input.codec
        payload = Payload(codec.canonical.from_json(json.dumps(fields).encode()), Encoding.PROTO, codec)
    return Call(method, Metadata(headers), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0, payload=payload)


def told(payload: Payload | None) -> Any:
    """What a message says."""
    assert payload is not None
    assert payload.codec is not None
    return json.loads(payload.codec.canonical.to_json(payload.proto()))
