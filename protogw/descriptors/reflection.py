"""Answers server reflection questions about a catalog (grpc/doc/server-reflection.md). Pure: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Schema
from protogw.errors import Code, InvalidRequest

_Message = descriptor_pb2.DescriptorProto
_Field = descriptor_pb2.FieldDescriptorProto


class Index:
    """One schema's files, and which of them defines what."""

    def __init__(self, schema: Schema) -> None:
        self.files: dict[str, bytes] = {}
        self.imports: dict[str, tuple[str, ...]] = {}
        self.symbols: dict[str, str] = {}
        self.extensions: dict[str, dict[int, str]] = {}
        for file in descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set).file:
            file.ClearField("source_code_info")
            self.files[file.name] = file.SerializeToString()
            self.imports[file.name] = tuple(file.dependency)
            for symbol in _symbols(file):
                self.symbols.setdefault(symbol, file.name)
            for extension in _extensions(file):
                numbers = self.extensions.setdefault(extension.extendee.removeprefix("."), {})
                numbers.setdefault(extension.number, file.name)

    def with_imports(self, name: str) -> list[bytes]:
        """The file and all that it imports, itself first."""
        found = [name]
        seen = {name}
        for one in found:
            for other in self.imports[one]:
                if other not in seen:
                    seen.add(other)
                    found.append(other)
        return [self.files[one] for one in found]


class Reflection:
    """Reflection over one catalog. Indexes are made when first asked for, and kept while their schema is offered."""

    def __init__(self, catalog: Catalog, before: Reflection | None = None) -> None:
        self._catalog = catalog
        self._schemas = list(dict.fromkeys(catalog.schemas.values()))
        kept: dict[str, Index] = before._indexes if before is not None else {}
        self._indexes: dict[str, Index] = {
            schema.digest: kept[schema.digest] for schema in self._schemas if schema.digest in kept
        }

    def answer(self, question: bytes, schema: Schema | None) -> tuple[bytes, Schema | None]:
        """The serialized answer to a serialized question, and the schema that it came from.

        Two schemas may have different files of one name: a stream passes the schema of its last answer, so that the
        files it asks for by name are the ones that belong together. Raises InvalidRequest for bytes that do not parse.
        """
        try:
            request = ServerReflectionRequest.FromString(question)
        except DecodeError as error:
            raise InvalidRequest("ServerReflectionRequest: not valid protobuf") from error
        response = ServerReflectionResponse(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in sorted(self._catalog.services):
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            schema = self._by_name(response, schema, request.file_by_filename)
        elif kind == "file_containing_symbol":
            schema = self._by_symbol(response, request.file_containing_symbol)
        elif kind == "file_containing_extension":
            schema = self._by_extension(response, schema, request.file_containing_extension)
        elif kind == "all_extension_numbers_of_type":
            schema = self._numbers(response, schema, request.all_extension_numbers_of_type)
        else:
            _refuse(response, Code.INVALID_ARGUMENT, "no question that this server knows")
        return response.SerializeToString(), schema

    def _index(self, schema: Schema) -> Index:
        index = self._indexes.get(schema.digest)
        if index is None:
            index = self._indexes[schema.digest] = Index(schema)
        return index

    def _ordered(self, first: Schema | None) -> Iterator[Schema]:
        """The schemas, the one that the stream is about before others."""
        if first in self._schemas:
            assert first is not None
            yield first
        yield from (schema for schema in self._schemas if schema is not first)

    def _by_name(self, response: ServerReflectionResponse, first: Schema | None, name: str) -> Schema | None:
        for schema in self._ordered(first):
            index = self._index(schema)
            if name in index.files:
                response.file_descriptor_response.file_descriptor_proto.append(index.files[name])
                return schema
        _refuse(response, Code.NOT_FOUND, f"no file {name!r}")
        return first

    def _by_symbol(self, response: ServerReflectionResponse, symbol: str) -> Schema | None:
        symbol = symbol.removeprefix(".")
        # The schema that offers the service, when it is one or a method of one, is the one that describes it.
        owner = self._catalog.schemas.get(symbol) or self._catalog.schemas.get(symbol.rpartition(".")[0])
        for schema in self._ordered(owner):
            index = self._index(schema)
            if symbol in index.symbols:
                found = index.with_imports(index.symbols[symbol])
                response.file_descriptor_response.file_descriptor_proto.extend(found)
                return schema
        _refuse(response, Code.NOT_FOUND, f"no symbol {symbol!r}")
        return owner

    def _by_extension(
        self, response: ServerReflectionResponse, first: Schema | None, asked: ExtensionRequest
    ) -> Schema | None:
        for schema in self._ordered(first):
            index = self._index(schema)
            name = index.extensions.get(asked.containing_type, {}).get(asked.extension_number)
            if name is not None:
                response.file_descriptor_response.file_descriptor_proto.extend(index.with_imports(name))
                return schema
        _refuse(response, Code.NOT_FOUND, f"no extension {asked.extension_number} of {asked.containing_type!r}")
        return first

    def _numbers(self, response: ServerReflectionResponse, first: Schema | None, name: str) -> Schema | None:
        for schema in self._ordered(first):
            if name in schema.types:
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = name
                numbers.extension_number.extend(sorted(self._index(schema).extensions.get(name, ())))
                return schema
        _refuse(response, Code.NOT_FOUND, f"no message type {name!r}")
        return first


def _refuse(response: ServerReflectionResponse, code: Code, message: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = message


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """The full name of everything that the file defines."""
    prefix = f"{file.package}." if file.package else ""
    for service in file.service:
        yield prefix + service.name
        yield from (f"{prefix}{service.name}.{method.name}" for method in service.method)
    yield from _enum_symbols(prefix, file.enum_type)
    yield from (prefix + extension.name for extension in file.extension)
    for name, message in _messages(file):
        yield name
        yield from (f"{name}.{field.name}" for field in (*message.field, *message.extension))
        yield from (f"{name}.{oneof.name}" for oneof in message.oneof_decl)
        yield from _enum_symbols(f"{name}.", message.enum_type)


def _enum_symbols(prefix: str, enums: Iterable[descriptor_pb2.EnumDescriptorProto]) -> Iterator[str]:
    for enum in enums:
        yield prefix + enum.name
        yield from (prefix + value.name for value in enum.value)  # an enum's values are its siblings


def _extensions(file: descriptor_pb2.FileDescriptorProto) -> Iterator[_Field]:
    yield from file.extension
    for _, message in _messages(file):
        yield from message.extension


def _messages(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, _Message]]:
    prefix = f"{file.package}." if file.package else ""
    stack = [(prefix + message.name, message) for message in file.message_type]
    while stack:
        name, message = stack.pop()
        yield name, message
        stack.extend((f"{name}.{nested.name}", nested) for nested in message.nested_type)
