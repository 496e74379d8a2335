"""Orders, twice: over REST, and over gRPC by a version 2 that forgets a cent in every tenth order (unless FIXED=1)."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).with_name("orders_v2.proto")
FIXED = os.environ.get("FIXED") == "1"


def order(number: int) -> dict[str, Any]:
    lines = [{"article": "apple", "pieces": number % 7 + 1}, {"article": "pear", "pieces": 2}]
    return {"id": str(number), "total_cents": 100 * number + 250, "lines": lines, "made_at": "2026-01-01T00:00:00Z"}


async def version_1(request: web.Request) -> web.Response:
    number = request.match_info["id"]
    if not number.isdecimal():
        return web.json_response({"error": "no such order"}, status=404)
    return web.json_response({**order(int(number)), "served_by": "version 1"})


def messages() -> tuple[Any, Any]:
    """The request and reply classes, compiled here so that nothing generated need be kept."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "orders.pb")
        protoc.main(["protoc", f"-I{PROTO.parent}", f"-I{files('grpc_tools') / '_proto'}", f"-o{out}", PROTO.name])
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.Add(file)
    found = (pool.FindMessageTypeByName(f"orders.v2.{name}") for name in ("GetOrderRequest", "Order"))
    request, reply = (message_factory.GetMessageClass(one) for one in found)
    return request, reply


def version_2(port: int) -> grpc.Server:
    request, reply = messages()

    def get(message: Any, context: grpc.ServicerContext) -> Any:
        if not message.id.isdecimal():
            context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        found = order(int(message.id))
        found["lines"].reverse()  # no order of them was ever promised
        found["made_at"] = "2026-01-01T01:00:00.000+01:00"
        if not FIXED and int(message.id) % 10 == 0:
            found["total_cents"] -= 1
        return reply(**found, served_by="version 2")

    server = grpc.server(ThreadPoolExecutor(8))
    handler = grpc.unary_unary_rpc_method_handler(get, request.FromString, reply.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("orders.v2.Orders", {"GetOrder": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


if __name__ == "__main__":
    running = version_2(int(os.environ.get("V2_PORT", "50052")))
    app = web.Application()
    app.router.add_get("/v1/orders/{id}", version_1)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("V1_PORT", "8001")), print=None)
    running.stop(None)
