"""What is known of services, methods and types: one neutral model, read from any schema language. Pure data."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from protogw.descriptors.shapes import MessageShape


class SchemaError(Exception):
    """A schema that cannot be used; `faults` are its one-line messages, each naming its file or symbol."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class MessageClasses(Protocol):
    """The protobuf classes of a schema's message types."""

    def of(self, name: str) -> Any:
        """The class of the message type of this full name; KeyError when there is none."""
        ...


class Codec(Protocol):
    """Turns one message type's protobuf bytes into JSON bytes and back.

    The JSON is what the type's own service writes: the ProtoJSON mapping where it is described by a proto, else what
    its own schema says (descriptors/shapes.py). A field is named by its proto name; KeyError when the type has no such
    field.
    """

    @property
    def canonical(self) -> Codec:
        """The codec of the same type that writes and reads ProtoJSON: this one, unless its service writes otherwise."""
        ...

    @property
    def lenient(self) -> Codec:
        """The same, but reading drops unknown JSON fields: a service may say more than its schema does."""
        ...

    def to_json(self, data: bytes) -> bytes:
        """JSON of the message; raises InvalidRequest when `data` does not parse."""
        ...

    def from_json(self, data: bytes) -> bytes:
        """Protobuf of the JSON; raises InvalidRequest naming the field."""
        ...

    def field_from_json(self, name: str, data: bytes) -> bytes:
        """Protobuf of a message in which only the top-level field `name` is set, to this JSON value."""
        ...

    def field_to_json(self, name: str, data: bytes) -> bytes:
        """JSON of the top-level field `name` of the message; its default value when the field is absent."""
        ...

    def parsed(self, data: bytes) -> Any:
        """The message as the library has it that JSON is made with; raises InvalidRequest if `data` does not parse."""
        ...

    def ruled(self) -> Codec:
        """The codec of the same type whose `parsed` messages rules can be evaluated of."""
        ...

    def present_paths(self, data: bytes) -> list[str]:
        """The field-mask paths (proto names) of what the JSON sets: leaves of nested messages, whole maps, lists,
        and well-known types."""
        ...


class Spelling(enum.Enum):
    """What a client calls fields: by their proto names, their JSON names, or as the service's own JSON has them, in
    which some have no name at all (descriptors/shapes.py)."""

    PROTO = "proto"
    JSON = "json"
    OWN = "own"


class Kind(enum.Enum):
    """A field's value kind (the names of descriptor.proto's types)."""

    DOUBLE = "double"
    FLOAT = "float"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT64 = "uint64"
    SINT32 = "sint32"
    SINT64 = "sint64"
    FIXED32 = "fixed32"
    FIXED64 = "fixed64"
    SFIXED32 = "sfixed32"
    SFIXED64 = "sfixed64"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"
    ENUM = "enum"
    MESSAGE = "message"
    GROUP = "group"


class Idempotency(enum.Enum):
    """google.protobuf.MethodOptions.IdempotencyLevel."""

    UNKNOWN = 0
    NO_SIDE_EFFECTS = 1
    IDEMPOTENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a message type. `type_name` is the full name of the message or enum it holds, else empty.

    A map field has `map_key` set (its key kind) and describes its value with `kind` and `type_name`.
    `oneof` names the real oneof it belongs to (never the synthetic one of proto3 `optional`). A message without a
    `required` field is wrong: proto2 says so, or protovalidate's rules, which schemas without a proto get too.
    """

    name: str
    json_name: str
    number: int
    kind: Kind
    type_name: str = ""
    repeated: bool = False
    map_key: Kind | None = None
    oneof: str = ""
    has_presence: bool = False
    packed: bool = False
    required: bool = False
    deprecated: bool = False
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum:
    """An enum type; `values` maps names to numbers in order of declaration (aliases included).

    `written` is what a service without a proto writes for a value of this name; a value without is never written.
    """

    name: str
    values: Mapping[str, int]
    closed: bool = False
    doc: str = ""
    written: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Type:
    """A message type, `fields` by proto name; `codec` turns its bytes into JSON and back.

    `types` are all of the schema's, in which a field's `type_name` is looked up. `json_schema` is what the type's own
    service says of its JSON (JSON Schema 2020-12, `$ref`s as `#/components/schemas/` and a type's full name), where it
    is described by something else than a proto.
    """

    name: str
    fields: Mapping[str, Field]
    codec: Codec
    doc: str = ""
    json_schema: Mapping[str, Any] | None = None
    shape: MessageShape | None = None
    """How that service writes it, where ProtoJSON would write it otherwise."""
    unsaid: tuple[str, ...] = ()
    """What that schema asks of values and the rules in the descriptors do not say: where it is, and why."""
    types: Mapping[str, Type] = field(default_factory=dict, repr=False)
    classes: MessageClasses | None = field(default=None, repr=False)

    @property
    def message(self) -> Any:
        """The protobuf class of this type, for those who read or set fields one by one; made on first use."""
        assert self.classes is not None
        return self.classes.of(self.name)

    def field(self, name: str) -> Field | None:
        """The field of this proto or JSON name."""
        found = self.fields.get(name)
        if found is not None:
            return found
        for candidate in self.fields.values():
            if candidate.json_name == name:
                return candidate
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRule:
    """One binding of google.api.http: a verb ("*" for any), a path template, body and response body selectors.

    `body` and `response_body` are "" (none / the whole reply), "*" (the whole request), or a top-level field name.
    `success` is the HTTP status of an OK reply.
    """

    verb: str
    template: str
    body: str = ""
    response_body: str = ""
    success: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRule:
    """One path under which a method is offered to sockets, each of which is a call of it.

    `starts` says that the call begins with the socket, made of path and query, instead of with the first message; None
    leaves it to the path: whether it has variables. With `many`, messages of a socket are many although the method
    takes one: whoever carries the call makes something of each.
    """

    template: str
    starts: bool | None = None
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Method:
    """What is called: `package.Service/Method`, its types and its shape. Compared and hashed by identity."""

    service: str
    name: str
    input: Type
    output: Type
    client_streaming: bool = False
    server_streaming: bool = False
    idempotency: Idempotency = Idempotency.UNKNOWN
    http: tuple[HttpRule, ...] = ()
    """How it is offered as REST."""
    described: tuple[HttpRule, ...] | None = None
    """How its own schema says it is served as REST, where the config offers it otherwise; see `annotated`."""
    sockets: tuple[SocketRule, ...] = ()
    """Under which paths it is offered to sockets, beside its own."""
    binding: object = None
    """How its own service is asked, where that is described by something else than a proto: made by the reader of that
    schema language and read by the translator that speaks to such services, nobody else."""
    offered: Mapping[str, object] = field(default_factory=dict)
    """What the config says of how front ends offer it: a front end's kind → settings of its own for one method."""
    deprecated: bool = False
    doc: str = ""
    full_name: str = field(init=False)
    path: bytes = field(init=False)
    """The gRPC and Connect path: b"/package.Service/Method"."""
    unary: bool = field(init=False)
    """One message each way."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "unary", not (self.client_streaming or self.server_streaming))
        object.__setattr__(self, "full_name", f"{self.service}/{self.name}")
        object.__setattr__(self, "path", f"/{self.service}/{self.name}".encode())

    @property
    def annotated(self) -> tuple[HttpRule, ...]:
        """The bindings of its own schema: how a REST service behind is to be asked."""
        return self.http if self.described is None else self.described

    @property
    def shape(self) -> str:
        """ "unary", "server stream", "client stream" or "bidi"."""
        if self.client_streaming:
            return "bidi" if self.server_streaming else "client stream"
        return "server stream" if self.server_streaming else "unary"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Service:
    """A service and its methods by name."""

    name: str
    methods: Mapping[str, Method]
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schema:
    """All that one upstream's schema says: services, message types, enums, and the descriptor set they came from.

    `descriptor_set` is a serialized google.protobuf.FileDescriptorSet in dependency order; `digest` is equal for
    schemas with equal descriptor sets, so a refresh can tell that nothing changed.
    """

    services: Mapping[str, Service]
    types: Mapping[str, Type]
    enums: Mapping[str, Enum]
    descriptor_set: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.descriptor_set).hexdigest())
