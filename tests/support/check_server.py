"""An authorization service on grpcio: envoy.service.auth.v3.Authorization/Check, answering as it is told to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from protogw.policies import ext_authz_pb2

CHECK = "/envoy.service.auth.v3.Authorization/Check"


class CheckServer:
    """`answer` makes an answer of each request; `asked` keeps the requests."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], Any] = lambda request: ext_authz_pb2.CheckResponse()
        self.asked: list[Any] = []
        self.hang = threading.Event()
        """While it is set, nothing is answered."""
        self.arrived = threading.Event()
        """Something came while it hangs."""
        self.cancelled = threading.Event()
        self._gone = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def check(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.hang.is_set():
            context.add_callback(self.cancelled.set)
            self.arrived.set()
            self._gone.wait(20)
        return self.answer(request)

    def stop(self) -> None:
        self._gone.set()
        self._server.stop(0).wait(10)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: CheckServer) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        if details.method != CHECK:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._server.check,
            request_deserializer=ext_authz_pb2.CheckRequest.FromString,
            response_serializer=ext_authz_pb2.CheckResponse.SerializeToString,
        )


@contextlib.contextmanager
def check_server() -> Iterator[CheckServer]:
    made = CheckServer()
    try:
        yield made
    finally:
        made.stop()


def denied(status: int, text: str, **fields: str) -> Any:
    """An answer that refuses."""
    made = ext_authz_pb2.CheckResponse()
    made.status.code = 7
    made.denied_response.status.code = status
    made.denied_response.body = text
    for name, value in fields.items():
        made.denied_response.headers.add().header.MergeFrom(
            ext_authz_pb2.HeaderValue(key=name.replace("_", "-"), value=value)
        )
    return made


def allowed(**fields: str) -> Any:
    """An answer that lets through, with fields for the service behind."""
    made = ext_authz_pb2.CheckResponse()
    made.ok_response.SetInParent()
    for name, value in fields.items():
        made.ok_response.headers.add().header.MergeFrom(
            ext_authz_pb2.HeaderValue(key=name.replace("_", "-"), value=value)
        )
    return made
