"""The kit service on grpcio, on its own threads: does as the request's plan says, and counts what it saw."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection

from tests.support import kit

LEAD = (("x-lead", "a"), ("x-lead", "b"), ("x-lead-bin", b"\x00\xff"))
TRAIL = (("x-trail", "t"), ("x-trail-bin", b"\xff\x00"))
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Counts:
    """What a backend saw; `wait` until it has seen enough."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.started = 0
        self.ended = 0
        self.cancelled = 0
        self.received = 0
        """Request messages, of all calls."""
        self.sent = 0
        """Reply messages, of all calls."""

    @property
    def open(self) -> int:
        return self.started - self.ended

    def add(self, **increments: int) -> None:
        with self._changed:
            for name, increment in increments.items():
                setattr(self, name, getattr(self, name) + increment)
            self._changed.notify_all()

    def wait(self, condition: Callable[[Counts], bool], timeout: float = 20.0) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise AssertionError(f"the backend did not see it in {timeout} s: {self!r}")

    def __repr__(self) -> str:
        counts = ("started", "ended", "cancelled", "received", "sent")
        return f"<Counts {', '.join(f'{name} {getattr(self, name)}' for name in counts)}>"


class Cancelled(Exception):
    """The caller is gone."""


class Work:
    """One call as the backend sees it: its end is noticed, its plan carried out."""

    def __init__(self, counts: Counts, context: grpc.ServicerContext) -> None:
        self._counts = counts
        self._context = context
        self._over = threading.Event()
        self._finished = False
        counts.add(started=1)
        if not context.add_callback(self._ended):
            self._ended()

    def _ended(self) -> None:
        self._counts.add(ended=1, cancelled=0 if self._finished else 1)
        self._over.set()

    def lead(self) -> None:
        self._context.send_initial_metadata(LEAD)
        self._context.set_trailing_metadata(TRAIL)

    def pause(self, plan: Any) -> None:
        if plan.hang:
            self._over.wait(60)
            raise Cancelled
        if plan.delay_ms and self._over.wait(plan.delay_ms / 1000):
            raise Cancelled

    def finish(self, plan: Any) -> None:
        """End as the plan says."""
        if not self._context.is_active():
            raise Cancelled
        self._finished = True
        if not plan.fail_code:
            return
        status = status_pb2.Status(code=plan.fail_code, message=plan.fail_message)
        packed = any_pb2.Any()
        violation = error_details_pb2.BadRequest.FieldViolation(field="plan.fail_code", description="as you wished")
        packed.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        status.details.append(packed)
        details = ("grpc-status-details-bin", status.SerializeToString())
        self._context.set_trailing_metadata((*TRAIL, details))
        self._context.abort(CODES[plan.fail_code], plan.fail_message)

    def answer(self, request: Any, index: int = 0) -> Any:
        self._counts.add(sent=1)
        made = kit.Message()
        made.CopyFrom(request)
        made.ClearField("plan")
        made.index = index
        if request.plan.size:
            made.data = bytes(request.plan.size)
        for name, value in self._context.invocation_metadata():
            text = value.hex() if isinstance(value, bytes) else value
            made.seen[name] = f"{made.seen[name]}, {text}" if name in made.seen else text
        left = self._context.time_remaining()
        if left is not None and left < 1e6:
            made.seen["deadline"] = f"{left:.3f}"
        return made


class Echo:
    """kit.v1.Echo."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        work = Work(self._counts, context)
        self._counts.add(received=1)
        with contextlib.suppress(Cancelled):
            work.pause(request.plan)
            work.lead()
            work.finish(request.plan)
        return work.answer(request)

    def down(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        work = Work(self._counts, context)
        self._counts.add(received=1)
        work.lead()
        with contextlib.suppress(Cancelled):
            for index in range(request.plan.count):
                if index or request.plan.count == 1:
                    work.pause(request.plan)
                yield work.answer(request, index)
            if request.plan.hang:
                work.pause(request.plan)
            work.finish(request.plan)

    def up(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        work = Work(self._counts, context)
        total, last, texts = 0, kit.Message(), []
        for request in requests:
            self._counts.add(received=1)
            total, last = total + request.number, request
            texts.append(request.text)
            if request.plan.fail_code:
                break
        with contextlib.suppress(Cancelled):
            work.pause(last.plan)
            work.lead()
            work.finish(last.plan)
        made = work.answer(last)
        made.number = total
        made.tags[:] = texts
        return made

    def chat(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        work = Work(self._counts, context)
        work.lead()
        last = kit.Message()
        with contextlib.suppress(Cancelled):
            for index, request in enumerate(requests):
                self._counts.add(received=1)
                last = request
                work.pause(request.plan)
                if request.plan.fail_code:
                    break
                yield work.answer(request, index)
            work.finish(last.plan)


def _handlers(echo: Echo) -> grpc.GenericRpcHandler:
    codec = {"request_deserializer": kit.Message.FromString, "response_serializer": kit.Message.SerializeToString}
    return grpc.method_handlers_generic_handler(
        kit.SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(echo.unary, **codec),
            "Look": grpc.unary_unary_rpc_method_handler(echo.unary, **codec),
            "Down": grpc.unary_stream_rpc_method_handler(echo.down, **codec),
            "Up": grpc.stream_unary_rpc_method_handler(echo.up, **codec),
            "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, **codec),
        },
    )


class Backend:
    """A running kit service."""

    def __init__(self, port: int = 0, *, compression: grpc.Compression | None = None, threads: int = 32) -> None:
        self.counts = Counts()
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.max_send_message_length", 64 << 20),
        )
        self._server = grpc.server(ThreadPoolExecutor(threads, "kit"), options=options, compression=compression)
        self._server.add_generic_rpc_handlers((_handlers(Echo(self.counts)),))
        reflection.enable_server_reflection((kit.SERVICE, reflection.SERVICE_NAME), self._server, kit.POOL)
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@contextlib.contextmanager
def backend(port: int = 0, **options: Any) -> Iterator[Backend]:
    made = Backend(port, **options)
    try:
        yield made
    finally:
        made.stop()
