"""from_reflection against a real grpcio server, and against services that answer nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent import futures
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from protogw_translators.to_grpc import ToGrpc

from protogw.balancers.round_robin import RoundRobin
from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.from_reflection import fetch
from protogw.descriptors.model import SchemaError
from protogw.errors import OK, Code, NotOffered, Status, Unreachable
from protogw.net.http2_client import Http2Connector
from protogw.net.limits import Limits
from protogw.pools.pool import Address, Pool

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse
Send = Callable[[Call], Awaitable[Reply]]


@pytest.fixture
async def grpcio() -> AsyncIterator[Send]:
    """The `send` of a pool with a grpcio server in it."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    reflection.enable_server_reflection(
        ("google.longrunning.Operations", "grpc.health.v1.Health", reflection.SERVICE_NAME), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pool = Pool(
        "grpcio",
        [Address(host="127.0.0.1", port=port)],
        ToGrpc(f"127.0.0.1:{port}"),
        Http2Connector(Limits()),
        RoundRobin(),
        max_connections=1,
        shared=True,
    )
    yield pool.send
    pool.close()
    server.stop(None).wait()


async def test_a_grpcio_server_is_read_over_v1alpha(grpcio: Send) -> None:
    from google.longrunning import operations_proto_pb2  # noqa: F401  puts the service into the server's pool

    schema = await fetch(grpcio)
    assert list(schema.services) == ["google.longrunning.Operations"]
    wait = schema.services["google.longrunning.Operations"].methods["GetOperation"]
    assert wait.http[0].template == "/v1/{name=operations/**}"
    assert (await fetch(grpcio)).digest == schema.digest


# --- services of our own making ---------------------------------------------------------------------------------------


def scripted(answer: Callable[[Any], Sequence[Any] | None], *, versions: str = "v1", status: Status = OK) -> Send:
    """A service whose stream answers each question with what `answer` says; None ends the stream with `status`."""

    async def send(call: Call) -> Reply:
        assert call.method is not None
        asked = call.payloads
        assert asked is not None
        if f".{versions}." not in call.method.service:
            return Reply(status=Status(Code.UNIMPLEMENTED, "unknown service"))
        reply = Reply()

        async def payloads() -> AsyncIterator[Payload]:
            async for question in asked:
                answers = answer(Request.FromString(question.data))
                if answers is None:
                    reply.status = status
                    return
                for one in answers:
                    data = one if isinstance(one, bytes) else one.SerializeToString()
                    yield Payload(data, Encoding.PROTO)

        reply.payloads = payloads()
        return reply

    return send


def listing(*names: str) -> Any:
    services = [reflection_pb2.ServiceResponse(name=name) for name in names]
    return Response(list_services_response=reflection_pb2.ListServiceResponse(service=services))


def sends(*files: descriptor_pb2.FileDescriptorProto | bytes) -> Any:
    data = [file if isinstance(file, bytes) else file.SerializeToString() for file in files]
    return Response(file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=data))


def refuses(message: str) -> Any:
    return Response(error_response=reflection_pb2.ErrorResponse(error_code=5, error_message=message))


def file(name: str, package: str, *imports: str, service: str = "") -> descriptor_pb2.FileDescriptorProto:
    found = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)
    if service:
        found.message_type.add(name="M")
        method = {"name": "Do", "input_type": f".{package}.M", "output_type": f".{package}.M"}
        found.service.add(name=service).method.add(**method)
    return found


def service(
    files: dict[str, descriptor_pb2.FileDescriptorProto | bytes], *names: str
) -> Callable[[Any], Sequence[Any]]:
    """Answers with the file "main" for any symbol and by name for any import."""

    def answer(question: Any) -> Sequence[Any]:
        match question.WhichOneof("message_request"):
            case "list_services":
                return [listing(*(names or ("a.A",)))]
            case "file_containing_symbol":
                return [sends(files["main"])]
            case _:
                found = files.get(question.file_by_filename)
                return [refuses("not found") if found is None else sends(found)]

    return answer


async def test_a_schema_that_has_not_changed_is_not_built_again() -> None:
    send = scripted(service({"main": file("a.proto", "a", service="A")}))
    schema = await fetch(send)
    assert await fetch(send, known=schema) is schema
    other = scripted(service({"main": file("a.proto", "a", service="B")}))
    assert await fetch(other, known=schema) is not schema


async def test_imports_that_do_not_come_along_are_asked_for() -> None:
    files = {"main": file("a.proto", "a", "b.proto", service="A"), "b.proto": file("b.proto", "b", "c.proto")}
    schema = await fetch(scripted(service({**files, "c.proto": file("c.proto", "c")})))
    assert list(schema.services) == ["a.A"]


@pytest.mark.parametrize("versions", ["v1", "v1alpha"])
async def test_either_version_of_reflection_will_do(versions: str) -> None:
    answer = service({"main": file("a.proto", "a", service="A")})
    assert list((await fetch(scripted(answer, versions=versions))).services) == ["a.A"]


async def test_a_bundled_import_that_the_service_lacks_is_taken_from_the_bundle() -> None:
    answer = service({"main": file("a.proto", "a", "google/protobuf/timestamp.proto", service="A")})
    assert "google.protobuf.Timestamp" in (await fetch(scripted(answer))).types


async def test_health_and_reflection_are_not_offered() -> None:
    names = ("a.A", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection")
    answer = service({"main": file("a.proto", "a", service="A")}, *names)
    assert list((await fetch(scripted(answer))).services) == ["a.A"]


async def test_a_service_that_it_cannot_describe_does_not_hide_the_others() -> None:
    base = service({"main": file("a.proto", "a", service="A")}, "gone.Gone", "a.A")

    def answer(question: Any) -> Sequence[Any]:
        return [refuses("gone")] if question.file_containing_symbol == "gone.Gone" else base(question)

    assert list((await fetch(scripted(answer))).services) == ["a.A"]


async def failure(answer: Callable[[Any], Sequence[Any] | None], **more: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        await fetch(scripted(answer, **more), timeout_s=0.2)
    return str(caught.value)


async def test_no_reflection_at_all_says_so() -> None:
    assert "neither grpc.reflection.v1 nor v1alpha" in await failure(lambda _: None, versions="v9")


async def test_unimplemented_may_come_as_an_error_or_at_the_end_of_the_stream() -> None:
    async def raising(call: Call) -> Reply:
        raise NotOffered("no")

    with pytest.raises(SchemaError, match="neither"):
        await fetch(raising)
    assert "neither" in await failure(lambda _: None, status=Status(Code.UNIMPLEMENTED))


async def test_a_service_that_cannot_be_reached_is_not_a_bad_schema() -> None:
    async def send(call: Call) -> Reply:
        raise Unreachable("connection refused")

    with pytest.raises(Unreachable):
        await fetch(send)


async def test_a_stream_that_ends_early_is_told_with_its_status() -> None:
    assert await failure(lambda _: None) == "reflection: the stream ended before the answer"
    denied = Status(Code.PERMISSION_DENIED, "not you")
    assert await failure(lambda _: None, status=denied) == "reflection: PERMISSION_DENIED: not you"


async def test_a_service_that_never_answers_is_given_up() -> None:
    assert "within 0.2 s" in await failure(lambda _: [])


async def test_a_missing_import_is_named() -> None:
    said = await failure(service({"main": file("a.proto", "a", "b.proto", service="A")}))
    assert said == "reflection: b.proto, imported by a.proto: not found"


async def test_an_import_cycle_is_refused() -> None:
    cycle = {"main": file("a.proto", "a", "b.proto", service="A"), "b.proto": file("b.proto", "b", "a.proto")}
    assert "import cycle" in await failure(service({**cycle, "a.proto": cycle["main"]}))


async def test_another_file_than_the_one_asked_for_is_refused() -> None:
    wrong = {"main": file("a.proto", "a", "b.proto", service="A"), "b.proto": file("c.proto", "c")}
    assert "was sent another file" in await failure(service(wrong))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([b"\xff\xff"], "not protobuf"),
        ([sends(b"\xff\xff")], "not one"),
        ([sends(file("", "a"))], "without a name"),
        ([refuses("gone")], "a.A: gone"),
    ],
)
async def test_bad_answers_are_refused(answer: Sequence[Any], said: str) -> None:
    def answers(question: Any) -> Sequence[Any]:
        return [listing("a.A")] if question.WhichOneof("message_request") == "list_services" else answer

    assert said in await failure(answers)


async def test_a_service_without_services_is_refused() -> None:
    assert "lists no services" in await failure(lambda _: [listing()])


async def test_imports_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.descriptors.from_reflection.MAX_FILES", 50)

    def answer(question: Any) -> Sequence[Any]:
        match question.WhichOneof("message_request"):
            case "list_services":
                return [listing("a.A")]
            case "file_containing_symbol":
                return [sends(file("f0.proto", "a", "f1.proto", service="A"))]
            case _:
                number = int(question.file_by_filename[1:-6])
                return [sends(file(f"f{number}.proto", "a", f"f{number + 1}.proto"))]

    assert "more than 50 files" in await failure(answer)


async def test_bytes_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.descriptors.from_reflection.MAX_BYTES", 1000)
    assert "more than 1000 bytes" in await failure(lambda _: [listing("x" * 2000)])


async def test_answers_that_nobody_asked_for_do_not_hold_it_up() -> None:
    base = service({"main": file("a.proto", "a", service="A")})

    def endless(question: Any) -> Sequence[Any]:
        once = question.WhichOneof("message_request") == "list_services"
        return [*base(question)] * (1 if once else 1000)

    assert list((await fetch(scripted(endless))).services) == ["a.A"]


async def test_the_stream_is_closed_whatever_happens() -> None:
    closed = asyncio.Event()
    base = scripted(lambda _: [b"\xff\xff"])

    async def send(call: Call) -> Reply:
        reply = await base(call)
        inner = reply.payloads
        assert inner is not None

        async def payloads() -> AsyncIterator[Payload]:
            try:
                async for one in inner:
                    yield one
            finally:
                closed.set()

        reply.payloads = payloads()
        return reply

    with pytest.raises(SchemaError):
        await fetch(send)
    assert closed.is_set()
