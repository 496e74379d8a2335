"""Schemas out of GraphQL: its schema language, the result of an introspection query, or a running service that answers
one. What a service says of itself is not trusted: it is bounded in size and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import orjson
from google.protobuf import descriptor_pb2, struct_pb2

from protogw.call import NO_METADATA, Call, Encoding, Payload, Reply
from protogw.descriptors.build import MAX_TYPES
from protogw.descriptors.from_proto import schema_of
from protogw.descriptors.graphql_binding import Question
from protogw.descriptors.graphql_drafts import drafts_of
from protogw.descriptors.graphql_introspection import QUESTIONS, read_introspection
from protogw.descriptors.graphql_model import Document
from protogw.descriptors.graphql_scalars import MAPPED, ScalarType
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import Idempotency, Method, Schema, SchemaError, Type
from protogw.descriptors.names import package_of
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.synthesize import synthesize
from protogw.errors import Code, Status
from protogw.wire.http import Peer
from protogw.wire.protojson import DEFAULT, JsonOptions

Send: TypeAlias = Callable[[Call], Awaitable[Reply]]

MAX_BYTES = 64 << 20
TIMEOUT_S = 60.0
_NO_SCALARS: Mapping[str, ScalarType] = {}
_HERE = Peer("", 0)


@runtime_checkable
class Settings(Protocol):
    """What the settings of an upstream say of its schema."""

    @property
    def scalars(self) -> Mapping[str, str]:
        """What its custom scalars are, by name: words of MAPPED."""
        ...


def scalars_of(settings: object) -> Mapping[str, ScalarType]:
    """What an upstream's custom scalars are, where its settings say so."""
    if not isinstance(settings, Settings):
        return _NO_SCALARS
    return {name: MAPPED[what] for name, what in settings.scalars.items()}


def load(
    paths: Sequence[Path],
    *,
    upstream: str,
    numbers: Numbers,
    options: JsonOptions = DEFAULT,
    settings: object = None,
) -> Schema:
    """The schema that these files describe together: any number in the schema language, or one introspection result.

    Raises SchemaError with every fault, each with its place.
    """
    texts: list[tuple[str, str]] = []
    results: list[tuple[str, bytes]] = []
    for path in paths:
        data = _read(path)
        if data.lstrip()[:1] == b"{":
            results.append((str(path), data))
            continue
        try:
            texts.append((str(path), data.decode()))
        except UnicodeDecodeError as error:
            raise SchemaError(f"{path}: is not UTF-8 text") from error
    if len(results) > 1 or (results and texts):
        raise SchemaError(f"{results[0][0]}: an introspection result is a whole schema: nothing can stand beside it")
    if results:
        name, data = results[0]
        document = read_introspection(_json(name, data), name)
    else:
        document = read_sdl(texts)
    return schema_of_document(
        document, upstream=upstream, numbers=numbers, options=options, scalars=scalars_of(settings)
    )


def schema_of_document(
    document: Document,
    *,
    upstream: str,
    numbers: Numbers,
    options: JsonOptions = DEFAULT,
    scalars: Mapping[str, ScalarType] = _NO_SCALARS,
    known: Schema | None = None,
) -> Schema:
    """The schema of what was read; `known` itself when that is the same. Raises SchemaError with every fault."""
    if len(document.types) > MAX_TYPES:
        raise SchemaError(f"more than {MAX_TYPES} types")
    return synthesize(drafts_of(document, scalars), upstream=upstream, numbers=numbers, options=options, known=known)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror}") from error


def _json(name: str, data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        line = data[: error.pos].count(b"\n") + 1
        raise SchemaError(f"{name}:{line}: is not JSON: {error.msg}") from error


# ---- a running service


async def fetch(
    send: Send,
    *,
    upstream: str,
    numbers: Numbers,
    options: JsonOptions = DEFAULT,
    settings: object = None,
    known: Schema | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Schema:
    """Ask a service for its schema by introspection.

    `known`, what it said before with the same options, is returned itself when nothing has changed. Raises SchemaError
    when it refuses, or answers nonsense, too much or too slowly, and GatewayError when it cannot be reached.
    """
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _asked(send)
            # In a thread: a large schema takes long to read, and calls go on meanwhile.
            part = numbers.part(package_of(upstream))
            schema = await asyncio.to_thread(
                _fetched,
                answer,
                upstream=upstream,
                numbers=part,
                options=options,
                scalars=scalars_of(settings),
                known=known,
            )
            numbers.put(part)
            return schema
    except TimeoutError as error:
        raise SchemaError(f"introspection: no whole schema within {timeout_s:g} s") from error


def _fetched(
    answer: bytes,
    *,
    upstream: str,
    numbers: Numbers,
    options: JsonOptions,
    scalars: Mapping[str, ScalarType],
    known: Schema | None,
) -> Schema:
    document = read_introspection(_json("introspection", answer), "introspection")
    return schema_of_document(
        document, upstream=upstream, numbers=numbers, options=options, scalars=scalars, known=known
    )


_UNREACHABLE = frozenset((Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED))
"""What another way of asking would not help against."""


async def _asked(send: Send) -> bytes:
    """The answer to the best question that the service understands."""
    refused = Status()
    for question in QUESTIONS:
        call = Call(
            _method(question),
            NO_METADATA,
            front_end="introspection",
            peer=_HERE,
            started=asyncio.get_running_loop().time(),
            payload=Payload(b"{}", Encoding.JSON),
        )
        reply = await send(call)
        if reply.payload is not None:
            if len(reply.payload.data) > MAX_BYTES:
                raise SchemaError(f"introspection: more than {MAX_BYTES} bytes")
            return reply.payload.data
        refused = reply.status
        if refused.code in _UNREACHABLE:
            break
    raise SchemaError(f"introspection: the service refuses: {refused.message[:500]}")


@cache
def _any_json() -> Type:
    file = descriptor_pb2.FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(file)
    return schema_of([file]).types["google.protobuf.Struct"]


@cache
def _method(document: str) -> Method:
    return Method(
        service="graphql.Introspection",
        name="Schema",
        input=_any_json(),
        output=_any_json(),
        idempotency=Idempotency.NO_SIDE_EFFECTS,
        binding=Question(document),
    )
