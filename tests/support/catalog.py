"""A GraphQL service's schema, calls of its methods, and the translator to it over a fake connection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from protogw_translators.to_graphql import GraphqlOptions, ToGraphql

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.from_graphql import schema_of_document
from protogw.descriptors.graphql_scalars import MAPPED
from protogw.descriptors.graphql_sdl import read_sdl
from protogw.descriptors.model import Method, Schema
from protogw.descriptors.numbers import Numbers
from protogw.wire.http import Peer
from tests.support.upstream import Connection, Stream

SDL = Path(__file__).with_name("catalog.graphql").read_text()
LIMIT = 100_000


def schema_of(sdl: str, **scalars: str) -> Schema:
    """The schema of an SDL text, as upstream `catalog`."""
    mapped = {name: MAPPED[what] for name, what in scalars.items()}
    return schema_of_document(
        read_sdl([("catalog.graphql", sdl)]), upstream="catalog", numbers=Numbers(), scalars=mapped
    )


SCHEMA = schema_of(SDL, Long="int64")
METHODS = SCHEMA.services["catalog.Catalog"].methods


@cache
def _pool(schema: Schema = SCHEMA) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set).file:
        pool.Add(file)
    return pool


def message(name: str, data: bytes = b"", /, schema: Schema = SCHEMA, **fields: Any) -> Any:
    """A message of the catalog, by Google's own library."""
    made = message_factory.GetMessageClass(_pool(schema).FindMessageTypeByName(f"catalog.{name}"))()
    made.ParseFromString(data)
    return json_format.ParseDict(fields, made)


def call(
    name: str,
    /,
    json: Any = None,
    *,
    metadata: Mapping[str, str] | None = None,
    method: Method | None = None,
    **fields: Any,
) -> Call:
    """A call with a protobuf message of these fields (ProtoJSON), or with JSON as a client wrote it."""
    method = method or METHODS[name]
    codec = method.input.codec
    if json is None:
        data = message(method.input.name.removeprefix("catalog."), **fields).SerializeToString()
        payload = Payload(data, Encoding.PROTO, codec)
    else:
        payload = Payload(json if isinstance(json, bytes) else orjson.dumps(json), Encoding.JSON, codec)
    pairs = tuple((key.encode(), value.encode()) for key, value in (metadata or {}).items())
    return Call(method, Metadata(pairs), front_end="test", peer=Peer("192.0.2.7", 50000), started=0.0, payload=payload)


def translator(**options: Any) -> ToGraphql:
    given = {"base_path": options.pop("base_path")} if "base_path" in options else {}
    return ToGraphql(
        "catalog:4000", message_limit=LIMIT, user_agent="gw/1", settings=GraphqlOptions(**options), **given
    )


async def send(made: Call, stream: Stream | None = None, **options: Any) -> tuple[Stream, Reply]:
    stream = answer({"data": {}}) if stream is None else stream
    reply = await translator(**options).send(made, Connection(stream))
    return stream, reply


def answer(result: Any, status: int = 200, content_type: str = "application/graphql-response+json") -> Stream:
    body = result if isinstance(result, bytes) else orjson.dumps(result)
    return Stream(status, (("content-type", content_type),) if content_type else (), body)
