"""Values that settings write, constants or expressions, and rules over fields that have names and values. Knows no
protocol: metadata and queries are both such fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Self, TypeVar
from urllib.parse import quote, unquote_to_bytes

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Metadata, Payload
from protogw.errors import InvalidRequest
from protogw.expressions import Expression, ExpressionError, parse_expression
from protogw.policies.identity_headers import twinless
from protogw.values import LISTED, refuse
from protogw.wire.http import Header
from protogw.wire.metadata import RESERVED

M = TypeVar("M", bound=BaseModel)

MAX_VALUE: Final = 8 << 10
"""Characters of one value."""
_KEPT = 256
_OTHERS: Final = RESERVED - {b"x-http-method-override"}
"""Names that are no policy's to change. The override is an ordinary field of plain HTTP, which services may heed: it
must be possible to take it out."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_BAD = re.compile(rb"[^\x20-\x7e]")


class Value:
    """A constant, or an expression that is asked for each call."""

    __slots__ = ("constant", "expression")

    def __init__(self, constant: Any, expression: Expression | None = None) -> None:
        self.constant = constant
        self.expression = expression

    def of(self, call: Call, payload: Payload | None) -> Any:
        """The value; None when there is none."""
        if self.expression is None:
            return self.constant
        try:
            return self.expression.value(call, payload)
        except ExpressionError:
            return None


def parse_value(value: object) -> Value:
    """A value out of a setting: `{from: EXPRESSION}`, or anything else as it stands."""
    if isinstance(value, Value):
        return value
    if isinstance(value, Mapping) and tuple(value) == ("from",):
        return Value(None, parse_expression(value["from"]))
    return Value(value)


def _scalar(value: Value) -> Value:
    if value.expression is None:
        if not isinstance(value.constant, (str, int, float, bool)):
            refuse("is not a value: write text, a number, or from: and an expression")
        if (fault := _fault(_text(value.constant).encode())) is not None:
            refuse(fault)
    return value


_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]},
            {"type": ["string", "number", "boolean"]},
        ]
    }
)
AnyValue = Annotated[Value, PlainValidator(parse_value), WithJsonSchema({})]
TextValue = Annotated[Value, PlainValidator(lambda value: _scalar(parse_value(value))), _SCHEMA]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


def _fault(text: bytes) -> str | None:
    """Why these bytes can be no field's value."""
    if len(text) > MAX_VALUE:
        return f"is longer than {MAX_VALUE} characters"
    bad = _BAD.search(text)
    return f"holds the byte 0x{bad.group()[0]:02x}, which no field may" if bad is not None else None


def _field_name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        refuse("is not the name of a field")
    name = twinless(value.encode())
    if name in _OTHERS or name.startswith((b"grpc-", b"trailer-", b"sec-websocket-")):
        refuse("belongs to a protocol or to one connection, and is not a policy's to change")
    return value.lower()


MetadataName = Annotated[str, AfterValidator(_field_name)]
QueryName = Annotated[str, Field(min_length=1, max_length=200)]


class MetadataChanges(BaseModel):
    """What becomes of fields, in this order: renamed, removed, set, given a default, added."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rename: Mapping[MetadataName, MetadataName] = {}
    """Fields that get another name; what was there under the new one goes, where there is the old one."""
    remove: Annotated[tuple[MetadataName, ...], LISTED] = ()
    """Fields that are taken out, under their twins' names with `_` for `-` too."""
    set: Mapping[MetadataName, TextValue] = {}
    """Fields that have this one value, `{ from: EXPRESSION }` or text; none where the expression has no value or an
    empty one."""
    default: Mapping[MetadataName, TextValue] = {}
    """Fields that have this value where there is none."""
    add: Mapping[MetadataName, TextValue] = {}
    """Values that are added to those that there are."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        return needs_some(self)


class QueryChanges(BaseModel):
    """What becomes of a query's parameters, in this order: renamed, removed, set, given a default, added."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rename: Mapping[QueryName, QueryName] = {}
    """Parameters that get another name; what was there under the new one goes, where there is the old one."""
    remove: Annotated[tuple[QueryName, ...], LISTED] = ()
    """Parameters that are taken out."""
    set: Mapping[QueryName, TextValue] = {}
    """Parameters that have this one value; none where the expression has no value or an empty one."""
    default: Mapping[QueryName, TextValue] = {}
    """Parameters that have this value where there is none."""
    add: Mapping[QueryName, TextValue] = {}
    """Values that are added to those that there are."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        return needs_some(self)


def needs_some(changes: M) -> M:
    """The changes, unless there are none."""
    if not any(getattr(changes, name) for name in type(changes).model_fields):
        raise PydanticCustomError("changes", "{reason}", {"reason": "changes nothing"})
    return changes


Write = Callable[[str], bytes]


class Rules:
    """Changes of fields, ready to be made. `known_as` is what a field's name is compared by; `name` and `value` write
    the texts of settings as the fields' bytes."""

    __slots__ = ("_add", "_default", "_known_as", "_remove", "_rename", "_set", "_write", "constant")

    def __init__(
        self, changes: MetadataChanges | QueryChanges, known_as: Callable[[bytes], bytes], name: Write, value: Write
    ) -> None:
        self._known_as = known_as
        self._write = value
        self._rename = {known_as(name(old)): name(new) for old, new in changes.rename.items()}
        self._set = tuple((name(key), said) for key, said in changes.set.items())
        self._remove = frozenset(known_as(name(key)) for key in (*changes.remove, *changes.set))
        self._default = tuple((name(key), said) for key, said in changes.default.items())
        self._add = tuple((name(key), said) for key, said in changes.add.items())
        values = (*changes.set.values(), *changes.default.values(), *changes.add.values())
        self.constant = all(said.expression is None for said in values)
        """The outcome depends on nothing but the fields."""

    def apply(self, pairs: Sequence[Header], call: Call, payload: Payload | None) -> tuple[Header, ...]:
        """The fields as they are then; raises InvalidRequest for a value that no field may have."""
        known_as = self._known_as
        found = list(pairs)
        if self._rename:
            found = self._renamed(found)
        if self._remove:
            found = [pair for pair in found if known_as(pair[0]) not in self._remove]
        for key, said in self._set:
            self._put(found, key, said, call, payload)
        if self._default:
            there = {known_as(key) for key, _ in found}
            for key, said in self._default:
                if known_as(key) not in there:
                    self._put(found, key, said, call, payload)
        for key, said in self._add:
            self._put(found, key, said, call, payload)
        return tuple(found)

    def _renamed(self, pairs: list[Header]) -> list[Header]:
        known_as, rename = self._known_as, self._rename
        there = {known_as(key) for key, _ in pairs}
        taken = {known_as(new) for old, new in rename.items() if old in there}
        found: list[Header] = []
        for key, written in pairs:
            known = known_as(key)
            if known in rename:
                found.append((rename[known], written))
            elif known not in taken:
                found.append((key, written))
        return found

    def _put(self, found: list[Header], key: bytes, said: Value, call: Call, payload: Payload | None) -> None:
        value = said.of(call, payload)
        if value is None or (value == "" and said.expression is not None):
            return  # nobody's subject, a header that is not there
        try:
            text = self._write(_text(value))
        except orjson.JSONEncodeError as error:
            raise InvalidRequest(f"{key.decode('latin-1')}: its value is not text") from error
        if (fault := _fault(text)) is not None:
            raise InvalidRequest(f"{key.decode('latin-1')}: its value {fault}")
        found.append((key, text))


def _plain(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _encoded(text: str) -> bytes:
    return quote(text, "-._~", errors="replace").encode()


class QueryRules:
    """Changes of a query; parameters that are not named pass byte for byte."""

    def __init__(self, changes: QueryChanges) -> None:
        self._rules = Rules(changes, _decoded, _encoded, lambda text: b"=" + _encoded(text))

    def apply(self, query: bytes, call: Call, payload: Payload | None) -> bytes:
        """The query as it is then; raises InvalidRequest."""
        pairs = [_split(part) for part in query.split(b"&") if part]
        return b"&".join([name + rest for name, rest in self._rules.apply(pairs, call, payload)])


def _split(part: bytes) -> Header:
    """A parameter's name, and the rest with its equals sign."""
    name, equals, value = part.partition(b"=")
    return name, equals + value


def _decoded(name: bytes) -> bytes:
    return unquote_to_bytes(name.replace(b"+", b" "))


class MetadataRules:
    """Changes of metadata; those without expressions are made once for all calls that share their fields."""

    def __init__(self, changes: MetadataChanges) -> None:
        self._rules = Rules(changes, twinless, _plain, _plain)
        self.constant = self._rules.constant
        # By identity: equal heads share one Metadata, which is never changed, held here so that its id stays its own.
        self._known: dict[int, tuple[Metadata, Metadata]] = {}

    def apply(self, metadata: Metadata, call: Call, payload: Payload | None) -> Metadata:
        """The metadata as it is then; raises InvalidRequest."""
        if not self.constant:
            return Metadata(self.pairs(metadata.pairs, call, payload))
        known = self._known.get(id(metadata))
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[id(metadata)] = (metadata, Metadata(self.pairs(metadata.pairs, call, payload)))
        return known[1]

    def pairs(self, pairs: Sequence[Header], call: Call, payload: Payload | None) -> tuple[Header, ...]:
        """The same of fields that are no Metadata."""
        return self._rules.apply(pairs, call, payload)
