"""JSON Schemas → drafts of messages and enums, and the shapes that keep their JSON as it is.

Objects become messages, their members fields; lists and maps are fields, and where protobuf has none (a list in a list,
a body that is no object) a message that is written as its only field. Alternatives become a oneof. What no type stands
for is google.protobuf.Value. docs/openapi.md lists what is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.facets import ALWAYS, OBJECTS
from protogw.descriptors.json_flat import Flat, Flattened, alias, is_null
from protogw.descriptors.json_portable import Portable
from protogw.descriptors.json_unions import ALL_TYPES, Alternative, json_type_of, one_of_equals, union_of
from protogw.descriptors.model import Kind, SchemaError
from protogw.descriptors.names import camel
from protogw.descriptors.rules import NONE, Values, must_be_set, not_required, rules_of
from protogw.descriptors.shapes import MessageShape
from protogw.descriptors.synthesize import (
    LIST_VALUE,
    STRUCT,
    VALUE,
    Drafts,
    EnumDraft,
    FieldDraft,
    MessageDraft,
    ValueDraft,
    nameable,
)

MAX_TYPES = 20_000
"""Messages and enums of one schema: at half a millisecond each, what a document may cost."""

MAX_DEPTH = 64
"""Lists and alternatives within each other."""

REST = "additionalProperties"
"""The member of ProtoJSON that holds an object's other members."""

_STRINGS = {"byte": Kind.BYTES, "binary": Kind.BYTES}
_INTEGERS = {"int32": Kind.INT32, "uint32": Kind.UINT32, "uint64": Kind.UINT64}
_NUMBERS = {"float": Kind.FLOAT, "int32": Kind.INT32, "int64": Kind.INT64}
_IN_64_BITS = (Kind.INT64, Kind.UINT64)
_NAMED = frozenset(("schemas", "$defs", "definitions", "messages"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a schema's values are as a field; `holds` is the key of a draft or the name of a known type."""

    kind: Kind
    holds: str = ""
    repeated: bool = False
    mapped: bool = False
    nullable: bool = False
    sparse: bool = False
    """Null stands within it."""
    whole: tuple[Flat, ...] = field(default=(), repr=False)
    """The schemas of the value, all of which hold."""
    inner: tuple[Flat, ...] = field(default=(), repr=False)
    """Those of what a list or map holds."""

    @property
    def many(self) -> bool:
        return self.repeated or self.mapped

    def beside(self, *flats: Flat) -> Held:
        """The same, of which these hold as well."""
        return replace(self, whole=(*self.whole, *flats)) if flats else self

    def field(
        self, member: str, *, required: bool = False, given: bool = False, ruled: bool = True, **more: object
    ) -> FieldDraft:
        """A field of these values. `given` says that there always is one, be it an empty list; without `ruled`, nothing
        is asked of them."""
        required = required and not self.many and not self.nullable
        rules = NONE
        if self.kind is not Kind.ENUM and all(flat.plain for flat in self.whole + self.inner):
            rules = must_be_set() if required and ruled else NONE
        elif ruled:
            values = Values(
                kind=self.kind,
                whole=self.whole,
                inner=self.inner,
                repeated=self.repeated,
                mapped=self.mapped,
                free=self.holds == VALUE,
                struct=self.holds == STRUCT,
                sparse=self.sparse,
            )
            rules = rules_of(values, required=required, given=given)
        return FieldDraft(
            member=member,
            kind=self.kind,
            holds=self.holds,
            repeated=self.repeated,
            mapped=self.mapped,
            rules=rules,
            **more,  # type: ignore[arg-type]
        )


ANYTHING = Held(kind=Kind.MESSAGE, holds=VALUE)


class JsonSchemas:
    """Reads the schemas of one set of documents into drafts. Call `finish` when all that is wanted has been asked for.

    Raises SchemaError, naming the place, for what is no schema, and when there are too many types.
    """

    def __init__(self, documents: Documents, drafts: Drafts) -> None:
        self.documents = documents
        self.drafts = drafts
        self.flattened = Flattened(documents)
        self._held: dict[str, Held] = {}
        self._open: set[str] = set()
        self._todo: deque[Callable[[], None]] = deque()
        self._nodes: dict[str, Node] = {}
        self._json_types: dict[str, tuple[str, ...]] = {}
        self._tagged: set[tuple[str, str]] = set()
        """The messages that a tag tells from others, each with the tag."""

    def flat(self, node: Node) -> Flat:
        """What the schema says, with all that it refers to."""
        return self.flattened.of(alias(self.documents, node)[0])

    def held(self, node: Node, name: str) -> Held:
        """What the schema's values are; a type that has no name of its own is named after `name`."""
        target, nullable = alias(self.documents, node)
        key = target.key
        if key in self._open:
            # A list of itself, an alternative to itself: it is known once this has been read.
            return Held(kind=Kind.MESSAGE, holds=self._wrapper(target, name), nullable=nullable)
        found = self._held.get(key)
        if found is None:
            if len(self._open) >= MAX_DEPTH:
                raise SchemaError(f"{node.where}: nested too deeply")
            self._open.add(key)
            found = self._made(self.flattened.of(target), _name_of(target, node, name))
            self._open.discard(key)
            self._held[key] = found
        return replace(found, nullable=True) if nullable and not found.nullable else found

    def message(self, node: Node, name: str) -> str:
        """The key of the message that is written as the schema's values are: an object's own, or one that wraps it."""
        held = self.held(node, name)
        if not held.many and not held.nullable and held.holds in self.drafts.messages:
            return held.holds
        return self._wrapper(alias(self.documents, node)[0], name, nullable=held.nullable)

    def finish(self) -> None:
        """Read what the schemas asked for hold."""
        while self._todo:
            self._todo.popleft()()
        for key, tag in self._tagged:
            # Who chooses the branch has said which it is: the tag that is not set is written all the same.
            for one in self.drafts.messages[key].fields:
                if one.member == tag:
                    one.rules = not_required(one.rules)
        portable = Portable(self.documents, self.drafts.messages)
        for key, node in self._nodes.items():
            self.drafts.messages[key].json_schema = portable.of(node)
        self._nodes.clear()

    # ---- types

    def _made(self, flat: Flat, name: str) -> Held:
        nullable = flat.nullable
        if flat.unions and not flat.properties:
            return self._union(flat, name)
        types = flat.types
        if flat.enum is not None and not (flat.const and len(flat.enum) == 1):
            return self._enum(flat, name).beside(flat)
        if types is None and flat.enum is not None:
            types = frozenset((_JSON_SCHEMA_TYPE[flat.enum[0].__class__],))
        if types is None:
            return ANYTHING.beside(flat)
        if types >= {"integer", "number"}:
            types -= {"integer"}
        if len(types) > 1:
            return self._several(flat, types, name)
        held = self._of_type(flat, next(iter(types)), name)
        return replace(held, nullable=nullable, whole=(*held.whole, flat))

    def _of_type(self, flat: Flat, kind: str, name: str) -> Held:
        if kind == "string":
            value = flat.node.mapping
            if value.get("contentEncoding") == "base64" or value.get("contentMediaType") == "application/octet-stream":
                return Held(kind=Kind.BYTES)
            return Held(kind=_STRINGS.get(flat.format, Kind.STRING))
        if kind == "integer":
            return Held(kind=_INTEGERS.get(flat.format, Kind.INT64))
        if kind == "number":
            return Held(kind=_NUMBERS.get(flat.format, Kind.DOUBLE))
        if kind == "boolean":
            return Held(kind=Kind.BOOL)
        if kind == "array":
            return self._list(flat, name)
        if kind == "object":
            return self._object(flat, name)
        if kind == "file":  # Swagger's, which some documents keep
            return Held(kind=Kind.BYTES)
        return ANYTHING

    def _list(self, flat: Flat, name: str) -> Held:
        if flat.items is None or flat.is_tuple:
            return Held(kind=Kind.MESSAGE, holds=VALUE, repeated=True)
        item = self._single(flat.items, f"{name}Item")
        return replace(
            item,
            repeated=True,
            nullable=False,
            sparse=item.nullable and item.holds != VALUE,
            whole=(),
            inner=item.whole,
        )

    def _single(self, node: Node, name: str) -> Held:
        """What the schema's values are as one value of a list or map, which cannot be a list or map itself."""
        held = self.held(node, name)
        if held.many:
            return Held(kind=Kind.MESSAGE, holds=self._wrapper(alias(self.documents, node)[0], name))
        return held

    def _object(self, flat: Flat, name: str) -> Held:
        if not flat.properties and not flat.unions:
            if flat.additional is False:
                return self._message(flat, name)
            if not isinstance(flat.additional, Node):
                return Held(kind=Kind.MESSAGE, holds=STRUCT)
            value = self._single(flat.additional, f"{name}Value")
            if value.holds == VALUE:
                return Held(kind=Kind.MESSAGE, holds=STRUCT)
            return replace(value, mapped=True, nullable=False, sparse=value.nullable, whole=(), inner=value.whole)
        return self._message(flat, name)

    def _message(self, flat: Flat, name: str) -> Held:
        key = flat.node.key
        draft = self._draft(key, name, flat.node)
        draft.doc = _doc(flat)
        draft.deprecated = flat.deprecated
        self._json_types[key] = ("object",)
        self._todo.append(lambda: self._fill(draft, flat, name))
        return Held(kind=Kind.MESSAGE, holds=key)

    def _draft(self, key: str, name: str, node: Node) -> MessageDraft:
        if len(self.drafts.messages) + len(self.drafts.enums) >= MAX_TYPES:
            raise SchemaError(f"{node.where}: is one type more than {MAX_TYPES}")
        draft = self.drafts.messages[key] = MessageDraft(name=name)
        self._nodes[key] = node
        return draft

    def _fill(self, draft: MessageDraft, flat: Flat, name: str) -> None:
        properties = dict(flat.properties)
        required = flat.required
        for branches in flat.unions.values():
            # An object with alternatives to parts of it: it may have the members of any.
            for branch in branches:
                for member, node in self.flat(branch).properties.items():
                    properties.setdefault(member, node)
            draft.unsaid.append(_unenforced(branches))
        if flat.asked is not None:
            draft.unsaid.extend(f"{one.place} is not enforced" for one in flat.asked.of(OBJECTS | ALWAYS))
        always: set[str] = set()
        nulls: set[str] = set()
        sparse: set[str] = set()
        numbers: set[str] = set()
        for member, node in properties.items():
            held = self.held(node, name + camel(member))
            inner = self.flat(node)
            # Nobody sends what is read-only, and nobody reads what is write-only, though it be required.
            one_way = node.flag("readOnly") or node.flag("writeOnly") or inner.read_only or inner.write_only
            needed = member in required and not one_way
            if member in flat.again:
                held = held.beside(*(self.flat(one) for one in flat.again[member]))
            made = held.field(
                member,
                required=needed,
                given=needed and not held.nullable,
                ruled=member in flat.properties,
                presence=True,
                deprecated=node.flag("deprecated"),
                doc=_said(node) or ("" if held.holds or inner.node is node else inner.doc),
            )
            draft.fields.append(made)
            if needed and held.nullable:
                nulls.add(member)
            elif needed and (held.many or held.kind not in (Kind.MESSAGE, Kind.ENUM)):
                always.add(member)
            if held.sparse:
                sparse.add(member)
            if held.kind in _IN_64_BITS:
                numbers.add(member)
        rest = self._rest(draft, flat, name, numbers, sparse) if flat.additional not in (None, False) else ""
        draft.shape = MessageShape(
            numbers=frozenset(numbers),
            always=frozenset(always),
            nulls=frozenset(nulls),
            sparse=frozenset(sparse),
            rest=rest,
        )

    def _rest(self, draft: MessageDraft, flat: Flat, name: str, numbers: set[str], sparse: set[str]) -> str:
        """Add the field for members that have no field of their own."""
        member = REST
        while member in flat.properties:
            member = f"_{member}"
        held = ANYTHING
        if isinstance(flat.additional, Node):
            held = self._single(flat.additional, f"{name}Value")
        rest = replace(held, mapped=True, sparse=held.nullable, whole=(), inner=held.whole)
        draft.fields.append(rest.field(member, doc="Members that have no field of their own."))
        if held.kind in _IN_64_BITS:
            numbers.add(member)
        if held.nullable and held.holds != VALUE:
            sparse.add(member)
        return member

    def _enum(self, flat: Flat, name: str) -> Held:
        assert flat.enum is not None
        if all(isinstance(one, bool) for one in flat.enum):
            return Held(kind=Kind.BOOL, nullable=flat.nullable)
        key = flat.node.key
        self.drafts.enums[key] = EnumDraft(
            name=name,
            values=[ValueDraft(written=one) for one in flat.enum],
            deprecated=flat.deprecated,
            doc=_doc(flat),
        )
        self._json_types[key] = tuple(sorted({json_type_of(one) for one in flat.enum}))
        return Held(kind=Kind.ENUM, holds=key, nullable=flat.nullable)

    # ---- wrappers and alternatives

    def _wrapper(self, node: Node, name: str, *, nullable: bool = False) -> str:
        """The key of a message that is written as the one value in it is."""
        key = f"{node.key}{'?' if nullable else '='}"
        if key not in self.drafts.messages:
            draft = self._draft(key, _name_of(node, node, name), node)
            self._todo.append(lambda: self._wrap(draft, node, name, nullable))
        return key

    def _wrap(self, draft: MessageDraft, node: Node, name: str, nullable: bool) -> None:
        held = self.held(node, name)
        member = "items" if held.repeated else "entries" if held.mapped else "value"
        draft.doc = _doc(self.flat(node))
        is_null = nullable or held.nullable
        draft.fields.append(held.field(member, given=not is_null, presence=is_null))
        draft.shape = MessageShape(
            wraps=member,
            numbers=frozenset((member,) if held.kind in _IN_64_BITS else ()),
            sparse=frozenset((member,) if held.sparse else ()),
        )

    def _several(self, flat: Flat, types: frozenset[str], name: str) -> Held:
        """A value of one of several types."""
        alternatives = []
        for one in ("string", "integer", "number", "boolean", "array", "object"):
            if one in types:
                held = self._of_type(flat, one, name + camel(one)).beside(flat)
                alternatives.append(self._alternative(one, held, flat.node))
        return self._chosen(flat, alternatives, name)

    def _union(self, flat: Flat, name: str) -> Held:
        branches = [one for held in flat.unions.values() for one in held]
        if len(flat.unions) > 1:
            # Both must hold: what is common to them is beyond this. Objects have the members of any.
            if all(self.flat(one).properties or not self.flat(one).types for one in branches):
                return self._message(flat, name)
            return ANYTHING
        nullable = flat.nullable or any(is_null(one) for one in branches)
        branches = [one for one in branches if not is_null(one)]
        if all(self._adds_nothing(one) for one in branches):
            made = replace(self._made(replace(flat, unions={}), name), nullable=nullable)
            return made.beside(Flat(flat.node, unsaid=[_unenforced(branches)])) if branches else made
        alternatives = []
        for place, branch in enumerate(branches, start=1):
            inner = self.flat(branch)
            own = inner.title if inner.title.isascii() else ""
            held = self.held(branch, f"{name}{camel(own, f'Option{place}')}")
            nullable = nullable or held.nullable
            target = alias(self.documents, branch)[0]
            word = _name_of(target, branch, own or "") or _WORDS.get(held.kind, f"option{place}")
            alternatives.append(self._alternative(word, held.beside(flat), target, inner))
        return replace(self._chosen(flat, alternatives, name), nullable=nullable)

    def _adds_nothing(self, node: Node) -> bool:
        """Whether a branch says what values there must be, but not what they are."""
        flat = self.flat(node)
        return not (flat.types or flat.properties or flat.unions or flat.enum)

    def _alternative(self, word: str, held: Held, node: Node, flat: Flat | None = None) -> Alternative:
        json_types = self._types_of(held)
        wrapped = held
        if held.many:
            word = "list" if held.repeated else "map"
            wrapped = Held(kind=Kind.MESSAGE, holds=self._many_wrapper(held, node, word), nullable=held.nullable)
        is_object = flat is not None and json_types == ("object",) and not held.many
        return Alternative(
            word=word,
            field=wrapped.field("", oneof=True),
            json_types=json_types,
            flat=flat if is_object else None,
            same=(held.kind, held.holds, held.repeated, held.mapped),
            held=held,
        )

    def _many_wrapper(self, held: Held, node: Node, word: str) -> str:
        """The key of a message for a list or map that stands where only one value can."""
        key = f"{node.key}={word}"
        if key not in self.drafts.messages:
            member = "items" if held.repeated else "entries"
            draft = self._draft(key, _name_of(node, node, node.name) + camel(word), node)
            draft.fields.append(held.field(member, given=True))
            draft.shape = MessageShape(
                wraps=member,
                numbers=frozenset((member,) if held.kind in _IN_64_BITS else ()),
                sparse=frozenset((member,) if held.sparse else ()),
            )
        return key

    def _types_of(self, held: Held) -> tuple[str, ...]:
        """The JSON types of its values."""
        if held.many:
            return ("array",) if held.repeated else ("object",)
        if held.kind is Kind.MESSAGE or held.kind is Kind.ENUM:
            known = {STRUCT: ("object",), LIST_VALUE: ("array",), VALUE: ALL_TYPES}
            return self._json_types.get(held.holds) or known.get(held.holds, ALL_TYPES)
        if held.kind in (Kind.STRING, Kind.BYTES):
            return ("string",)
        return ("boolean",) if held.kind is Kind.BOOL else ("number",)

    def _chosen(self, flat: Flat, alternatives: list[Alternative], name: str) -> Held:
        found = union_of(alternatives, flat, self.documents, self.flat)
        if found is None:
            return replace(ANYTHING, nullable=flat.nullable)
        if isinstance(found, Alternative):
            kind, holds, repeated, mapped = found.same
            made = Held(kind=kind, holds=holds, repeated=repeated, mapped=mapped, nullable=flat.nullable)
            if found.mixed:
                return made.beside(Flat(flat.node, unsaid=[one_of_equals(flat)]))
            return replace(made, sparse=found.held.sparse, whole=found.held.whole, inner=found.held.inner)
        key = f"{flat.node.key}|"
        draft = self._draft(key, name, flat.node)
        draft.doc = _doc(flat)
        draft.deprecated = flat.deprecated
        draft.fields = [one.field for one in found.alternatives]
        if found.union.tag:
            self._tagged.update((one.held.holds, found.union.tag) for one in found.alternatives if one.flat is not None)
        draft.shape = MessageShape(
            union=found.union,
            numbers=frozenset(one.member for one in draft.fields if one.kind in _IN_64_BITS),
        )
        self._json_types[key] = tuple(dict.fromkeys(one for found_ in found.alternatives for one in found_.json_types))
        return Held(kind=Kind.MESSAGE, holds=key, nullable=flat.nullable)


_JSON_SCHEMA_TYPE: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_WORDS = {
    Kind.STRING: "string",
    Kind.BYTES: "bytes",
    Kind.INT32: "integer",
    Kind.INT64: "integer",
    Kind.UINT32: "integer",
    Kind.UINT64: "integer",
    Kind.FLOAT: "number",
    Kind.DOUBLE: "number",
    Kind.BOOL: "boolean",
}


def _name_of(target: Node, node: Node, name: str) -> str:
    """The name that a schema has of its own, else the one that it is given by where it is used."""
    steps = target.steps
    if len(steps) > 1 and steps[-2] in _NAMED:
        return target.name
    if len(steps) > 2 and steps[-1] == "payload" and steps[-3] == "messages":
        return str(steps[-2])
    if not steps and target is not node:
        return PurePath(target.document.path.name.partition(".")[0]).name
    return name


def _unenforced(branches: Sequence[Node]) -> str:
    """That what the branches of a oneOf or anyOf ask is left to the service."""
    return f"{branches[0].place.rpartition('.')[0]} is not enforced"


def _doc(flat: Flat) -> str:
    return flat.doc or flat.title


def _said(node: Node) -> str:
    """What is said of a member itself; a title that repeats its name is nothing."""
    title = node.text("title")
    if title.replace(" ", "").lower() == node.name.replace("_", "").lower():
        title = ""
    return node.text("description") or title


__all__ = ["ANYTHING", "Held", "JsonSchemas", "nameable"]
