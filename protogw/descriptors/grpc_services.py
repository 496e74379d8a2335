"""gRPC's own services, reflection (v1 and v1alpha) and health, which the gateway both calls and answers."""

from __future__ import annotations

import functools

from google.protobuf import descriptor_pb2, text_format
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protogw.descriptors.from_proto import schema_of
from protogw.descriptors.model import Schema

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
HEALTH = "grpc.health.v1.Health"


@functools.cache
def grpc_services() -> Schema:
    """Reflection and health. v1 of reflection is v1alpha under another name, its messages the same on the wire."""
    alpha = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    stable = descriptor_pb2.FileDescriptorProto()
    text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), stable)
    health = descriptor_pb2.FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    return schema_of([alpha, stable, health], hide=())
