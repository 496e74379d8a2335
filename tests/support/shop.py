"""The schema of shop.proto and its message classes, kept out of the default pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from protogw.call import Call, Encoding, Metadata, Payload
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Method
from protogw.wire.http import Peer

SCHEMA = load([Path(__file__).with_name("shop.proto")])
METHODS = SCHEMA.services["shop.v1.Shop"].methods

_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.descriptor_set).file:
    _POOL.Add(_file)


def message(name: str, /, **fields: Any) -> Any:
    """A message of the shop, or of any type that it imports."""
    full = name if "." in name else f"shop.v1.{name}"
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full))(**fields)


def parse(name: str, data: bytes) -> Any:
    found = message(name)
    found.ParseFromString(data)
    return found


def payload(method: Method, **fields: Any) -> Payload:
    """A request message of this method, as a gRPC client sends it."""
    return Payload(message(method.input.name, **fields).SerializeToString(), Encoding.PROTO, method.input.codec)


def call(name: str, /, *, metadata: tuple[tuple[bytes, bytes], ...] = (), **fields: Any) -> Call:
    """A call of a method that takes one message."""
    method = METHODS[name]
    return Call(
        method,
        Metadata(metadata),
        front_end="test",
        peer=Peer("192.0.2.7", 50000),
        started=0.0,
        payload=payload(method, **fields),
    )
