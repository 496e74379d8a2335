"""A GraphQL schema → drafts of messages, enums and methods, and what each method's documents are made of.

Root fields become methods and their arguments a request message. An object that is returned is the reply itself;
anything else is the one field of a response message, whose JSON is the result's `data`. Object and input types become
messages; an interface or union becomes a message with one oneof, told by `__typename`; a list in a list becomes a
message of its own. What cannot be selected without arguments is left out. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from protogw.descriptors.graphql_binding import Argument, Composite, GraphqlBinding, Leaf, Ref, Selectable
from protogw.descriptors.graphql_check import faults_of, needed
from protogw.descriptors.graphql_json_schema import JsonSchemas
from protogw.descriptors.graphql_model import Document, InputValue, Named, OutputField, Sort
from protogw.descriptors.graphql_scalars import BUILT_IN, CUSTOM, ScalarType
from protogw.descriptors.model import Idempotency, Kind, SchemaError
from protogw.descriptors.names import Taken, camel
from protogw.descriptors.shapes import Branch, MessageShape, Union
from protogw.descriptors.synthesize import Drafts, EnumDraft, FieldDraft, MessageDraft, MethodDraft, ValueDraft

TYPENAME = "__typename"
_ITEMS = "items"
_ABSTRACT = frozenset((Sort.INTERFACE, Sort.UNION))


def drafts_of(document: Document, scalars: Mapping[str, ScalarType]) -> Drafts:
    """The drafts of a schema; `scalars` says what its custom scalars are, where that is known.

    Raises SchemaError with every fault, each naming its type and field.
    """
    faults = faults_of(document)
    if faults:
        raise SchemaError(*faults)
    return _Drafting(document, scalars).drafts


class _Drafting:
    """One schema, which holds together."""

    def __init__(self, document: Document, scalars: Mapping[str, ScalarType]) -> None:
        self._document = document
        self._scalars: dict[str, ScalarType] = dict(BUILT_IN)
        self._leaves: dict[str, Leaf] = {}
        self._composites: dict[str, Composite] = {}
        for named in document.types.values():
            if named.sort is Sort.SCALAR:
                self._scalars[named.name] = scalars.get(named.name, CUSTOM)
            elif named.sort is Sort.ENUM:
                self._leaves[named.name] = Leaf.ENUM
        self._leaves |= {name: scalar.leaf for name, scalar in self._scalars.items()}
        self._json = JsonSchemas(self._scalars)
        self.drafts = Drafts()
        for named in document.types.values():
            self._named(named)
        self._methods()
        if not self.drafts.methods:
            raise SchemaError("the schema has neither queries, mutations nor subscriptions")

    # ---- types

    def _named(self, named: Named) -> None:
        if named.sort is Sort.ENUM:
            values = [ValueDraft(written=one.name, deprecated=one.deprecated, doc=one.doc) for one in named.values]
            self.drafts.enums[named.name] = EnumDraft(name=named.name, values=values, doc=named.doc)
        elif named.sort is Sort.INPUT:
            self.drafts.messages[named.name] = self._inputs(named.name, named.inputs, named.doc, one_of=named.one_of)
        elif named.sort is not Sort.SCALAR:
            fields = [field for field in named.fields if self._selectable(field)]
            self._composites[named.name] = Composite(
                name=named.name,
                fields=tuple(Selectable(field.name, field.type) for field in fields),
                possible=named.possible,
            )
            self.drafts.messages[named.name] = (
                self._union(named) if named.sort in _ABSTRACT else self._object(named.name, fields, named.doc)
            )

    def _selectable(self, field: OutputField) -> bool:
        """Whether the field can be asked for without arguments, and is of a type that there is any of."""
        if any(needed(argument) for argument in field.arguments):
            return False
        found = self._document.named(field.type.named)
        return found is not None and (found.sort not in _ABSTRACT or bool(found.possible))

    def _object(self, name: str, fields: Iterable[OutputField], doc: str) -> MessageDraft:
        made = MessageDraft(name=name, doc=doc, json_schema=self._json.object(fields, doc))
        for field in fields:
            draft = self._field(field.name, field.type, presence=not field.type.required)
            draft.doc, draft.deprecated = field.doc, field.deprecated
            made.fields.append(draft)
        made.shape = self._shape({field.name: field.type for field in fields}, ())
        return made

    def _inputs(self, name: str, inputs: Iterable[InputValue], doc: str, *, one_of: bool = False) -> MessageDraft:
        """A message of input values. All of them can be told from absent: so a default value is had, and so the
        service says what is missing."""
        made = MessageDraft(name=name, doc=doc, json_schema=self._json.inputs(inputs, doc, one_of=one_of))
        always: set[str] = set()
        for one in inputs:
            draft = self._field(one.name, one.type, presence=True, oneof=one_of)
            default = f"Default: {one.default}" if one.default is not None else ""
            draft.doc, draft.deprecated = "\n\n".join(filter(None, (one.doc, default))), one.deprecated
            made.fields.append(draft)
            if needed(one) and draft.repeated:
                always.add(one.name)
        made.shape = self._shape({one.name: one.type for one in inputs}, always)
        return made

    def _union(self, named: Named) -> MessageDraft:
        made = MessageDraft(name=named.name, doc=named.doc, json_schema=self._json.union(named, TYPENAME))
        branches: list[Branch] = []
        for name in named.possible:
            made.fields.append(FieldDraft(member=name, kind=Kind.MESSAGE, holds=name, oneof=True))
            known = frozenset(field.name for field in self._document.types[name].fields)
            branches.append(Branch(key=name, tags=(name,), known=known))
        made.shape = MessageShape(union=Union(branches=tuple(branches), tag=TYPENAME))
        return made

    # ---- values

    def _field(self, member: str, ref: Ref, *, presence: bool, oneof: bool = False) -> FieldDraft:
        repeated = ref.item is not None
        if repeated and oneof:  # a oneof has no repeated members
            return FieldDraft(member=member, kind=Kind.MESSAGE, holds=self._list(ref), oneof=True)
        inner = ref.item if ref.item is not None else ref
        kind, holds = (Kind.MESSAGE, self._list(inner)) if inner.item is not None else self._kind(inner.name)
        return FieldDraft(
            member=member,
            kind=kind,
            holds=holds,
            repeated=repeated,
            oneof=oneof,
            presence=presence and not repeated and kind is not Kind.MESSAGE,
        )

    def _kind(self, name: str) -> tuple[Kind, str]:
        scalar = self._scalars.get(name)
        if scalar is not None:
            return scalar.kind, scalar.holds
        return (Kind.ENUM if name in self._leaves else Kind.MESSAGE), name

    def _list(self, ref: Ref) -> str:
        """The key of the message that stands for a list where there can be no repeated field."""
        key = f"~list {_bare(ref)}"
        if key not in self.drafts.messages:
            made = self.drafts.messages[key] = MessageDraft(
                name=camel(ref.named) + "List" * _bare(ref).count("["), json_schema=self._json.value(ref)
            )
            made.fields.append(self._field(_ITEMS, ref, presence=False))
            shape = self._shape({_ITEMS: ref}, ())
            made.shape = MessageShape(wraps=_ITEMS, numbers=shape.numbers, sparse=shape.sparse)
        return key

    def _shape(self, types: Mapping[str, Ref], always: Iterable[str]) -> MessageShape:
        """How the members differ from ProtoJSON."""
        numbers: set[str] = set()
        sparse: set[str] = set()
        for member, ref in types.items():
            inner = ref.item if ref.item is not None else ref
            scalar = self._scalars.get(inner.name) if inner.item is None else None
            if scalar is not None and scalar.number:
                numbers.add(member)
            # A null among any JSON is a value of its own.
            if ref.item is not None and not ref.item.required and (scalar is None or not scalar.holds):
                sparse.add(member)
        return MessageShape(numbers=frozenset(numbers), sparse=frozenset(sparse), always=frozenset(always))

    # ---- methods

    def _methods(self) -> None:
        document = self._document
        taken = Taken()
        for operation, root, make in (
            ("query", document.query, partial(MethodDraft, idempotency=Idempotency.NO_SIDE_EFFECTS)),
            ("mutation", document.mutation, MethodDraft),
            ("subscription", document.subscription, partial(MethodDraft, server_streaming=True)),
        ):
            for field in document.types[root].fields if root else ():
                self._method(operation, field, taken, make)

    def _method(self, operation: str, field: OutputField, taken: Taken, make: Callable[..., MethodDraft]) -> None:
        found = self._document.named(field.type.named)
        if found is None or (found.sort in _ABSTRACT and not found.possible):
            return  # there is nothing that it could return
        name = camel(field.name, "Method")
        if name in taken:
            name += camel(operation)
        name = taken.take(name)
        request, reply = f"~request {name}", f"~response {name}"
        self.drafts.messages[request] = self._inputs(f"{name}Request", field.arguments, "")
        bare = field.type.item is None and found.sort is Sort.OBJECT
        if bare:
            reply = field.type.name
        else:
            result = OutputField(name=field.name, type=field.type)
            self.drafts.messages[reply] = self._object(f"{name}Response", [result], "")
        binding = GraphqlBinding(
            operation=operation,
            field=field.name,
            arguments=tuple(_argument(one) for one in field.arguments),
            type=field.type,
            bare=bare,
            composites=self._composites,
            leaves=self._leaves,
        )
        self.drafts.methods.append(
            make(
                name=name,
                input=request,
                output=reply,
                binding=lambda _: binding,
                deprecated=field.deprecated,
                doc=field.doc,
            )
        )


def _argument(one: InputValue) -> Argument:
    """What its variable is declared as: one with a default value may be absent, even if it may not be null."""
    declared = one.type if one.default is None else Ref(one.type.name, one.type.item)
    return Argument(one.name, declared)


def _bare(ref: Ref) -> str:
    """The reference without its "!"."""
    return f"[{_bare(ref.item)}]" if ref.item is not None else ref.name
