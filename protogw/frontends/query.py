"""Query parameters → protobuf wire bytes, by the rules of google.api.http.

Every leaf field of the request that neither path nor body binds may be a parameter: nested ones dotted, names as in
the proto or in JSON, repeated fields by repetition, map entries as `m[key]=value`. In a query "+" is a space.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from protogw.descriptors.model import Field, Kind, Schema, Type
from protogw.descriptors.well_known import TEXTUAL
from protogw.errors import InvalidRequest
from protogw.frontends.scalars import Encoder, encoder, map_encoders, nested
from protogw.wire.protowire import delimited

MAX_PARAMETERS = 1_000
_MAX_DEPTH = 32
_MAX_KNOWN = 1_024


class PathFault(ValueError):
    """A field path that leads nowhere, or to what no text stands for."""


class FieldPath:
    """The fields along a dotted path, from the request message to a leaf."""

    __slots__ = ("fields", "name")

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = fields
        self.name = ".".join(field.name for field in fields)

    def wrap(self, inner: Encoder) -> Encoder:
        """The encoder of the leaf, inside the messages that lead to it."""
        for field in reversed(self.fields[:-1]):
            inner = nested(field.number, inner, group=field.kind is Kind.GROUP)
        return inner


def resolve(message: Type, names: Iterable[str], schema: Schema) -> FieldPath:
    """Follow a path through singular messages; raises PathFault saying where it ends."""
    fields: list[Field] = []
    at: Type | None = message
    for name in names:
        field = at.field(name) if at is not None and at.name not in TEXTUAL else None
        if field is None or len(fields) == _MAX_DEPTH:
            raise PathFault("unknown field")
        fields.append(field)
        singular = not field.repeated and field.map_key is None
        at = schema.types.get(field.type_name) if singular and field.kind in (Kind.MESSAGE, Kind.GROUP) else None
    return FieldPath(tuple(fields))


class Parameter:
    """How one parameter is encoded. `members` are the oneofs it is in, along its path, with the member it sets."""

    __slots__ = ("encode", "members", "name", "repeated")

    def __init__(self, path: FieldPath, encode: Encoder) -> None:
        self.name = path.name
        self.encode = encode
        self.repeated = path.fields[-1].repeated
        self.members = tuple(
            ((".".join(one.name for one in path.fields[:depth]), field.oneof), field.name)
            for depth, field in enumerate(path.fields)
            if field.oneof
        )


class QueryMap:
    """The query of one binding. `bound` are the dotted proto names that path and body already give, `hidden` the
    parameters that are passed over whatever fields there are."""

    def __init__(
        self,
        message: Type,
        schema: Schema,
        bound: frozenset[str],
        *,
        ignore_unknown: bool,
        hidden: frozenset[bytes] = frozenset(),
    ) -> None:
        self._message = message
        self._schema = schema
        self._bound = bound
        self._ignore_unknown = ignore_unknown
        self._hidden = hidden
        self._known: dict[bytes, Parameter] = {}
        self._by_path: dict[str, Parameter] = {}

    def encode(self, query: bytes, given: set[str] | None = None) -> bytes:
        """The parameters as fields; their names are added to `given`. Raises InvalidRequest naming the parameter."""
        pairs = query.split(b"&")
        if len(pairs) > MAX_PARAMETERS:
            raise InvalidRequest(f"query: more than {MAX_PARAMETERS} parameters")
        out: list[bytes] = []
        seen: set[str] = set()
        oneofs: dict[tuple[str, str], str] = {}
        known = self._known
        name = text = b""
        try:
            for pair in pairs:
                name, _, text = pair.partition(b"=")
                parameter = known.get(name) or self._find(name)
                if parameter is None:
                    continue
                if not parameter.repeated:
                    if parameter.name in seen:
                        raise InvalidRequest(f"{_shown(name)}: given more than once, but it is not repeated")
                    seen.add(parameter.name)
                if parameter.members:
                    for oneof, member in parameter.members:
                        other = oneofs.setdefault(oneof, member)
                        if other != member:
                            raise InvalidRequest(f"{_shown(name)}: {other} and {member} are of one oneof, {oneof[1]}")
                if b"+" in text or b"%" in text:
                    text = unquote_to_bytes(text.replace(b"+", b" "))
                out.append(parameter.encode(text))
        except ValueError as error:
            raise InvalidRequest(f'{_shown(name)}: {error}, got "{_shown(text)}"') from None
        if given is not None:
            given |= seen
        return b"".join(out)

    def _find(self, raw: bytes) -> Parameter | None:
        """A parameter by the name as it came; None for one that is ignored."""
        if not raw:
            return None
        try:
            name = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest(f"query: {_shown(raw)} is not UTF-8") from None
        if name.encode() in self._hidden:
            return None
        try:
            parameter = self._bracketed(name) if name.endswith("]") else self._field(name)
        except PathFault as fault:
            if self._ignore_unknown and fault.args == ("unknown field",):
                return None
            raise InvalidRequest(f"{_shown(name.encode())}: {_UNKNOWN.get(fault.args[0], fault.args[0])}") from None
        # Map keys are the client's own words: they must not fill the table.
        if len(self._known) < _MAX_KNOWN and not name.endswith("]"):
            self._known[raw] = parameter
        return parameter

    def _field(self, name: str) -> Parameter:
        # A schema that is no proto may call a field what looks like a path.
        names = (name,) if self._message.field(name) is not None else name.split(".")
        return self._leaf(resolve(self._message, names, self._schema))

    def _leaf(self, path: FieldPath) -> Parameter:
        found = self._by_path.get(path.name)
        if found is not None:
            return found
        self._check_unbound(path.name)
        leaf = path.fields[-1]
        if leaf.map_key is not None:
            raise PathFault(f"a map is given by its entries, as {leaf.name}[key]=value")
        if leaf.repeated and leaf.kind in (Kind.MESSAGE, Kind.GROUP) and leaf.type_name not in TEXTUAL:
            raise PathFault("a repeated message cannot be given in the query")
        try:
            parameter = Parameter(path, path.wrap(encoder(leaf, self._schema)))
        except ValueError as error:
            raise PathFault(str(error)) from None
        if len(self._by_path) < _MAX_KNOWN:
            self._by_path[path.name] = parameter
        return parameter

    def _bracketed(self, name: str) -> Parameter:
        """A map's entry, a field that is called so, or `a[b]` for the field b of the message a."""
        first, *inner = name[:-1].replace("][", "[").split("[")
        if self._message.field(name) is not None:
            return self._field(name)
        field = self._message.field(first)
        if field is not None and field.kind is Kind.MESSAGE and field.map_key is None and not field.repeated:
            return self._leaf(resolve(self._message, (first, *inner), self._schema))
        return self._map_entry(name)

    def _map_entry(self, name: str) -> Parameter:
        """`m[key]`: the entry is a message of key (1) and value (2)."""
        field_name, bracket, key = name[:-1].partition("[")
        path = resolve(self._message, field_name.split("."), self._schema)
        leaf = path.fields[-1]
        if not bracket or leaf.map_key is None:
            raise PathFault("unknown field")
        self._check_unbound(path.name)
        try:
            encode_key, encode_value = map_encoders(leaf, self._schema)
        except ValueError as error:
            raise PathFault(str(error)) from None
        try:
            encoded_key = encode_key(key.encode())
        except ValueError as error:
            raise PathFault(f"its key: {error}") from None
        entry = path.wrap(lambda text: delimited(leaf.number, encoded_key + encode_value(text)))
        parameter = Parameter(path, entry)
        parameter.name = f"{path.name}[{key}]"
        return parameter

    def _check_unbound(self, name: str) -> None:
        for bound in self._bound:
            if bound == "*":
                raise PathFault("unknown field")
            if name == bound or name.startswith(bound + ".") or bound.startswith(name + "."):
                raise PathFault("already given by the path or the body")


_UNKNOWN = {"unknown field": "unknown query parameter"}


def _shown(text: bytes) -> str:
    """Client text for a message: cut short, whatever its bytes."""
    shown = text[:100].decode("utf-8", "replace")
    return shown + "…" if len(text) > 100 else shown
