"""The hello service: its schema, its messages, and a running one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load

PROTO = Path(__file__).with_name("hello.proto")
SERVICE = "hello.v1.Hello"
SCHEMA = load([PROTO])
CATALOG = Catalog.merge([SCHEMA])
_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.descriptor_set).file:
    _POOL.Add(_file)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


Thing, CountRequest, GetThingRequest = (
    _class(f"hello.v1.{name}") for name in ("Thing", "CountRequest", "GetThingRequest")
)
StringValue, Int32Value, Empty = (_class(f"google.protobuf.{name}") for name in ("StringValue", "Int32Value", "Empty"))
CODES = {code.value[0]: code for code in grpc.StatusCode}


class HelloService:
    """A running hello service; `calls` are the names of the methods that were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.text = "world"
        self.open = 0
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(128), options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def wait_closed(self, seconds: float = 5.0) -> None:
        """Until no stream is open; raises AssertionError after so long."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self.open, seconds), f"{self.open} streams are open"

    def _handlers(self) -> grpc.GenericRpcHandler:
        def unary(name: str, request: Any, reply: Any) -> grpc.RpcMethodHandler:
            def handle(message: Any, context: grpc.ServicerContext) -> Any:
                self.calls.append(name)
                return getattr(self, f"_{name}")(message, context)

            return grpc.unary_unary_rpc_method_handler(handle, request.FromString, reply.SerializeToString)

        methods = {
            "Hello": unary("hello", Empty, StringValue),
            "SetHello": unary("set_hello", StringValue, StringValue),
            "GetThing": unary("get_thing", GetThingRequest, Thing),
            "MakeThing": unary("make_thing", Thing, Thing),
            "DropThing": unary("drop_thing", GetThingRequest, Empty),
            "Count": grpc.unary_stream_rpc_method_handler(
                self._count, CountRequest.FromString, Int32Value.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _hello(self, _request: Any, _context: Any) -> Any:
        return StringValue(value=self.text)

    def _set_hello(self, request: Any, _context: Any) -> Any:
        self.text = request.value
        return StringValue(value=self.text)

    def _get_thing(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.pause_ms:
            self._pause(request.pause_ms, context)
        if request.fail_code:
            context.abort(CODES[request.fail_code], f"no thing {request.id}")
        return Thing(id=request.id, int64_value=2**53 + 1)

    def _make_thing(self, request: Any, _context: Any) -> Any:
        return request

    def _drop_thing(self, _request: Any, _context: Any) -> Any:
        return Empty()

    def _count(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.calls.append("count")
        with self._changed:
            self.open += 1
        context.add_callback(self._closed)
        for number in range(1, request.to + 1):
            if number > 1 and request.pause_ms:
                self._pause(request.pause_ms, context)
            if not context.is_active():
                return
            yield Int32Value(value=number)
        if request.fail_code:
            context.abort(CODES[request.fail_code], "no more")

    def _closed(self) -> None:
        with self._changed:
            self.open -= 1
            self._changed.notify_all()

    @staticmethod
    def _pause(milliseconds: int, context: grpc.ServicerContext) -> None:
        """Wait, but not longer than there is someone who waits for the answer."""
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(milliseconds / 1000)


@contextlib.contextmanager
def hello_service() -> Iterator[HelloService]:
    made = HelloService()
    try:
        yield made
    finally:
        made.stop()
