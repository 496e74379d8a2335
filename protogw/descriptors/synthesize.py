"""Protos for what has none: drafts of messages, enums and methods → descriptors and the Schema of them.

An importer of another schema language fills `Drafts`, naming things as that language does; here they get identifiers
that are valid and unique, and numbers that stay (descriptors/numbers.py). The drafts are of one service, in one file of
one package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from protogw.descriptors.build import MAX_TYPES, RULES_PROTO, Foreign
from protogw.descriptors.from_proto import GATEWAY_OWN, schema_of
from protogw.descriptors.model import HttpRule, Idempotency, Kind, Schema, SchemaError
from protogw.descriptors.names import Taken, camel, package_of, service_of, snake, upper_snake
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.rules import NONE, Rules, option
from protogw.descriptors.shapes import MessageShape, Scalar, Shapes, scalar_text
from protogw.wire.protojson import DEFAULT, JsonOptions
from protogw.wire.protojson_types import json_name

MAX_DOC = 10_000
"""Characters of one comment that are kept."""

VALUE = "google.protobuf.Value"
STRUCT = "google.protobuf.Struct"
LIST_VALUE = "google.protobuf.ListValue"
EMPTY = "google.protobuf.Empty"
HTTP_BODY = "google.api.HttpBody"
TIMESTAMP = "google.protobuf.Timestamp"

_FILES: Mapping[str, str] = {
    VALUE: "google/protobuf/struct.proto",
    STRUCT: "google/protobuf/struct.proto",
    LIST_VALUE: "google/protobuf/struct.proto",
    EMPTY: "google/protobuf/empty.proto",
    TIMESTAMP: "google/protobuf/timestamp.proto",
    HTTP_BODY: "google/api/httpbody.proto",
}
"""The types that drafts may hold beside each other, and their files."""

REF = "#/components/schemas/"
"""What a `$ref` of a draft's `json_schema` begins with; a draft's key follows."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_UNTEXT = re.compile(r"[\x00\ud800-\udfff]")
_FieldProto = descriptor_pb2.FieldDescriptorProto
_SCALARS: Mapping[Kind, _FieldProto.Type.ValueType] = {
    kind: _FieldProto.Type.Value(f"TYPE_{kind.name}") for kind in Kind
}


_VALUE_KINDS: Mapping[type, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@dataclass(slots=True, kw_only=True)
class FieldDraft:
    """A member of a message. `holds` is the key of the message or enum draft, or the full name of one of `_FILES`.

    `mapped` makes it a map from text; `oneof` one of the message's only oneof; `presence` lets it be told from its
    default (messages and members of the oneof always can).
    """

    member: str
    """The JSON member's own name. A field of which it cannot be one (see `nameable`) is left out."""
    kind: Kind
    holds: str = ""
    name: str = ""
    """What to name it after; the member's name by default."""
    repeated: bool = False
    mapped: bool = False
    oneof: bool = False
    presence: bool = False
    rules: Rules = NONE
    """What is asked of its values."""
    deprecated: bool = False
    doc: str = ""


@dataclass(slots=True, kw_only=True)
class MessageDraft:
    """A message type. `shape` says how its JSON differs from ProtoJSON, by member names."""

    name: str
    """What to name it after."""
    fields: list[FieldDraft] = field(default_factory=list)
    shape: MessageShape | None = None
    json_schema: Mapping[str, Any] | None = None
    unsaid: list[str] = field(default_factory=list)
    """What its own schema asks of the message itself and no rule says: where, and why."""
    deprecated: bool = False
    doc: str = ""


@dataclass(slots=True, kw_only=True)
class ValueDraft:
    """A value of an enum: what the service writes for it."""

    written: Scalar
    deprecated: bool = False
    doc: str = ""


@dataclass(slots=True, kw_only=True)
class EnumDraft:
    """An enum. Before its values comes one with the number 0, which stands for none of them."""

    name: str
    values: list[ValueDraft]
    deprecated: bool = False
    doc: str = ""


FieldNames: TypeAlias = Mapping[str, str]
"""The fields' names in the proto, by member."""


@dataclass(slots=True, kw_only=True)
class MethodDraft:
    """A method; `input` and `output` are keys of message drafts or full names of `_FILES`.

    `http` makes its rules of the names that the input's fields got, `binding` what its translator needs to know.
    """

    name: str
    input: str
    output: str
    client_streaming: bool = False
    server_streaming: bool = False
    idempotency: Idempotency = Idempotency.UNKNOWN
    http: Callable[[FieldNames], Sequence[HttpRule]] | None = None
    binding: Callable[[FieldNames], object] | None = None
    deprecated: bool = False
    doc: str = ""


@dataclass(slots=True, kw_only=True)
class Drafts:
    """All that one document describes. Drafts that no method leads to may be left in."""

    messages: dict[str, MessageDraft] = field(default_factory=dict)
    enums: dict[str, EnumDraft] = field(default_factory=dict)
    methods: list[MethodDraft] = field(default_factory=list)
    doc: str = ""


def synthesize(
    drafts: Drafts, *, upstream: str, numbers: Numbers, options: JsonOptions = DEFAULT, known: Schema | None = None
) -> Schema:
    """The schema of the drafts; `known` itself when it is of the very same descriptors.

    Raises SchemaError when there are more types than a schema may have, or numbers run out.
    """
    if len(drafts.messages) + len(drafts.enums) > MAX_TYPES:
        raise SchemaError(f"more than {MAX_TYPES} types")
    made = _Synthesis(drafts, upstream, numbers)
    return schema_of([made.file], options=options, hide=GATEWAY_OWN, known=known, foreign=made.foreign)


class _Synthesis:
    def __init__(self, drafts: Drafts, upstream: str, numbers: Numbers) -> None:
        self._drafts = drafts
        self._numbers = numbers
        self._package = package_of(upstream)
        numbers.begin(self._package)
        service = service_of(upstream).rpartition(".")[2]
        self._taken = Taken()
        self._taken.take(service)
        self._names: dict[str, str] = {}
        self._enum_names: dict[str, str] = {}
        # By key, so that of two that want one name the same gets it wherever they stand in the document.
        for key, message in sorted(drafts.messages.items()):
            wanted = camel(message.name)
            self._names[key] = self._taken.take(f"{wanted}Message" if wanted == service else wanted)
        for key, enum in sorted(drafts.enums.items()):
            wanted = camel(enum.name)
            self._enum_names[key] = self._taken.take(f"{wanted}Enum" if wanted in self._taken else wanted)
        self._shapes: dict[str, MessageShape] = {}
        self._written: dict[str, Mapping[str, Scalar]] = {}
        self._json_schemas: dict[str, Mapping[str, Any]] = {}
        self._unsaid: dict[str, tuple[str, ...]] = {}
        self._http: dict[str, tuple[HttpRule, ...]] = {}
        self._bindings: dict[str, object] = {}
        self._files: set[str] = set()
        self._fields: dict[str, dict[str, str]] = {}
        self.file = file = descriptor_pb2.FileDescriptorProto(
            name=f"{self._package}.proto", package=self._package, syntax="proto3"
        )
        for key, enum in drafts.enums.items():
            self._enum(self._enum_names[key], enum)
        for key, message in drafts.messages.items():
            self._message(key, message)
        self._service(service)
        file.dependency.extend(sorted(self._files))
        self.foreign = Foreign(
            shapes=Shapes(self._shapes, self._written),
            json_schemas=self._json_schemas,
            unsaid=self._unsaid,
            http=self._http,
            bindings=self._bindings,
        )

    def _full(self, name: str) -> str:
        return f"{self._package}.{name}"

    def _type_of(self, holds: str) -> str:
        """The absolute name of what a draft's key, or a known type's name, stands for."""
        name = self._names.get(holds) or self._enum_names.get(holds)
        if name is not None:
            return f".{self._full(name)}"
        self._files.add(_FILES[holds])
        return f".{holds}"

    def _referring(self, schema: Any) -> Any:
        """A JSON Schema whose `$ref`s name drafts by key, with the names that these got."""
        if isinstance(schema, Mapping):
            made = {name: self._referring(value) for name, value in schema.items()}
            ref = made.get("$ref")
            if isinstance(ref, str) and ref.startswith(REF):
                key = ref.removeprefix(REF)
                name = self._names.get(key) or self._enum_names.get(key)
                made["$ref"] = ref if name is None else REF + self._full(name)
            return made
        return [self._referring(item) for item in schema] if isinstance(schema, list) else schema

    # ---- enums

    def _enum(self, name: str, draft: EnumDraft) -> None:
        proto = self.file.enum_type.add(name=name)
        if draft.deprecated:
            proto.options.deprecated = True
        path = (5, len(self.file.enum_type) - 1)
        self._comment(path, draft.doc)
        prefix = upper_snake(name)
        # Values stand in the package, beside messages and other enums' values.
        within = Taken(_squeezed)
        zero = self._taken.take(within.take(f"{prefix}_UNSPECIFIED", separator="_", avoid=self._taken))
        proto.value.add(name=zero, number=0)
        owner = self._full(name)
        written: dict[str, Scalar] = {}
        seen: set[tuple[type, Scalar]] = set()
        for draft_value in draft.values:
            said = draft_value.written
            if (said.__class__, said) in seen:
                continue
            seen.add((said.__class__, said))
            text = scalar_text(said)
            wanted = f"{prefix}_{upper_snake(text)}"
            value_name = self._taken.take(within.take(wanted, separator="_", avoid=self._taken))
            value = proto.value.add(
                name=value_name, number=self._numbers.number(owner, text, _VALUE_KINDS[said.__class__])
            )
            if draft_value.deprecated:
                value.options.deprecated = True
            self._comment((*path, 2, len(proto.value) - 1), draft_value.doc)
            written[value_name] = said
        for number in self._numbers.reserved(owner):
            proto.reserved_range.add(start=number, end=number)
        self._written[owner] = written

    # ---- messages

    def _message(self, key: str, draft: MessageDraft) -> None:
        name = self._names[key]
        owner = self._full(name)
        proto = self.file.message_type.add(name=name)
        if draft.deprecated:
            proto.options.deprecated = True
        path = (4, len(self.file.message_type) - 1)
        self._comment(path, draft.doc)
        fields = [one for one in draft.fields if nameable(one.member)]
        if draft.shape is not None and draft.shape != MessageShape():
            self._shapes[owner] = _shape_of(draft.shape, fields)
        if draft.json_schema is not None:
            self._json_schemas[owner] = self._referring(draft.json_schema)
        unsaid = [*draft.unsaid, *(said for one in fields for said in one.rules.unsaid)]
        if unsaid:
            self._unsaid[owner] = tuple(dict.fromkeys(unsaid))
        names = self._fields[key] = _field_names(fields)
        # A oneof must not be called what a field is in JSON either.
        taken = {*names, *names.values()}
        if any(one.oneof for one in fields):
            proto.oneof_decl.add(name=_apart_from(taken, "kind"))
        entries = Taken()
        for index, one in enumerate(fields):
            made = self._field(owner, one, names[one.member])
            if one.mapped:
                self._map(proto, made, one, entries, owner)
            else:
                made.label = _FieldProto.LABEL_REPEATED if one.repeated else _FieldProto.LABEL_OPTIONAL
                if one.oneof:
                    made.oneof_index = 0
            proto.field.append(made)
            self._comment((*path, 2, index), one.doc)
        # Synthetic oneofs come after the real one.
        for made, one in zip(proto.field, fields, strict=True):
            if one.presence and not (one.repeated or one.mapped or one.oneof or one.kind is Kind.MESSAGE):
                made.proto3_optional = True
                made.oneof_index = len(proto.oneof_decl)
                proto.oneof_decl.add(name=_apart_from(taken, f"_{made.name}"))
        for number in self._numbers.reserved(owner):
            proto.reserved_range.add(start=number, end=number + 1)

    def _field(self, owner: str, draft: FieldDraft, name: str) -> _FieldProto:
        kind = draft.kind.value
        if draft.holds:
            type_name = self._type_of(draft.holds)
            kind = type_name.rpartition(".")[2]
        else:
            type_name = ""
        many = "map_" if draft.mapped else "repeated_" if draft.repeated else ""
        made = _FieldProto(
            name=name,
            json_name=draft.member,
            number=self._numbers.number(owner, draft.member, many + kind),
            type=_SCALARS[draft.kind],
            type_name=type_name or None,
        )
        if draft.deprecated:
            made.options.deprecated = True
        if draft.rules.data:
            made.options.MergeFromString(option(draft.rules))
            self._files.add(RULES_PROTO)
        return made

    def _map(
        self, proto: descriptor_pb2.DescriptorProto, made: _FieldProto, draft: FieldDraft, entries: Taken, owner: str
    ) -> None:
        """Turn the field into a map: its values' type goes into an entry message."""
        entry_name = entries.take(camel(json_name(made.name)) + "Entry")
        entry = proto.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(
            name="key", json_name="key", number=1, type=_FieldProto.TYPE_STRING, label=_FieldProto.LABEL_OPTIONAL
        )
        entry.field.add(
            name="value",
            json_name="value",
            number=2,
            type=made.type,
            type_name=made.type_name or None,
            label=_FieldProto.LABEL_OPTIONAL,
        )
        made.type = _FieldProto.TYPE_MESSAGE
        made.type_name = f".{owner}.{entry_name}"
        made.label = _FieldProto.LABEL_REPEATED

    # ---- methods

    def _service(self, name: str) -> None:
        proto = self.file.service.add(name=name)
        self._comment((6, 0), self._drafts.doc)
        owner = self._full(name)
        taken = Taken()
        for index, draft in enumerate(self._drafts.methods):
            method_name = taken.take(camel(draft.name, "Method"))
            made = proto.method.add(
                name=method_name,
                input_type=self._type_of(draft.input),
                output_type=self._type_of(draft.output),
                client_streaming=draft.client_streaming or None,
                server_streaming=draft.server_streaming or None,
            )
            if draft.idempotency is not Idempotency.UNKNOWN:
                made.options.idempotency_level = draft.idempotency.value
            if draft.deprecated:
                made.options.deprecated = True
            self._comment((6, 0, 2, index), draft.doc)
            names = self._fields.get(draft.input, {})
            full_name = f"{owner}/{method_name}"
            if draft.http is not None:
                rules = tuple(draft.http(names))
                self._http[full_name] = rules
                _annotate(made, rules)
                if rules:
                    self._files.add("google/api/annotations.proto")
            if draft.binding is not None:
                self._bindings[full_name] = draft.binding(names)

    def _comment(self, path: tuple[int, ...], text: str) -> None:
        text = clean(text)
        if text:
            location = self.file.source_code_info.location.add(path=path, span=(0, 0, 0))
            location.leading_comments = "".join(f" {line}\n" if line else "\n" for line in text.split("\n"))


def _annotate(method: descriptor_pb2.MethodDescriptorProto, rules: Sequence[HttpRule]) -> None:
    """Write the rules as google.api.http."""
    for place, rule in enumerate(rules):
        top = method.options.Extensions[annotations_pb2.http]
        made: http_pb2.HttpRule = top if place == 0 else top.additional_bindings.add()
        verb = rule.verb.lower()
        if verb in ("get", "put", "post", "delete", "patch"):
            setattr(made, verb, rule.template)
        else:
            made.custom.kind, made.custom.path = rule.verb, rule.template
        made.body, made.response_body = rule.body, rule.response_body


def nameable(member: str) -> bool:
    """Whether a field's JSON name can be this: it is not empty, not in brackets (which extensions are), and text."""
    return bool(member) and not (member.startswith("[") and member.endswith("]")) and not _UNTEXT.search(member)


def _shape_of(shape: MessageShape, fields: Sequence[FieldDraft]) -> MessageShape:
    """The shape without what it says of members that are no fields."""
    known = {one.member for one in fields}
    return replace(
        shape,
        numbers=shape.numbers & known,
        always=shape.always & known,
        nulls=shape.nulls & known,
        sparse=shape.sparse & known,
    )


def _field_names(fields: Sequence[FieldDraft]) -> dict[str, str]:
    """The fields' names by member: none is, or derives to, what another is called in JSON."""
    members = {one.member for one in fields}
    taken = Taken(json_name)
    names: dict[str, str] = {}
    for one in fields:
        wanted = snake(one.name or one.member)
        names[one.member] = taken.take(wanted, separator="_", avoid=members - {one.member})
    return names


def _apart_from(taken: set[str], name: str) -> str:
    """The name, or with an X before it as protoc does it; it is taken then."""
    while name in taken:
        name = f"X{name}"
    taken.add(name)
    return name


def _squeezed(name: str) -> str:
    """What protoc compares of an enum's values: they must differ in more than case and underscores."""
    return name.replace("_", "").lower()


def clean(text: str) -> str:
    """Text of a document as a comment: lines without control characters, bounded."""
    text = text[:MAX_DOC].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "  ")
    return "\n".join(line.rstrip() for line in _CONTROL.sub("", text).strip().split("\n"))
