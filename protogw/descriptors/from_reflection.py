"""Schemas out of a running gRPC service, by server reflection (grpc/doc/server-reflection.md).

Spoken through the gateway's own calls, so it goes where every other call goes. What the service says is not trusted:
everything is bounded in number, size and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from protogw.call import NO_METADATA, Call, Encoding, Payload, Reply
from protogw.descriptors.from_proto import GATEWAY_OWN, bundled, schema_of
from protogw.descriptors.grpc_services import REFLECTION_V1, REFLECTION_V1ALPHA, grpc_services
from protogw.descriptors.model import Method, Schema, SchemaError
from protogw.errors import Code, GatewayError, Status
from protogw.wire.http import Peer
from protogw.wire.protojson import DEFAULT, JsonOptions

Send: TypeAlias = Callable[[Call], Awaitable[Reply]]

MAX_SERVICES = 10_000
MAX_FILES = 20_000
MAX_BYTES = 16 << 20
TIMEOUT_S = 30.0

_File = descriptor_pb2.FileDescriptorProto
_HERE = Peer("", 0)


async def fetch(
    send: Send, options: JsonOptions = DEFAULT, *, known: Schema | None = None, timeout_s: float = TIMEOUT_S
) -> Schema:
    """Ask a service for its schema, by v1 and, where that is unimplemented, by v1alpha.

    `known`, what it said before with the same options, is returned itself when nothing has changed. Its own health and
    reflection services are left out. Raises SchemaError when it answers nonsense, too much or too slowly, and
    GatewayError when it cannot be reached.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for name in (REFLECTION_V1, REFLECTION_V1ALPHA):
                session = _Session(send, grpc_services().services[name].methods["ServerReflectionInfo"])
                try:
                    files = await session.files()
                    # In a thread: a large schema takes long to build, and calls go on meanwhile.
                    return await asyncio.to_thread(schema_of, list(files.values()), options=options, known=known)
                except _Unimplemented:
                    continue
                finally:
                    await session.close()
    except TimeoutError as error:
        raise SchemaError(f"reflection: no whole schema within {timeout_s:g} s") from error
    raise SchemaError("reflection: the service offers neither grpc.reflection.v1 nor v1alpha")


class _Unimplemented(Exception):
    """This version of reflection is not offered."""


class _Refused(Exception):
    """The service answered a question with an error of its own."""


class _Session:
    """One reflection stream: a question, its answer, the next question."""

    def __init__(self, send: Send, method: Method) -> None:
        self._send = send
        self._method = method
        self._questions: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._answers: AsyncIterator[Payload] | None = None
        self._reply: Reply | None = None
        self._size = 0

    async def files(self) -> dict[str, _File]:
        """Every file that the offered services need, by name."""
        listed = (await self._ask(ServerReflectionRequest(list_services=""))).list_services_response.service
        if len(listed) > MAX_SERVICES:
            raise SchemaError(f"reflection: more than {MAX_SERVICES} services")
        names = list(dict.fromkeys(one.name for one in listed if one.name not in GATEWAY_OWN))
        if not names:
            raise SchemaError("reflection: the service lists no services")
        files: dict[str, _File] = {}
        refused: list[str] = []
        for name in names:
            try:
                await self._learn(ServerReflectionRequest(file_containing_symbol=name), files)
            except _Refused as error:
                refused.append(f"reflection: {name}: {error}")
        if len(refused) == len(names):
            raise SchemaError(*refused)
        await self._complete(files)
        return files

    async def _complete(self, files: dict[str, _File]) -> None:
        """Ask for the imports that came with none of the answers."""
        todo = list(files)
        while todo:
            importer = todo.pop()
            for name in files[importer].dependency:
                if name in files:
                    continue
                before = set(files)
                try:
                    await self._learn(ServerReflectionRequest(file_by_filename=name), files)
                except _Refused as error:
                    if bundled(name) is None:
                        raise SchemaError(f"reflection: {name}, imported by {importer}: {error}") from None
                    continue
                if name not in files:
                    raise SchemaError(
                        f"reflection: asked for {name}, imported by {importer}, and was sent another file"
                    )
                todo.extend(new for new in files if new not in before)

    async def _learn(self, question: ServerReflectionRequest, files: dict[str, _File]) -> None:
        answer = await self._ask(question)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            try:
                file = _File.FromString(data)
            except DecodeError:
                raise SchemaError("reflection: a file descriptor that is not one") from None
            if not file.name:
                raise SchemaError("reflection: a file descriptor without a name")
            files.setdefault(file.name, file)
        if len(files) > MAX_FILES:
            raise SchemaError(f"reflection: more than {MAX_FILES} files")

    async def _ask(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        self._questions.put_nowait(question.SerializeToString())
        if self._reply is None:
            await self._open()
        assert self._answers is not None
        try:
            payload = await anext(self._answers)
        except StopAsyncIteration:
            raise self._ended() from None
        except GatewayError as error:
            if error.status.code is Code.UNIMPLEMENTED:
                raise _Unimplemented from error
            raise
        self._size += len(payload.data)
        if self._size > MAX_BYTES:
            raise SchemaError(f"reflection: more than {MAX_BYTES} bytes")
        try:
            answer = ServerReflectionResponse.FromString(payload.proto())
        except DecodeError:
            raise SchemaError("reflection: an answer that is not protobuf") from None
        if answer.WhichOneof("message_response") == "error_response":
            raise _Refused(answer.error_response.error_message or f"error {answer.error_response.error_code}")
        return answer

    async def _open(self) -> None:
        call = Call(
            self._method,
            NO_METADATA,
            front_end="reflection",
            peer=_HERE,
            started=asyncio.get_running_loop().time(),
            payloads=self._ask_on(),
        )
        try:
            reply = self._reply = await self._send(call)
        except GatewayError as error:
            if error.status.code is Code.UNIMPLEMENTED:
                raise _Unimplemented from error
            raise
        if reply.payloads is None:
            raise self._ended()
        self._answers = reply.payloads

    def _ended(self) -> Exception:
        """What it means that the stream ended while an answer was due."""
        status = self._reply.status if self._reply is not None else Status()
        if status.code is Code.UNIMPLEMENTED:
            return _Unimplemented()
        if status.code is Code.OK:
            return SchemaError("reflection: the stream ended before the answer")
        return SchemaError(f"reflection: {status.code.name}: {status.message}")

    async def _ask_on(self) -> AsyncIterator[Payload]:
        while (question := await self._questions.get()) is not None:
            yield Payload(question, Encoding.PROTO, self._method.input.codec)

    async def close(self) -> None:
        """End the questions, and give the stream up if the service does not end it in turn."""
        self._questions.put_nowait(None)
        answers = self._answers
        if answers is None:
            return
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await anext(answers)
        except (StopAsyncIteration, TimeoutError, GatewayError):
            pass
        give_up = getattr(answers, "aclose", None)
        if give_up is not None:
            await give_up()


_GOODBYE_S = 0.5
