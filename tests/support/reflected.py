"""A gRPC client that is built from nothing but what reflection tells."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Reflected:
    """A gRPC client that knows nothing but what reflection tells it."""

    def __init__(self, channel: grpc.Channel, service: str = "shop.Shop") -> None:
        self._channel = channel
        self._service = service
        self._pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def call(self, name: str, request: dict[str, Any], **more: Any) -> Any:
        method = self._pool.FindServiceByName(self._service).FindMethodByName(name)
        asked = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        shape = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        stub = shape(
            f"/{self._service}/{name}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answer.FromString,
        )
        found = stub(json_format.ParseDict(request, asked()), timeout=10, **more)
        return [as_dict(one) for one in found] if method.server_streaming else as_dict(found)


def as_dict(message: Any) -> Any:
    return json_format.MessageToDict(message)
