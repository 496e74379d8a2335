"""The service behind: it trusts `parent`, which the gateway's policy vouches for."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).with_name("items.proto")
ITEMS = {"tenants/red": ["apple", "cherry"], "tenants/blue": ["plum"]}


def messages() -> tuple[Any, Any]:
    """The request and reply classes, compiled here so that nothing generated need be kept."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "items.pb")
        includes = (PROTO.parent, files("grpc_tools") / "_proto", Path(annotations_pb2.__file__).parents[2])
        protoc.main(["protoc", *(f"-I{one}" for one in includes), "--include_imports", f"-o{out}", PROTO.name])
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.Add(file)
    found = (pool.FindMessageTypeByName(f"items.v1.{name}") for name in ("ListRequest", "ListReply"))
    request, reply = (message_factory.GetMessageClass(one) for one in found)
    return request, reply


def main(port: int) -> None:
    request, reply = messages()

    def items(message: Any, _: grpc.ServicerContext) -> Any:
        return reply(items=ITEMS.get(message.parent, []))

    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(items, request.FromString, reply.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("items.v1.Items", {"List": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50051)
