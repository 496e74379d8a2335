"""Proto files out of a descriptor set: text that protoc reads back to the same descriptors.

Custom options are written by the extensions that the set itself defines, so google.api.http and whatever else the
author used come out as they went in. Comments come out where the set has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_encoding, text_format
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message

Path: TypeAlias = tuple[int, ...]
_Type = FieldDescriptorProto.Type
_Label = FieldDescriptorProto.Label

_MAX_FIELD = 1 << 29
_MAX_ENUM = (1 << 31) - 1
_EDITIONS = {descriptor_pb2.EDITION_2023: "2023", descriptor_pb2.EDITION_2024: "2024"}


def proto_files(descriptor_set: bytes, *, skip: Iterable[str] = ()) -> dict[str, str]:
    """The text of each file of a serialized FileDescriptorSet, by its name; those of `skip` are left out."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    left_out = frozenset(skip)
    pool = descriptor_pool.DescriptorPool()
    own = descriptor_pb2.DESCRIPTOR
    names = {file.name for file in files}
    if own.name not in names:
        pool.AddSerializedFile(own.serialized_pb)
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    return {file.name: _File(file, pool).text() for file in files if file.name not in left_out}


class _File:
    """Writes one file."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto, pool: descriptor_pool.DescriptorPool) -> None:
        self._file = file
        self._pool = pool
        self._proto3 = file.syntax == "proto3"
        self._editions = file.syntax == "editions"
        self._lines: list[str] = []
        self._nested = Counter(_nested_names(file))
        self._comments: Mapping[Path, Any] = {
            tuple(location.path): location for location in file.source_code_info.location
        }

    def text(self) -> str:
        file = self._file
        self._comment((12,), 0)
        if self._editions:
            self._line(0, f'edition = "{_EDITIONS.get(file.edition, descriptor_pb2.Edition.Name(file.edition))}";')
        else:
            self._line(0, f'syntax = "{file.syntax or "proto2"}";')
        if file.package:
            self._gap()
            self._comment((2,), 0)
            self._line(0, f"package {file.package};")
        if file.dependency:
            self._gap()
            public, weak = frozenset(file.public_dependency), frozenset(file.weak_dependency)
            for index, name in enumerate(file.dependency):
                kind = "public " if index in public else "weak " if index in weak else ""
                self._line(0, f'import {kind}"{name}";')
        options = list(self._options(file.options))
        if options:
            self._gap()
            for name, value in options:
                self._line(0, f"option {name} = {value};")
        for index, service in enumerate(file.service):
            self._service(service, (6, index))
        for index, message in enumerate(file.message_type):
            self._gap()
            self._message(message, (4, index), 0)
        for index, enum in enumerate(file.enum_type):
            self._gap()
            self._enum(enum, (5, index), 0)
        self._extensions(file.extension, (7,), 0)
        return "\n".join(self._lines) + "\n"

    # --- lines ---

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("  " * depth + text)

    def _gap(self) -> None:
        if self._lines and self._lines[-1] and not self._lines[-1].endswith("{"):
            self._lines.append("")

    def _comment(self, path: Path, depth: int) -> None:
        location = self._comments.get(path)
        if location is None:
            return
        for detached in location.leading_detached_comments:
            self._comment_lines(detached, depth)
            self._lines.append("")
        for comment in (location.leading_comments, location.trailing_comments):
            if comment:
                self._comment_lines(comment, depth)

    def _comment_lines(self, comment: str, depth: int) -> None:
        for line in comment.rstrip("\n").split("\n"):
            self._line(depth, f"//{line}".rstrip())

    # --- definitions ---

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto, path: Path) -> None:
        self._gap()
        self._comment(path, 0)
        self._line(0, f"service {service.name} {{")
        self._option_lines(service.options, 1)
        for index, method in enumerate(service.method):
            if index:
                self._gap()
            self._comment((*path, 2, index), 1)
            taken = f"{'stream ' if method.client_streaming else ''}{self._named(method.input_type)}"
            given = f"{'stream ' if method.server_streaming else ''}{self._named(method.output_type)}"
            head = f"rpc {method.name}({taken}) returns ({given})"
            options = list(self._options(method.options))
            if not options:
                self._line(1, head + ";")
                continue
            self._line(1, head + " {")
            for name, value in options:
                self._line(2, f"option {name} = {value};")
            self._line(1, "}")
        self._line(0, "}")

    def _message(self, message: DescriptorProto, path: Path, depth: int, head: str = "") -> None:
        """A message, or with `head` the body of a group."""
        if not head:
            self._comment(path, depth)
        self._line(depth, f"{head or f'message {message.name}'} {{")
        self._option_lines(message.options, depth + 1)
        maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
        groups = {
            field.type_name.rpartition(".")[2]
            for field in message.field
            if field.type == FieldDescriptorProto.TYPE_GROUP
        }
        groups |= {
            field.type_name.rpartition(".")[2]
            for field in message.extension
            if field.type == FieldDescriptorProto.TYPE_GROUP
        }
        written: set[int] = set()
        for index, field in enumerate(message.field):
            if field.HasField("oneof_index") and not field.proto3_optional:
                if field.oneof_index not in written:
                    written.add(field.oneof_index)
                    self._oneof(message, field.oneof_index, maps, path, depth + 1)
                continue
            self._field(field, maps, message, (*path, 2, index), depth + 1)
        for index, nested in enumerate(message.nested_type):
            if nested.name not in maps and nested.name not in groups:
                self._gap()
                self._message(nested, (*path, 3, index), depth + 1)
        for index, enum in enumerate(message.enum_type):
            self._gap()
            self._enum(enum, (*path, 4, index), depth + 1)
        for extended in message.extension_range:
            options = self._inline(extended.options)
            self._line(depth + 1, f"extensions {_range(extended.start, extended.end - 1, _MAX_FIELD - 1)}{options};")
        ranges = [(one.start, one.end - 1) for one in message.reserved_range]
        self._reserved(ranges, message.reserved_name, _MAX_FIELD - 1, depth + 1)
        self._extensions(message.extension, (*path, 6), depth + 1, message)
        self._line(depth, "}")

    def _oneof(
        self, message: DescriptorProto, oneof: int, maps: Mapping[str, DescriptorProto], path: Path, depth: int
    ) -> None:
        self._comment((*path, 8, oneof), depth)
        self._line(depth, f"oneof {message.oneof_decl[oneof].name} {{")
        self._option_lines(message.oneof_decl[oneof].options, depth + 1)
        for index, field in enumerate(message.field):
            if field.HasField("oneof_index") and field.oneof_index == oneof and not field.proto3_optional:
                self._field(field, maps, message, (*path, 2, index), depth + 1, in_oneof=True)
        self._line(depth, "}")

    def _field(
        self,
        field: FieldDescriptorProto,
        maps: Mapping[str, DescriptorProto],
        within: DescriptorProto | None,
        path: Path,
        depth: int,
        *,
        in_oneof: bool = False,
    ) -> None:
        self._comment(path, depth)
        entry = (
            maps.get(field.type_name.rpartition(".")[2]) if field.type == FieldDescriptorProto.TYPE_MESSAGE else None
        )
        if entry is not None:
            key, value = entry.field
            kind = f"map<{self._type(key)}, {self._type(value)}>"
            label = ""
        else:
            kind = self._type(field)
            label = "" if in_oneof else self._label(field)
        options = self._field_options(field)
        if field.type == FieldDescriptorProto.TYPE_GROUP and within is not None:
            name = field.type_name.rpartition(".")[2]
            for index, nested in enumerate(within.nested_type):
                if nested.name == name:
                    head = f"{label}group {name} = {field.number}{options}"
                    self._message(nested, (*path[:-2], 3, index), depth, head)
            return
        self._line(depth, f"{label}{kind} {field.name} = {field.number}{options};")

    def _label(self, field: FieldDescriptorProto) -> str:
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return "repeated "
        if self._editions:
            return ""
        if field.label == FieldDescriptorProto.LABEL_REQUIRED:
            return "required "
        if self._proto3:
            return "optional " if field.proto3_optional else ""
        return "optional "

    def _enum(self, enum: EnumDescriptorProto, path: Path, depth: int) -> None:
        self._comment(path, depth)
        self._line(depth, f"enum {enum.name} {{")
        self._option_lines(enum.options, depth + 1)
        for index, value in enumerate(enum.value):
            self._comment((*path, 2, index), depth + 1)
            self._line(depth + 1, f"{value.name} = {value.number}{self._inline(value.options)};")
        ranges = [(one.start, one.end) for one in enum.reserved_range]
        self._reserved(ranges, enum.reserved_name, _MAX_ENUM, depth + 1)
        self._line(depth, "}")

    def _extensions(
        self, fields: Sequence[FieldDescriptorProto], path: Path, depth: int, within: DescriptorProto | None = None
    ) -> None:
        extended = ""
        for index, field in enumerate(fields):
            if field.extendee != extended:
                if extended:
                    self._line(depth, "}")
                extended = field.extendee
                self._gap()
                self._line(depth, f"extend {self._named(extended)} {{")
            self._field(field, {}, within, (*path, index), depth + 1)
        if extended:
            self._line(depth, "}")

    def _reserved(self, ranges: Sequence[tuple[int, int]], names: Sequence[str], most: int, depth: int) -> None:
        if ranges:
            self._line(depth, f"reserved {', '.join(_range(start, end, most) for start, end in ranges)};")
        if names:
            quoted = (name if self._editions else f'"{name}"' for name in names)
            self._line(depth, f"reserved {', '.join(quoted)};")

    def _type(self, field: FieldDescriptorProto) -> str:
        if field.type_name:
            return self._named(field.type_name)
        return _Type.Name(field.type).removeprefix("TYPE_").lower()

    def _named(self, full: str) -> str:
        """The shortest safe way to name a type: names are looked up from the innermost scope outwards."""
        name = full.removeprefix(".")
        package = self._file.package
        if package and name.startswith(package + "."):
            short = name[len(package) + 1 :]
            if self._nested[short.partition(".")[0]] == 0:
                return short
        first = name.partition(".")[0]
        hidden = first in self._nested or first in package.split(".")[1:]
        return full if hidden or not full.startswith(".") else name

    # --- options ---

    def _option_lines(self, options: Message, depth: int) -> None:
        for name, value in self._options(options):
            self._line(depth, f"option {name} = {value};")

    def _inline(self, options: Message) -> str:
        found = [f"{name} = {value}" for name, value in self._options(options)]
        return f" [{', '.join(found)}]" if found else ""

    def _field_options(self, field: FieldDescriptorProto) -> str:
        found = []
        if field.HasField("default_value"):
            found.append(f"default = {_default(field)}")
        if field.json_name and field.json_name != _json_name(field.name) and not field.extendee:
            found.append(f"json_name = {_quoted(field.json_name)}")
        found.extend(f"{name} = {value}" for name, value in self._options(field.options))
        return f" [{', '.join(found)}]" if found else ""

    def _options(self, options: Message) -> Iterator[tuple[str, str]]:
        """Name and value of each option, read with the extensions that this file's own pool knows."""
        data = options.SerializeToString()
        if not data:
            return
        descriptor = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        known = message_factory.GetMessageClass(descriptor).FromString(data)
        for field, value in known.ListFields():
            name = f"({self._named('.' + field.full_name)})" if field.is_extension else field.name
            for one in value if field.is_repeated else [value]:
                yield name, _value(field, one)


def _nested_names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """The names declared inside messages, which hide equal ones further out."""
    waiting = list(file.message_type)
    while waiting:
        message = waiting.pop()
        yield from (nested.name for nested in message.nested_type)
        yield from (enum.name for enum in message.enum_type)
        yield from (field.name for field in (*message.field, *message.extension))
        yield from (oneof.name for oneof in message.oneof_decl)
        waiting.extend(message.nested_type)


def _value(field: Any, value: Any) -> str:
    if field.message_type is not None:
        body = text_format.MessageToString(value, as_one_line=True, use_short_repeated_primitives=False)
        return f"{{ {body} }}" if body else "{}"
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f'"{text_encoding.CEscape(value, as_utf8=False)}"'
    return _quoted(value) if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    return f'"{text_encoding.CEscape(text.encode(), as_utf8=True)}"'


def _default(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_STRING:
        return _quoted(field.default_value)
    if field.type == FieldDescriptorProto.TYPE_BYTES:
        return f'"{field.default_value}"'  # is escaped already (descriptor.proto)
    return str(field.default_value)


def _json_name(name: str) -> str:
    """What protoc makes of a field's name when nothing else is said."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def _range(start: int, end: int, most: int) -> str:
    return str(start) if start == end else f"{start} to {'max' if end >= most else end}"
